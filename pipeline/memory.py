"""What training will need in memory, projected before anything is read."""

from bisect import bisect_right
from typing import Final

from distributed.system import memory_limit

from pipeline.config import Config
from pipeline.errors import UserError

# Measured as the peak of resident memory on a CPU, for 100 to 800,000 series of 46 or 400 dates and 1 or 8 channels,
# where 20 bytes a value were found, and rounded up by a fifth.
_PER_VALUE: Final = 24  # bytes: series (4), scaled copy (4), mask (1), mean-filled copy (4), what computing them takes
_PER_SERIES: Final = 150  # bytes: cell, label, permutation, embedding, q of each of a few clusters
_PER_STEP: Final = 3_000  # bytes a date and series of a batch: gates and states of both networks, kept for the gradient
_FIXED: Final = 600_000_000  # bytes: the libraries, and k-means on its own sample
_GIGABYTE: Final = 1e9


def training_bytes(n_series: int, n_times: int, n_channels: int, batch_size: int) -> int:
    """Memory that training on n_series needs: _FIXED + _PER_STEP B T + n (_PER_VALUE T C + _PER_SERIES)."""
    return _FIXED + _PER_STEP * batch_size * n_times + n_series * (_PER_VALUE * n_times * n_channels + _PER_SERIES)


def check_sample(config: Config, n_series: int, n_times: int, n_channels: int, limit: int | None = None) -> None:
    """Refuse a sample with which training would not fit into memory.

    Args:
        config: of the run.
        n_series: that are going to be drawn.
        n_times: of each.
        n_channels: of each.
        limit: bytes; None: what this machine or its container grants.

    Raises:
        UserError: it does not fit; the message says which sample would.
    """
    limit = memory_limit() if limit is None else limit
    batch = config.training.batch_size

    def needed(n: int) -> int:
        return training_bytes(n, n_times, n_channels, min(batch, n))

    if needed(n_series) <= limit:
        return
    fitting = bisect_right(range(n_series), limit, key=needed) - 1
    problem = (
        f"training on {n_series:,} cells of {n_times} dates and {n_channels} channel(s) needs about "
        f"{needed(n_series) / _GIGABYTE:.1f} GB of memory, and there are {limit / _GIGABYTE:.1f} GB"
    )
    if fitting < config.training.clusters:
        raise UserError(f"{problem}: too little to train on any sample.")
    raise UserError(f"{problem}: training.sample_pixels = {fitting} (--sample-pixels) would fit.")

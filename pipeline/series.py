"""Pixels of the cube as series, the form that the model takes: float32 (n, T, C) in physical units, NaN = missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import zarr

from pipeline import layout, stores
from pipeline.accounting import count_pixels
from pipeline.channels import read_channels, to_physical
from pipeline.executor import Executor
from pipeline.grid import Shard
from pipeline.locations import Location
from pipeline.prepare import count_cells
from pipeline.progress import Reporter
from pipeline.sampling import along_blocks, draw
from pipeline.sources.source import Channel
from pipeline.stage import run_shards


def mapped_series(group: zarr.Group, window: tuple[slice, slice], name: str = "mask") -> tuple[np.ndarray, np.ndarray]:
    """The series of a window's mapped cells.

    Args:
        group: the cube.
        window: rows and columns.
        name: of the mask: "mask" for the cells that are mapped, "train_mask" for those that are trained on.

    Returns:
        Series (n, T, C), and the cells they belong to as a boolean array (y, x).
    """
    channels = read_channels(group)
    numbers, mask = mapped_numbers(group, window, channels, name)
    return to_series(numbers, channels), mask


def mapped_numbers(
    group: zarr.Group, window: tuple[slice, slice], channels: tuple[Channel, ...], name: str = "mask"
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The same as stored: numbers (T, n) by channel; chunks without such cells are not read."""
    mask = stores.read_window(group, name, window) == 1
    n_dates, n_cells = layout.array(group, "time").shape[0], int(mask.sum())
    numbers = {channel.name: np.empty((n_dates, n_cells), channel.dtype) for channel in channels}
    done = 0
    for band in _bands(mask, layout.attributes(group)["chunk"]):
        inside, n = mask[band], int(mask[band].sum())
        top, left = (part.start or 0 for part in window)
        place = slice(band[0].start + top, band[0].stop + top), slice(band[1].start + left, band[1].stop + left)
        for channel in channels:
            stored = stores.read_window(group, channel.name, place)
            numbers[channel.name][:, done : done + n] = stored[:, inside]
        done += n
    return numbers, mask


def _bands(mask: np.ndarray, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Windows, a row of chunks each, that hold all true cells in their order; columns of chunks without any are cut."""
    for top in range(0, mask.shape[0], chunk):
        columns = np.flatnonzero(mask[top : top + chunk].any(axis=0))
        if len(columns):
            left, right = columns[0] // chunk * chunk, (columns[-1] // chunk + 1) * chunk
            yield slice(top, min(top + chunk, mask.shape[0])), slice(int(left), min(int(right), mask.shape[1]))


def to_series(numbers: dict[str, np.ndarray], channels: tuple[Channel, ...]) -> np.ndarray:
    """Stored numbers (T, n) by channel as series (n, T, C)."""
    return np.stack([to_physical(numbers[channel.name].T, channel) for channel in channels], axis=-1)


def fill_with_mean(series: np.ndarray, channel_mean: np.ndarray) -> np.ndarray:
    """Each series with its gaps filled by its own mean in that channel: the mean imputation of the paper.

    Args:
        series: (n, T, C), NaN = missing.
        channel_mean: (C,), for a channel that a series never observed.
    """
    known = ~np.isnan(series)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, series, 0).sum(axis=1, keepdims=True)
    mean = np.where(count > 0, total / np.maximum(count, 1), channel_mean)
    filled: np.ndarray = np.where(known, series, mean).astype(np.float32)
    return filled


@dataclass(frozen=True)
class Sample:
    """Series drawn from a cube, and the cells of its grid that they belong to."""

    series: np.ndarray  # (n, T, C) float32, physical units, NaN = missing
    row: np.ndarray  # (n,) int64
    column: np.ndarray  # (n,) int64


def sample_series(path: Location, size: int, seed: int, executor: Executor, reporter: Reporter) -> Sample:
    """Draw cells to train on at random, in proportion from all parts of the country.

    Args:
        path: of the cube, prepared.
        size: number of series; all cells to train on if there are fewer.
        seed: the same seed gives the same series, in the same order, whatever the executor.
    """
    places = draw(count_cells(stores.require(path, "prepare", "prepare"), "train_mask"), size, seed)
    shares = [_Share(shard, chosen) for shard, chosen in places.items()]
    drawn = dict(run_shards(executor, partial(_sample_shard, path=path), shares, "sample", reporter))
    parts = [drawn[shard] for shard in places]
    return Sample(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("series", "row", "column")))


def series_by_shard(path: Location) -> Iterator[np.ndarray]:
    """All series (n, T, C) to train on, of one shard after the other: memory is bounded by the shard."""
    group = stores.require(path, "prepare", "prepare")
    grid = layout.read_grid(group)
    for shard in grid.shards:
        series, _ = mapped_series(group, grid.window(shard), "train_mask")
        if len(series):
            yield series


@dataclass(frozen=True, eq=False)
class _Share:
    """What is drawn from one shard: numbers in the sequence of its cells (see `pipeline.sampling`)."""

    shard: Shard
    places: np.ndarray

    def __str__(self) -> str:
        return str(self.shard)


def _sample_shard(share: _Share, *, path: Location) -> tuple[Shard, Sample]:
    group = stores.open_to_read(path)
    window = layout.read_grid(group).window(share.shard)
    channels = read_channels(group)
    rows, columns = along_blocks(stores.read_window(group, "train_mask", window) == 1)
    rows, columns = rows[share.places], columns[share.places]
    stored = {channel.name: stores.read_window(group, channel.name, window)[:, rows, columns] for channel in channels}
    count_pixels(len(rows))
    return share.shard, Sample(to_series(stored, channels), rows + window[0].start, columns + window[1].start)

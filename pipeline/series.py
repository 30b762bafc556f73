"""Pixels of the cube as series, the form that the model takes: float32 (n, T, C) in physical units, NaN = missing."""

from functools import partial
from pathlib import Path

import numpy as np
import zarr

from pipeline import layout, stores
from pipeline.channels import read_channels, to_physical
from pipeline.executor import Executor
from pipeline.grid import Shard
from pipeline.prepare import count_cells
from pipeline.progress import Reporter
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
    """The same as stored: numbers (T, n) by channel; of a window without such cells, nothing but the mask is read."""
    mask = stores.read_window(group, name, window) == 1
    if not mask.any():
        n_dates = layout.array(group, "time").shape[0]
        return {channel.name: np.empty((n_dates, 0), channel.dtype) for channel in channels}, mask
    return {channel.name: stores.read_window(group, channel.name, window)[:, mask] for channel in channels}, mask


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


def sample_series(path: Path, size: int, seed: int, executor: Executor, reporter: Reporter) -> np.ndarray:
    """Draw cells to train on at random, spread over the shards in proportion to how many they have.

    Args:
        path: of the cube, prepared.
        size: number of series; all cells to train on if there are fewer.
        seed: the same seed gives the same series, in the same order, whatever the executor.

    Returns:
        Series (n, T, C).
    """
    available = count_cells(stores.require(path, "prepare", "prepare"), "train_mask")
    quota = allot(available, size)
    work = partial(_sample_shard, path=path, quota=quota, seed=seed)
    drawn = dict(run_shards(executor, work, [shard for shard in quota if quota[shard]], "sample", reporter))
    return np.concatenate([drawn[shard] for shard in sorted(drawn)])


def allot(available: dict[Shard, int], size: int) -> dict[Shard, int]:
    """Split `size` over the shards in proportion to what they have, by largest remainder; never more than there is."""
    total = sum(available.values())
    if size >= total:
        return dict(available)
    exact = {shard: size * count / total for shard, count in available.items()}
    quota = {shard: int(value) for shard, value in exact.items()}
    by_remainder = sorted(exact, key=lambda shard: (quota[shard] - exact[shard], shard))
    for shard in by_remainder[: size - sum(quota.values())]:
        quota[shard] += 1
    return quota


def _sample_shard(shard: Shard, *, path: Path, quota: dict[Shard, int], seed: int) -> tuple[Shard, np.ndarray]:
    group = stores.open_to_read(path)
    series, _ = mapped_series(group, layout.read_grid(group).window(shard), "train_mask")
    rng = np.random.default_rng([seed, shard.i, shard.j])
    return shard, series[np.sort(rng.choice(len(series), quota[shard], replace=False))]

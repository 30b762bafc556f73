"""Pixels of the cube as series, the form that the model takes: float32 (n, T) in 0..1, NaN = missing."""

from functools import partial
from pathlib import Path

import numpy as np
import zarr

from pipeline import layout, stores
from pipeline.executor import Executor
from pipeline.grid import Shard
from pipeline.prepare import count_mapped
from pipeline.progress import Reporter
from pipeline.stage import run_shards

SCALE = 100  # stored FPAR is in percent


def mapped_series(group: zarr.Group, window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """The series of a window's mapped cells.

    Args:
        group: the cube.
        window: rows and columns.

    Returns:
        Series (n, T), and the cells they belong to as a boolean array (y, x).
    """
    mask = stores.read_window(group, "mask", window) == 1
    if not mask.any():
        return np.empty((0, int(layout.array(group, "fpar").shape[0])), np.float32), mask
    return to_series(stores.read_window(group, "fpar", window)[:, mask].T), mask


def to_series(stored: np.ndarray) -> np.ndarray:
    """Stored FPAR (uint8, 255 = missing) as float32 in 0..1 with NaN."""
    series = stored.astype(np.float32) / SCALE
    series[stored == layout.MISSING] = np.nan
    return series


def from_fraction(values: np.ndarray) -> np.ndarray:
    """Fractions in 0..1 as uint8 in percent; what lies outside is clipped, NaN becomes 255."""
    known = ~np.isnan(values)
    stored = np.full(values.shape, layout.MISSING, np.uint8)
    stored[known] = np.rint(values[known] * SCALE).clip(0, SCALE)
    return stored


def fill_with_mean(series: np.ndarray) -> np.ndarray:
    """Each series with its gaps filled by its own mean: the mean imputation of the paper."""
    return np.where(np.isnan(series), np.nanmean(series, axis=1, keepdims=True), series)


def sample_series(path: Path, size: int, seed: int, executor: Executor, reporter: Reporter) -> np.ndarray:
    """Draw mapped cells at random, spread over the shards in proportion to their mapped cells.

    Args:
        path: of the cube, prepared.
        size: number of series; all mapped cells if there are fewer.
        seed: the same seed gives the same series, in the same order, whatever the executor.

    Returns:
        Series (n, T).
    """
    mapped = count_mapped(stores.require(path, "prepare", "prepare"))
    quota = allot(mapped, size)
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
    series, _ = mapped_series(group, layout.read_grid(group).window(shard))
    rng = np.random.default_rng([seed, shard.i, shard.j])
    return shard, series[np.sort(rng.choice(len(series), quota[shard], replace=False))]

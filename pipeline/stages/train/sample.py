"""Read series of the cube to train on: a sample drawn evenly over the country, and all series shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.base.accounting import count_pixels
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.masks import count_cells
from pipeline.cube.series import mapped_series, to_series
from pipeline.grid.grid import Shard
from pipeline.grid.sampling import along_blocks, draw
from pipeline.runtime.stage import run_shards
from pipeline.stages.context import Run


@dataclass(frozen=True)
class Sample:
    """Series drawn from a cube, and the cells of its grid that they belong to."""

    series: np.ndarray  # (n, T, C) float32, physical units, NaN = missing
    row: np.ndarray  # (n,) int64
    column: np.ndarray  # (n,) int64


def sample_series(run: Run, size: int, seed: int) -> Sample:
    """Draw cells of the prepared cube to train on at random, in proportion from all parts of the country.

    Args:
        run: with the cube; its workers read the series.
        size: number of series; all cells to train on if there are fewer.
        seed: the same seed draws the same series in the same order, whatever the executor.

    Raises:
        UserError: there is no prepared cube.
        ShardsFailed: some shards could not be read.
    """
    path = run.config.cube
    places = draw(count_cells(stores.require(path, Stage.PREPARE, "prepare"), "train_mask"), size, seed)
    shares = [_Share(shard, chosen) for shard, chosen in places.items()]
    drawn = dict(run_shards(run.executor, partial(_sample_shard, path=path), shares, "sample", run.reporter))
    parts = [drawn[shard] for shard in places]
    return Sample(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("series", "row", "column")))


def series_by_shard(path: Location) -> Iterator[np.ndarray]:
    """Yield all series (n, T, C) to train on, one shard after the other: memory is bounded by the shard."""
    group = stores.require(path, Stage.PREPARE, "prepare")
    grid = layout.read_grid(group)
    for shard in grid.shards:
        series, _ = mapped_series(group, grid.window(shard), "train_mask")
        if len(series):
            yield series


@dataclass(frozen=True, eq=False)
class _Share:
    """What is drawn from one shard: places in the sequence of its cells, see `pipeline.grid.sampling`."""

    shard: Shard
    places: np.ndarray

    def __str__(self) -> str:
        return str(self.shard)


def _sample_shard(share: _Share, *, path: Location) -> tuple[Shard, Sample]:
    """Read the series that are drawn from one shard."""
    group = stores.open_to_read(path)
    window = layout.read_grid(group).window(share.shard)
    channels = read_channels(group)
    rows, columns = along_blocks(stores.read_window(group, "train_mask", window) == 1)
    rows, columns = rows[share.places], columns[share.places]
    stored = {channel.name: stores.read_window(group, channel.name, window)[:, rows, columns] for channel in channels}
    count_pixels(len(rows))
    return share.shard, Sample(to_series(stored, channels), rows + window[0].start, columns + window[1].start)

"""Probes: one shard of a stage, done for real in a temporary folder, to time the others."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.base.calendar import composite_dates
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.label_names import unnamed
from pipeline.cube.map_layers import map_layers
from pipeline.cube.shard_writer import ShardWriter
from pipeline.cube.trained_model import load_model
from pipeline.grid.grid import Grid, Shard
from pipeline.operations.plan.made_up import PREPARED, PROBED, MadeUp, begun_cube, untrained
from pipeline.runtime.executor import Executor, Item
from pipeline.stages import prepare
from pipeline.stages.infer.stage import InferTask
from pipeline.stages.ingest import strips
from pipeline.stages.ingest.strips import IngestSettings, Strip, ingest_strip

_MODEL: Final = "probed-model"
_SHORT: Final = 2.0  # s: shorter work is done twice, because the first time in a process takes longer


@dataclass(frozen=True)
class Probed:
    """The time of one task."""

    seconds: float
    cells: int  # that the time is proportional to


def median_shard(cells: dict[Shard, int]) -> Shard:
    """Return the shard with the median number of cells among those that have some; any where none has."""
    some = sorted((n, shard) for shard, n in cells.items() if n) or sorted((n, shard) for shard, n in cells.items())
    return some[len(some) // 2][1]


def probe_ingest(executor: Executor, settings: IngestSettings, grid: Grid, to_do: list[Strip]) -> Probed:
    """Ingest the strip with the median number of scenes; all cells of its shards count."""
    strip = sorted(to_do, key=lambda one: (len(one.scenes), str(one)))[len(to_do) // 2]
    return _done(executor, _IngestProbe(settings, grid), strip, gpu=False)


def probe_prepare(executor: Executor, config: Config, cube: Location | None, made_up: MadeUp, shard: Shard) -> Probed:
    """Prepare a shard of an ingested cube, or one of made-up numbers; all its cells count."""
    return _done(executor, _PrepareProbe(config, cube, made_up), shard, gpu=False)


def probe_infer(
    executor: Executor, config: Config, cube: Location | None, made_up: MadeUp, shard: Shard, *, trained: bool
) -> Probed:
    """Label a shard of a prepared cube, or one of made-up numbers; its mapped cells count.

    Args:
        executor: where; on a GPU worker where there is one.
        config: of the run.
        cube: prepared; None: numbers are made up.
        made_up: the cube of made-up numbers.
        shard: of the cube.
        trained: whether there is a model; else an untrained one of the same size takes its place.
    """
    make = partial(load_model, config.model) if trained else partial(untrained, config, made_up)
    with executor.on_every_worker(_MODEL, make):
        return _done(executor, _InferProbe(config, cube, made_up), shard, gpu=True)


def _done(executor: Executor, function: Callable[[Item], Probed], item: Item, *, gpu: bool) -> Probed:
    """Do one task where the stage's would be done.

    Raises:
        Exception: what the task raised.
    """
    (outcome,) = executor.run(function, [item], name=PROBED, gpu=gpu)
    if outcome.result is None:
        raise outcome.error or RuntimeError(f"the probe of {item} gave nothing")
    return outcome.result


def _timed(work: Callable[[], object], cells: int) -> Probed:
    """Time some work, twice where it is short."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    if seconds < _SHORT:
        started = time.perf_counter()
        work()
        seconds = min(seconds, time.perf_counter() - started)
    return Probed(seconds, cells)


@dataclass(frozen=True)
class _IngestProbe:
    settings: IngestSettings
    grid: Grid

    def __call__(self, strip: Strip) -> Probed:
        """Do it on the worker."""
        source = self.settings.source
        with _folder() as folder:
            path = folder / "cube.zarr"
            dates = composite_dates(self.settings.year, self.settings.calendar)
            begun_cube(path, self.grid, source.channels, dates, has_biomes=source.has_crop)
            work = partial(ingest_strip, self.settings, ShardWriter(path, strips.STAGE, PROBED), strip)
            cells = (self.grid.shard_geobox(shard).shape for shard in strip.shards)
            return _timed(work, sum(rows * columns for rows, columns in cells))


@dataclass(frozen=True)
class _PrepareProbe:
    config: Config
    cube: Location | None
    made_up: MadeUp

    def __call__(self, shard: Shard) -> Probed:
        """Do it on the worker."""
        with _folder() as folder:
            config = self.config.model_copy(update={"out": folder})
            config.cube.parent.mkdir(parents=True)
            if self.cube is None:
                grid, shard = self.made_up.write(config.cube)
            else:
                grid = _copied(self.cube, config.cube, shard, self.made_up)
            stores.begin_layers(config.cube, prepare.STAGE, PREPARED, grid, prepare.layers(self.made_up.channels))
            writer = ShardWriter(config.cube, prepare.STAGE, PREPARED)
            work = partial(prepare.prepare_shard, shard, config=config, cropland="all", writer=writer, method=PROBED)
            rows, columns = grid.shard_geobox(shard).shape
            return _timed(work, rows * columns)


@dataclass(frozen=True)
class _InferProbe:
    config: Config
    cube: Location | None
    made_up: MadeUp

    def __call__(self, shard: Shard) -> Probed:
        """Do it on the worker."""
        with _folder() as folder:
            source: Location = folder / "cube.zarr"
            if self.cube is None:
                grid, shard = self.made_up.write(folder / "cube.zarr")
            else:
                source, grid = self.cube, layout.read_grid(stores.open_to_read(self.cube))
            training, inference = self.config.training, self.config.inference
            arrays = map_layers(unnamed(training.clusters), self.made_up.channels, inference.outputs)
            target = folder / "map.zarr"
            stores.begin(target, Stage.INFER, PROBED, grid, arrays, axes=[layout.time_axis(self.made_up.dates)])
            writer = ShardWriter(target, Stage.INFER, PROBED)
            task = InferTask(source, writer, PROBED, tuple(arrays), _MODEL, inference.batch_pixels)
            labelled = 0

            def work() -> None:
                nonlocal labelled
                labelled = task(shard)

            return replace(_timed(work, 0), cells=labelled)


def _copied(source: Location, target: Location, shard: Shard, like: MadeUp) -> Grid:
    """Copy one shard of an ingested cube into a cube of its own and return its grid."""
    group = stores.open_to_read(source)
    grid = layout.read_grid(group)
    copy = begun_cube(target, grid, like.channels, like.dates, has_biomes=False)
    for layer in strips.layers(like.channels):
        stores.write_shard(copy, layer.name, grid, shard, stores.read_window(group, layer.name, grid.window(shard)))
    return grid


class _folder(tempfile.TemporaryDirectory[str]):
    """A temporary folder as a path."""

    def __init__(self) -> None:
        super().__init__(prefix="sitscube-probe-")

    def __enter__(self) -> Path:  # type: ignore[override]
        return Path(super().__enter__())

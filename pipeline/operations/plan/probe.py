"""One shard of a stage, done for real in a temporary folder, to know how long the others will take."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import zarr

from model import JointClustering
from model.series import ChannelScaler
from pipeline.base.calendar import composite_dates
from pipeline.base.channel import Channel
from pipeline.base.locations import Location
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.label_names import unnamed
from pipeline.cube.map_layers import map_layers
from pipeline.cube.trained_model import load_model
from pipeline.grid.grid import Grid, Shard
from pipeline.runtime.executor import Executor, Item
from pipeline.stages import prepare
from pipeline.stages.infer.stage import InferTask
from pipeline.stages.ingest import strips
from pipeline.stages.ingest.strips import IngestSettings, Strip, ingest_strip
from pipeline.stages.train.stage import make_estimator

_MARK: Final = "probe"
_MODEL: Final = "probed-model"
_SHORT: Final = 2.0  # s: what takes less is done again, for the first time in a process takes longer
_MOST_MADE_UP: Final = 512  # cells along y and x of a shard of made-up numbers


@dataclass(frozen=True)
class Probed:
    """What one task took."""

    seconds: float
    cells: int  # that its time is in proportion to


def median_shard(cells: dict[Shard, int]) -> Shard:
    """The shard with the median number of cells among those that have some; any where none has."""
    some = sorted((n, shard) for shard, n in cells.items() if n) or sorted((n, shard) for shard, n in cells.items())
    return some[len(some) // 2][1]


def probe_ingest(executor: Executor, method: IngestSettings, grid: Grid, to_do: list[Strip]) -> Probed:
    """Ingest the strip with the median number of scenes; cells are all of its shards'."""
    strip = sorted(to_do, key=lambda one: (len(one.scenes), str(one)))[len(to_do) // 2]
    return _done(executor, _IngestProbe(method, grid), strip, gpu=False)


def probe_prepare(executor: Executor, config: Config, cube: Location | None, made_up: "MadeUp", shard: Shard) -> Probed:
    """Prepare a shard of an ingested cube, or one of made-up numbers; cells are all of the shard's."""
    return _done(executor, _PrepareProbe(config, cube, made_up), shard, gpu=False)


def probe_infer(
    executor: Executor, config: Config, cube: Location | None, made_up: "MadeUp", shard: Shard, *, trained: bool
) -> Probed:
    """Label a shard of a prepared cube, or one of made-up numbers, all mapped; cells are the mapped ones.

    Args:
        executor: where; on a GPU worker where there is one.
        config: of the run.
        cube: prepared; None: numbers are made up.
        made_up: what they look like.
        shard: of the cube.
        trained: whether there is a model; else an untrained one of the same size is as fast.
    """
    make = partial(load_model, config.model) if trained else partial(untrained, config, made_up)
    with executor.on_every_worker(_MODEL, make):
        return _done(executor, _InferProbe(config, cube, made_up), shard, gpu=True)


def untrained(config: Config, made_up: "MadeUp", device: str = "cpu") -> JointClustering:
    """A network as the configuration describes it, with random weights."""
    torch.set_num_threads(1)
    estimator = make_estimator(config)
    n_times, n_channels = len(made_up.dates), len(made_up.channels)
    estimator.model_ = estimator.new_model(n_times, n_channels).eval()
    if device == "auto" and torch.cuda.is_available():
        estimator.model_ = estimator.model_.to("cuda")
    estimator.scaler_ = ChannelScaler((0.0,) * n_channels, (1.0,) * n_channels)
    estimator.n_times_, estimator.n_channels_ = n_times, n_channels
    return estimator


@dataclass(frozen=True)
class MadeUp:
    """A cube of made-up numbers, for want of a real one: noise with gaps, which takes as long as any series."""

    channels: tuple[Channel, ...]
    year: int
    calendar: Any
    grid: Grid  # whose cells the cube takes, one shard of them

    @property
    def dates(self) -> np.ndarray:
        """Of the year."""
        return composite_dates(self.year, self.calendar)

    def write(self, path: Location) -> tuple[Grid, Shard]:
        """Write the cube, ingested and prepared, every cell mapped."""
        side = min(self.grid.shard, max(self.grid.chunk, _MOST_MADE_UP // self.grid.chunk * self.grid.chunk))
        rows, columns = (min(side, n) for n in self.grid.shape)
        grid = replace(self.grid, geobox=self.grid.geobox[:rows, :columns], shard=side)
        (shard,) = grid.shards
        rng = np.random.default_rng(0)
        group = begun_cube(path, grid, self.channels, self.dates, has_biomes=False)
        for channel in self.channels:
            low, high = channel.valid_range
            numbers = rng.integers(low, min(high, low + 100), (len(self.dates), rows, columns), endpoint=True)
            numbers[rng.random(numbers.shape) < 0.3] = channel.missing
            stores.write_shard(group, channel.name, grid, shard, numbers.astype(channel.dtype))
        mask = layout.Layer("mask", {})
        group = stores.begin_layers(path, prepare.STAGE, _MARK, grid, [mask])
        stores.write_shard(group, "mask", grid, shard, np.ones((rows, columns), np.uint8))
        return grid, shard


def begun_cube(
    path: Location, grid: Grid, channels: tuple[Channel, ...], dates: np.ndarray, *, has_biomes: bool
) -> zarr.Group:
    """A cube with every array of ingest in place, and nothing in them."""
    about = {"channels": [channel.name for channel in channels], "has_biomes": has_biomes}
    layers, axes = strips.layers(channels), [layout.time_axis(dates)]
    return stores.begin(path, strips.STAGE, _MARK, grid, layers, axes=axes, about=about)


def _done(executor: Executor, function: Callable[[Item], Probed], item: Item, *, gpu: bool) -> Probed:
    """Have one task done where the stage's would be.

    Raises:
        Exception: what the task raised.
    """
    (outcome,) = executor.run(function, [item], name=_MARK, gpu=gpu)
    if outcome.result is None:
        raise outcome.error or RuntimeError(f"the probe of {item} gave nothing")
    return outcome.result


def _timed(work: Callable[[], object], cells: int) -> Probed:
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
    method: IngestSettings
    grid: Grid

    def __call__(self, strip: Strip) -> Probed:
        """Called on the worker."""
        source = self.method.source
        with _folder() as folder:
            path = folder / "cube.zarr"
            dates = composite_dates(self.method.year, self.method.calendar)
            begun_cube(path, self.grid, source.channels, dates, has_biomes=source.has_crop)
            work = partial(ingest_strip, replace(self.method, path=path), _MARK, strip)
            cells = (self.grid.shard_geobox(shard).shape for shard in strip.shards)
            return _timed(work, sum(rows * columns for rows, columns in cells))


@dataclass(frozen=True)
class _PrepareProbe:
    config: Config
    cube: Location | None
    made_up: MadeUp

    def __call__(self, shard: Shard) -> Probed:
        """Called on the worker."""
        with _folder() as folder:
            config = self.config.model_copy(update={"out": folder})
            config.cube.parent.mkdir(parents=True)
            if self.cube is None:
                grid, shard = self.made_up.write(config.cube)
            else:
                grid = _copied(self.cube, config.cube, shard, self.made_up)
            stores.begin_layers(config.cube, prepare.STAGE, f"{_MARK} 2", grid, prepare.layers(self.made_up.channels))
            work = partial(prepare.prepare_shard, shard, config=config, cropland="all", mark=f"{_MARK} 2", method=_MARK)
            rows, columns = grid.shard_geobox(shard).shape
            return _timed(work, rows * columns)


@dataclass(frozen=True)
class _InferProbe:
    config: Config
    cube: Location | None
    made_up: MadeUp

    def __call__(self, shard: Shard) -> Probed:
        """Called on the worker."""
        with _folder() as folder:
            source: Location = folder / "cube.zarr"
            if self.cube is None:
                grid, shard = self.made_up.write(folder / "cube.zarr")
            else:
                source, grid = self.cube, layout.read_grid(stores.open_to_read(self.cube))
            training, inference = self.config.training, self.config.inference
            arrays = map_layers(unnamed(training.clusters), self.made_up.channels, inference.outputs)
            target = folder / "map.zarr"
            stores.begin(target, "infer", _MARK, grid, arrays, axes=[layout.time_axis(self.made_up.dates)])
            task = InferTask(source, target, _MARK, _MARK, arrays, _MODEL, inference.batch_pixels)
            labelled = 0

            def work() -> None:
                nonlocal labelled
                labelled = task(shard)

            return replace(_timed(work, 0), cells=labelled)


def _copied(source: Location, target: Location, shard: Shard, like: MadeUp) -> Grid:
    """Copy what ingest has written of one shard into a cube of its own."""
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

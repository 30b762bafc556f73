"""Made-up numbers for probes, where there is no cube or no model yet: they take as long as any."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
import zarr

from model import JointClustering
from model.series import ChannelScaler
from pipeline.base.calendar import CalendarName, composite_dates
from pipeline.base.channel import Channel
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid, Shard
from pipeline.stages import prepare
from pipeline.stages.ingest import strips
from pipeline.stages.train.stage import make_estimator

PROBED: Final = Fingerprint("probe")  # of all that a probe writes
PREPARED: Final = Fingerprint("probe 2")  # of what it prepares
_LARGEST: Final = 512  # cells along y and x of a shard of made-up numbers


@dataclass(frozen=True)
class MadeUp:
    """A cube of made-up numbers: noise with gaps."""

    channels: tuple[Channel, ...]
    year: int
    calendar: CalendarName
    grid: Grid  # the cube is one shard of it

    @property
    def dates(self) -> np.ndarray:
        """Return the dates of the year, (T,)."""
        return composite_dates(self.year, self.calendar)

    def write(self, path: Location) -> tuple[Grid, Shard]:
        """Write the cube, ingested and prepared, every cell mapped; return its grid and its shard."""
        side = min(self.grid.shard, max(self.grid.chunk, _LARGEST // self.grid.chunk * self.grid.chunk))
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
        group = stores.begin_layers(path, prepare.STAGE, PROBED, grid, [mask])
        stores.write_shard(group, "mask", grid, shard, np.ones((rows, columns), np.uint8))
        return grid, shard


def begun_cube(
    path: Location, grid: Grid, channels: tuple[Channel, ...], dates: np.ndarray, *, has_biomes: bool
) -> zarr.Group:
    """Make a cube with all arrays of ingest, which are empty."""
    about = {"channels": [channel.name for channel in channels], "has_biomes": has_biomes}
    layers, axes = strips.layers(channels), [layout.time_axis(dates)]
    return stores.begin(path, strips.STAGE, PROBED, grid, layers, axes=axes, about=about)


def untrained(config: Config, made_up: MadeUp, device: str = "cpu") -> JointClustering:
    """Return an estimator of the configured size with random weights."""
    torch.set_num_threads(1)
    estimator = make_estimator(config)
    n_times, n_channels = len(made_up.dates), len(made_up.channels)
    estimator.model_ = estimator.new_model(n_times, n_channels).eval()
    if device == "auto" and torch.cuda.is_available():
        estimator.model_ = estimator.model_.to("cuda")
    estimator.scaler_ = ChannelScaler((0.0,) * n_channels, (1.0,) * n_channels)
    estimator.n_times_, estimator.n_channels_ = n_times, n_channels
    return estimator

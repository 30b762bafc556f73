"""The parts of inference, each measured alone on the workers: reading, the network, writing.

Every function is a task: it prepares the input of the part, measures the part alone, and returns its seconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels, to_physical
from pipeline.cube.label_names import SEASON_NAMES
from pipeline.cube.map_layers import map_layers
from pipeline.cube.series import mapped_numbers
from pipeline.cube.trained_model import load_model
from pipeline.grid.grid import Shard
from pipeline.stages.infer.labelling import label_series
from pipeline.stages.memory import batch_pixels

SCRATCH = "scratch"  # stage of the written shards


@dataclass(frozen=True)
class Part:
    """One part of the work on a shard, as a task."""

    config: Config
    name: str  # of PARTS

    def __call__(self, shard: Shard) -> float:
        """Return the seconds of the part alone."""
        torch.set_num_threads(1)
        return PARTS[self.name](self.config, shard)


def nothing(shard: Shard) -> None:
    """Do nothing: the time is the cost of a task itself."""


def read(config: Config, shard: Shard) -> float:
    """Read and decode the mapped cells' series."""
    started = time.perf_counter()
    _numbers(config, shard)
    return time.perf_counter() - started


def label(config: Config, shard: Shard) -> float:
    """Label stored numbers in memory and encode the outputs in memory."""
    numbers, channels = _numbers(config, shard)
    model = load_model(config.model)
    wanted = [layer.name for layer in _layers(config)]
    started = time.perf_counter()
    label_series(model, numbers, channels, batch_pixels(model), wanted)
    return time.perf_counter() - started


@torch.inference_mode()
def network(config: Config, shard: Shard) -> float:
    """Run the network's forward pass alone, on prepared tensors in the same batches."""
    numbers, channels = _numbers(config, shard)
    model = load_model(config.model)
    minimum, span = model.scaler_.by_channel(torch.device("cpu"))
    dates = np.stack([to_physical(numbers[one.name], one) for one in channels], 1)
    scaled = torch.from_numpy(dates).sub_(minimum).div_(span)
    # in the layout and with the padding of `infer_dates`
    batches = [part.contiguous().permute(2, 0, 1) for part in scaled.split(batch_pixels(model), 2)]
    masks = [~part.isnan() for part in batches]
    started = time.perf_counter()
    for x, mask in zip(batches, masks, strict=True):
        model.model_(x, mask)
    return time.perf_counter() - started


def write(config: Config, shard: Shard) -> float:
    """Encode and write every output, from memory."""
    path = config.map.with_name("scratch.zarr")
    group, done = stores.open_to_write(path), stores.open_to_read(config.map)
    grid = layout.read_grid(done)
    layers = {layer.name: stores.read_window(done, layer.name, grid.window(shard)) for layer in _layers(config)}
    started = time.perf_counter()
    for name, data in layers.items():
        stores.write_shard(group, name, grid, shard, data)
    return time.perf_counter() - started


PARTS: dict[str, Callable[[Config, Shard], float]] = {
    "read+decode": read,
    "model (label_series)": label,
    "network alone": network,
    "encode+write": write,
}


def begin_scratch(config: Config) -> None:
    """Make the store of `write`, like the map."""
    group = stores.open_to_read(config.map)
    axes = [layout.time_axis(layout.read_dates(group))]
    path = config.map.with_name("scratch.zarr")
    stores.begin(path, SCRATCH, SCRATCH, layout.read_grid(group), _layers(config), axes=axes)


def _numbers(config: Config, shard: Shard) -> tuple[dict[str, np.ndarray], tuple]:
    cube = stores.open_to_read(config.cube)
    channels = read_channels(cube)
    return mapped_numbers(cube, layout.read_grid(cube).window(shard), channels)[0], channels


def _layers(config: Config) -> tuple[layout.Layer, ...]:
    cube = stores.open_to_read(config.cube)
    return map_layers(SEASON_NAMES, read_channels(cube), config.inference.outputs)

"""Infer: every mapped cell gets its label, confidence and filled series, shard by shard, into `map.zarr`."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
import zarr

from model import JointClustering
from pipeline import layout, stores
from pipeline.channels import layer, read_channels, to_stored, width_channel
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.fingerprint import fingerprint
from pipeline.grid import Shard
from pipeline.progress import Reporter, Silent
from pipeline.series import mapped_numbers, to_series
from pipeline.sources.source import Channel
from pipeline.stage import StageResult, run_shards
from pipeline.train import expected_of_model, model_digest

STAGE: Final = "infer"
VERSION: Final = 2
SEASON_NAMES: Final = ("winter", "summer")  # of two clusters, ordered by the date of their peak


def layers(n_clusters: int, channels: tuple[Channel, ...], *, crops: bool) -> list[layout.Layer]:
    """The arrays of `map.zarr`; two clusters are called after seasons only where crops alone are mapped."""
    seasons = crops and n_clusters == len(SEASON_NAMES)
    names = SEASON_NAMES if seasons else tuple(f"cluster_{k}" for k in range(n_clusters))
    label = {
        "long_name": "cluster of the year's series, in the order of the date of its peak",
        "flag_values": list(range(n_clusters)),
        "flag_meanings": " ".join(names),
    }
    of_channels = []
    for channel, name in zip(channels, spread_names(channels), strict=True):
        filled = f"gaps filled by the network: {channel.long_name}"
        spread = "difference of forward and backward estimate where a gap was filled, 0 where observed"
        of_channels += [
            layer(channel, filled_name(channel), long_name=filled),
            layer(width_channel(channel), name, long_name=spread),
        ]
    return [
        layout.Layer("label", label),
        layout.Layer("confidence", {"long_name": "soft assignment q of the label", "units": "percent"}),
        *of_channels,
    ]


def maps_crops(cube: zarr.Group) -> bool:
    """Whether the mapped cells were chosen to be cropland."""
    return bool(layout.attributes(cube)["cropland"] != "all")


def filled_name(channel: Channel) -> str:
    """Of the array with a channel's filled series."""
    return f"{channel.name}_filled"


def spread_names(channels: tuple[Channel, ...]) -> list[str]:
    """Of the arrays that say how far the two directions of the network differ: "fill_spread" of the only channel."""
    return ["fill_spread"] if len(channels) == 1 else [f"{channel.name}_fill_spread" for channel in channels]


def infer(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Label every mapped cell and fill its gaps.

    Writes `map.zarr`: label, confidence (y, x), uint8, 255 = not mapped, and <channel>_filled, fill_spread (time, y, x)
    as the channel is stored (with several channels, <channel>_fill_spread).

    Raises:
        UserError: there is no prepared cube or no trained model, the model is not for such a cube, or the output
            cannot be written.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    cube = stores.require(config.cube, "prepare", "prepare")
    grid = layout.read_grid(cube)
    digest = model_digest(config.model)
    n_clusters = fitting_model(config.model, cube).n_clusters
    mark = fingerprint(STAGE, VERSION, stores.stage_fingerprint(cube, "prepare"), digest)
    path = config.map
    if stores.is_finished(stores.find(path), STAGE, mark):
        return StageResult(STAGE, False, (path,))
    about = {
        "title": f"{'seasons of' if maps_crops(cube) else 'clusters of'} {config.region.name}, {config.year}",
        "source": layout.attributes(cube)["source"],
        "simulated": layout.attributes(cube)["simulated"],
        "channels": layout.attributes(cube)["channels"],
        "model": digest,
    }
    dates = layout.time_axis(layout.read_dates(cube))
    arrays = layers(n_clusters, read_channels(cube), crops=maps_crops(cube))
    group = stores.begin(path, STAGE, mark, grid, arrays, axes=[dates], about=about)
    work = partial(
        _infer_shard,
        cube=config.cube,
        target=path,
        arrays=arrays,
        model=config.model,
        digest=digest,
        batch=config.inference.batch_pixels,
    )
    shards = stores.shards_to_do(path, [array.name for array in arrays], grid)
    labelled = sum(run_shards(executor, work, shards, STAGE, reporter))
    stores.finish(group, STAGE, mark)
    return StageResult(STAGE, True, (path,), {"shards": len(shards), "labelled_now": labelled})


def fitting_model(folder: Path, cube: zarr.Group) -> JointClustering:
    """The trained model, checked against the cube before any shard: number of dates and channels, calendar, names.

    Raises:
        UserError: the files are damaged or of another version, or the model does not fit; it says what differs.
    """
    try:
        return JointClustering.load(folder, expect=expected_of_model(cube))
    except (ValueError, OSError) as error:
        raise UserError(
            f"the model in {folder} cannot be used on {cube.store_path}: {error} `sitscube train` makes one that fits."
        ) from None


@lru_cache(maxsize=1)
def load_model(folder: Path, digest: str) -> JointClustering:
    """The trained model, loaded once in every process; `digest` makes another content another entry.

    Raises:
        UserError: the files are damaged, or of another version.
    """
    torch.set_num_threads(1)  # networks this small are slower on more, and other workers want the cores
    try:
        return JointClustering.load(folder)
    except (ValueError, OSError) as error:
        raise UserError(f"the model in {folder} cannot be used: {error}. Run `sitscube train` again.") from None


def _infer_shard(
    shard: Shard, *, cube: Path, target: Path, arrays: Sequence[layout.Layer], model: Path, digest: str, batch: int
) -> int:
    """Write one shard of every output; returns the number of labelled cells."""
    source, group = stores.open_to_read(cube), stores.open_to_write(target)
    grid, channels = layout.read_grid(source), read_channels(source)
    numbers, mask = mapped_numbers(source, grid.window(shard), channels)
    n_dates, n_cells = numbers[channels[0].name].shape
    found = label_series(load_model(model, digest), numbers, channels, batch) if n_cells else {}
    for array in reversed(arrays):
        data = np.full((*((n_dates,) if array.lead else ()), *mask.shape), array.fill, array.dtype)
        if array.name in found:
            data[..., mask] = found[array.name]
        stores.write_shard(group, array.name, grid, shard, data)
    return n_cells


def label_series(
    estimator: JointClustering, numbers: dict[str, np.ndarray], channels: tuple[Channel, ...], batch: int
) -> dict[str, np.ndarray]:
    """What the outputs hold, as they are stored: (n,) or (T, n) arrays by name.

    Args:
        estimator: the trained model.
        numbers: of the cells, as the cube stores them, (T, n) by channel.
        channels: of the cube.
        batch: cells that go through the network at once.
    """
    series = to_series(numbers, channels)
    result = estimator.infer(series, batch_size=batch)
    stored = {
        "label": result.labels.astype(np.uint8),
        "confidence": np.rint(100 * result.proba.max(axis=1)).astype(np.uint8),
    }
    for c, (channel, name) in enumerate(zip(channels, spread_names(channels), strict=True)):
        spread = np.where(np.isnan(series[..., c]), result.spread[..., c], 0)
        filled, given = to_stored(result.filled[..., c], channel).T, numbers[channel.name]
        # what was observed stays as it is stored, whatever the network's float32 can hold
        stored[filled_name(channel)] = np.where(given != channel.missing, given, filled)
        stored[name] = to_stored(spread, width_channel(channel)).T
    return stored

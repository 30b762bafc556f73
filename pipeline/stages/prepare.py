"""Prepare: count and average the observations of every cell, and choose the cells to map and to train on."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import zarr

from pipeline.base.accounting import count_pixels
from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint, content_digest, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.masks import count_cells
from pipeline.cube.shard_writer import ShardWriter
from pipeline.cube.zarr_access import location_of
from pipeline.grid.grid import Shard, cells_inside
from pipeline.grid.polygons import inside, read_outline
from pipeline.references import legend
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.stages.context import Run
from pipeline.stages.memory import prepare_bytes, work_of
from pipeline.stages.reference import reduce_reference
from pipeline.stages.shard_stage import ShardStage

STAGE: Final = Stage.PREPARE
VERSION: Final = 3
CROP_BIOME_LEAST: Final = 50  # percent of a cell's observations, if the biome decides what is cropland
NO_DAY: Final = 65535  # in layers of days: there is no observation


def layers(channels: tuple[Channel, ...]) -> list[layout.Layer]:
    """Return the arrays that prepare adds to the cube."""
    days = {"units": "1", "comment": "day of the year, from 1, of the first day of the composite"}
    yes_no = {"flag_values": [0, 1]}
    means = [
        layout.Layer(
            f"mean_{channel.name}",
            {
                "long_name": f"mean over the valid observations of the year: {channel.long_name}",
                "units": channel.units,
                "scale_factor": channel.scale,
                **({"add_offset": channel.offset} if channel.offset else {}),
            },
            dtype=channel.dtype,
            fill=channel.missing,
        )
        for channel in channels
    ]
    return [
        layout.Layer(
            "observed",
            {"long_name": "whether any channel was observed", **yes_no, "flag_meanings": "gap observed"},
            ("time",),
        ),
        layout.Layer("n_observed", {"long_name": "number of dates with a valid observation", "units": "1"}),
        *means,
        layout.Layer(
            "longest_gap",
            {"long_name": "most dates in a row without an observation", "units": "1"},
        ),
        layout.Layer("first_observed", {"long_name": "first observation", **days}, dtype="uint16", fill=NO_DAY),
        layout.Layer("last_observed", {"long_name": "last observation", **days}, dtype="uint16", fill=NO_DAY),
        layout.Layer(
            "mask",
            {
                "long_name": "cells that are mapped: of the region, cropland, and observed often enough",
                **yes_no,
                "flag_meanings": "not_mapped mapped",
            },
        ),
        layout.Layer(
            "train_mask",
            {
                "long_name": "mapped cells that are observed often enough to be trained on",
                **yes_no,
                "flag_meanings": "not_trained_on trained_on",
            },
        ),
    ]


def prepare(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Count observations, average them, find the gaps, and choose the cells that are mapped and trained on.

    Adds observed (time, y, x) and n_observed, mean_<channel>, longest_gap, first_observed, last_observed, mask and
    train_mask (y, x) to `cube.zarr`. Where the reference map decides what is cropland, `reference.zarr` is written,
    too; only crop against no crop is used of it, never which crop.

    Raises:
        UserError: there is no finished cube, the reference map cannot be used, or no cell is left to map.
        ShardsFailed: some shards could not be done.
    """
    run = Run.of(config, executor, reporter)
    cube = stores.require(config.cube, Stage.INGEST, "ingest")
    cropland, of_reference = choose_cropland(config, cube), None
    if cropland == "reference":
        reference = reduce_reference(run, layout.read_grid(cube)).outputs[0]
        of_reference = stores.stage_fingerprint_at(reference, Stage.REFERENCE)
    stage = prepare_stage(config, cube, cropland, of_reference)
    fresh = not stage.is_finished()
    if fresh:
        task = partial(prepare_shard, config=config, cropland=cropland, writer=stage.writer, method=stage.method)
        stage.carry_out(run, task, cropland=cropland)
    group = stores.open_to_read(config.cube)
    mapped, trained = (sum(count_cells(group, name).values()) for name in ("mask", "train_mask"))
    if (trained if config.trains else mapped) == 0:
        raise UserError(
            f"{config.cube}: no cell is left to {'train on' if mapped else 'map'} (cropland by {cropland}). Check that "
            "the region, the observations and the reference map overlap, and the settings under [preparation]."
        )
    facts = {"mapped_cells": mapped, "cells_to_train_on": trained, "cropland": cropland}
    return StageResult(STAGE, fresh, (config.cube,), facts)


def prepare_stage(config: Config, cube: zarr.Group, cropland: str, of_reference: Fingerprint | None) -> ShardStage:
    """Return what prepare adds to an ingested cube.

    Args:
        config: of the run.
        cube: that ingest has finished.
        cropland: what decides which cells are mapped, see `choose_cropland`.
        of_reference: fingerprint of the reduced reference map; None where it does not decide.
    """
    grid, channels = layout.read_grid(cube), read_channels(cube)
    rules = _rules(config, cropland, of_reference)
    method = fingerprint_of(STAGE, VERSION, *rules)
    cells = cells_inside(grid, read_outline(config.region.outline))
    return ShardStage(
        STAGE,
        config.cube,
        fingerprint_of(STAGE, VERSION, stores.stage_fingerprint(cube, Stage.INGEST), *rules),
        grid,
        tuple(layers(channels)),
        shard_fingerprints(cube, method, grid.shards),
        method=method,
        adds_layers=True,
        cells=cells,
        work=work_of(grid, channels, layout.array(cube, "time").shape[0], cells),
        memory=prepare_bytes,
    )


def shard_fingerprints(cube: zarr.Group, method: Fingerprint, shards: Sequence[Shard]) -> dict[Shard, Fingerprint]:
    """Return the fingerprints of what prepare adds to single shards: of the method and of the observations in each."""
    made_from = stores.stage_fingerprint(cube, Stage.INGEST)
    return stores.fingerprints_after(location_of(cube), Stage.INGEST, made_from, method, shards)


def _rules(config: Config, cropland: str, of_reference: Fingerprint | None) -> tuple[object, ...]:
    """Return all but the observations that prepare depends on."""
    outline = content_digest(config.region.outline)
    rules = config.preparation.model_dump(exclude={"cropland"})
    return outline, cropland, of_reference, rules


def choose_cropland(config: Config, cube: zarr.Group) -> str:
    """Return what decides which cells are mapped: "reference", "biome" or "all"; "auto" takes the first that there is.

    Raises:
        UserError: biomes are to decide, and the source of the cube has none.
    """
    has_biomes = layout.attributes(cube)["has_biomes"]
    if config.preparation.cropland == "biome" and not has_biomes:
        raise UserError(
            "preparation.cropland is 'biome', but these observations carry no land cover: "
            "set it to 'reference' or 'all'."
        )
    if config.preparation.cropland != "auto":
        return config.preparation.cropland
    given = config.reference.path is not None  # if the named map does not exist, reading it raises the error
    there = config.reference_path is not None and config.reference_path.exists()
    if given or there:
        return "reference"
    return "biome" if has_biomes else "all"


def longest_gaps(observed: np.ndarray) -> np.ndarray:
    """Count the most dates in a row without an observation: whole numbers (y, x) of a boolean array (time, y, x)."""
    gap = np.zeros(observed.shape[1:], np.int64)
    longest = np.zeros_like(gap)
    for one in observed:
        gap = np.where(one, 0, gap + 1)
        np.maximum(longest, gap, out=longest)
    return longest


def prepare_shard(shard: Shard, *, config: Config, cropland: str, writer: ShardWriter, method: Fingerprint) -> None:
    """Prepare one shard.

    Args:
        shard: which one.
        config: of the run.
        cropland: what decides which cells are mapped, see `choose_cropland`.
        writer: of the cube.
        method: fingerprint of all but the observations, see `prepare_stage`.
    """
    group = stores.open_to_read(config.cube)
    made_from = shard_fingerprints(group, method, [shard])[shard]
    grid = layout.read_grid(group)
    window = grid.window(shard)
    observed, means = _read_observations(group, window)
    days = (layout.read_dates(group) - np.datetime64(f"{config.year}-01-01")).astype(int) + 1
    n = observed.sum(axis=0)
    first, last = days[observed.argmax(axis=0)], days[len(days) - 1 - observed[::-1].argmax(axis=0)]
    mapped = _mapped(shard, config, cropland, group) & (n >= config.preparation.min_observations)
    trained = mapped & (n >= config.preparation.min_train_observations)
    out = means | {
        "observed": observed.astype(np.uint8),
        "n_observed": n.astype(np.uint8),
        "longest_gap": longest_gaps(observed).astype(np.uint8),
        "first_observed": np.where(n > 0, first, NO_DAY).astype(np.uint16),
        "last_observed": np.where(n > 0, last, NO_DAY).astype(np.uint16),
        "mask": mapped.astype(np.uint8),
        "train_mask": trained.astype(np.uint8),
    }
    cells = {"mask": int(mapped.sum()), "train_mask": int(trained.sum())}
    writer.write(grid, shard, out.items(), made_from, cells=cells)
    count_pixels(n.size)


def _read_observations(group: zarr.Group, window: tuple[slice, slice]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read all channels of a window, one after the other.

    Returns:
        Whether any channel was observed, boolean (time, y, x), and the layers of the channels' means (y, x) by name.

    Raises:
        ValueError: the cube has no channels.
    """
    means: dict[str, np.ndarray] = {}
    observed: np.ndarray | None = None
    for channel in read_channels(group):
        stored = stores.read_window(group, channel.name, window)
        valid = stored != channel.missing
        observed = valid if observed is None else observed | valid
        count = valid.sum(axis=0)
        total = np.where(valid, stored, 0).sum(axis=0, dtype=np.int64)
        mean = np.full(count.shape, channel.missing, channel.dtype)
        mean[count > 0] = np.rint(total[count > 0] / count[count > 0])
        means[f"mean_{channel.name}"] = mean
    if observed is None:
        raise ValueError(f"{location_of(group)} has no channels")
    return observed, means


def _mapped(shard: Shard, config: Config, cropland: str, group: zarr.Group) -> np.ndarray:
    """Return the cells of a shard that are in the region, have enough land, and are cropland."""
    grid = layout.read_grid(group)
    window = grid.window(shard)
    mapped = inside(grid.shard_geobox(shard), read_outline(config.region.outline))
    if config.preparation.min_land_share > 0:
        land = stores.read_window(group, "land_share", window)
        mapped &= (land != layout.MISSING) & (land >= 100 * config.preparation.min_land_share)
    if cropland == "reference":
        mapped &= _is_crop(config.reference_grid, window)
    elif cropland == "biome":
        share = stores.read_window(group, "crop_biome", window)
        mapped &= (share != layout.MISSING) & (share >= CROP_BIOME_LEAST)
    return mapped


def _is_crop(path: Location, window: tuple[slice, slice]) -> np.ndarray:
    """Return the cells of a window in which the reduced reference map has a crop."""
    group = stores.require(path, Stage.REFERENCE, "prepare")
    return legend.crops(stores.read_window(group, "code", window), legend.of_attributes(layout.attributes(group)))

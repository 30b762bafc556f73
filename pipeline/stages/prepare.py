"""Prepare: how each cell was observed through the year, its mean, and which cells are mapped and trained on."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import zarr

from pipeline.base.accounting import count_pixels
from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import content_digest, fingerprint
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.disk_space import check_room
from pipeline.cube.masks import count_cells
from pipeline.cube.zarr_access import location_of
from pipeline.grid.grid import Shard, cells_inside
from pipeline.grid.polygons import inside, read_outline
from pipeline.references import legend
from pipeline.runtime.executor import Executor, InProcess
from pipeline.runtime.stage import StageResult, run_shards
from pipeline.stages.memory import check_tasks, prepare_bytes, work_of
from pipeline.stages.reference import reduce_reference

STAGE: Final = "prepare"
VERSION: Final = 3
CROP_BIOME_LEAST: Final = 50  # percent of a cell's observations, where the biome decides what is cropland
NO_DAY: Final = 65535  # of layers that hold days, where there is no observation


def layers(channels: tuple[Channel, ...]) -> list[layout.Layer]:
    """The arrays that prepare adds to the cube."""
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
    train_mask (y, x) to `cube.zarr`; where the reference map says what is cropland, also writes `reference.zarr`. Only
    crop against no crop is taken from it, never which crop.

    Raises:
        UserError: there is no finished cube, the reference map cannot be used, or no cell is left to map.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    path = config.cube
    grid = layout.read_grid(stores.require(path, "ingest", "ingest"))
    group = stores.open_to_write(path)
    cropland = choose_cropland(config, group)
    if cropland == "reference":
        reference_mark = stores.stage_fingerprint_at(
            reduce_reference(config, grid, executor, reporter).outputs[0], "reference"
        )
    else:
        reference_mark = None
    mark = prepare_mark(config, group, cropland, reference_mark)
    method = prepare_method(config, cropland, reference_mark)
    if not stores.is_finished(group, STAGE, mark):
        fresh = True
        channels, n_dates = read_channels(group), layout.array(group, "time").shape[0]
        arrays, cells = layers(channels), cells_inside(grid, read_outline(config.region.outline))
        size = work_of(grid, channels, n_dates, cells)
        check_tasks(STAGE, prepare_bytes, size, grid.chunk, executor.describe())
        group = stores.begin_layers(path, STAGE, mark, grid, arrays)
        work = partial(prepare_shard, config=config, cropland=cropland, mark=mark, method=method)
        marks = shard_marks(group, method, grid.shards)
        shards = stores.shards_to_do(path, STAGE, marks, [layer.name for layer in arrays], grid)
        check_room(path, arrays, n_dates, grid, cells, shards)
        for _ in run_shards(executor, work, shards, STAGE, reporter):
            pass
        stores.finish(group, STAGE, mark, cropland=cropland)
    else:
        fresh = False
    mapped, trained = (sum(count_cells(group, name).values()) for name in ("mask", "train_mask"))
    if (trained if config.trains else mapped) == 0:
        raise UserError(
            f"{path}: no cell is left to {'train on' if mapped else 'map'} (cropland by {cropland}). Check that the "
            "region, the observations and the reference map overlap, and the settings under [preparation]."
        )
    return StageResult(
        STAGE, fresh, (path,), {"mapped_cells": mapped, "cells_to_train_on": trained, "cropland": cropland}
    )


def prepare_mark(config: Config, cube: zarr.Group, cropland: str, reference_mark: str | None) -> str:
    """Fingerprint of what prepare adds to an ingested cube; with that of the reduced map where it decides."""
    made_from = stores.stage_fingerprint(cube, "ingest")
    return fingerprint(STAGE, VERSION, made_from, *_rules(config, cropland, reference_mark))


def prepare_method(config: Config, cropland: str, reference_mark: str | None) -> str:
    """The same without the observations."""
    return fingerprint(STAGE, VERSION, *_rules(config, cropland, reference_mark))


def shard_marks(cube: zarr.Group, method: str, shards: Sequence[Shard]) -> dict[Shard, str]:
    """Fingerprints of what prepare adds to single shards: of the method, and of the observations in each."""
    made_from = stores.stage_fingerprint(cube, "ingest")
    return stores.marks_after(location_of(cube), "ingest", made_from, method, shards)


def _rules(config: Config, cropland: str, reference_mark: str | None) -> tuple[Any, ...]:
    outline = content_digest(config.region.outline)
    rules = config.preparation.model_dump(exclude={"cropland"})
    return outline, cropland, reference_mark, rules


def choose_cropland(config: Config, cube: zarr.Group) -> str:
    """What decides which cells are mapped: "reference", "biome" or "all"; "auto" takes what there is.

    Raises:
        UserError: biomes are asked for, and the source of the cube tells of none.
    """
    has_biomes = layout.attributes(cube)["has_biomes"]
    if config.preparation.cropland == "biome" and not has_biomes:
        raise UserError(
            "preparation.cropland is 'biome', but these observations carry no land cover: "
            "set it to 'reference' or 'all'."
        )
    if config.preparation.cropland != "auto":
        return config.preparation.cropland
    given = config.reference.path is not None  # one that is named but not there is an error, found when it is read
    there = config.reference_path is not None and config.reference_path.exists()
    if given or there:
        return "reference"
    return "biome" if has_biomes else "all"


def longest_gaps(observed: np.ndarray) -> np.ndarray:
    """Most dates in a row without an observation: whole numbers (y, x), of a boolean array (time, y, x)."""
    run = np.zeros(observed.shape[1:], np.int64)
    longest = np.zeros_like(run)
    for one in observed:
        run = np.where(one, 0, run + 1)
        np.maximum(longest, run, out=longest)
    return longest


def prepare_shard(shard: Shard, *, config: Config, cropland: str, mark: str, method: str) -> None:
    """The work on one shard.

    Args:
        shard: which one.
        config: of the run.
        cropland: what decides which cells are mapped, of `choose_cropland`.
        mark: fingerprint with which the stage was begun.
        method: of `prepare_method`.
    """
    group = stores.open_to_read(config.cube)
    own = shard_marks(group, method, [shard])[shard]
    grid = layout.read_grid(group)
    window = grid.window(shard)
    out, observed = {}, None
    for channel in read_channels(group):
        stored = stores.read_window(group, channel.name, window)
        valid = stored != channel.missing
        observed = valid if observed is None else observed | valid
        count = valid.sum(axis=0)
        total = np.where(valid, stored, 0).sum(axis=0, dtype=np.int64)
        mean = np.full(count.shape, channel.missing, channel.dtype)
        mean[count > 0] = np.rint(total[count > 0] / count[count > 0])
        out[f"mean_{channel.name}"] = mean
    if observed is None:
        raise ValueError(f"{config.cube} has no channels")
    days = (layout.read_dates(group) - np.datetime64(f"{config.year}-01-01")).astype(int) + 1
    n = observed.sum(axis=0)
    first, last = days[observed.argmax(axis=0)], days[len(days) - 1 - observed[::-1].argmax(axis=0)]
    mapped = _mapped(shard, config, cropland, group) & (n >= config.preparation.min_observations)
    trained = mapped & (n >= config.preparation.min_train_observations)
    out |= {
        "observed": observed.astype(np.uint8),
        "n_observed": n.astype(np.uint8),
        "longest_gap": longest_gaps(observed).astype(np.uint8),
        "first_observed": np.where(n > 0, first, NO_DAY).astype(np.uint16),
        "last_observed": np.where(n > 0, last, NO_DAY).astype(np.uint16),
        "mask": mapped.astype(np.uint8),
        "train_mask": trained.astype(np.uint8),
    }
    with stores.writing(config.cube, STAGE, mark) as group:
        stores.discard_record(group, STAGE, shard)
        for name, data in out.items():
            stores.write_shard(group, name, grid, shard, data)
        cells = {"mask": int(mapped.sum()), "train_mask": int(trained.sum())}
        stores.write_record(group, STAGE, shard, {"mark": own, "cells": cells})
    count_pixels(n.size)


def _mapped(shard: Shard, config: Config, cropland: str, group: zarr.Group) -> np.ndarray:
    """Cells of the region that are land enough, and cropland."""
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
    """Where the reduced reference map has a crop."""
    group = stores.require(path, "reference", "prepare")
    return legend.crops(stores.read_window(group, "code", window), legend.of_attributes(layout.attributes(group)))

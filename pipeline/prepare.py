"""Prepare: which cells are mapped, how often each was observed, and its mean over the year (mean imputation)."""

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import zarr

from pipeline import layout, stores
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.fingerprint import content_digest, fingerprint
from pipeline.grid import Shard, inside, read_outline
from pipeline.progress import Reporter, Silent
from pipeline.reference import reduce_reference
from pipeline.references import eucropmap
from pipeline.stage import StageResult, run_shards

STAGE: Final = "prepare"
VERSION: Final = 1
CROP_BIOME_LEAST: Final = 50  # percent of a cell's observations, where the biome decides what is cropland

LAYERS: Final = (
    layout.Layer("n_observed", {"long_name": "number of composites with a valid observation", "units": "1"}),
    layout.Layer(
        "mean_fpar",
        {"long_name": "mean FPAR over the valid observations of the year", "units": "1", "scale_factor": 0.01},
    ),
    layout.Layer(
        "mask",
        {
            "long_name": "cells that are mapped: cropland of the region with at least one observation",
            "flag_values": [0, 1],
            "flag_meanings": "not_mapped mapped",
        },
    ),
)


def prepare(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Count observations, average them, and choose the cells that are mapped.

    Adds n_observed, mean_fpar and mask (y, x) to `cube.zarr`; where the reference map says what is cropland, also
    writes `reference.zarr`. Only crop against no crop is taken from it, never which crop.

    Raises:
        UserError: there is no finished cube, the reference map cannot be used, or no cell is left to map.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    path = config.cube
    grid = layout.read_grid(stores.require(path, "ingest", "ingest"))
    group = stores.open_to_write(path)
    cropland = choose_cropland(config)
    if cropland == "reference":
        reference_mark = stores.stage_fingerprint_at(
            reduce_reference(config, grid, executor, reporter).outputs[0], "reference"
        )
    else:
        reference_mark = None
    outline = content_digest(config.region.outline)
    mark = fingerprint(STAGE, VERSION, stores.stage_fingerprint(group, "ingest"), outline, cropland, reference_mark)
    if not stores.is_finished(group, STAGE, mark):
        fresh = True
        stores.begin_layers(group, STAGE, mark, grid, LAYERS)
        work = partial(_prepare_shard, config=config, cropland=cropland)
        shards = stores.shards_to_do(path, [layer.name for layer in LAYERS], grid)
        for _ in run_shards(executor, work, shards, STAGE, reporter):
            pass
        stores.finish(group, STAGE, mark, cropland=cropland)
    else:
        fresh = False
    mapped = count_mapped(group)
    if sum(mapped.values()) == 0:
        raise UserError(
            f"{path}: no cell is left to map (cropland by {cropland}). Check that the region, the granules and the "
            "reference map overlap, or set preparation.cropland."
        )
    return StageResult(STAGE, fresh, (path,), {"mapped_cells": sum(mapped.values()), "cropland": cropland})


def choose_cropland(config: Config) -> str:
    """What decides which cells are mapped: "reference", "biome" or "all"; "auto" takes what there is."""
    if config.preparation.cropland != "auto":
        return config.preparation.cropland
    given = config.reference.path is not None  # one that is named but not there is an error, found when it is read
    there = config.reference_path is not None and config.reference_path.exists()
    return "reference" if given or there else "biome"


def count_mapped(group: zarr.Group) -> dict[Shard, int]:
    """Number of mapped cells of every shard."""
    grid = layout.read_grid(group)
    return {shard: int((stores.read_window(group, "mask", grid.window(shard)) == 1).sum()) for shard in grid.shards}


def _prepare_shard(shard: Shard, *, config: Config, cropland: str) -> None:
    group = stores.open_to_write(config.cube)
    grid = layout.read_grid(group)
    window = grid.window(shard)
    fpar = stores.read_window(group, "fpar", window)
    observed = fpar != layout.MISSING
    count = observed.sum(axis=0, dtype=np.uint8)
    total = np.where(observed, fpar, 0).sum(axis=0, dtype=np.int64)
    mean = np.full(count.shape, layout.MISSING, np.uint8)
    mean[count > 0] = np.rint(total[count > 0] / count[count > 0]).astype(np.uint8)
    mapped = inside(grid.shard_geobox(shard), read_outline(config.region.outline)) & (count > 0)
    if cropland == "reference":
        mapped &= np.isin(_reference_codes(config.reference_grid, window), eucropmap.CROPS)
    elif cropland == "biome":
        share = stores.read_window(group, "crop_biome", window)
        mapped &= (share != layout.MISSING) & (share >= CROP_BIOME_LEAST)
    for name, data in (("n_observed", count), ("mean_fpar", mean), ("mask", mapped.astype(np.uint8))):
        stores.write_shard(group, name, grid, shard, data)


def _reference_codes(path: Path, window: tuple[slice, slice]) -> np.ndarray:
    return stores.read_window(stores.require(path, "reference", "prepare"), "code", window)

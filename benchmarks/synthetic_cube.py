"""A prepared cube of any size and a model for it, made in seconds, for tests and measurements of inference.

The series are seasonal, noisy and full of gaps. They compress as real FPAR does, to between 40 and 50 % of their bytes.
One block of distinct series is made, and shifted for every shard, so that no two shards have the same numbers and a
shard in the wrong place is noticed.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping

from model import JointClustering
from pipeline.base.calendar import composite_dates
from pipeline.base.files import write_text
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import to_physical
from pipeline.cube.trained_model import expected_of_model
from pipeline.grid.grid import Grid
from pipeline.grid.polygons import LONLAT, project
from pipeline.sources.viirs.granules import ViirsGranules
from pipeline.stages import prepare
from pipeline.stages.ingest import strips

BLOCK = 256  # cells along y and x of the block of distinct series
CELL = 10.0  # m
LEFT, TOP = 4_000_000.0, 2_600_000.0  # in EPSG:3035: the grid's upper left corner, in the north of Italy
(CHANNEL,) = ViirsGranules.channels


def side(n_shards: int) -> tuple[int, int]:
    """Return the rows and columns of shards, as near to a square as n_shards allows."""
    rows = next(rows for rows in range(int(n_shards**0.5), 0, -1) if n_shards % rows == 0)
    return rows, n_shards // rows


def make_grid(n_shards: int, shard: int, chunk: int) -> Grid:
    """Return a grid of whole shards at 10 m."""
    rows, columns = side(n_shards)
    geobox = GeoBox((rows * shard, columns * shard), Affine(CELL, 0, LEFT, 0, -CELL, TOP), CRS("EPSG:3035"))
    return Grid("epsg3035-10m", geobox, shard, chunk)


def make_outline(grid: Grid, path: Path) -> None:
    """Write a region that contains the whole grid, with a margin for the curvature of its edges."""
    left, bottom, right, top = grid.geobox.boundingbox
    margin = 0.05 * max(right - left, top - bottom)
    edge = box(left, bottom, right, top).buffer(margin, join_style="mitre")
    path.write_text(json.dumps(mapping(project(edge, grid.geobox.crs, LONLAT))))


@dataclass(frozen=True)
class Block:
    """Distinct series (time, size, size), some of them cropland, from a seed."""

    size: int
    mapped_share: float
    seed: int
    dates: np.ndarray

    @cached_property
    def days(self) -> np.ndarray:
        """Return the days of the year, from 1."""
        first = self.dates[0].astype("datetime64[Y]")
        return (self.dates - first).astype(int) + 1

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """Return the arrays of ingest and prepare, by name."""
        rng = np.random.default_rng(self.seed)
        parcel = max(1, self.size // 32)
        n = self.size // parcel

        def by_parcel(values: np.ndarray) -> np.ndarray:
            return values.repeat(parcel, -2).repeat(parcel, -1)

        crop = np.zeros(n * n, bool)
        crop[rng.permutation(n * n)[: round(self.mapped_share * n * n)]] = True
        peak = by_parcel(np.where(rng.random((n, n)) < 0.5, 115, 205) + rng.normal(0, 10, (n, n)))
        width, height = by_parcel(rng.uniform(30, 55, (n, n))), by_parcel(rng.uniform(40, 75, (n, n)))
        day = self.days[:, None, None]
        fpar = 12 + height * np.exp(-(((day - peak) / width) ** 2)) + rng.normal(0, 1.5, (len(day), *peak.shape))
        cloud_share = np.where((self.days < 75) | (self.days > 310), 0.5, 0.15)[:, None, None]
        fpar[by_parcel(rng.random((len(day), n, n)) < cloud_share)] = np.nan
        fpar[rng.random(fpar.shape) < 0.05] = np.nan  # gaps of single cells
        observed = ~np.isnan(fpar)
        stored = np.where(observed, np.rint(np.clip(np.nan_to_num(fpar), 0, 100)), CHANNEL.missing).astype(np.uint8)
        biome = by_parcel(np.where(crop.reshape(n, n), 80, 20)).astype(np.uint8)
        return {"fpar": stored, "crop_biome": biome, "land_share": np.full_like(biome, 100), **self._prepared(stored)}

    def _prepared(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        observed = stored != CHANNEL.missing
        n = observed.sum(axis=0)
        mean = np.rint(np.where(observed, stored, 0).sum(axis=0) / np.maximum(n, 1))
        last = self.days[::-1][observed[::-1].argmax(axis=0)]
        return {
            "observed": observed.astype(np.uint8),
            "n_observed": n.astype(np.uint8),
            "mean_fpar": np.where(n > 0, mean, CHANNEL.missing).astype(np.uint8),
            "longest_gap": prepare.longest_gaps(observed).astype(np.uint8),
            "first_observed": np.where(n > 0, self.days[observed.argmax(axis=0)], prepare.NO_DAY).astype(np.uint16),
            "last_observed": np.where(n > 0, last, prepare.NO_DAY).astype(np.uint16),
        }

    def of_shard(self, number: int, cells: int) -> dict[str, np.ndarray]:
        """Return the layers of a shard of `cells` x `cells`: the block, shifted by the shard's number, tiled."""
        shift = divmod(number * 97 % self.size**2, self.size)
        found = {}
        for name, data in self.layers.items():
            shifted = np.roll(data, shift, axis=(-2, -1))
            found[name] = np.tile(shifted, (*(1,) * (data.ndim - 2), cells // self.size, cells // self.size))
        mapped = (found["crop_biome"] >= prepare.CROP_BIOME_LEAST) & (found["n_observed"] > 0)
        return {**found, "mask": mapped.astype(np.uint8), "train_mask": mapped.astype(np.uint8)}


def make_cube(
    config: Config, n_shards: int, shard: int, *, chunk: int = 128, mapped_share: float = 0.2, seed: int = 0
) -> Grid:
    """Write the `cube.zarr` of a configuration, as ingest and prepare would leave it.

    Args:
        config: of the outputs and the year.
        n_shards: laid out as near to a square as possible.
        shard: cells along y and x of a shard, at most 256 or a multiple of it.
        chunk: cells along y and x of a chunk.
        mapped_share: of the cells, the same in every shard.
        seed: of the series.
    """
    size = min(BLOCK, shard)
    if shard % size or n_shards > size**2:
        raise ValueError(f"{n_shards} shards of {shard} cells cannot be laid out of blocks of {size}")
    grid = make_grid(n_shards, shard, chunk)
    dates = composite_dates(config.year)
    block = Block(size, mapped_share, seed, dates)
    about = {
        "title": "synthetic series",
        "source": "synthetic",
        "channels": [CHANNEL.name],
        "composites": "eight-day",
        "has_biomes": True,
        "simulated": "benchmarks/synthetic_cube.py",
    }
    mark = f"synthetic-{n_shards}-{shard}-{chunk}-{mapped_share}-{seed}"
    config.cube.parent.mkdir(parents=True, exist_ok=True)
    axes = [layout.time_axis(dates)]
    stores.begin(config.cube, "ingest", mark, grid, strips.layers([CHANNEL]), axes=axes, about=about)
    group = stores.begin_layers(config.cube, prepare.STAGE, mark, grid, prepare.layers((CHANNEL,)))
    for number, place in enumerate(grid.shards):
        data = block.of_shard(number, shard)
        for name, values in data.items():
            stores.write_shard(group, name, grid, place, values)
        cells = {name: int(data[name].sum()) for name in ("mask", "train_mask")}
        stores.write_record(group, prepare.STAGE, place, {"mark": mark, "cells": cells})
    stores.finish(group, "ingest", mark)
    stores.finish(group, prepare.STAGE, mark, cropland="biome")
    return grid


def make_model(config: Config, *, seed: int = 0) -> None:
    """Train a small network on series like the cube's and save it where inference reads it."""
    cube = stores.open_to_read(config.cube)
    block = Block(64, 1.0, seed, layout.read_dates(cube))
    series = to_physical(block.layers["fpar"].reshape(len(block.dates), -1).T, CHANNEL)[:2000]
    estimator = JointClustering(
        hidden_size=16, n_iter=10, warm_up=100, batch_size=500, preset="robust", w_gen=0.0, device="cpu",
        random_state=seed,
    ).fit(series)  # fmt: skip
    axes = expected_of_model(cube)
    about = {name: axes[name] for name in ("calendar", "day_of_year", "channels")}
    estimator.save(str(config.model), about=about)
    write_text(config.model / "training.json", json.dumps({"fingerprint": f"synthetic-{seed}", "facts": {}}) + "\n")

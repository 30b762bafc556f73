"""Small maps of several years, whose numbers differ by year and place."""

import numpy as np

from pipeline.base.locations import Location
from pipeline.config.config import Config, load_config
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid
from tests.support.written import GRID


def numbers(year: int, layer: str, grid: Grid = GRID) -> np.ndarray:
    """Return a layer of a year's map: labels 0 and 1, or percent, with 255 in every seventh cell."""
    cells = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    found = (cells // 3 + year) % 2 if layer == "label" else (cells + 13 * year) % 101
    return np.where(cells % 7 == year % 7, 255, found).astype(np.uint8)


def year_config(out: Location, year: int) -> Config:
    """Return the configuration of a year of the region "small"."""
    return load_config(year=year, out=out, region__name="small")


def make_map(
    out: Location,
    year: int,
    names: str = "winter summer",
    *,
    fingerprint: str = "",
    grid: Grid = GRID,
    simulated: str = "",
) -> Config:
    """Write the year's map.zarr as infer does; another fingerprint with the same numbers counts as another map."""
    config = year_config(out, year)
    flags = {"flag_values": list(range(len(names.split()))), "flag_meanings": names, "long_name": "cluster"}
    layers = [layout.Layer("label", flags), layout.Layer("confidence", {"units": "percent"})]
    fingerprint = fingerprint or f"map of {year}"
    group = stores.begin(config.map, "infer", fingerprint, grid, layers, about={"simulated": simulated})
    for shard in grid.shards:
        window = grid.window(shard)
        for layer in layers:
            stores.write_shard(group, layer.name, grid, shard, numbers(year, layer.name, grid)[window])
    stores.finish(group, "infer", fingerprint)
    return config

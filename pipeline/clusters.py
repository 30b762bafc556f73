"""The cluster cube: labels and confidence of all years of a region, `clusters.zarr` (year, y, x)."""

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from pipeline import layout, stores
from pipeline.config import Config
from pipeline.errors import UserError

STAGE: Final = "publish"
_LAYERS: Final = ("label", "confidence")


def published(path: Path) -> dict[int, str]:
    """The years in the cluster cube, each with the fingerprint of the map that it came from."""
    stores.recover(path)
    group = stores.find(path)
    return {} if group is None else {int(year): mark for year, mark in layout.attributes(group)["maps"].items()}


def add_year(config: Config, mark: str) -> None:
    """Put the year's map into the cluster cube: a new cube is written beside the old one and takes its place.

    Raises:
        UserError: the years already there are on another grid, or the cube cannot be written.
    """
    path, source = config.clusters, stores.require(config.map, "infer", "infer")
    maps = published(path) | {config.year: mark}
    grid, old = layout.read_grid(source), stores.find(path)
    if old is not None and layout.read_grid(old) != grid:
        raise UserError(
            f"{path} is on the grid {layout.attributes(old)['grid']}, and the map of {config.year} on {grid.name}: "
            "years of one cube share their grid. Choose another --out or region.name."
        )
    years = sorted(maps)
    beside = path.with_name(f".{path.name}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        group = stores.begin(
            beside, STAGE, mark, grid, _layers(source),
            axes=[layout.Axis("year", np.array(years, np.int32), {"long_name": "year of the observations"})],
            about=_about(config, source, old, maps),
        )  # fmt: skip
        for shard in grid.shards:
            for name in _LAYERS:
                window = grid.window(shard)
                data = [
                    stores.read_window(source, name, window) if year == config.year else _year(old, name, year, window)
                    for year in years
                ]
                stores.write_shard(group, name, grid, shard, np.stack(data))
        stores.finish(group, STAGE, mark)
        stores.swap(beside, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another --out."
        ) from None


def _layers(source: zarr.Group) -> list[layout.Layer]:
    drop = ("_FillValue", "grid_mapping")
    return [
        layout.Layer(
            name, {k: v for k, v in layout.attributes(layout.array(source, name)).items() if k not in drop}, ("year",)
        )
        for name in _LAYERS
    ]


def _about(config: Config, source: zarr.Group, old: zarr.Group | None, maps: dict[int, str]) -> dict[str, Any]:
    simulated = layout.attributes(source)["simulated"] or (layout.attributes(old)["simulated"] if old else "")
    return {
        "title": f"seasons of {config.region.name} by year",
        "simulated": simulated,
        "maps": {str(year): mark for year, mark in sorted(maps.items())},
    }


def _year(group: zarr.Group | None, name: str, year: int, window: tuple[slice, slice]) -> np.ndarray:
    if group is None:
        raise ValueError(f"no cube that holds {year}")
    index = int(np.flatnonzero(np.asarray(layout.array(group, "year")[:]) == year)[0])
    return np.asarray(layout.array(group, name)[index, window[0], window[1]])

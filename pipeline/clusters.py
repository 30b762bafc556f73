"""The cluster cube: labels and confidence of all years of a region, `clusters.zarr` (year, y, x)."""

from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np
import zarr

from pipeline import layout, lock, stores
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.fingerprint import fingerprint
from pipeline.locations import Location
from pipeline.map_layers import CONFIDENCE, CONFIDENCE_ABOUT, LABEL
from pipeline.swap import recover, swap

STAGE: Final = "publish"
_LAYERS: Final = (LABEL, CONFIDENCE)


def published(config: Config) -> dict[int, str]:
    """The years in the cluster cube, each with the fingerprint of the map that it came from."""
    with _held(config):
        return _published(config)


def add_year(config: Config, mark: str) -> None:
    """Put the year's map into the cluster cube, unless it is there.

    A new cube is written beside the old one and takes its place. Runs of several years may want to at the same time:
    one waits for the other.

    Raises:
        UserError: the years already there are on another grid, or the cube cannot be written.
    """
    with _held(config):
        maps = _published(config)
        if maps.get(config.year) != mark:
            _add_year(config, mark, maps | {config.year: mark})


def _held(config: Config) -> AbstractContextManager[None]:
    return lock.hold(config.region_folder, f"sitscube publish --year {config.year}", wait=True)


def _published(config: Config) -> dict[int, str]:
    recover(_beside(config), config.clusters)
    return maps_of(config.clusters)


def maps_of(path: Location) -> dict[int, str]:
    """The years in a cluster cube, as `published` gives them, for those who only look."""
    group = stores.find(path)
    return {int(year): mark for year, mark in layout.attributes(group)["maps"].items()} if group is not None else {}


def _beside(config: Config) -> Location:
    return config.clusters.with_name(f".{config.clusters.name}.new")


def _add_year(config: Config, mark: str, maps: dict[int, str]) -> None:
    path, source = config.clusters, stores.require(config.map, "infer", "infer")
    grid, old = layout.read_grid(source), stores.find(path)
    if old is not None and layout.read_grid(old) != grid:
        raise UserError(
            f"{path} is on the grid {layout.attributes(old)['grid']}, and the map of {config.year} on {grid.name}: "
            "years of one cube share their grid. Choose another --out or region.name."
        )
    years = sorted(maps)
    beside = _beside(config)
    try:
        group = stores.create(
            beside, STAGE, mark, grid, _layers(source),
            axes=[layout.Axis("year", np.array(years, np.int32), {"long_name": "year of the observations"})],
            about=_about(config, source, old, maps),
        )  # fmt: skip
        for shard in grid.shards:
            for name in _LAYERS:
                window = grid.window(shard)
                data = [
                    _map(source, name, window) if year == config.year else _year(old, name, year, window)
                    for year in years
                ]
                stores.write_shard(group, name, grid, shard, np.stack(data))
        stores.finish(group, STAGE, mark)
        swap(beside, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another --out."
        ) from None


def map_mark(source: zarr.Group) -> str:
    """Fingerprint of what a map gives the cluster cube: its own, and whether it holds a confidence."""
    mark = str(stores.stage_fingerprint(source, "infer"))
    return mark if CONFIDENCE in stores.layer_names(source) else fingerprint(mark, LABEL)


def _layers(source: zarr.Group) -> list[layout.Layer]:
    drop = ("_FillValue", "grid_mapping")
    about = {k: v for k, v in layout.attributes(layout.array(source, LABEL)).items() if k not in drop}
    return [layout.Layer(LABEL, about, ("year",)), layout.Layer(CONFIDENCE, CONFIDENCE_ABOUT, ("year",))]


def _map(source: zarr.Group, name: str, window: tuple[slice, slice]) -> np.ndarray:
    """A layer of the map; all missing where it is switched off."""
    if name in stores.layer_names(source):
        return stores.read_window(source, name, window)
    rows, columns = window
    return np.full((rows.stop - rows.start, columns.stop - columns.start), layout.MISSING, np.uint8)


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

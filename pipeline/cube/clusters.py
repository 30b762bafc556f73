"""The cluster cube: labels and confidence of all years of a region, `clusters.zarr` (year, y, x).

A year later than all others is appended in place. A reader that has the cube open still sees the same years. A reader
that opens the cube afterwards sees the new year, too. For some milliseconds the shapes of the arrays may differ from
each other; `open_clusters` waits until they agree.

For an earlier year, or another map of a known year, the whole cube is written again. The new cube replaces the old one
when it is complete, and readers have to open it again.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, TypedDict

import numpy as np
import zarr

from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.outputs import Outputs
from pipeline.base.stage_names import Stage
from pipeline.cube import append, layout, stores
from pipeline.cube.completion import StageRecord
from pipeline.cube.map_layers import CONFIDENCE, CONFIDENCE_ABOUT, LABEL
from pipeline.cube.replace import recover, replace_store
from pipeline.cube.shards import sweep_partials

STAGE: Final = Stage.PUBLISH
YEAR: Final = "year"
_LAYERS: Final = (LABEL, CONFIDENCE)


class ClusterAttributes(TypedDict):
    """Describe the attributes of the cluster cube, with years as text."""

    title: str
    simulated: str  # what is simulated; empty: nothing
    label_names: dict[str, str]  # names of the labels by year, separated by blanks
    maps: dict[str, Fingerprint]  # fingerprint of the map by year


def published(outputs: Outputs) -> dict[int, Fingerprint]:
    """Return the years in the cluster cube, each with the fingerprint of its map.

    What a killed publication has left is completed or removed first.
    """
    with hold(outputs):
        return _published(outputs)


def add_year(outputs: Outputs, fingerprint: Fingerprint) -> None:
    """Add the year's map to the cluster cube, unless this very map is in it already.

    Runs of several years wait for each other here. Labels may have different names in different years, because clusters
    are named after their peaks. The attribute `label_names` of the cube has the names of each year; the flag meanings
    of `label` are then general words.

    Raises:
        UserError: the cube is on another grid, or cannot be written.
    """
    with hold(outputs):
        maps = _published(outputs)
        if maps.get(outputs.year) == fingerprint:
            return
        source = stores.require(outputs.map, Stage.INFER, "infer")
        old = stores.find(outputs.clusters)
        _check_grid(outputs, source, old)
        try:
            if old is not None and _joins_last(old, outputs.year):
                _append(outputs, fingerprint, source, maps)
            else:
                _write_all(outputs, fingerprint, source, old, maps)
        except OSError as error:
            raise UserError(
                f"cannot write {outputs.clusters}: {error.strerror or error}. Free space or choose another --out."
            ) from None


def hold(outputs: Outputs) -> AbstractContextManager[None]:
    """Lock what all years of the region share; wait while another run has the lock."""
    return locks.hold(outputs.region_folder, f"sitscube publish --year {outputs.year}", wait=True)


def years_to_write(path: Location, year: int) -> int:
    """Return how many years are written when one is published: this one alone, or all years again."""
    group = stores.find(path)
    if group is None or _joins_last(group, year):
        return 1
    return len(set(maps_of(path)) | {year})


def maps_of(path: Location) -> dict[int, Fingerprint]:
    """Return the years in a cluster cube, each with the fingerprint of its map; nothing is changed."""
    group = stores.find(path)
    return _maps(group) if group is not None else {}


def map_fingerprint(source: zarr.Group) -> Fingerprint:
    """Return the fingerprint of a map in the cluster cube: of its inference, and of whether it has a confidence."""
    of_map = Fingerprint(str(stores.stage_fingerprint(source, Stage.INFER)))
    return of_map if CONFIDENCE in stores.layer_names(source) else fingerprint_of(of_map, LABEL)


def _published(outputs: Outputs) -> dict[int, Fingerprint]:
    """Return the published years, for a caller that has the lock; see `published`."""
    recover(_beside(outputs), outputs.clusters)
    if stores.find(outputs.clusters) is not None:
        sweep_partials(outputs.clusters)
        append.complete(stores.open_to_write(outputs.clusters))
    return maps_of(outputs.clusters)


def _maps(group: zarr.Group) -> dict[int, Fingerprint]:
    return {int(year): of_map for year, of_map in layout.attributes(group)["maps"].items()}


def _beside(outputs: Outputs) -> Location:
    return outputs.clusters.with_name(f".{outputs.clusters.name}.new")


def _joins_last(group: zarr.Group, year: int) -> bool:
    """Return whether a year can be appended.

    Cubes of earlier versions have all years in one object, so that nothing can be appended to them.
    """
    return year > max(_maps(group)) and append.can_grow(group, YEAR, _LAYERS)


def _check_grid(outputs: Outputs, source: zarr.Group, old: zarr.Group | None) -> None:
    grid = layout.read_grid(source)
    if old is not None and layout.read_grid(old) != grid:
        raise UserError(
            f"{outputs.clusters} is on the grid {layout.attributes(old)['grid']}, and the map of {outputs.year} on "
            f"{grid.name}: years of one cube share their grid. Choose another --out or region.name."
        )


def _append(outputs: Outputs, fingerprint: Fingerprint, source: zarr.Group, maps: dict[int, Fingerprint]) -> None:
    group = stores.open_to_write(outputs.clusters)
    about = _about(outputs, source, group, maps | {outputs.year: fingerprint})
    stages: dict[str, StageRecord] = {STAGE: {"fingerprint": fingerprint, "complete": True, "method": None}}
    append.append(
        group, YEAR, outputs.year, layout.read_grid(source),
        {LABEL: _flags(about["label_names"]), CONFIDENCE: {}},
        lambda name, window: _map(source, name, window),
        first={key: value for key, value in about.items() if key != "maps"},
        last={"maps": about["maps"], "stages": stages, "fingerprint": fingerprint},
    )  # fmt: skip


def _write_all(
    outputs: Outputs, fingerprint: Fingerprint, source: zarr.Group, old: zarr.Group | None, maps: dict[int, Fingerprint]
) -> None:
    grid, beside = layout.read_grid(source), _beside(outputs)
    about = _about(outputs, source, old, maps | {outputs.year: fingerprint})
    years = sorted({*maps, outputs.year})
    axis = layout.Axis(YEAR, np.array(years, np.int32), {"long_name": "year of the observations"}, grows=True)
    layers = _layers(source, about["label_names"])
    group = stores.create(beside, STAGE, fingerprint, grid, layers, axes=[axis], about=about)
    for index, year in enumerate(years):
        for name in _LAYERS:
            target = layout.array(group, name).with_config({"write_empty_chunks": True})
            for shard in grid.shards:
                window = grid.window(shard)
                of_year = _map(source, name, window) if year == outputs.year else _year(old, name, year, window)
                target[(index, *window)] = of_year
    stores.finish(group, STAGE, fingerprint)
    replace_store(beside, outputs.clusters)


def _layers(source: zarr.Group, names: Mapping[str, str]) -> list[layout.Layer]:
    drop = ("_FillValue", "grid_mapping")
    about = {k: v for k, v in layout.attributes(layout.array(source, LABEL)).items() if k not in drop}
    return [
        layout.Layer(LABEL, {**about, **_flags(names)}, (YEAR,)),
        layout.Layer(CONFIDENCE, CONFIDENCE_ABOUT, (YEAR,)),
    ]


def _flags(names: Mapping[str, str]) -> dict[str, object]:
    """Return the flag attributes of the labels; the meanings are general words where the years' names differ."""
    n_clusters = max(len(of_year.split()) for of_year in names.values())
    general = " ".join(f"cluster_{k}" for k in range(n_clusters))
    meanings = set(names.values())
    return {"flag_values": list(range(n_clusters)), "flag_meanings": meanings.pop() if len(meanings) == 1 else general}


def _map(source: zarr.Group, name: str, window: tuple[slice, slice]) -> np.ndarray:
    """Read a window of the map; an array that the map lacks is all missing."""
    if name in stores.layer_names(source):
        return stores.read_window(source, name, window)
    rows, columns = window
    return np.full((rows.stop - rows.start, columns.stop - columns.start), layout.MISSING, np.uint8)


def _about(
    outputs: Outputs, source: zarr.Group, old: zarr.Group | None, maps: dict[int, Fingerprint]
) -> ClusterAttributes:
    """Return the attributes of the cluster cube with the year of `outputs` in it."""
    known = layout.attributes(old) if old is not None else {}
    names: dict[str, str] = {}
    if old is not None:
        shared = layout.attributes(layout.array(old, LABEL))["flag_meanings"]
        names = known.get("label_names") or {str(year): shared for year in _maps(old)}
    of_year = layout.attributes(layout.array(source, LABEL))["flag_meanings"]
    return {
        "title": f"seasons of {outputs.region} by year",
        "simulated": layout.attributes(source)["simulated"] or known.get("simulated", ""),
        "label_names": dict(sorted({**names, str(outputs.year): of_year}.items())),
        "maps": {str(year): of_map for year, of_map in sorted(maps.items())},
    }


def _year(group: zarr.Group | None, name: str, year: int, window: tuple[slice, slice]) -> np.ndarray:
    """Read a window of one year of the cluster cube."""
    if group is None:
        raise ValueError(f"no cube that holds {year}")
    index = int(np.flatnonzero(np.asarray(layout.array(group, YEAR)[:]) == year)[0])
    return np.asarray(layout.array(group, name)[index, window[0], window[1]])

"""Room on the disk: what is there, what a stage is going to add, and the refusal of what cannot fit."""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import zarr

from pipeline.base.errors import UserError
from pipeline.base.locations import Location
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid, Shard

# Stored bytes by raw bytes of cells that hold values: real FPAR takes 0.40 to 0.50, integer noise close to 0.85, and
# what the network fills is as rough as what it is made from. Measured ones are taken instead as soon as there are some.
DEFAULT_RATIO: Final = 0.6
_EMPTY_RATIO: Final = 0.002  # of cells without a value: indexes of shards, chunks of nothing but fill values
_GIGABYTE: Final = 1e9


def free_bytes(location: Location) -> int | None:
    """Bytes that can still be written there, or in what will hold it; None at a URL, where nobody tells."""
    if not isinstance(location, Path):
        return None
    there = next(folder for folder in (location, *location.parents) if folder.exists())
    return shutil.disk_usage(there).free


def check_free(location: Location, needed: int, what: str, way_out: str = "") -> None:
    """Refuse to begin what will not fit.

    Args:
        location: where it is going to be written; at a URL nothing is checked.
        needed: bytes.
        what: is going to be written, such as "map.zarr".
        way_out: what to do besides making room.

    Raises:
        UserError: fewer bytes are free.
    """
    free = free_bytes(location)
    if free is not None and needed > free:
        raise UserError(lack_of_room(location, needed, free, what, way_out))


def check_room(
    path: Location,
    layers: Sequence[layout.Layer],
    n_dates: int,
    grid: Grid,
    cells: Mapping[Shard, int],
    to_do: Collection[Shard],
) -> None:
    """Refuse to begin with shards of a store for which there is no room; arguments as of `added_bytes`.

    Raises:
        UserError: fewer bytes are free than they are projected to take.
    """
    adds = added_bytes(path, layers, n_dates, grid, cells, to_do)
    check_free(path, sum(adds.values()), path.name, without_series(adds))


def without_series(adds: Mapping[str, int]) -> str:
    """What leaving out the large outputs would bring, of the bytes that each array adds."""
    saved = sum(size for name, size in adds.items() if name.endswith(("_filled", "_spread")))
    return f"Leaving filled and spread out of inference.outputs saves {gigabytes(saved)}." if saved else ""


def lack_of_room(location: Location, needed: int, free: int, what: str, way_out: str = "") -> str:
    """The message that says how much room is missing."""
    more = f" {way_out}" if way_out else ""
    return (
        f"{what} needs about {gigabytes(needed)} in {location}, and {gigabytes(free)} are free: make room for "
        f"{gigabytes(needed - free)}, or choose another --out.{more}"
    )


def gigabytes(n_bytes: float) -> str:
    """Bytes as people read them: "1.4 GB", "820 MB"."""
    if n_bytes >= _GIGABYTE:
        return f"{n_bytes / _GIGABYTE:,.1f} GB"
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:,.0f} kB"


def stored_bytes(store: Location, name: str) -> dict[Shard, int]:
    """The sizes of an array's objects as they lie there, by shard; empty where the array is not there."""
    sizes: dict[Shard, int] = {}
    for key, size in _sizes(store / name / "c").items():
        parts = key.split("/")
        if len(parts) >= 2 and parts[-1].isdigit() and parts[-2].isdigit():
            sizes[Shard(int(parts[-2]), int(parts[-1]))] = size
    return sizes


def projected_bytes(
    layers: Iterable[layout.Layer],
    n_dates: int,
    cells: Mapping[Shard, int],
    grid: Grid,
    ratios: Mapping[str, float],
) -> dict[str, int]:
    """Bytes that arrays will take, by name.

    Args:
        layers: the arrays.
        n_dates: of those that have dates.
        cells: of the shards that are to be written, how many hold values.
        grid: of the store.
        ratios: stored bytes by raw bytes of cells with values, by array; others take `DEFAULT_RATIO`.
    """
    with_values, all_cells = sum(cells.values()), sum(shard_cells(grid, shard) for shard in cells)
    found = {}
    for layer in layers:
        raw = (n_dates if layer.lead else 1) * np.dtype(layer.dtype).itemsize
        ratio = ratios.get(layer.name, DEFAULT_RATIO)
        found[layer.name] = round(raw * (ratio * with_values + _EMPTY_RATIO * (all_cells - with_values)))
    return found


def measured_ratio(group: zarr.Group | None, path: Location, name: str, cells: Mapping[Shard, int]) -> float | None:
    """Stored bytes by raw bytes of cells with values, of what is already written of an array; None if nothing is."""
    if group is None or name not in group:
        return None
    array = layout.array(group, name)
    written = {shard: size for shard, size in stored_bytes(path, name).items() if cells.get(shard)}
    n_dates = array.shape[0] if array.ndim > 2 else 1
    raw = n_dates * array.dtype.itemsize * sum(cells[shard] for shard in written)
    return sum(written.values()) / raw if raw else None


def shard_cells(grid: Grid, shard: Shard) -> int:
    """Cells of a shard."""
    rows, columns = grid.window(shard)
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _sizes(location: Location) -> dict[str, int]:
    """Sizes of all objects below a location, by their path from there."""
    if isinstance(location, Path):
        sizes = {}
        for path in location.rglob("*"):
            try:
                if path.is_file():
                    sizes[path.relative_to(location).as_posix()] = path.stat().st_size
            except FileNotFoundError:  # a writer has renamed it meanwhile
                continue
        return sizes
    root = location.path.rstrip("/")
    try:
        found = location.fs.find(root, detail=True)
    except FileNotFoundError:
        return {}
    return {path.removeprefix(root).lstrip("/"): int(about.get("size") or 0) for path, about in found.items()}


def known_ratios(path: Location, grid: Grid, cells: Mapping[Shard, int]) -> dict[str, float]:
    """Stored bytes by raw bytes of cells with values, of those arrays of a store of which something is written.

    Args:
        path: of the store; one on another grid tells nothing.
        grid: on which shards are counted.
        cells: with values, by shard.
    """
    group = stores.find(path)
    if group is None or layout.read_grid(group) != grid:
        return {}
    measured = {name: measured_ratio(group, path, name, cells) for name in stores.layer_names(group)}
    return {name: ratio for name, ratio in measured.items() if ratio is not None}


def added_bytes(
    path: Location,
    layers: Sequence[layout.Layer],
    n_dates: int,
    grid: Grid,
    cells: Mapping[Shard, int],
    to_do: Collection[Shard],
    like: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Bytes by which a store will grow, by array: what is there of the shards that are done again is replaced.

    Args:
        path: of the store; it need not be there yet.
        layers: arrays that a stage writes.
        n_dates: of those that have dates.
        grid: cells and shards.
        cells: with values, by shard.
        to_do: the shards that are to be written.
        like: ratios to be taken where nothing is written of an array yet.
    """
    ratios = {**(like or {}), **known_ratios(path, grid, cells)}
    projected = projected_bytes(layers, n_dates, {shard: cells[shard] for shard in to_do}, grid, ratios)
    there = {name: stored_bytes(path, name) for name in projected}
    return {name: max(0, size - sum(there[name].get(shard, 0) for shard in to_do)) for name, size in projected.items()}

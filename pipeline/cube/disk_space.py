"""Disk space: how much is free, how much a stage will need, and the error where it is too little."""

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

# Stored bytes by raw bytes of cells with values. Real FPAR takes 0.40 to 0.50, integer noise close to 0.85, and filled
# series are as rough as the observed ones. Measured ratios are used instead as soon as something is written.
DEFAULT_RATIO: Final = 0.6
_EMPTY_RATIO: Final = 0.002  # of cells without a value: indexes of shards, chunks of nothing but fill values
_GIGABYTE: Final = 1e9


def free_bytes(location: Location) -> int | None:
    """Return the free bytes at a location, or at the nearest existing folder above it; None at a URL."""
    if not isinstance(location, Path):
        return None
    there = next(folder for folder in (location, *location.parents) if folder.exists())
    return shutil.disk_usage(there).free


def check_free(location: Location, needed: int, what: str, way_out: str = "") -> None:
    """Check that files will fit on the disk.

    Args:
        location: where they will be written; at a URL nothing is checked.
        needed: their size in bytes.
        what: their name in the message, such as "map.zarr".
        way_out: advice besides making room.

    Raises:
        UserError: fewer bytes are free than needed.
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
    """Check that shards of a store will fit on the disk; for the arguments see `added_bytes`.

    Raises:
        UserError: fewer bytes are free than the shards will need.
    """
    adds = added_bytes(path, layers, n_dates, grid, cells, to_do)
    check_free(path, sum(adds.values()), path.name, without_series(adds))


def without_series(adds: Mapping[str, int]) -> str:
    """Return the advice to leave out the filled series, with the bytes that this saves; empty if it saves none."""
    saved = sum(size for name, size in adds.items() if name.endswith(("_filled", "_spread")))
    return f"Leaving filled and spread out of inference.outputs saves {gigabytes(saved)}." if saved else ""


def lack_of_room(location: Location, needed: int, free: int, what: str, way_out: str = "") -> str:
    """Return the message that too little space is free."""
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
    """Return the stored sizes of an array's objects, by shard; empty where there is no such array."""
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
    """Estimate the stored bytes of arrays, by name.

    Args:
        layers: the arrays.
        n_dates: number of dates, for arrays along time.
        cells: number of cells with values, for each shard that will be written.
        grid: grid of the store.
        ratios: stored bytes by raw bytes of cells with values, by array; otherwise `DEFAULT_RATIO`.
    """
    with_values, all_cells = sum(cells.values()), sum(shard_cells(grid, shard) for shard in cells)
    found = {}
    for layer in layers:
        raw = (n_dates if layer.lead else 1) * np.dtype(layer.dtype).itemsize
        ratio = ratios.get(layer.name, DEFAULT_RATIO)
        found[layer.name] = round(raw * (ratio * with_values + _EMPTY_RATIO * (all_cells - with_values)))
    return found


def measured_ratio(group: zarr.Group | None, path: Location, name: str, cells: Mapping[Shard, int]) -> float | None:
    """Measure stored bytes by raw bytes of cells with values for the written shards of an array; None without any."""
    if group is None or name not in group:
        return None
    array = layout.array(group, name)
    written = {shard: size for shard, size in stored_bytes(path, name).items() if cells.get(shard)}
    n_dates = array.shape[0] if array.ndim > 2 else 1
    raw = n_dates * array.dtype.itemsize * sum(cells[shard] for shard in written)
    return sum(written.values()) / raw if raw else None


def shard_cells(grid: Grid, shard: Shard) -> int:
    """Count the cells of a shard."""
    rows, columns = grid.window(shard)
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _sizes(location: Location) -> dict[str, int]:
    """Return the sizes of all objects below a location, by relative path."""
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
    """Measure stored bytes by raw bytes of cells with values, by array; arrays without written shards are left out.

    Args:
        path: the store; a store on another grid gets no ratios.
        grid: grid of the shards.
        cells: number of cells with values, by shard.
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
    """Estimate by how many bytes a store will grow, by array; shards that are written again replace their objects.

    Args:
        path: the store, which need not exist yet.
        layers: the arrays that a stage writes.
        n_dates: number of dates, for arrays along time.
        grid: cells and shards.
        cells: number of cells with values, by shard.
        to_do: the shards that will be written.
        like: ratios for arrays of which no shard is written yet.
    """
    ratios = {**(like or {}), **known_ratios(path, grid, cells)}
    projected = projected_bytes(layers, n_dates, {shard: cells[shard] for shard in to_do}, grid, ratios)
    there = {name: stored_bytes(path, name) for name in projected}
    return {name: max(0, size - sum(there[name].get(shard, 0) for shard in to_do)) for name, size in projected.items()}

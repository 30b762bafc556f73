"""NetCDF-4 files of a store's arrays, with CF attributes of NetCDF's own types, written shard by shard."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import h5netcdf  # type: ignore[import-untyped]
import numpy as np
import zarr

from pipeline.base.files import atomic_file
from pipeline.base.locations import Location
from pipeline.base.progress import Task
from pipeline.cube import layout, stores

_AS_VARIABLE: Final = ("flag_values", "flag_masks", "valid_range")  # attributes that CF wants in the variable's type
_OF_ZARR: Final = ("coordinates", "shard", "chunk")  # attributes of the layout of a store, not of its content
_GRID_MAPPING: Final = "spatial_ref"


def write_netcdf(target: Location, parts: Sequence[tuple[zarr.Group, Sequence[str]]], task: Task | None = None) -> None:
    """Write arrays of stores on one grid into one file, whole or not at all; one shard is in memory at a time.

    Args:
        target: the file.
        parts: stores, each with the names of its arrays; the file takes the attributes of the first.
        task: advances with every shard of every array.

    Raises:
        UserError: what is stored is damaged.
        OSError: the file cannot be written.
    """
    with atomic_file(target) as path, h5netcdf.File(path, "w") as file:
        file.attrs.update(_attributes(layout.attributes(parts[0][0]), None))
        for group, names in parts:
            for name in names:
                _copy_array(file, group, name, task)


def _copy_array(file: h5netcdf.File, group: zarr.Group, name: str, task: Task | None) -> None:
    grid, array = layout.read_grid(group), layout.array(group, name)
    dims = tuple(str(dim) for dim in array.metadata.dimension_names or ())  # type: ignore[union-attr]
    for dim, length in zip(dims, array.shape, strict=True):
        if dim not in file.dimensions:
            file.dimensions[dim] = length
            _copy_small(file, group, dim, (dim,))
    if _GRID_MAPPING not in file.variables:
        _copy_small(file, group, _GRID_MAPPING, ())
    about = layout.attributes(array)
    fill = np.array(about.pop("_FillValue"), array.dtype)[()]
    chunks = (*array.shape[:-2], *(min(grid.chunk, n) for n in grid.shape))
    variable = file.create_variable(
        name, dims, array.dtype, fillvalue=fill, chunks=chunks, compression="gzip", shuffle=True
    )
    variable.attrs.update(_attributes(about, array.dtype))
    for shard in grid.shards:
        window = grid.window(shard)
        variable[(..., *window)] = stores.read_window(group, name, window)
        if task is not None:
            task.advance(note=f"{name} {shard}")


def _copy_small(file: h5netcdf.File, group: zarr.Group, name: str, dims: tuple[str, ...]) -> None:
    """Copy a coordinate, or the variable of the CRS."""
    array = layout.array(group, name)
    variable = file.create_variable(name, dims, array.dtype)
    variable[...] = np.asarray(array[...])
    variable.attrs.update(_attributes(layout.attributes(array), array.dtype))


def _attributes(about: Mapping[str, object], dtype: np.dtype | None) -> dict[str, object]:
    """Return attributes for NetCDF: numbers of the variable's type, nested values as JSON, names without colons."""
    found: dict[str, object] = {}
    for key, value in about.items():
        if value is None or value == [] or (dtype is None and key in _OF_ZARR):
            continue
        nested = isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict | list | str))
        if isinstance(value, bool):
            value = int(value)
        elif nested:
            value = json.dumps(value)
        elif key in _AS_VARIABLE and dtype is not None:
            value = np.array(value, dtype)
        found[key.replace(":", "_")] = value
    return found

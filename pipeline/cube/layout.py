"""The layout of a store: its arrays, their coordinates, and the position of its cells.

Stores follow CF 1.11 (`spatial_ref` with `crs_wkt`, coordinates of cell centres) and GeoZarr (attributes `proj:` and
`spatial:`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, NotRequired, TypedDict

import numpy as np
import zarr
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from pipeline.base.errors import UserError
from pipeline.grid.grid import Grid

MISSING: Final = 255  # of every uint8 array; Zarr's default, 0, would read as a valid class or an FPAR of zero
SOFTWARE: Final = "sitscube"
SIMULATED: Final = "Simulated"  # attribute of simulated granules and tag of simulated maps: the program that made them
# Without a checksum, a flipped bit is mostly read as other numbers. Level 1 compresses these arrays to the same size as
# the default level, in two thirds of the time.
_COMPRESSOR: Final = ZstdCodec(level=1, checksum=True)
_CRS_NAME: Final = "spatial_ref"

_Projection = TypedDict("_Projection", {"proj:code": str, "proj:wkt2": str}, total=False)
SpatialAttributes = TypedDict(
    "SpatialAttributes",
    {
        "proj:code": NotRequired[str],
        "proj:wkt2": NotRequired[str],  # of a CRS without an EPSG code
        "spatial:dimensions": list[str],
        "spatial:transform": list[float],  # the six numbers of the affine transform
        "spatial:shape": list[int],  # rows, columns
        "spatial:bbox": list[float],  # left, bottom, right, top in units of the CRS
    },
)


def attributes(node: zarr.Group | zarr.Array) -> dict[str, Any]:
    """Return the attributes of a group or array; their values are any JSON."""
    return dict(node.attrs.asdict())


def plain_attributes(about: Mapping[str, object]) -> dict[str, Any]:
    """Return attributes in the type that Zarr takes: a dictionary of any JSON."""
    return dict(about)


def array(group: zarr.Group, name: str) -> zarr.Array:
    """Return an array of a store.

    Raises:
        UserError: the store has no array of that name.
    """
    node = group.get(name)
    if not isinstance(node, zarr.Array):
        raise UserError(f"{group.store_path} lacks the array {name}: it is damaged. Remove it and run again.")
    return node


@dataclass(frozen=True)
class Layer:
    """Describe one array of a store on the grid: (y, x), with `lead` dimensions such as ("time",) before them."""

    name: str
    attributes: Mapping[str, object]
    lead: tuple[str, ...] = ()
    dtype: str = "uint8"
    fill: int = MISSING


@dataclass(frozen=True)
class Axis:
    """Describe a coordinate besides y and x, such as the dates."""

    name: str
    values: np.ndarray
    attributes: Mapping[str, object] = field(default_factory=dict)
    grows: bool = False  # whether values are appended later: each then has its own objects, here and in the arrays


def time_axis(dates: np.ndarray) -> Axis:
    """Return the dates as a CF coordinate: whole days since the first day of the first date's year."""
    start = dates[0].astype("datetime64[Y]").astype("datetime64[D]")
    attributes = {
        "standard_name": "time",
        "long_name": "first day of the composite",
        "units": f"days since {start}",
        "calendar": "proleptic_gregorian",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
    }
    return Axis("time", (dates - start).astype("int32"), attributes)


def read_dates(group: zarr.Group) -> np.ndarray:
    """Read the time coordinate of a store, as datetime64[D]."""
    time = array(group, "time")
    start = np.datetime64(attributes(time)["units"].removeprefix("days since "), "D")
    dates: np.ndarray = start + np.asarray(time[:]).astype("timedelta64[D]")
    return dates


def store_attributes(grid: Grid, about: Mapping[str, object]) -> dict[str, object]:
    """Return the attributes of a store: conventions, software, grid, and those of the stage that makes it."""
    return {
        "Conventions": "CF-1.11",
        "software": SOFTWARE,
        "software_version": version("sitscube"),
        "history": f"made by {SOFTWARE} {version('sitscube')}",
        "grid": grid.name,
        "shard": grid.shard,
        "chunk": grid.chunk,
        "coordinates": _CRS_NAME,  # xarray then reads the grid mapping as a coordinate, where rioxarray looks for it
        **spatial_attributes(grid.geobox),
        **about,
    }


def create_arrays(group: zarr.Group, grid: Grid, layers: Sequence[Layer], axes: Sequence[Axis]) -> None:
    """Create the coordinates and all arrays in an empty store; every array starts with its fill value."""
    for axis in (*axes, *_xy_axes(grid.geobox)):
        values = group.create_array(
            axis.name,
            shape=axis.values.shape,
            dtype=axis.values.dtype,
            chunks=(1,) if axis.grows else axis.values.shape,
            fill_value=0 if axis.values.dtype.kind == "i" else np.nan,
            dimension_names=(axis.name,),
            attributes=plain_attributes(axis.attributes),
        )
        values[:] = axis.values
    about_crs = plain_attributes(_crs_attributes(grid.geobox))
    crs = group.create_array(_CRS_NAME, shape=(), dtype="int32", fill_value=0, attributes=about_crs)
    crs[...] = 0
    for layer in layers:
        create_layer(group, grid, layer)


def create_layer(group: zarr.Group, grid: Grid, layer: Layer) -> None:
    """Create an array on the grid, in place of an existing one of that name.

    A shard contains all leading coordinates; along an axis that grows, it contains one.
    """
    axes = [array(group, name) for name in layer.lead]
    lead, apart = tuple(axis.shape[0] for axis in axes), tuple(axis.chunks[0] for axis in axes)
    group.create_array(
        layer.name,
        shape=(*lead, *grid.shape),
        dtype=layer.dtype,
        chunks=(*apart, grid.chunk, grid.chunk),
        shards=(*apart, grid.shard, grid.shard),
        compressors=_COMPRESSOR,
        fill_value=layer.fill,
        dimension_names=(*layer.lead, "y", "x"),
        attributes=plain_attributes(_layer_attributes(layer)),
        overwrite=True,
    )


def fits(array: zarr.Array, layer: Layer) -> bool:
    """Return whether an array has the type, fill value and attributes that `create_layer` would write."""
    same_type = array.dtype == np.dtype(layer.dtype) and array.fill_value == layer.fill
    return same_type and attributes(array) == _layer_attributes(layer)


def _layer_attributes(layer: Layer) -> dict[str, object]:
    return {"_FillValue": layer.fill, "grid_mapping": _CRS_NAME, **layer.attributes}


def read_grid(group: zarr.Group) -> Grid:
    """Read the grid of a store."""
    about = attributes(group)
    rows, columns = about["spatial:shape"]
    affine = Affine(*about["spatial:transform"])
    crs = CRS(str(attributes(array(group, _CRS_NAME))["crs_wkt"]))
    return Grid(about["grid"], GeoBox((rows, columns), affine, crs), about["shard"], about["chunk"])


def _xy_axes(geobox: GeoBox) -> tuple[Axis, Axis]:
    unit = {"units": "m"}
    y, x = (geobox.coordinates[name].values for name in ("y", "x"))
    return (
        Axis(
            "y", y, {"standard_name": "projection_y_coordinate", "long_name": "y of cell centre", "axis": "Y", **unit}
        ),
        Axis(
            "x", x, {"standard_name": "projection_x_coordinate", "long_name": "x of cell centre", "axis": "X", **unit}
        ),
    )


def _crs_attributes(geobox: GeoBox) -> dict[str, object]:
    a = geobox.transform
    return {
        "long_name": "coordinate reference system",
        **geobox.crs.proj.to_cf(),
        "GeoTransform": " ".join(repr(float(v)) for v in (a.c, a.a, a.b, a.f, a.d, a.e)),
    }


def spatial_attributes(geobox: GeoBox) -> SpatialAttributes:
    """Return the GeoZarr attributes `proj:` and `spatial:`."""
    box, epsg = geobox.boundingbox, geobox.crs.epsg
    projection: _Projection = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": geobox.crs.to_wkt()}
    return {
        **projection,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": [float(v) for v in tuple(geobox.transform)[:6]],
        "spatial:shape": list(geobox.shape),
        "spatial:bbox": [box.left, box.bottom, box.right, box.top],
    }

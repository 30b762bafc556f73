"""What a store looks like inside: arrays, coordinates, and where its cells lie.

Both CF 1.11 (`spatial_ref` with `crs_wkt`, coordinates of cell centres) and GeoZarr (`proj:`, `spatial:` attributes).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import zarr
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from pipeline.base.errors import UserError
from pipeline.grid.grid import Grid

MISSING: Final = 255  # of every uint8 layer; the default fill value 0 would read as a valid class or a FPAR of zero
SOFTWARE: Final = "sitscube"
SIMULATED: Final = "Simulated"  # attribute of granules and tag of maps that are made up: what made them
# without a checksum a flipped bit is mostly read as other numbers; level 1 takes two thirds of the time of the default
# on such arrays, for the same size
_COMPRESSOR: Final = ZstdCodec(level=1, checksum=True)
_CRS_NAME: Final = "spatial_ref"


def attributes(node: zarr.Group | zarr.Array) -> dict[str, Any]:
    """The attributes of a group or array, as a plain dictionary."""
    return dict(node.attrs.asdict())


def array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a store.

    Raises:
        UserError: there is none of that name.
    """
    node = group.get(name)
    if not isinstance(node, zarr.Array):
        raise UserError(f"{group.store_path} lacks the array {name}: it is damaged. Remove it and run again.")
    return node


@dataclass(frozen=True)
class Layer:
    """One array of a store on the grid: (y, x), with `lead` coordinates such as ("time",) before them."""

    name: str
    attributes: dict[str, Any]
    lead: tuple[str, ...] = ()
    dtype: str = "uint8"
    fill: int = MISSING


@dataclass(frozen=True)
class Axis:
    """A coordinate besides y and x, such as the dates."""

    name: str
    values: np.ndarray
    attributes: dict[str, Any] = field(default_factory=dict)
    grows: bool = False  # whether more are to come: each has objects of its own then, here and in the layers


def time_axis(dates: np.ndarray) -> Axis:
    """The dates as a CF coordinate: whole days since the first day of the first date's year."""
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
    """The time coordinate of a store, as datetime64[D]."""
    time = array(group, "time")
    start = np.datetime64(attributes(time)["units"].removeprefix("days since "), "D")
    dates: np.ndarray = start + np.asarray(time[:]).astype("timedelta64[D]")
    return dates


def store_attributes(grid: Grid, about: dict[str, Any]) -> dict[str, Any]:
    """What a store says of itself: conventions, software, grid, and what its maker has to say."""
    return {
        "Conventions": "CF-1.11",
        "software": SOFTWARE,
        "software_version": version("sitscube"),
        "history": f"made by {SOFTWARE} {version('sitscube')}",
        "grid": grid.name,
        "shard": grid.shard,
        "chunk": grid.chunk,
        "coordinates": _CRS_NAME,  # makes xarray read the grid mapping as a coordinate, where rioxarray looks for it
        **spatial_attributes(grid.geobox),
        **about,
    }


def create_arrays(group: zarr.Group, grid: Grid, layers: Sequence[Layer], axes: Sequence[Axis]) -> None:
    """Fill an empty store with its coordinates and with every layer in place, filled with its fill value."""
    for axis in (*axes, *_xy_axes(grid.geobox)):
        values = group.create_array(
            axis.name,
            shape=axis.values.shape,
            dtype=axis.values.dtype,
            chunks=(1,) if axis.grows else axis.values.shape,
            fill_value=0 if axis.values.dtype.kind == "i" else np.nan,
            dimension_names=(axis.name,),
            attributes=axis.attributes,
        )
        values[:] = axis.values
    crs = group.create_array(_CRS_NAME, shape=(), dtype="int32", fill_value=0, attributes=_crs_attributes(grid.geobox))
    crs[...] = 0
    for layer in layers:
        create_layer(group, grid, layer)


def create_layer(group: zarr.Group, grid: Grid, layer: Layer) -> None:
    """Make an array on the grid; one there already is replaced.

    Its shards hold all leading coordinates, but of an axis that grows one each.
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
        attributes={"_FillValue": layer.fill, "grid_mapping": _CRS_NAME, **layer.attributes},
        overwrite=True,
    )


def fits(array: zarr.Array, layer: Layer) -> bool:
    """Whether an array says of itself what `create_layer` would have written."""
    about = {"_FillValue": layer.fill, "grid_mapping": _CRS_NAME, **layer.attributes}
    return array.dtype == np.dtype(layer.dtype) and array.fill_value == layer.fill and attributes(array) == about


def read_grid(group: zarr.Group) -> Grid:
    """The grid that a store was written on."""
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


def _crs_attributes(geobox: GeoBox) -> dict[str, Any]:
    a = geobox.transform
    return {
        "long_name": "coordinate reference system",
        **geobox.crs.proj.to_cf(),
        "GeoTransform": " ".join(repr(float(v)) for v in (a.c, a.a, a.b, a.f, a.d, a.e)),
    }


def spatial_attributes(geobox: GeoBox) -> dict[str, Any]:
    """The GeoZarr `proj:` and `spatial:` attributes."""
    box, epsg = geobox.boundingbox, geobox.crs.epsg
    projection = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": geobox.crs.to_wkt()}
    return {
        **projection,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": [float(v) for v in tuple(geobox.transform)[:6]],
        "spatial:shape": list(geobox.shape),
        "spatial:bbox": [box.left, box.bottom, box.right, box.top],
    }

"""NetCDF files by the CF conventions: variables on one-dimensional coordinates, with or without time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import cftime
import h5py
import numpy as np
import pyproj
import xarray as xr
from affine import Affine
from odc.geo import CRS

from pipeline.base.errors import GranuleError, UserError
from pipeline.cube.layout import SIMULATED
from pipeline.sources.raster.grid import UprightGrid
from pipeline.sources.raster.names import Step
from pipeline.sources.raster.settings import RasterLayer

_NAMES: Final = {  # of dimensions, where attributes do not name the axis
    "Y": ("lat", "latitude", "y", "ydim", "northing"),
    "X": ("lon", "longitude", "x", "xdim", "easting"),
    "T": ("time", "t"),
}
_STANDARD: Final = {
    "latitude": "Y",
    "projection_y_coordinate": "Y",
    "longitude": "X",
    "projection_x_coordinate": "X",
    "time": "T",
}
_UNEVEN: Final = 0.1  # pixels: the most by which rounded coordinates may deviate from even spacing
_KM: Final = ("km", "kilometer", "kilometers", "kilometre", "kilometres")


@contextmanager
def opened_dataset(path: Path, engine: str) -> Iterator[xr.Dataset]:
    """Open a file without decoding: numbers stay as they are in the file, and nothing is read yet.

    Raises:
        GranuleError: it is HDF5, but no NetCDF, or damaged.
    """
    try:
        if engine == "h5netcdf":
            with h5py.File(path, "r") as file:  # h5netcdf would leave broken objects of a damaged file
                dict(file.attrs)
        dataset = xr.open_dataset(path, engine=engine, decode_cf=False)
    except (ValueError, LookupError, TypeError) as error:  # the readers' errors for damaged headers
        raise GranuleError(f"no NetCDF file that can be read ({error})") from None
    with dataset:
        try:
            yield dataset
        except KeyError as error:  # h5py's error for a damaged object
            raise GranuleError(f"damaged ({error}); fetch it again") from None


@dataclass(frozen=True)
class NetCdf:
    """An open NetCDF file."""

    dataset: xr.Dataset
    crs: str | None

    @property
    def simulated(self) -> str:
        """Origin of a simulated file, from its attribute; empty for real ones."""
        return str(self.dataset.attrs.get(SIMULATED, ""))

    def steps(self, layer: RasterLayer) -> list[Step]:
        """Return the dates of a variable's time coordinate, or one unknown date.

        Raises:
            GranuleError: it has several, and they are unknown.
        """
        along = self._dimensions(self._variable(layer)).get("T")
        coordinate = self._coordinate(along) if along else self._scalar_time()
        days = [] if coordinate is None else _days(coordinate)
        if along is None:
            return [Step(None, days[0] if len(days) == 1 else None)]
        size = self.dataset.sizes[along]
        if size == 1:
            return [Step(0, days[0] if days else None)]
        if len(days) != size:
            raise GranuleError(f"the dates of its {size} steps cannot be told: {along} has no units such as days since")
        return [Step(index, day) for index, day in enumerate(days)]

    def grid(self, layer: RasterLayer) -> UprightGrid:
        """Return the grid of a variable.

        Raises:
            GranuleError: its coordinates are missing or unevenly spaced, or their CRS is unknown.
        """
        variable = self._variable(layer)
        dimensions = self._dimensions(variable)
        y, x = self._centres(dimensions["Y"]), self._centres(dimensions["X"])
        crs = self._crs(variable, dimensions)
        a, e = _spacing(x, dimensions["X"]), _spacing(y, dimensions["Y"])
        return UprightGrid.of((y.size, x.size), Affine(a, 0, x[0] - a / 2, 0, e, y[0] - e / 2), crs)

    def read(
        self, layer: RasterLayer, index: int | None, rows: slice, columns: slice
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read numbers of a window, and where they are not `_FillValue` or `missing_value`.

        Raises:
            GranuleError: there is no such variable.
        """
        variable = self._variable(layer)
        dimensions = self._dimensions(variable)
        grid = self.grid(layer)
        in_file = dict(zip("YX", grid.in_file(rows, columns), strict=True))
        at: dict[Any, Any] = dict.fromkeys(variable.dims, 0)
        at |= {dimensions[axis]: window for axis, window in in_file.items()}
        if index is not None:
            at[dimensions["T"]] = index
        numbers = variable.isel(at).transpose(dimensions["Y"], dimensions["X"]).to_numpy()
        said = [np.ravel(variable.attrs[name]) for name in ("_FillValue", "missing_value") if name in variable.attrs]
        fills = [fill for fill in said if fill.dtype.kind in "iuf"]
        if str(variable.attrs.get("_Unsigned", "")).lower() == "true" and numbers.dtype.kind == "i":
            unsigned = np.dtype(f"{numbers.dtype.byteorder}u{numbers.dtype.itemsize}")
            fills = [fill.astype(numbers.dtype).view(unsigned) for fill in fills]
            numbers = numbers.view(unsigned)
        numbers = grid.upright(numbers)
        return numbers, None if not fills else ~np.isin(numbers, np.concatenate(fills))

    def _variable(self, layer: RasterLayer) -> xr.DataArray:
        there = [str(name) for name, variable in self.dataset.data_vars.items() if variable.ndim >= 2]
        if layer.variable is None:
            raise UserError(f"NetCDF files need the name of the variable: set `variable` to one of {', '.join(there)}.")
        if layer.variable not in self.dataset.variables:
            raise GranuleError(f"no variable {layer.variable}: it has {', '.join(there) or 'none'}")
        return self.dataset[layer.variable]

    def _dimensions(self, variable: xr.DataArray) -> dict[str, str]:
        """Return the names of the dimensions by axis: Y, X, and T where there is time.

        Raises:
            GranuleError: there is no Y or X, or a further dimension of more than one step.
        """
        axes = {self._axis(str(name)): str(name) for name in variable.dims}
        further = [str(name) for name in variable.dims if name not in axes.values() or self._axis(str(name)) is None]
        if "Y" not in axes or "X" not in axes:
            raise GranuleError(
                f"{variable.name}{variable.dims} has no dimensions of latitude and longitude, or y and x"
            )
        if any(variable.sizes[name] > 1 for name in further):
            raise GranuleError(f"{variable.name}{variable.dims} has dimensions besides time, y and x")
        return {axis: name for axis, name in axes.items() if axis is not None}

    def _axis(self, name: str) -> str | None:
        """Return the axis of a dimension: by its coordinate's attributes, else by its name."""
        attributes = self.dataset[name].attrs if name in self.dataset.variables else {}
        if attributes.get("axis") in _NAMES:
            return str(attributes["axis"])
        if attributes.get("standard_name") in _STANDARD:
            return _STANDARD[attributes["standard_name"]]
        return next((axis for axis, names in _NAMES.items() if name.lower() in names), None)

    def _coordinate(self, name: str) -> xr.DataArray | None:
        return self.dataset[name] if name in self.dataset.variables else None

    def _scalar_time(self) -> xr.DataArray | None:
        """Return the time of a file without a dimension for it."""
        return next((self.dataset[name] for name in ("time", "t") if name in self.dataset.variables), None)

    def _centres(self, name: str) -> np.ndarray:
        """Return the coordinates of pixel centres along a dimension, in metres or degrees."""
        coordinate = self._coordinate(name)
        if coordinate is None or coordinate.ndim != 1 or coordinate.size < 2:
            raise GranuleError(f"no coordinates along {name}: it does not say where its pixels lie")
        attributes = coordinate.attrs
        centres = coordinate.to_numpy() * float(attributes.get("scale_factor", 1)) + float(
            attributes.get("add_offset", 0)
        )
        return np.asarray(centres, np.float64) * (1000 if attributes.get("units") in _KM else 1)

    def _crs(self, variable: xr.DataArray, dimensions: dict[str, str]) -> CRS:
        said = str(variable.attrs.get("grid_mapping", "")).split(":")[0].strip()
        name = next((n for n in (said, "crs", "spatial_ref") if n in self.dataset.variables), None)
        found = _mapping_crs(self.dataset[name].attrs) if name else None
        if found is not None:
            return found
        if self.crs is not None:
            return CRS(self.crs)
        units = [str(self.dataset[dimensions[axis]].attrs.get("units", "")).lower() for axis in ("Y", "X")]
        names = [dimensions[axis].lower() for axis in ("Y", "X")]
        if all(unit.startswith("degree") for unit in units) or (
            names[0].startswith("lat") and names[1].startswith("lon") and not any(units)
        ):
            return CRS("EPSG:4326")
        raise GranuleError("no coordinate reference system: set raster.crs, such as EPSG:4326")


def _mapping_crs(attributes: Mapping[str, object]) -> CRS | None:
    """Return the CRS that a grid mapping describes, or None if it is not understood."""
    for name, value in attributes.items():
        if name.lower() in ("epsg", "epsg_code"):
            return CRS(f"EPSG:{str(value).upper().removeprefix('EPSG:')}")
    try:
        return CRS(pyproj.CRS.from_cf(dict(attributes)).to_wkt())
    except (pyproj.exceptions.CRSError, KeyError):
        return None


def _spacing(centres: np.ndarray, name: str) -> float:
    """Return the distance of pixel centres.

    Raises:
        GranuleError: they are not evenly spaced.
    """
    step = (centres[-1] - centres[0]) / (centres.size - 1)
    if not step or np.abs(centres - (centres[0] + step * np.arange(centres.size))).max() > _UNEVEN * abs(step):
        raise GranuleError(f"coordinates along {name} are not evenly spaced")
    return float(step)


def _days(coordinate: xr.DataArray) -> list[date]:
    """Return the dates of a time coordinate in its own calendar; empty if it has no units.

    AppEEARS uses a Julian calendar, but counts from a recent date: its dates are those of the usual calendar.

    Raises:
        GranuleError: its units are not understood, or a date does not exist.
    """
    units = str(coordinate.attrs.get("units", ""))
    if " since " not in units:
        return []
    numbers: Sequence[float] = np.ravel(coordinate.to_numpy()).tolist()
    try:
        times = cftime.num2date(numbers, units, str(coordinate.attrs.get("calendar", "standard")))
        return [date(time.year, time.month, time.day) for time in np.ravel(times)]
    except ValueError as error:
        raise GranuleError(f"the dates of {coordinate.name} cannot be told ({error})") from None

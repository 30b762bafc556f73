"""Small rasters whose numbers encode their position, and sources that read them."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from shapely.geometry import box

from pipeline.sources.raster.rasters import Rasters
from pipeline.sources.raster.settings import Raster

ROWS, COLUMNS = 40, 50
ANYWHERE = box(0, 35, 20, 50)
UTM = "EPSG:32632"
UTM_AFFINE = Affine(20, 0, 600_000, 0, -20, 5_000_000)
SINUSOIDAL_WKT = (  # as AppEEARS and the MODIS reprojection tool write it
    'PROJCS["Sinusoidal",GEOGCS["GCS_unnamed_ellipse",DATUM["D_unknown",SPHEROID["Unknown",6371007.181,0]],'
    'PRIMEM["Greenwich",0],UNIT["Degree",0.0174532925199433]],PROJECTION["Sinusoidal"],'
    'PARAMETER["central_meridian",0],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["Meter",1]]'
)
FPAR = {"name": "fpar", "scale": 0.01, "valid_range": (0, 100)}


def positions(shape: tuple[int, int] = (ROWS, COLUMNS), modulus: int = 101, shift: int = 0) -> np.ndarray:
    """Return numbers from 0 that differ between neighbours."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    return (7 * row + 3 * column + shift) % modulus


def write_tiff(
    path: Path,
    *bands: np.ndarray,
    crs: str | None = UTM,
    affine: Affine | None = UTM_AFFINE,
    descriptions: Sequence[str | None] = (),
    **profile: Any,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ny, nx = bands[0].shape
    profile |= {"crs": crs} if crs else {}
    profile |= {"transform": affine} if affine else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # some are meant to be
        with rasterio.open(
            path, "w", driver="GTiff", height=ny, width=nx, count=len(bands), dtype=bands[0].dtype, **profile
        ) as file:
            for number, band in enumerate(bands, 1):
                file.write(band, number)
            for number, text in enumerate(descriptions, 1):
                file.set_band_description(number, text)
    return path


def write_netcdf(
    path: Path,
    variables: Mapping[str, np.ndarray],
    y: np.ndarray,
    x: np.ndarray,
    *,
    names: tuple[str, str] = ("lat", "lon"),
    units: tuple[str, str] = ("degrees_north", "degrees_east"),
    time: tuple[Sequence[float], dict[str, str]] | None = None,
    mapping: dict[str, Any] | None = None,
    attributes: Mapping[str, dict[str, Any]] | None = None,
    chunks: tuple[int, ...] | None = None,
) -> Path:
    """Write variables on (y, x), or (time, y, x) where time is given as numbers and attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5netcdf.File(path, "w") as file:
        file.dimensions = dict(zip(names, (y.size, x.size), strict=True))
        for name, centres, unit in zip(names, (y, x), units, strict=True):
            file.create_variable(name, (name,), data=centres).attrs["units"] = unit
        if time is not None:
            file.dimensions["time"] = len(time[0])
            file.create_variable("time", ("time",), data=np.array(time[0])).attrs.update(time[1])
        if mapping is not None:
            file.create_variable("crs", (), dtype="i4").attrs.update(mapping)
        for name, numbers in variables.items():
            along = (*(("time",) if numbers.ndim == 3 else ()), *names)
            variable = file.create_variable(
                name, along, data=numbers, chunks=chunks or numbers.shape, compression="gzip"
            )
            variable.attrs.update((attributes or {}).get(name, {}))
            if mapping is not None:
                variable.attrs["grid_mapping"] = "crs"
    return path


def source(folder: Path, files: str, *channels: dict[str, Any], year: int = 2018, **settings: Any) -> Rasters:
    calendar = settings.pop("calendar", "eight-day")
    raster = Raster(folder=folder, files=(files,), channels=channels or (FPAR,), **settings)
    return Rasters(raster, year, calendar)


def scenes(rasters: Rasters) -> list[Any]:
    return [scene for path in rasters.files(ANYWHERE) for scene in rasters.check(path).scenes]


def everything(rasters: Rasters, scene: Any) -> dict[str, np.ndarray]:
    """Read all raw pixels of a scene."""
    ny, nx = scene.geobox.shape
    return rasters.read(scene, slice(0, ny), slice(0, nx))


def decoded(rasters: Rasters, scene: Any) -> Any:
    return rasters.decode({name: layer.ravel() for name, layer in everything(rasters, scene).items()})

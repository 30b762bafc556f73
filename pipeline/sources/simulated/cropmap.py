"""The reference crop map of the simulated country, with EUCROPMAP's legend and layout (GeoTIFF in EPSG:3035)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from pipeline.base.files import atomic_file
from pipeline.grid.polygons import inside, project
from pipeline.sources.simulated.geography import EUROPE, LON_LAT
from pipeline.sources.simulated.landscape import parcels_at
from pipeline.sources.simulated.vegetation import CODES

NO_DATA: Final = 0
STRIP_ROWS: Final = 512  # rows worked on at a time, and side of the file's tiles
_AT_ONCE: Final = 8192  # cells; a Dask worker returns arrays above 64 KB to the system each time, which is slow
_KILOMETRE: Final = 1000
_MARGIN: Final = 10 * _KILOMETRE  # bounds are widened to multiples of it, as those of the 1 km grid are


@dataclass(frozen=True, order=True)
class Strip:
    """Rows `number` x 512 and on of the map."""

    number: int

    def __str__(self) -> str:
        return f"map-{self.number:03d}"


def map_geobox(outline: BaseGeometry, resolution: int) -> GeoBox:
    """Return the cells of the map: those of the European 1 km grid over the outline, divided evenly.

    Args:
        outline: longitude and latitude.
        resolution: metres, a divisor of 1000.

    Raises:
        ValueError: the resolution does not divide a kilometre.
    """
    if resolution < 1 or _KILOMETRE % resolution:
        raise ValueError(f"a resolution of {resolution} m does not divide the cells of 1 km")
    left, bottom, right, top = project(outline, LON_LAT, EUROPE).bounds
    left, bottom = _MARGIN * math.floor(left / _MARGIN), _MARGIN * math.floor(bottom / _MARGIN)
    right, top = _MARGIN * math.ceil(right / _MARGIN), _MARGIN * math.ceil(top / _MARGIN)
    shape = ((top - bottom) // resolution, (right - left) // resolution)
    return GeoBox(shape, Affine(resolution, 0, left, 0, -resolution, top), EUROPE)


def strips(geobox: GeoBox) -> list[Strip]:
    """Return all strips of a map, from north to south."""
    return [Strip(n) for n in range(-(-geobox.shape[0] // STRIP_ROWS))]


def map_strip(geobox: GeoBox, strip: Strip, outline: BaseGeometry, seed: int, year: int) -> np.ndarray:
    """Compute the crop codes of a strip.

    Returns:
        int16 (rows, columns): what grows at each cell's centre, 0 outside the outline.
    """
    rows = slice(strip.number * STRIP_ROWS, min((strip.number + 1) * STRIP_ROWS, geobox.shape[0]))
    part = geobox[rows, slice(None)]
    codes = np.full(part.shape, NO_DATA, np.int16)
    flat = codes.reshape(-1)
    cells = np.flatnonzero(inside(part, outline))
    affine = part.transform
    for n in range(0, cells.size, _AT_ONCE):
        some = cells[n : n + _AT_ONCE]
        x = affine.c + (some % part.shape[1] + 0.5) * affine.a
        y = affine.f + (some // part.shape[1] + 0.5) * affine.e
        flat[some] = CODES[parcels_at(x, y, seed, year).curve]
    return codes


def write_map(path: Path, geobox: GeoBox, arrays: Iterable[np.ndarray], tags: dict[str, str]) -> None:
    """Write the strips, in order, as one GeoTIFF; no reader finds half of it.

    Args:
        path: the file.
        geobox: of the whole map.
        arrays: the strips' codes from north to south, taken one at a time.
        tags: texts of the file.
    """
    rows, columns = geobox.shape
    layout = {
        "driver": "GTiff", "dtype": "int16", "count": 1, "height": rows, "width": columns, "nodata": NO_DATA,
        "crs": geobox.crs.to_wkt(), "transform": geobox.transform,
        "tiled": True, "blockxsize": STRIP_ROWS, "blockysize": STRIP_ROWS, "compress": "LZW", "sparse_ok": True,
    }  # fmt: skip
    with atomic_file(path) as beside, rasterio.open(beside, "w", **layout) as file:
        file.update_tags(**tags)
        file.set_band_description(1, "EUCROPMAP code (simulated)")
        top = 0
        for codes in arrays:
            file.write(codes, 1, window=Window(0, top, columns, codes.shape[0]))
            top += codes.shape[0]

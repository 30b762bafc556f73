"""EUCROPMAP, the JRC's crop map of the European Union: legend, seasons in Italy, and reading by windows.

Source: EUCROPMAP 2018 and 2022 (d'Andrimont et al. 2021; legend of the Earth Engine catalogue, JRC/D5/EUCROPMAP/V1).
The map is itself a product of remote sensing, and no ground truth.
"""

from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from pipeline.errors import UserError

LEGEND: Final = {
    100: "artificial",
    211: "common wheat",
    212: "durum wheat",
    213: "barley",
    214: "rye",
    215: "oats",
    216: "maize",
    217: "rice",
    218: "triticale",
    219: "other cereals",
    221: "potatoes",
    222: "sugar beet",
    223: "other root crops",
    230: "other industrial crops",
    231: "sunflower",
    232: "rapeseed",
    233: "soya",
    240: "dry pulses and vegetables",
    250: "fodder crops",
    290: "bare arable land",
    300: "woodland and shrubland",
    500: "grassland",
    600: "bare land",
    700: "water",
    800: "wetlands",
}
CROPS: Final = tuple(code for code in LEGEND if 211 <= code <= 250)
WINTER: Final = (211, 212, 213, 214, 218, 232)  # certainly sown in autumn in Italy
SUMMER: Final = (216, 217, 231, 233)  # certainly sown in spring; the other crops may be either
NO_DATA: Final = 0

_CODES = np.array(sorted(LEGEND))
_STRIP = 4096  # rows and columns read at once: bounds memory at 10 m


def check(path: Path) -> None:
    """Hold a file against what the reader needs.

    Raises:
        UserError: it is missing, cannot be read, has no CRS, or holds other than one layer of whole numbers.
    """
    if not path.is_file():
        raise UserError(f"there is no reference map {path}: give one with --reference.")
    try:
        with rasterio.open(path) as source:
            if source.crs is None:
                raise UserError(f"the reference map {path} has no CRS: a EUCROPMAP GeoTIFF is expected.")
            if source.count != 1 or not np.issubdtype(np.dtype(source.dtypes[0]), np.integer):
                raise UserError(
                    f"the reference map {path} has {source.count} layer(s) of {source.dtypes[0]}: one layer of class "
                    "codes is expected."
                )
    except RasterioError as error:
        raise UserError(f"the reference map {path} cannot be read: {error}. A EUCROPMAP GeoTIFF is expected.") from None


def majority(path: Path, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent code in every cell, over all codes, non-crop included; of several as frequent, the smallest.

    A map cell counts for the grid cell that holds its centre: exact where the grids nest. The file's own CRS is
    trusted; cells of its no-data value or code 0 do not count.

    Args:
        path: the GeoTIFF.
        geobox: cells to reduce to.

    Returns:
        Codes (y, x), int16, 0 where no map cell counts; the winning code's share in percent (y, x), uint8, 255 there.

    Raises:
        UserError: the map holds a code that is not in the legend.
    """
    ny, nx = geobox.shape
    counts = np.zeros((len(_CODES), ny * nx), np.int32)
    with rasterio.open(path) as source:
        crs = CRS(source.crs)
        left, bottom, right, top = geobox.extent.to_crs(crs, resolution=10 * abs(geobox.transform.a)).boundingbox
        to_cell = ~source.transform
        (c0, r0), (c1, r1) = to_cell @ (left, top), to_cell @ (right, bottom)
        rows = range(max(0, int(r0) - 1), min(source.height, int(r1) + 2), _STRIP)
        columns = range(max(0, int(c0) - 1), min(source.width, int(c1) + 2), _STRIP)
        for row in rows:
            for column in columns:
                height = min(_STRIP, min(source.height, int(r1) + 2) - row)
                width = min(_STRIP, min(source.width, int(c1) + 2) - column)
                codes = source.read(1, window=Window(column, row, width, height))
                known = (codes != NO_DATA) & (codes != (NO_DATA if source.nodata is None else source.nodata))
                if known.any():
                    cells = _cells(geobox, crs, source.transform, row, column, known)
                    _count(counts, cells, codes[known], path)
    total = counts.sum(axis=0)
    best = counts.argmax(axis=0)
    code = np.where(total > 0, _CODES[best], NO_DATA).astype(np.int16)
    share = np.full(ny * nx, 255, np.uint8)
    share[total > 0] = np.rint(100 * counts.max(axis=0)[total > 0] / total[total > 0])
    return code.reshape(ny, nx), share.reshape(ny, nx)


def _cells(
    geobox: GeoBox, crs: CRS, transform: rasterio.Affine, row: int, column: int, known: np.ndarray
) -> np.ndarray:
    """Flat index of the grid cell that each known map cell's centre lies in, -1 outside."""
    height, width = known.shape
    ny, nx = geobox.shape
    to_cell = ~geobox.transform
    if crs == geobox.crs:  # both north up: rows and columns can be assigned apart
        x = transform.c + transform.a * (np.arange(column, column + width) + 0.5)
        y = transform.f + transform.e * (np.arange(row, row + height) + 0.5)
        j = np.floor(to_cell.c + to_cell.a * x).astype(np.int64)
        i = np.floor(to_cell.f + to_cell.e * y).astype(np.int64)
        flat = np.where((i >= 0) & (i < ny), i * nx, -1)[:, None] + np.where((j >= 0) & (j < nx), j, 0)[None, :]
        outside = ((i < 0) | (i >= ny))[:, None] | ((j < 0) | (j >= nx))[None, :]
        return np.where(outside, -1, flat)[known]
    r, c = np.nonzero(known)
    x, y = transform @ (c + column + 0.5, r + row + 0.5)
    x, y = crs.transformer_to_crs(geobox.crs)(x, y)
    cell_x, cell_y = to_cell @ (x, y)
    within = (cell_x >= 0) & (cell_x < nx) & (cell_y >= 0) & (cell_y < ny)
    flat = np.full(len(r), -1, np.int64)
    flat[within] = cell_y[within].astype(np.int64) * nx + cell_x[within].astype(np.int64)
    return flat


def _count(counts: np.ndarray, cells: np.ndarray, codes: np.ndarray, path: Path) -> None:
    codes, cells = codes[cells >= 0], cells[cells >= 0]
    if codes.size == 0:
        return
    kind = np.searchsorted(_CODES, codes).clip(max=len(_CODES) - 1)
    strange = codes[_CODES[kind] != codes]
    if strange.size:
        raise UserError(
            f"the reference map {path} holds the code {int(strange[0])}, which is not in the EUCROPMAP legend: "
            "is it another map?"
        )
    n_cells = counts.shape[1]
    counts += np.bincount(kind * n_cells + cells, minlength=counts.size).reshape(counts.shape).astype(np.int32)

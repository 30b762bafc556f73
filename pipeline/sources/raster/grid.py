"""Grids of raster files, oriented so that the first row is the northern one and the first column the western one."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from pipeline.base.errors import GranuleError

_TOLERANCE: Final = 1e-3  # pixels: coordinates are written in decimal places, or as centres of pixels


@dataclass(frozen=True)
class UprightGrid:
    """A file's pixels as a `GeoBox`, and which axes have the opposite direction in the file."""

    geobox: GeoBox
    rows_turned: bool
    columns_turned: bool

    @classmethod
    def of(cls, shape: tuple[int, int], affine: Affine, crs: CRS) -> "UprightGrid":
        """Orient the grid of a file.

        Raises:
            GranuleError: its rows do not run along x, or its pixels have no size.
        """
        a, b, c, d, e, f = affine[:6]
        if abs(b) > abs(a) * 1e-9 or abs(d) > abs(e) * 1e-9 or not a or not e:
            raise GranuleError(f"rows and columns do not run along x and y (geotransform {tuple(affine[:6])})")
        rows, columns = shape
        west, north = (c if a > 0 else c + columns * a), (f if e < 0 else f + rows * e)
        return cls(GeoBox(shape, Affine(abs(a), 0, west, 0, -abs(e), north), crs), e > 0, a < 0)

    def in_file(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return a window of the `GeoBox` as rows and columns of the file."""
        ny, nx = self.geobox.shape
        return _turned(rows, ny) if self.rows_turned else rows, _turned(columns, nx) if self.columns_turned else columns

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels (rows, columns) of the file in the order of the `GeoBox`."""
        return pixels[:: -1 if self.rows_turned else 1, :: -1 if self.columns_turned else 1]


def same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Return whether two grids have the same pixels, up to the rounding of coordinates in files."""
    if one.shape != other.shape or one.crs != other.crs:
        return False
    ny, nx = one.shape
    apart = [np.subtract(~one.transform @ (other.transform @ corner), corner) for corner in ((0, 0), (nx, ny))]
    return bool(np.abs(apart).max() < _TOLERANCE)


def _turned(window: slice, size: int) -> slice:
    return slice(size - window.stop, size - window.start)

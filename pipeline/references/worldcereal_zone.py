"""The raster of one zone, read on the cells of a map of several zones."""

from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from pipeline.base.errors import UserError
from pipeline.references.geotiff import RasterHeader, opened

_NOWHERE: Final = -1
_TOLERANCE: Final = 0.001  # of a cell: the largest error of a place in a raster of another CRS


class ZoneReader:
    """A raster of 0 (not the class) and 100 (the class), read on the map's cells; opened when it is first needed."""

    def __init__(self, path: str, shown: str, layout: RasterHeader, cells: GeoBox, stack: ExitStack) -> None:
        """Compute the raster's cell of every row and column of the map.

        Args:
            path: in GDAL's form.
            shown: the path for people.
            layout: of the raster.
            cells: of the map; each has the value of the raster's cell that contains its centre.
            stack: closes the file.
        """
        self._path, self._shown, self._cells, self._stack = path, shown, cells, stack
        own = layout.geobox
        rotated = any(of.transform.b or of.transform.d for of in (own, cells))
        self._warped = rotated or own.crs != cells.crs
        shape, transform = (cells.shape, cells.transform) if self._warped else (own.shape, own.transform)
        there = ~transform @ cells.transform
        self._row = _nearest(cells.shape[0], there.e, there.f, shape[0])
        self._column = _nearest(cells.shape[1], there.a, there.c, shape[1])
        self._file: Any = None

    def read(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Read 0 missing, 1 not the class, 2 the class: uint8 (rows, columns); None outside of the raster.

        Raises:
            UserError: it is damaged there.
        """
        down, across = self._row[rows], self._column[columns]
        i, j = np.flatnonzero(down != _NOWHERE), np.flatnonzero(across != _NOWHERE)
        if not len(i) or not len(j):
            return None
        down, across = down[i], across[j]
        first, last = (int(down.min()), int(across.min())), (int(down.max()), int(across.max()))
        window = Window(first[1], first[0], last[1] - first[1] + 1, last[0] - first[0] + 1)
        try:
            if self._file is None:
                self._file = self._open()
            values = self._file.read(1, window=window)
        except RasterioError as error:
            raise UserError(
                f"the reference map {self._shown} is damaged in rows {first[0]} to {last[0]}, columns {first[1]} to "
                f"{last[1]}: {error.__cause__ or error}. Fetch the zip again."
            ) from None
        said = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        inner = slice(i[0], i[-1] + 1), slice(j[0], j[-1] + 1)
        if values.shape != (len(down), len(across)) or (np.diff(down) < 1).any() or (np.diff(across) < 1).any():
            values = values[np.ix_(down - first[0], across - first[1])]
        said[inner] = (values == 0).view(np.uint8)
        said[inner] |= (values == 100).view(np.uint8) << np.uint8(1)
        return said

    def _open(self) -> Any:
        file = self._stack.enter_context(opened(self._path))
        if not self._warped:
            return file
        height, width = self._cells.shape
        return self._stack.enter_context(
            WarpedVRT(
                file, crs=str(self._cells.crs), transform=self._cells.transform, width=width, height=height,
                resampling=Resampling.nearest, src_nodata=255, nodata=255, tolerance=_TOLERANCE,
            )
        )  # fmt: skip


def _nearest(n: int, scale: float, offset: float, size: int) -> np.ndarray:
    """Return the cell of a raster of `size` that contains each centre of `n` cells; -1 where none does."""
    place = np.floor(offset + scale * (np.arange(n) + 0.5) + 1e-6).astype(np.int64)
    return np.where((place >= 0) & (place < size), place, _NOWHERE)

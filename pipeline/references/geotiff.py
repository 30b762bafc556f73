"""One GeoTIFF of class codes: looked at before any work, read by windows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from pipeline.base.errors import UserError
from pipeline.base.fingerprint import content_digest
from pipeline.references.legend import NO_DATA

CACHE: Final = 64  # MB that GDAL keeps of decoded tiles; windows begin at tiles, so that few are met again
_LOOKED_AT: Final = 4096  # tiles whose place is held against the file's size, of files that have more
_WIDEST: Final = 2  # bytes of a code as it is counted


@dataclass(frozen=True)
class RasterHeader:
    """Where the cells of a raster lie, and how it stores them."""

    height: int
    width: int
    transform: tuple[float, ...]  # the six coefficients of its affine transform
    crs: str
    block: tuple[int, int]
    dtype: str
    nodata: float | None

    @property
    def geobox(self) -> GeoBox:
        """Its cells."""
        return GeoBox((self.height, self.width), Affine(*self.transform), CRS(self.crs))


def open_header(path: str, shown: str, what: str) -> tuple[RasterHeader, dict[str, Any]]:
    """Layout and tags of a raster, held against what a map of classes has.

    Args:
        path: as GDAL knows it.
        shown: the path for people.
        what: is expected, for messages.

    Raises:
        UserError: it cannot be read, has no CRS or position, or holds other than one layer of whole numbers.
    """
    try:
        with opened(path) as file:
            if file.crs is None:
                raise UserError(f"the reference map {shown} has no CRS: {what} is expected.")
            if file.count != 1 or not np.issubdtype(np.dtype(file.dtypes[0]), np.integer):
                raise UserError(
                    f"the reference map {shown} has {file.count} layer(s) of {file.dtypes[0]}: one layer of class "
                    f"codes is expected, as {what} has it."
                )
            if file.transform.is_identity or file.transform.is_degenerate:
                raise UserError(f"the reference map {shown} does not say where its cells lie: {what} is expected.")
            rows, columns = file.block_shapes[0]
            found = RasterHeader(
                file.height, file.width, tuple(file.transform)[:6], file.crs.to_wkt(), (int(rows), int(columns)),
                str(file.dtypes[0]), file.nodata,
            )  # fmt: skip
            return found, dict(file.tags())
    except RasterioError as error:
        raise UserError(
            f"the reference map {shown} cannot be read: {str(error).rstrip('.')}; {what} is expected."
        ) from None


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A raster, with a small cache."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(path) as file:
        yield file


def check_whole(path: Path) -> None:
    """Refuse a GeoTIFF that ends before its last tile, as one whose download was broken off.

    Raises:
        UserError: it does.
    """
    size = path.stat().st_size
    with opened(str(path)) as file:
        if file.driver != "GTiff":
            return
        ((rows, columns),) = file.block_shapes
        down, across = -(-file.height // rows), -(-file.width // columns)
        # tiles mostly lie in the file in their order, so the last ones are those that a broken download lacks
        step = max(1, down * across // _LOOKED_AT)
        for tile in {*range(0, down * across, step), *range(max(0, down * across - across), down * across)}:
            place = f"{tile % across}_{tile // across}"
            offset, length = (file.get_tag_item(f"BLOCK_{of}_{place}", "TIFF", bidx=1) for of in ("OFFSET", "SIZE"))
            if offset is not None and length is not None and int(offset) + int(length) > size:
                raise UserError(
                    f"the reference map {path} is cut off: it has {size:,} bytes, and a tile of it ends at "
                    f"{int(offset) + int(length):,}. Fetch it again."
                )


@dataclass(frozen=True)
class GeoTiffMap:
    """A map of classes in one GeoTIFF, whose CRS and no-data value are trusted."""

    path: Path
    layout: RasterHeader
    year: int | None
    simulated: str

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    @property
    def geobox(self) -> GeoBox:
        """Its cells."""
        return self.layout.geobox

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a tile."""
        return self.layout.block

    @property
    def missing(self) -> tuple[int, ...]:
        """The file's no-data value, and 0."""
        nodata = self.layout.nodata
        return (NO_DATA,) if nodata is None or nodata == NO_DATA else (NO_DATA, int(nodata))

    @contextmanager
    def open(self) -> Iterator["GeoTiffReader"]:
        """Open it for reading.

        Raises:
            UserError: it cannot be opened any more.
        """
        try:
            with opened(str(self.path)) as file:
                yield GeoTiffReader(file, self.path, self.missing)
        except RasterioError as error:
            raise UserError(f"the reference map {self.path} cannot be read: {str(error).rstrip('.')}.") from None

    def digest(self) -> str:
        """SHA-256 of the file; worked out once in a process for a file that stays as it is."""
        status = self.path.stat()
        return _digest(self.path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed: int, inode: int) -> str:
    return content_digest(path)


class GeoTiffReader:
    """An open GeoTIFF."""

    def __init__(self, file: Any, path: Path, missing: tuple[int, ...]) -> None:
        self._file, self._path, self._missing = file, path, missing
        nothing = np.empty(0, file.dtypes[0])
        self._buffers = [nothing, nothing]  # taken in turn: memory that is new each time costs a tenth of reading

    def read(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Codes of a window as the file has them, or as int16 where it has wider numbers; they last until the next
        but one is read.

        Raises:
            UserError: the file is damaged there, or holds a number that no code can be.
        """
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        try:
            codes: np.ndarray = self._file.read(1, window=window, out=self._room(window.height, window.width))
        except RasterioError as error:
            raise UserError(
                f"the reference map {self._path} is damaged in rows {rows.start} to {rows.stop}, columns "
                f"{columns.start} to {columns.stop}: {error.__cause__ or error}. Fetch it again."
            ) from None
        if codes.dtype.itemsize <= _WIDEST:
            return codes
        codes[np.isin(codes, self._missing)] = NO_DATA
        strange = codes[(codes < 0) | (codes > np.iinfo(np.int16).max)]
        if strange.size:
            raise UserError(
                f"the reference map {self._path} holds the number {int(strange[0])} ({strange.size:,} cells of those "
                "looked at), which no class code can be: is it another map?"
            )
        return codes.astype(np.int16)

    def _room(self, height: int, width: int) -> np.ndarray:
        self._buffers.reverse()
        if self._buffers[0].size < height * width:
            self._buffers[0] = np.empty(height * width, self._buffers[0].dtype)
        return self._buffers[0][: height * width].reshape(height, width)

"""A GeoTIFF of class codes: checked before any work, read by windows."""

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

CACHE: Final = 64  # MB of decoded tiles in GDAL's cache; windows begin at tiles, so that few are read again
_LOOKED_AT: Final = 4096  # tiles, at most, whose place is compared with the file's size
_WIDEST: Final = 2  # bytes of a code when it is counted


@dataclass(frozen=True)
class RasterHeader:
    """The place of a raster's cells, and their storage."""

    height: int
    width: int
    transform: tuple[float, ...]  # the six coefficients of its affine transform
    crs: str
    block: tuple[int, int]
    dtype: str
    nodata: float | None

    @property
    def geobox(self) -> GeoBox:
        """Cells of the raster."""
        return GeoBox((self.height, self.width), Affine(*self.transform), CRS(self.crs))


def open_header(path: str, shown: str, what: str) -> tuple[RasterHeader, dict[str, str]]:
    """Return header and tags of a raster, if it can be a map of classes.

    Args:
        path: in GDAL's form.
        shown: the path for people.
        what: the expected kind of file, for messages.

    Raises:
        UserError: it cannot be read, has no CRS or position, or is not one layer of whole numbers.
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
    """Open a raster with a small cache."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(path) as file:
        yield file


def check_whole(path: Path) -> None:
    """Check that a GeoTIFF does not end before its last tile, like one whose download was interrupted.

    Raises:
        UserError: it does; the message names both sizes.
    """
    size = path.stat().st_size
    with opened(str(path)) as file:
        if file.driver != "GTiff":
            return
        ((rows, columns),) = file.block_shapes
        down, across = -(-file.height // rows), -(-file.width // columns)
        # tiles are mostly in their order in the file, so that an interrupted download lacks the last ones
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
    """A map of classes in one GeoTIFF, whose own CRS and no-data value are used."""

    path: Path
    layout: RasterHeader
    year: int | None
    simulated: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def geobox(self) -> GeoBox:
        """Cells of the raster."""
        return self.layout.geobox

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a tile."""
        return self.layout.block

    @property
    def missing(self) -> tuple[int, ...]:
        """Codes of cells without a class: the file's no-data value, and 0."""
        nodata = self.layout.nodata
        return (NO_DATA,) if nodata is None or nodata == NO_DATA else (NO_DATA, int(nodata))

    @contextmanager
    def open(self) -> Iterator["GeoTiffReader"]:
        """Open the map for reading.

        Raises:
            UserError: it cannot be opened any more.
        """
        try:
            with opened(str(self.path)) as file:
                yield GeoTiffReader(file, self.path, self.missing)
        except RasterioError as error:
            raise UserError(f"the reference map {self.path} cannot be read: {str(error).rstrip('.')}.") from None

    def digest(self) -> str:
        """Return the SHA-256 of the file; computed once in a process while the file does not change."""
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
        # used alternately: new memory each time would take a tenth of the time of reading
        self._buffers = [nothing, nothing]

    def read(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Read codes of a window, as int16 where the file has wider numbers.

        The next read but one overwrites them.

        Raises:
            UserError: the file is damaged there, or has a number that no code can be.
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

"""The most frequent class of a map in every cell of a grid."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from pipeline.base.errors import UserError
from pipeline.references.class_map import ClassMap
from pipeline.references.legend import NO_DATA
from pipeline.references.placement import Curved, Straight, place

Window: TypeAlias = tuple[slice, slice]  # rows and columns of a map

NO_SHARE: Final = 255
_ROWS: Final = 2048  # of a window, and
_COLUMNS: Final = 4096  # cells of a row: 16 MB of two bytes each
_SIDE: Final = 512  # cells of the grid along y and x that are counted at once: 27 MB for each 26 classes
_FEW: Final = 8  # rows of the map in a row of the grid from which comparing code by code is faster
_MOST: Final = 255  # rows that are counted in one byte


@dataclass(frozen=True)
class Majority:
    """The most frequent class of every cell, (y, x)."""

    code: np.ndarray  # int16: the most frequent code, 0 where no map cell counts
    share: np.ndarray  # uint8: percent of the map cells with a class that carry it, 255 where there are none
    n_valid: np.ndarray  # uint32: number of map cells with a class


def majority(source: ClassMap, geobox: GeoBox, codes: Sequence[int]) -> Majority:
    """Return the most frequent of all codes in every cell, non-crop included; of several as frequent, the smallest.

    A map cell counts for the grid cell that contains its centre: exact where the grids nest. The map's own CRS is used;
    cells without a class do not count.

    Args:
        source: the map.
        geobox: cells to reduce to.
        codes: of the map's classes, ascending.

    Raises:
        UserError: the map is damaged, or has another code.
    """
    ny, nx = geobox.shape
    code = np.full((ny, nx), NO_DATA, np.int16)
    share = np.full((ny, nx), NO_SHARE, np.uint8)
    n_valid = np.zeros((ny, nx), np.uint32)
    for i in range(0, ny, _SIDE):
        for j in range(0, nx, _SIDE):
            part = slice(i, min(i + _SIDE, ny)), slice(j, min(j + _SIDE, nx))
            counts = _Counts(source, geobox[part], codes).counted()
            total, most = counts.sum(axis=0), counts.max(axis=0)
            some = total > 0
            # the first of several as frequent is the smallest, for codes ascend
            code[part] = np.where(some, np.asarray(codes, np.int16)[counts.argmax(axis=0)], NO_DATA)
            share[part][some] = np.rint(100 * most[some] / total[some])
            n_valid[part] = total
    return Majority(code, share, n_valid)


class _Counts:
    """Counts of every code in every cell of a small enough part of the grid."""

    def __init__(self, source: ClassMap, geobox: GeoBox, codes: Sequence[int]) -> None:
        self._source, self._codes = source, tuple(codes)
        self._placement = place(source.geobox, geobox)
        self._counts = np.zeros((len(self._codes), *geobox.shape), np.int32)
        self._met = np.empty(0, np.int64)  # kinds (codes, then those that mean no class) in the last rows
        self._same = np.empty(0, bool)
        self._kinds: dict[np.dtype, np.ndarray] = {}

    def counted(self) -> np.ndarray:
        """Return the counts (code, y, x).

        Raises:
            UserError: the map is damaged, or has a code that is not among those given.
        """
        rows, columns = self._placement.window()
        with closing(_read_ahead(self._source, windows(rows, columns, self._source.block))) as stream:
            for window, data in stream:
                if isinstance(self._placement, Straight) and _tall(self._placement.row[window[0]]):
                    self._compare(data, window, self._placement)
                else:
                    self._tally(data, window, self._placement)
        return self._counts

    def _compare(self, data: np.ndarray, window: Window, placement: Straight) -> None:
        """Count code by code over the rows of each row of the grid, then over the columns of each column.

        Comparisons of small numbers are as fast as memory, so that twenty of them cost less than one look-up.
        """
        across = placement.column[window[1]]
        firsts = _firsts(across)
        self._met = self._met[:0]  # kinds that occur here mostly occur in the next rows, too
        n = len(self._codes)
        for first, last in _runs(placement.row[window[0]]):
            rows = data[first:last]
            sums = self._by_code(rows, self._met, firsts)
            if sums.sum() < rows.size:
                others = np.setdiff1d(self._able(rows.dtype), self._met)
                of_others = self._by_code(rows, others, firsts)
                if sums.sum() + of_others.sum() < rows.size:
                    self._refuse(data, window)
                new = of_others.any(axis=1)
                self._met = np.concatenate((self._met, others[new]))
                sums = np.concatenate((sums, of_others[new]))
            i = placement.row[window[0].start + first]
            classes = self._met < n
            self._counts[self._met[classes, None], i, across[firsts]] += sums[classes]

    def _by_code(self, rows: np.ndarray, kinds: np.ndarray, firsts: np.ndarray) -> np.ndarray:
        """Count the given kinds in each group of columns that begins at `firsts`: (kind, group)."""
        flat, values = rows.reshape(-1), (*self._codes, *self._source.missing)
        if self._same.size < flat.size:
            self._same = np.empty(flat.size, bool)
        same = self._same[: flat.size]
        by_column = np.empty((len(kinds), rows.shape[1]), np.uint8)
        for k, column in zip(kinds, by_column, strict=True):
            np.equal(flat, rows.dtype.type(values[k]), out=same)
            np.add.reduce(same.view(np.uint8).reshape(rows.shape), axis=0, dtype=np.uint8, out=column)
        sums: np.ndarray = np.add.reduceat(by_column, firsts, axis=1, dtype=np.int32)
        return sums

    def _able(self, dtype: np.dtype) -> np.ndarray:
        """Return the kinds that numbers of a type can have."""
        limits, values = np.iinfo(dtype), np.array((*self._codes, *self._source.missing))
        return np.flatnonzero((values >= limits.min) & (values <= limits.max))

    def _tally(self, data: np.ndarray, window: Window, placement: Straight | Curved) -> None:
        """Count by looking up the grid cell and the kind of every cell of the map."""
        kinds = self._kinds_of(data.dtype)
        n, unsigned = len(self._codes) + 2, np.dtype(f"u{data.dtype.itemsize}")
        for band in placement.bands(*window):
            height, width = (side.stop - side.start for side in band.box)
            key = np.take(kinds, np.ascontiguousarray(data[band.rows]).view(unsigned), mode="clip")
            key += np.multiply(band.cells, n, out=band.cells)
            counts = np.bincount(key.reshape(-1), minlength=(height * width + 1) * n)
            counts = counts[: height * width * n].reshape(height, width, n)
            if counts[..., -1].any():
                self._refuse(data, window)
            self._counts[:, band.box[0], band.box[1]] += counts[..., :-2].transpose(2, 0, 1).astype(np.int32)

    def _kinds_of(self, dtype: np.dtype) -> np.ndarray:
        """Return the kind of every number of a type, by its bits: place among the codes, then missing, then unknown."""
        if dtype not in self._kinds:
            n = len(self._codes)
            numbers = np.arange(256**dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)
            kinds = np.full(numbers.shape, n + 1, np.int32)
            for k, code in enumerate(self._codes):
                kinds[numbers == code] = k
            kinds[np.isin(numbers, self._source.missing)] = n
            self._kinds[dtype] = kinds
        return self._kinds[dtype]

    def _refuse(self, data: np.ndarray, window: Window) -> None:
        strange = ~np.isin(data, (*self._codes, *self._source.missing))
        row, column = np.argwhere(strange)[0]
        box = self._source.geobox
        x, y = box.transform @ (window[1].start + column + 0.5, window[0].start + row + 0.5)
        longitude, latitude = box.crs.transformer_to_crs(CRS("EPSG:4326"))(x, y)
        code = data[row, column]
        raise UserError(
            f"the reference map {self._source.name} holds the code {code}, which is not in its class table: "
            f"{int((data == code).sum()):,} cells of those looked at, the first at {longitude:.4f} E {latitude:.4f} N. "
            "Is it another map (reference.product)? Else name a table with this code: reference.classes."
        )


def _read_ahead(source: ClassMap, wanted: Iterable[Window]) -> Generator[tuple[Window, np.ndarray]]:
    """Yield windows and their codes, the next one read while the last is counted; those without a class are left out.

    All reading is done in one thread: GDAL's files must not change threads.
    """
    opening = source.open()
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        reader = thread.submit(opening.__enter__).result()
        try:
            last: tuple[Window, Future[np.ndarray | None]] | None = None
            for window in wanted:
                this = window, thread.submit(reader.read, *window)
                if last is not None and (data := last[1].result()) is not None:
                    yield last[0], data
                last = this
            if last is not None and (data := last[1].result()) is not None:
                yield last[0], data
        finally:
            thread.submit(opening.__exit__, None, None, None).result()


def windows(rows: slice, columns: slice, block: tuple[int, int]) -> Iterator[Window]:
    """Yield windows over a part of a map, row by row, that begin and end at its stored blocks, each of a few MB.

    Args:
        rows: of the map.
        columns: of the map.
        block: rows and columns that are stored together.
    """
    height, width = _whole(_ROWS, block[0], rows), _whole(_COLUMNS, block[1], columns)
    if block[1] >= columns.stop - columns.start > width:  # stored row by row: whole rows, or each would be read again
        width = columns.stop - columns.start
        height = _whole(max(1, _ROWS * _COLUMNS // width), block[0], rows)
    for row in _pieces(rows, height):
        for column in _pieces(columns, width):
            yield row, column


def _whole(wanted: int, block: int, span: slice) -> int:
    """Return the multiple of a block next to a wanted length, at least one block, unless blocks are far larger."""
    return wanted if block > 4 * wanted else max(1, wanted // block) * block


def _pieces(span: slice, length: int) -> Iterator[slice]:
    start = span.start
    while start < span.stop:
        stop = min(span.stop, (start // length + 1) * length)
        yield slice(start, stop)
        start = stop


def _firsts(cells: np.ndarray) -> np.ndarray:
    """Return where in a row of cells another one begins."""
    return np.concatenate(([0], np.flatnonzero(np.diff(cells)) + 1))


def _runs(cells: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield first and last (exclusive) of every run of the same cell, of at most 255."""
    firsts = _firsts(cells)
    for first, last in zip(firsts, [*firsts[1:], len(cells)], strict=True):
        for start in range(first, last, _MOST):
            yield start, min(start + _MOST, last)


def _tall(cells: np.ndarray) -> bool:
    return len(cells) >= _FEW * len(_firsts(cells))

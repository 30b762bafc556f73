"""Placement of the cells of a map in those of a grid: each counts for the grid cell that contains its centre.

Where both have the same CRS, rows and columns are placed separately. Elsewhere centres are interpolated between exactly
transformed ones, with a bound on the error, and those closer to an edge than this bound are transformed exactly: the
result is that of transforming every centre, in a twentieth of the time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

OUTSIDE: Final = -1
_BAND: Final = 64  # rows of a map that are placed at once, and most cells between exactly transformed centres
_SEGMENT: Final = 8  # cells in a row that are placed together where they all are in one cell of the grid
_TOLERANCE: Final = 1e-3  # of a cell of the grid: where interpolation errs by more, more centres are transformed
_NOWHERE: Final = -1e6  # of centres for which the grid's CRS is undefined
_SLACK: Final = 1e-9  # for rounding


@dataclass(frozen=True)
class Band:
    """Some rows of a window of a map, and the cells of the grid for which they count."""

    rows: slice  # of the window
    box: tuple[slice, slice]  # rows and columns of the grid
    cells: np.ndarray  # (rows, columns of the window): place in the box, row by row; one past its last where outside


class Straight:
    """Placement where map and grid share a CRS and neither is rotated."""

    def __init__(self, source: GeoBox, target: GeoBox) -> None:
        a, b = source.transform, ~target.transform
        rows = a.f + a.e * (np.arange(source.shape[0]) + 0.5)
        columns = a.c + a.a * (np.arange(source.shape[1]) + 0.5)
        self.row = _bounded(b.f + b.e * rows, target.shape[0])
        self.column = _bounded(b.c + b.a * columns, target.shape[1])

    def window(self) -> tuple[slice, slice]:
        """Return the rows and columns of the map that count for some cell."""
        return _span(self.row), _span(self.column)

    def bands(self, rows: slice, columns: slice) -> Iterator[Band]:
        """Yield the cells for which a window's cells count; it must be within `window`."""
        across = self.column[columns]
        for start in range(rows.start, rows.stop, _BAND):
            down = self.row[start : min(start + _BAND, rows.stop)]
            box = slice(int(down.min()), int(down.max()) + 1), slice(int(across.min()), int(across.max()) + 1)
            width = box[1].stop - box[1].start
            cells = ((down - box[0].start) * width)[:, None] + (across - box[1].start)[None, :]
            yield Band(slice(start - rows.start, start - rows.start + len(down)), box, cells)


class Curved:
    """Placement by transforming centres from one CRS to another."""

    def __init__(self, source: GeoBox, target: GeoBox) -> None:
        self._source, self._target = source, target
        self._forward: Affine = source.transform
        self._inverse: Affine = ~target.transform
        self._transform = source.crs.transformer_to_crs(target.crs)

    def window(self) -> tuple[slice, slice]:
        """Return rows and columns of the map around all that count for some cell."""
        extent = self._target.extent
        left, bottom, right, top = extent.boundingbox
        outline = extent.to_crs(self._source.crs, resolution=max(right - left, top - bottom) / 256)
        corners = outline.boundingbox
        x, y = np.array([(x, y) for x in (corners.left, corners.right) for y in (corners.bottom, corners.top)]).T
        columns, rows = ~self._forward @ (x, y)
        return tuple(  # type: ignore[return-value]
            slice(max(0, int(np.floor(v.min())) - 2), max(0, min(n, int(np.ceil(v.max())) + 2)))
            for v, n in zip((rows, columns), self._source.shape, strict=True)
        )

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of centres in the grid, counted in its cells: down and across."""
        x, y = self._transform(*(self._forward @ (columns + 0.5, rows + 0.5)))
        across, down = self._inverse @ (np.asarray(x), np.asarray(y))
        known = np.isfinite(across) & np.isfinite(down)
        return np.where(known, down, _NOWHERE), np.where(known, across, _NOWHERE)

    def bands(self, rows: slice, columns: slice) -> Iterator[Band]:
        """Yield the cells for which a window's cells count."""
        step, error = self._lattice(rows, columns)
        nodes = columns.start + step * np.arange(-(-(columns.stop - columns.start) // step) + 1)
        above = self.exact(np.full(len(nodes), rows.start), nodes)
        for start in range(rows.start, rows.stop, step):
            below = self.exact(np.full(len(nodes), start + step), nodes)
            down = np.arange(start, min(start + step, rows.stop))
            part = (down - start)[:, None] / step
            lines = [one + part * (other - one) for one, other in zip(above, below, strict=True)]
            box, cells = self._place(down, columns, lines, step, error)
            yield Band(slice(start - rows.start, start - rows.start + len(down)), box, cells)
            above = below

    def _lattice(self, rows: slice, columns: slice) -> tuple[int, float]:
        """Return the distance of exactly transformed centres, and twice the largest error of interpolation.

        The error is largest midway between nodes, along rows and along columns; both are measured in all of the window.
        """
        step = _BAND
        while step > 1:
            r, c = (
                start + step * np.arange(-(-(stop - start) // step) + 1)
                for start, stop in ((rows.start, rows.stop), (columns.start, columns.stop))
            )
            error = 0.0
            for dr, dc in ((0, step // 2), (step // 2, 0)):
                grid = np.meshgrid(r, c, indexing="ij")
                ends = self.exact(*grid), self.exact(grid[0] + 2 * dr, grid[1] + 2 * dc)
                middle = self.exact(grid[0] + dr, grid[1] + dc)
                error += max(float(np.abs((a + b) / 2 - m).max()) for a, b, m in zip(*ends, middle, strict=True))
            if 2 * error <= _TOLERANCE:
                return step, 2 * error + _SLACK
            step //= 2
        return 1, _SLACK

    def _place(
        self, down: np.ndarray, columns: slice, lines: list[np.ndarray], step: int, error: float
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Return a box of the grid, and in it the places of the cells of some rows; those of the nodes are `lines`."""
        length = min(_SEGMENT, step)
        width = columns.stop - columns.start
        starts, slopes, whole = [], [], np.array(True)
        for line in lines:
            slope = np.diff(line, axis=1) / step
            start = line[:, :-1, None] + slope[:, :, None] * np.arange(0, step, length)
            start = start.reshape(len(down), -1)
            slope = np.repeat(slope, step // length, axis=1)
            end = start + slope * (length - 1)
            whole = whole & (np.floor(np.minimum(start, end) - error) == np.floor(np.maximum(start, end) + error))
            starts.append(start)
            slopes.append(slope)
        box = _box(lines, self._target.shape)
        cells = np.repeat(_in_box(starts, box), length, axis=1)
        row, segment = np.nonzero(~whole)
        if len(row):
            column = segment[:, None] * length + np.arange(length)
            places = [start[row, segment][:, None] + slope[row, segment][:, None] * np.arange(length)
                      for start, slope in zip(starts, slopes, strict=True)]  # fmt: skip
            near = np.logical_or(*(np.abs(place - np.rint(place)) <= error for place in places))
            at = np.broadcast_to(row[:, None], near.shape)[near]
            for place, value in zip(places, self.exact(down[at], columns.start + column[near]), strict=True):
                place[near] = value
            cells[row[:, None], column] = _in_box(places, box)
        return box, cells[:, :width]


def place(source: GeoBox, target: GeoBox) -> Straight | Curved:
    """Return the placement of cells of a map (`source`) in those of a grid (`target`)."""
    rotated = any(of.transform.b or of.transform.d for of in (source, target))
    return Curved(source, target) if rotated or source.crs != target.crs else Straight(source, target)


def _bounded(places: np.ndarray, n: int) -> np.ndarray:
    cells = np.floor(places)
    return np.where((cells >= 0) & (cells < n), cells, OUTSIDE).astype(np.int32)


def _span(cells: np.ndarray) -> slice:
    inside = np.flatnonzero(cells != OUTSIDE)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def _box(lines: list[np.ndarray], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns of the grid around all places, with a margin for the error of interpolation."""
    box = []
    for line, n in zip(lines, shape, strict=True):
        first = min(max(0, int(np.floor(line.min())) - 1), n)
        box.append(slice(first, max(first, min(n, int(np.floor(line.max())) + 2))))
    return box[0], box[1]


def _in_box(places: list[np.ndarray], box: tuple[slice, slice]) -> np.ndarray:
    """Return places (down, across) as places in a box, row by row; one past its last where they are outside."""
    height, width = (side.stop - side.start for side in box)
    i, j = (np.floor(place).astype(np.int32) - side.start for place, side in zip(places, box, strict=True))
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    return np.where(inside, i * width + j, height * width).astype(np.int32)

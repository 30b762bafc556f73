"""Footprints: which pixels of a source fall into which cells of the grid; their projections may differ."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox

_MARGIN: Final = 2  # pixels: between two of its points the projected edge of a shard may bend by as much
_EMPTY_BELOW: Final = 4.0  # pixels a cell: with fewer, a cell may contain no pixel's centre at all


@dataclass(frozen=True, eq=False)
class Footprint:
    """The pixels of one source that fall into cells."""

    rows: slice  # window of the source
    columns: slice
    positions: np.ndarray  # flat positions within the window of the pixels that fall into a cell
    cells: np.ndarray  # flat index of the cell that each of them falls into

    def pick(self, window: np.ndarray) -> np.ndarray:
        """Return the pixels of a window (rows, columns) that fall into a cell, in the order of `positions`."""
        flat = window.ravel()
        return flat if flat.size == self.positions.size and self._all_in_order else flat[self.positions]

    @cached_property
    def _all_in_order(self) -> bool:
        return bool((self.positions == np.arange(self.positions.size)).all())


def window_of(cells: GeoBox, source: GeoBox) -> tuple[slice, slice] | None:
    """Return the rows and columns of a source that cover the bounding box of cells; None where they do not meet."""
    # many points along the edges: straight edges bend between projections
    extent = cells.extent.to_crs(source.crs, resolution=10 * abs(cells.transform.a)).boundingbox
    corners = np.array([~source.transform @ (x, y) for x in extent[::2] for y in extent[1::2]])
    if not np.isfinite(corners).all():
        return None
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    ny, nx = source.shape
    rows = slice(max(0, int(top) - _MARGIN), min(ny, int(bottom) + 1 + _MARGIN))
    columns = slice(max(0, int(left) - _MARGIN), min(nx, int(right) + 1 + _MARGIN))
    return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)


def footprint(cells: GeoBox, source: GeoBox) -> Footprint | None:
    """Assign pixels to cells by their centres; exact where the grids nest.

    A cell takes every pixel whose centre is inside it. Where cells are smaller than pixels, or about as large, a cell
    without any centre takes the pixel that contains its own centre.

    Args:
        cells: of a shard, or of several.
        source: all pixels of the source.

    Returns:
        The footprint, or None if no pixel of the source falls into a cell.
    """
    window = window_of(cells, source)
    if window is None:
        return None
    per_cell, n = density(cells, source), cells.shape[0] * cells.shape[1]
    if per_cell < 1 - 1e-6:
        positions, index = _pixel_of_cells(cells, source, window, np.arange(n))
    else:
        positions, index = _cell_of_pixels(cells, source, window)
        if per_cell < _EMPTY_BELOW:
            empty = np.flatnonzero(np.bincount(index, minlength=n) == 0)
            more, cell = _pixel_of_cells(cells, source, window, empty)
            positions, index = np.concatenate([positions, more]), np.concatenate([index, cell])
    return Footprint(*window, positions, index) if positions.size else None


def _cell_of_pixels(cells: GeoBox, source: GeoBox, window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in the window of the pixels whose centre is inside a cell, and the cell of each."""
    rows, columns = window
    x, y = np.meshgrid(np.arange(columns.start, columns.stop) + 0.5, np.arange(rows.start, rows.stop) + 0.5)
    column, row = _carry(x.ravel(), y.ravel(), source, cells)
    positions = np.flatnonzero(_within(column, row, cells.shape))
    return positions, row[positions].astype(np.int64) * cells.shape[1] + column[positions].astype(np.int64)


def _pixel_of_cells(
    cells: GeoBox, source: GeoBox, window: tuple[slice, slice], index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the position in the window of the pixel that contains each cell's centre; cells without one drop out.

    `index` has the flat indices of the cells; those of the cells that are left are returned too.
    """
    rows, columns = window
    i, j = np.divmod(index, cells.shape[1])
    column, row = _carry(j + 0.5, i + 0.5, cells, source)
    shape = rows.stop - rows.start, columns.stop - columns.start
    within = _within(column - columns.start, row - rows.start, shape)
    row, column = row[within].astype(np.int64) - rows.start, column[within].astype(np.int64) - columns.start
    return row * shape[1] + column, index[within]


def _carry(column: np.ndarray, row: np.ndarray, source: GeoBox, target: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row (fractions) in the target of places with this column and row in the source."""
    x, y = source.transform @ (column, row)
    if source.crs != target.crs:
        x, y = source.crs.transformer_to_crs(target.crs)(x, y)
    carried: tuple[np.ndarray, np.ndarray] = ~target.transform @ (x, y)
    return carried


def _within(column: np.ndarray, row: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which places are inside; those beyond the horizon of a projection are infinite and count as outside."""
    inside: np.ndarray = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    return inside


def density(cells: GeoBox, source: GeoBox) -> float:
    """Return the number of pixels that have the area of a cell, in the middle of the cells."""
    i, j = cells.shape[0] / 2, cells.shape[1] / 2
    column, row = _carry(np.array([j, j + 1, j]), np.array([i, i, i + 1]), cells, source)
    along_x, along_y = (column[1] - column[0], row[1] - row[0]), (column[2] - column[0], row[2] - row[0])
    return float(abs(along_x[0] * along_y[1] - along_x[1] * along_y[0]))

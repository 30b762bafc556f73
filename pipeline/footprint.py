"""Which pixels of a sinusoidal tile fall into which cells of the grid."""

from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline.grid import LONLAT, project
from pipeline.sources.sinusoidal import SINUSOIDAL, TILE_PIXELS, Tile

_MARGIN = 2  # pixels: for what the projected edge of a shard does between two of its points


@dataclass(frozen=True)
class Footprint:
    """The pixels of one tile that fall into a shard."""

    rows: slice  # window of the tile
    columns: slice
    positions: np.ndarray  # flat positions within the window of the pixels that fall into a cell
    cells: np.ndarray  # flat index, within the shard, of the cell that each of them falls into


def footprint(geobox: GeoBox, tile: Tile) -> Footprint | None:
    """Assign every pixel of a tile to the cell that holds its centre; exact where the grids nest.

    Args:
        geobox: cells of a shard.
        tile: the tile.

    Returns:
        The footprint, or None if no pixel of the tile falls into the shard.
    """
    window = _window(geobox, tile)
    if window is None:
        return None
    rows, columns = window
    x, y = np.meshgrid(np.arange(columns.start, columns.stop) + 0.5, np.arange(rows.start, rows.stop) + 0.5)
    x, y = tile.geobox().transform @ (x, y)
    if geobox.crs != SINUSOIDAL:
        x, y = SINUSOIDAL.transformer_to_crs(geobox.crs)(x, y)
    column, row = ~geobox.transform @ (x, y)
    ny, nx = geobox.shape
    within = ((row >= 0) & (row < ny) & (column >= 0) & (column < nx)).ravel()  # points beyond the horizon are inf
    positions = np.flatnonzero(within)
    if positions.size == 0:
        return None
    cells = row.ravel()[positions].astype(np.int64) * nx + column.ravel()[positions].astype(np.int64)
    return Footprint(rows, columns, positions, cells)


def _window(geobox: GeoBox, tile: Tile) -> tuple[slice, slice] | None:
    """Rows and columns of the tile that the shard's bounding box covers."""
    # with many points along the edges: straight edges bend between projections
    extent = geobox.extent.to_crs(SINUSOIDAL, resolution=10 * abs(geobox.transform.a)).boundingbox
    to_pixel = ~tile.geobox().transform
    (left, top), (right, bottom) = to_pixel @ (extent.left, extent.top), to_pixel @ (extent.right, extent.bottom)
    rows = slice(max(0, int(top) - _MARGIN), min(TILE_PIXELS, int(bottom) + 1 + _MARGIN))
    columns = slice(max(0, int(left) - _MARGIN), min(TILE_PIXELS, int(right) + 1 + _MARGIN))
    return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)


def tiles_touching(outline: BaseGeometry) -> list[Tile]:
    """The tiles that a region, not only its bounding box, touches.

    Args:
        outline: the region in longitude and latitude.
    """
    region = project(outline, LONLAT, SINUSOIDAL)
    left, bottom, right, top = region.bounds
    first, last = Tile.containing(left, top), Tile.containing(right, bottom)
    tiles = [Tile(h, v) for h in range(first.h, last.h + 1) for v in range(first.v, last.v + 1)]
    return [tile for tile in tiles if region.intersects(box(*tile.upper_left, *tile.lower_right))]

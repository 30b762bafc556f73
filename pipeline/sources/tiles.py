"""Which tiles of the sinusoidal grid a region touches."""

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline.grid import LONLAT, project
from pipeline.sources.sinusoidal import SINUSOIDAL, Tile


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

"""File names of VIIRS LAI/FPAR granules.

Source: VIIRS LAI/FPAR user guide; first years from the catalogue entries of the three products.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline.grid.polygons import LONLAT, project
from pipeline.grid.sinusoidal import SINUSOIDAL, Tile

NAME: Final = re.compile(r"^(VNP|VJ1|VJ2)15A2H\.A(\d{4})(\d{3})\.(h\d{2}v\d{2})\.(\d{3})\.(\d{13})\.h5$", re.ASCII)
FIRST_YEARS: Final = {"VNP15A2H": 2012, "VJ115A2H": 2018, "VJ215A2H": 2023}  # of the records


@dataclass(frozen=True)
class GranuleName:
    """The parts of a file's name."""

    product: str
    version: str
    year: int
    day: int  # of the year, the composite's first
    tile: Tile
    produced: str  # production time


def parse_name(path: Path) -> GranuleName | None:
    """Return the parts of a file's name, or None if it is no LAI/FPAR granule's."""
    match = NAME.match(path.name)
    if match is None:
        return None
    satellite, year, day, tile, version, produced = match.groups()
    try:
        return GranuleName(f"{satellite}15A2H", version, int(year), int(day), Tile.parse(tile), produced)
    except ValueError:  # a tile that does not exist
        return None


def tiles_touching(outline: BaseGeometry) -> list[Tile]:
    """Return the tiles that a region, not only its bounding box, touches.

    Args:
        outline: the region in longitude and latitude.
    """
    region = project(outline, LONLAT, SINUSOIDAL)
    left, bottom, right, top = region.bounds
    first, last = Tile.containing(left, top), Tile.containing(right, bottom)
    tiles = [Tile(h, v) for h in range(first.h, last.h + 1) for v in range(first.v, last.v + 1)]
    return [tile for tile in tiles if region.intersects(box(*tile.upper_left, *tile.lower_right))]

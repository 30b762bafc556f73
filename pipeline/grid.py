"""The target grid: one immutable object that says which cells there are and how they are cut into shards."""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask
from shapely import make_valid, transform
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from pipeline.errors import UserError
from pipeline.sources.sinusoidal import SINUSOIDAL, TILE_PIXELS, TILE_SIZE

LONLAT: Final = CRS("EPSG:4326")
_EUROPE = CRS("EPSG:3035")
_SIN_PIXEL = TILE_SIZE / TILE_PIXELS

# name: CRS, cell size in metres, and the multiple of it to which the region's bounds are widened
_GRIDS: Final[dict[str, tuple[CRS, float, int]]] = {
    "epsg3035-1km": (_EUROPE, 1000.0, 10),
    "sinusoidal-927m": (SINUSOIDAL, 2 * _SIN_PIXEL, 10),
    "sinusoidal-463m": (SINUSOIDAL, _SIN_PIXEL, 20),
}
GRID_NAMES: Final = tuple(_GRIDS)


@dataclass(frozen=True, order=True)
class Shard:
    """One shard of a grid: row `i` and column `j` of the shards. One shard is one task."""

    i: int
    j: int

    def __str__(self) -> str:
        return f"y{self.i}x{self.j}"


@dataclass(frozen=True)
class Grid:
    """Cells of a region: a `GeoBox`, and shards of `shard` x `shard` cells (smaller at the lower and right edge)."""

    name: str
    geobox: GeoBox
    shard: int
    chunk: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along y and x."""
        return self.geobox.shape[0], self.geobox.shape[1]

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All shards, row by row."""
        rows, columns = (-(-n // self.shard) for n in self.shape)
        return tuple(Shard(i, j) for i in range(rows) for j in range(columns))

    def window(self, shard: Shard) -> tuple[slice, slice]:
        """Rows and columns of a shard, as slices into arrays of this grid."""
        ny, nx = self.shape
        y, x = shard.i * self.shard, shard.j * self.shard
        if not (0 <= y < ny and 0 <= x < nx):
            raise ValueError(f"shard {shard} lies outside the grid {self.name} of {ny} x {nx} cells")
        return slice(y, min(y + self.shard, ny)), slice(x, min(x + self.shard, nx))

    def shard_geobox(self, shard: Shard) -> GeoBox:
        """The `GeoBox` of one shard."""
        return self.geobox[self.window(shard)]


@lru_cache(maxsize=8)
def read_outline(path: Path) -> BaseGeometry:
    """The region's outline as one geometry in longitude and latitude.

    Args:
        path: GeoJSON with polygons in WGS 84.

    Raises:
        UserError: the file is missing, is no GeoJSON, or holds no polygon.
    """
    try:
        content = json.loads(path.read_text())
        features = content["features"] if content["type"] == "FeatureCollection" else [content]
        polygons = [shape(feature.get("geometry", feature)) for feature in features]
    except OSError as error:
        raise UserError(f"cannot read the region's outline {path}: {error.strerror}. Set region.outline.") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"the region's outline {path} is no GeoJSON that can be used: {error!r}.") from None
    outline = make_valid(unary_union([p for p in polygons if p.geom_type in ("Polygon", "MultiPolygon")]))
    if outline.is_empty:
        raise UserError(f"the region's outline {path} holds no polygon.")
    return outline


def project(geometry: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    """A geometry in another coordinate reference system, vertex by vertex."""
    return transform(geometry, source.transformer_to_crs(target), interleaved=False)


def make_grid(name: str, outline: BaseGeometry, shard: int, chunk: int) -> Grid:
    """The grid `name` over a region, its edges widened to whole multiples so that years and resolutions align.

    EPSG:3035 grids are aligned to the European 1 km reference grid; sinusoidal ones to the tiles' pixels.

    Args:
        name: one of `GRID_NAMES`.
        outline: the region in longitude and latitude.
        shard: cells along y and x of a shard, a multiple of `chunk`.
        chunk: cells along y and x of a chunk.

    Raises:
        UserError: there is no grid of that name.
    """
    if name not in _GRIDS:
        raise UserError(f"unknown grid {name!r}: choose one of {', '.join(GRID_NAMES)}.")
    crs, cell, multiple = _GRIDS[name]
    step = cell * multiple
    left, bottom, right, top = project(outline, LONLAT, crs).bounds
    # multiples are counted from a tile corner: the sinusoidal origin is one, as is the origin of the European grid
    x0, x1 = np.floor(left / step), np.ceil(right / step)
    y0, y1 = np.floor(bottom / step), np.ceil(top / step)
    affine = Affine(cell, 0, x0 * step, 0, -cell, y1 * step)
    rows, columns = int(y1 - y0) * multiple, int(x1 - x0) * multiple
    return Grid(name, GeoBox((rows, columns), affine, crs), shard, chunk)


def inside(geobox: GeoBox, outline: BaseGeometry) -> np.ndarray:
    """Which cells have their centre in the region.

    Args:
        geobox: the cells.
        outline: the region in longitude and latitude.

    Returns:
        Boolean array of the geobox's shape.
    """
    projected = project(outline, LONLAT, geobox.crs)
    return geometry_mask([projected], out_shape=tuple(geobox.shape), transform=geobox.transform, invert=True)

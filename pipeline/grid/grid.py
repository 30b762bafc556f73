"""The target grid: one immutable object with the cells of a region and their division into shards."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.crs import CRSError
from odc.geo.geobox import GeoBox
from shapely import area, clip_by_rect
from shapely.geometry.base import BaseGeometry

from pipeline.base.errors import UserError
from pipeline.grid.polygons import LONLAT, project
from pipeline.grid.sinusoidal import SINUSOIDAL, TILE_PIXELS, TILE_SIZE

_SIN_PIXEL = TILE_SIZE / TILE_PIXELS

_SINUSOIDAL_GRIDS: Final = {"sinusoidal-463m": _SIN_PIXEL, "sinusoidal-927m": 2 * _SIN_PIXEL}  # cell size in metres
_PROJECTED = re.compile(r"^epsg(\d{4,6})-(\d+)(m|km)$")
GRID_EXAMPLES: Final = ("epsg3035-1km", "epsg3035-300m", "epsg3035-100m", *_SINUSOIDAL_GRIDS)
_STEP: Final = 10_000.0  # m: a region's bounds are widened to its multiples, so that grids of all cell sizes align
_SIN_STEP: Final = 20 * _SIN_PIXEL


@dataclass(frozen=True, order=True)
class Shard:
    """A shard of a grid: row `i` and column `j` of the shards. One shard is one task."""

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
        """Return the rows and columns of a shard, as slices into arrays of this grid.

        Raises:
            ValueError: the grid has no such shard.
        """
        ny, nx = self.shape
        y, x = shard.i * self.shard, shard.j * self.shard
        if not (0 <= y < ny and 0 <= x < nx):
            raise ValueError(f"shard {shard} lies outside the grid {self.name} of {ny} x {nx} cells")
        return slice(y, min(y + self.shard, ny)), slice(x, min(x + self.shard, nx))

    def shard_geobox(self, shard: Shard) -> GeoBox:
        """Return the `GeoBox` of a shard."""
        return self.geobox[self.window(shard)]


def check_grid_name(name: str) -> None:
    """Check that `make_grid` knows a name.

    Raises:
        ValueError: no grid has this name, its CRS is unknown, or not in metres.
    """
    _crs_and_cell(name)


@lru_cache(maxsize=8)
def _crs_and_cell(name: str) -> tuple[CRS, float]:
    """Return the CRS and the cell size in metres of a grid."""
    if name in _SINUSOIDAL_GRIDS:
        return SINUSOIDAL, _SINUSOIDAL_GRIDS[name]
    match = _PROJECTED.match(name)
    if match is None or int(match[2]) == 0:
        raise ValueError(
            f"unknown grid {name!r}: write epsg, the code, a dash and the cell size, such as {GRID_EXAMPLES[0]} or "
            f"{GRID_EXAMPLES[1]}, or choose one of {', '.join(_SINUSOIDAL_GRIDS)}"
        )
    try:
        crs = CRS(f"EPSG:{match[1]}")
    except CRSError:
        raise ValueError(f"the grid {name!r} names EPSG:{match[1]}, which is no known CRS") from None
    if not crs.projected or set(crs.units) != {"metre"}:
        raise ValueError(f"the grid {name!r} names EPSG:{match[1]}, which has no metres: choose a projected CRS")
    return crs, float(match[2]) * (1000 if match[3] == "km" else 1)


def _step(crs: CRS, cell: float) -> float:
    if crs == SINUSOIDAL:
        return _SIN_STEP
    return _STEP if _STEP % cell == 0 else 10 * cell


def make_grid(name: str, outline: BaseGeometry, shard: int, chunk: int) -> Grid:
    """Make the grid `name` over a region, its edges widened to whole multiples so that years and resolutions align.

    EPSG:3035 grids are aligned to the European reference grids; sinusoidal ones to the tiles' pixels.

    Args:
        name: "epsg<code>-<size>m" or "...km", "sinusoidal-463m" or "sinusoidal-927m".
        outline: the region in longitude and latitude.
        shard: cells along y and x of a shard, a multiple of `chunk`.
        chunk: cells along y and x of a chunk.

    Raises:
        UserError: there is no grid of that name, or it is not defined in all of the region.
    """
    try:
        crs, cell = _crs_and_cell(name)
    except ValueError as error:
        raise UserError(f"{error}.") from None
    step = _step(crs, cell)
    left, bottom, right, top = project(outline, LONLAT, crs).bounds
    if not np.isfinite([left, bottom, right, top]).all():
        raise UserError(f"the region reaches beyond where the grid {name!r} is defined: choose another ingest.grid.")
    # multiples are counted from a tile corner: the sinusoidal origin is one, as is the origin of the European grid
    x0, x1 = np.floor(left / step), np.ceil(right / step)
    y0, y1 = np.floor(bottom / step), np.ceil(top / step)
    affine = Affine(cell, 0, x0 * step, 0, -cell, y1 * step)
    rows, columns = round((y1 - y0) * step / cell), round((x1 - x0) * step / cell)
    return Grid(name, GeoBox((rows, columns), affine, crs), shard, chunk)


def cells_inside(grid: Grid, outline: BaseGeometry) -> dict[Shard, int]:
    """Estimate the number of cells of every shard in the region, by the area that both have in common."""
    projected = project(outline, LONLAT, grid.geobox.crs)
    cell = abs(grid.geobox.transform.a * grid.geobox.transform.e)

    def share(geobox: GeoBox) -> int:
        box = geobox.boundingbox
        return round(float(area(clip_by_rect(projected, box.left, box.bottom, box.right, box.top))) / cell)

    return {shard: share(grid.shard_geobox(shard)) for shard in grid.shards}


_EQUAL_AREA: Final = ("equal area", "sinusoidal", "mollweide")  # words in the names of projections that preserve areas


def cell_area_km2(geobox: GeoBox) -> float:
    """Return the area of a cell on the grid, in km2; it is true on the ground where `is_equal_area`."""
    a = geobox.transform
    return float(abs(a.a * a.e - a.b * a.d) / 1e6)


def is_equal_area(geobox: GeoBox) -> bool:
    """Return whether the grid's projection preserves areas, so that those of its cells are areas on the ground."""
    operation = geobox.crs.proj.coordinate_operation
    name = operation.method_name.lower() if operation is not None else ""
    return any(word in name for word in _EQUAL_AREA)

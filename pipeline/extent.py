"""How much of a region lies in each shard of a grid, without looking at its cells."""

from odc.geo.geobox import GeoBox
from shapely import area, clip_by_rect
from shapely.geometry.base import BaseGeometry

from pipeline.grid import LONLAT, Grid, Shard, project


def cells_inside(grid: Grid, outline: BaseGeometry) -> dict[Shard, int]:
    """About how many cells of every shard lie in the region, by the area that both have in common."""
    projected = project(outline, LONLAT, grid.geobox.crs)
    cell = abs(grid.geobox.transform.a * grid.geobox.transform.e)

    def share(geobox: GeoBox) -> int:
        box = geobox.boundingbox
        return round(float(area(clip_by_rect(projected, box.left, box.bottom, box.right, box.top))) / cell)

    return {shard: share(grid.shard_geobox(shard)) for shard in grid.shards}

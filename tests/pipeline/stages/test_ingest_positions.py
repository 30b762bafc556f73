"""Where things land: granules of four tiles whose values encode their place, against rasterio's own reprojection."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from rasterio.warp import transform as warp_points
from shapely.geometry import box, mapping

from pipeline.cube import layout, stores
from pipeline.grid.polygons import inside
from pipeline.grid.sinusoidal import SINUSOIDAL, TILE_PIXELS, TILE_SIZE, Tile
from pipeline.sources.simulated.granules import granule_name, write_granule
from pipeline.sources.viirs.names import tiles_touching
from pipeline.stages.ingest.stage import ingest
from tests.support.small_country import small_config

CORNER = box(12.96, 39.93, 13.15, 40.07)  # around the point that four tiles share: 16 km along each axis
CENTRE = 19 * TILE_PIXELS, 5 * TILE_PIXELS  # global column and row of that point
SLOPE = 1.0  # FPAR in percent by pixel
PIXEL = TILE_SIZE / TILE_PIXELS


def write_ramp(folder: Path, axis: int) -> None:
    """Granules whose FPAR grows by `SLOPE` a pixel along columns (0) or rows (1), across the seams, from 50."""
    folder.mkdir(parents=True)
    for tile in tiles_touching(CORNER):
        rows, columns = np.mgrid[0:TILE_PIXELS, 0:TILE_PIXELS]
        away = columns + tile.h * TILE_PIXELS - CENTRE[0], rows + tile.v * TILE_PIXELS - CENTRE[1]
        ramp = 50 + SLOPE * (away[axis] + 0.5)
        near = (abs(away[0]) < 45) & (abs(away[1]) < 45)
        layers = {"Fpar": np.where(near, np.floor(ramp), 255).astype(np.uint8)}
        layers |= {name: np.where(near, 0, 255).astype(np.uint8) for name in ("FparLai_QC", "FparExtra_QC")}
        write_granule(folder / granule_name(tile, date(2018, 1, 1)), tile, date(2018, 1, 1), layers)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ramps")
    (folder / "outline.geojson").write_text(json.dumps(mapping(CORNER)))
    for axis in (0, 1):
        write_ramp(folder / str(axis), axis)
    return folder


@pytest.mark.parametrize(
    "grid", ["epsg3035-1km", "sinusoidal-463m", "sinusoidal-927m", "epsg32633-500m", "epsg3035-300m"]
)
def test_places_agree_with_an_independent_reprojection_to_half_a_pixel(ramps, tmp_path, grid):
    assert len(tiles_touching(CORNER)) == 4
    for axis in (0, 1):
        config = small_config(
            ramps, tmp_path / str(axis), reference__path=None, ingest__granules=ramps / str(axis), ingest__grid=grid,
            ingest__max_missing_share=1, ingest__shard=32, ingest__chunk=16,
        )  # fmt: skip
        ingest(config)
        cube = stores.open_to_read(config.cube)
        geobox, fpar = layout.read_grid(cube).geobox, layout.array(cube, "fpar")[0].astype(float)
        within = inside(geobox, CORNER)
        assert (fpar[within] != 255).all()
        i, j = np.nonzero(within)
        x, y = geobox.transform @ (j + 0.5, i + 0.5)
        x, y = (np.array(v) for v in warp_points(str(geobox.crs), str(SINUSOIDAL), list(x), list(y)))
        left, top = Tile(0, 0).upper_left
        expected = ((x - left) / PIXEL, (top - y) / PIXEL)[axis] - CENTRE[axis]
        found = (fpar[within] - 50 + 0.5) / SLOPE
        cell = max(1.0, geobox.transform.a / PIXEL)
        rounding = 0.5 / SLOPE if cell > 1 else 0.0
        # four pixels k, k + 1, k, k + 1 average to k + 0.5, which rounds the same way everywhere
        assert abs((found - expected).mean()) < (0.51 if grid == "sinusoidal-927m" else 0.1)
        assert np.abs(found - expected).max() <= 0.5 * cell + rounding + 1e-6


def test_on_the_tiles_own_grid_every_pixel_lies_where_it_belongs(ramps, tmp_path):
    """Exactly, on both sides of both seams."""
    config = small_config(
        ramps, tmp_path, reference__path=None, ingest__granules=ramps / "0", ingest__grid="sinusoidal-463m",
        ingest__max_missing_share=1, ingest__shard=32, ingest__chunk=16,
    )  # fmt: skip
    ingest(config)
    cube = stores.open_to_read(config.cube)
    geobox, fpar = layout.read_grid(cube).geobox, layout.array(cube, "fpar")[0]
    left, _ = Tile(0, 0).upper_left
    column = np.rint((geobox.transform.c - left) / PIXEL) + np.arange(geobox.shape[1]) - CENTRE[0]
    known = fpar != 255
    np.testing.assert_array_equal(fpar[known], np.broadcast_to(50 + column, fpar.shape)[known])
    assert len(set(column[known.any(axis=0)] < 0)) == 2

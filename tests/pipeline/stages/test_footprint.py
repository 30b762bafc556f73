import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from pipeline.grid.grid import make_grid
from pipeline.grid.sinusoidal import SINUSOIDAL, TILE_PIXELS, TILE_SIZE, Tile
from pipeline.sources.viirs.names import tiles_touching
from pipeline.stages.ingest.footprint import footprint, window_of

SEAMS = box(12.9, 39.8, 13.2, 40.2)  # around the corner that h18v04, h18v05, h19v04 and h19v05 share


@pytest.mark.parametrize("name", ["epsg3035-1km", "epsg32632-1km", "sinusoidal-927m"])
def test_every_pixel_falls_into_the_cell_that_holds_its_centre(name):
    """Against the projection of single points, on a grid across the seams of all four tiles."""
    geobox = make_grid(name, SEAMS, 512, 128).geobox
    rng = np.random.default_rng(0)
    for tile in tiles_touching(SEAMS):
        where = footprint(geobox, tile.geobox())
        assert where is not None
        width = where.columns.stop - where.columns.start
        project = tile.geobox().crs.transformer_to_crs(geobox.crs)
        for k in rng.integers(0, len(where.cells), 50):
            row, column = divmod(int(where.positions[k]), width)
            x, y = tile.geobox().transform @ (where.columns.start + column + 0.5, where.rows.start + row + 0.5)
            x, y = project(x, y)
            cell_column, cell_row = ~geobox.transform @ (x, y)
            assert where.cells[k] == int(cell_row) * geobox.shape[1] + int(cell_column)


def test_no_pixel_is_left_out_or_counted_twice():
    """Seen from the cells: across the seams every cell gets the pixels that its area holds, two to eight of them."""
    geobox = make_grid("epsg3035-1km", SEAMS, 512, 128).geobox
    n = geobox.shape[0] * geobox.shape[1]
    tiles = tiles_touching(SEAMS)
    assert [str(tile) for tile in tiles] == ["h18v04", "h18v05", "h19v04", "h19v05"]
    found = [where for tile in tiles if (where := footprint(geobox, tile.geobox()))]
    assert len(found) == 4
    count = sum(np.bincount(where.cells, minlength=n) for where in found)
    assert count.min() >= 2
    assert count.mean() == pytest.approx(1000**2 / (TILE_SIZE / TILE_PIXELS) ** 2, rel=0.005)


@pytest.mark.parametrize("name", ["epsg3035-100m", "epsg3035-300m", "epsg3035-400m"])
def test_cells_smaller_than_pixels_take_the_pixel_that_their_centre_lies_in(name):
    geobox, tile = make_grid(name, box(9, 45, 9.05, 45.05), 512, 128).geobox, Tile(18, 4)
    where = footprint(geobox, tile.geobox())
    assert where is not None
    np.testing.assert_array_equal(where.cells, np.arange(geobox.shape[0] * geobox.shape[1]))
    i, j = np.divmod(where.cells, geobox.shape[1])
    x, y = geobox.transform @ (j + 0.5, i + 0.5)
    x, y = geobox.crs.transformer_to_crs(SINUSOIDAL)(x, y)
    column, row = ~tile.geobox().transform @ (x, y)
    width = where.columns.stop - where.columns.start
    np.testing.assert_array_equal(where.positions // width + where.rows.start, np.floor(row))
    np.testing.assert_array_equal(where.positions % width + where.columns.start, np.floor(column))


@pytest.mark.parametrize("name", ["epsg3035-500m", "epsg3035-600m", "epsg3035-800m"])
def test_cells_about_as_large_as_pixels_leave_no_hole(name):
    geobox = make_grid(name, box(9, 45, 9.3, 45.2), 512, 128).geobox
    where = footprint(geobox, Tile(18, 4).geobox())
    assert where is not None
    assert (np.bincount(where.cells, minlength=geobox.shape[0] * geobox.shape[1]) > 0).all()


@pytest.mark.parametrize("name", ["sinusoidal-463m", "epsg3035-1km"])
def test_pixels_are_picked_in_the_order_of_their_cells(name):
    """The window encodes its positions; a shard that is a window of the tile itself takes all of it as it is."""
    geobox = make_grid(name, box(9, 45, 9.3, 45.2), 512, 128).geobox
    where = footprint(geobox, Tile(18, 4).geobox())
    assert where is not None
    shape = where.rows.stop - where.rows.start, where.columns.stop - where.columns.start
    window = np.arange(shape[0] * shape[1]).reshape(shape)
    np.testing.assert_array_equal(where.pick(window), where.positions)
    assert len(where.positions) == len(where.cells)


def test_a_source_whose_rows_go_north_is_read_in_its_own_order():
    target = GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 40), CRS("EPSG:3035"))
    south_up = GeoBox((4, 4), Affine(10, 0, 0, 0, 10, 0), CRS("EPSG:3035"))
    where = footprint(target, south_up)
    assert where is not None
    by_cell = where.positions[np.argsort(where.cells)].reshape(4, 4)
    np.testing.assert_array_equal(by_cell, np.arange(16).reshape(4, 4)[::-1])


def test_sources_far_away_have_no_footprint():
    geobox = make_grid("epsg3035-1km", box(9, 45, 9.2, 45.2), 512, 128).geobox
    assert footprint(geobox, Tile(19, 5).geobox()) is None
    assert window_of(geobox, Tile(0, 0).geobox()) is None

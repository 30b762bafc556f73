import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from shapely.geometry import box

from pipeline.base.errors import UserError
from pipeline.config.sections import DATA
from pipeline.grid.grid import GRID_EXAMPLES, Grid, Shard, make_grid
from pipeline.grid.polygons import inside, read_outline
from pipeline.grid.sinusoidal import TILE_SIZE, Tile
from pipeline.sources.viirs.names import tiles_touching

ITALY = read_outline(DATA / "italy_ne10m.geojson")


# Corners of the four tiles, and of three tiles of real files, to the six decimals that StructMetadata prints.
@pytest.mark.parametrize(
    ("name", "upper_left", "lower_right"),
    [
        ("h18v04", "(0.000000,5559752.598333)", "(1111950.519667,4447802.078667)"),
        ("h18v05", "(0.000000,4447802.078667)", "(1111950.519667,3335851.559000)"),
        ("h19v04", "(1111950.519667,5559752.598333)", "(2223901.039333,4447802.078667)"),
        ("h19v05", "(1111950.519667,4447802.078667)", "(2223901.039333,3335851.559000)"),
        ("h18v09", "(0.000000,-0.000000)", "(1111950.519667,-1111950.519667)"),
        ("h11v05", "(-7783653.637667,4447802.078667)", None),
        ("h10v04", "(-8895604.157333,5559752.598333)", None),
    ],
)
def test_tile_corners(name, upper_left, lower_right):
    tile = Tile.parse(name)
    printed = [f"({x:.6f},{y:.6f})".replace("-0.000000", "0.000000") for x, y in (tile.upper_left, tile.lower_right)]
    assert printed[0] == upper_left.replace("-0.000000", "0.000000")
    assert lower_right is None or printed[1] == lower_right


def test_no_such_tile():
    with pytest.raises(ValueError, match="h36v04"):
        Tile.parse("h36v04")
    with pytest.raises(ValueError, match="tile name"):
        Tile.parse("18v04")


def test_italy_needs_four_tiles():
    assert [str(tile) for tile in tiles_touching(ITALY)] == ["h18v04", "h18v05", "h19v04", "h19v05"]


def test_1km_grid_is_aligned_to_the_european_reference_grid():
    grid = make_grid("epsg3035-1km", ITALY, 512, 128)
    a = grid.geobox.transform
    assert (a.a, a.e) == (1000, -1000)
    assert a.c % 1000 == 0
    assert a.f % 1000 == 0


@pytest.mark.parametrize(("name", "pixels"), [("sinusoidal-463m", 1), ("sinusoidal-927m", 2)])
def test_sinusoidal_grids_nest_in_the_tiles(name, pixels):
    a = make_grid(name, ITALY, 512, 128).geobox.transform
    cell = pixels * TILE_SIZE / 2400
    assert a.a == pytest.approx(cell, abs=1e-9)
    left, top = Tile(18, 4).upper_left
    for offset in (a.c - left, a.f - top):
        assert offset / cell == pytest.approx(round(offset / cell), abs=1e-6)


@pytest.mark.parametrize("name", [*GRID_EXAMPLES, "epsg32632-250m"])
def test_the_grid_covers_the_region(name):
    grid = make_grid(name, ITALY, 512, 128)
    coarser = grid.geobox.zoom_out(max(1, round(1000 / grid.geobox.transform.a)))
    within = inside(coarser, ITALY)
    area_km2 = within.sum() * coarser.transform.a**2 / 1e6
    assert area_km2 == pytest.approx(301_000, rel=0.01)
    assert not within[0].any()
    assert not within[-1].any()


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 8), st.integers(1, 16))
def test_shards_cover_every_cell_once(rows, columns, chunks, chunk):
    grid = Grid("any", GeoBox((rows, columns), from_origin(0, 0, 1, 1), "EPSG:3035"), chunks * chunk, chunk)
    count = np.zeros(grid.shape, int)
    for shard in grid.shards:
        count[grid.window(shard)] += 1
        assert grid.shard_geobox(shard).shape == count[grid.window(shard)].shape
    assert (count == 1).all()


def test_a_shard_outside_is_refused():
    grid = make_grid("epsg3035-1km", ITALY, 512, 128)
    with pytest.raises(ValueError, match="y9x0"):
        grid.window(Shard(9, 0))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"type": "FeatureCollection", "features": []}', '{"type": "Point", "coordinates": [1, 2]}']
)
def test_an_outline_that_is_none_is_named(tmp_path, content):
    (tmp_path / "outline.geojson").write_text(content)
    with pytest.raises(UserError, match=r"outline\.geojson"):
        read_outline(tmp_path / "outline.geojson")


def test_an_outline_in_metres_is_refused_with_what_is_expected(tmp_path):
    path = tmp_path / "metres.geojson"
    path.write_text(
        json.dumps({"type": "Polygon", "coordinates": [[[4e6, 2e6], [4.1e6, 2e6], [4.1e6, 2.1e6], [4e6, 2e6]]]})
    )
    with pytest.raises(UserError, match=r"metres\.geojson .*longitudes and latitudes in degrees"):
        read_outline(path)


def test_an_outline_may_be_a_bare_polygon(tmp_path):
    path = tmp_path / "square.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [[[9, 45], [10, 45], [10, 46], [9, 46], [9, 45]]]}))
    assert read_outline(path).equals(box(9, 45, 10, 46))


def test_grids_of_one_region_share_their_edges():
    edges = {
        make_grid(f"epsg3035-{size}", ITALY, 512, 128).geobox.boundingbox for size in ("1km", "500m", "250m", "100m")
    }
    assert len(edges) == 1
    native = {
        make_grid(name, ITALY, 512, 128).geobox.boundingbox[:4] for name in ("sinusoidal-463m", "sinusoidal-927m")
    }
    assert np.ptp(np.array(sorted(native)), axis=0).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1km", "unknown grid '1km'"),
        ("epsg3035-0m", "unknown grid"),
        ("epsg4326-100m", "EPSG:4326, which has no metres"),
        ("epsg999999-1km", "no known CRS"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_with_the_reason(name, reason):
    with pytest.raises(UserError, match=reason):
        make_grid(name, ITALY, 512, 128)

import json

import numpy as np
import pytest
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.ops import unary_union

from pipeline.base.errors import UserError
from pipeline.config.config import load_config
from pipeline.config.regions import configured_regions
from pipeline.config.sections import ITALY, ITALY_BELTS
from pipeline.grid.grid import make_grid
from pipeline.grid.polygons import LONLAT, Region, read_outline, read_regions, region_of_cells
from tests.support.small_country import small_config


def write(path, *features, **more):
    listed = [
        {"type": "Feature", "properties": properties, "geometry": geometry and mapping(geometry)}
        for properties, geometry in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": listed, **more}))
    return path


def cells(west, south, east, north, cell=1000.0):
    return make_grid(f"epsg3035-{int(cell)}m", box(west, south, east, north), 128, 128).geobox


def centres(geobox):
    rows, columns = np.mgrid[0 : geobox.shape[0], 0 : geobox.shape[1]]
    x, y = geobox.transform @ (columns + 0.5, rows + 0.5)
    return geobox.crs.transformer_to_crs(LONLAT)(x, y)


def test_a_cell_is_of_the_region_that_holds_its_centre():
    geobox = cells(9, 44, 12, 46)
    lon, lat = centres(geobox)
    regions = [Region("west", box(9, 44, 10.3, 46)), Region("east", box(10.3, 44.5, 12, 46))]
    found = region_of_cells(geobox, regions)
    assert found.dtype == np.int16
    expected = np.where((lon > 9) & (lon < 10.3) & (lat > 44) & (lat < 46), 0, -1)
    expected[(lon > 10.3) & (lon < 12) & (lat > 44.5) & (lat < 46)] = 1
    away = np.min([np.abs(lon - v) for v in (9, 10.3, 12)] + [np.abs(lat - v) for v in (44, 44.5, 46)], axis=0) > 1e-5
    np.testing.assert_array_equal(found[away], expected[away])
    assert away.mean() > 0.99


def test_long_edges_along_a_latitude_stay_on_it():
    geobox = cells(6.5, 43, 18.5, 45)
    _, lat = centres(geobox)
    found = region_of_cells(geobox, [Region("north", box(0, 44.2, 40, 60))])
    away = np.abs(lat - 44.2) > 1e-5  # a metre
    np.testing.assert_array_equal(found[away] == 0, lat[away] > 44.2)


def test_where_regions_overlap_the_first_counts():
    geobox = cells(9, 44, 10, 45)
    inner, outer = Region("inner", box(9.3, 44.3, 9.6, 44.6)), Region("outer", box(8, 43, 11, 46))
    alone = region_of_cells(geobox, [inner])
    assert (region_of_cells(geobox, [inner, outer]) == np.where(alone == 0, 0, 1)).all()
    assert (region_of_cells(geobox, [outer, inner]) == 0).all()


def test_windows_give_what_the_whole_gives():
    geobox = cells(9, 44, 10, 45)
    regions = [Region("a", Polygon([(9.1, 44.1), (9.9, 44.3), (9.4, 44.9)])), Region("b", box(9, 44.6, 10, 45))]
    whole = region_of_cells(geobox, regions)
    for i in range(0, geobox.shape[0], 37):
        for j in range(0, geobox.shape[1], 41):
            window = np.s_[i : min(i + 37, geobox.shape[0]), j : min(j + 41, geobox.shape[1])]
            np.testing.assert_array_equal(region_of_cells(geobox[window], regions), whole[window])


def test_regions_that_reach_around_the_world_do_no_harm_and_holes_are_outside():
    geobox = cells(9, 44, 10, 45)
    ring = box(-180, -90, 180, 90) - box(9.4, 44.4, 9.6, 44.6)
    lon, lat = centres(geobox)
    hole = (lon > 9.4) & (lon < 9.6) & (lat > 44.4) & (lat < 44.6)
    found = region_of_cells(geobox, [Region("world", ring), Region("far", box(100, 0, 110, 10))])
    assert ((found == -1) == hole).mean() > 0.999
    assert set(np.unique(found)) == {-1, 0}


def test_a_sinusoidal_grid_has_regions_too():
    grid = make_grid("sinusoidal-927m", box(9, 44, 10, 45), 128, 128)
    lon, _ = centres(grid.geobox)
    found = region_of_cells(grid.geobox, [Region("west", box(0, 40, 9.5, 50))])
    away = np.abs(lon - 9.5) > 1e-5
    np.testing.assert_array_equal((found == 0)[away], (lon < 9.5)[away])


def test_no_regions_leave_every_cell_outside():
    assert (region_of_cells(cells(9, 44, 9.5, 44.5), []) == -1).all()


def test_names_come_from_the_property_asked_for_or_the_first_that_is_known(tmp_path):
    path = write(
        tmp_path / "r.geojson", ({"NAME": "a", "code": 7}, box(0, 0, 1, 1)), ({"NAME": "b", "code": 8}, box(1, 0, 2, 1))
    )
    assert [region.name for region in read_regions(path)] == ["a", "b"]
    assert [region.name for region in read_regions(path, "code")] == ["7", "8"]


def test_invalid_polygons_are_mended(tmp_path):
    bowtie = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    (region,) = read_regions(write(tmp_path / "r.geojson", ({"name": "a"}, bowtie)))
    assert region.polygon.is_valid
    assert isinstance(region.polygon, MultiPolygon)
    assert region.polygon.area == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("features", "more", "said"),
    [
        ([({"name": "a"}, box(0, 0, 1, 1)), ({"name": "a"}, box(1, 0, 2, 1))], {}, "two regions with name = 'a'"),
        ([({"title": "a"}, box(0, 0, 1, 1))], {}, "its features are title; choose evaluation.region_name"),
        ([({"name": "a"}, box(0, 0, 1, 1)), ({"name": None}, box(1, 0, 2, 1))], {}, "feature 2 of"),
        ([({"name": "a"}, box(4_000_000, 2_000_000, 4_100_000, 2_100_000))], {}, r"from \(4e\+06, 2e\+06\)"),
        ([({"name": "a"}, box(0, 0, 1, 1).exterior)], {}, "its geometry is LinearRing|its geometry is LineString"),
        ([({"name": "a"}, None)], {}, "its geometry is None"),
        ([({"name": "a"}, Polygon([(0, 0), (1, 1), (0, 0)]))], {}, "has no area"),
        ([], {}, "hold no features"),
        (
            [({"name": "a"}, box(0, 0, 1, 1))],
            {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3035"}}},
            "EPSG::3035: write them in WGS 84",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path, features, more, said):
    path = write(tmp_path / "bad.geojson", *features, **more)
    with pytest.raises(UserError, match=said) as caught:
        read_regions(path)
    assert "bad.geojson" in str(caught.value)


def test_a_wrong_property_is_named_with_those_there_are(tmp_path):
    path = write(tmp_path / "r.geojson", ({"name": "a", "code": 1}, box(0, 0, 1, 1)))
    with pytest.raises(UserError, match=r"no property 'nuts'.*code, name"):
        read_regions(path, "nuts")


@pytest.mark.parametrize("content", ["{", "[1]", '{"type": "Polygon", "coordinates": []}'])
def test_what_is_no_geojson_of_features_is_refused(tmp_path, content):
    (tmp_path / "r.geojson").write_text(content)
    with pytest.raises(UserError, match=r"r\.geojson are no GeoJSON"):
        read_regions(tmp_path / "r.geojson")


def test_broken_coordinates_are_refused(tmp_path):
    feature = {
        "type": "Feature",
        "properties": {"name": "a"},
        "geometry": {"type": "Polygon", "coordinates": [[["x"]]]},
    }
    (tmp_path / "r.geojson").write_text(json.dumps(feature))
    with pytest.raises(UserError, match=r"region 'a' of .* cannot be used"):
        read_regions(tmp_path / "r.geojson")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.geojson: No such file"):
        read_regions(tmp_path / "no.geojson")


def test_regions_elsewhere_are_refused(country, tmp_path):
    path = write(tmp_path / "far.geojson", ({"name": "a"}, box(20, 10, 21, 11)))
    config = small_config(country, tmp_path / "out", evaluation__regions=path)
    with pytest.raises(UserError, match=r"none of the 1 regions of .*far.geojson lies in the country.*\(20, 10\)"):
        configured_regions(config)


def test_the_whole_of_italy_has_belts_and_other_countries_none(country, tmp_path):
    config = load_config(out=tmp_path)
    assert config.regions_path == ITALY_BELTS
    regions = configured_regions(config)
    assert [region.name.split(" (")[0] for region in regions] == ["north", "centre", "south and islands"]
    assert (read_outline(ITALY) - unary_union([region.polygon for region in regions])).is_empty
    assert small_config(country, tmp_path).regions_path is None
    assert configured_regions(small_config(country, tmp_path)) == []


def test_cells_far_beyond_the_projections_use_are_no_error():
    geobox = GeoBox((4, 4), cells(9, 44, 10, 45).transform, CRS("EPSG:3857"))
    assert region_of_cells(geobox, [Region("a", box(-170, -80, 170, 80))]).shape == (4, 4)

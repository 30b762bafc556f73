import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from small_country import WHEAT, WOOD, crop_code, small_config

from pipeline import layout, stores
from pipeline.errors import UserError
from pipeline.executor import InProcess
from pipeline.ingest import ingest
from pipeline.progress import Silent
from pipeline.reference import reduce_reference, reference_to_geotiff, seasons
from pipeline.references import eucropmap

LEFT, TOP = 4_200_000, 2_400_000
CELLS = GeoBox((6, 4), from_origin(LEFT, TOP, 1000, 1000), "EPSG:3035")


@pytest.fixture
def write(tmp_path):
    def write(codes, name="map.tif", crs="EPSG:3035", transform=None, **profile):
        transform = transform or from_origin(LEFT, TOP, 100, 100)
        settings = {"driver": "GTiff", "dtype": codes.dtype, "count": 1, "nodata": 0} | profile
        height, width = codes.shape
        with rasterio.open(
            tmp_path / name, "w", height=height, width=width, crs=crs, transform=transform, **settings
        ) as file:
            file.write(codes, 1)
        return tmp_path / name

    return write


def test_majority_over_all_codes_against_counting_cell_by_cell(write):
    rng = np.random.default_rng(0)
    codes = rng.choice(np.array([0, 211, 216, 300, 500], np.int16), (60, 40), p=[0.3, 0.2, 0.2, 0.2, 0.1])
    code, share = eucropmap.majority(write(codes), CELLS)
    for i, j in np.ndindex(tuple(CELLS.shape)):
        block = codes[10 * i : 10 * i + 10, 10 * j : 10 * j + 10]
        values, counts = np.unique(block[block != 0], return_counts=True)
        assert code[i, j] == values[counts.argmax()]  # np.unique sorts, so of several as frequent the smallest
        assert share[i, j] == np.rint(100 * counts.max() / counts.sum())


def test_non_crop_wins_where_it_is_most_frequent_and_nothing_where_there_is_no_data(write):
    codes = np.zeros((60, 40), np.int16)
    codes[:10, :10] = WOOD
    codes[:10, :4] = WHEAT
    code, share = eucropmap.majority(write(codes), CELLS)
    assert (code[0, 0], share[0, 0]) == (WOOD, 60)
    assert (code[1:] == 0).all()
    assert (share[1:] == 255).all()


def test_of_two_as_frequent_the_smaller_code_wins(write):
    codes = np.full((60, 40), 233, np.int16)
    codes[:, ::2] = 216
    code, _ = eucropmap.majority(write(codes), CELLS)
    assert (code == 216).all()


def test_a_map_that_covers_part_of_the_cells(write):
    codes = np.full((30, 20), 211, np.uint8)
    path = write(codes, transform=from_origin(LEFT + 1050, TOP - 950, 100, 100))
    code, _ = eucropmap.majority(path, CELLS)
    expected = np.zeros(CELLS.shape, int)
    expected[1:4, 1:4] = 211  # centres begin and end on edges of cells, where they count for the cell below and right
    np.testing.assert_array_equal(code, expected)


def test_a_map_in_degrees_is_counted_by_its_cells_centres(write):
    """The file's own CRS is trusted: west of a meridian wheat, east of it maize."""
    transform = from_origin(9.0, 45.0, 0.001, 0.001)
    codes = np.where(np.arange(800) < 400, 211, 216).astype(np.int16)[None].repeat(600, 0)
    path = write(codes, crs="EPSG:4326", transform=transform)
    area = GeoBox((20, 20), from_origin(4_255_000, 2_425_000, 1000, 1000), "EPSG:3035")
    code, _ = eucropmap.majority(path, area)
    longitude, _ = area.crs.transformer_to_crs("EPSG:4326")(
        *np.meshgrid(4_255_500 + 1000 * np.arange(20), 2_424_500 - 1000 * np.arange(20))
    )
    clear = np.abs(longitude - 9.4) > 0.01
    assert clear.any()
    np.testing.assert_array_equal(code[clear], np.where(longitude < 9.4, 211, 216)[clear])


def test_windows_of_the_reader_join_without_a_seam(write, monkeypatch):
    rng = np.random.default_rng(1)
    codes = rng.choice(np.array([211, 216, 300], np.int16), (60, 40))
    path = write(codes)
    whole = eucropmap.majority(path, CELLS)
    monkeypatch.setattr(eucropmap, "_STRIP", 7)
    np.testing.assert_array_equal(eucropmap.majority(path, CELLS), whole)


def test_a_code_outside_the_legend_is_named(write):
    with pytest.raises(UserError, match="code 42"):
        eucropmap.majority(write(np.full((60, 40), 42, np.int16)), CELLS)


def test_maps_that_cannot_be_used_are_named(write, tmp_path):
    with pytest.raises(UserError, match=r"none\.tif"):
        eucropmap.check(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no map")
    with pytest.raises(UserError, match=r"text\.tif"):
        eucropmap.check(tmp_path / "text.tif")
    with pytest.raises(UserError, match="float32"):
        eucropmap.check(write(np.ones((5, 5), np.float32)))


def test_seasons_are_those_of_crops_that_are_certain():
    codes = np.array(sorted(eucropmap.LEGEND))
    season = dict(zip(codes.tolist(), seasons(codes).tolist(), strict=True))
    assert {code for code, s in season.items() if s == 0} == {211, 212, 213, 214, 218, 232}
    assert {code for code, s in season.items() if s == 1} == {216, 217, 231, 233}
    assert {s for code, s in season.items() if code in (0, 215, 222, 250, 300, 500)} == {255}


def test_the_reduced_map_lies_on_the_cube_s_grid(config):
    ingest(config)
    grid = layout.read_grid(stores.open_to_read(config.cube))
    result = reduce_reference(config, grid, InProcess(), Silent())
    assert result.fresh
    assert not reduce_reference(config, grid, InProcess(), Silent()).fresh
    code = layout.array(stores.open_to_read(config.reference_grid), "code")[:]
    x, y = np.meshgrid(*(grid.geobox.coordinates[name].values for name in ("x", "y")))
    np.testing.assert_array_equal(code, crop_code(x, y))  # its squares nest in the cells


def test_the_geotiff_of_seasons(country, tmp_path):
    target = reference_to_geotiff(small_config(country, tmp_path), tmp_path / "deep" / "seasons.tif")
    with rasterio.open(target) as file:
        season = file.read(1)
        assert (file.crs.to_epsg(), file.nodata, file.res) == (3035, 255, (1000, 1000))
        row, column = file.index(4_262_500, 2_462_500)
    assert season[row, column] == seasons(crop_code(np.array(4_262_500), np.array(2_462_500)))
    assert set(np.unique(season)) == {0, 1, 255}
    assert [path.name for path in target.parent.iterdir()] == ["seasons.tif"]

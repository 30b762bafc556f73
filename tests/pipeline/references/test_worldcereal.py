"""WorldCereal: zips of GeoTIFFs by zone and product, combined cell by cell."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from shapely.geometry import box

from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.grid.grid import make_grid
from pipeline.grid.polygons import read_outline
from pipeline.references import legend, worldcereal
from pipeline.references.majority import majority
from pipeline.stages.context import Run
from pipeline.stages.reference import open_reference, reduce_reference, reference_fingerprint, reference_to_geotiff
from tests.support.class_maps import write_map
from tests.support.small_country import small_config

LEFT, TOP, CELL = 9.0, 45.4, 0.01  # degrees: cells of a kilometre, so that some lines of them make a zone
REGION = box(9.0, 45.0, 9.5, 45.4)
YES, NO, OUT = 100, 0, 255
FOLDERS = {"wintercereals": "tc-wintercereals", "maize": "tc-maize-main", "springcereals": "tc-springcereals",
           "temporarycrops": "tc-annual"}  # fmt: skip


def zip_name(product, year=2021):
    return f"WorldCereal_{year}_{FOLDERS[product]}_{product}_classification.zip"


def write_zip(folder, product, zones, year=2021, crs="EPSG:4326"):
    """Write a product's zip in Zenodo's layout; zones: values (rows, columns) and the cell of their corner."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = f"data/worldcereal_data/MAP-v3/2021/{FOLDERS[product]}/{product}/aez/classification"
    with zipfile.ZipFile(folder / zip_name(product, year), "w", zipfile.ZIP_DEFLATED) as content:
        for number, (values, (column, row)) in enumerate(zones):
            transform = from_origin(LEFT + column * CELL, TOP - row * CELL, CELL, CELL)
            path = write_map(folder / "zone.tif", np.array(values, np.uint8), crs=crs, transform=transform, nodata=255)
            content.write(
                path, f"{inside}/{46000 + number}_{FOLDERS[product]}_{product}_2020-10-0{number}_classification.tif"
            )
            path.unlink()
    return folder / zip_name(product, year)


def codes_of(folder, columns, rows, year=None):
    """Return the map's codes at the centres of the first cells of the region."""
    source = worldcereal.find(folder, year, REGION)
    transform = from_origin(LEFT, TOP, CELL, CELL)
    target = GeoBox((rows, columns), transform, "EPSG:4326")
    return majority(source, target, [one.code for one in legend.read_table(worldcereal.TABLE)]).code


@pytest.fixture
def zones(tmp_path):
    return tmp_path / "zips"


def test_products_are_put_together_cell_by_cell(zones):
    """Winter cereals across, maize down: all combinations of two products in a cell."""
    said = [NO, YES, OUT]
    write_zip(zones, "wintercereals", [([said] * 3, (0, 0))])
    write_zip(zones, "maize", [(np.transpose([said] * 3), (0, 0))])
    np.testing.assert_array_equal(codes_of(zones, 3, 3), [[10, 1, 0], [2, 3, 0], [0, 0, 0]])


def test_optional_products_say_more_where_they_are_given(zones):
    write_zip(zones, "wintercereals", [([[NO, YES, NO, NO, NO, YES]], (0, 0))])
    write_zip(zones, "maize", [([[NO, NO, YES, NO, NO, OUT]], (0, 0))])
    np.testing.assert_array_equal(codes_of(zones, 6, 1), [[10, 1, 2, 10, 10, 0]])
    write_zip(zones, "temporarycrops", [([[YES, YES, YES, NO, OUT, YES]], (0, 0))])
    np.testing.assert_array_equal(codes_of(zones, 6, 1), [[4, 1, 2, 10, 10, 0]])
    write_zip(zones, "springcereals", [([[NO, YES, YES, YES, OUT, YES]], (0, 0))])
    np.testing.assert_array_equal(codes_of(zones, 6, 1), [[4, 3, 3, 3, 10, 0]])


def test_spring_cereals_of_some_zones_only_are_absent_in_the_others(zones):
    for product in ("wintercereals", "maize"):
        write_zip(zones, product, [([[YES if product == "maize" else NO] * 4], (0, 0))])
    write_zip(zones, "springcereals", [([[YES]], (1, 0))])
    np.testing.assert_array_equal(codes_of(zones, 4, 1), [[2, 3, 2, 2]])


def test_zones_that_abut_make_one_map_without_a_seam(zones):
    values = np.random.default_rng(0).choice(np.array([NO, YES]), (2, 8, 10))
    for product, of in zip(("wintercereals", "maize"), values, strict=True):
        parts = [(of[:5, :4], (0, 0)), (of[:5, 4:], (4, 0)), (of[5:], (0, 5))]
        write_zip(zones, product, parts)
    winter, maize = values == YES
    expected = np.select([winter & maize, winter, maize], [3, 1, 2], 10)
    np.testing.assert_array_equal(codes_of(zones, 10, 8), expected)


def test_where_zones_overlap_presence_wins_over_absence_and_both_over_missing(zones):
    first, second = [NO, NO, YES, YES, OUT, OUT, NO, YES], [NO, YES, NO, OUT, NO, YES, OUT, YES]
    write_zip(zones, "wintercereals", [([first], (0, 0)), ([second], (0, 0))])
    write_zip(zones, "maize", [([[NO] * 8], (0, 0))])
    np.testing.assert_array_equal(codes_of(zones, 8, 1), [[10, 1, 1, 1, 10, 1, 10, 1]])


def test_values_besides_0_and_100_are_missing(zones):
    write_zip(zones, "wintercereals", [([[NO, YES, 1, 99, 101, 254, 255]], (0, 0))])
    write_zip(zones, "maize", [([[NO] * 7], (0, 0))])
    np.testing.assert_array_equal(codes_of(zones, 7, 1), [[10, 1, 0, 0, 0, 0, 0]])


def test_products_on_grids_of_their_own_are_read_where_the_first_one_s_centres_lie(zones):
    """Maize is a third of a cell to the right and below: its cells contain the centres of the same cells."""
    rng = np.random.default_rng(1)
    winter, maize = rng.choice(np.array([NO, YES]), (2, 6, 6))
    write_zip(zones, "wintercereals", [(winter, (0, 0))])
    write_zip(zones, "maize", [(maize, (1 / 3, 1 / 3))])
    expected = np.select([(winter & maize) == YES, winter == YES, maize == YES], [3, 1, 2], 10)
    np.testing.assert_array_equal(codes_of(zones, 6, 6), expected)
    write_zip(zones, "maize", [(maize, (2 / 3, 0))])  # here each holds the centre of the cell to its right
    moved = np.column_stack((np.full(6, OUT), maize[:, :-1]))
    expected = np.select([moved == OUT, (winter & moved) == YES, winter == YES, moved == YES], [0, 3, 1, 2], 10)
    np.testing.assert_array_equal(codes_of(zones, 6, 6), expected)


def test_a_zone_in_another_crs_is_read_by_the_same_centres(zones):
    """Maize in metres, present west of a line."""
    write_zip(zones, "wintercereals", [(np.full((20, 20), NO), (0, 0))])
    write_zip(zones, "maize", [])
    values = np.where(np.arange(600) < 300, YES, NO).astype(np.uint8)[None].repeat(600, 0)
    path = write_map(zones / "a.tif", values, corner=(4_220_000, 2_500_000), cell=100, nodata=255)
    with zipfile.ZipFile(zones / zip_name("maize"), "w") as content:
        content.write(path, "46172_maize_classification.tif")
    found = codes_of(zones, 20, 20)
    longitude, latitude = np.meshgrid(LEFT + CELL * (np.arange(20) + 0.5), TOP - CELL * (np.arange(20) + 0.5))
    x, _ = GeoBox((1, 1), from_origin(0, 0, 1, 1), "EPSG:4326").crs.transformer_to_crs("EPSG:3035")(longitude, latitude)
    assert (x < 4_250_000).any()
    np.testing.assert_array_equal(found, np.where(x < 4_250_000, 2, 10))


def test_only_zones_that_meet_the_region_are_taken(zones):
    for product in ("wintercereals", "maize"):
        write_zip(zones, product, [([[NO] * 3], (0, 0)), ([[YES] * 3], (5000, 0))])
    source = worldcereal.find(zones, None, REGION)
    assert [len(files) for _, files in source.files] == [1, 1]
    assert source.geobox.shape[1] < 1000


def test_the_whole_job_reads_the_zips_in_place(country, tmp_path, zones):
    winter = np.where(np.arange(80) < 40, YES, NO)[None].repeat(60, 0)
    write_zip(zones, "wintercereals", [(winter, (-10, -10))])
    write_zip(zones, "maize", [(YES - winter, (-10, -10))])
    before = sorted(path.name for path in zones.iterdir())
    config = small_config(
        country, tmp_path / "out", year=2021, reference__path=zones, ingest__shard=16, ingest__chunk=8
    )
    settings = config.ingest
    grid = make_grid(settings.grid, read_outline(config.region.outline), settings.shard, settings.chunk)
    reduce_reference(Run(config), grid)
    group = stores.open_to_read(config.reference_grid)
    attributes = layout.attributes(group)
    assert (attributes["product"], attributes["reference_year"], attributes["reference_crs"]) == (
        "WorldCereal",
        2021,
        "EPSG:4326",
    )
    assert attributes["source"] == f"{zip_name('wintercereals')}, {zip_name('maize')}"
    x, y = np.meshgrid(*(grid.geobox.coordinates[name].values for name in ("x", "y")))
    longitude, _ = grid.geobox.crs.transformer_to_crs("EPSG:4326")(x, y)
    code, season = (layout.array(group, name)[:] for name in ("code", "season"))
    clear = (np.abs(longitude - 9.3) > 0.03) & (layout.array(group, "n_valid")[:] > 0)
    assert clear.sum() > 500
    np.testing.assert_array_equal(code[clear], np.where(longitude < 9.3, 1, 2)[clear])
    np.testing.assert_array_equal(season[clear], np.where(longitude < 9.3, 0, 1)[clear])
    assert sorted(path.name for path in zones.iterdir()) == before
    by_zip = small_config(country, tmp_path, year=2021, reference__path=zones / zip_name("maize"))
    assert reference_to_geotiff(by_zip, tmp_path / "seasons.tif").exists()


def test_the_mark_follows_what_the_zips_hold(country, tmp_path, zones):
    def mark():
        config = small_config(country, tmp_path, year=2021, reference__path=zones)
        grid = make_grid("epsg3035-1km", read_outline(config.region.outline), 16, 8)
        return reference_fingerprint(open_reference(config), grid)

    for product in ("wintercereals", "maize"):
        write_zip(zones, product, [([[NO, YES]], (0, 0))])
    first = mark()
    assert mark() == first
    write_zip(zones, "maize", [([[YES, YES]], (0, 0))])
    second = mark()
    assert second != first
    write_zip(zones, "temporarycrops", [([[YES, YES]], (0, 0))])
    assert mark() not in (first, second)


def both(folder, **settings):
    for product in ("wintercereals", "maize"):
        write_zip(folder, product, [([[NO, YES]], (0, 0))], **settings)


def test_the_year_of_the_zips_must_be_that_of_the_observations(country, tmp_path, zones):
    both(zones)
    with pytest.raises(UserError, match=r"is of 2021, .* of 2018\..*reference\.year = 2021"):
        open_reference(small_config(country, tmp_path, reference__path=zones))
    both(zones, year=2023)
    assert open_reference(small_config(country, tmp_path, year=2023, reference__path=zones)).year == 2023
    with pytest.raises(UserError, match=r"several years \(2021, 2023\): set reference\.year"):
        open_reference(small_config(country, tmp_path, year=2022, reference__path=zones))


def refusal(folder):
    with pytest.raises(UserError) as error:
        worldcereal.find(folder, None, REGION)
    return str(error.value)


def test_folders_without_a_needed_zip_are_refused(zones):
    assert "zips" in refusal(zones)
    zones.mkdir()
    assert "lacks the zip of the product wintercereals" in refusal(zones)
    write_zip(zones, "wintercereals", [([[NO]], (0, 0))])
    assert "lacks the zip of the product maize" in refusal(zones)
    (zones / "WorldCereal_2021_tc-maize-second_maize_classification.zip").write_bytes(b"")
    assert "lacks the zip of the product maize" in refusal(zones)


def test_zips_that_cannot_be_used_are_named(zones):
    both(zones)
    maize = zones / zip_name("maize")
    whole = maize.read_bytes()
    for content, expected in ((b"", "cannot be read"), (b"no zip", "cannot be read"), (whole[:-30], "cannot be read")):
        maize.write_bytes(content)
        assert expected in refusal(zones)
        assert maize.name in refusal(zones)
    with zipfile.ZipFile(maize, "w"):
        pass
    assert "holds no GeoTIFF" in refusal(zones)
    with zipfile.ZipFile(maize, "w") as content:
        content.writestr("46172_classification.tif", b"no GeoTIFF")
    assert "46172_classification.tif cannot be read" in refusal(zones)


def test_one_product_in_two_zips_is_refused(zones):
    both(zones)
    (zones / zip_name("maize").replace(".zip", " (1).zip")).write_bytes((zones / zip_name("maize")).read_bytes())
    assert "which are one product: remove one" in refusal(zones)


def test_zones_elsewhere_do_not_overlap_the_region(zones):
    for product in ("wintercereals", "maize"):
        write_zip(zones, product, [([[NO, YES]], (5000, 0))])
    assert "does not overlap the region" in refusal(zones)


def test_a_damaged_file_in_a_zip_is_named_when_it_is_read(zones):
    values = np.random.default_rng(0).choice(np.array([NO, YES], np.uint8), (40, 40))
    write_zip(zones, "wintercereals", [(values, (0, 0))])
    path = write_map(
        zones / "a.tif", values, transform=from_origin(LEFT, TOP, CELL, CELL), crs="EPSG:4326", compress="deflate"
    )
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content[start : start + 100] = b"\xff" * 100
    with zipfile.ZipFile(zones / zip_name("maize"), "w") as archive:
        archive.writestr("46172_classification.tif", bytes(content))
    with pytest.raises(UserError, match=r"46172_classification\.tif is damaged in rows .*Fetch the zip again"):
        codes_of(zones, 40, 40)


def test_a_table_without_a_code_of_the_legend_is_refused_with_the_code(country, tmp_path, zones):
    both(zones)
    table = Path(tmp_path / "mine.csv")
    table.write_text(
        "\n".join(line for line in worldcereal.TABLE.read_text().splitlines() if not line.startswith("10,"))
    )
    with pytest.raises(UserError, match=r"mine\.csv .* code 10"):
        open_reference(small_config(country, tmp_path, year=2021, reference__path=zones, reference__classes=table))

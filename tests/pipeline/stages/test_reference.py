"""The stage: which maps it takes and refuses, and what it writes."""

import json
import shutil

import numpy as np
import pytest
import rasterio
import typer
from typer.testing import CliRunner

from pipeline.base.errors import UserError
from pipeline.cli import reference as reference_command
from pipeline.cube import layout, stores
from pipeline.grid.grid import make_grid
from pipeline.grid.polygons import read_outline
from pipeline.references import PRODUCTS, eucropmap, legend
from pipeline.stages.context import Run
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import open_reference, reduce_reference, reference_fingerprint, reference_to_geotiff
from tests.support.class_maps import write_map
from tests.support.small_country import MAIZE, WHEAT, WOOD, crop_code, small_config, write_reference


def grid_of(config):
    settings = config.ingest
    return make_grid(settings.grid, read_outline(config.region.outline), settings.shard, settings.chunk)


def reduced(config):
    reduce_reference(Run(config), grid_of(config))
    return stores.open_to_read(config.reference_grid)


def test_the_reduced_map_lies_on_the_cube_s_grid(config):
    ingest(config)
    grid = layout.read_grid(stores.open_to_read(config.cube))
    assert reduce_reference(Run(config), grid).fresh
    assert not reduce_reference(Run(config), grid).fresh
    group = stores.open_to_read(config.reference_grid)
    x, y = np.meshgrid(*(grid.geobox.coordinates[name].values for name in ("x", "y")))
    code = crop_code(x, y)  # its squares nest in the cells
    season = np.select([code == WHEAT, code == MAIZE], [0, 1], 255)
    for name, expected in (("code", code), ("share", 100), ("n_valid", 100), ("season", season)):
        np.testing.assert_array_equal(layout.array(group, name)[:], np.broadcast_to(expected, code.shape))


def test_the_store_says_what_the_map_is_and_what_its_codes_mean(country, tmp_path):
    shutil.copy(country / "reference.tif", tmp_path / "EUCROPMAP_2018.tif")
    attributes = layout.attributes(
        reduced(small_config(country, tmp_path, reference__path=tmp_path / "EUCROPMAP_2018.tif"))
    )
    told = {name: attributes[name] for name in ("source", "simulated", "reference_crs", "product", "reference_year")}
    assert told == {
        "source": "EUCROPMAP_2018.tif", "simulated": "", "reference_crs": "EPSG:3035", "product": "EUCROPMAP",
        "reference_year": 2018,
    }  # fmt: skip
    assert "smallest" in attributes["ties"]
    classes = attributes["classes"]
    assert [one["code"] for one in classes] == sorted(one["code"] for one in classes)
    assert {"code": 212, "name": "durum wheat", "season": "winter", "crop": True} in classes
    assert {"code": 300, "name": "woodland and shrubland", "season": None, "crop": False} in classes
    assert legend.of_attributes(attributes) == legend.read_table(eucropmap.TABLE)


def test_the_geotiff_of_seasons(country, tmp_path):
    target = reference_to_geotiff(small_config(country, tmp_path), tmp_path / "deep" / "seasons.tif")
    with rasterio.open(target) as file:
        season = file.read(1)
        assert (file.crs.to_epsg(), file.nodata, file.res) == (3035, 255, (1000, 1000))
        row, column = file.index(4_267_500, 2_462_500)
    assert crop_code(np.array(4_267_500), np.array(2_462_500)) == MAIZE
    assert season[row, column] == 1
    assert set(np.unique(season)) == {0, 1, 255}
    assert [path.name for path in target.parent.iterdir()] == ["seasons.tif"]


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("EUCROPMAP_2018.tif", 2018),
        ("EU_CropMap_22_v1_stratum_EU27-HR.tif", 2022),
        ("EUCROPMAP_2021_simulated.tif", 2021),
        ("JRC_EUCROPMAP2022_EU27_EPSG3035.tif", 2022),
        ("reference_2018.tif", None),
        ("EUCROPMAP_clip_3035_2018.tif", None),
    ],
)
def test_the_year_of_a_map_is_known_from_the_names_that_its_makers_give_it(name, year):
    assert eucropmap.year_of(name, {}) == year


def test_a_tag_tells_the_year_where_the_name_does_not():
    assert eucropmap.year_of("clip.tif", {"YEAR": "2022"}) == 2022
    assert eucropmap.year_of("clip.tif", {"YEAR": "about 2022"}) is None


def test_a_map_of_another_year_is_refused_unless_the_settings_say_so(country, tmp_path):
    path = tmp_path / "EUCROPMAP_2022.tif"
    shutil.copy(country / "reference.tif", path)
    with pytest.raises(UserError, match=r"EUCROPMAP_2022\.tif is of 2022, .* of 2018\..*reference\.year = 2022"):
        open_reference(small_config(country, tmp_path, reference__path=path))
    with pytest.raises(UserError, match=r"reference\.year is 2021"):
        open_reference(small_config(country, tmp_path, reference__path=path, reference__year=2021))
    config = small_config(country, tmp_path, reference__path=path, reference__year=2022)
    assert open_reference(config).year == 2022
    assert reference_to_geotiff(small_config(country, tmp_path, reference__path=path), tmp_path / "of_any_year.tif")


def test_a_map_of_an_unknown_year_is_taken_as_the_settings_say(country, tmp_path):
    assert open_reference(small_config(country, tmp_path)).year is None
    assert open_reference(small_config(country, tmp_path, reference__year=2017)).year == 2017


def test_maps_that_cannot_be_used_are_named(country, tmp_path):
    def refused(name, expected):
        with pytest.raises(UserError, match=expected) as error:
            open_reference(small_config(country, tmp_path, reference__path=tmp_path / name))
        assert name in str(error.value)

    refused("none.tif", "there is no reference map")
    (tmp_path / "text.tif").write_text("no map")
    refused("text.tif", "cannot be read")
    write_map(tmp_path / "real.tif", np.ones((5, 5), np.float32))
    refused("real.tif", "float32")
    write_map(tmp_path / "two.tif", np.ones((5, 5), np.int16), count=2)
    refused("two.tif", r"2 layer\(s\)")
    write_map(tmp_path / "lost.tif", np.ones((5, 5), np.int16), crs=None)
    refused("lost.tif", "no CRS")
    write_map(tmp_path / "away.tif", np.full((5, 5), 211, np.int16), corner=(5_000_000, 3_000_000))
    refused("away.tif", r"does not overlap the region: it covers .* the region 9\.00 to 9\.50 E")


def test_a_map_whose_download_was_broken_off_is_refused_before_any_work(country, tmp_path):
    write_reference(tmp_path / "whole.tif")
    content = (tmp_path / "whole.tif").read_bytes()
    write_map(tmp_path / "cut.tif", np.random.default_rng(0).choice(np.array([211, 216], np.int16), (900, 900)),
              corner=(4_220_000, 2_500_000), compress="lzw", tiled=True)  # fmt: skip
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UserError, match=r"cut\.tif is cut off.*Fetch it again"):
        open_reference(small_config(country, tmp_path, reference__path=tmp_path / "cut.tif"))


def test_a_tile_that_cannot_be_unpacked_is_named_by_its_place(country, tmp_path):
    path = tmp_path / "spoilt.tif"
    codes = np.random.default_rng(0).choice(np.array([211, 216], np.int16), (900, 900))
    write_map(path, codes, corner=(4_220_000, 2_500_000), compress="deflate", tiled=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = b"\xff" * 20_000
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"spoilt\.tif is damaged in rows"):
        reduced(small_config(country, tmp_path, reference__path=path))


def test_a_code_outside_the_table_is_named_with_count_and_place(country, tmp_path):
    codes = np.full((900, 900), WHEAT, np.int16)
    codes[300:303, 400:402] = 42
    write_map(tmp_path / "odd.tif", codes, corner=(4_220_000, 2_500_000))
    with pytest.raises(
        UserError, match=r"odd\.tif holds the code 42, .* 6 cells .*at 9\.\d+ E 45\.\d+ N.*reference\.classes"
    ):
        reduced(small_config(country, tmp_path, reference__path=tmp_path / "odd.tif"))


def test_a_table_of_one_s_own_changes_seasons_crops_and_the_fingerprint(country, tmp_path, config):
    text = eucropmap.TABLE.read_text()
    table = tmp_path / "mine.csv"
    table.write_text(
        text.replace("216,maize,yes,summer,certain", "216,corn,yes,,").replace(
            "300,woodland and shrubland,no", "300,wood,yes"
        )
    )
    own = small_config(country, tmp_path, reference__classes=table, ingest__shard=16, ingest__chunk=8)
    marks = [reference_fingerprint(open_reference(one), grid_of(one)) for one in (config, own)]
    assert marks[0] != marks[1]
    group = reduced(own)
    code, season = (layout.array(group, name)[:] for name in ("code", "season"))
    assert (season[code == MAIZE] == 255).all()
    assert (season[code == WHEAT] == 0).all()
    ingest(own)
    prepare(own)
    mask = layout.array(stores.open_to_read(own.cube), "mask")[:]
    assert (mask[code == WOOD] == 1).any()


def test_weak_seasons_count_only_when_asked_for(country, tmp_path):
    def season_of(codes, **settings):
        classes = open_reference(small_config(country, tmp_path, **settings)).classes
        return legend.seasons(np.array(codes), classes).tolist()

    assert season_of([215, 222, 211, 216]) == [255, 255, 0, 1]
    assert season_of([215, 222, 211, 216], reference__weak=True) == [0, 1, 0, 1]


def test_the_mark_follows_the_content_and_not_the_name(country, tmp_path):
    def mark(path):
        config = small_config(country, tmp_path, reference__path=path)
        return reference_fingerprint(open_reference(config), grid_of(config))

    shutil.copy(country / "reference.tif", tmp_path / "copy.tif")
    assert mark(tmp_path / "copy.tif") == mark(country / "reference.tif")
    with rasterio.open(tmp_path / "copy.tif", "r+") as file:
        file.write(np.full((1, 1), 100, np.int16), 1, window=rasterio.windows.Window(5, 5, 1, 1))
    assert mark(tmp_path / "copy.tif") != mark(country / "reference.tif")


def test_seasons_are_those_of_crops_that_are_certain():
    classes = legend.read_table(eucropmap.TABLE)
    codes = np.array([one.code for one in classes])
    season = dict(zip(codes.tolist(), legend.seasons(codes, classes).tolist(), strict=True))
    assert {code for code, s in season.items() if s == 0} == {211, 212, 213, 214, 218, 232}
    assert {code for code, s in season.items() if s == 1} == {216, 217, 231, 233}
    assert set(codes[legend.crops(codes, classes)].tolist()) == {code for code in season if 211 <= code <= 250}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("211,wheat,yes,winter", "line 2: 4 values of 6"),
        ("wheat,wheat,yes,winter,certain,", "line 2: code = 'wheat'"),
        ("0,nothing,no,,,", "line 2: code = '0'"),
        ("40000,wheat,yes,winter,certain,", "line 2: code = '40000'"),
        ("211,,yes,winter,certain,", "line 2: the code 211 has no name"),
        ("211,wheat,perhaps,winter,certain,", "line 2: crop = 'perhaps'"),
        ("211,wheat,yes,autumn,certain,", "line 2: season = 'autumn'"),
        ("211,wheat,no,winter,certain,", "line 2: season = 'winter' of what is no crop"),
        ("211,wheat,yes,winter,,", "line 2: certainty = ''"),
        ("211,wheat,yes,,weak,", "line 2: certainty = 'weak'"),
        ("211,wheat,yes,winter,certain,\n211,rye,yes,,,", "line 3: code = 211 is there twice"),
        ("", "holds no class"),
    ],
)
def test_a_wrong_class_table_is_told_by_file_line_and_value(tmp_path, line, expected):
    table = tmp_path / "table.csv"
    table.write_text(f"code,name,crop,season,certainty,note\n{line}\n")
    with pytest.raises(UserError, match=r"table\.csv") as error:
        legend.read_table(table)
    assert expected in str(error.value)


def test_class_tables_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv.*reference\.classes"):
        legend.read_table(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("code;name\n1;a\n")
    with pytest.raises(UserError, match=r"other\.csv must begin with the line code,name"):
        legend.read_table(tmp_path / "other.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.csv is no CSV"):
        legend.read_table(tmp_path / "binary.csv")


def test_the_tables_of_all_products_can_be_stored_and_read_back():
    for product in PRODUCTS.values():
        classes = legend.read_table(product.TABLE, weak=True)
        stored = json.loads(json.dumps({"classes": legend.as_attribute(classes)}))
        assert legend.of_attributes(stored) == classes


def test_an_unknown_product_is_refused(country, tmp_path):
    with pytest.raises(
        UserError, match=r"reference\.product: unknown product: choose one of auto, eucropmap, worldcereal"
    ):
        small_config(country, tmp_path, reference__product="corine")


def test_the_command_reduces_any_map_and_names_what_is_wrong(country, tmp_path):
    app = typer.Typer()
    app.command()(reference_command.reference)
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[region]\noutline = '{country / 'outline.geojson'}'\n")
    table = tmp_path / "mine.csv"
    table.write_text(
        eucropmap.TABLE.read_text().replace("212,durum wheat,yes,winter,certain", "212,wheat,yes,winter,weak")
    )
    target = tmp_path / "seasons.tif"

    def seen(*options):
        job = (
            "--input",
            country / "reference.tif",
            "--out",
            target,
            "--config",
            settings,
            "--classes",
            table,
            *options,
        )
        result = CliRunner().invoke(app, [str(part) for part in job])
        assert result.exit_code == 0, result.output
        with rasterio.open(target) as file:
            return set(np.unique(file.read(1)).tolist()), file.res

    assert seen("--grid", "epsg3035-2km") == ({1, 255}, (2000, 2000))
    assert seen("--weak", "--product", "eucropmap") == ({0, 1, 255}, (1000, 1000))

"""COGs, QGIS style and STAC of a published year."""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rio_cogeo import cog_validate
from shapely.geometry import shape

from pipeline.base.locations import keys_below
from pipeline.base.progress import Silent
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid
from pipeline.reports.figures import colours
from pipeline.reports.products.cog import write_cog
from pipeline.runtime.executor import InProcess
from pipeline.stages.publish import is_written, publish
from pipeline.stages.run import run
from tests.support.cluster_maps import make_map

NAMES = {f"sitscube_small_2018_{what}" for what in ("label.tif", "label.tif.aux.xml", "label.qml", "confidence.tif")}


@pytest.fixture
def copied(finished, tmp_path):
    """Copy a finished year into an output folder of the test's own."""
    shutil.copytree(finished.out, tmp_path / "out")
    return finished.model_copy(update={"out": tmp_path / "out"})


def product(config, what):
    return config.products / f"sitscube_small_2018_{what}"


def stored(config, name):
    return layout.array(stores.open_to_read(config.map), name)[:]


@pytest.mark.parametrize("name", ["label", "confidence"])
def test_the_cogs_are_valid_and_hold_the_map(finished, name):
    assert {path.name for path in finished.products.iterdir()} == NAMES
    path = product(finished, f"{name}.tif")
    assert cog_validate(path) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), stored(finished, name))
        assert file.nodata == 255
        assert file.crs.to_epsg() == 3035
        assert file.transform == layout.read_grid(stores.open_to_read(finished.map)).geobox.transform
        assert file.tags()["SOFTWARE"].startswith("sitscube")
        assert file.tags()["FINGERPRINT"] == stores.stage_fingerprint_at(finished.map, "infer")


def test_labels_have_their_colours_and_names(finished, tmp_path):
    with rasterio.open(product(finished, "label.tif")) as file:
        assert file.colormap(1)[0] == (0x00, 0x72, 0xB2, 255)
        assert file.colormap(1)[1] == (0xE6, 0x9F, 0x00, 255)
        assert file.colormap(1)[255][3] == 0
        assert file.tags()["FLAG_MEANINGS"] == "winter summer"
    rasterio.shutil.copy(product(finished, "label.tif"), tmp_path / "as.vrt", driver="VRT")  # shows what GDAL has read
    named = ElementTree.parse(tmp_path / "as.vrt").getroot().iter("Category")
    assert [category.text for category in named] == ["winter", "summer"]
    entries = list(ElementTree.parse(product(finished, "label.qml")).getroot().iter("paletteEntry"))
    assert [(entry.get("value"), entry.get("label")) for entry in entries] == [("0", "winter"), ("1", "summer")]
    assert [entry.get("color") for entry in entries] == colours(2)


def test_overviews_of_labels_are_labels_and_those_of_confidence_means(tmp_path):
    grid = Grid("wide", GeoBox((1100, 700), from_origin(4_000_000, 3_000_000, 1000, 1000), "EPSG:3035"), 256, 128)
    config = make_map(tmp_path, 2018, grid=grid)
    result = stores.open_to_read(config.map)
    for name, resampling in (("label", "nearest"), ("confidence", "average")):
        write_cog(tmp_path / f"{name}.tif", result, name, tags={}, overviews=resampling)
        assert cog_validate(tmp_path / f"{name}.tif") == (True, [], [])
        whole = layout.array(result, name)[:]
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(1), whole)
        with rasterio.open(tmp_path / f"{name}.tif", overview_level=0) as file:
            coarse = file.read(1)
        blocks = whole.reshape(550, 2, 350, 2).swapaxes(1, 2).reshape(550, 350, 4)
        if name == "label":
            assert (blocks == coarse[..., None]).any(axis=2).all()
        else:
            means = np.ma.masked_equal(blocks, 255).mean(axis=2)
            assert np.abs(coarse - means).max() <= 0.5
            assert not (coarse == 255)[~means.mask].any()


def test_the_item_is_valid_and_says_where_when_and_what(finished):
    item = pystac.Item.from_file(str(finished.year_folder / "item.json"))
    described = item.to_dict(include_self_link=False)
    extensions, item.stac_extensions = item.stac_extensions, []  # their schemas are on the net
    item.validate()
    assert item.id == "sitscube_small_2018"
    assert item.properties["start_datetime"] == "2018-01-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2018-12-31T23:59:59Z"
    assert item.bbox == pytest.approx([9.0, 45.0, 9.5, 45.4])
    assert shape(item.geometry).is_valid
    assert item.properties["proj:code"] == "EPSG:3035"
    assert item.properties["proj:shape"] == list(stored(finished, "label").shape)
    assert item.properties["simulated"] == ""
    assert [text.split("/")[-3] for text in extensions] == ["processing", "projection", "raster", "classification"]
    for name, asset in described["assets"].items():
        assert asset["href"].startswith("./"), name
        assert (finished.year_folder / asset["href"]).exists(), name
    assert set(item.assets) == {"label", "confidence", "style", "quicklook", "report", "map", "cube"}
    classes = described["assets"]["label"]["classification:classes"]
    assert [(one["value"], one["name"]) for one in classes] == [(0, "winter"), (1, "summer")]


def test_the_collection_is_valid_and_leads_to_the_items(finished):
    collection = pystac.Collection.from_file(str(finished.region_folder / "collection.json"))
    collection.validate()
    (item,) = collection.get_items()
    assert item.id == "sitscube_small_2018"
    assert item.get_collection().id == collection.id == "small"
    hrefs = [link["href"] for link in json.loads((finished.region_folder / "collection.json").read_text())["links"]]
    assert all(href.startswith("./") for href in hrefs)


def test_what_is_removed_is_published_again(copied):
    paths = [*copied.products.iterdir(), copied.year_folder / "item.json", copied.region_folder / "collection.json"]
    contents = {path: path.read_bytes() for path in paths}
    for path, content in contents.items():
        path.unlink()
        assert not is_written(copied)
        path.write_bytes(content)
    assert not publish(copied).fresh
    for path in paths:
        path.unlink()
    assert publish(copied).fresh
    assert {path: path.read_bytes() for path in paths} == contents


def test_a_collection_that_does_not_know_the_year_is_made_anew(copied):
    path = copied.region_folder / "collection.json"
    collection = json.loads(path.read_text())
    collection["links"] = [link for link in collection["links"] if link["rel"] != "item"]
    path.write_text(json.dumps(collection))
    assert publish(copied).fresh
    assert "./2018/item.json" in path.read_text()


def test_without_confidence_there_is_no_file_of_it(copied):
    inference = copied.inference.model_copy(update={"outputs": ("label",)})
    run(copied.model_copy(update={"inference": inference}), InProcess(), Silent())
    assert {path.name for path in copied.products.iterdir()} == NAMES - {"sitscube_small_2018_confidence.tif"}
    assert "confidence" not in pystac.Item.from_file(str(copied.year_folder / "item.json")).assets


def test_what_a_killed_publish_has_left_is_swept(copied):
    stray = product(copied, "label.tif").with_name(".sitscube_small_2018_label.tif.0123.partial")
    stray.mkdir()
    product(copied, "label.tif").unlink()
    publish(copied)
    assert not [key for key in keys_below(copied.region_folder) if key.endswith(".partial")]
    assert {path.name for path in copied.products.iterdir()} == NAMES

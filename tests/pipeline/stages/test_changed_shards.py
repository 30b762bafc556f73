"""New files redo the shards that they touch, in the cube, in what is prepared, and in the map; no others."""

import json
from datetime import date

import numpy as np
import pytest
import rasterio
from odc.geo import CRS
from odc.geo.geom import box
from rasterio.transform import from_origin
from shapely.geometry import mapping

from pipeline.base.progress import Silent
from pipeline.config.config import load_config
from pipeline.cube import layout, stores
from pipeline.runtime.executor import InProcess
from pipeline.stages.run import run
from tests.support.small_country import objects, stamps

LEFT, TOP, CELLS = 4_300_000, 2_500_000, 40  # m in EPSG:3035, and 1 km cells along an edge of one of two files
PLACES = {"west": LEFT, "east": LEFT + 1000 * CELLS}


def write(folder, place, month, bump=0):
    """Write a month of one half: columns alternate between cells that peak in May and in August."""
    year, number = month
    column = np.arange(CELLS)[None, :] + np.zeros((CELLS, 1))
    peak = np.where(column % 2 == 0, 5, 8)
    values = 20 + 60 * np.exp(-(((number - peak) / 2) ** 2)) + np.arange(CELLS)[:, None] / 8 + bump
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "width": CELLS, "height": CELLS, "crs": "EPSG:3035"}
    transform = from_origin(PLACES[place], TOP, 1000, 1000)
    with rasterio.open(folder / f"{place}_{year}{number:02d}01.tif", "w", transform=transform, **profile) as file:
        file.write(values.astype(np.uint8), 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make rasters of 2019 and the first seven months of 2020, and the model of 2019."""
    folder = tmp_path_factory.mktemp("halves")
    area = box(LEFT + 500, TOP - 1000 * CELLS + 500, LEFT + 2000 * CELLS - 500, TOP - 500, CRS("EPSG:3035"))
    outline = {"type": "Feature", "geometry": mapping(area.to_crs("EPSG:4326").geom)}
    (folder / "outline.geojson").write_text(json.dumps(outline))
    for year, last in ((2019, 12), (2020, 7)):
        (folder / str(year)).mkdir()
        for place in PLACES:
            for number in range(1, last + 1):
                write(folder / str(year), place, (year, number))
    run(configured(folder, folder / "out", 2019), InProcess(), Silent())
    return folder


def configured(folder, out, year, **settings):
    channel = {"name": "fpar", "valid_range": (0, 100), "scale": 0.01, "fill": (255,)}
    rasters = {"folder": folder / str(year), "files": ("{place}_%Y%m%d.tif",), "channels": (channel,)}
    return load_config(
        year=year, out=out, region__name="halves", region__outline=folder / "outline.geojson", raster=rasters,
        ingest__calendar="monthly", ingest__shard=16, ingest__chunk=8, preparation__cropland="all",
        training__iterations=20, training__warm_up=30, training__batch_size=100, training__w_gen=0.0, **settings,
    )  # fmt: skip


def shards(found):
    """Return row and column of the shards among paths such as label/c/0/1."""
    return {tuple(int(part) for part in name.split("/")[-2:]) for name in found}


def test_new_files_redo_the_shards_that_they_touch_and_no_others(folder, tmp_path):
    settings = {"inference__model_year": 2019, "ingest__as_of": date(2020, 8, 15)}
    config = configured(folder, folder / "out", 2020, **settings)
    run(config, InProcess(), Silent())  # the model of a common year fits a leap year
    before = {store: stamps(store) for store in (config.cube, config.map)}
    write(folder / "2020", "west", (2020, 6), bump=7)
    results = {result.stage: result for result in run(config, InProcess(), Silent())}
    assert results["infer"].fresh
    grid = layout.read_grid(stores.open_to_read(config.cube))
    touched = {(s.i, s.j) for s in grid.shards if grid.shard_geobox(s).boundingbox.left < PLACES["east"]}
    for store, layers in ((config.cube, ("fpar", "observed", "mask")), (config.map, ("label", "fpar_filled"))):
        after = stamps(store)
        for layer in layers:
            changed = {name for name in after if name.startswith(f"{layer}/c/") and after[name] != before[store][name]}
            everything = shards(name for name in after if name.startswith(f"{layer}/c/"))
            assert touched < everything
            assert shards(changed) == touched, layer
    anew = configured(folder, tmp_path / "anew", 2020, **settings)
    anew.model.parent.mkdir(parents=True)
    anew.model.symlink_to(config.model)
    run(anew, InProcess(), Silent())
    assert objects(anew.map) == objects(config.map)
    assert objects(anew.cube) == objects(config.cube)


def test_other_rules_and_other_models_redo_every_shard(folder, tmp_path):
    config = configured(folder, tmp_path / "out", 2019)
    run(config, InProcess(), Silent())
    stored = stamps(config.map)
    other = config.model_copy(update={"seed": 1})
    run(other, InProcess(), Silent())
    after = stamps(config.map)
    assert all(after[name] != stored[name] for name in after if name.startswith("label/c/"))
    strict = config.preparation.model_copy(update={"min_observations": 12})
    run(other.model_copy(update={"preparation": strict}), InProcess(), Silent())
    assert all(stamps(config.map)[name] != after[name] for name in after if name.startswith("label/c/"))

"""Two channels of different coding, with gaps of their own, from rasters to the report."""

import html
import json
import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from distributed import Client, LocalCluster
from odc.geo import CRS
from shapely.geometry import box, mapping

from pipeline.base.calendar import composite_dates
from pipeline.base.progress import Silent
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels, to_physical
from pipeline.runtime.dask.executor import OnDask
from pipeline.runtime.executor import InProcess
from pipeline.stages.evaluate import read_accuracy
from pipeline.stages.infer.stage import infer
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.prepare import prepare
from pipeline.stages.run import run
from pipeline.stages.train.stage import train
from tests.support.small_country import (
    MAIZE,
    OUTLINE,
    WOOD,
    crop_code,
    objects,
    season_curve,
    small_config,
    stamps,
    write_reference,
)
from tests.support.small_rasters import write_tiff
from tests.support.stored_numbers import to_stored

UTM = "EPSG:32632"
AFFINE = Affine(500, 0, 498_000, 0, -500, 5_028_000)  # 500 m pixels over more than the country
ROWS, COLUMNS = 96, 92
NDVI = {
    "name": "ndvi", "long_name": "vegetation index", "scale": 0.0001, "offset": -0.25, "valid_range": (-7500, 12500),
    "files": ("ndvi_%Y%m%d.tif",),
}  # fmt: skip
NDWI = {
    "name": "ndwi", "long_name": "water index", "scale": 0.01, "offset": -1.0, "valid_range": (0, 200),
    "files": ("sub/ndwi_%Y%m%d.tif",),
}  # fmt: skip
CODING = {"ndvi": (0.0001, -0.25, "int16", -32768), "ndwi": (0.01, -1.0, "uint8", 255)}


def write_country(folder: Path) -> None:
    """Twelve months: the greener, the wetter; clouds hide other blocks of each channel, more of them in winter."""
    (folder / "rasters").mkdir(parents=True)
    (folder / "outline.geojson").write_text(json.dumps({"type": "Feature", "geometry": mapping(OUTLINE)}))
    write_reference(folder / "reference.tif")
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:ROWS, :COLUMNS]
    x, y = AFFINE @ (j.ravel() + 0.5, i.ravel() + 0.5)
    code = crop_code(*CRS(UTM).transformer_to_crs(CRS("EPSG:3035"))(x, y)).reshape(ROWS, COLUMNS)
    for day in composite_dates(2018, "monthly").astype(object):
        green = season_curve(code, day.timetuple().tm_yday + 15) / 100 + rng.normal(0, 0.02, code.shape)
        ndvi, ndwi = 1.6 * green - 0.6, 0.8 * green - 0.5  # negative out of season
        stored = np.rint((ndvi + 0.25) / 0.0001).clip(-7500, 12500).astype(np.int16)
        water = np.rint((ndwi + 1) / 0.01).clip(0, 200).astype(np.uint8)
        share = 0.35 if day.month in (1, 2, 11, 12) else 0.15
        for numbers, gap in ((stored, -30000), (water, 255)):
            hidden = np.repeat(np.repeat(rng.random((12, 12)) < share, 8, 0), 8, 1)[:ROWS, :COLUMNS]
            numbers[hidden] = gap
        write_tiff(folder / "rasters" / f"ndvi_{day:%Y%m%d}.tif", stored, crs=UTM, affine=AFFINE)
        write_tiff(folder / "rasters" / "sub" / f"ndwi_{day:%Y%m%d}.tif", water, crs=UTM, affine=AFFINE)


def config_of(folder: Path, out: Path, **overrides: object) -> Config:
    settings: dict[str, object] = {
        "ingest__granules": None, "raster__folder": folder / "rasters", "raster__channels": (NDVI, NDWI),
        "ingest__calendar": "monthly", "ingest__shard": 32, "ingest__chunk": 16,
    }  # fmt: skip
    return small_config(folder, out, **(settings | overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("channels")
    write_country(folder / "in")
    config = config_of(folder / "in", folder / "out")
    run(config, InProcess(), Silent())
    return config


def read(path: Path, name: str) -> np.ndarray:
    return np.asarray(layout.array(stores.open_to_read(path), name)[:])


def test_the_stores_hold_an_array_of_each_kind_for_each_channel(finished):
    cube, result = stores.open_to_read(finished.cube), stores.open_to_read(finished.map)
    grid = layout.read_grid(cube).shape
    assert {"ndvi", "ndwi", "mean_ndvi", "mean_ndwi", "observed", "land_share"} <= set(cube.array_keys())
    filled = {f"{name}_{kind}" for name in CODING for kind in ("filled", "fill_spread")}
    assert set(result.array_keys()) == filled | {"label", "confidence", "time", "y", "x", "spatial_ref"}
    assert layout.attributes(cube)["channels"] == layout.attributes(result)["channels"] == ["ndvi", "ndwi"]
    for name, (scale, offset, dtype, missing) in CODING.items():
        stored_alike = (
            (cube, name, offset),
            (cube, f"mean_{name}", offset),
            (result, f"{name}_filled", offset),
            (result, f"{name}_fill_spread", 0.0),
        )
        for group, array_name, add in stored_alike:
            array = layout.array(group, array_name)
            about = layout.attributes(array)
            assert (str(array.dtype), array.fill_value) == (dtype, missing)
            assert (about["scale_factor"], about.get("add_offset", 0.0)) == (scale, add)
            assert array.shape[-2:] == grid
            assert array.shape[:-2] == (() if array_name.startswith("mean") else (12,))


def test_gaps_differ_by_channel_and_a_date_counts_as_observed_where_either_is(finished):
    ndvi, ndwi = read(finished.cube, "ndvi") != -32768, read(finished.cube, "ndwi") != 255
    assert (ndvi & ~ndwi).any()
    assert (ndwi & ~ndvi).any()
    np.testing.assert_array_equal(read(finished.cube, "observed"), ndvi | ndwi)
    np.testing.assert_array_equal(read(finished.cube, "n_observed"), (ndvi | ndwi).sum(axis=0))
    for name, known in (("ndvi", ndvi), ("ndwi", ndwi)):
        stored = np.ma.masked_array(read(finished.cube, name), ~known)
        some = known.any(axis=0)
        np.testing.assert_array_equal(read(finished.cube, f"mean_{name}")[some], np.rint(stored.mean(axis=0))[some])
    assert (read(finished.cube, "ndvi")[ndvi] < 2500).any()  # below a physical 0
    assert (read(finished.cube, "ndvi")[ndvi] < 0).any()


def test_observed_numbers_are_untouched_and_none_is_missing_in_mapped_cells(finished):
    mask = read(finished.cube, "mask") == 1
    assert mask.any()
    for name, (_, _, _, missing) in CODING.items():
        stored, filled = read(finished.cube, name), read(finished.map, f"{name}_filled")
        spread = read(finished.map, f"{name}_fill_spread")
        seen = (stored != missing) & mask
        np.testing.assert_array_equal(filled[seen], stored[seen])
        assert (spread[seen] == 0).all()
        assert (filled[:, mask] != missing).all()
        assert (spread[:, mask] != missing).all()
        assert (filled[:, ~mask] == missing).all()
        low, high = layout.attributes(layout.array(stores.open_to_read(finished.map), f"{name}_filled"))["valid_range"]
        assert filled[:, mask].min() >= low
        assert filled[:, mask].max() <= high


def test_a_notebook_decodes_physical_values(finished):
    for path, pattern in ((finished.cube, "{}"), (finished.map, "{}_filled")):
        data = xr.open_zarr(path, consolidated=False)
        for name, (scale, offset, _, missing) in CODING.items():
            stored = read(path, pattern.format(name))
            expected = np.where(stored == missing, np.nan, stored * scale + offset)
            np.testing.assert_allclose(data[pattern.format(name)].values, expected, rtol=0, atol=1e-6)
            assert (np.nanmin(expected), np.nanmax(expected)) >= (-1.0, -1.0)
            assert np.nanmin(expected) < 0 < np.nanmax(expected) <= 1


def test_labels_agree_with_the_pattern_far_better_than_chance(finished):
    """Against the chessboard itself: cells of EPSG:3035 lie within its squares."""
    label = read(finished.map, "label")
    geobox = layout.read_grid(stores.open_to_read(finished.map)).geobox
    x, y = np.meshgrid(*(geobox.coordinates[name].values for name in ("x", "y")))
    code = crop_code(x, y)
    mapped = label != 255
    assert mapped.sum() > 500
    assert not (code[mapped] == WOOD).any()
    right = (label == (code == MAIZE))[mapped].mean()
    assert right > 0.8
    accuracy = read_accuracy(finished)
    assert accuracy is not None
    assert accuracy["cells"] == mapped.sum()
    assert accuracy["overall_accuracy"] == pytest.approx(right)


def test_the_report_shows_both_channels(finished):
    page = html.unescape((finished.report / "index.html").read_text())
    shown = re.sub(r"<pre>.*?</pre>", "", page, flags=re.S)  # without the configuration
    for channel in (NDVI, NDWI):
        assert channel["long_name"] in shown


def test_a_second_run_does_nothing(finished):
    before = stamps(finished.year_folder)
    assert not any(result.fresh for result in run(finished, InProcess(), Silent()))
    assert stamps(finished.year_folder) == before


def test_on_dask_the_bytes_are_the_same(finished, tmp_path):
    config = config_of(finished.region.outline.parent, tmp_path)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        ingest(config, OnDask(client))
        prepare(config, OnDask(client))
        config.model.symlink_to(finished.model)
        infer(config, OnDask(client))
    assert objects(config.cube) == objects(finished.cube)
    assert objects(config.map) == objects(finished.map)


def test_a_month_that_only_one_channel_lacks_is_a_date_of_gaps(finished, tmp_path):
    """Channels of one date belong together; the date is named."""
    folder = tmp_path / "in"
    write_country(folder)
    missing = folder / "rasters" / "sub" / "ndwi_20180501.tif"
    missing.unlink()
    config = config_of(folder, tmp_path / "out")
    result = ingest(config)
    assert result.facts["missing_granules"] == ["2018-05-01"]
    assert "ndwi" in result.facts["bad_granules"]["ndvi_20180501.tif"]
    for name, (_, _, _, gap) in CODING.items():
        assert (read(config.cube, name)[4] == gap).all()
        np.testing.assert_array_equal(
            np.delete(read(config.cube, name), 4, axis=0), np.delete(read(finished.cube, name), 4, axis=0)
        )


def test_the_order_of_channels_is_that_of_the_configuration(finished, tmp_path):
    config = config_of(finished.region.outline.parent, tmp_path, raster__channels=(NDWI, NDVI))
    ingest(config)
    assert [channel.name for channel in read_channels(stores.open_to_read(config.cube))] == ["ndwi", "ndvi"]
    for name in CODING:
        np.testing.assert_array_equal(read(config.cube, name), read(finished.cube, name))


def test_every_number_that_a_channel_can_hold_survives_the_way_through_the_network(finished):
    for channel in read_channels(stores.open_to_read(finished.cube)):
        low, high = channel.valid_range
        every = np.arange(low, high + 1).astype(channel.dtype)
        np.testing.assert_array_equal(to_stored(to_physical(every, channel), channel), every)


@pytest.mark.parametrize(
    "coding",
    [
        {"valid_range": (0, 100_000_000), "scale": 1e-8},
        {"valid_range": (0, 10_000), "scale": 0.01, "offset": 1_000_000.0},
    ],
    ids=["27 bits", "small steps far from 0"],
)
def test_observed_numbers_are_untouched_however_fine_their_steps(tmp_path, coding):
    """What the network takes has 24 bits; what was observed must not lose the others on its way through."""
    rng = np.random.default_rng(0)
    low, high = coding["valid_range"]
    season = (1 + np.cos(np.linspace(-np.pi, np.pi, 12))) / 2
    for month, height in enumerate(season, 1):
        numbers = rng.integers(0, 1 + (high - low) // 2, (50, 50)) + int(low + height * (high - low) // 2)
        hidden = np.repeat(np.repeat(rng.random((10, 10)) < 0.3, 5, 0), 5, 1)
        path = tmp_path / "in" / "rasters" / f"x_2018{month:02d}.tif"
        write_tiff(path, np.where(hidden, -(2**31), numbers).astype(np.int32), affine=Affine(20, 0, 6e5, 0, -20, 5e6))
    to_degrees = CRS(UTM).transformer_to_crs("EPSG:4326")
    (west, south), (east, north) = to_degrees(600_100, 4_999_100), to_degrees(600_900, 4_999_900)
    (tmp_path / "in" / "outline.geojson").write_text(json.dumps(mapping(box(west, south, east, north))))
    config = config_of(
        tmp_path / "in", tmp_path / "out", reference__path=None, raster__files=("x_%Y%m.tif",),
        raster__channels=({"name": "v"} | coding,), ingest__grid="epsg32632-100m", ingest__shard=128,
        training__warm_up=1, training__iterations=1, training__sample_pixels=50,
    )  # fmt: skip
    for stage in (ingest, prepare, train, infer):
        stage(config)
    stored, filled = read(config.cube, "v"), read(config.map, "v_filled")
    [channel] = read_channels(stores.open_to_read(config.cube))
    seen = (stored != channel.missing) & (read(config.cube, "mask") == 1)
    assert 300 < seen.sum() < 12 * (read(config.cube, "mask") == 1).sum()
    np.testing.assert_array_equal(filled[seen], stored[seen])


def test_dates_of_the_cube_are_months(finished):
    times = xr.open_zarr(finished.map, consolidated=False).time.values.astype("datetime64[D]").astype(object)
    assert list(times) == [date(2018, month, 1) for month in range(1, 13)]

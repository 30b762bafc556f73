"""The ready configurations, and small files in their layouts."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS

from pipeline.base.calendar import period_of
from pipeline.base.errors import UserError
from pipeline.config.config import load_config
from pipeline.grid.sinusoidal import SINUSOIDAL, Tile
from pipeline.sources.raster.rasters import Rasters
from tests.support.paths import ROOT
from tests.support.small_rasters import (
    ANYWHERE,
    COLUMNS,
    ROWS,
    SINUSOIDAL_WKT,
    decoded,
    everything,
    positions,
    scenes,
    write_netcdf,
    write_tiff,
)

DEPLOY = ROOT / "deploy"
STEP = 1 / 336
SHAPE = (ROWS, COLUMNS)


def rasters_of(name: str, folder: Path) -> Rasters:
    config = load_config(DEPLOY / name, raster__folder=folder)
    return Rasters(config.raster, config.year, config.ingest.calendar)


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.toml")), ids=lambda path: path.name)
def test_ready_configurations_can_be_loaded(path):
    config = load_config(path)
    assert config.out.is_absolute()


def write_clms(path: Path, *, with_time: bool, **layers: np.ndarray) -> None:
    """Write a part of FAPAR300 version 1, whose coordinates are those of pixel centres."""
    lat, lon = 45 - STEP * np.arange(ROWS), 9 + STEP * np.arange(COLUMNS)
    plain = {
        "FAPAR": positions(modulus=256),
        "NOBS": np.full(SHAPE, 9),
        "LENGTH_BEFORE": np.full(SHAPE, 15),
        "LENGTH_AFTER": np.full(SHAPE, 15),
        "RMSE": np.full(SHAPE, 5),
        "QFLAG": np.full(SHAPE, 0),
    }
    variables = {name: layer.astype(np.uint8) for name, layer in (plain | layers).items()}
    attributes: dict[str, dict[str, object]] = {name: {"_FillValue": np.uint8(255)} for name in variables}
    attributes["FAPAR"] |= {"scale_factor": 0.004, "add_offset": 0.0, "valid_range": np.array([0, 235], np.uint8)}
    attributes["LENGTH_BEFORE"] |= {"units": "days"}  # a length of time, which is not to become one
    time = None
    if with_time:
        variables = {name: layer[None] for name, layer in variables.items()}
        time = ([18392.0], {"units": "days since 1970-01-01", "standard_name": "time"})
    mapping = {"grid_mapping_name": "latitude_longitude", "spatial_ref": CRS("EPSG:4326").to_wkt()}
    write_netcdf(path, variables, lat, lon, time=time, mapping=mapping, attributes=attributes)


@pytest.mark.parametrize("with_time", [False, True])
def test_copernicus_fapar_counts_where_enough_was_seen_near_its_date(tmp_path, with_time):
    layers = {
        "NOBS": np.where(positions(shift=1) < 30, 2, 3),
        "LENGTH_BEFORE": np.where(positions(shift=2) < 30, 31, 30),
        "LENGTH_AFTER": np.where(positions(shift=3) < 30, 60, 30),
    }
    layers["NOBS"][0, :3] = 255
    name = "c_gls_FAPAR300_202005100000_GLOBE_PROBAV_V1.0.1.nc"
    write_clms(tmp_path / name, with_time=with_time, **layers)
    rasters = rasters_of("clms-300m-italy-2020.toml", tmp_path)
    [scene] = scenes(rasters)
    assert scene.day == date(2020, 5, 10)
    assert rasters.expected_key(scene) == "2020-05-01"
    assert scene.geobox.crs == CRS("EPSG:4326")
    np.testing.assert_allclose(scene.geobox.transform[:6], (STEP, 0, 9 - STEP / 2, 0, -STEP, 45 + STEP / 2), atol=1e-12)
    pixels = decoded(rasters, scene)
    numbers = positions(modulus=256)
    seen = (layers["NOBS"] == 3) & (layers["LENGTH_BEFORE"] == 30) & (layers["LENGTH_AFTER"] == 30)
    valid = pixels.valid["fpar"]
    np.testing.assert_array_equal(valid, (seen & (numbers <= 235)).ravel())
    np.testing.assert_array_equal(pixels.values["fpar"][valid], numbers.ravel()[valid])
    assert (rasters.channels[0].dtype, rasters.channels[0].scale) == ("uint8", 0.004)


def test_copernicus_dates_end_the_periods_that_they_fall_into(tmp_path):
    days = ["20200110", "20200120", "20200131", "20200229", "20201231"]
    for day in days:
        write_clms(tmp_path / f"c_gls_FAPAR300-RT6_{day}0000_GLOBE_OLCI_V1.1.1.nc", with_time=False)
    found = scenes(rasters_of("clms-300m-italy-2020.toml", tmp_path))
    assert [period_of(scene.day, "ten-day") for scene in found] == [0, 1, 2, 5, 35]


def test_two_consolidations_of_one_copernicus_date_are_refused(tmp_path):
    for version in ("-RT0", "-RT6"):
        write_clms(tmp_path / f"c_gls_FAPAR300{version}_202005100000_GLOBE_OLCI_V1.1.1.nc", with_time=False)
    with pytest.raises(UserError, match="keep one of them"):
        rasters_of("clms-300m-italy-2020.toml", tmp_path).files(ANYWHERE)


@pytest.mark.parametrize("time_of_day", ["", "000000"])
def test_modis_layers_of_appeears_are_put_together(tmp_path, time_of_day):
    tile = Tile(18, 4).geobox().transform
    affine = Affine(tile.a, 0, tile.c + 700 * tile.a, 0, tile.e, tile.f + 900 * tile.e)
    fpar = np.where(positions() < 90, positions(), 249 + positions() % 7).astype(np.uint8)
    quality = {
        "FparLai_QC": positions(modulus=256).astype(np.uint8),
        "FparExtra_QC": np.array([0, 1, 8, 128, 4, 16, 32, 64, 255], np.uint8)[positions(modulus=9)],
    }
    for name, layer in {"Fpar_500m": fpar, **quality}.items():
        path = tmp_path / "MOD15A2H.061" / f"MOD15A2H.061_{name}_doy2018121{time_of_day}_aid0001.tif"
        write_tiff(path, layer, crs=SINUSOIDAL_WKT, affine=affine, nodata=255)
    rasters = rasters_of("appeears-mod15a2h.toml", tmp_path)
    [scene] = scenes(rasters)
    assert scene.day == date(2018, 5, 1)
    assert scene.geobox.crs == SINUSOIDAL
    assert scene.geobox.transform == affine
    pixels = decoded(rasters, scene)
    main, extra = (layer.ravel().astype(int) for layer in quality.values())
    good = (main >> 2 & 1 == 0) & np.isin(main >> 3 & 3, (0, 3)) & (main >> 5 <= 1) & (extra & 0b111_0100 == 0)
    assert 0 < np.count_nonzero(good) < good.size
    valid = pixels.valid["fpar"]
    np.testing.assert_array_equal(valid, good & (fpar <= 100).ravel())
    np.testing.assert_array_equal(pixels.values["fpar"][valid], fpar.ravel()[valid])
    np.testing.assert_array_equal(pixels.static, ((fpar >= 250) & (fpar <= 254)).ravel())


def test_sentinel_2_composites_have_two_channels_and_several_tiles(tmp_path):
    red, nir = (positions(modulus=12_007, shift=shift).astype(np.uint16) for shift in (0, 11_000))
    classes = positions(modulus=12).astype(np.uint16)
    affines = {"T32TQQ": Affine(20, 0, 699_960, 0, -20, 5_000_040), "T33TUK": Affine(20, 0, 300_000, 0, -20, 5_000_040)}
    for (tile, affine), crs in zip(affines.items(), ("EPSG:32632", "EPSG:32633"), strict=True):
        write_tiff(tmp_path / tile / f"S2_{tile}_20230515_median.tif", red, nir, classes, crs=crs, affine=affine)
    rasters = rasters_of("sentinel2-composites.toml", tmp_path)
    assert [channel.name for channel in rasters.channels] == ["red", "nir"]
    found = scenes(rasters)
    assert [scene.place for scene in found] == list(affines)
    assert [rasters.expected_key(scene) for scene in found] == ["2023-05-01"] * 2
    for scene in found:
        assert scene.geobox.transform == affines[scene.place]
        np.testing.assert_array_equal(everything(rasters, scene)["nir"], nir)
        pixels = decoded(rasters, scene)
        for channel, numbers in zip(rasters.channels, (red.ravel(), nir.ravel()), strict=True):
            valid = pixels.valid[channel.name]
            np.testing.assert_array_equal(
                valid, np.isin(classes.ravel(), (4, 5)) & (numbers >= 1) & (numbers <= 11_000)
            )
            reflectance = pixels.values[channel.name][valid] * channel.scale + channel.offset
            np.testing.assert_allclose(reflectance, (numbers[valid] - 1000.0) / 10_000, atol=1e-12)

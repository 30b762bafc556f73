import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.base.errors import GranuleError
from pipeline.sources.raster.numbers import as_bits
from tests.support.small_rasters import (
    FPAR,
    decoded,
    positions,
    scenes,
    source,
    write_tiff,
)

BYTES = positions().astype(np.uint8)
CLEAR = {"name": "clear", "bits": (1, 2), "accept": (0, 3)}


def test_numbers_out_of_range_fill_and_nodata_are_no_observations(tmp_path):
    numbers = np.tile(np.array([0, 1, 100, 101, 50, 77, 255], np.uint8), (2, 1))
    write_tiff(tmp_path / "f_2018121.tif", numbers, nodata=77)
    rasters = source(tmp_path, "f_%Y%j.tif", FPAR | {"fill": (50,), "valid_range": (1, 100), "static": (101, 255)})
    [scene] = scenes(rasters)
    pixels = decoded(rasters, scene)
    assert pixels.valid["fpar"].tolist() == [False, True, True, False, False, False, False] * 2
    assert pixels.static.tolist() == [False, False, False, True, False, False, True] * 2
    assert rasters.has_static


def test_masks_inside_files_count_like_nodata(tmp_path):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_tiff(tmp_path / "f_2018121.tif", BYTES)
        with rasterio.open(path, "r+") as file:
            file.write_mask(BYTES % 2 == 0)
    rasters = source(tmp_path, "f_%Y%j.tif")
    [scene] = scenes(rasters)
    np.testing.assert_array_equal(decoded(rasters, scene).valid["fpar"], BYTES.ravel() % 2 == 0)


def test_pixels_whose_quality_is_missing_do_not_count(tmp_path):
    write_tiff(tmp_path / "f_2018121.tif", BYTES, np.where(BYTES < 50, 6, 0).astype(np.uint8))
    write_tiff(tmp_path / "q_2018121.tif", np.where(BYTES < 50, 6, 0).astype(np.uint8), nodata=6)
    for files, accepted in (((), BYTES <= 100), (("q_%Y%j.tif",), BYTES >= 50)):
        layer = {"files": files, "band": 1 if files else 2, "rules": (CLEAR,)}
        rasters = source(tmp_path, "f_%Y%j.tif", quality=(layer,))
        [scene] = scenes(rasters)
        pixels = decoded(rasters, scene)
        np.testing.assert_array_equal(pixels.valid["fpar"], accepted.ravel())
        assert pixels.counts["accepted"] == np.count_nonzero(accepted)


def test_floats_are_kept_in_steps(tmp_path):
    numbers = np.array([[-1.0, -0.5, 0.0, 0.00004, 0.00006], [0.12344, 0.12346, 1.0, 1.5, np.nan]], np.float32)
    write_tiff(tmp_path / "ndvi_201805.tif", numbers, nodata=-9999.0)
    channel = {"name": "ndvi", "valid_range": (-1, 1), "step": 0.0001, "scale": 1, "fill": (0.12346,)}
    rasters = source(tmp_path, "ndvi_%Y%m.tif", channel, calendar="monthly")
    assert rasters.channels[0].dtype == "int16"
    assert rasters.channels[0].valid_range == (-10_000, 10_000)
    [scene] = scenes(rasters)
    pixels = decoded(rasters, scene)
    valid = pixels.valid["ndvi"]
    assert valid.tolist() == [True] * 6 + [False, True, False, False]
    assert pixels.values["ndvi"][valid].tolist() == [-10_000, -5000, 0, 0, 1, 1234, 10_000]
    assert pixels.values["ndvi"].dtype == np.int16


@given(
    numbers=arrays(np.float32, 20, elements=st.floats(-2, 2, width=32) | st.just(np.nan)),
    step=st.sampled_from([0.0001, 0.004, 0.01, 0.3]),
)
def test_kept_numbers_are_within_half_a_step_of_those_of_the_file(numbers, step):
    rasters = source("data", "%Y%j.tif", {"name": "v", "valid_range": (-1, 1.5), "step": step, "scale": 2, "offset": 3})
    [channel] = rasters.channels
    pixels = rasters.decode({"v": numbers})
    valid = pixels.valid["v"]
    np.testing.assert_array_equal(valid, (numbers >= -1) & (numbers <= 1.5))
    physical = pixels.values["v"][valid] * channel.scale + channel.offset
    np.testing.assert_allclose(physical, 3 + 2 * numbers[valid].astype(float), atol=step * (1 + 1e-6), rtol=0)
    low, high = channel.valid_range
    assert ((pixels.values["v"][valid] >= low) & (pixels.values["v"][valid] <= high)).all()


@pytest.mark.parametrize(
    ("valid_range", "step", "dtype", "missing"),
    [
        ((0, 254), 1, "uint8", 255),
        ((0, 255), 1, "int16", -32768),
        ((0, 10_000), 50, "uint8", 255),
        ((-1, 100), 1, "int16", -32768),
        ((0, 65_534), 1, "uint16", 65535),
        ((-1, 40_000), 1, "int32", -(2**31)),
        ((0, 65_535), 1, "int32", -(2**31)),
    ],
)
def test_channels_are_stored_in_the_first_type_that_holds_them(valid_range, step, dtype, missing):
    rasters = source("data", "%Y%j.tif", {"name": "v", "valid_range": valid_range, "step": step, "scale": 0.5})
    [channel] = rasters.channels
    assert (channel.dtype, channel.missing, channel.scale) == (dtype, missing, 0.5 * step)
    assert channel.long_name == "v"


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.float32, np.int8])
def test_quality_in_other_types_is_read_where_its_values_are_bits(dtype):
    numbers = positions((3, 4)).astype(dtype)
    bits, given = as_bits("QC", numbers, None)
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(bits, numbers)
    assert given is not None
    assert given.all()
    numbers[1, 2] = -1 if np.issubdtype(dtype, np.signedinteger) else 65_536
    with pytest.raises(GranuleError, match=r"quality layer QC .* holds (-1|65536)"):
        as_bits("QC", numbers, None)
    known = np.ones((3, 4), bool)
    known[1, 2] = False  # the file's own missing value may be any number
    bits, given = as_bits("QC", numbers, known)
    np.testing.assert_array_equal(given, known)
    np.testing.assert_array_equal(bits[known], numbers[known])


def test_all_sixteen_bits_can_be_ruled_on(tmp_path):
    quality = (positions(modulus=997) * 65).astype(np.uint16)
    rule = {"name": "high", "bits": (12, 15), "least": 2, "most": 5}
    write_tiff(tmp_path / "f_2018121.tif", BYTES.astype(np.uint16), quality)
    rasters = source(tmp_path, "f_%Y%j.tif", quality=({"band": 2, "rules": (rule,)},))
    [scene] = scenes(rasters)
    high = quality.ravel() >> 12
    np.testing.assert_array_equal(decoded(rasters, scene).valid["fpar"], (high >= 2) & (high <= 5))

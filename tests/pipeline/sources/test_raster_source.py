from datetime import date

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo import CRS

from pipeline.base.errors import GranuleError, UserError
from pipeline.cube.layout import SIMULATED
from pipeline.grid.sinusoidal import SINUSOIDAL, Tile
from tests.support.small_rasters import (
    ANYWHERE,
    COLUMNS,
    FPAR,
    ROWS,
    SINUSOIDAL_WKT,
    UTM_AFFINE,
    decoded,
    everything,
    positions,
    scenes,
    source,
    write_tiff,
)

BYTES = positions().astype(np.uint8)
CLEAR = {"name": "clear", "bits": (1, 2), "accept": (0, 3)}


def test_a_window_holds_the_pixels_that_the_geobox_says(tmp_path):
    write_tiff(tmp_path / "f_2018121.tif", BYTES)
    rasters = source(tmp_path, "f_%Y%j.tif")
    [scene] = scenes(rasters)
    assert scene.geobox.shape == (ROWS, COLUMNS)
    assert scene.geobox.transform == UTM_AFFINE
    assert scene.geobox.crs == CRS("EPSG:32632")
    assert (scene.day, scene.place, scene.key) == (date(2018, 5, 1), "whole", "A2018121 whole")
    raw = rasters.read(scene, slice(5, 9), slice(11, 30))
    assert list(raw) == ["fpar"]
    np.testing.assert_array_equal(raw["fpar"], BYTES[5:9, 11:30])


def test_the_sinusoidal_projection_of_other_software_is_ours(tmp_path):
    affine = Tile(18, 4).geobox().transform
    write_tiff(tmp_path / "f_2018121.tif", BYTES, crs=SINUSOIDAL_WKT, affine=affine)
    [scene] = scenes(source(tmp_path, "f_%Y%j.tif"))
    assert scene.geobox.crs == SINUSOIDAL
    assert scene.geobox.transform == affine


def test_tiled_and_compressed_files_are_read_alike(tmp_path):
    numbers = positions((300, 200), 30_000).astype(np.int16)
    write_tiff(tmp_path / "f_2018121.tif", numbers, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    rasters = source(tmp_path, "f_%Y%j.tif", {"name": "v", "valid_range": (0, 30_000)})
    [scene] = scenes(rasters)
    np.testing.assert_array_equal(rasters.read(scene, slice(50, 260), slice(60, 190))["v"], numbers[50:260, 60:190])


def test_rows_from_south_to_north_and_columns_from_east_to_west_are_turned(tmp_path):
    turned = Affine(-20, 0, 600_000 + 20 * COLUMNS, 0, 20, 5_000_000 - 20 * ROWS)
    write_tiff(tmp_path / "f_2018121.tif", BYTES[::-1, ::-1].copy(), affine=turned)
    rasters = source(tmp_path, "f_%Y%j.tif")
    [scene] = scenes(rasters)
    assert scene.geobox.transform == UTM_AFFINE
    np.testing.assert_array_equal(everything(rasters, scene)["fpar"], BYTES)
    np.testing.assert_array_equal(rasters.read(scene, slice(3, 5), slice(8, 9))["fpar"], BYTES[3:5, 8:9])


def test_channels_and_quality_may_be_bands_of_one_file(tmp_path):
    quality = positions(shift=3).astype(np.uint16)
    write_tiff(tmp_path / "f_2018121.tif", BYTES.astype(np.uint16), quality, (BYTES + 100).astype(np.uint16))
    rasters = source(
        tmp_path,
        "f_%Y%j.tif",
        FPAR,
        {"name": "other", "valid_range": (150, 200), "band": 3},
        quality=({"band": 2, "rules": (CLEAR,)},),
    )
    [scene] = scenes(rasters)
    pixels = decoded(rasters, scene)
    clear = np.isin((quality >> 1) & 3, (0, 3)).ravel()
    np.testing.assert_array_equal(pixels.valid["fpar"], clear & (BYTES <= 100).ravel())
    np.testing.assert_array_equal(pixels.valid["other"], clear & (BYTES >= 50).ravel())
    for name, shift in (("fpar", 0), ("other", 100)):
        valid = pixels.valid[name]
        np.testing.assert_array_equal(pixels.values[name][valid], (BYTES.ravel() + shift)[valid])
    assert pixels.static is None
    assert pixels.crop is None
    assert pixels.counts == {
        "observed": BYTES.size,
        "clear": BYTES.size - np.count_nonzero(clear),
        "accepted": np.count_nonzero(clear),
    }


def layers_apart(folder, day="2018121", place="n", quality=None, fpar=BYTES, **profile):
    """Two files of one date, and the source of both."""
    write_tiff(folder / f"fpar_{place}_{day}.tif", fpar, **profile)
    if quality is not None:
        write_tiff(folder / f"qc_{place}_{day}.tif", quality)
    return source(
        folder,
        "fpar_{place}_%Y%j.tif",
        quality=({"name": "QC", "files": ("qc_{place}_%Y%j.tif",), "rules": (CLEAR,)},),
    )


def test_quality_may_lie_in_files_of_its_own(tmp_path):
    quality = {place: positions(shift=shift).astype(np.uint8) for place, shift in (("n", 1), ("s", 2))}
    for place in "ns":
        for day in ("2018121", "2018129"):
            rasters = layers_apart(tmp_path, day, place, quality[place])
    found = scenes(rasters)
    assert [scene.key for scene in found] == ["A2018121 n", "A2018121 s", "A2018129 n", "A2018129 s"]
    for scene in found:
        np.testing.assert_array_equal(everything(rasters, scene)["QC"], quality[scene.place])


def test_a_date_without_its_quality_is_set_aside(tmp_path):
    layers_apart(tmp_path, "2018121", quality=BYTES)
    rasters = layers_apart(tmp_path, "2018129")
    good, bad = rasters.files(ANYWHERE)
    assert len(rasters.check(good).scenes) == 1
    with pytest.raises(GranuleError, match=r"fpar_n_2018129.tif: no file of QC .*qc_"):
        rasters.check(bad)


def test_companions_of_another_grid_are_set_aside(tmp_path):
    write_tiff(tmp_path / "qc_n_2018121.tif", BYTES, affine=UTM_AFFINE @ Affine.translation(0.5, 0))
    rasters = layers_apart(tmp_path)
    with pytest.raises(GranuleError, match=r"fpar_n.*40 x 50 pixels of 20 from \(600000, 5000000\).*qc_n.*\(600010, "):
        rasters.check(rasters.files(ANYWHERE)[0])


def test_several_companions_of_one_date_are_no_choice_to_make_silently(tmp_path):
    for version in "ab":
        write_tiff(tmp_path / f"qc_2018121_{version}.tif", BYTES)
    write_tiff(tmp_path / "f_2018121.tif", BYTES)
    rasters = source(tmp_path, "f_%Y%j.tif", quality=({"files": ("qc_%Y%j_*.tif",), "rules": (CLEAR,)},))
    with pytest.raises(GranuleError, match=r"2 files \(qc_2018121_a.tif, qc_2018121_b.tif"):
        rasters.check(rasters.files(ANYWHERE)[0])


def test_bands_may_be_dates(tmp_path):
    days = ["2018-01-01", "2018-05-01", "2017-12-31", None]
    shifted = [positions(shift=shift).astype(np.uint8) for shift in range(4)]
    quality = [positions(shift=10 + shift).astype(np.uint8) for shift in range(3)]
    write_tiff(tmp_path / "fpar.tif", *shifted, descriptions=days)
    write_tiff(tmp_path / "qc.tif", *quality, descriptions=[days[1], days[0], "2018-06-02"])
    rasters = source(
        tmp_path,
        "fpar.tif",
        quality=({"files": ("qc.tif",), "rules": (CLEAR,)},),
        band_date="%Y-%m-%d",
    )
    first, second = scenes(rasters)
    assert [first.key, second.key] == ["A2018001 fpar", "A2018121 fpar"]
    np.testing.assert_array_equal(everything(rasters, first)["fpar"], shifted[0])
    np.testing.assert_array_equal(everything(rasters, first)["quality 1"], quality[1])
    np.testing.assert_array_equal(everything(rasters, second)["quality 1"], quality[0])


def test_a_date_that_only_the_quality_lacks_is_no_scene(tmp_path):
    write_tiff(tmp_path / "fpar.tif", BYTES, BYTES, descriptions=["2018-01-01", "2018-05-01"])
    write_tiff(tmp_path / "qc.tif", BYTES, descriptions=["2018-05-01"])
    settings = {"quality": ({"files": ("qc.tif",), "rules": (CLEAR,)},), "band_date": "%Y-%m-%d"}
    assert [scene.day for scene in scenes(source(tmp_path, "fpar.tif", **settings))] == [date(2018, 5, 1)]
    write_tiff(tmp_path / "qc.tif", BYTES, descriptions=["2018-06-02"])
    with pytest.raises(GranuleError, match=r"fpar.tif: no other layer has any of its dates, such as 2018-01-01"):
        scenes(source(tmp_path, "fpar.tif", **settings))


@pytest.mark.parametrize(("descriptions", "complaint"), [(["one", None], "fits"), (["2018-01-01"] * 2, "twice")])
def test_bands_whose_dates_cannot_be_told_are_set_aside(tmp_path, descriptions, complaint):
    write_tiff(tmp_path / "fpar.tif", BYTES, BYTES, descriptions=descriptions)
    with pytest.raises(GranuleError, match=f"^fpar.tif: .*{complaint}"):
        scenes(source(tmp_path, "fpar.tif", band_date="%Y-%m-%d"))


def test_files_of_other_years_are_left_out(tmp_path):
    for day in ("2017361", "2018001", "2018009", "2019001"):
        write_tiff(tmp_path / f"f_{day}.tif", BYTES)
    assert [path.name for path in source(tmp_path, "f_%Y%j.tif").files(ANYWHERE)] == ["f_2018001.tif", "f_2018009.tif"]
    with pytest.raises(UserError, match=r"files of 2017, 2018, 2019 .* none of 2020: set year"):
        source(tmp_path, "f_%Y%j.tif", year=2020).files(ANYWHERE)


def test_what_no_scene_can_come_from_is_said(tmp_path):
    with pytest.raises(UserError, match="no file that fits"):
        source(tmp_path, "f_%Y%j.tif").files(ANYWHERE)
    with pytest.raises(UserError, match="there is no folder"):
        source(tmp_path / "none", "f_%Y%j.tif").files(ANYWHERE)
    write_tiff(tmp_path / "f_a.tif", BYTES)
    with pytest.raises(GranuleError, match=r"f_a.tif: neither its name nor its content says its date"):
        scenes(source(tmp_path, "f_*.tif"))


def test_two_files_of_one_date_and_place_are_refused(tmp_path):
    for version in ("v1", "v2"):
        write_tiff(tmp_path / f"f_2018121_{version}.tif", BYTES)
    with pytest.raises(UserError, match=r"f_2018121_v1.tif and f_2018121_v2.tif .* both of 2018-05-01"):
        source(tmp_path, "f_%Y%j_*.tif").files(ANYWHERE)
    assert len(source(tmp_path, "f_%Y%j_{place}.tif").files(ANYWHERE)) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (cut, "damaged or truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:6]), "damaged or truncated"),
        (lambda path: path.write_bytes(b"no raster"), "neither GeoTIFF nor NetCDF"),
        (lambda path: path.write_bytes(b""), "neither GeoTIFF nor NetCDF"),
        (lambda path: path.unlink(), "the file is gone"),
        (lambda path: write_tiff(path, BYTES, crs=None), "set raster.crs"),
        (lambda path: write_tiff(path, BYTES, affine=None), "no geotransform"),
        (lambda path: write_tiff(path, BYTES, affine=UTM_AFFINE @ Affine.rotation(30)), "do not run along"),
        (lambda path: write_tiff(path, BYTES), "no band 2: it has 1"),
    ],
)
def test_files_that_cannot_be_used_are_set_aside_with_the_reason(tmp_path, spoil, complaint):
    rasters = source(tmp_path, "f_%Y%j.tif", FPAR | {"band": 2})
    path = write_tiff(tmp_path / "f_2018121.tif", BYTES, BYTES, tiled=True, blockxsize=32, blockysize=32)
    [listed] = rasters.files(ANYWHERE)
    assert len(rasters.check(listed).scenes) == 1
    spoil(path)
    with pytest.raises(GranuleError, match=f"^f_2018121.tif: .*{complaint}"):
        rasters.check(listed)


def test_damaged_blocks_are_found_where_they_are_read(tmp_path):
    path = write_tiff(
        tmp_path / "f_2018121.tif",
        positions((256, 256)).astype(np.uint8),
        tiled=True,
        blockxsize=64,
        blockysize=64,
        compress="deflate",
    )
    rasters = source(tmp_path, "f_%Y%j.tif")
    with rasterio.open(path) as file:
        first = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[first : first + 40] = bytes(40)
    path.write_bytes(content)
    [scene] = scenes(rasters)
    rasters.read(scene, slice(200, 256), slice(200, 256))
    with pytest.raises(GranuleError, match=r"f_2018121.tif: damaged"):
        rasters.read(scene, slice(0, 10), slice(0, 10))


def test_a_reference_system_can_be_given_for_files_without_one(tmp_path):
    write_tiff(tmp_path / "f_2018121.tif", BYTES, crs=None)
    write_tiff(tmp_path / "f_2018129.tif", BYTES, crs="EPSG:3035")
    first, second = scenes(source(tmp_path, "f_%Y%j.tif", crs="EPSG:32632"))
    assert first.geobox.crs == CRS("EPSG:32632")
    assert second.geobox.crs == CRS("EPSG:3035")


def test_a_digest_tells_the_content_of_all_files_and_nothing_else(tmp_path):
    def digest(folder, **layers):
        rasters = layers_apart(folder, **layers)
        return rasters.check(rasters.files(ANYWHERE)[0]).digest

    one = digest(tmp_path / "a", quality=BYTES)
    assert digest(tmp_path / "b", place="s", quality=BYTES) == one
    assert digest(tmp_path / "c", quality=BYTES + 1) != one
    assert digest(tmp_path / "d", quality=BYTES, fpar=BYTES + 1) != one


def test_simulated_files_say_so(tmp_path):
    path = write_tiff(tmp_path / "f_2018121.tif", BYTES)
    rasters = source(tmp_path, "f_%Y%j.tif")
    assert rasters.check(path).simulated == ""
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{SIMULATED: "by a test"})
    assert rasters.check(path).simulated == "by a test"


def test_dates_fulfil_the_periods_of_the_calendar(tmp_path):
    for day in ("20180110", "20180120", "20180131", "20181231"):
        write_tiff(tmp_path / f"f_{day}.tif", BYTES)
    rasters = source(tmp_path, "f_%Y%m%d.tif", calendar="ten-day")
    assert len(rasters.expected(ANYWHERE)) == 36
    keys = [rasters.expected_key(scene) for scene in scenes(rasters)]
    assert keys == ["2018-01-01", "2018-01-11", "2018-01-21", "2018-12-21"]
    assert set(keys) < set(rasters.expected(ANYWHERE))

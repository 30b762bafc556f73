from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from odc.geo import CRS

from pipeline.base.errors import GranuleError, UserError
from pipeline.cube.layout import SIMULATED
from pipeline.grid.sinusoidal import SINUSOIDAL, Tile
from tests.support.small_rasters import (
    ANYWHERE,
    COLUMNS,
    FPAR,
    ROWS,
    decoded,
    everything,
    positions,
    scenes,
    source,
    write_netcdf,
)

BYTES = positions().astype(np.uint8)
STEP = 1 / 336
LAT, LON = 45 - STEP * np.arange(ROWS), 9 + STEP * np.arange(COLUMNS)
UNEVEN = LAT + STEP / 3 * np.cos(np.arange(ROWS))
CHANNEL = FPAR | {"variable": "FAPAR"}
JULIAN = {"units": "days since 2000-01-01 00:00:00", "calendar": "julian"}


def one_date(folder: Path, **settings):
    write_netcdf(folder / "f_20180510.nc", {"FAPAR": BYTES}, LAT, LON, **settings)
    return source(folder, "f_%Y%m%d.nc", CHANNEL)


def test_a_window_holds_the_pixels_that_the_geobox_says(tmp_path):
    rasters = one_date(tmp_path)
    [scene] = scenes(rasters)
    assert scene.day == date(2018, 5, 10)
    assert scene.geobox.crs == CRS("EPSG:4326")  # degrees without a grid mapping
    assert scene.geobox.shape == (ROWS, COLUMNS)
    corner = 9 - STEP / 2, 45 + STEP / 2  # coordinates are those of centres
    np.testing.assert_allclose(scene.geobox.transform @ (0, 0), corner, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scene.geobox.transform @ (50, 40), (9 + 49.5 * STEP, 45 - 39.5 * STEP), atol=1e-12)
    raw = rasters.read(scene, slice(5, 9), slice(11, 30))
    np.testing.assert_array_equal(raw["fpar"], BYTES[5:9, 11:30])


def test_ascending_latitudes_are_turned(tmp_path):
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES[::-1].copy()}, LAT[::-1].copy(), LON)
    rasters = source(tmp_path, "f_%Y%m%d.nc", CHANNEL)
    [scene] = scenes(rasters)
    assert scene.geobox.transform.e < 0
    np.testing.assert_allclose(scene.geobox.transform @ (0, 0), (9 - STEP / 2, 45 + STEP / 2), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(everything(rasters, scene)["fpar"], BYTES)
    np.testing.assert_array_equal(rasters.read(scene, slice(5, 9), slice(11, 30))["fpar"], BYTES[5:9, 11:30])


def test_the_layouts_of_two_files_may_differ_if_their_pixels_do_not(tmp_path):
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES}, LAT, LON)
    write_netcdf(tmp_path / "q_20180510.nc", {"QC": BYTES[::-1].copy()}, LAT[::-1].copy(), LON.astype(np.float32))
    rule = {"name": "low", "most": 50}
    quality = {"files": ("q_%Y%m%d.nc",), "variable": "QC", "rules": (rule,)}
    rasters = source(tmp_path, "f_%Y%m%d.nc", CHANNEL, quality=(quality,))
    [scene] = scenes(rasters)
    np.testing.assert_array_equal(decoded(rasters, scene).valid["fpar"], BYTES.ravel() <= 50)


def times(days, attributes):
    shifted = np.stack([positions(shift=shift) for shift in range(len(days))]).astype(np.uint8)
    return {"FAPAR": shifted}, (days, attributes)


@pytest.mark.parametrize("name", ["fpar.nc", "fpar_%Y.nc"])
def test_dates_may_lie_inside_in_the_calendar_of_the_file(tmp_path, name):
    variables, time = times([6574.0, 6575.0, 6695.0], JULIAN)  # the last day of 2017; days 1 and 121 of 2018
    write_netcdf(tmp_path / name.replace("%Y", "2018"), variables, LAT, LON, time=time)
    rasters = source(tmp_path, name, CHANNEL)
    first, second = scenes(rasters)
    assert [first.day, second.day] == [date(2018, 1, 1), date(2018, 5, 1)]
    assert first.place == Path(name.replace("%Y", "2018")).stem
    np.testing.assert_array_equal(everything(rasters, first)["fpar"], variables["FAPAR"][1])
    np.testing.assert_array_equal(
        rasters.read(second, slice(3, 5), slice(4, 9))["fpar"], variables["FAPAR"][2, 3:5, 4:9]
    )


def test_the_name_dates_a_file_of_one_step(tmp_path):
    variables, time = times([6800.0], JULIAN)
    write_netcdf(tmp_path / "f_20180510.nc", variables, LAT, LON, time=time)
    [scene] = scenes(source(tmp_path, "f_%Y%m%d.nc", CHANNEL))
    assert scene.day == date(2018, 5, 10)
    write_netcdf(tmp_path / "f.nc", variables, LAT, LON, time=time)
    [scene] = scenes(source(tmp_path, "f.nc", CHANNEL))
    assert scene.day == date(2018, 8, 14)


def test_a_time_without_dimension_dates_a_file(tmp_path):
    path = tmp_path / "f.nc"
    dataset = xr.Dataset({"FAPAR": (("y", "x"), BYTES)}, {"y": ("y", LAT), "x": ("x", LON)})
    dataset = dataset.assign_coords(time=((), 6695.0, JULIAN))
    dataset.to_netcdf(path, engine="h5netcdf")
    [scene] = scenes(source(tmp_path, "f.nc", CHANNEL, crs="EPSG:4326"))
    assert scene.day == date(2018, 5, 1)


@pytest.mark.parametrize(
    ("days", "attributes", "complaint"),
    [
        ([1.0, 2.0], {}, "dates of its 2 steps cannot be told"),
        ([1.0, 2.0], {"units": "days since yesterday"}, "dates of time cannot be told"),
        ([6575.0, 6575.25], JULIAN, "holds 2018-01-01 twice"),
        ([59.0, 60.0], {"units": "days since 2018-01-01", "calendar": "360_day"}, "dates of time cannot be told"),
        ([1.0], {}, "neither its name nor its content says its date"),
    ],
)
def test_dates_that_cannot_be_told_are_set_aside(tmp_path, days, attributes, complaint):
    variables, time = times(days, attributes)
    write_netcdf(tmp_path / "f.nc", variables, LAT, LON, time=time)
    with pytest.raises(GranuleError, match=f"^f.nc: .*{complaint}"):
        scenes(source(tmp_path, "f.nc", CHANNEL))


@pytest.mark.parametrize(
    "mapping",
    [
        {"crs_wkt": SINUSOIDAL.to_wkt()},
        {"spatial_ref": SINUSOIDAL.to_wkt()},
        {
            "grid_mapping_name": "sinusoidal",
            "longitude_of_projection_origin": 0.0,
            "false_easting": 0.0,
            "false_northing": 0.0,
            "semi_major_axis": 6371007.181,
            "semi_minor_axis": 6371007.181,
        },
    ],
)
def test_the_grid_mapping_says_the_reference_system(tmp_path, mapping):
    affine = Tile(18, 4).geobox().transform
    x = affine.c + affine.a * (np.arange(COLUMNS) + 0.5)
    y = affine.f + affine.e * (np.arange(ROWS) + 0.5)
    names, units = ("ydim", "xdim"), ("m", "m")
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES}, y, x, names=names, units=units, mapping=mapping)
    [scene] = scenes(source(tmp_path, "f_%Y%m%d.nc", CHANNEL))
    np.testing.assert_allclose(scene.geobox.transform[:6], affine[:6], rtol=1e-12, atol=1e-8)
    origin = scene.geobox.crs.transformer_to_crs(SINUSOIDAL)(affine.c, affine.f)
    np.testing.assert_allclose(origin, (affine.c, affine.f), atol=1e-6)


def test_reference_systems_come_from_codes_or_from_the_settings(tmp_path):
    metres = {"names": ("y", "x"), "units": ("m", "m")}
    y, x = 2_000_000.0 - 300 * np.arange(ROWS), 4_000_000.0 + 300 * np.arange(COLUMNS)
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES}, y, x, mapping={"EPSG_code": "EPSG:3035"}, **metres)
    [scene] = scenes(source(tmp_path, "f_%Y%m%d.nc", CHANNEL))
    assert scene.geobox.crs == CRS("EPSG:3035")
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES}, y, x, **metres)
    with pytest.raises(GranuleError, match=r"f_20180510.nc: no coordinate reference system: set raster.crs"):
        scenes(source(tmp_path, "f_%Y%m%d.nc", CHANNEL))
    [scene] = scenes(source(tmp_path, "f_%Y%m%d.nc", CHANNEL, crs="EPSG:3034"))
    assert scene.geobox.crs == CRS("EPSG:3034")
    metres["units"] = ("km", "km")
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES}, y / 1000, x / 1000, **metres)
    [in_km] = scenes(source(tmp_path, "f_%Y%m%d.nc", CHANNEL, crs="EPSG:3034"))
    np.testing.assert_allclose(in_km.geobox.transform[:6], scene.geobox.transform[:6])


def test_missing_values_of_the_file_and_unsigned_numbers_in_signed_types(tmp_path):
    signed = positions(modulus=256).astype(np.uint8).view(np.int8)
    attributes = {"FAPAR": {"_FillValue": np.int8(-6), "missing_value": np.int8(9), "_Unsigned": "true"}}
    write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": signed}, LAT, LON, attributes=attributes)
    rasters = source(tmp_path, "f_%Y%m%d.nc", CHANNEL | {"valid_range": (0, 254)})
    [scene] = scenes(rasters)
    np.testing.assert_array_equal(everything(rasters, scene)["fpar"], signed.view(np.uint8))
    numbers = signed.view(np.uint8).ravel()
    np.testing.assert_array_equal(decoded(rasters, scene).valid["fpar"], ~np.isin(numbers, (9, 250, 255)))


def test_scale_and_offset_of_the_file_are_left_alone(tmp_path):
    attributes = {"FAPAR": {"scale_factor": 0.004, "add_offset": 7.0, "units": "days"}}
    rasters = one_date(tmp_path, attributes=attributes)
    [scene] = scenes(rasters)
    np.testing.assert_array_equal(everything(rasters, scene)["fpar"], BYTES)


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
def test_classic_files_are_read_too(tmp_path, form):
    numbers = positions(modulus=997).astype(np.int16)
    coordinates = {
        "lat": ("lat", LAT, {"units": "degrees_north"}),
        "lon": ("lon", LON, {"units": "degrees_east"}),
        "time": ("time", [6575.0, 6695.0], JULIAN),
    }
    dataset = xr.Dataset({"QA": (("time", "lat", "lon"), np.stack([numbers, numbers + 1]))}, coordinates)
    dataset.to_netcdf(tmp_path / "f.nc", engine="scipy", format=form)
    rule = {"name": "even", "bits": (0, 0), "accept": (0,)}
    channel = {"name": "v", "variable": "QA", "valid_range": (0, 1000)}
    rasters = source(tmp_path, "f.nc", channel, quality=({"variable": "QA", "rules": (rule,)},))
    first, second = scenes(rasters)
    for scene, shift in ((first, 0), (second, 1)):
        pixels = decoded(rasters, scene)
        np.testing.assert_array_equal(pixels.valid["v"], (numbers + shift).ravel() % 2 == 0)
        np.testing.assert_array_equal(pixels.values["v"], (numbers + shift).ravel())
    path = tmp_path / "f.nc"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(GranuleError, match=r"^f.nc: "):
        scenes(rasters)


def test_simulated_files_say_so(tmp_path):
    dataset = xr.Dataset({"FAPAR": (("lat", "lon"), BYTES)}, {"lat": LAT, "lon": LON}, {SIMULATED: "by a test"})
    dataset.to_netcdf(tmp_path / "f_20180510.nc", engine="h5netcdf")
    rasters = source(tmp_path, "f_%Y%m%d.nc", CHANNEL)
    assert rasters.check(rasters.files(ANYWHERE)[0]).simulated == "by a test"


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def scratch_header(path):
    """Damage the root group, which has the file's attributes."""
    with h5py.File(path) as file:
        start = h5py.h5o.get_info(file.id).addr
    content = bytearray(path.read_bytes())
    content[start + 6 : start + 40] = bytes(34)
    path.write_bytes(content)


def write(**dataset):
    return lambda path: xr.Dataset(**dataset).to_netcdf(path, engine="h5netcdf")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (cut, "damaged or truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "damaged or truncated"),
        (scratch_header, "(damaged|no NetCDF file that can be read)"),
        (lambda path: write_netcdf(path, {"LAI": BYTES}, LAT, LON), "no variable FAPAR: it has LAI"),
        (lambda path: write_netcdf(path, {"FAPAR": BYTES}, UNEVEN, LON), "along lat are not evenly spaced"),
        (lambda path: write_netcdf(path, {"FAPAR": BYTES}, LAT, LON, names=("a", "b")), "no dimensions of latitude"),
        (write(data_vars={"FAPAR": (("lat", "lon"), BYTES)}), "no coordinates along lat"),
        (write(data_vars={"FAPAR": (("z", "lat", "lon"), BYTES[None].repeat(2, 0))}), "besides time, y and x"),
        (write(data_vars={"FAPAR": (("lat", "lon"), BYTES[:1])}, coords={"lat": LAT[:1]}), "no coordinates along lat"),
    ],
)
def test_files_that_cannot_be_used_are_set_aside_with_the_reason(tmp_path, spoil, complaint):
    rasters = one_date(tmp_path)
    [path] = rasters.files(ANYWHERE)
    spoil(path)
    with pytest.raises(GranuleError, match=f"^f_20180510.nc: .*{complaint}"):
        rasters.check(path)


def test_no_more_is_decoded_than_a_window_needs(tmp_path):
    path = write_netcdf(tmp_path / "f_20180510.nc", {"FAPAR": BYTES}, LAT, LON, chunks=(10, 10))
    with h5py.File(path) as file:
        chunk = file["FAPAR"].id.get_chunk_info_by_coord((0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    rasters = source(tmp_path, "f_%Y%m%d.nc", CHANNEL)
    [scene] = scenes(rasters)
    np.testing.assert_array_equal(rasters.read(scene, slice(10, 40), slice(0, 50))["fpar"], BYTES[10:])
    with pytest.raises(GranuleError, match=r"f_20180510.nc: damaged"):
        rasters.read(scene, slice(9, 12), slice(9, 12))


def test_a_variable_must_be_named(tmp_path):
    one_date(tmp_path)
    with pytest.raises(UserError, match=r"f_20180510.nc: .* set `variable` to one of FAPAR") as caught:
        scenes(source(tmp_path, "f_%Y%m%d.nc", FPAR))
    assert not isinstance(caught.value, GranuleError)  # all files would be set aside alike

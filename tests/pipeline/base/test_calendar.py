"""Calendars of composites, and the periods of dates of files."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from odc.geo import CRS
from shapely.geometry import box, mapping

from pipeline.base.calendar import composite_dates, period_of
from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.runtime.stage import StageResult
from pipeline.stages.ingest.stage import ingest
from tests.support.small_country import small_config
from tests.support.small_rasters import COLUMNS, ROWS, UTM, UTM_AFFINE, write_netcdf, write_tiff

CALENDARS = {"eight-day": 46, "ten-day": 36, "monthly": 12}
CHANNEL = {"name": "fpar", "scale": 0.01, "valid_range": (0, 100)}
STEP = 1 / 336  # degrees


@pytest.mark.parametrize(("calendar", "number"), CALENDARS.items())
@pytest.mark.parametrize("year", [2000, 2018, 2020, 2100])
def test_a_year_has_all_its_periods_from_the_first_of_january(calendar, number, year):
    dates = composite_dates(year, calendar)
    assert dates.dtype == np.dtype("datetime64[D]")
    assert len(dates) == len(set(dates)) == number
    assert dates[0] == np.datetime64(f"{year}-01-01")
    assert (np.diff(dates) > np.timedelta64(0)).all()
    assert dates[-1] < np.datetime64(f"{year + 1}-01-01")


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("year", [2018, 2020, 2000, 2100])
def test_every_day_of_a_year_lies_in_the_period_that_began_last(calendar, year):
    dates = composite_dates(year, calendar)
    day, days = date(year, 1, 1), []
    while day.year == year:
        days.append(day)
        day += timedelta(days=1)
    assert len(days) in (365, 366)
    for day in days:
        assert period_of(day, calendar) == np.searchsorted(dates, np.datetime64(day), side="right") - 1


@given(st.dates(date(1981, 1, 1), date(2100, 12, 31)), st.sampled_from(list(CALENDARS)))
def test_a_day_lies_between_the_first_day_of_its_period_and_that_of_the_next(day, calendar):
    dates = composite_dates(day.year, calendar)
    index = period_of(day, calendar)
    assert 0 <= index < len(dates)
    assert dates[index] <= np.datetime64(day)
    assert index == len(dates) - 1 or np.datetime64(day) < dates[index + 1]


@given(st.integers(1981, 2100), st.sampled_from(list(CALENDARS)))
def test_first_days_lie_in_their_own_period(year, calendar):
    dates = composite_dates(year, calendar).astype(object)
    assert [period_of(day, calendar) for day in dates] == list(range(CALENDARS[calendar]))


@pytest.mark.parametrize(
    ("day", "calendar", "index"),
    [
        (date(2020, 12, 31), "eight-day", 45),
        (date(2018, 12, 26), "eight-day", 44),
        (date(2018, 12, 27), "eight-day", 45),
        (date(2020, 12, 26), "eight-day", 45),
        (date(2020, 2, 29), "ten-day", 5),
        (date(2020, 1, 31), "ten-day", 2),
        (date(2020, 3, 10), "ten-day", 6),
        (date(2020, 3, 11), "ten-day", 7),
        (date(2020, 2, 29), "monthly", 1),
        (date(2020, 12, 31), "monthly", 11),
    ],
)
def test_days_at_the_edges_of_periods(day, calendar, index):
    assert period_of(day, calendar) == index


def write_outline(path: Path, left: float, bottom: float, right: float, top: float, crs: str) -> None:
    """Return a rectangle's outline in longitude and latitude."""
    to_degrees = CRS(crs).transformer_to_crs("EPSG:4326")
    west, south = to_degrees(left, bottom)
    east, north = to_degrees(right, top)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mapping(box(west, south, east, north))))


def raster_config(tmp_path: Path, files: str, **overrides: object) -> Config:
    settings: dict[str, object] = {
        "ingest__granules": None, "reference__path": None, "raster__folder": tmp_path / "rasters",
        "raster__files": (files,), "raster__channels": (CHANNEL,), "ingest__grid": "epsg32632-100m",
        "ingest__max_missing_share": 1,
    }  # fmt: skip
    return small_config(tmp_path, tmp_path / "out", **(settings | overrides))


def by_period(config: Config) -> dict[int, set[int]]:
    """Return the numbers of each period of the cube that has some."""
    fpar = layout.array(stores.open_to_read(config.cube), "fpar")[:]
    assert len(fpar) == CALENDARS[config.ingest.calendar]
    return {index: set(np.unique(values[values != 255])) for index, values in enumerate(fpar) if (values != 255).any()}


def ingest_monthly(tmp_path: Path, months: list[str]) -> tuple[Config, StageResult]:
    write_outline(tmp_path / "outline.geojson", 600_100, 4_999_300, 600_900, 4_999_900, UTM)
    for month in months:
        write_tiff(tmp_path / "rasters" / f"f_{month}.tif", np.full((ROWS, COLUMNS), int(month[4:]), np.uint8))
    config = raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly")
    return config, ingest(config)


def test_monthly_rasters_land_in_their_months_and_missing_months_are_gaps(tmp_path):
    config, result = ingest_monthly(tmp_path, ["201801", "201803", "201812"])
    assert by_period(config) == {0: {1}, 2: {3}, 11: {12}}
    assert len(result.facts["missing_granules"]) == 9
    assert "2018-02-01" in result.facts["missing_granules"]
    times = xr.open_zarr(config.cube, consolidated=False).time.values
    np.testing.assert_array_equal(times, composite_dates(2018, "monthly").astype(times.dtype))


def test_a_month_more_is_ingested_into_the_same_stack(tmp_path):
    config, _ = ingest_monthly(tmp_path, ["201801", "201812"])
    config, result = ingest_monthly(tmp_path, ["201802"])
    assert result.fresh
    assert by_period(config) == {0: {1}, 1: {2}, 11: {12}}


def test_files_of_several_dates_of_a_month_are_averaged(tmp_path):
    write_outline(tmp_path / "outline.geojson", 600_100, 4_999_300, 600_900, 4_999_900, UTM)
    for day, value in (("20180401", 10), ("20180415", 21), ("20180430", 32), ("20180501", 90)):
        write_tiff(tmp_path / "rasters" / f"f_{day}.tif", np.full((ROWS, COLUMNS), value, np.uint8))
    config = raster_config(tmp_path, "f_%Y%m%d.tif", ingest__calendar="monthly")
    ingest(config)
    assert by_period(config) == {3: {21}, 4: {90}}


@pytest.mark.parametrize("inside", [False, True], ids=["dates in names", "dates in one file"])
def test_ten_day_netcdf_lands_in_its_dekads(tmp_path, inside):
    """The dates are the last days of their periods, as in Copernicus files."""
    days = [date(2020, 1, 10), date(2020, 1, 31), date(2020, 2, 29), date(2020, 3, 1), date(2020, 12, 31)]
    lat, lon = 45 - STEP * np.arange(ROWS), 9 + STEP * np.arange(COLUMNS)
    write_outline(tmp_path / "outline.geojson", 9.02, 44.91, 9.12, 44.98, "EPSG:4326")
    layers = np.stack([np.full((ROWS, COLUMNS), 10 * (k + 1), np.uint8) for k in range(len(days))])
    if inside:
        time = ([float((day - date(1970, 1, 1)).days) for day in days], {"units": "days since 1970-01-01"})
        write_netcdf(tmp_path / "rasters" / "year.nc", {"FAPAR": layers}, lat, lon, time=time)
    else:
        for day, layer in zip(days, layers, strict=True):
            write_netcdf(tmp_path / "rasters" / f"f_{day:%Y%m%d}.nc", {"FAPAR": layer}, lat, lon)
    config = raster_config(
        tmp_path, "year.nc" if inside else "f_%Y%m%d.nc", year=2020, ingest__calendar="ten-day",
        ingest__grid="epsg32632-300m", raster__crs="EPSG:4326", raster__channels=(CHANNEL | {"variable": "FAPAR"},),
    )  # fmt: skip
    result = ingest(config)
    assert by_period(config) == {0: {10}, 2: {20}, 5: {30}, 6: {40}, 35: {50}}
    assert len(result.facts["missing_granules"]) == 31
    assert not ingest(config).fresh


def test_too_few_months_are_refused_by_their_dates(tmp_path):
    write_outline(tmp_path / "outline.geojson", 600_100, 4_999_300, 600_900, 4_999_900, UTM)
    for month in range(1, 9):
        write_tiff(tmp_path / "rasters" / f"f_2018{month:02d}.tif", np.full((ROWS, COLUMNS), 1, np.uint8))
    config = raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly", ingest__max_missing_share=0.25)
    with pytest.raises(UserError, match=r"4 of the 12 .*2018-09-01"):
        ingest(config)
    assert not config.cube.exists()


def test_an_outline_that_leaves_the_rasters_leaves_gaps_where_there_are_none(tmp_path):
    write_outline(tmp_path / "outline.geojson", 599_000, 4_998_000, 602_000, 5_001_000, UTM)
    write_tiff(tmp_path / "rasters" / "f_201801.tif", np.full((ROWS, COLUMNS), 7, np.uint8))
    config = raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly")
    ingest(config)
    cube = stores.open_to_read(config.cube)
    fpar, geobox = layout.array(cube, "fpar")[0], layout.read_grid(cube).geobox
    x, y = np.meshgrid(*(geobox.coordinates[name].values for name in ("x", "y")))
    right, bottom = UTM_AFFINE @ (COLUMNS, ROWS)
    inside = (x > 600_000) & (x < right) & (y < 5_000_000) & (y > bottom)
    assert inside.sum() == 80
    np.testing.assert_array_equal(fpar, np.where(inside, 7, 255))


def test_rasters_far_from_the_region_are_refused_and_both_places_named(tmp_path):
    write_outline(tmp_path / "outline.geojson", 300_000, 4_700_000, 302_000, 4_702_000, UTM)
    write_tiff(tmp_path / "rasters" / "f_201801.tif", np.full((ROWS, COLUMNS), 7, np.uint8))
    config = raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly")
    with pytest.raises(UserError, match="region") as refusal:
        ingest(config)
    assert str(config.observations) in str(refusal.value)


def test_a_year_without_files_and_a_pattern_without_any_are_refused_by_name(tmp_path):
    write_outline(tmp_path / "outline.geojson", 600_100, 4_999_300, 600_900, 4_999_900, UTM)
    write_tiff(tmp_path / "rasters" / "f_201801.tif", np.full((ROWS, COLUMNS), 7, np.uint8))
    with pytest.raises(UserError, match=r"2018.*none of 2019") as refusal:
        ingest(raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly", year=2019))
    assert str(tmp_path / "rasters") in str(refusal.value)
    with pytest.raises(UserError, match=r"g_%Y%m\.tif.*raster\.folder"):
        ingest(raster_config(tmp_path, "g_%Y%m.tif", ingest__calendar="monthly"))
    with pytest.raises(UserError, match=r"nowhere.*raster\.folder"):
        ingest(raster_config(tmp_path, "f_%Y%m.tif", raster__folder=tmp_path / "nowhere"))


def test_rasters_without_a_reference_system_are_refused_with_the_setting_that_gives_one(tmp_path):
    write_outline(tmp_path / "outline.geojson", 600_100, 4_999_300, 600_900, 4_999_900, UTM)
    write_tiff(tmp_path / "rasters" / "f_201801.tif", np.full((ROWS, COLUMNS), 7, np.uint8), crs=None)
    config = raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly")
    with pytest.raises(UserError, match=r"f_201801\.tif.*raster\.crs"):
        ingest(config)
    assert ingest(raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly", raster__crs=UTM)).fresh
    with pytest.raises(UserError, match=r"raster\.crs.*EPSG:99999"):
        raster_config(tmp_path, "f_%Y%m.tif", raster__crs="EPSG:99999")


def test_rasters_of_a_wrong_reference_system_do_not_make_an_empty_cube(tmp_path):
    """Coordinates of another zone are at another place."""
    write_outline(tmp_path / "outline.geojson", 600_100, 4_999_300, 600_900, 4_999_900, UTM)
    write_tiff(tmp_path / "rasters" / "f_201801.tif", np.full((ROWS, COLUMNS), 7, np.uint8), crs="EPSG:32633")
    config = raster_config(tmp_path, "f_%Y%m.tif", ingest__calendar="monthly")
    with pytest.raises(UserError, match="region") as refusal:
        ingest(config)
    assert str(config.observations) in str(refusal.value)

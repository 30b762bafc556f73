"""Files that cannot be used: set aside with the reason, named to the end, their date a gap in the whole tile."""

import html
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box, mapping

from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.grid.sinusoidal import Tile
from pipeline.runtime.executor import InProcess
from pipeline.runtime.stage import StageResult
from pipeline.sources.raster.rasters import Rasters
from pipeline.sources.raster.settings import Raster
from pipeline.stages.context import Run
from pipeline.stages.ingest.inventory import Observations, take_inventory, without_unreadable
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.run import run
from tests.support.granule_dialects import restore, set_attributes
from tests.support.small_country import TILE, objects, small_config, spoil_row, stamps, write_patch

APRIL = date(2018, 4, 7)
PERIOD = 12  # of APRIL, from 0
DAMAGED_ROW = 1130  # of the tile: within the northern shards alone


class Listener(Silent):
    """Records the messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


DATES = tuple(range(73, 130, 8))  # days of the year, around APRIL


@pytest.fixture
def config(country: Path, tmp_path: Path) -> Config:
    """Eight granules that a test may change, and four shards."""
    (tmp_path / "in" / "granules").mkdir(parents=True)
    shutil.copy(country / "outline.geojson", tmp_path / "in")
    for day in DATES:
        [path] = (country / "granules").glob(f"*.A2018{day:03d}.*")
        shutil.copy(path, tmp_path / "in" / "granules")
    return config_of(tmp_path / "in", tmp_path / "out")


@pytest.fixture
def whole_year(country: Path, tmp_path: Path) -> Config:
    """All 46 granules and the default of what may be missing."""
    shutil.copytree(country / "granules", tmp_path / "year" / "granules")
    shutil.copy(country / "outline.geojson", tmp_path / "year")
    return small_config(tmp_path / "year", tmp_path / "out", reference__path=None)


def config_of(folder: Path, out: Path, **overrides: object) -> Config:
    settings: dict[str, object] = {
        "reference__path": None, "ingest__shard": 32, "ingest__chunk": 8, "ingest__max_missing_share": 1,
    }  # fmt: skip
    return small_config(folder, out, **(settings | overrides))


def missing(result: StageResult) -> list[str]:
    """Of the dates that there are granules of."""
    there = {f"A2018{day:03d} {TILE}" for day in DATES}
    return [key for key in result.facts["missing_granules"] if key in there]


def april(config: Config) -> Path:
    [path] = config.granules.glob(f"*.A{APRIL:%Y%j}.*")
    return path


def attributes(config: Config) -> dict[str, Any]:
    return layout.attributes(stores.open_to_read(config.cube))


def read(config: Config) -> np.ndarray:
    return np.asarray(layout.array(stores.open_to_read(config.cube), "fpar")[:])


def ingested_without(config: Config, path: Path, out: Path) -> Config:
    """What the folder gives without one of its files."""
    aside = config.granules.parent / "aside"
    path.rename(aside)
    without = config_of(config.granules.parent, out, ingest__shard=config.ingest.shard)
    ingest(without)
    aside.rename(path)
    return without


def assert_set_aside(config: Config, result: StageResult, name: str, reason: str) -> None:
    """Named with the reason in what the stage returns and in the cube; a second run does nothing and still names it."""
    assert result.fresh
    for facts in (result.facts, attributes(config)):
        assert list(facts["bad_granules"]) == [name]
        assert name in facts["bad_granules"][name]
        assert reason in facts["bad_granules"][name]
    before = stamps(config.cube)
    again = ingest(config)
    assert not again.fresh
    assert stamps(config.cube) == before
    assert again.facts["bad_granules"] == result.facts["bad_granules"]
    assert again.facts["missing_granules"] == result.facts["missing_granules"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def make_small(path: Path) -> None:
    restore(path, "Fpar", data=np.zeros((1200, 1200), np.uint8))


def claim_another_day(path: Path) -> None:
    set_attributes(path, RangeBeginningDate=np.bytes_(b"2018-05-01"))


def spoil_pixels(path: Path) -> None:
    spoil_row(path, DAMAGED_ROW)


def empty(path: Path) -> None:
    path.write_bytes(b"")


SPOILT: dict[Callable[[Path], None], str] = {
    truncate: "truncated",
    make_small: "(1200, 1200)",
    claim_another_day: "RangeBeginningDate",
    spoil_pixels: "cannot be decoded",
    empty: "",
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILT.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_granule_is_named_and_its_date_is_a_gap_in_the_whole_tile(config, tmp_path, spoil, reason):
    """Also where its pixels turn out bad only in one shard: it is used in none, as if it were not there."""
    path = april(config)
    spoil(path)
    result = ingest(config)
    assert missing(result) == ["A2018097 h18v04"]
    assert (read(config)[PERIOD] == 255).all()
    assert_set_aside(config, result, path.name, reason)
    without = ingested_without(config, path, tmp_path / "without")
    assert objects(config.cube) == objects(without.cube)
    assert attributes(config)["quality"] == attributes(without)["quality"]


def test_a_damaged_row_is_met_only_by_the_shards_that_hold_it(config):
    """So the other shards, which could read their part, leave the file out only because of these."""
    spoil_pixels(april(config))
    rows = {}
    for name, outline in (("north", box(9.0, 45.3, 9.5, 45.4)), ("south", box(9.0, 45.0, 9.5, 45.1))):
        folder = config.granules.parent / name
        folder.mkdir()
        (folder / "outline.geojson").write_text(json.dumps(mapping(outline)))
        rows[name] = missing(ingest(config_of(folder, folder / "out", ingest__granules=config.granules)))
    assert len(rows["north"]) + len(rows["south"]) == 1


@pytest.mark.parametrize("spoil", [truncate, spoil_pixels], ids=["truncated", "undecodable"])
@pytest.mark.parametrize("shard", [32, 512])
def test_an_earlier_production_stands_in_for_a_bad_one(config, tmp_path, spoil, shard):
    """The second newest of three, whatever shards there are; what stands in does not count as missing."""
    path = april(config)
    layers = {
        name: np.full((130, 130), value, np.uint8)
        for name, value in (("Fpar", 33), ("FparLai_QC", 16), ("FparExtra_QC", 0))
    }
    window = slice(1090, 1220), slice(1500, 1630)
    oldest = write_patch(config.granules, TILE, APRIL, window, "2018001000000", **layers | {"Fpar": layers["Fpar"] - 3})
    write_patch(config.granules, TILE, APRIL, window, "2018002000000", **layers)
    spoil(path)
    config = config_of(config.granules.parent, config.out, ingest__shard=shard)
    result = ingest(config)
    fpar = read(config)
    assert set(np.unique(fpar[PERIOD])) <= {33, 255}
    assert (fpar[PERIOD] == 33).mean() > 0.95
    assert missing(result) == []
    assert_set_aside(config, result, path.name, "")
    without = ingested_without(config, path, tmp_path / "without")
    assert objects(config.cube) == objects(without.cube)
    oldest.unlink()
    assert not ingest(config).fresh  # it was never used


def test_when_the_production_that_stood_in_is_bad_too_the_next_one_does(config):
    path = april(config)
    window = slice(1090, 1220), slice(1500, 1630)
    names = ("Fpar", "FparLai_QC", "FparExtra_QC")
    layers = {name: np.full((130, 130), value, np.uint8) for name, value in zip(names, (30, 16, 0), strict=True)}
    write_patch(config.granules, TILE, APRIL, window, "2018001000000", **layers)
    middle = write_patch(config.granules, TILE, APRIL, window, "2018002000000", **layers)
    spoil_pixels(path)
    spoil_row(middle, DAMAGED_ROW + 2, "FparExtra_QC")
    result = ingest(config)
    assert sorted(result.facts["bad_granules"]) == sorted([path.name, middle.name])
    assert set(np.unique(read(config)[PERIOD])) <= {30, 255}
    before = stamps(config.cube)
    assert ingest(config).facts["bad_granules"] == result.facts["bad_granules"]
    assert stamps(config.cube) == before


def test_two_dates_found_bad_one_run_after_the_other_are_both_remembered(config):
    first = april(config)
    spoil_pixels(first)
    ingest(config)
    [second] = config.granules.glob("*.A2018105.*")
    spoil_pixels(second)
    assert sorted(ingest(config).facts["bad_granules"]) == sorted([first.name, second.name])
    again = ingest(config)
    assert not again.fresh
    assert sorted(again.facts["bad_granules"]) == sorted([first.name, second.name])


def test_bad_granules_are_told_as_they_are_found(config):
    truncate(april(config))
    [second] = config.granules.glob("*.A2018105.*")
    spoil_pixels(second)
    listener = Listener()
    ingest(config, InProcess(), listener)
    assert any(april(config).name in line and "truncated" in line for line in listener.said)
    assert any(second.name in line and "cannot be decoded" in line for line in listener.said)


def test_too_many_bad_granules_stop_before_any_work_and_leave_no_store(whole_year):
    for path in sorted(whole_year.granules.iterdir())[:12]:
        truncate(path)
    with pytest.raises(UserError, match=r"12 of the 46 .*max_missing_share.*truncated") as refusal:
        ingest(whole_year)
    assert str(whole_year.granules) in str(refusal.value)
    assert not whole_year.year_folder.exists() or not list(whole_year.year_folder.iterdir())


def test_too_many_bad_granules_leave_an_earlier_cube_as_it_was(whole_year):
    ingest(whole_year)
    before = stamps(whole_year.cube)
    for path in sorted(whole_year.granules.iterdir())[:12]:
        truncate(path)
    with pytest.raises(UserError, match="12 of the 46"):
        ingest(whole_year)
    assert stamps(whole_year.cube) == before


def test_too_many_granules_found_bad_while_they_are_read_stop_the_run_unfinished(whole_year):
    for path in sorted(whole_year.granules.iterdir())[:12]:
        spoil_pixels(path)
    with pytest.raises(UserError, match=r"12 of the 46 .*cannot be decoded"):
        ingest(whole_year)
    with pytest.raises(UserError, match="not finished"):
        stores.require(whole_year.cube, "ingest", "ingest")
    with pytest.raises(UserError, match=r"12 of the 46 .*cannot be decoded"):
        ingest(whole_year)


def test_a_folder_of_nothing_but_bad_granules_is_refused_whatever_may_be_missing(whole_year):
    for path in whole_year.granules.iterdir():
        truncate(path)
    generous = small_config(whole_year.granules.parent, whole_year.out, ingest__max_missing_share=1)
    with pytest.raises(UserError, match=r"46 of the 46.*truncated"):
        ingest(generous)


def test_the_share_that_may_be_missing_is_reached_but_not_passed(whole_year):
    paths = sorted(whole_year.granules.iterdir())
    for path in paths[:2]:
        path.unlink()
    exactly = small_config(whole_year.granules.parent, whole_year.out, ingest__max_missing_share=2 / 46)
    assert len(ingest(exactly).facts["missing_granules"]) == 2
    paths[2].unlink()
    with pytest.raises(UserError, match="3 of the 46"):
        ingest(exactly)


def test_a_bad_file_more_changes_no_number_and_is_named(config):
    ingest(config)
    before = stamps(config.cube)
    newer = config.granules / "VNP15A2H.A2018097.h18v04.002.2025001000000.h5"
    newer.write_bytes(april(config).read_bytes()[:5000])
    result = ingest(config)
    assert not result.fresh
    assert list(result.facts["bad_granules"]) == [newer.name]
    after = stamps(config.cube)
    assert {name for name in after if after[name] != before.get(name)} == {"zarr.json"}
    assert list(attributes(config)["bad_granules"]) == [newer.name]
    newer.unlink()
    assert ingest(config).facts["bad_granules"] == {}
    assert attributes(config)["bad_granules"] == {}


def report_of(config: Config) -> str:
    config = config_of(config.granules.parent, config.out, training__iterations=1, training__warm_up=1)
    run(config, InProcess(), Silent())
    return html.unescape((config.report / "index.html").read_text())


def test_the_report_names_bad_granules_and_missing_dates_of_every_kind(config):
    """Also a bad file that came later and changed no number."""
    first = april(config)
    second, third, fourth = (next(config.granules.glob(f"*.A2018{day}.*")) for day in (105, 113, 121))
    truncate(first)
    spoil_pixels(second)
    third.unlink()
    page = report_of(config)
    for name in (first.name, second.name):
        assert name in page
    for reason in ("truncated", "cannot be decoded"):
        assert reason in page
    for key in ("A2018097 h18v04", "A2018105 h18v04", "A2018113 h18v04"):
        assert key in page
    newer = fourth.with_name("VNP15A2H.A2018121.h18v04.002.2025001000000.h5")
    newer.write_bytes(fourth.read_bytes()[:5000])
    page = report_of(config)
    for name in (first.name, second.name, newer.name):
        assert name in page


@pytest.mark.parametrize("other", ["VNP15A2H.A2018009.h18v04.001.2018030000000.h5", "VJ115A2H"])
def test_versions_and_products_are_not_mixed(config, other):
    name = other if other.endswith(".h5") else april(config).name.replace("VNP15A2H", other)
    shutil.copy(april(config), config.granules / name)
    with pytest.raises(UserError, match="mixes") as refusal:
        ingest(config)
    assert str(config.granules) in str(refusal.value)
    assert not config.cube.exists()


def test_simulated_granules_and_real_ones_are_not_mixed(config):
    set_attributes(april(config), **{layout.SIMULATED: np.bytes_(b"made up")})
    with pytest.raises(UserError, match=r"simulated.*real|real.*simulated") as refusal:
        ingest(config)
    assert str(config.granules) in str(refusal.value)
    assert not config.cube.exists()


def test_a_cube_of_simulated_granules_says_so(config):
    for path in config.granules.iterdir():
        set_attributes(path, **{layout.SIMULATED: np.bytes_(b"made up")})
    ingest(config)
    about = attributes(config)
    assert about["simulated"] == "made up"
    assert "made up" in about["source"]


def make_rasters(tmp_path: Path, days: list[str]) -> Rasters:
    from tests.support.small_rasters import positions, write_tiff

    for number, day in enumerate(days):
        write_tiff(tmp_path / f"f_{day}.tif", positions(shift=number).astype(np.uint8))
    channels = ({"name": "fpar", "valid_range": (0, 100)},)
    return Rasters(Raster(folder=tmp_path, files=("f_%Y%j.tif",), channels=channels), 2018, "eight-day")


def test_inputs_are_dates_and_contents_in_an_order_of_their_own(tmp_path):
    source = make_rasters(tmp_path, ["2018001", "2018009", "2018017"])
    inventory = take_inventory(Run(Config()), Observations(source, tmp_path, box(0, 35, 20, 50)), {})
    inputs = inventory.inputs(inventory.scenes)
    assert [day for day, _ in inputs] == ["2018-01-01", "2018-01-09", "2018-01-17"]
    assert inventory.inputs(inventory.scenes[::-1]) == inputs
    assert len({digest for _, digest in inputs}) == 3
    assert inputs[:1] == inventory.inputs(inventory.scenes[:1])


def test_the_inventory_without_unreadable_files_is_that_of_the_folder_without_them(tmp_path):
    source = make_rasters(tmp_path, ["2018001", "2018009", "2018017"])
    observations = Observations(source, tmp_path, box(0, 35, 20, 50))
    inventory = take_inventory(Run(Config()), observations, {})
    path = tmp_path / "f_2018009.tif"
    less = without_unreadable(inventory, observations, {path: "f_2018009.tif: spoilt"})
    path.unlink()
    expected = take_inventory(Run(Config()), observations, {})
    assert less == replace(expected, bad={"f_2018009.tif": "f_2018009.tif: spoilt"})
    assert expected.n_expected == 46
    assert len(expected.missing) == 44


def test_bad_files_in_folders_below_are_named_by_their_place(tmp_path):
    from tests.support.small_rasters import positions, write_tiff

    for place in ("a", "b"):
        write_tiff(tmp_path / place / "f_2018001.tif", positions().astype(np.uint8))
    bad = tmp_path / "b" / "f_2018001.tif"
    bad.write_bytes(bad.read_bytes()[:200])
    channels = ({"name": "fpar", "valid_range": (0, 100)},)
    source = Rasters(Raster(folder=tmp_path, files=("{place}/f_%Y%j.tif",), channels=channels), 2018, "eight-day")
    inventory = take_inventory(Run(Config()), Observations(source, tmp_path, box(0, 35, 20, 50)), {})
    assert list(inventory.bad) == ["b/f_2018001.tif"]
    assert [scene.place for scene in inventory.scenes] == ["a"]


def test_granules_of_tiles_that_the_region_does_not_touch_are_not_even_opened(config):
    stray = config.granules / april(config).name.replace("h18v04", str(Tile(19, 4)))
    stray.write_bytes(b"spoilt")
    assert ingest(config).facts["bad_granules"] == {}


def test_an_outline_that_leaves_the_tiles_that_are_there_is_refused_with_what_is_missing(whole_year):
    outline = box(9.0, 45.0, 16.5, 45.4)  # into the next tile
    (whole_year.granules.parent / "outline.geojson").write_text(json.dumps(mapping(outline)))
    beyond = small_config(
        whole_year.granules.parent, whole_year.out, region__outline=whole_year.granules.parent / "outline.geojson"
    )
    with pytest.raises(UserError, match=r"46 of the 92 .*A2018001 h19v04.*max_missing_share"):
        ingest(beyond)
    assert not whole_year.cube.exists()

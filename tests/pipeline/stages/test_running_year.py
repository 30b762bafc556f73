"""A year that is still running: what is there of it is mapped with the model of a finished year."""

import shutil
from datetime import date

import pytest

from pipeline.base.calendar import LATENCY, AsOf, composite_dates, period_end, running_year
from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.cube import layout, stores
from pipeline.cube.clusters import maps_of
from pipeline.operations.plan.states import look_at_stages
from pipeline.operations.refresh import has_own_model, running_year_config
from pipeline.runtime.executor import InProcess
from pipeline.stages.infer.stage import infer
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.run import planned, run
from pipeline.stages.train.stage import train
from tests.support.small_country import objects, small_config

JUNE = date(2018, 6, 30)
NEWEST = 21  # number of the composite of 18 June, which ends on the 25th


def do(config):
    return {result.stage: result for result in run(config, InProcess(), Silent())}


@pytest.fixture
def early(country, finished, tmp_path):
    """2018 as of the end of June, beside the model of 2017, which here is that of the finished run."""
    config = small_config(
        country, tmp_path / "out", ingest__shard=16, ingest__chunk=8, ingest__as_of=JUNE, inference__model_year=2017
    )
    shutil.copytree(finished.model, config.model)
    return config


@pytest.mark.parametrize(
    ("day", "calendar", "end"),
    [
        (date(2018, 1, 3), "eight-day", date(2018, 1, 8)),
        (date(2018, 12, 27), "eight-day", date(2019, 1, 3)),
        (date(2020, 2, 25), "ten-day", date(2020, 2, 29)),
        (date(2019, 12, 31), "ten-day", date(2019, 12, 31)),
        (date(2019, 2, 1), "monthly", date(2019, 2, 28)),
        (date(2019, 12, 9), "monthly", date(2019, 12, 31)),
    ],
)
def test_a_period_ends_the_day_before_the_next_and_the_last_eight_days_run_into_the_next_year(day, calendar, end):
    assert period_end(day, calendar) == end


def test_composites_are_awaited_after_the_newest_until_they_are_long_over():
    days = composite_dates(2018).tolist()
    as_of = AsOf(JUNE, "eight-day")
    assert as_of.awaited(days, days[NEWEST]) == tuple(days[NEWEST + 1 :])
    # one that has ended more than 30 days ago will hardly come any more
    last_late = max(day for day in days if period_end(day, "eight-day") + LATENCY <= JUNE)
    assert as_of.awaited(days, days[2])[0] == days[days.index(last_late) + 1]
    assert as_of.awaited(days, None) == as_of.awaited(days, days[2])
    assert AsOf(None, "eight-day").awaited(days, days[2]) == ()
    assert [as_of.exists(day) for day in days[NEWEST : NEWEST + 2]] == [True, False]


def test_in_january_the_year_before_is_still_the_running_one():
    assert [running_year(date(2026, 1, 5)), running_year(date(2026, 2, 5))] == [2025, 2026]


def test_an_early_map_rests_on_what_is_there_and_says_so(early):
    results = do(early)
    assert "train" not in results
    cube = stores.open_to_read(early.cube)
    about = layout.attributes(cube)
    assert about["newest_composite"] == "2018-06-18"
    assert about["awaited_composites"][0] == "2018-06-26"
    assert len(about["awaited_composites"]) == 46 - NEWEST - 1
    assert about["missing_granules"] == []
    observed = layout.array(cube, "observed")[:]
    assert observed[: NEWEST + 1].any(axis=(1, 2)).all()
    assert not observed[NEWEST + 1 :].any()
    of_map = layout.attributes(stores.open_to_read(early.map))
    assert (of_map["model_year"], of_map["newest_composite"]) == (2017, "2018-06-18")
    assert of_map["title"].endswith("2018, composites to 2018-06-18")
    report = (early.report / "index.html").read_text()
    assert "The newest composite begins on 2018-06-18; 24 of 46 are not" in report
    assert "mapped with the model of 2017" in report
    assert "trained on another year" in report
    assert (early.products / "sitscube_small_2018_label.tif").exists()
    assert not early.clusters.exists()  # holds what is final
    assert [result.stage for result in do(early).values() if result.fresh] == []


def test_the_whole_year_is_then_mapped_as_if_there_had_been_no_early_map(early, finished):
    do(early)
    whole = early.model_copy(update={"ingest": early.ingest.model_copy(update={"as_of": None})})
    do(whole)
    assert objects(whole.map) == objects(finished.map)
    assert objects(whole.cube) == objects(finished.cube)
    assert list(maps_of(whole.clusters)) == [2018]
    assert "still running" not in (whole.report / "index.html").read_text()


def test_a_day_that_brings_no_composite_changes_nothing(early):
    do(early)
    later = early.model_copy(update={"ingest": early.ingest.model_copy(update={"as_of": date(2018, 7, 2)})})
    assert [result.stage for result in do(later).values() if result.fresh] == []


def test_a_date_that_is_missing_amid_the_others_is_missing_in_a_running_year_too(early, country, tmp_path):
    (tmp_path / "granules").mkdir()
    for path in (country / "granules").iterdir():
        if ".A2018081." not in path.name:
            (tmp_path / "granules" / path.name).symlink_to(path)
    section = early.ingest.model_copy(update={"granules": tmp_path / "granules"})
    ingest(early.model_copy(update={"ingest": section}))
    assert layout.attributes(stores.open_to_read(early.cube))["missing_granules"] == ["A2018081 h18v04"]


def test_half_a_year_without_a_day_is_refused_with_the_way_out(early, country, tmp_path):
    (tmp_path / "granules").mkdir()
    for path in sorted((country / "granules").iterdir())[:22]:
        (tmp_path / "granules" / path.name).symlink_to(path)
    section = early.ingest.model_copy(update={"granules": tmp_path / "granules", "as_of": None})
    with pytest.raises(UserError, match=r"24 of the 46 .*--as-of if the year is still running"):
        ingest(early.model_copy(update={"ingest": section}))


def test_the_model_of_another_year_is_never_trained_over(early):
    before = (early.model / "weights.safetensors").read_bytes()
    assert "train" not in planned(early)
    with pytest.raises(UserError, match="mapped with the model of 2017"):
        train(early)
    assert (early.model / "weights.safetensors").read_bytes() == before


def test_a_year_without_a_model_to_lend_is_named(early):
    do(early)
    section = early.inference.model_copy(update={"model_year": 2016})
    with pytest.raises(UserError, match=r"no trained model in .*2016"):
        infer(early.model_copy(update={"inference": section}))


def test_refreshing_takes_the_running_year_and_the_latest_model_before_it(early, finished):
    section = early.inference.model_copy(update={"model_year": None})
    given = early.model_copy(update={"inference": section})
    found = running_year_config(given, JUNE)
    assert (found.year, found.inference.model_year, found.ingest.as_of) == (2018, 2017, JUNE)
    assert running_year_config(given, date(2019, 1, 9)).year == 2018
    assert running_year_config(given, JUNE, year=2020, model_year=2019).inference.model_year == 2019
    with pytest.raises(UserError, match="no year before 2017 has a trained model"):
        running_year_config(given, JUNE, year=2017)
    assert not has_own_model(found)
    assert has_own_model(finished)


def test_a_plan_of_a_running_year_has_no_training_and_knows_what_is_done(early):
    do(early)
    found = look_at_stages(early, InProcess(), Silent())
    assert {stage: state.kind for stage, state in found.states.items()} == dict.fromkeys(planned(early), "done")

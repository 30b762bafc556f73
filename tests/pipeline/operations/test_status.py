"""The state of the outputs as cron or Nagios reads it, with the exit status of a plugin."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.locations import to_location
from pipeline.cli.commands import app
from pipeline.cube import stores
from pipeline.operations.status import inspect_outputs
from pipeline.stages.infer.stage import infer

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def out(finished, tmp_path):
    """Copy the outputs of the finished run, so that a test may change them."""
    return shutil.copytree(finished.out, tmp_path / "out")


def status(out, *options):
    done = CliRunner().invoke(app, ["status", "--out", str(out), *options])
    return done.exit_code, done.output


def summary_of(out):
    return out / "small" / "2018" / "summary.json"


def published(out):
    return datetime.fromisoformat(json.loads(summary_of(out).read_text())["publish"]["ended"])


def test_a_finished_year_is_ok_and_its_age_is_told(out):
    code, said = status(out, "--max-age-days", "1")
    assert code == 0
    first, second = said.splitlines()
    assert first.startswith("SITSCUBE OK - newest product: small 2018, 0.0 days old | age_days=0.0")
    assert first.endswith(";;1")
    assert second.startswith("small 2018  finished 20")


def test_a_product_that_is_too_old_is_critical(out):
    found = inspect_outputs(out, published(out) + 3 * DAY, max_age=2 * DAY, max_silence=HOUR)
    assert (found.level, found.age_days) == ("CRITICAL", 3.0)
    assert inspect_outputs(out, published(out) + 3 * DAY, max_age=4 * DAY, max_silence=HOUR).level == "OK"
    assert inspect_outputs(out, published(out) + 3000 * DAY, max_age=None, max_silence=HOUR).level == "OK"


def test_programs_are_told_in_json(out):
    code, said = status(out, "--json")
    told = json.loads(said)
    assert (code, told["level"], told["years"][0]["state"]) == (0, "OK", "finished")


def test_where_there_are_no_outputs_the_status_is_unknown(tmp_path):
    code, said = status(tmp_path / "nowhere")
    assert code == 3
    assert said.startswith("SITSCUBE UNKNOWN - ")
    assert json.loads(status(tmp_path, "--json")[1])["level"] == "UNKNOWN"


def test_a_map_that_is_not_published_yet_is_a_warning(out, finished):
    config = finished.model_copy(update={"out": out})
    os.remove(out / "small" / "2018" / "run.json")
    code, said = status(out)
    assert code == 1
    assert "small 2018: stopped after publish" in said
    shutil.rmtree(config.map)
    infer(config)
    assert status(out)[0] == 1


def test_shards_that_failed_are_critical(out):
    summary = json.loads(summary_of(out).read_text())
    summary["infer"] |= {"failed": {"0/0": "OSError"}, "ended": datetime.now(UTC).isoformat()}
    summary_of(out).write_text(json.dumps(summary))
    os.remove(out / "small" / "2018" / "run.json")
    code, said = status(out)
    assert code == 2
    assert "failed: 1 shards in infer" in said


HOLD = (
    "import sys, time; from pathlib import Path; from pipeline.base import locks\n"
    "with locks.hold(Path(sys.argv[1]), 'sitscube run --year 2018'):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


def test_a_run_at_work_is_told_with_its_holder_and_one_that_was_killed_is_not(out):
    year = out / "small" / "2018"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(year)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        code, said = status(out)
        assert code == 0
        assert f"running: sitscube run --year 2018 (process {process.pid} on " in said
        (silent,) = inspect_outputs(out, datetime.now(UTC) + 2 * HOUR, max_age=None, max_silence=HOUR).years
        assert (silent.state, silent.level) == ("silent", "WARNING")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert (year / locks.NAME).exists()
    assert status(out)[1].splitlines()[1].startswith("small 2018  finished")


def test_every_step_of_a_run_is_a_sign_of_life(tmp_path):
    with locks.hold(tmp_path, "a run"):
        os.utime(tmp_path / locks.NAME, (0, 0))
        locks.check()
        assert time.time() - (tmp_path / locks.NAME).stat().st_mtime < 60


def test_looking_disturbs_no_run_that_begins(out):
    with locks.hold(out / "small" / "2018", "a run"):
        assert status(out)[0] == 0
        with pytest.raises(UserError, match="a run"):
            locks.folder._take(out / "small" / "2018", "another", wait=False)


def test_outputs_at_a_url_are_looked_at_too(finished):
    place = to_location("memory://status/out")
    year = place / "small" / "2018"
    for path in finished.year_folder.rglob("*"):
        if path.is_file():
            target = year / path.relative_to(finished.year_folder).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (found,) = inspect_outputs(place, datetime.now(UTC), max_age=DAY, max_silence=HOUR).years
    assert (found.region, found.year, found.state) == ("small", 2018, "finished")
    with locks.hold(year, "a run"):
        (held,) = inspect_outputs(place, datetime.now(UTC), max_age=DAY, max_silence=HOUR).years
    assert held.state == "running"
    assert stores.find(year / "map.zarr") is not None


def test_one_region_is_looked_at_alone_where_it_is_named(out):
    shutil.copytree(out / "small", out / "other")
    assert len(inspect_outputs(out, datetime.now(UTC), max_age=DAY, max_silence=HOUR).years) == 2
    (alone,) = inspect_outputs(out, datetime.now(UTC), max_age=DAY, max_silence=HOUR, region="other").years
    assert alone.region == "other"
    assert status(out, "--region", "nowhere")[0] == 3


def test_a_store_that_cannot_be_looked_at_is_unknown(out, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no credentials")

    monkeypatch.setattr("pipeline.operations.status.inspect_outputs", fails)
    assert status(out) == (3, "SITSCUBE UNKNOWN - no credentials\n")

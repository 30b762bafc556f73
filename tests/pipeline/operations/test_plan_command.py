"""`sitscube plan` as a command, its probes, and what it writes."""

import json
import os
import subprocess
import sys
import tempfile

import pytest
from distributed import Client, LocalCluster

from model import JointClustering
from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.cli.plan import plan
from pipeline.cube import stores
from pipeline.operations.plan import times as plan_times
from pipeline.operations.plan.made_up import MadeUp, untrained
from pipeline.operations.plan.plan import make_plan
from pipeline.operations.plan.probe import Probed, median_shard, probe_infer
from pipeline.operations.plan.states import look_at_stages
from pipeline.operations.plan.table import duration
from pipeline.operations.plan.training_probe import Speed, probe_training, training_seconds
from pipeline.runtime.dask.executor import OnDask
from pipeline.runtime.executor import Capacity, InProcess
from pipeline.runtime.summary import read_summary
from pipeline.stages import prepare
from pipeline.stages.run import run_stage
from pipeline.stages.train.stage import make_estimator
from tests.support.small_country import stamps

SETTINGS = """
[region]
name = "small"
outline = '{country}/outline.geojson'
[ingest]
granules = '{country}/granules'
shard = 16
chunk = 8
[reference]
path = '{country}/reference.tif'
[training]
iterations = 30
warm_up = 60
batch_size = 200
target_interval = 10
w_gen = 0.0
"""


@pytest.fixture
def file(country, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SETTINGS.format(country=country))
    return path


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Make the folder of all temporary folders."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))  # torch may keep a cache of its own there
    return folder


def made_up(config):
    found = look_at_stages(config, InProcess(), Silent())
    return MadeUp(found.channels, config.year, config.ingest.calendar, found.grid)


def test_nothing_is_left_of_a_plan_but_the_file_that_is_asked_for(file, tmp_path, scratch, capsys):
    plan(year=2018, out=str(tmp_path / "out"), config_file=file, json_file=tmp_path / "plan.json")
    assert not (tmp_path / "out").exists()
    assert list(scratch.glob("sitscube*")) == []
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["possible"] is True
    stages = written["stages"]
    assert list(stages) == ["ingest", "prepare", "train", "infer", "evaluate", "publish"]
    assert stages["ingest"]["timed_by"] == "probe"
    assert stages["infer"]["timed_by"] == "probe on made-up series"
    assert stages["evaluate"]["seconds"] is None
    for stage in ("ingest", "prepare", "infer"):
        assert stages[stage]["seconds"] > 0
        assert stages[stage]["memory"] > 5e8
        assert sum(stages[stage]["disk"].values()) > 0
        assert len(stages[stage]["shards_to_do"]) == stages[stage]["shards"]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert not any("\x1b" in line for line in lines)


def test_the_command_ends_with_status_one_and_the_whole_list(file, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "plan", "--config", str(file), "--out", str(tmp_path / "out"), "--no-probe"],
        capture_output=True,
        text=True,
        env={**os.environ, "SITSCUBE_INGEST__GRANULES": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sitscube: this cannot be done as it is planned:\n  - ingest: ")
    assert "Traceback" not in done.stderr
    assert "cannot be done, see below" in done.stdout


def test_a_refused_plan_is_printed_and_then_an_error(file, tmp_path, capsys):
    with pytest.raises(UserError, match=r"cannot be done as it is planned:\n  - ingest: .*nowhere"):
        plan(year=2018, out=str(tmp_path / "out"), config_file=file, granules=tmp_path / "nowhere")
    assert "cannot be done, see below" in capsys.readouterr().out


def test_probes_read_the_real_cube_and_change_nothing(finished, scratch):
    before = stamps(finished.out)
    shards = made_up(finished)
    probed = probe_infer(InProcess(), finished, finished.cube, shards, shards.grid.shards[5], trained=True)
    assert probed.cells == prepare.count_cells(stores.open_to_read(finished.cube), "mask")[shards.grid.shards[5]]
    assert probed.seconds > 0
    assert stamps(finished.out) == before
    assert list(scratch.glob("sitscube*")) == []


def test_a_probe_that_fails_is_a_problem_and_leaves_nothing(config, scratch, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.cube.stores.write_shard", fail)
    found = make_plan(config, InProcess(), Silent())
    assert any("infer: a probe failed" in problem and "No space left" in problem for problem in found.problems)
    assert list(scratch.glob("sitscube*")) == []
    assert not config.out.exists()


def test_without_a_probe_the_last_run_is_what_there_is_to_go_by(config):
    for name in ("ingest", "prepare"):
        run_stage(name, config, InProcess(), Silent())
    again = config.model_copy(
        update={"preparation": config.preparation.model_copy(update={"min_observations": 5})}
    )  # fmt: skip
    times = {line.state.stage: line.time for line in make_plan(again, InProcess(), Silent(), probe=False).lines}
    assert times["prepare"].seconds == read_summary(config.year_folder)["prepare"]["seconds"]
    assert times["prepare"].timed_by == "last run"
    assert times["train"].seconds is None


def test_on_a_cluster_probes_run_on_its_workers(config):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found = make_plan(config, OnDask(client), Silent())
    assert found.problems == []
    assert found.where.threads == 2
    assert all(line.time.seconds for line in found.lines if line.state.stage in ("ingest", "prepare", "infer"))
    assert not config.out.exists()


def test_an_untrained_model_has_the_size_of_the_configured_one(finished):
    made, trained = untrained(finished, made_up(finished)), JointClustering.load(finished.model)
    shapes = [
        {name: tuple(values.shape) for name, values in one.model_.state_dict().items()} for one in (made, trained)
    ]
    assert shapes[0] == shapes[1]


def test_more_workers_share_the_work_and_not_more_than_there_are_shards():
    scaled = [
        plan_times._scaled(Probed(2.0, 100), 1000, 5, Capacity(threads=n), gpu=False, timed_by="probe").seconds
        for n in (1, 2, 5, 50)
    ]
    assert scaled == [20.0, 10.0, 4.0, 4.0]


def test_work_for_a_gpu_is_shared_by_the_gpu_workers_alone():
    where = Capacity(threads=8, gpu_workers=2)
    on_gpu, on_cpu = (
        plan_times._scaled(Probed(2.0, 100), 1000, 50, where, gpu=gpu, timed_by="probe").seconds
        for gpu in (True, False)
    )
    assert (on_gpu, on_cpu) == (10.0, 2.5)


def test_the_time_of_training_is_that_of_its_parts(config):
    parameters = make_estimator(config).get_params()
    speed = Speed(before=0.5, joint=2.0, series_per_second=100.0)
    # 60 steps of warm-up, 30 iterations, 30 / 10 + 2 updates of 400 series
    assert training_seconds(speed, parameters, 400, 400) == 60 * 0.5 + 30 * 2.0 + 5 * 4.0
    assert training_seconds(speed, parameters, 400, 1000) == 60 * 0.5 + 30 * 2.0 + 5 * 10.0
    paper = parameters | {"preset": "paper", "pretrain_epochs": 3}
    # an epoch goes through 4000 series, ten times those of the probe
    assert training_seconds(speed, paper, 4000, 100) == 3 * 0.5 * 10 + 30 * 2.0 + 5 * 1.0


@pytest.mark.parametrize("preset", ["paper", "robust"])
def test_every_part_of_training_is_timed(config, preset):
    parameters = make_estimator(config).get_params() | {"preset": preset, "w_gen": 0.1}
    speed = probe_training(InProcess(), parameters, 300, 46, 1)
    assert min(speed.before, speed.joint, speed.series_per_second) > 0


def test_the_shard_that_is_probed_is_the_median_of_those_with_cells(finished):
    shards = made_up(finished).grid.shards
    assert median_shard(dict(zip(shards, [0, 0, 0, 9, 1, 5, 0, 0, 0], strict=False))) == shards[5]
    assert median_shard(dict.fromkeys(shards, 0)) in shards


def test_durations_are_what_people_read():
    assert [duration(seconds) for seconds in (0.01, 59.4, 60, 3725)] == ["1 s", "59 s", "0:01:00", "1:02:05"]

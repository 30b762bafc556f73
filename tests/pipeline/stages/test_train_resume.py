"""Training as a stage: killed and started again, with cluster sizes over all cells, and within memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from model import JointClustering
from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.cube.series import mapped_series
from pipeline.stages.infer.stage import infer
from pipeline.stages.memory import check_sample, training_bytes
from pipeline.stages.train.progress import TrainingBar
from pipeline.stages.train.stage import state_folder, train
from tests.support.paths import ROOT
from tests.support.small_country import small_config

FILES = ["history.jsonl", "model.json", "sample.npz", "snapshots.safetensors", "training.json", "training.png",
         "weights.safetensors"]  # fmt: skip


class Recorder:
    """Keeps what a stage says, and how far its bars went."""

    def __init__(self):
        self.said, self.steps, self.notes, self.total = [], 0, [], 0

    def message(self, text):
        self.said.append(text)

    @contextmanager
    def track(self, name, total, pixels=None):
        self.steps, self.total = 0, total
        yield self

    def advance(self, steps=1, note="", pixels=0):
        self.steps += steps
        self.notes.append(note)


@pytest.fixture
def prepared(finished, tmp_path):
    """A configuration with the finished cube in an output folder of the test's own, and no model."""

    def make(**changes):
        config = small_config(
            finished.region.outline.parent, tmp_path, **({"ingest__shard": 16, "ingest__chunk": 8} | changes)
        )
        config.year_folder.mkdir(parents=True, exist_ok=True)
        if not config.cube.exists():
            config.cube.symlink_to(finished.cube)
        return config

    return make


def assert_same_model(one: Path, other: Path):
    for name in ("weights.safetensors", "model.json", "history.jsonl", "snapshots.safetensors", "sample.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


SCRIPT = (
    "import sys; from pathlib import Path; from model.training import state\n"
    "from tests.support.small_country import small_config; from pipeline.stages.train.stage import train\n"
    "write = state.TrainingFolder.write\n"
    "def told(self, state): write(self, state); print('kept', flush=True)\n"
    "state.TrainingFolder.write = told\n"
    "config = small_config(Path(sys.argv[1]), Path(sys.argv[2]), ingest__shard=16, ingest__chunk=8)\n"
    "train(config)\n"
)


def kill_after(config, states):
    """Train in a process that is killed with SIGKILL once it has kept so many states."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(config.region.outline.parent), str(config.out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    assert process.stdout is not None
    for _ in range(states):
        assert process.stdout.readline() == b"kept\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_training_goes_on_at_its_last_target_update_and_ends_with_the_same_bytes(finished, prepared):
    config, reporter = prepared(), Recorder()
    kill_after(config, 2)
    assert not config.model.exists()
    lines = (state_folder(config) / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["phase"] == "joint"
    assert train(config, reporter=reporter).fresh
    assert [said for said in reporter.said if "goes on" in said] == ["training goes on at iteration 10"]
    assert reporter.steps == reporter.total == 60 + 30
    assert_same_model(config.model, finished.model)
    assert not state_folder(config).exists()
    assert not train(config).fresh


def test_the_state_of_a_training_with_other_settings_is_discarded_and_said_to_be(prepared, monkeypatch):
    config = prepared()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.train.stage.save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert state_folder(config).exists()
    other, reporter = prepared(training__w_gen=0.1, training__iterations=10), Recorder()
    assert train(other, reporter=reporter).fresh
    assert any("is discarded" in said and str(state_folder(config)) in said for said in reporter.said)
    assert not any("goes on" in said for said in reporter.said)


def stop(*arguments):
    raise KeyboardInterrupt


def test_a_kill_before_the_model_is_written_costs_no_iteration(finished, prepared, monkeypatch):
    config, reporter = prepared(), Recorder()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.train.stage.save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    train(config, reporter=reporter)
    assert "training goes on at iteration 30" in reporter.said
    assert_same_model(config.model, finished.model)


def test_a_damaged_state_is_named_with_the_way_out(prepared, monkeypatch):
    config = prepared()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.train.stage.save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    (tensors,) = state_folder(config).glob("state-*/tensors.safetensors")
    tensors.write_bytes(b"nothing")
    with pytest.raises(UserError, match=rf"tensors\.safetensors is damaged.*remove {state_folder(config)}"):
        train(config)


def test_a_model_folder_knows_its_dates_its_channels_and_its_cells(finished):
    assert sorted(path.name for path in finished.model.iterdir()) == FILES
    about = json.loads((finished.model / "model.json").read_text())["about"]
    assert about["calendar"] == "eight-day"
    assert about["day_of_year"] == list(range(1, 362, 8))
    assert (about["channels"], about["years"]) == (["fpar"], [2018])
    assert set(about) == {"calendar", "day_of_year", "channels", "years", "sitscube"}
    with np.load(finished.model / "sample.npz", allow_pickle=False) as cells:
        row, column = cells["row"], cells["column"]
    assert (layout.array(stores.open_to_read(finished.cube), "train_mask")[:][row, column] == 1).all()
    snapshots = JointClustering.load(finished.model).history_["snapshots"]
    assert snapshots["iterations"].tolist() == [0, 10, 20, 30]
    assert snapshots["rows"].max() < len(row)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("n_times", 36, "n_times is 36, expected 46"),
        ("calendar", "ten-day", "calendar is 'ten-day', expected 'eight-day'"),
        ("channels", ["ndvi"], r"channels is \['ndvi'\], expected \['fpar'\]"),
        ("day_of_year", [1], "day_of_year is"),
        ("about", {}, "calendar is not said"),
    ],
)
def test_a_model_for_another_cube_is_refused_before_anything_is_written(finished, prepared, key, value, named):
    config = prepared()
    shutil.copytree(finished.model, config.model)
    text = json.loads((config.model / "model.json").read_text())
    if key == "n_times":
        text["cluster_profiles"] = [curve[:36] for curve in text["cluster_profiles"]]
        text["cluster_peaks"] = [min(peak, 35) for peak in text["cluster_peaks"]]
    (text["about"] if key in text["about"] else text)[key] = value
    (config.model / "model.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match=named) as refused:
        infer(config)
    assert str(config.model) in str(refused.value)
    assert "sitscube train" in str(refused.value)
    assert not config.map.exists()


def test_cluster_sizes_over_all_cells_are_those_of_the_country(prepared):
    def last_state(config, patch):
        patch.setattr("pipeline.stages.train.stage.save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)
        (state,) = state_folder(config).glob("state-*")
        return json.loads((state / "state.json").read_text())["numbers"]

    options = {"training__sample_pixels": 400, "training__iterations": 10}
    with pytest.MonkeyPatch.context() as patch:
        sample = last_state(prepared(**options), patch)
        config = prepared(**options, training__target="all")
        country = last_state(config, patch)
    assert sum(sample["cluster_sizes"]) == pytest.approx(400, rel=1e-4)
    assert sum(country["cluster_sizes"]) == pytest.approx(1687, rel=1e-4)
    assert sum(country["updates"][-1]["cluster_sizes"]) == 400
    train(config)
    everything = (slice(0, None), slice(0, None))
    series, _ = mapped_series(stores.open_to_read(config.cube), everything, "train_mask")
    proba = JointClustering.load(config.model).predict_proba(series)
    np.testing.assert_allclose(sorted(proba.sum(0)), sorted(country["cluster_sizes"]), rtol=1e-3)


def test_training_stops_early_where_so_few_labels_change(prepared):
    result = train(prepared(training__tol=1.0, training__iterations=200))
    assert result.facts["iterations"] == 20


def test_a_sample_that_memory_would_not_hold_is_refused_with_one_that_it_would(prepared):
    config = prepared()
    limit = training_bytes(1_000_000, 46, 1, 200)
    check_sample(config, 1_000_000, 46, 1, limit)
    with pytest.raises(UserError, match=r"5,000,000 cells .*training\.sample_pixels = 1000000 "):
        check_sample(config, 5_000_000, 46, 1, limit)
    with pytest.raises(UserError, match="any sample"):
        check_sample(config, 5_000_000, 46, 1, 1_000_000)
    check_sample(config, 5_000_000, 46, 1, training_bytes(5_000_000, 46, 1, 200))


def test_memory_is_checked_before_anything_is_read(prepared, monkeypatch):
    monkeypatch.setattr("pipeline.stages.memory.memory_limit", lambda: 1)
    monkeypatch.setattr("pipeline.stages.train.stage.sample_series", stop)
    config = prepared()
    with pytest.raises(UserError, match="needs about"):
        train(config)
    assert not state_folder(config).exists()


def test_the_bar_shows_the_phase_and_the_losses_within_its_width():
    recorder = Recorder()
    bar = TrainingBar(recorder, recorder, 3)
    losses = {"rec": 0.123, "pre": 0.0456, "clu": 7.89e-5, "dis": 1.0, "gen": -12.0}
    for step, mse in ((1, 0.5), (2, 12345.0), (1, 0.25), (2, 0.1), (3, 1e-7)):
        bar({"phase": "pretrain", "step": step, "total": 3, "losses": {"mse": mse}})
    assert recorder.steps == 3
    bar({"phase": "joint", "step": 10, "total": 20, "losses": losses})
    assert recorder.steps == 13
    assert recorder.notes[0] == "pretrain: mse .5"
    assert recorder.notes[4] == "pretrain: mse 1e-7"
    assert recorder.notes[-1] == "rec .12 pre .046 clu 8e-5"
    for value in (0.0123, 0.00999, 0.999, 1.0, 99.4, 99.9, 100.0, 999.0, 1e5, 1e-9, 0.0):
        bar({"phase": "joint", "step": 11, "total": 20, "losses": dict.fromkeys(losses, value)})
        assert len(recorder.notes[-1]) <= 26
    other = Recorder()
    bar = TrainingBar(other, other, 3)
    bar({"phase": "joint", "step": 10, "total": 20, "losses": {}, "resumed": True})
    assert (other.steps, other.said) == (13, ["training goes on at iteration 10"])

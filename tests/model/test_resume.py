"""A training that was killed goes on from its last target update, to the same bits."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model import JointClustering
from model.training import progress as progress_module
from model.training import safeguards
from model.training import state as training_state
from model.training.fit import fit_model
from model.training.history import history_lines
from model.training.trained import Trained
from tests.support.paths import ROOT

SMALL = {
    "n_iter": 11, "target_interval": 3, "batch_size": 16, "pretrain_epochs": 2, "adversarial_interval": 2,
    "random_state": 4, "device": "cpu",
}  # fmt: skip


class Killed(Exception):
    """Stands in for the end of the process."""


def data(n_series=40, n_times=7, n_channels=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n_series, n_times, n_channels, generator=rng)
    m = torch.rand(x.shape, generator=rng) < 0.6
    m[:, 0] = True
    return torch.where(m, x, 0), m


def parameters(**changes):
    return JointClustering(**(SMALL | changes)).training_parameters()


def fit(folder, progress=lambda report: None, series=None, population=None, **changes) -> Trained:
    return fit_model(*(series or data()), parameters(**changes), progress, checkpoint=folder, population=population)


def assert_same(one: Trained, other: Trained):
    weights, expected = one.model.state_dict(), other.model.state_dict()
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.n_iter == other.n_iter
    for part in ("pretraining", "updates", "events"):
        assert one.history[part] == other.history[part]
    for name, values in one.history["snapshots"].items():
        np.testing.assert_array_equal(values, other.history["snapshots"][name])


def killed_at(step, phase="joint"):
    def progress(report):
        if (report["phase"], report["step"]) == (phase, step) and "resumed" not in report:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def undisturbed():
    return fit(None)


@pytest.mark.parametrize("changes", [{}, {"w_gen": 0.0, "target_memory": "frozen"}])
def test_ended_at_any_iteration_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(progress_module, "REPORT_EVERY", 1)
    expected = fit(None, **changes)
    for step in range(1, 12):
        folder = tmp_path / str(step)
        with pytest.raises(Killed):
            fit(folder, killed_at(step), **changes)
        seen = []
        assert_same(fit(folder, seen.append, **changes), expected)
        first = seen[0]
        assert (first["phase"], first["step"], first["resumed"]) == ("joint", (step - 1) // 3 * 3, True)


def test_ended_in_every_interval_and_in_pretraining_too(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setattr(progress_module, "REPORT_EVERY", 1)
    for progress in (killed_at(2, "pretrain"), killed_at(2), killed_at(5), killed_at(6), killed_at(8), killed_at(11)):
        with pytest.raises(Killed):
            fit(tmp_path / "state", progress)
    assert_same(fit(tmp_path / "state"), undisturbed)


def test_keeping_the_state_changes_nothing_and_a_finished_training_is_not_done_again(tmp_path, undisturbed):
    assert_same(fit(tmp_path / "state"), undisturbed)
    seen = []
    assert_same(fit(tmp_path / "state", seen.append), undisturbed)
    assert [report["step"] for report in seen] == [11]


def test_returns_to_the_best_state_survive_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "REPORT_EVERY", 1)
    monkeypatch.setattr(safeguards, "DIVERGED", 0.999)  # whatever does not get better counts as diverged
    options = {"learning_rate": 0.3, "clip_norm": 0.0, "n_iter": 14}
    expected = fit(None, **options)
    assert sum(event["event"] == "prediction loss diverged" for event in expected.history["events"]) >= 2
    for step in (5, 8, 11, 14):
        with pytest.raises(Killed):
            fit(tmp_path / "state", killed_at(step), **options)
    assert_same(fit(tmp_path / "state", **options), expected)


@pytest.mark.parametrize("operation", ["write", "rename", "remove"])
def test_an_end_in_the_middle_of_keeping_a_state_leaves_the_old_or_the_new_one(
    tmp_path, monkeypatch, undisturbed, operation
):
    """The k-th file operation of its kind happens by half or not at all, for every k that there is."""
    for fatal in range(1, 50):
        left = [fatal]

        def dies(done, *arguments, left=left):
            left[0] -= 1
            if left[0] == 0:
                done(*arguments, half=True)
                raise Killed
            return done(*arguments)

        write, rename, remove = training_state.write_through, Path.rename, training_state.shutil.rmtree

        def half_write(file, content, half=False, write=write):
            write(file, content[: len(content) // 2] if half else content)

        def half_rename(path, target, half=False, rename=rename):
            return path if half else rename(path, target)

        def half_remove(path, *more, half=False, remove=remove):
            if half and Path(path).is_dir():
                next(Path(path).iterdir()).unlink()
            elif not half:
                remove(path, *more)

        with monkeypatch.context() as patch:
            if operation == "write":
                patch.setattr(training_state, "write_through", lambda *a: dies(half_write, *a))
            elif operation == "rename":
                patch.setattr(Path, "rename", lambda *a: dies(half_rename, *a))
            else:
                patch.setattr(training_state.shutil, "rmtree", lambda p, **_: dies(half_remove, p, True))
            try:
                fit(tmp_path / str(fatal))
            except Killed:
                pass
            else:
                break
        assert_same(fit(tmp_path / str(fatal)), undisturbed)
    assert fatal > 4


@pytest.mark.parametrize(
    ("waits", "least"),
    [((6,), 3), pytest.param((1, 6, 5, 4), 6, marks=pytest.mark.slow)],
    ids=["once", "again and again"],
)
def test_a_process_that_is_killed_ends_with_the_same_bits(tmp_path, undisturbed, waits, least):
    """Each is killed after so many reports: two of pre-training, or one of where it goes on, then one an iteration."""
    script = (
        "import sys; from model.training import progress; progress.REPORT_EVERY = 1\n"
        "from tests.model.test_resume import fit\n"
        "fit(__import__('pathlib').Path(sys.argv[1]), lambda report: print(report['step'], flush=True))\n"
    )
    folder = tmp_path / "state"
    for wait in waits:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        assert process.stdout is not None
        for _ in range(wait):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    seen = []
    assert_same(fit(folder, seen.append), undisturbed)
    assert seen[0]["resumed"]
    assert seen[0]["step"] >= least


def test_a_training_without_a_seed_goes_on_with_the_random_numbers_that_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "REPORT_EVERY", 1)
    with pytest.raises(Killed):
        fit(tmp_path / "state", killed_at(8), random_state=None)
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    assert_same(*(fit(tmp_path / name, random_state=None) for name in ("state", "copy")))


def test_more_iterations_go_on_from_the_end(tmp_path):
    fit(tmp_path / "state", n_iter=6)
    seen = []
    assert_same(fit(tmp_path / "state", seen.append, n_iter=12), fit(None, n_iter=12))
    assert seen[0]["step"] == 6


def test_a_training_that_stopped_early_stays_stopped(tmp_path):
    options = {"tol": 1.0, "learning_rate": 1e-9}
    first = fit(tmp_path / "state", **options)
    assert first.n_iter == 6
    assert_same(fit(tmp_path / "state", **options), first)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"series": data(seed=1)}, r"data was '.*', now '"),
        ({"series": data(n_series=39)}, "n_series was 40, now 39"),
        ({"series": data(n_times=8)}, "n_times was 7, now 8"),
        ({"series": data(n_channels=1)}, "n_channels was 2, now 1"),
        ({"learning_rate": 0.02}, r"parameter learning_rate was 0\.01, now 0\.02; remove"),
        ({"w_gen": 0.0, "batch_size": 8}, r"batch_size was 16, now 8, parameter w_gen was 1\.0, now 0\.0"),
        ({"n_iter": 8}, "at iteration 11, beyond n_iter=8: raise n_iter"),
        ({"population": lambda: [data()]}, "population was False, now True"),
    ],
)
def test_a_state_of_another_training_is_refused(tmp_path, changes, named):
    fit(tmp_path / "state")
    with pytest.raises(ValueError, match=named) as refused:
        fit(tmp_path / "state", **changes)
    assert str(tmp_path / "state") in str(refused.value)


def test_the_device_may_be_another(tmp_path):
    fit(tmp_path / "state")
    assert fit(tmp_path / "state", device="auto").n_iter == 11


def test_another_population_is_refused(tmp_path):
    fit(tmp_path / "state", population=lambda: [data(90)], n_iter=6)
    with pytest.raises(ValueError, match="population is another one"):
        fit(tmp_path / "state", population=lambda: [data(70)])


def test_a_file_in_the_place_of_the_folder_is_refused_before_training(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(ValueError, match="state is no folder"):
        fit(tmp_path / "state")


def test_a_damaged_state_is_refused_by_name(tmp_path):
    folder = tmp_path / "state"
    fit(folder)
    (state,) = folder.glob("state-*")
    for name in ("tensors.safetensors", "state.json"):
        file = state / name
        content = file.read_bytes()
        flipped = bytes([content[len(content) // 2] ^ 1])
        damages = [content[:-40], b"", None]
        if name == "tensors.safetensors":
            damages.append(content[: len(content) // 2] + flipped + content[len(content) // 2 + 1 :])
        for damage in damages:
            if damage is None:
                file.unlink()
            else:
                file.write_bytes(damage)
            with pytest.raises(ValueError, match=f"{name} is damaged"):
                fit(folder)
        file.write_bytes(content)
    numbers = json.loads((state / "state.json").read_text())
    (state / "state.json").write_text(json.dumps({**numbers, "format_version": 99}))
    with pytest.raises(ValueError, match=r"99\); this version reads"):
        fit(folder)
    (state / "state.json").write_text(json.dumps({**numbers, "numbers": {}}))
    with pytest.raises(ValueError, match=r"state\.json is damaged"):
        fit(folder)


def test_the_history_can_be_followed_and_is_whole_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "REPORT_EVERY", 1)
    folder, followed = tmp_path / "state", []

    def follow(report):
        if report["phase"] == "joint":
            followed.append((folder / "history.jsonl").read_text())
        if report["step"] == 8:
            raise Killed

    with pytest.raises(Killed):
        fit(folder, follow)
    for earlier, later in itertools.pairwise(followed):
        assert later.startswith(earlier)
    assert [json.loads(line).get("iteration") for line in followed[-1].splitlines()] == [None, None, 0, 3, 6]
    with (folder / "history.jsonl").open("a") as stream:
        stream.write('{"phase": "jo')
    finished = fit(folder)
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert lines == history_lines(finished.history)
    assert [line["phase"] for line in lines] == ["pretrain"] * 2 + ["joint"] * 5


def test_only_the_last_state_is_kept(tmp_path):
    fit(tmp_path / "state")
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["history.jsonl", "state-000000011"]

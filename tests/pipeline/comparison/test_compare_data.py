import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from pipeline.base.errors import UserError
from pipeline.cli.commands import main
from pipeline.comparison import methods as comparison_methods
from pipeline.comparison.data import read_labelled
from tests.support.fake_methods import FITS, early_and_late, fake


def sitscube(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Run the command in this process: exit status, and all that it said."""
    monkeypatch.setattr(sys, "argv", ["sitscube", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


@pytest.fixture
def fakes(monkeypatch):
    FITS.clear()
    methods = {key: fake(key) for key in ("fake", "diverges")}
    monkeypatch.setattr(comparison_methods, "METHODS", comparison_methods.METHODS | methods)
    return FITS


@pytest.fixture
def file(tmp_path):
    X, y = early_and_late()
    np.savez(tmp_path / "series.npz", X=X, y=y)
    return tmp_path / "series.npz"


def test_rows_of_a_known_method_are_exact(fakes, file, tmp_path, monkeypatch, capsys):
    job = ("compare", "--data", file, "--seeds", 3, "--json", tmp_path / "rows.json", "--methods", "fake")
    code, said = sitscube(monkeypatch, capsys, *job, "--iterations", 7)
    assert code == 0, said
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["method"], row["seed"]) for row in rows] == [("fake", 0), ("fake", 1), ("fake", 2)]
    assert [row["accuracy"] for row in rows] == pytest.approx([1, 19 / 20, 18 / 20])
    assert rows[0]["ari"] == rows[0]["nmi"] == 1
    assert rows[1]["ari"] == pytest.approx(0.8, abs=0.01)
    assert rows[1]["class_accuracy"] == {"0": 0.9, "1": 1.0}
    assert [row["n_iter"] for row in rows] == [7, 7, 7]
    assert all(row["seconds"] >= 0 and row["error"] is None and row["left_out"] == 0 for row in rows)
    # the fake fills by its seed what is 0 or 10: the errors follow from how many hidden cells are 10
    cells = rows[0]["imputation"]["all"]["cells"]
    tens = round(rows[0]["mae"] * cells / 10)
    assert rows[0]["rmse"] == pytest.approx((100 * tens / cells) ** 0.5)
    assert all(row["rmse"] is row["mae"] is row["imputation"] is None for row in rows[1:])
    assert "| the fake fake | 3 | 95.00 | 5.00 | 10.00 |" in said
    assert not (tmp_path / "out").exists()


def test_a_network_is_trained_again_to_fill_what_is_hidden_unless_nothing_is(fakes, file, monkeypatch, capsys):
    job = ("compare", "--data", file, "--seeds", 1, "--methods", "fake,kmeans-mean")
    assert sitscube(monkeypatch, capsys, *job)[0] == 0
    assert fakes == [("fake", 0, 20), ("fake", 0, 20)]
    fakes.clear()
    code, said = sitscube(monkeypatch, capsys, *job, "--hide", 0)
    assert code == 0
    assert fakes == [("fake", 0, 20)]
    assert "hidden" not in said


def test_out_holds_tables_and_the_second_run_does_nothing(fakes, file, tmp_path, monkeypatch, capsys):
    job = ("compare", "--data", file, "--seeds", 2, "--methods", "fake,kmeans-linear", "--out", tmp_path / "out")
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 0, said
    folder = tmp_path / "out" / "series" / "comparison"
    names = {"table.md", "summary.csv", "imputation.csv", "runs.csv", "runs.json", "fillings.json", "runs.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (folder / "summary.csv").open() as stream:
        fake_row, kmeans_row = csv.DictReader(stream)
    assert (fake_row["data"], fake_row["method"], fake_row["accuracy"]) == ("series.npz", "fake", "0.975")
    assert float(fake_row["accuracy_std"]) == pytest.approx(0.05 / 2**0.5)
    assert float(fake_row["class_accuracy_0"]) == pytest.approx(0.95)
    assert kmeans_row["name"] == "k-means, filled linearly"
    with (folder / "imputation.csv").open() as stream:
        assert [row["filling"] for row in csv.DictReader(stream)] == ["mean", "linear", "harmonic", "the fake fake"]
    fakes.clear()
    assert sitscube(monkeypatch, capsys, *job)[0] == 0
    assert fakes == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written


@pytest.mark.parametrize("change", ["data", "iterations", "hide", "seeds"])
def test_what_a_row_depends_on_is_done_again_when_it_changes(fakes, file, tmp_path, monkeypatch, capsys, change):
    job = ["compare", "--data", file, "--seeds", 1, "--methods", "fake", "--out", tmp_path / "out"]
    sitscube(monkeypatch, capsys, *job)
    fakes.clear()
    if change == "data":
        X, y = early_and_late()
        np.savez(file, X=X + 1, y=y)
    else:
        job += {"iterations": ["--iterations", 9], "hide": ["--hide", 0.2], "seeds": ["--seeds", 2]}[change]
    assert sitscube(monkeypatch, capsys, *job)[0] == 0
    # the second training is that which fills; further seeds have none
    assert fakes == ([("fake", 1, 20)] if change == "seeds" else [("fake", 0, 20)] * 2)


def test_a_method_that_fails_is_a_row_and_stops_no_other(fakes, file, tmp_path, monkeypatch, capsys):
    job = ("compare", "--data", file, "--seeds", 2, "--methods", "diverges,fake", "--json", tmp_path / "rows.json")
    code, said = sitscube(monkeypatch, capsys, *job, "--out", tmp_path / "out")
    assert code == 1
    assert "1 of 4 fits failed" in said
    assert "the fake diverges, seed 1: TrainingDiverged: nothing helped" in said
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["error"] for row in rows] == [None, "TrainingDiverged: nothing helped", None, None]
    assert (tmp_path / "out" / "series" / "comparison" / "table.md").exists()
    fakes.clear()
    assert sitscube(monkeypatch, capsys, *job, "--out", tmp_path / "out")[0] == 1
    assert fakes == [("diverges", 1, 20)]  # only what failed is tried again


def test_more_clusters_than_classes_count_what_is_left_over_as_wrong(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    X = np.repeat(np.array([[0.0] * 6, [5.0] * 6, [10.0] * 6]), 10, axis=0) + rng.normal(0, 0.1, (30, 6))
    np.savez(tmp_path / "three.npz", X=X, y=["low"] * 20 + ["high"] * 10)
    job = ("compare", "--data", tmp_path / "three.npz", "--seeds", 1, "--methods", "kmeans-mean", "--hide", 0)
    assert sitscube(monkeypatch, capsys, *job, "--clusters", 3, "--json", tmp_path / "rows.json")[0] == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["accuracy"] == pytest.approx(20 / 30)
    assert row["class_accuracy"] == {"high": 1.0, "low": 0.5}


@pytest.mark.parametrize(
    ("dtype", "n_channels", "labels"),
    [("float64", 0, "int"), ("float32", 2, "text"), ("int16", 0, "float"), ("float16", 1, "bool"), (">f8", 1, "bytes")],
)
def test_numbers_of_any_kind_and_classes_of_any_name_are_read(tmp_path, dtype, n_channels, labels):
    X, y = early_and_late()
    X = np.nan_to_num(X) if dtype == "int16" else X
    X = np.stack([X] * n_channels, axis=-1) if n_channels else X
    given = {"int": y - 3, "text": np.array(["wheat", "maize"])[y], "float": y.astype(float), "bool": y == 1}
    given["bytes"] = given["text"].astype("S")
    np.savez_compressed(tmp_path / "a.npz", X=X.astype(dtype), y=given[labels])
    read = read_labelled(tmp_path / "a.npz")
    assert read.series.shape == (20, 8, max(1, n_channels))
    assert read.series.dtype == np.float32
    expected = {
        "bytes": ("maize", "wheat"),
        "int": ("-3", "-2"),
        "text": ("maize", "wheat"),
        "float": ("0", "1"),
        "bool": ("False", "True"),
    }
    assert read.names == expected[labels]
    np.testing.assert_array_equal(read.classes, 1 - y if labels in ("text", "bytes") else y)


@pytest.mark.parametrize(
    ("given", "names"),
    [((b"\xfe", b"\xff"), ("\\xfe", "\\xff")), (("a\nb", "\x1b[31mred"), ("\\x1b[31mred", "a\\nb"))],
)
def test_class_names_that_cannot_be_printed_are_escaped_and_stay_apart(tmp_path, given, names):
    X, y = early_and_late()
    np.savez(tmp_path / "a.npz", X=X, y=np.array(given)[y])
    assert read_labelled(tmp_path / "a.npz").names == names


def test_series_without_any_observation_are_left_out_and_counted(file, tmp_path, monkeypatch, capsys):
    X, y = early_and_late()
    X[[3, 7]] = np.nan
    np.savez(file, X=X, y=y)
    read = read_labelled(file)
    assert (len(read.series), read.left_out) == (18, 2)
    np.testing.assert_array_equal(read.classes, np.delete(y, [3, 7]))
    job = ("compare", "--data", file, "--seeds", 1, "--methods", "kmeans-mean", "--json", tmp_path / "rows.json")
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 0
    assert "left out: 2 series" in said
    assert json.loads((tmp_path / "rows.json").read_text())[0]["left_out"] == 2


def _with(value, place=(4, 2)):
    X, y = early_and_late()
    X[place] = value
    return {"X": X, "y": y}


X, Y = early_and_late()
BAD = {
    "missing key": ({"X": X, "labels": Y}, "holds X, labels, but no array 'y'"),
    "empty file": ({}, "holds nothing, but no array 'X'"),
    "objects": ({"X": X.astype(object), "y": Y}, "plain numbers"),
    "object classes": ({"X": X, "y": np.array([None] * 20)}, "plain numbers"),
    "lengths": ({"X": X, "y": Y[:-1]}, "X has 20 series but y 19"),
    "one dimension": ({"X": X[0], "y": Y}, "shape (8,)"),
    "four dimensions": ({"X": X[..., None, None], "y": Y}, "shape (20, 8, 1, 1)"),
    "no dates": ({"X": X[:, :0], "y": Y}, "shape (20, 0)"),
    "text": ({"X": X.astype(str), "y": Y}, "dtype <U"),
    "complex": ({"X": X.astype(complex), "y": Y}, "dtype complex128"),
    "infinite": (_with(-np.inf), "X[4, 2] is -inf"),
    "too large": (_with(1e300), "X[4, 2] is 1e+300"),
    "all missing": ({"X": X * np.nan, "y": Y}, "no observation at all"),
    "empty channel": ({"X": np.stack([X, X * np.nan], axis=-1), "y": Y}, "channel 1 of X has no observation"),
    "one class": ({"X": X, "y": np.zeros(20, int)}, "only the class 0"),
    "fractions": ({"X": X, "y": Y + 0.5}, "y[0] is 0.5, which is no class"),
    "missing classes": ({"X": X, "y": np.where(Y == 1, np.nan, 0)}, "y[1] is nan, which is no class"),
    "beyond whole numbers": ({"X": X, "y": Y * 1e300}, "y[1] is 1e+300, which is no class"),
    "classes in columns": ({"X": X, "y": np.eye(2)[Y]}, "y has shape (20, 2)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_one_message_that_names_it(case, tmp_path, monkeypatch, capsys):
    arrays, named = BAD[case]
    np.savez(tmp_path / "bad.npz", **arrays)
    code, said = sitscube(monkeypatch, capsys, "compare", "--data", tmp_path / "bad.npz")
    assert code == 1
    assert str(tmp_path / "bad.npz") in said
    assert named in said
    assert "Traceback" not in said


def test_what_is_no_npz_file_is_named(file, tmp_path):
    whole = file.read_bytes()
    (tmp_path / "text.npz").write_text("X,y\n1,2\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "single.npy", X)
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("X.npy", b"no array")
        archive.writestr("y.npy", b"\x93NUMPY\x01\x00garbage")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 100), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as archive:  # more than any memory holds
        archive.writestr("X.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        archive.writestr("y.npy", b"")
    (tmp_path / "folder.npz").mkdir()
    for name in ("text.npz", "empty.npz", "cut.npz", "single.npy", "other.npz", "claims.npz", "folder.npz", "none.npz"):
        with pytest.raises(UserError, match=name):
            read_labelled(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--methods", "dbscan"), "'dbscan': choose from joint"),
        (("--years", "2018"), "exclude each other"),
        (("--clusters", "21"), "20 series are too few for 21 clusters"),
        (("--json", "{tmp}"), "is a folder"),
        (("--json", "{tmp}/series.npz/rows.json"), "cannot write"),
        (("--out", "{tmp}/series.npz"), "cannot write"),
        (("--sample-pixels", "5", "--workers", "2"), "--sample-pixels, --workers: nothing to do with --data"),
        (("--config", "{tmp}/none.toml"), "none.toml"),
    ],
)
def test_options_that_cannot_be_used_are_one_message(file, tmp_path, monkeypatch, capsys, arguments, named):
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    code, said = sitscube(monkeypatch, capsys, "compare", "--data", file, *filled)
    assert code == 1
    assert named in said
    assert "Traceback" not in said
    assert "accuracy" not in said  # before anything is trained


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_of_its_own_is_not_replaced_by_rows(file, tmp_path, monkeypatch, capsys, kind):
    place = tmp_path / "place"
    os.mkfifo(place) if kind == "pipe" else place.symlink_to(file)
    before = place.lstat()
    code, said = sitscube(monkeypatch, capsys, "compare", "--data", file, "--json", place)
    assert code == 1
    assert f"{place} is a folder, a link or a device" in said
    assert place.lstat() == before


def test_what_was_read_is_said_with_its_range(file, tmp_path, monkeypatch, capsys):
    X, y = early_and_late()
    X[4, 7] = -9999
    np.savez(file, X=X, y=y)
    _, said = sitscube(monkeypatch, capsys, "compare", "--data", file, "--methods", "kmeans-mean", "--seeds", 1)
    assert "series.npz: 20 series, 8 dates, 1 channel, 12.5 % missing" in said
    assert "observed values: channel 0 from -9999 to 10" in said


def test_a_damaged_log_is_named(fakes, file, tmp_path, monkeypatch, capsys):
    log = tmp_path / "out" / "series" / "comparison" / "runs.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"fingerprint": "a"}\n[1]\n')
    job = ("compare", "--data", file, "--methods", "fake", "--out", tmp_path / "out")
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 1
    assert f"{log} is damaged" in said


def test_a_comparison_that_is_killed_goes_on_where_it_was(file, tmp_path, monkeypatch, capsys):
    """Kill it once the first fits are on disk; the next run keeps them and does the others."""
    log = tmp_path / "out" / "series" / "comparison" / "runs.jsonl"
    monkeypatch.setenv("SITSCUBE_TRAINING__PRETRAIN_EPOCHS", "5")
    job = ["compare", "--data", file, "--out", tmp_path / "out", "--methods", "kmeans-mean,joint-w0", "--seeds", 2]
    job += ["--hide", 0, "--iterations"]
    command = [sys.executable, "-m", "pipeline", *map(str, job)]
    process = subprocess.Popen([*command, "1000000"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) == 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = log.read_text().splitlines()
    assert [json.loads(line)["method"] for line in before] == ["kmeans-mean", "kmeans-mean"]
    code, said = sitscube(monkeypatch, capsys, *job, 10)
    assert code == 0, said
    after = log.read_text().splitlines()
    assert after[:2] == before
    assert [json.loads(line)["method"] for line in after[2:]] == ["joint-w0", "joint-w0"]
    assert "k-means, filled by the mean, seed" not in said
    assert "joint, no discriminator, seed 1: accuracy" in said

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from model import CRLI, JointClustering, MeanDEC

SMALL = {"n_iter": 3, "pretrain_epochs": 2, "batch_size": 16, "random_state": 0}
ABOUT = {"calendar": "eight-day", "day_of_year": (1, 9, 17), "channels": ["fpar"], "sitscube": "0.1.0"}
X = np.random.default_rng(0).random((30, 8)).astype(np.float32)
X[::3, 2] = np.nan


@pytest.fixture(scope="module")
def fitted():
    return JointClustering(**SMALL).fit(X)


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model", about=ABOUT)
    return tmp_path / "model"


def same_history(one, other):
    snapshots, others = (history.get("snapshots", {}) for history in (one, other))
    assert set(snapshots) == set(others)
    for name, array in snapshots.items():
        assert array.dtype == others[name].dtype, name
        np.testing.assert_array_equal(array, others[name])
    assert {**one, "snapshots": None} == {**other, "snapshots": None}


@pytest.mark.parametrize(
    "estimator",
    [
        JointClustering(**SMALL, w_gen=0.5),
        JointClustering(3, **SMALL, preset="stable", target_memory="frozen"),
        MeanDEC(**SMALL),
        CRLI(n_iter=3, latent_size=3, random_state=np.int64(0)),
    ],
)
@pytest.mark.parametrize("shape", [(30, 8), (20, 4, 3)])
def test_a_loaded_model_gives_the_same_results_and_attributes(estimator, shape, tmp_path):
    given = np.random.default_rng(1).random(shape).astype(np.float32)
    given[::3, 2] = np.nan
    fitted = estimator.fit(given)
    fitted.save(tmp_path / "model")
    loaded = type(fitted).load(tmp_path / "model", device="cpu")
    for one, other in zip(loaded.infer(given), fitted.infer(given), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(loaded.transform(given), fitted.transform(given))
    assert loaded.get_params() == fitted.get_params() | {"device": "cpu"}
    same_history(loaded.history_, fitted.history_)
    for name in ("n_iter_", "n_times_", "n_channels_", "n_features_in_", "scaler_"):
        assert getattr(loaded, name) == getattr(fitted, name), name
    np.testing.assert_array_equal(loaded.cluster_peaks_, fitted.cluster_peaks_)
    np.testing.assert_array_equal(loaded.cluster_profiles_, fitted.cluster_profiles_)
    assert loaded.about_ == fitted.about_ == {}


def test_the_directory_holds_three_files_and_nothing_else_is_left(saved):
    assert sorted(file.name for file in saved.iterdir()) == [
        "model.json",
        "snapshots.safetensors",
        "weights.safetensors",
    ]
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_what_the_caller_says_about_a_model_is_found_again_and_survives_another_saving(saved, tmp_path):
    loaded = JointClustering.load(saved)
    assert loaded.about_ == ABOUT | {"day_of_year": [1, 9, 17]}
    loaded.save(tmp_path / "again")
    assert JointClustering.load(tmp_path / "again").about_ == loaded.about_
    loaded.save(tmp_path / "again", about={})
    assert JointClustering.load(tmp_path / "again").about_ == {}


@pytest.mark.parametrize("about", [{"when": np.float32(1)}, {"x": float("nan")}, {"x": {1, 2}}, {(1, 2): 3}])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(fitted, tmp_path, about):
    with pytest.raises(ValueError, match="about must hold nothing but what JSON does"):
        fitted.save(tmp_path / "model", about=about)
    assert not list(tmp_path.iterdir())


def test_a_model_that_fits_what_is_expected_is_loaded(saved):
    expect = {"n_times": 8, "n_channels": 1, "day_of_year": (1, 9, 17), "channels": ["fpar"]}
    assert JointClustering.load(saved, expect=expect).n_times_ == 8


def test_every_difference_from_what_is_expected_is_named(saved):
    expect = {"n_times": 46, "n_channels": 1, "calendar": "dekads", "channels": ("ndvi",), "region": "italy"}
    with pytest.raises(ValueError, match=r"model\.json does not fit") as error:
        JointClustering.load(saved, expect=expect)
    for part in (
        "n_times is 8, expected 46",
        "calendar is 'eight-day', expected 'dekads'",
        "channels is ['fpar'], expected ['ndvi']",
        "region is not said, expected 'italy'",
        "train one",
    ):
        assert part in str(error.value)
    assert "n_channels" not in str(error.value)


def test_a_model_of_another_method_is_named(saved, tmp_path):
    with pytest.raises(ValueError, match=r"is a saved JointClustering, not a CRLI: load it by JointClustering\.load"):
        CRLI.load(saved)
    MeanDEC(**SMALL).fit(X).save(tmp_path / "mean")
    with pytest.raises(ValueError, match=r"is a saved MeanDEC, not a JointClustering: load it by MeanDEC\.load"):
        JointClustering.load(tmp_path / "mean")


def test_a_random_state_that_has_moved_on_is_not_saved(tmp_path):
    MeanDEC(**SMALL | {"random_state": np.random.RandomState(0)}).fit(X).save(tmp_path / "m")
    assert MeanDEC.load(tmp_path / "m").random_state is None


def test_names_of_columns_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"day {i}" for i in range(8)])
    MeanDEC(**SMALL).fit(frame).save(tmp_path / "m")
    loaded = MeanDEC.load(tmp_path / "m")
    assert list(loaded.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"day 0": "another"}))


def test_equal_models_are_saved_as_equal_bytes(saved, tmp_path):
    JointClustering(**SMALL).fit(X).save(tmp_path / "again", about=ABOUT)
    for name in ("model.json", "weights.safetensors", "snapshots.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_saving_replaces_a_model_and_nothing_else(saved, tmp_path):
    other = JointClustering(**SMALL | {"random_state": 1}).fit(X)
    other.save(saved)
    np.testing.assert_array_equal(JointClustering.load(saved).cluster_centers_, other.cluster_centers_)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years of it")
    with pytest.raises(ValueError, match="not a saved model"):
        other.save(tmp_path / "work")
    assert (tmp_path / "work" / "thesis.txt").read_text() == "years of it"


def test_without_adversarial_term_no_discriminator_is_saved(tmp_path):
    JointClustering(**SMALL, w_gen=0.0).fit(X).save(tmp_path / "m")
    assert not [name for name in load_file(tmp_path / "m" / "weights.safetensors") if "discriminator" in name]
    assert JointClustering.load(tmp_path / "m").predict(X).shape == (30,)


def edit(saved, change):
    description = json.loads((saved / "model.json").read_text())
    change(description)
    (saved / "model.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format_version=1), "1.*this version reads.*train the model again"),
        (lambda d: d.update(format="pickle"), "'pickle'"),
        (lambda d: d.update(estimator=["x"]), "saved .'x'., not a JointClustering"),
        (lambda d: d.pop("scaler"), "not a complete model description.*'scaler' is missing"),
        (lambda d: d.pop("about"), "'about' is missing"),
        (lambda d: d.pop("snapshots"), "'snapshots' is missing"),
        (lambda d: d.update(parameters=[1]), "not a complete model description"),
        (lambda d: d["parameters"].pop("random_state"), None),
        (lambda d: d["parameters"].update(colour="red"), "colour"),
        (lambda d: d["parameters"].update(device="cpu"), "device"),
        (lambda d: d["parameters"].update(n_clusters=0), "n_clusters is 0"),
        (lambda d: d["parameters"].update(n_clusters=3), r"cluster_profiles has shape \(2, 8, 1\)"),
        (lambda d: d["parameters"].update(n_clusters=10**12), "cluster_profiles has shape"),
        (lambda d: d["parameters"].update(embedding_size=4), r"tensor '.*' is .*; model\.json asks for"),
        (lambda d: d["parameters"].update(embedding_size=10**12), "embedding_size 1000000000000; .* numbers in all"),
        (lambda d: d["parameters"].update(hidden_size=10**5), "hidden_size 100000; .* numbers in all"),
        (lambda d: d["parameters"].update(w_gen=0.0), "does not ask for: discriminator"),
        (lambda d: d["parameters"].update(w_rec=10**400), "w_rec is 1000"),
        (lambda d: d["parameters"].update(random_state=10**400), "random_state is 1000"),
        (lambda d: d.update(n_times=9), r"cluster_profiles has shape \(2, 8, 1\).*\(2, 9, 1\)"),
        (lambda d: d.update(n_times=10**12), "cluster_profiles has shape"),
        (lambda d: d.update(n_times=8.0), "n_times is 8.0"),
        (lambda d: d.update(n_channels=True), "n_channels is True"),
        (lambda d: d.update(n_iter=-1), "n_iter is -1"),
        (lambda d: d["scaler"].update(minimum=[0.0, 1.0]), r"minimum has shape \(2,\)"),
        (lambda d: d["scaler"].update(minimum=["0"]), "minimum has shape"),
        (lambda d: d["scaler"].update(minimum=[7.0]), "is above its maximum"),
        (lambda d: d["scaler"].update(maximum=[10**400]), "maximum"),
        (lambda d: d.update(cluster_peaks=[0, 8]), "are not among 8 dates"),
        (lambda d: d.update(cluster_peaks=[0.5, 1.5]), "cluster_peaks has shape"),
        (lambda d: d.update(cluster_profiles=[[1], [2, 3]]), "not a complete model description"),
        (lambda d: d["cluster_profiles"][0][0].__setitem__(0, 1e300), "cluster_profiles holds numbers"),
        (lambda d: d.update(history=[]), "history must hold"),
        (lambda d: d["history"].update(updates=None), "history must hold"),
        (lambda d: d["history"].update(updates=[1]), "must be JSON objects"),
        (lambda d: d.update(snapshots="yes"), "snapshots is 'yes'"),
        (lambda d: d.update(about=[]), "about must be a JSON object"),
        (lambda d: d.update(feature_names=["a"]), "feature_names must be 8 strings"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, change, message):
    edit(saved, change)
    if message is None:  # a parameter that is not said has its default
        assert JointClustering.load(saved).random_state is None
        return
    with pytest.raises(ValueError, match=message) as error:
        JointClustering.load(saved)
    assert str(saved) in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"format": ' + b'{"a":' * 100_000,
        b'{"n_iter": ' + b"9" * 100_000 + b"}",
        b'{"format": NaN}',
        b'{"format": 1e999}',
    ],
)
def test_text_that_is_no_description_is_refused(saved, text):
    (saved / "model.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"model\.json (is not JSON|has \(format, version\))"):
        JointClustering.load(saved)


def test_numbers_of_the_weights_that_are_not_finite_are_refused(saved):
    weights = load_file(saved / "weights.safetensors")
    weights["centres"][1, 2] = torch.nan
    save_file(weights, saved / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights\.safetensors: tensor 'centres' holds numbers that are not finite"):
        JointClustering.load(saved)


@pytest.mark.parametrize("name", ["weights.safetensors", "snapshots.safetensors", "model.json"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(saved, name, share):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=name):
        JointClustering.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("rows"), "holds curve_rows, curves, embedding, iterations; expected"),
        (lambda a: a.update(more=a["rows"]), "holds .*more"),
        (lambda a: a.update(rows=a["rows"][1:]), "'embedding' is torch.float32"),
        (lambda a: a.update(curves=a["curves"][:, :, 1:].copy()), "'curves' is torch.float32"),
        (lambda a: a.update(rows=a["rows"].astype(np.int32)), "'rows' is torch.int32"),
        (lambda a: a.update(iterations=np.array(3)), "'iterations' is"),
    ],
)
def test_snapshots_that_do_not_fit_are_refused(saved, change, message):
    arrays = load_arrays(saved / "snapshots.safetensors")
    change(arrays)
    save_arrays(arrays, saved / "snapshots.safetensors")
    with pytest.raises(ValueError, match=rf"snapshots\.safetensors.*{message}"):
        JointClustering.load(saved)


def test_random_damage_to_a_description_is_refused_or_harmless(saved):
    rng = np.random.default_rng(0)
    content = (saved / "model.json").read_bytes()
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        (saved / "model.json").write_bytes(bytes(damaged))
        try:
            JointClustering.load(saved)
        except ValueError as error:
            assert str(saved) in str(error)  # noqa: PT017 -- anything but a ValueError fails the test by itself
            refused += 1
    assert refused > 30


def test_missing_and_broken_weights_are_refused(saved):
    weights = load_file(saved / "weights.safetensors")
    centres = weights.pop("centres")
    save_file(weights, saved / "weights.safetensors")
    with pytest.raises(ValueError, match="lacks the tensor 'centres'"):
        JointClustering.load(saved)
    save_file(weights | {"centres": centres.double()}, saved / "weights.safetensors")
    with pytest.raises(ValueError, match=r"'centres' is torch\.float64"):
        JointClustering.load(saved)
    (saved / "weights.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="cannot be read"):
        JointClustering.load(saved)
    (saved / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        JointClustering.load(saved)


def test_a_path_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.*does not exist"):
        JointClustering.load(tmp_path / "nowhere")
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        JointClustering.load(tmp_path)

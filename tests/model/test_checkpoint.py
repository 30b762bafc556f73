import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from model import JointClustering

SMALL = {"n_iter": 3, "pretrain_epochs": 2, "batch_size": 16, "random_state": 0}
X = np.random.default_rng(0).random((30, 8)).astype(np.float32)
X[::3, 2] = np.nan


@pytest.fixture(scope="module")
def fitted():
    return JointClustering(**SMALL).fit(X)


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_loaded_model_gives_the_same_results_and_attributes(fitted, saved):
    loaded = JointClustering.load(saved, device="cpu")
    for one, other in zip(loaded.infer(X), fitted.infer(X), strict=True):
        np.testing.assert_array_equal(one, other)
    parameters = fitted.get_params()
    parameters["device"] = "cpu"
    assert loaded.get_params() == parameters
    assert loaded.history_ == fitted.history_
    assert (loaded.n_iter_, loaded.n_times_, loaded.n_channels_) == (3, 8, 1)
    assert loaded.scaler_ == fitted.scaler_
    np.testing.assert_array_equal(loaded.cluster_peaks_, fitted.cluster_peaks_)
    np.testing.assert_array_equal(loaded.cluster_profiles_, fitted.cluster_profiles_)


def test_the_directory_holds_two_files_and_nothing_else_is_left(saved):
    assert sorted(file.name for file in saved.iterdir()) == ["model.json", "weights.safetensors"]
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_equal_models_are_saved_as_equal_bytes(saved, tmp_path):
    JointClustering(**SMALL).fit(X).save(tmp_path / "again")
    for name in ("model.json", "weights.safetensors"):
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
        (lambda d: d.update(format_version=99), "99.*this version reads"),
        (lambda d: d.update(format="pickle"), "'pickle'"),
        (lambda d: d.pop("scaler"), "not a complete model description.*scaler"),
        (lambda d: d["parameters"].update(colour="red"), "colour"),
        (lambda d: d["parameters"].update(n_clusters=0), "n_clusters is 0"),
        (lambda d: d["parameters"].update(n_clusters=3), r"'centres' is .*\(2, 5\); model.json asks for .*\(3, 5\)"),
        (lambda d: d["parameters"].update(w_gen=0.0), "does not ask for: discriminator"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, change, message):
    edit(saved, change)
    with pytest.raises(ValueError, match=message):
        JointClustering.load(saved)


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

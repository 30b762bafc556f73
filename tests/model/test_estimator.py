"""What the estimator promises to those who use it on arrays."""

import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from model import JointClustering, MeanDEC


def two_seasons(n_series=400, n_times=46, seed=0):
    """Bell-shaped seasons, early (class 0) and late (class 1), with gaps that pile up in winter and come in runs."""
    rng = np.random.default_rng(seed)
    dates = np.arange(n_times)
    season = rng.integers(0, 2, n_series)
    peak = (np.where(season == 0, 16, 28) + rng.normal(0, 2, n_series)) * n_times / 46
    width = rng.uniform(3.5, 6, n_series) * n_times / 46
    curve = np.exp(-0.5 * ((dates - peak[:, None]) / width[:, None]) ** 2)
    values = rng.uniform(10, 30, (n_series, 1)) + rng.uniform(35, 65, (n_series, 1)) * curve
    gap = rng.random((n_series, n_times)) < 0.25 + 0.5 * np.cos(2 * np.pi * dates / n_times).clip(0)
    gap |= np.roll(gap & (rng.random(gap.shape) < 0.3), 1, axis=1)
    X = np.where(gap, np.nan, values + rng.normal(0, 3, values.shape)).astype(np.float32)
    return X, season


SMALL = {"n_iter": 6, "target_interval": 4, "pretrain_epochs": 3, "batch_size": 32, "random_state": 1, "device": "cpu"}


def plain(history):
    """History with lists in the place of arrays, so that two can be compared."""
    snapshots = {name: array.tolist() for name, array in history["snapshots"].items()}
    return {**history, "snapshots": snapshots}


@pytest.fixture(scope="module")
def fitted():
    X, _ = two_seasons(80, 12)
    X[5] = np.nan
    return JointClustering(**SMALL).fit(X), X


def test_seasons_under_winter_gaps_are_recovered_and_numbered_by_their_peak():
    X, season = two_seasons()
    assert np.isnan(X[:, :8]).mean() > 0.6
    model = JointClustering(n_iter=280, w_gen=0.0, random_state=0, device="cpu").fit(X)
    assert np.mean(model.labels_ == season) >= 0.97
    early, late = model.cluster_peaks_
    assert 13 <= early <= 19
    assert 25 <= late <= 31
    fresh, fresh_season = two_seasons(seed=1)
    assert np.mean(model.predict(fresh) == fresh_season) >= 0.97


def test_gaps_are_filled_better_than_by_the_mean():
    X, _ = two_seasons(seed=2)
    rng = np.random.default_rng(0)
    hidden = ~np.isnan(X) & (rng.random(X.shape) < 0.1)
    training = np.where(hidden, np.nan, X)
    filled = JointClustering(n_iter=280, w_gen=0.0, random_state=0, device="cpu").fit(training).impute(training)
    by_mean = np.broadcast_to(np.nanmean(training, 1, keepdims=True), X.shape)
    error = np.abs(filled - X)[hidden].mean()
    assert error < 0.6 * np.abs(by_mean - X)[hidden].mean()


def test_one_pass_agrees_with_the_separate_methods(fitted):
    model, X = fitted
    result = model.infer(X)
    np.testing.assert_array_equal(result.labels, model.predict(X))
    np.testing.assert_array_equal(result.labels, model.labels_)
    np.testing.assert_array_equal(result.proba, model.predict_proba(X))
    np.testing.assert_array_equal(result.filled[:, :, 0], model.impute(X))
    usable = result.labels >= 0
    np.testing.assert_array_equal(result.labels[usable], result.proba[usable].argmax(1))
    np.testing.assert_allclose(result.proba[usable].sum(1), 1, rtol=1e-6)
    assert result.labels.dtype == np.int64
    assert (result.proba.dtype, result.filled.dtype, result.spread.dtype) == (np.float32,) * 3
    assert result.filled.shape == result.spread.shape == (80, 12, 1)
    assert (result.spread[usable] >= 0).all()
    assert model.transform(X).shape == (80, 5)
    assert model.impute(X[:, :, None]).shape == (80, 12, 1)


def test_spread_is_the_disagreement_of_the_two_directions_in_data_units(fitted):
    model, X = fitted
    scaled = torch.from_numpy(model.scaler_.transform(X[:3, :, None]))
    with torch.no_grad():
        forward, backward = model.model_.generator.estimates(scaled, ~torch.isnan(scaled))
    expected = (forward - backward).abs().numpy() * (np.nanmax(X) - np.nanmin(X))
    np.testing.assert_allclose(model.infer(X[:3]).spread, expected, rtol=1e-4, atol=1e-4)


def test_probabilities_follow_from_the_embedding_and_the_stored_centres(fitted):
    model, X = fitted
    z = model.transform(X[:5]).astype(np.float64)
    kernel = 1 / (1 + ((z[:, None] - model.cluster_centers_) ** 2).sum(-1))
    np.testing.assert_allclose(model.predict_proba(X[:5]), kernel / kernel.sum(1, keepdims=True), rtol=1e-5)


def test_observed_cells_come_back_bit_for_bit_and_gaps_finite(fitted):
    model, X = fitted
    filled = model.impute(X)
    observed = ~np.isnan(X)
    assert (filled[observed].view(np.int32) == X[observed].view(np.int32)).all()
    usable = observed.any(1)
    assert np.isfinite(filled[usable]).all()


def test_a_series_without_observation_has_no_label_and_no_influence(fitted):
    model, X = fitted
    result = model.infer(X)
    assert result.labels[5] == model.labels_[5] == -1
    assert (np.delete(result.labels, 5) >= 0).all()
    for values in (result.proba[5], result.filled[5], result.spread[5], model.transform(X)[5]):
        assert np.isnan(values).all()
    without = JointClustering(**SMALL).fit(np.delete(X, 5, axis=0))
    np.testing.assert_array_equal(without.cluster_centers_, model.cluster_centers_)


@pytest.mark.parametrize("batch_size", [1, 7, 33, 1000])
def test_results_do_not_depend_on_how_series_are_cut_into_batches(fitted, batch_size):
    model, X = fitted
    whole, parts = model.infer(X), model.infer(X, batch_size=batch_size)
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_allclose(parts.proba, whole.proba, rtol=0, atol=1e-6)
    np.testing.assert_allclose(parts.filled, whole.filled, rtol=0, atol=1e-6 * np.nanmax(X))
    np.testing.assert_array_equal(model.predict(X[7:9]), whole.labels[7:9])


def test_same_seed_same_weights_bit_for_bit_and_global_random_numbers_untouched(fitted):
    model, X = fitted
    torch.manual_seed(9)
    np.random.seed(9)
    expected = torch.rand(2), np.random.random(2)
    torch.manual_seed(9)
    np.random.seed(9)
    again = clone(model).fit(X)
    assert torch.equal(torch.rand(2), expected[0])
    assert (np.random.random(2) == expected[1]).all()
    for (name, one), other in zip(model.model_.state_dict().items(), again.model_.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert plain(again.history_) == plain(model.history_)
    different = clone(model).set_params(random_state=2).fit(X)
    assert not torch.equal(different.model_.centres, model.model_.centres)


def test_units_of_the_data_do_not_matter():
    X, _ = two_seasons(60, 12)
    plain, scaled = JointClustering(**SMALL).fit(X), JointClustering(**SMALL).fit(X * 4 - 8)
    np.testing.assert_array_equal(scaled.labels_, plain.labels_)
    np.testing.assert_allclose(scaled.impute(X * 4 - 8), plain.impute(X) * 4 - 8, rtol=1e-3, atol=1e-2)


def test_channels_and_any_number_of_dates_and_clusters():
    X = np.stack([two_seasons(50, 9, seed)[0] for seed in (0, 1)], axis=2)
    model = JointClustering(3, **SMALL).fit(X)
    assert model.predict_proba(X).shape == (50, 3)
    assert model.impute(X).shape == X.shape
    assert model.cluster_profiles_.shape == (3, 9, 2)
    assert (np.diff(model.cluster_peaks_) >= 0).all()
    one = JointClustering(1, **SMALL).fit(X[:, :, 0])
    assert set(one.labels_) == {0}


def test_labels_sizes_profiles_and_centres_share_one_order():
    X, _ = two_seasons(200, 12)
    model = JointClustering(4, **SMALL | {"random_state": 0, "pretrain_epochs": 20}).fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    sizes = np.bincount(model.labels_, minlength=4)
    assert model.history_["updates"][-1]["cluster_sizes"] == sizes.tolist()
    assert len(set(sizes)) > 2
    assert (np.diff(model.cluster_peaks_) >= 0).all()
    for k in np.flatnonzero(sizes):
        members = X[model.labels_ == k]
        often = (~np.isnan(members)).mean(0) > 0.05
        curve = np.nanmean(members[:, often], axis=0)
        np.testing.assert_allclose(model.cluster_profiles_[k, often, 0], curve, rtol=1e-5)


def test_training_starts_from_the_mean_of_the_observed_values():
    X, _ = two_seasons(60, 12)
    model = JointClustering(**SMALL | {"n_iter": 1, "w_gen": 0.0, "learning_rate": 1e-12}).fit(X)
    expected = np.nanmean(model.scaler_.transform(X[:, :, None]))
    np.testing.assert_allclose(model.model_.generator.bias_imp.detach().flatten(), expected, rtol=1e-5)


def test_constant_series_and_single_observations_can_be_trained_on():
    X = np.full((40, 10), 7, np.float32)
    X[::2, 1:] = np.nan
    model = JointClustering(1, **SMALL).fit(X)
    assert np.isfinite(model.impute(X)).all()


def test_history_tells_what_happened_and_is_json(fitted):
    model, _ = fitted
    history = {name: part for name, part in model.history_.items() if name != "snapshots"}
    assert json.loads(json.dumps(history, allow_nan=False)) == history
    assert len(history["pretraining"]["losses"]) == 3
    assert [update["iteration"] for update in history["updates"]] == [0, 4, 6]
    assert (
        history["updates"][-1]["cluster_sizes"] == np.bincount(model.labels_[model.labels_ >= 0], minlength=2).tolist()
    )
    assert model.n_iter_ == 6


def test_progress_is_reported_for_both_phases():
    X, _ = two_seasons(40, 8)
    seen = []
    JointClustering(**SMALL | {"n_iter": 20}).fit(X, progress=seen.append)
    assert [(r["phase"], r["step"], r["total"]) for r in seen] == [
        *(("pretrain", i, 3) for i in (1, 2, 3)),
        *(("joint", i, 20) for i in (10, 20)),
    ]
    assert set(seen[-1]["losses"]) == {"rec", "pre", "clu", "dis", "gen"}


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 3}, {"embedding_size": 2}, {"pretrain_learning_rate": 0.05}, {"learning_rate": 0.02},
     {"preset": "stable"}, {"pretrain_epochs": 5}, {"batch_size": 16}, {"target_interval": 2}],
)  # fmt: skip
def test_parameters_change_the_result(fitted, changes):
    model, X = fitted
    other = clone(model).set_params(**changes).fit(X)
    assert not np.array_equal(other.predict_proba(X), model.predict_proba(X), equal_nan=True)


def test_scikit_learn_manners():
    model = JointClustering(3, tol=0.25)
    assert model.get_params()["tol"] == 0.25
    assert clone(model).n_clusters == 3
    assert model.set_params(w_gen=0.0).w_gen == 0.0
    X, _ = two_seasons(40, 8)
    np.testing.assert_array_equal(JointClustering(**SMALL).fit_predict(X), JointClustering(**SMALL).fit(X).labels_)
    np.testing.assert_array_equal(
        JointClustering(**SMALL).fit_transform(X), JointClustering(**SMALL).fit(X).transform(X)
    )
    for method in (model.predict, model.transform, model.impute, model.predict_proba, model.infer, model.save):
        with pytest.raises(NotFittedError, match="call fit"):
            method(np.zeros((2, 4)))
    with pytest.raises(NotFittedError):
        _ = model.cluster_centers_


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(4), "Expected 2D array, got 1D array"),
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.zeros((4, 0)), r"0 feature.*shape=\(4, 0\)"),
        (np.array([["a", "b"]]), "dtype"),
        (np.array([[0.0, 1.0], [2.0, np.inf]]), r"X\[1, 1\] is inf"),
        (np.array([[0.0, 1.0], [-np.inf, 3.0]]), r"X\[1, 0\] is -inf"),
        (np.array([[0.0, 1e300], [2.0, 3.0]]), r"X\[0, 1\] is 1e\+300"),
        (np.array([[0.0, 1.0], [np.nan, np.nan]]), "n_samples=1 series with an observation, fewer than n_clusters=2"),
        (np.stack([np.ones((3, 4)), np.full((3, 4), np.nan)], 2), "channel 1 of X has no observation"),
    ],
)
def test_data_that_cannot_be_used_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        JointClustering(**SMALL).fit(X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "best"}, "preset is 'best'.*'paper', 'stable'"),
        ({"adversarial": "hinge"}, "adversarial is 'hinge'"),
        ({"discriminator_input": "x"}, "discriminator_input is 'x'"),
        ({"target_memory": "disk"}, "target_memory is 'disk'"),
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"n_iter": 2.5}, "n_iter is 2.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"w_gen": -1.0}, "w_gen is -1.0"),
        ({"clip_norm": float("nan")}, "clip_norm is nan"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": "one"}, "random_state is 'one'"),
        ({"w_rec": 10**400}, "w_rec is 1000"),
        ({"tol": True}, "tol is True"),
        ({"device": None}, "device is None"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"device": "meta"}, "device is 'meta'"),
    ],
)
def test_parameters_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        JointClustering(**SMALL | changes).fit(np.random.default_rng(0).random((10, 4)))


def test_other_dates_or_channels_than_those_trained_on_are_refused(fitted):
    model, _ = fitted
    with pytest.raises(ValueError, match="X has 13 features, but JointClustering is expecting 12 features"):
        model.predict(np.zeros((2, 13)))
    with pytest.raises(ValueError, match="X has 2 channels; this model was trained on 1"):
        model.predict(np.zeros((2, 12, 2)))
    with pytest.raises(ValueError, match="batch_size is 0"):
        model.infer(np.zeros((2, 12)), batch_size=0)


def test_no_series_give_no_results(fitted):
    model, X = fitted
    assert model.predict(X[:0]).shape == (0,)
    assert model.impute(X[:0]).shape == (0, 12)


def test_a_training_that_fails_leaves_nothing_half_learned():
    def stop(report):
        raise KeyboardInterrupt

    model = JointClustering(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        model.fit(two_seasons(40, 8)[0], progress=stop)
    with pytest.raises(NotFittedError):
        model.predict(np.zeros((2, 8)))


def test_a_training_that_fails_leaves_a_trained_model_as_it_was(fitted):
    _, X = fitted
    model = JointClustering(**SMALL).fit(X)
    before = model.predict(X)
    with pytest.raises(ValueError, match="fewer than n_clusters"):
        model.fit(X[:1, :5])
    np.testing.assert_array_equal(model.predict(X), before)


def test_watched_series_are_told_by_their_rows_in_x_and_in_data_units(fitted):
    model, X = fitted
    snapshots = model.history_["snapshots"]
    assert (snapshots["iterations"][0], snapshots["iterations"][-1]) == (0, 6)
    assert 5 not in snapshots["rows"]  # it has no observation
    assert sorted(snapshots["rows"]) == [row for row in range(80) if row != 5]
    np.testing.assert_allclose(snapshots["embedding"][-1], model.transform(X[snapshots["rows"]]), rtol=1e-5, atol=1e-6)
    filled = model.infer(X[snapshots["curve_rows"]]).filled
    gap = np.isnan(X[snapshots["curve_rows"]])[:, :, None]
    np.testing.assert_allclose(snapshots["curves"][-1][gap], filled[gap], rtol=1e-5, atol=1e-4)


def test_cluster_sizes_of_the_target_are_summed_over_the_population(fitted):
    _, X = fitted
    model = JointClustering(**SMALL | {"n_iter": 40, "pretrain_epochs": 30, "learning_rate": 0.05, "w_gen": 0.0}).fit(X)
    same = clone(model).fit(X, population=lambda: iter([X[:7], X[7:]]))
    np.testing.assert_allclose(same.cluster_centers_, model.cluster_centers_, rtol=1e-3, atol=1e-4)
    skewed = X[model.labels_ == 0]
    other = clone(model).fit(X, population=lambda: iter([skewed, skewed[:0], np.full((1, 12), np.nan)]))
    assert np.abs(other.cluster_centers_ - model.cluster_centers_).max() > 0.01
    with pytest.raises(ValueError, match=r"part of the population has shape \(80, 11\); X has 12 dates, 1 channels"):
        JointClustering(**SMALL).fit(X, population=lambda: iter([X[:, 1:]]))
    with pytest.raises(ValueError, match="population must be a function"):
        JointClustering(**SMALL).fit(X, population=[X])


@pytest.mark.parametrize(
    "estimator",
    [JointClustering(**SMALL, w_gen=0.1), MeanDEC(**SMALL), JointClustering(**SMALL, target_memory="frozen")],
)
def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(fitted, tmp_path, estimator):
    _, X = fitted
    total = estimator.n_iter

    def stop(report):
        if report["phase"] == "joint" and report["step"] == total:
            raise KeyboardInterrupt

    folder = tmp_path / "training"
    with pytest.raises(KeyboardInterrupt):
        clone(estimator).fit(X, progress=stop, checkpoint=folder)
    seen = []
    resumed = clone(estimator).fit(X, progress=seen.append, checkpoint=str(folder))
    assert len(seen) < 8
    whole = clone(estimator).fit(X)
    for (name, one), other in zip(whole.model_.state_dict().items(), resumed.model_.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert resumed.history_["updates"] == whole.history_["updates"]
    with pytest.raises(ValueError, match="another training"):
        clone(estimator).fit(X[:50], checkpoint=folder)

"""scikit-learn's own checks of estimators, and data of the smallest and largest sizes promised."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from model import CRLI, JointClustering, MeanDEC

QUICK = [
    JointClustering(n_iter=3, pretrain_epochs=4, device="cpu", random_state=0),
    MeanDEC(n_iter=3, pretrain_epochs=4, device="cpu", random_state=0),
    CRLI(n_iter=3, device="cpu", random_state=0),
]


# Without the discriminator, which costs four fifths of the time and which no check is about.
@parametrize_with_checks([clone(one).set_params(w_gen=0.0) if hasattr(one, "w_gen") else one for one in QUICK])
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


def series(n_series, n_times, n_channels, seed=0):
    """Series with a gap in every third cell, each channel with gaps of its own."""
    rng = np.random.default_rng(seed)
    X = rng.random((n_series, n_times, n_channels)).astype(np.float32)
    X[rng.random(X.shape) < 0.33] = np.nan
    return X


@pytest.mark.parametrize("estimator", QUICK, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("n_times", "n_channels", "n_clusters"), [(8, 1, 2), (8, 3, 4), (400, 3, 4)])
def test_any_number_of_dates_channels_and_clusters(estimator, n_times, n_channels, n_clusters):
    X = series(40, n_times, n_channels)
    model = clone(estimator).set_params(n_clusters=n_clusters, n_iter=1, random_state=0).fit(X)
    filled = model.impute(X)
    observed = ~np.isnan(X)
    np.testing.assert_array_equal(filled[observed], X[observed])
    assert np.isfinite(filled).all()
    assert model.cluster_profiles_.shape == (n_clusters, n_times, n_channels)
    assert (np.diff(model.cluster_peaks_) >= 0).all()
    assert set(model.predict(X)) <= set(range(n_clusters))
    assert model.n_features_in_ == n_times


@pytest.mark.parametrize("estimator", QUICK, ids=lambda one: type(one).__name__)
def test_columns_of_the_embedding_have_names_and_set_output_uses_them(estimator):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(series(30, 8, 1)[:, :, 0], columns=[f"day {day}" for day in range(1, 65, 8)])
    model = clone(estimator).set_output(transform="pandas").fit(X)
    frame = model.transform(X)
    prefix = type(estimator).__name__.lower()
    assert list(frame.columns) == [f"{prefix}{i}" for i in range(model.cluster_centers_.shape[1])]
    assert list(model.feature_names_in_) == list(X.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"day 1": "day 2", "day 9": "day 1"}))


def test_an_estimator_is_a_step_of_a_pipeline_and_survives_pickling_in_memory():
    X = series(30, 8, 1)[:, :, 0]
    steps = make_pipeline(FunctionTransformer(), MeanDEC(n_iter=2, pretrain_epochs=2, random_state=0)).fit(X)
    again = pickle.loads(pickle.dumps(steps))
    np.testing.assert_array_equal(again.predict(X), steps.predict(X))


@pytest.mark.parametrize("estimator", QUICK, ids=lambda one: type(one).__name__)
def test_a_random_state_instance_gives_a_seed_and_moves_on(estimator):
    X = series(30, 8, 1)
    model = clone(estimator).set_params(random_state=np.random.RandomState(3))
    first, second = model.fit(X).cluster_centers_, model.fit(X).cluster_centers_
    assert not np.array_equal(first, second)
    model.set_params(random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(model.fit(X).cluster_centers_, first)


def test_numbers_of_numpy_are_parameters_too(tmp_path):
    X = series(30, 8, 1)
    given = {"n_clusters": np.int64(2), "n_iter": np.int32(3), "w_rec": np.float32(0.5), "random_state": np.int64(0)}
    model = MeanDEC(pretrain_epochs=2, **given).fit(X, checkpoint=tmp_path / "training")
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(MeanDEC.load(tmp_path / "model").predict(X), model.labels_)


@pytest.mark.parametrize("estimator", QUICK, ids=lambda one: type(one).__name__)
def test_one_series_alone_is_too_few(estimator):
    with pytest.raises(ValueError, match="n_samples=1 series with an observation, fewer than n_clusters=2"):
        clone(estimator).fit(series(1, 8, 1))


def test_only_methods_with_soft_assignment_have_probabilities():
    assert [hasattr(one, "predict_proba") for one in QUICK] == [True, True, False]

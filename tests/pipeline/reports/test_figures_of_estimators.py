"""The figures of a training on plain arrays, from the estimator's own history."""

import numpy as np
import pytest

from model import CRLI, JointClustering, MeanDEC
from pipeline.reports import figures

SMALL = {"n_iter": 6, "batch_size": 32, "random_state": 1, "device": "cpu"}


def season_series(n_series=60, n_times=12, seed=0):
    """Return early (0) and late (1) seasons with a third of gaps; series 3 and 7 have no observation."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n_series)
    curve = 10 + 60 * np.exp(-0.5 * ((np.arange(n_times) - np.where(y == 0, 3, 8)[:, None]) / 1.5) ** 2)
    X = np.where(rng.random((n_series, n_times)) < 0.33, np.nan, curve + rng.normal(0, 2, curve.shape))
    X[[3, 7]] = np.nan
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def joint():
    X, y = season_series()
    return JointClustering(target_interval=2, pretrain_epochs=3, **SMALL).fit(X), X, y


def test_embedding_and_imputation_follow_from_the_history(joint):
    estimator, X, y = joint
    snapshots = estimator.history_["snapshots"]
    for classes in (y, estimator.labels_):
        figure = figures.draw_embedding(snapshots, classes, ["winter", "summer"])
        assert [axes.get_title() for axes in figure.axes if axes.collections] == [
            f"iteration {i}" for i in snapshots["iterations"]
        ]
        figure = figures.draw_imputation(snapshots, X, classes, ["winter", "summer"])
        shown = [axes.lines[2].get_ydata() for axes in (figure.axes[0], figure.axes[4])]
        for k, observed in enumerate(shown):  # observations of a series of that class, and of no other
            own = [i for i in np.flatnonzero(classes == k) if np.array_equal(X[i][~np.isnan(X[i])], observed)]
            assert len(own) == 1


def test_the_last_panel_shows_what_the_trained_model_generates(joint):
    estimator, X, y = joint
    figure = figures.draw_imputation(estimator.history_["snapshots"], X, y, ["winter", "summer"])
    observed, (when, generated) = figure.axes[3].lines[2].get_ydata(), figure.axes[3].lines[1].get_data()
    shown = next(i for i in range(len(X)) if np.array_equal(X[i][~np.isnan(X[i])], observed))
    np.testing.assert_allclose(generated, estimator.impute(X)[shown][np.asarray(when) - 1], rtol=1e-4)


def test_a_loaded_model_gives_the_same_pictures(joint, tmp_path):
    estimator, X, y = joint
    estimator.save(tmp_path / "model")
    again = JointClustering.load(tmp_path / "model")
    names = ["winter", "summer"]
    for draw, given in ((figures.embedding, (y, names)), (figures.imputation, (X, y, names))):
        assert draw(again.history_["snapshots"], *given) == draw(estimator.history_["snapshots"], *given)
    assert figures.training(again.history_) == figures.training(estimator.history_)


@pytest.mark.parametrize("method", [MeanDEC, CRLI])
def test_the_training_of_the_baselines_can_be_drawn(method):
    X, _ = season_series()
    estimator = method(**SMALL).fit(X)
    figure = figures.draw_training(estimator.history_)
    assert figure.axes[0].get_title(loc="left") == "losses, means since the update before"
    assert figures.training(estimator.history_).startswith(b"\x89PNG")

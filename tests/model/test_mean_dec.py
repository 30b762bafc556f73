"""The baseline that fills gaps by the mean and clusters in the embedding."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from model import JointClustering, MeanDEC
from model.networks.joint import JointModel, MeanFilling
from model.parameters import with_preset
from tests.support import oracle

SMALL = {"n_iter": 6, "target_interval": 4, "pretrain_epochs": 3, "batch_size": 32, "random_state": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def given():
    """Two channels; the third series never observed the second one, the fifth nothing at all."""
    rng = np.random.default_rng(0)
    X = (20 * rng.random((60, 9, 2)) + [0, 100]).astype(np.float32)
    X[rng.random(X.shape) < 0.4] = np.nan
    X[3, :, 1] = np.nan
    X[5] = np.nan
    return X


@pytest.fixture(scope="module")
def fitted(given):
    return MeanDEC(**SMALL).fit(given)


def test_gaps_take_the_mean_of_their_series_or_of_the_channel_in_training(fitted, given):
    usable = np.arange(60) != 5
    expected = oracle.filled_by_the_mean(given)[usable]
    np.testing.assert_allclose(fitted.impute(given)[usable], expected, rtol=1e-5)
    # also for series that training never saw: the mean of the channel is that of training
    alone = fitted.impute(given[3:4])
    np.testing.assert_allclose(alone[0, :, 1], np.nanmean(given[:, :, 1]), rtol=1e-5)


def test_the_filling_has_no_spread_and_a_series_without_observation_none_at_all(fitted, given):
    result = fitted.infer(given)
    usable = np.arange(60) != 5
    assert not result.spread[usable].any()
    assert np.isnan(result.filled[5]).all()
    assert result.labels[5] == -1


def test_filling_does_not_depend_on_the_numbers_at_missing_cells():
    module, rng = MeanFilling(1), torch.Generator().manual_seed(0)
    x, m = torch.rand(4, 6, 1, generator=rng), torch.rand(4, 6, 1, generator=rng) < 0.5
    module.start_from(torch.where(m, x, 0), m)
    assert torch.equal(module(torch.where(m, x, torch.nan), m), module(torch.where(m, x, 1e9), m))
    torch.testing.assert_close(module(x, torch.zeros_like(m)), module.channel_mean.expand_as(x))


def test_nothing_of_the_filling_is_trained_and_there_is_no_discriminator(fitted):
    assert list(fitted.model_.generator.parameters()) == []
    assert fitted.model_.discriminator is None
    assert {name.split(".")[0] for name in fitted.model_.state_dict()} == {"generator", "autoencoder", "centres"}


def test_all_cells_of_the_filled_series_are_reconstructed(given):
    one_step = MeanDEC(**SMALL | {"n_iter": 1, "batch_size": 1000, "learning_rate": 1e-12}).fit(given)
    usable = np.arange(60) != 5
    filled = one_step.scaler_.transform(oracle.filled_by_the_mean(given)[usable].astype(np.float32))
    with torch.no_grad():
        series = torch.from_numpy(filled).flatten(1)
        error = (one_step.model_.autoencoder(series) - series).square().sum() / len(series)
    assert one_step.history_["updates"][-1]["losses"]["rec"] == pytest.approx(float(error), rel=1e-4)


def test_its_autoencoder_is_pretrained_as_that_of_the_joint_method(given):
    joint = JointClustering(**SMALL, w_gen=0.0).fit(given)
    assert MeanDEC(**SMALL).fit(given).history_["pretraining"] == joint.history_["pretraining"]


def test_it_knows_the_parameters_that_mean_something_to_it():
    parameters = set(MeanDEC().get_params())
    assert parameters < set(JointClustering().get_params())
    assert not parameters & {"w_pre", "w_gen", "hidden_size", "preset", "adversarial", "discriminator_learning_rate"}
    defaults, joint = MeanDEC().get_params(), with_preset(JointClustering().get_params())
    assert defaults == {name: joint[name] for name in defaults}


@pytest.mark.parametrize(
    "changes",
    [{"w_rec": 0.1}, {"w_clu": 30.0}, {"embedding_size": 2}, {"learning_rate": 0.1}, {"clip_norm": 0.01},
     {"pretrain_epochs": 5}, {"pretrain_learning_rate": 0.01}, {"batch_size": 16}],
)  # fmt: skip
def test_every_parameter_changes_the_result(fitted, given, changes):
    other = clone(fitted).set_params(**changes).fit(given)
    assert not np.array_equal(other.predict_proba(given), fitted.predict_proba(given), equal_nan=True)


def test_two_forms_of_the_target_give_the_same_clusters(fitted, given):
    frozen = clone(fitted).set_params(target_memory="frozen").fit(given)
    np.testing.assert_allclose(frozen.cluster_centers_, fitted.cluster_centers_, rtol=1e-4, atol=1e-5)


def test_seasons_are_recovered_where_the_mean_says_enough():
    rng = np.random.default_rng(0)
    season = rng.integers(0, 2, 200)
    dates = np.arange(20)
    X = np.exp(-0.5 * ((dates - np.where(season == 0, 6, 13)[:, None]) / 2.5) ** 2) + rng.normal(0, 0.05, (200, 20))
    X[rng.random(X.shape) < 0.2] = np.nan
    model = MeanDEC(n_iter=60, pretrain_epochs=30, random_state=0, device="cpu").fit(X)
    assert np.mean(model.labels_ == season) > 0.97
    assert (np.abs(model.cluster_peaks_ - [6, 13]) <= 1).all()


def test_the_mean_takes_the_place_of_the_generator_in_the_same_model():
    model = JointModel(6, 2, 3, 5, 4, adversarial=False, filling="mean")
    outcome = model(torch.rand(7, 6, 2), torch.rand(7, 6, 2) < 0.5)
    assert outcome.q.shape == (7, 3)
    assert model.decoded_centres().shape == (3, 6, 2)

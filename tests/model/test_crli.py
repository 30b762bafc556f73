"""The baseline of adversarial filling, a recurrent autoencoder and k-means."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from model import CRLI, TrainingDiverged
from model.networks.crli import CRLIModel, RecurrentAutoencoder, kmeans_loss, nearest
from model.training import crli as crli_training
from model.training import progress as progress_module
from tests.support import oracle

SMALL = {"n_iter": 5, "batch_size": 32, "latent_size": 4, "random_state": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    X = rng.random((50, 9, 2)).astype(np.float32)
    X[rng.random(X.shape) < 0.4] = np.nan
    X[5] = np.nan
    return X


@pytest.fixture(scope="module")
def fitted(given):
    return CRLI(**SMALL).fit(given)


@pytest.mark.parametrize(("shape", "n_clusters"), [((12, 5), 2), ((12, 5), 5), ((12, 5), 7), ((3, 6), 2), ((3, 6), 4)])
def test_kmeans_loss_is_that_of_the_paper(shape, n_clusters):
    latent = np.random.default_rng(0).normal(size=shape)
    found = kmeans_loss(torch.from_numpy(latent), n_clusters)
    assert float(found) == pytest.approx(oracle.kmeans_loss(latent, n_clusters), abs=1e-10)


def test_the_indicator_of_the_kmeans_loss_is_a_constant():
    latent = np.random.default_rng(1).normal(size=(12, 5))
    z = torch.from_numpy(latent).requires_grad_()
    kmeans_loss(z, 2).backward()
    left, _, _ = np.linalg.svd(latent, full_matrices=False)
    f = left[:, :2]
    np.testing.assert_allclose(z.grad, 2 * (latent - f @ f.T @ latent), atol=1e-10)


def test_kmeans_loss_of_latents_on_as_few_lines_as_clusters_is_zero():
    latent = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 1, 0]])
    assert float(kmeans_loss(latent, 2)) == pytest.approx(0, abs=1e-6)
    assert float(kmeans_loss(torch.zeros(4, 3), 2)) == 0


def test_recurrent_autoencoder_follows_its_equations():
    rng = torch.Generator().manual_seed(0)
    network = RecurrentAutoencoder(6, 2, 3, rng).double()
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    gru = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    latent = network.encode(torch.from_numpy(x))
    decoded = network.decode(latent)
    for i in range(4):
        h = oracle.gru_sequence(x[i], *(weights[f"encoder.{name}"] for name in gru))[-1]
        np.testing.assert_allclose(latent[i].detach(), h, rtol=1e-10)
        states = oracle.gru_sequence(np.tile(h, (6, 1)), *(weights[f"decoder.{name}"] for name in gru))
        expected = states @ weights["output_weight"].T + weights["output_bias"]
        np.testing.assert_allclose(decoded[i].detach(), expected, rtol=1e-10)


def test_labels_are_the_nearest_of_the_stored_centres(fitted, given):
    z = fitted.transform(given).astype(np.float64)
    distance = ((z[:, None] - fitted.cluster_centers_) ** 2).sum(-1)
    usable = np.arange(50) != 5
    np.testing.assert_array_equal(fitted.predict(given)[usable], distance[usable].argmin(1))
    np.testing.assert_array_equal(fitted.labels_, fitted.predict(given))
    assert fitted.labels_[5] == -1
    assert nearest(torch.tensor([[0.0], [9.0]]), torch.tensor([[8.0], [1.0]])).tolist() == [[0, 1], [1, 0]]


def test_centres_are_the_means_of_their_clusters(fitted, given):
    z = fitted.transform(given)
    for k in range(2):
        np.testing.assert_allclose(fitted.cluster_centers_[k], z[fitted.labels_ == k].mean(0), rtol=1e-4, atol=1e-5)


def test_assignment_is_hard_and_observed_cells_are_untouched(fitted, given):
    result = fitted.infer(given)
    usable = np.arange(50) != 5
    np.testing.assert_array_equal(result.proba[usable], np.eye(2)[result.labels[usable]])
    assert not hasattr(fitted, "predict_proba")
    observed = ~np.isnan(given)
    np.testing.assert_array_equal(result.filled[observed], given[observed])
    assert np.isfinite(result.filled[usable]).all()


def test_losses_are_recorded_at_an_interval_and_both_sides_are_trained(given, monkeypatch):
    monkeypatch.setattr(crli_training, "UPDATE_EVERY", 2)
    seen = []
    model = CRLI(**SMALL).fit(given, progress=seen.append)
    assert [update["iteration"] for update in model.history_["updates"]] == [2, 4, 5]
    assert set(model.history_["updates"][0]["losses"]) == {"rec", "pre", "kmeans", "dis", "gen"}
    assert [(event["phase"], event["step"], event["total"]) for event in seen] == [("joint", 5, 5)]
    assert set(seen[0]["losses"]) == {"rec", "pre", "kmeans", "dis", "gen"}
    fewer = clone(model).set_params(n_iter=1).fit(given)
    for side in ("generator.weight_hh", "autoencoder.decoder.weight_hh", "discriminator.output.weight"):
        assert not torch.equal(model.model_.state_dict()[side], fewer.model_.state_dict()[side]), side


def test_the_steps_of_the_two_sides_leave_each_other_alone(given):
    still = CRLI(**SMALL | {"discriminator_learning_rate": 1e-30}).fit(given).model_
    start = CRLI(**SMALL | {"discriminator_learning_rate": 1e-30, "n_iter": 1}).fit(given).model_
    assert torch.equal(still.discriminator.output.weight, start.discriminator.output.weight)
    assert not torch.equal(still.generator.weight_hh, start.generator.weight_hh)
    still = CRLI(**SMALL | {"learning_rate": 1e-30}).fit(given).model_
    start = CRLI(**SMALL | {"learning_rate": 1e-30, "n_iter": 1}).fit(given).model_
    assert torch.equal(still.generator.weight_hh, start.generator.weight_hh)
    assert not torch.equal(still.discriminator.output.weight, start.discriminator.output.weight)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 3}, {"latent_size": 3}, {"adversarial": "paper"}, {"discriminator_input": "imputed"},
     {"w_rec": 9.0}, {"w_pre": 9.0}, {"w_gen": 9.0}, {"w_gen": 0.0}, {"lambda_kmeans": 9.0}, {"learning_rate": 0.1},
     {"discriminator_learning_rate": 0.1}, {"clip_norm": 1e-9}, {"batch_size": 16}, {"random_state": 2}],
)  # fmt: skip
def test_every_parameter_changes_the_result(fitted, given, changes):
    other = clone(fitted).set_params(**changes).fit(given)
    assert not np.array_equal(other.transform(given), fitted.transform(given), equal_nan=True)


def test_same_seed_same_weights_and_no_discriminator_without_its_term(fitted, given):
    again = clone(fitted).fit(given)
    for (name, one), other in zip(fitted.model_.state_dict().items(), again.model_.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    without = clone(fitted).set_params(w_gen=0.0).fit(given)
    assert without.model_.discriminator is None
    assert without.history_["updates"][-1]["losses"]["dis"] is None


def test_a_loss_that_is_not_finite_returns_to_the_last_good_state_at_half_the_rate(given, monkeypatch):
    monkeypatch.setattr(crli_training, "UPDATE_EVERY", 2)
    plain, calls = crli_training.prediction_loss, []

    def spoiled(x, x_hat, m):
        calls.append(None)
        return plain(x, x_hat, m) * (torch.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(crli_training, "prediction_loss", spoiled)
    model = CRLI(**SMALL).fit(given)
    assert model.history_["events"] == [{"event": "loss not finite", "iteration": 3, "learning_rate": 0.0025}]
    assert all(torch.isfinite(tensor).all() for tensor in model.model_.state_dict().values())
    monkeypatch.setattr(crli_training, "prediction_loss", lambda x, x_hat, m: plain(x, x_hat, m) * torch.nan)
    with pytest.raises(TrainingDiverged, match="not finite 11 times"):
        CRLI(**SMALL | {"n_iter": 30}).fit(given)


@pytest.mark.parametrize("stopped_at", [1, 4, 7, 10])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(given, tmp_path, monkeypatch, stopped_at):
    monkeypatch.setattr(crli_training, "UPDATE_EVERY", 3)
    monkeypatch.setattr(progress_module, "REPORT_EVERY", 1)
    estimator = CRLI(**SMALL | {"n_iter": 10})

    def stop(report):
        if report["step"] == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone(estimator).fit(given, progress=stop, checkpoint=tmp_path / "t")
    seen = []
    resumed = clone(estimator).fit(given, progress=seen.append, checkpoint=tmp_path / "t")
    assert seen[0]["step"] == (stopped_at - 1) // 3 * 3 + 1
    whole = clone(estimator).fit(given)
    for (name, one), other in zip(whole.model_.state_dict().items(), resumed.model_.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert resumed.history_ == whole.history_
    with pytest.raises(ValueError, match="another training"):
        clone(estimator).set_params(w_rec=2.0).fit(given, checkpoint=tmp_path / "t")


def test_equal_series_share_one_cluster_and_the_history_says_so():
    X = np.full((40, 8), 7, np.float32)
    model = CRLI(**SMALL).fit(X)
    assert len(set(model.labels_)) == 1
    assert model.history_["events"] == [{"event": "centres coincide", "distance": 0.0}]
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_there_is_no_target_to_sum_over_a_population(given):
    with pytest.raises(ValueError, match="no target"):
        CRLI(**SMALL).fit(given, population=lambda: iter([given]))


def test_centres_of_kmeans_are_no_parameters_of_the_networks():
    model = CRLIModel(6, 1, 2, 3, 4, adversarial=True)
    trained = [*model.generator_side(), *model.discriminator.parameters()]
    assert {id(tensor) for tensor in model.parameters()} - {id(tensor) for tensor in trained} == {id(model.centres)}


def test_seasons_without_gaps_in_their_way_are_recovered():
    rng = np.random.default_rng(0)
    season = rng.integers(0, 2, 200)
    dates = np.arange(16)
    X = np.exp(-0.5 * ((dates - np.where(season == 0, 5, 11)[:, None]) / 2) ** 2) + rng.normal(0, 0.03, (200, 16))
    X[rng.random(X.shape) < 0.1] = np.nan
    model = CRLI(n_iter=150, w_gen=0.0, random_state=0, device="cpu").fit(X)
    assert np.mean(model.labels_ == season) > 0.95
    assert (np.abs(model.cluster_peaks_ - [5, 11]) <= 1).all()

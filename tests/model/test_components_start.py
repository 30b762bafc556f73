"""The start from components: what the generator, the autoencoder and the centres are before joint training."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from model import JointClustering, TrainingDiverged
from model.losses import prediction_loss
from model.networks.networks import Autoencoder, Generator
from model.parameters import PRESETS, pretraining_steps, with_preset
from model.training import components_start as warm_up_module
from model.training.components_start import FLOOR, centres_from_clusters, filled_by, start_from_components, warm_up


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


def correlated(n_series=300, n_values=12, seed=0):
    rng = generator_of(seed)
    return torch.randn(n_series, n_values, generator=rng) @ torch.randn(n_values, n_values, generator=rng) + 3


def seasons(n_series=200, n_times=20, seed=0):
    """Two seasons with gaps in runs: x, m (n, T, 1) and the season."""
    rng = np.random.default_rng(seed)
    season = rng.integers(0, 2, n_series)
    peak = np.where(season == 0, 6, 13)[:, None] + rng.normal(0, 0.7, (n_series, 1))
    x = np.exp(-0.5 * ((np.arange(n_times) - peak) / 2.5) ** 2) + rng.normal(0, 0.02, (n_series, n_times))
    start = rng.integers(0, n_times, (n_series, 1))
    m = torch.from_numpy(~((np.arange(n_times) >= start) & (np.arange(n_times) < start + 6)))[..., None]
    return torch.where(m, torch.from_numpy(x.astype(np.float32))[..., None], 0), m, season


@pytest.mark.parametrize(("embedding_size", "components"), [(1, 1), (3, 3), (5, 5), (8, 5)])
def test_the_autoencoder_starts_as_principal_components(embedding_size, components):
    filled = correlated()
    autoencoder = Autoencoder(12, embedding_size, generator_of(1))
    start_from_components(autoencoder, filled)
    expected = PCA(components, svd_solver="full").fit(filled.numpy().astype(np.float64))
    by_pca = expected.inverse_transform(expected.transform(filled.numpy()))
    with torch.no_grad():
        z, reconstruction = autoencoder.encode(filled), autoencoder(filled)
    np.testing.assert_allclose(reconstruction.numpy(), by_pca, atol=2e-4)
    deviation = np.sqrt(expected.explained_variance_ * (len(filled) - 1) / len(filled))
    widths = deviation / np.maximum(deviation, FLOOR * deviation[0])
    np.testing.assert_allclose(z[:, :components].std(0, unbiased=False).numpy(), widths, rtol=1e-3)
    np.testing.assert_allclose(z[:, :components].mean(0).numpy(), 0, atol=1e-4)


def test_narrow_components_are_not_widened_to_the_full():
    filled = torch.randn(4000, 3, generator=generator_of(0)) * torch.tensor([1.0, 0.5, 0.01])
    autoencoder = Autoencoder(3, 3, generator_of(1))
    start_from_components(autoencoder, filled)
    with torch.no_grad():
        widths = autoencoder.encode(filled).std(0)
    np.testing.assert_allclose(widths.numpy(), [1, 1, 0.01 / FLOOR], rtol=0.05)


def test_the_start_of_the_autoencoder_is_the_same_for_every_seed():
    filled = correlated()
    embeddings = []
    for seed in (1, 2):
        autoencoder = Autoencoder(12, 5, generator_of(seed))
        start_from_components(autoencoder, filled)
        with torch.no_grad():
            embeddings.append(autoencoder.encode(filled))
    torch.testing.assert_close(*embeddings, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("filled", [torch.full((30, 7), 0.25), torch.zeros(30, 2), torch.rand(3, 9)])
def test_constant_series_and_fewer_series_than_components_give_finite_weights(filled):
    autoencoder = Autoencoder(filled.shape[1], 5, generator_of(1))
    start_from_components(autoencoder, filled)
    with torch.no_grad():
        torch.testing.assert_close(autoencoder(filled), filled, atol=1e-5, rtol=1e-5)
    assert all(bool(p.isfinite().all()) for p in autoencoder.parameters())


def test_units_that_carry_no_component_can_learn():
    filled = correlated()
    autoencoder = Autoencoder(12, 5, generator_of(1))
    start_from_components(autoencoder, filled)
    autoencoder(filled).square().sum().backward()
    assert float(autoencoder.decoder[-1].weight.grad[:, 10:].abs().sum()) > 0


def test_centres_start_where_k_means_on_the_filled_series_ends():
    rng = generator_of(0)
    season = torch.arange(200) % 2
    filled = torch.randn(200, 6, generator=rng) * 0.1 + 4 * season[:, None]
    autoencoder = Autoencoder(6, 5, generator_of(1))
    start_from_components(autoencoder, filled)
    centres, events = centres_from_clusters(filled, autoencoder, 2, rng)
    with torch.no_grad():
        z = autoencoder.encode(filled)
    expected = torch.stack([z[season == k].mean(0) for k in (0, 1)])
    order = torch.cdist(expected, centres).argmin(1)
    assert events == []
    assert sorted(order.tolist()) == [0, 1]
    torch.testing.assert_close(centres[order], expected, atol=1e-4, rtol=1e-4)


def test_centres_that_coincide_are_told():
    filled = torch.full((20, 6), 0.5)
    autoencoder = Autoencoder(6, 5, generator_of(1))
    start_from_components(autoencoder, filled)
    centres, events = centres_from_clusters(filled, autoencoder, 2, generator_of(0))
    assert [event["event"] for event in events] == ["centres coincide"]
    assert bool(centres.isfinite().all())


def test_the_warm_up_learns_to_fill_better_than_the_mean_does():
    x, m, _ = seasons()
    network = Generator(1, 5, generator_of(0))
    seen = []
    record, events = warm_up(network, x, m, steps=200, batch_size=100, rng=generator_of(1), progress=seen.append)
    with torch.no_grad():
        error = float(prediction_loss(x, network(x, m), m))
    assert events == []
    assert error < 0.3 * record["mean_loss"]
    assert len(record["losses"]) == 20
    assert [event["step"] for event in seen] == list(range(10, 201, 10))
    assert seen[-1]["losses"] == {"pre": record["losses"][-1]}
    filled = filled_by(network, x, m)
    assert bool((filled[m] == x[m]).all())


def test_hidden_runs_lie_in_about_half_of_the_series_and_have_the_stated_length():
    hidden = warm_up_module.hidden_runs(20_000, 400, generator_of(0))
    lengths = hidden.sum(1)
    assert 0.49 < float((lengths > 0).double().mean()) < 0.51
    assert 3.8 < float(lengths[lengths > 0].double().mean()) < 4.2
    edges = (hidden[:, 1:] != hidden[:, :-1]).sum(1) + hidden[:, 0] + hidden[:, -1]
    assert set(edges.tolist()) <= {0, 2}  # one run, not several
    per_date = hidden.double().mean(0)
    assert float(per_date[10:-10].std() / per_date.mean()) < 0.15


def test_a_warm_up_that_fails_starts_again_more_slowly_and_at_last_says_so(monkeypatch):
    x, m, _ = seasons(40)
    failures = iter(range(2))

    def fails_twice(x, x_hat, m):
        """Not finite as soon as a gradient is asked for, in the first two runs: whatever the processor rounds."""
        loss = prediction_loss(x, x_hat, m)
        return loss * float("nan") if loss.requires_grad and next(failures, None) is not None else loss

    monkeypatch.setattr(warm_up_module, "LEARNING_RATE", 0.27)
    monkeypatch.setattr(warm_up_module, "prediction_loss", fails_twice)
    network = Generator(1, 5, generator_of(0))
    record, events = warm_up(network, x, m, steps=150, batch_size=40, rng=generator_of(1), progress=lambda _: None)
    assert len(events) == 2
    assert {event["event"] for event in events} == {"warm-up restarted"}
    assert record["learning_rate"] == pytest.approx(0.27 / 3 ** len(events))
    monkeypatch.setattr(warm_up_module, "prediction_loss", lambda *given: prediction_loss(*given) * float("inf"))
    with pytest.raises(TrainingDiverged, match="warm-up failed 6 times"):
        warm_up(network, x, m, steps=100, batch_size=40, rng=generator_of(1), progress=lambda _: None)


def test_a_warm_up_that_fills_worse_than_the_mean_starts_again(monkeypatch):
    x, m, _ = seasons(40)
    monkeypatch.setattr(warm_up_module, "WORSE", -1.0)  # no loss is below zero: every run counts as worse
    with pytest.raises(TrainingDiverged, match="warm-up failed 6 times"):
        warm_up(
            Generator(1, 5, generator_of(0)), x, m,
            steps=warm_up_module.CHECK_STEPS, batch_size=40, rng=generator_of(1), progress=lambda _: None,
        )  # fmt: skip


def test_the_robust_preset_finds_the_seasons_for_every_seed_alike():
    x, m, season = seasons()
    X = torch.where(m, x, torch.nan).numpy()
    labels = []
    for seed in range(3):
        model = JointClustering(
            preset="robust", w_gen=0.0, warm_up=200, n_iter=60, target_interval=30, device="cpu", random_state=seed
        ).fit(X)
        labels.append(model.labels_)
        assert np.mean(model.labels_ == season) >= 0.98
        assert len(model.history_["pretraining"]["losses"]) == 20
    assert np.mean(labels[0] == labels[1]) >= 0.98
    assert np.mean(labels[0] == labels[2]) >= 0.98


def test_presets_fill_in_what_is_not_given_and_nothing_else():
    given = JointClustering(preset="robust", learning_rate=0.5, start="paper").get_params()
    complete = with_preset(given)
    assert (complete["learning_rate"], complete["start"], complete["w_clu"]) == (0.5, "paper", 0.1)
    assert set(PRESETS["paper"]) == set(PRESETS["stable"]) == set(PRESETS["robust"])
    assert all(given[name] is None for name in set(PRESETS["paper"]) - {"learning_rate", "start"})
    published = with_preset(JointClustering().get_params())
    assert [published[name] for name in ("start", "w_clu", "w_gen", "learning_rate", "adversarial_interval")] == [
        "paper", 1, 1, 0.01, 1,
    ]  # fmt: skip


def test_steps_before_joint_training_are_those_of_the_start():
    assert pretraining_steps(JointClustering(preset="robust", warm_up=7).get_params()) == 7
    assert pretraining_steps(JointClustering(pretrain_epochs=9).get_params()) == 9
    assert pretraining_steps({"n_iter": 3}) == 0


def test_a_training_from_components_goes_on_to_the_same_bits(tmp_path):
    x, m, _ = seasons(60)
    X = torch.where(m, x, torch.nan).numpy()
    settings = {
        "preset": "robust", "warm_up": 20, "n_iter": 9, "target_interval": 3, "batch_size": 20, "device": "cpu",
        "adversarial_interval": 2, "random_state": 4,
    }  # fmt: skip
    whole = JointClustering(**settings).fit(X)

    def stop_late(report):
        if report["phase"] == "joint":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        JointClustering(**settings).fit(X, progress=stop_late, checkpoint=tmp_path / "state")
    steps = []
    again = JointClustering(**settings).fit(
        X, progress=lambda report: steps.append((report["phase"], report["step"])), checkpoint=tmp_path / "state"
    )
    assert steps[0][0] == "joint"
    assert all(
        torch.equal(one, other)
        for one, other in zip(again.model_.state_dict().values(), whole.model_.state_dict().values(), strict=True)
    )
    assert again.history_["pretraining"] == whole.history_["pretraining"]

"""What is kept of a few series during training, for figures."""

import numpy as np
import pytest
import torch

from model import JointClustering
from model.networks.joint import JointModel
from model.training.fit import fit_model
from model.training.snapshots import Snapshots


def data(n_series=60, n_times=8, n_channels=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n_series, n_times, n_channels, generator=rng)
    m = torch.rand(x.shape, generator=rng) < 0.6
    m[:, 0] = True
    return torch.where(m, x, 0), m


def network(seed=1):
    return JointModel(8, 2, 2, 5, 4, adversarial=False, rng=torch.Generator().manual_seed(seed))


def taken(iterations, n_series=60):
    x, m = data(n_series)
    snapshots, model = Snapshots(n_series, 3), network()
    for iteration in iterations:
        with torch.no_grad():
            model.centres.fill_(iteration)
            model.generator.bias_imp.fill_(iteration / 1000)
        snapshots.take(iteration, model, x, m)
    return snapshots, model, x, m


def test_watched_series_are_seen_as_the_model_sees_them():
    snapshots, model, x, m = taken([0])
    history = snapshots.history()
    rows = history["rows"]
    with torch.no_grad():
        outcome = model(x[rows], m[rows])
    assert sorted(rows) == list(range(60))
    np.testing.assert_array_equal(history["curve_rows"], rows)
    np.testing.assert_array_equal(history["embedding"][0], outcome.z.numpy())
    np.testing.assert_array_equal(history["curves"][0], outcome.x_hat.numpy())
    assert {name: values.dtype for name, values in history.items()} == {
        "iterations": np.int64, "rows": np.int64, "embedding": np.float32, "curve_rows": np.int64, "curves": np.float32,
    }  # fmt: skip


def test_of_many_series_two_thousand_are_watched_and_two_hundred_curves_kept():
    history = taken([0], n_series=3000)[0].history()
    assert history["embedding"].shape == (1, 2000, 4)
    assert history["curves"].shape == (1, 200, 8, 2)
    assert len(set(history["rows"])) == 2000
    assert 1300 < history["rows"].mean() < 1700
    np.testing.assert_array_equal(history["curve_rows"], history["rows"][:200])


@pytest.mark.parametrize("n_updates", [1, 2, 5, 6, 7, 13, 23, 24, 40, 200])
def test_at_most_six_updates_spread_evenly_over_training(n_updates):
    iterations = [140 * k for k in range(n_updates)]
    found = taken(iterations)[0].history()["iterations"]
    assert len(found) == min(n_updates, 6)
    assert found[0] == 0
    assert found[-1] == iterations[-1]
    even = np.linspace(0, iterations[-1], len(found))
    assert np.abs(found - even).max() <= 140 * n_updates / 10
    assert (np.diff(found) > 0).all()


def test_curves_belong_to_their_iteration():
    history = taken([0, 100, 200])[0].history()
    for iteration, curves in zip(history["iterations"], history["curves"], strict=True):
        again, _, _, _ = taken([iteration])
        np.testing.assert_array_equal(again.history()["curves"][0], curves)


def test_restored_snapshots_go_on_as_if_nothing_had_happened():
    whole, model, x, m = taken(range(30))
    first, _, _, _ = taken(range(17))
    second = Snapshots(60, 99)
    second.restore(first.tensors())
    for iteration in range(17, 30):
        with torch.no_grad():
            model.centres.fill_(iteration)
            model.generator.bias_imp.fill_(iteration / 1000)
        second.take(iteration, model, x, m)
    for name, values in whole.history().items():
        np.testing.assert_array_equal(second.history()[name], values)


def test_watching_draws_nothing_from_the_random_numbers_of_training():
    x, m = data()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Snapshots(60, 3).take(0, network(), x, m)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_leaves_snapshots_in_its_history_at_target_updates():
    parameters = {"n_iter": 9, "target_interval": 2, "batch_size": 16, "pretrain_epochs": 2, "random_state": 5}
    fits = [
        fit_model(*data(), JointClustering(**parameters, device="cpu").training_parameters(), lambda report: None)
        for _ in range(2)
    ]
    one, two = (fit.history["snapshots"] for fit in fits)
    assert one["iterations"].tolist() == [0, 2, 4, 6, 8, 9]
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    with torch.no_grad():
        z = fits[0].model(*(part[one["rows"]] for part in data())).z
    np.testing.assert_array_equal(one["embedding"][-1], z.numpy())

import itertools

import numpy as np
import pytest
import torch

from model import Autoencoder, TrainingDiverged
from model.training.batches import Batches
from model.training.pretraining import initial_centres, pretrain, smallest_distance


def series(n_series=200, n_dates=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    phase = torch.rand(n_series, 1, generator=rng) * 3
    return 0.5 + 0.4 * torch.sin(phase + torch.arange(n_dates) / 2)


def run(filled, learning_rate, epochs=100, batch_size=20):
    rng = torch.Generator().manual_seed(0)
    seen = []
    result = pretrain(
        filled,
        lambda: Autoencoder(filled.shape[1], 5, rng),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rng=rng,
        progress=seen.append,
    )
    return *result, seen


def test_pretraining_learns_to_reconstruct():
    filled = series()
    autoencoder, record, events, seen = run(filled, 0.1)
    mean_loss = float((filled - filled.mean(0)).square().mean())
    assert record["mean_loss"] == pytest.approx(mean_loss)
    assert float((autoencoder(filled) - filled).detach().square().mean()) < 0.2 * mean_loss
    assert (len(record["losses"]), record["learning_rate"], events) == (100, 0.1, [])
    assert [report["step"] for report in seen] == list(range(1, 101))
    assert [report["losses"]["mse"] for report in seen] == record["losses"]


def test_a_diverging_pretraining_starts_again_at_a_third_of_the_learning_rate(caplog):
    autoencoder, record, events, _ = run(series(), 30.0, epochs=20)
    assert events
    assert all(event["event"] == "pretraining restarted" for event in events)
    assert record["learning_rate"] == pytest.approx(30 / 3 ** len(events))
    assert np.isfinite(record["losses"]).all()
    assert all(torch.isfinite(p).all() for p in autoencoder.parameters())
    assert caplog.text.count("restarting") == len(events)


def test_a_pretraining_that_never_works_is_an_error():
    with pytest.raises(TrainingDiverged, match="pretrain_learning_rate"):
        run(series() * 1e15, 1e6, epochs=10)


def test_centres_are_the_embedded_centroids_of_the_mean_filled_series():
    rng = torch.Generator().manual_seed(0)
    low, high = torch.full((10, 8), 0.1), torch.full((30, 8), 0.9)
    autoencoder = Autoencoder(8, 5, rng)
    centres, events = initial_centres(torch.cat((low, high)), autoencoder, 2, rng)
    expected = autoencoder.encode(torch.stack((low[0], high[0]))).detach()
    by_first = centres[centres[:, 0].argsort()]
    torch.testing.assert_close(by_first, expected[expected[:, 0].argsort()], rtol=0, atol=1e-6)
    assert events == []


def test_centres_that_coincide_are_replaced_by_k_means_in_the_embedding(caplog):
    class Blind(Autoencoder):
        """Both centroids fall on one point: what tells the series apart is the size of their deviation from 0.5."""

        def encode(self, x_flat):
            return (x_flat - 0.5).square().mean(1, keepdim=True).expand(-1, 5)

    # k-means separates early from late bumps, whose centroids look alike to this encoder
    size = torch.tensor([1.0, 3.0]).repeat(20)[:, None]
    early, late = size * torch.tensor([0.5, 0, 0, 0]) + 0.5, size * torch.tensor([0, 0, 0, 0.5]) + 0.5
    rng = torch.Generator().manual_seed(0)
    centres, (event,) = initial_centres(torch.cat((early, late)), Blind(4, 5, rng), 2, rng)
    assert event["event"] == "centres coincide"
    assert sorted(centres[:, 0].tolist()) == pytest.approx([0.0625, 0.5625])
    assert "k-means in the embedding" in caplog.text


def test_batches_go_through_every_series_before_any_comes_again():
    stream = Batches(10, 3, torch.Generator().manual_seed(0))
    first, second = (torch.cat([next(stream) for _ in range(3)]).tolist() for _ in range(2))
    assert len(set(first)) == len(set(second)) == 9
    assert first != second
    (whole,) = itertools.islice(Batches(4, 1000, torch.Generator()), 1)
    assert sorted(whole.tolist()) == [0, 1, 2, 3]


def test_smallest_distance():
    assert smallest_distance(torch.tensor([[0.0, 0], [3, 4], [0, 1]])) == 1.0
    assert smallest_distance(torch.zeros(1, 5)) == 0.0


def test_a_set_smaller_than_a_batch_still_gets_ten_steps_an_epoch():
    _, small_batches, _, _ = run(series(), 0.1, batch_size=20)
    _, one_batch, _, _ = run(series(), 0.1, batch_size=1000)
    assert one_batch == small_batches

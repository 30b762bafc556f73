"""Check 4 over whole training sets, and cluster sizes summed over a population."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import JointClustering
from model.networks.joint import JointModel
from model.training import target as target_module
from model.training.fit import fit_model
from model.training.target import update_target
from tests.support import oracle


def data(n_series=90, n_times=9, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n_series, n_times, 1, generator=rng)
    m = torch.rand(x.shape, generator=rng) < 0.6
    m[:, 0] = True
    return torch.where(m, x, 0), m


def network(n_clusters=3):
    rng = torch.Generator().manual_seed(1)
    model = JointModel(9, 1, n_clusters, 5, 5, adversarial=False, rng=rng)
    with torch.no_grad():
        model.centres.copy_(torch.randn(n_clusters, 5, generator=rng))
    return model


def in_parts(x, m, cuts):
    """The series in parts that end at `cuts`; some may be empty."""
    places = [0, *sorted(cuts), len(x)]
    return [(x[a:b], m[a:b]) for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("target_memory", ["assignments", "frozen"])
def test_check_4_a_pass_in_chunks_is_that_in_one_piece(monkeypatch, target_memory):
    x, m = data()
    model, rows = network(), torch.arange(90)
    whole = update_target(model, x, m, target_memory)
    q = whole.assign(rows, x, m)
    monkeypatch.setattr(target_module, "CHUNK", 16)
    chunks = update_target(model, x, m, target_memory)
    torch.testing.assert_close(chunks.assign(rows, x, m), q, rtol=0, atol=1e-6)
    torch.testing.assert_close(chunks.cluster_sizes, whole.cluster_sizes, rtol=1e-6, atol=0)
    assert torch.equal(chunks.labels, whole.labels)
    assert chunks.prediction_loss == pytest.approx(whole.prediction_loss, rel=1e-6)


@pytest.mark.parametrize("target_memory", ["assignments", "frozen"])
def test_cluster_sizes_are_those_of_the_population_and_all_else_is_of_the_sample(target_memory):
    x, m = data()
    others = data(150, seed=7)
    model = network()
    alone = update_target(model, x, m, target_memory)
    found = update_target(model, x, m, target_memory, lambda: iter(in_parts(*others, [40, 41])))
    with torch.no_grad():
        z = model(*others).z.double().numpy()
    q = oracle.soft_assignment(z, model.centres.detach().double().numpy())
    np.testing.assert_allclose(found.cluster_sizes.numpy(), q.sum(0), rtol=1e-6)
    assert not torch.allclose(found.cluster_sizes, alone.cluster_sizes)
    assert torch.equal(found.labels, alone.labels)
    assert found.prediction_loss == alone.prediction_loss
    rows = torch.arange(5)
    assert torch.equal(found.assign(rows, x[:5], m[:5]), alone.assign(rows, x[:5], m[:5]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 90), max_size=12), st.integers(1, 100))
def test_how_a_population_is_cut_changes_no_bit(cuts, chunk):
    x, m = data()
    model = network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_module, "CHUNK", chunk)
        whole = update_target(model, x, m, "assignments")
        parts = update_target(model, x, m, "assignments", lambda: in_parts(x, m, cuts))
    assert torch.equal(parts.cluster_sizes, whole.cluster_sizes)


def test_an_empty_population_is_refused():
    with pytest.raises(ValueError, match=r"population.*no series"):
        update_target(network(), *data(), "assignments", lambda: [])


@pytest.mark.parametrize("target_memory", ["assignments", "frozen"])
def test_a_population_that_is_the_sample_trains_the_same_model_and_another_does_not(target_memory):
    x, m = data()
    parameters = JointClustering(
        n_iter=6, target_interval=2, batch_size=16, pretrain_epochs=2, random_state=0, target_memory=target_memory
    ).training_parameters()
    calls = []

    def same():
        calls.append(1)
        return in_parts(x, m, [3, 3, 50])

    def fit(population):
        model = fit_model(x, m, parameters | {"device": "cpu"}, lambda report: None, population=population).model
        return model.state_dict()

    alone, streamed, other = fit(None), fit(same), fit(lambda: [data(10, seed=5)])
    assert all(torch.equal(alone[name], streamed[name]) for name in alone)
    assert any(not torch.equal(alone[name], other[name]) for name in alone)
    assert len(calls) == 4  # at the start and at each target update

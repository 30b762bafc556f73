"""Checks 4, 5 and 7 of the method: every loss, q and p against float64 NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import (
    cluster_loss,
    discriminator_loss,
    generator_loss,
    prediction_loss,
    reconstruction_loss,
    soft_assignment,
    target_distribution,
)
from tests.support import oracle

RNG = np.random.default_rng(0)
X, X_HAT, LOGITS = RNG.normal(size=(3, 5, 7, 2))
M = (RNG.random((5, 7, 2)) < 0.6).astype(float)
RECONSTRUCTION = RNG.normal(size=(5, 14))
Z, CENTRES = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4))
Q = oracle.soft_assignment(Z, CENTRES)
P = oracle.target_distribution(Q, Q.sum(0))


@pytest.mark.parametrize(
    ("function", "reference", "arguments"),
    [
        (prediction_loss, oracle.prediction_loss, (X, X_HAT, M)),
        (reconstruction_loss, oracle.reconstruction_loss, (X, RECONSTRUCTION, M)),
        (cluster_loss, oracle.cluster_loss, (P, Q)),
        (discriminator_loss, oracle.discriminator_loss, (LOGITS, M)),
        (generator_loss, oracle.generator_loss_paper, (LOGITS, M)),
        (lambda s, m: generator_loss(s, m, "nonsaturating"), oracle.generator_loss_nonsaturating, (LOGITS, M)),
        (soft_assignment, oracle.soft_assignment, (Z, CENTRES)),
        (target_distribution, oracle.target_distribution, (Q, np.array([10.0, 3.0, 700.0]))),
    ],
)
def test_check_7_against_numpy(function, reference, arguments):
    value = function(*map(torch.from_numpy, arguments))
    np.testing.assert_allclose(value.numpy(), reference(*arguments), rtol=1e-12)


def test_target_without_cluster_sizes_takes_the_batch_for_all_there_is():
    np.testing.assert_allclose(target_distribution(torch.from_numpy(Q)).numpy(), P, rtol=1e-12)


def test_check_4_assignment_and_target_over_chunks_equal_those_in_one_piece():
    z, centres = torch.randn(100, 5), torch.randn(3, 5)
    whole = soft_assignment(z, centres)
    parts = torch.cat([soft_assignment(part, centres) for part in z.split(7)])
    assert torch.equal(parts, whole)
    sizes = whole.sum(0)
    targets = torch.cat([target_distribution(part, sizes) for part in whole.split(7)])
    assert torch.equal(targets, target_distribution(whole))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(1, 20), st.floats(0.01, 1e4), st.integers(0, 2**31))
def test_check_5_rows_of_q_and_p_sum_to_one(n_clusters, n_series, scale, seed):
    rng = torch.Generator().manual_seed(seed)
    z, centres = torch.randn(n_series, 5, generator=rng) * scale, torch.randn(n_clusters, 5, generator=rng)
    q = soft_assignment(z, centres)
    ones = torch.ones(n_series)
    torch.testing.assert_close(q.sum(1), ones)
    torch.testing.assert_close(target_distribution(q).sum(1), ones)


def test_check_5_one_cluster_has_nothing_to_learn():
    z = torch.randn(6, 5, requires_grad=True)
    q = soft_assignment(z, torch.zeros(1, 5))
    loss = cluster_loss(target_distribution(q), q)
    loss.backward()
    assert loss == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("empty", [0.0, 1e-38, 1e-45])
def test_check_5_an_empty_cluster_gives_finite_loss_and_gradient(empty):
    q = torch.tensor([[1.0, empty], [1.0, empty]], requires_grad=True)
    p = target_distribution(q)
    loss = cluster_loss(p, q)
    loss.backward()
    torch.testing.assert_close(p.sum(1), torch.ones(2))
    assert torch.isfinite(loss)
    assert torch.isfinite(q.grad).all()


def test_target_is_a_constant():
    q = torch.tensor([[0.3, 0.7]], requires_grad=True)
    assert not target_distribution(q).requires_grad


def test_far_series_keep_an_assignment():
    q = soft_assignment(torch.full((1, 5), 1e18), torch.tensor([[0.0] * 5, [1.0] * 5]))
    assert torch.isfinite(q).all()
    torch.testing.assert_close(q.sum(), torch.tensor(1.0))


def test_losses_do_not_read_missing_cells_nor_pass_them_gradient():
    x = torch.tensor([[[0.5], [float("nan")]]])
    m = torch.tensor([[[True], [False]]])
    estimate = torch.zeros(1, 2, 1, requires_grad=True)
    loss = prediction_loss(x, estimate, m) + reconstruction_loss(x, estimate, m)
    loss.backward()
    assert loss == 0.5
    assert estimate.grad.flatten().tolist() == [-2.0, 0.0]


@pytest.mark.parametrize("form", ["paper", "nonsaturating"])
def test_large_logits_give_finite_losses(form):
    logits, m = torch.tensor([[[1e4], [-1e4]]]), torch.zeros(1, 2, 1)
    assert torch.isfinite(generator_loss(logits, m, form))
    assert torch.isfinite(discriminator_loss(logits, m))


@pytest.mark.parametrize("form", ["paper", "nonsaturating"])
def test_generator_loss_falls_as_imputed_cells_pass_for_observed(form):
    logits, m = torch.zeros(1, 3, 1, requires_grad=True), torch.tensor([[[1.0], [0.0], [0.0]]])
    generator_loss(logits, m, form).backward()
    assert logits.grad.flatten().tolist() == [0.0, -0.5, -0.5]


def test_unknown_form_of_the_generator_loss_is_named():
    with pytest.raises(ValueError, match=r"'hinge'.*nonsaturating"):
        generator_loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), "hinge")

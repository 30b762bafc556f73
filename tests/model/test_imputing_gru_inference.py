"""The generator without gradient, in evaluation mode, against the one that is trained; and selection by bits."""

import numpy as np
import pytest
import torch

from model import Generator, JointClustering
from model.estimators.base import BLOCK
from model.series import select


def random_generator(n_channels, hidden_size, dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    generator = Generator(n_channels, hidden_size).to(dtype)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=dtype) * 0.7)
    return generator


def random_series(n_series, n_times, n_channels, dtype=torch.float32):
    """Series as a store has them: the batch is the contiguous axis."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(n_times, n_channels, n_series, generator=rng, dtype=dtype)
    return x.permute(2, 0, 1), (torch.rand(x.shape, generator=rng) < 0.6).permute(2, 0, 1)


@pytest.mark.parametrize("hidden_size", [1, 5, 16])
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("n_times", [1, 2, 46])
def test_estimates_in_evaluation_are_those_of_training(hidden_size, n_channels, n_times):
    generator = random_generator(n_channels, hidden_size, torch.float64)
    x, m = random_series(7, n_times, n_channels, torch.float64)
    expected = generator.estimates(x, m)
    generator.eval()
    torch.testing.assert_close(generator.estimates(x, m), expected, rtol=0, atol=0)  # with gradient: the same bits
    with torch.inference_mode():
        found = generator.estimates(x, m)
    torch.testing.assert_close(found, tuple(part.detach() for part in expected), rtol=0, atol=1e-12)


def test_without_gradient_but_in_training_nothing_changes():
    generator = random_generator(2, 5)
    x, m = random_series(32, 12, 2)
    expected = [part.detach() for part in generator.estimates(x, m)]
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(generator.estimates(x, m), expected, strict=True))


@pytest.mark.parametrize("stored", [0.0, -123.0, 1e30, float("nan"), float("inf")])
def test_numbers_at_missing_cells_have_no_influence_in_evaluation(stored):
    generator = random_generator(2, 5).eval()
    x, m = random_series(32, 12, 2)
    with torch.inference_mode():
        assert torch.equal(generator(torch.where(m, x, stored), m), generator(x, m))


@pytest.mark.parametrize(("hidden_size", "n_channels"), [(1, 1), (5, 1), (5, 3), (16, 1), (16, 2)])
def test_a_series_has_the_same_bits_in_batches_of_any_size(hidden_size, n_channels):
    rng = np.random.default_rng(0)
    X = rng.random((700, 9, n_channels)).astype(np.float32)
    X[rng.random(X.shape) < 0.3] = np.nan
    model = JointClustering(
        n_iter=2, warm_up=2, preset="robust", w_gen=0, hidden_size=hidden_size, batch_size=50, random_state=0
    ).fit(X[:200])
    whole = model.infer(X)
    for size in (1, 5, 32, 33, 64, 96, 250, 699):
        n = min(len(X), 8 * size)
        parts = model.infer(X[:n], batch_size=size)
        for one, other in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(one, other[:n])


def test_more_dates_than_a_block_have_the_bits_of_their_blocks():
    rng = np.random.default_rng(0)
    X = rng.random((2 * BLOCK + 5, 9)).astype(np.float32)
    X[rng.random(X.shape) < 0.3] = np.nan
    model = JointClustering(n_iter=2, warm_up=2, preset="robust", w_gen=0, batch_size=50, random_state=0).fit(X[:200])
    dates = torch.from_numpy(X.T[:, None].copy())
    together = model.infer_dates(dates)
    for start, n in ((0, 7), (BLOCK - 3, 6), (2 * BLOCK, 5)):
        alone = model.infer_dates(dates[..., start : start + n])
        for one, other in zip(alone.scaled, together.scaled, strict=True):
            assert torch.equal(one, other[start : start + n])


def test_training_and_inference_leave_the_number_of_threads_as_it_is_and_do_not_depend_on_it():
    rng = np.random.default_rng(0)
    X = rng.random((300, 9)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model = JointClustering(n_iter=4, preset="robust", warm_up=4, batch_size=150, random_state=0).fit(X)
            found.append((model.model_.state_dict(), model.infer(X)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    (weights, results), (other_weights, other_results) = found
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    for one, other in zip(results, other_results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_dates_in_are_the_series_that_infer_takes():
    rng = np.random.default_rng(0)
    X = rng.random((75, 9, 2)).astype(np.float32)
    X[rng.random(X.shape) < 0.3] = np.nan
    model = JointClustering(n_iter=2, warm_up=2, preset="robust", w_gen=0, batch_size=25, random_state=0).fit(X)
    found, expected = model.infer_dates(torch.from_numpy(X).permute(1, 2, 0)), model.infer(X)
    np.testing.assert_array_equal(found.q.numpy(), expected.proba)
    np.testing.assert_array_equal(found.z.numpy(), model.transform(X))
    np.testing.assert_array_equal(found.spread().permute(2, 0, 1).numpy(), expected.spread)
    gaps = np.isnan(X)
    np.testing.assert_array_equal(found.estimates().permute(2, 0, 1).numpy()[gaps], expected.filled[gaps])
    assert model.infer_dates(torch.empty(9, 2, 0)).q.shape == (0, 2)
    with pytest.raises(ValueError, match=r"float32 \(9, 75, 2\); this model takes torch.float32 .* T = 9, C = 2"):
        model.infer_dates(torch.from_numpy(X).permute(1, 0, 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.float32, torch.float64])
def test_selection_by_bits_is_where(dtype):
    rng = torch.Generator().manual_seed(0)
    x, other = ((torch.rand(5, 7, generator=rng) * 100).to(dtype) for _ in range(2))
    m = torch.rand(5, 7, generator=rng) < 0.5
    with torch.inference_mode():
        assert torch.equal(select(m, x, other), torch.where(m, x, other))
        assert torch.equal(select(m.t(), x.t(), other.t()), torch.where(m.t(), x.t(), other.t()))


def test_selection_passes_a_gradient_on_and_never_touches_what_is_not_chosen():
    m = torch.tensor([True, False])
    x, other = torch.tensor([2.0, torch.nan], requires_grad=True), torch.tensor([torch.inf, -0.0], requires_grad=True)
    chosen = select(m, x, other)
    chosen.sum().backward()
    assert (x.grad.tolist(), other.grad.tolist()) == ([1, 0], [0, 1])
    with torch.no_grad():
        assert torch.equal(select(m, x, other).view(torch.int32), chosen.view(torch.int32))

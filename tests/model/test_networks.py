"""Checks 1, 2, 3 and 8 of the method, and the networks against NumPy or torch's own layers."""

import numpy as np
import pytest
import torch

from model import Autoencoder, Discriminator, Generator
from tests.support import oracle


def random_generator(n_channels=1, hidden_size=5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    generator = Generator(n_channels, hidden_size).double()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * 0.7)
    return generator


def random_series(n_series=4, n_times=11, n_channels=1, seed=1):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n_series, n_times, n_channels, generator=rng, dtype=torch.float64)
    return x, torch.rand(x.shape, generator=rng) < 0.6


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("n_times", [1, 7, 46])
def test_generator_against_numpy(n_channels, n_times):
    generator = random_generator(n_channels)
    x, m = random_series(3, n_times, n_channels)
    parameters = {name: p.detach().numpy() for name, p in generator.named_parameters()}
    expected = oracle.generator(x.numpy(), m.numpy().astype(float), parameters)
    np.testing.assert_allclose(generator(x, m).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_check_1_no_estimate_sees_its_own_value_and_every_other_observed_one_reaches_it():
    generator = random_generator()
    x, m = random_series(1, 8)
    jacobian = torch.autograd.functional.jacobian(lambda v: generator(v, m), x)[0, :, 0, 0, :, 0]  # (t, s)
    assert torch.equal(jacobian.diagonal(), torch.zeros(8, dtype=torch.float64))
    for s in range(8):
        others = [t for t in range(8) if t != s]
        assert (jacobian[others, s] != 0).all() if m[0, s, 0] else (jacobian[:, s] == 0).all()


def test_check_2_flipping_time_and_swapping_the_directions_flips_the_estimate():
    generator = random_generator()
    x, m = random_series()
    swapped = Generator().double()
    swapped.load_state_dict({name: value.flip(0) for name, value in generator.state_dict().items()})
    torch.testing.assert_close(swapped(x.flip(1), m.flip(1)), generator(x, m).flip(1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("stored", [0.0, -123.0, 1e30, float("nan"), float("inf")])
def test_check_3_numbers_stored_at_missing_cells_have_no_influence(stored):
    generator = random_generator(2)
    x, m = random_series(n_channels=2)
    assert torch.equal(generator(torch.where(m, x, stored), m), generator(x, m))


def test_check_8_all_missing_single_observation_and_constant_series_give_finite_estimates():
    generator = random_generator()
    m = torch.zeros(3, 46, 1, dtype=torch.bool)
    m[1, 20], m[2] = True, True
    x_hat = generator(torch.full((3, 46, 1), 0.4, dtype=torch.float64), m)
    assert torch.isfinite(x_hat).all()
    # Without any observation the estimate is the one that the weights alone give: the same for every such series.
    again = generator(torch.rand(1, 46, 1, dtype=torch.float64), m[:1])
    torch.testing.assert_close(again[0], x_hat[0], rtol=0, atol=1e-14)


def test_check_8_channels_have_masks_of_their_own():
    generator = random_generator(2)
    x, m = random_series(1, 6, 2)
    m[:] = True
    m[0, 3, 1] = False
    by_x = torch.autograd.functional.jacobian(lambda v: generator(v, m).sum(), x)[0]
    assert by_x[3, 1] == 0
    assert by_x[3, 0] != 0


def test_generator_mask_may_be_numbers():
    generator = random_generator()
    x, m = random_series()
    assert torch.equal(generator(x, m.double()), generator(x, m))


def test_discriminator_against_torch_layers():
    discriminator = Discriminator(2, torch.Generator().manual_seed(0)).double()
    hidden, _ = random_series(3, 5, 2)
    series = hidden
    for layer in discriminator.layers:
        units, n_inputs = layer.weight_hh.shape[1], layer.weight_ih.shape[1]
        reference = torch.nn.GRU(n_inputs, units, batch_first=True).double()
        with torch.no_grad():
            for theirs, mine in zip(reference.parameters(), layer.parameters(), strict=True):
                theirs.copy_(mine)
        hidden = reference(hidden)[0]
    expected = discriminator.output(hidden)
    torch.testing.assert_close(discriminator(series), expected, rtol=0, atol=1e-13)
    assert [layer.weight_hh.shape[1] for layer in discriminator.layers] == [32, 16, 8, 16, 32]


def test_autoencoder_has_the_paper_layers_and_linear_ends():
    autoencoder = Autoencoder(46, 5, torch.Generator().manual_seed(0))
    layers = [layer for part in (autoencoder.encoder, autoencoder.decoder) for layer in part]
    widths = [layer.out_features for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [30, 20, 10, 5, 10, 20, 30, 46]
    x = torch.rand(7, 46)
    z = autoencoder.encode(x)
    assert z.shape == (7, 5)
    assert (z < 0).any()  # a ReLU on the embedding would forbid it
    assert torch.equal(autoencoder(x), autoencoder.decode(z))


def test_building_networks_leaves_the_global_random_numbers_alone_and_follows_its_own():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    rng = torch.Generator().manual_seed(1)
    first = [Generator(rng=rng), Discriminator(rng=rng), Autoencoder(46, rng=rng)]
    assert torch.equal(torch.rand(3), expected)
    rng = torch.Generator().manual_seed(1)
    second = [Generator(rng=rng), Discriminator(rng=rng), Autoencoder(46, rng=rng)]
    for one, other in zip(first, second, strict=True):
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(p, q)

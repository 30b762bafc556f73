import pytest
import torch

from model.networks.gru import GRU
from model.networks.imputing_gru import imputing_gru


def normal_parameters(module, seed=0):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype))
    return module


@pytest.fixture
def layer_and_reference():
    layer = normal_parameters(GRU(3, 4).double())
    reference = torch.nn.GRU(3, 4).double()
    with torch.no_grad():
        for mine, theirs in zip(layer.parameters(), reference.parameters(), strict=True):
            theirs.copy_(mine)
    return layer, reference


def test_gru_equals_torch_in_values_and_every_gradient(layer_and_reference):
    layer, reference = layer_and_reference
    x = torch.randn(9, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))  # (T, I, B)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = layer(mine)
    expected = reference(theirs.permute(0, 2, 1))[0].permute(0, 2, 1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-12)
    for p, q in zip(layer.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-11)


def test_gru_without_gradient_gives_the_same_values(layer_and_reference):
    layer, _ = layer_and_reference
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    with torch.inference_mode():
        values = layer(x)
    assert torch.equal(values, layer(x).detach())


def test_gru_gives_only_the_gradients_that_are_asked_for(layer_and_reference):
    layer, _ = layer_and_reference
    x = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    layer(x).sum().backward()
    by_x, by_weight = x.grad.clone(), layer.weight_hh.grad.clone()
    layer.zero_grad()
    layer.requires_grad_(False)
    (only_x,) = torch.autograd.grad(layer(x).sum(), x)
    assert torch.equal(only_x, by_x)
    assert layer.weight_hh.grad is None
    layer.requires_grad_(True)
    (only_weight,) = torch.autograd.grad(layer(x.detach()).sum(), layer.weight_hh)
    assert torch.equal(only_weight, by_weight)


def test_imputing_gru_passes_gradcheck_in_every_argument():
    rng = torch.Generator().manual_seed(2)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=rng).requires_grad_()

    x, observed = normal(6, 2, 3), torch.rand(6, 2, 3, generator=rng) < 0.6
    parameters = (normal(2, 4), normal(2), normal(12, 2), normal(12, 4), normal(12), normal(12))
    assert torch.autograd.gradcheck(lambda x, *p: imputing_gru(x, observed, *p), (x, *parameters))


def test_gru_passes_gradcheck():
    layer = normal_parameters(GRU(2, 3).double())
    names = [name for name, _ in layer.named_parameters()]
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *layer.parameters()))


def test_xavier_bound_is_that_of_one_gate():
    layer = GRU(1, 32, torch.Generator().manual_seed(0))
    bound = (6 / (1 + 32)) ** 0.5
    assert bound * 0.9 < float(layer.weight_ih.detach().abs().max()) <= bound
    assert not layer.bias_ih.any()
    assert not layer.bias_hh.any()

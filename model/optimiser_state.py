"""Networks and optimisers as flat dictionaries of tensors, the form in which states of training are held and kept."""

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors under names that begin with the prefix and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose names begin with the prefix and a dot, without both."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def read_state(model: nn.Module, optimisers: dict[str, torch.optim.Optimizer]) -> Tensors:
    """Copies of all weights and of the optimisers' moments; learning rates are left to the caller."""
    found = prefixed("model", model.state_dict())
    for name, optimiser in optimisers.items():
        for parameter, moments in optimiser.state_dict()["state"].items():
            found |= prefixed(f"{name}.{parameter}", {k: v for k, v in moments.items() if v is not None})
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def write_state(tensors: Tensors, model: nn.Module, optimisers: dict[str, torch.optim.Optimizer]) -> None:
    """Set weights and moments to what `read_state` gave; moments that it did not find begin anew."""
    model.load_state_dict(below("model", tensors))
    for name, optimiser in optimisers.items():
        state: dict[int, Tensors] = {}
        for key, tensor in below(name, tensors).items():
            parameter, _, moment = key.partition(".")
            state.setdefault(int(parameter), {})[moment] = tensor.clone()
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})

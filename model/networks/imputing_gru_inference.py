"""The generator's recurrence without gradient, in half the time.

Equals, up to rounding: `imputing_gru` for one direction, that is `torch.nn.functional.linear` and `torch.gru_cell` at
every date.

Each direction is a GRU of its own, not one half of a block-diagonal one. The state is s = (h + 1) / 2: tanh is then a
sigmoid too, as tanh(a) = 2 sigmoid(2a) - 1, and W h = 2 W s - W 1. Rows of ones and of inputs are below the state in
one buffer, so that a single product yields the gates with their biases.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Weights(NamedTuple):
    """Matrices of one direction; their columns meet the rows s (H) | 1 | u (C) of the buffer."""

    estimate: Tensor  # (C, H + 1): e from s | 1
    gates: Tensor  # (3H, H + 1 + C): n_hidden | reset | update from s | 1 | u
    candidate: Tensor  # (H, 1 + C): the input's part of n, from 1 | u


def weights_for_estimation(
    weight_imp: Tensor, bias_imp: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> Weights:
    """Return one direction's parameters, as `imputing_gru` takes them, in the form that `estimates_by_date` takes."""
    size = weight_hh.shape[1]
    (input_r, input_z, input_n), (hidden_r, hidden_z, hidden_n) = weight_ih.split(size), weight_hh.split(size)
    bias_r, bias_z, _ = (bias_ih + bias_hh).split(size)
    hidden = torch.cat((2 * hidden_n, hidden_r, hidden_z))
    bias = torch.cat((2 * bias_hh[2 * size :], bias_r, bias_z))
    inputs = torch.cat((torch.zeros_like(input_n), input_r, input_z))
    return Weights(
        torch.cat((2 * weight_imp, (bias_imp - weight_imp.sum(1)).unsqueeze(1)), 1),
        torch.cat((2 * hidden, (bias - hidden.sum(1)).unsqueeze(1), inputs), 1),
        torch.cat((2 * bias_ih[2 * size :].unsqueeze(1), 2 * input_n), 1),
    )


def estimates_by_date(x: Tensor, observed: Tensor, weights: Weights, *, backward: bool) -> Tensor:
    """Return estimates e (T, C, B) of x (T, C, B), each made before its own value is seen (Eqs 1-2); no gradient.

    x is 0 and observed 0, where there is no observation; observed is 1 elsewhere. `backward` goes through the dates
    from the last to the first.
    """
    _, n_channels, batch = x.shape
    size = weights.candidate.shape[0]
    buffer = x.new_empty(size + 1 + n_channels, batch)  # s | 1 | u
    buffer[:size], buffer[size] = 0.5, 1
    rows = x.new_empty(3 * size, batch)
    n_hidden, n, update = rows.view(3, size, batch).unbind()
    gates, s, s_one, one_u, u = rows[size:], buffer[:size], buffer[: size + 1], buffer[size:], buffer[size + 1 :]
    estimates = torch.empty_like(x)
    dates = list(zip(x.unbind(), observed.unbind(), estimates.unbind(), strict=True))
    for x_t, m_t, e_t in reversed(dates) if backward else dates:
        torch.mm(weights.estimate, s_one, out=e_t)
        torch.lerp(e_t, x_t, m_t, out=u)  # m x + (1 - m) e, exactly x or e
        torch.mm(weights.gates, buffer, out=rows)
        gates.sigmoid_()
        # n = sigmoid(2 (W_xn u + b_xn) + r 2 (W_hn h + b_hn)), in the place of r
        n.mul_(n_hidden).addmm_(weights.candidate, one_u).sigmoid_()
        torch.lerp(n, s, update, out=s)  # (1 - z) n + z s
    return estimates

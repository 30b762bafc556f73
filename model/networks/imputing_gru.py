"""The generator's recurrence: a GRU that estimates each value before it sees it (Eqs 1-2), differentiated by hand.

Equals, up to rounding, at every date: `e = torch.nn.functional.linear(h, weight_imp, bias_imp)`, then
`h = torch.gru_cell(torch.where(m, x, e), h, weight_ih, weight_hh, bias_ih, bias_hh)`.

Layouts are those of `networks.gru`; the estimate is one more block of rows in front of the gates, so that one product
with h serves both.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.networks.gru import gru_step, gru_step_derivatives, kernel_bias, kernel_order


def _run(
    x: Tensor,
    observed: Tensor,
    weight_imp: Tensor,
    bias_imp: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return estimates, inputs (T, C, B), states (T + 1, H, B) and rows (T, C + 4H, B).

    Unless they are kept, there are states of two dates and rows of one.

    x is 0 and observed 0, where there is no observation; observed is 1 elsewhere.
    """
    n_times, n_channels, batch = x.shape
    size = weight_hh.shape[1]
    rows = x.new_empty(n_times if keep else 1, n_channels + 4 * size, batch)  # e | n_h | r | z | n_x
    states = x.new_empty(n_times + 1 if keep else 2, size, batch)
    states[0] = 0
    estimates, inputs = torch.empty_like(x), torch.empty_like(x)
    bias = torch.cat((bias_imp.unsqueeze(1), kernel_bias(bias_ih, bias_hh))).expand(rows.shape[1], batch)
    weight_h = torch.cat((weight_imp, kernel_order(weight_hh)))
    dates = zip(x.unbind(), observed.unbind(), estimates.unbind(), inputs.unbind(), strict=True)
    all_rows, all_states, one = rows.unbind(), states.unbind(), x.new_ones(())
    for t, (x_t, m_t, e_t, u_t) in enumerate(dates):
        row = all_rows[t % len(all_rows)]
        h, h_next = all_states[t % len(all_states)], all_states[(t + 1) % len(all_states)]
        row.copy_(bias)
        row[: n_channels + 3 * size].addmm_(weight_h, h)
        e_t.copy_(row[:n_channels])
        torch.lerp(e_t, x_t, m_t, out=u_t)  # m x + (1 - m) e, exactly x or e
        gates = row[n_channels:]
        gates[size:].addmm_(weight_ih, u_t)
        gru_step(gates, h, h_next, one)
    return estimates, inputs, states, rows


class _ImputingGRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, observed: Tensor, *parameters: Tensor) -> Tensor:
        estimates, inputs, states, rows = _run(x, observed, *parameters, keep=True)
        weight_imp, _, weight_ih, weight_hh, _, _ = parameters
        ctx.save_for_backward(observed, weight_imp, weight_ih, weight_hh, inputs, states, rows)
        return estimates

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_estimates: Tensor) -> tuple[Tensor | None, ...]:
        observed, weight_imp, weight_ih, weight_hh, inputs, states, rows = ctx.saved_tensors
        n_times, n_channels, batch = inputs.shape
        size = weight_hh.shape[1]
        need_weights = any(ctx.needs_input_grad[2:])
        missing = 1 - observed
        weight_h = torch.cat((weight_imp, kernel_order(weight_hh)))
        weight_h_t, weight_i_t = weight_h.t().contiguous(), weight_ih.t().contiguous()
        grad_weight_h, grad_ih = torch.zeros_like(weight_h), torch.zeros_like(weight_ih)
        grad_bias, ones = inputs.new_zeros(rows.shape[1]), inputs.new_ones(batch)
        grad_inputs = torch.empty_like(inputs)
        derivatives, scratch = inputs.new_empty(4, size, batch), inputs.new_empty(size, batch)
        delta = inputs.new_empty(rows.shape[1], batch)  # d loss / d (e | n_h | r | z | n_x) of one date
        delta_estimate, delta_gates = delta[:n_channels], delta[n_channels:].view(4, size, batch)
        delta_hidden, delta_input = delta[: n_channels + 3 * size], delta[n_channels + size :]
        grad_h, one = inputs.new_zeros(size, batch), inputs.new_ones(())
        all_gates, all_states, all_inputs = rows[:, n_channels:].unbind(), states.unbind(), inputs.unbind()
        all_grad_inputs, all_grad, all_missing = grad_inputs.unbind(), grad_estimates.unbind(), missing.unbind()
        for t in range(n_times - 1, -1, -1):
            gru_step_derivatives(all_gates[t], all_states[t], derivatives, scratch, one)
            torch.mul(grad_h, derivatives, out=delta_gates)
            torch.mm(weight_i_t, delta_input, out=all_grad_inputs[t])
            # An estimate reaches the loss by itself and, where nothing was observed, as the GRU's input.
            torch.addcmul(all_grad[t], all_missing[t], all_grad_inputs[t], out=delta_estimate)
            grad_h.mul_(all_gates[t][2 * size : 3 * size]).addmm_(weight_h_t, delta_hidden)
            if need_weights:
                grad_weight_h.addmm_(delta_hidden, all_states[t].t())
                grad_ih.addmm_(delta_input, all_inputs[t].t())
                grad_bias.addmv_(delta, ones)
        grad_x = grad_inputs * observed if ctx.needs_input_grad[0] else None
        if not need_weights:
            return grad_x, *(None,) * 7
        grad_imp, grad_hh = grad_weight_h[:n_channels], grad_weight_h[n_channels:].roll(-size, 0)
        grad_gates = grad_bias[n_channels:]
        grad_bias_hh = torch.cat((grad_gates[size : 3 * size], grad_gates[:size]))
        return grad_x, None, grad_imp, grad_bias[:n_channels], grad_ih, grad_hh, grad_gates[size:], grad_bias_hh


def imputing_gru(
    x: Tensor,
    observed: Tensor,
    weight_imp: Tensor,
    bias_imp: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> Tensor:
    """Return estimates e (T, C, B) of x (T, C, B), each made before its own value is seen (Eqs 1-2).

    `observed` is a bool tensor of x's shape; weight_imp (C, H), bias_imp (C,); the rest as in torch.nn.GRU.
    """
    parameters = (weight_imp, bias_imp, weight_ih, weight_hh, bias_ih, bias_hh)
    x, observed = torch.where(observed, x, 0), observed.to(x.dtype)
    if torch.is_grad_enabled():
        estimates: Tensor = _ImputingGRU.apply(x, observed, *parameters)
        return estimates
    return _run(x, observed, *parameters, keep=False)[0]

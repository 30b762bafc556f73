"""A gated recurrent unit over whole sequences, written for small hidden sizes and large batches on a CPU.

Equals, up to rounding: `torch.nn.GRU(n_inputs, hidden_size)(x.transpose(1, 2))[0].transpose(1, 2)`.

Only the order of the work differs. Every buffer is (features, batch) at one date, so that the batch is the contiguous
axis and a gate is one contiguous block. The backward pass is written by hand: the local derivatives do not depend on
the incoming gradient, which leaves one product a date in the recurrence.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # g y (1 - y)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # g (1 - y^2)


def gru_step(gates: Tensor, h: Tensor, h_next: Tensor, one: Tensor) -> None:
    """Compute one date of a GRU: equals `torch.gru_cell` after its two matrix products.

    Pre-activations become gate values, in place, and h_next becomes the next hidden state.

    gates (4H, B): W_hn h + b_hn | reset | update | W_xn x + b_xn before; the first block as it was | r | z | n after.

    `one` is the number 1 as a tensor: torch would wrap a plain number in every call.
    """
    size = h.shape[0]
    n_hidden, r, z, n = gates.view(4, size, -1).unbind()
    gates[size : 3 * size].sigmoid_()
    # tanh(a) = 2 sigmoid(2a) - 1: on a CPU torch's sigmoid is several times faster than its tanh.
    n.addcmul_(r, n_hidden)
    n.add_(n).sigmoid_()
    n.add_(n).sub_(one)
    torch.lerp(n, h, z, out=h_next)  # (1 - z) n + z h


def gru_step_derivatives(gates: Tensor, h: Tensor, out: Tensor, scratch: Tensor, one: Tensor) -> None:
    """Write the derivatives of h_next by the four blocks of pre-activations to out (4, H, B); gates are of gru_step."""
    n_hidden, r, z, n = gates.view_as(out).unbind()
    by_n_hidden, by_r, by_z, by_n = out.unbind()
    torch.sub(one, z, out=scratch)
    _tanh_backward(scratch, n, grad_input=by_n)
    torch.sub(h, n, out=scratch)
    _sigmoid_backward(scratch, z, grad_input=by_z)
    torch.mul(by_n, r, out=by_n_hidden)
    torch.mul(by_n, n_hidden, out=scratch)
    _sigmoid_backward(scratch, r, grad_input=by_r)


def kernel_order(weight_hidden: Tensor) -> Tensor:
    """Return rows r | z | n, the order of torch.nn.GRU, in the order n | r | z of the first 3H rows of gates."""
    return weight_hidden.roll(weight_hidden.shape[0] // 3, 0)


def kernel_bias(bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    """Return the bias (4H, 1) of the four blocks of gates, made of torch's two biases (3H,)."""
    size = bias_ih.shape[0] // 3
    blocks = (bias_hh[2 * size :], bias_ih[: 2 * size] + bias_hh[: 2 * size], bias_ih[2 * size :])
    return torch.cat(blocks).unsqueeze(1)


def _run(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, keep_gates: bool
) -> tuple[Tensor, Tensor]:
    """Return all hidden states (T + 1, H, B), the zero state first, and the gates (T or 1, 4H, B)."""
    n_times, _, batch = x.shape
    size = weight_hh.shape[1]
    gates = x.new_empty(n_times if keep_gates else 1, 4 * size, batch)
    states = x.new_empty(n_times + 1, size, batch)
    states[0] = 0
    bias = kernel_bias(bias_ih, bias_hh).expand(4 * size, batch)
    weight_h = kernel_order(weight_hh)
    all_gates = gates.unbind() if keep_gates else gates.unbind() * n_times
    all_states, one = states.unbind(), x.new_ones(())
    for t, x_t in enumerate(x.unbind()):
        g = all_gates[t]
        g.copy_(bias)
        g[size:].addmm_(weight_ih, x_t)
        g[: 3 * size].addmm_(weight_h, all_states[t])
        gru_step(g, all_states[t], all_states[t + 1], one)
    return states, gates


class _GRUSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        states, gates = _run(x, weight_ih, weight_hh, bias_ih, bias_hh, keep_gates=True)
        ctx.save_for_backward(x, weight_ih, weight_hh, states, gates)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_ih, weight_hh, states, gates = ctx.saved_tensors
        n_times, _, batch = x.shape
        size = weight_hh.shape[1]
        need_x, need_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:])
        weight_h = kernel_order(weight_hh)
        weight_h_t, weight_i_t = weight_h.t().contiguous(), weight_ih.t().contiguous()
        grad_x = torch.empty_like(x) if need_x else None
        grad_ih, grad_h = torch.zeros_like(weight_ih), torch.zeros_like(weight_h)
        grad_bias, ones = x.new_zeros(4 * size), x.new_ones(batch)
        derivatives, scratch = x.new_empty(4, size, batch), x.new_empty(size, batch)
        delta = x.new_empty(4 * size, batch)  # d loss / d pre-activations of one date
        delta_hidden, delta_input, delta_blocks = delta[: 3 * size], delta[size:], delta.view(4, size, batch)
        grad_h_t, one = x.new_zeros(size, batch), x.new_ones(())
        all_gates, all_states, all_x, all_grad = gates.unbind(), states.unbind(), x.unbind(), grad_states.unbind()
        for t in range(n_times - 1, -1, -1):
            grad_h_t.add_(all_grad[t])
            gru_step_derivatives(all_gates[t], all_states[t], derivatives, scratch, one)
            torch.mul(grad_h_t, derivatives, out=delta_blocks)
            grad_h_t.mul_(all_gates[t][2 * size : 3 * size]).addmm_(weight_h_t, delta_hidden)
            if grad_x is not None:
                torch.mm(weight_i_t, delta_input, out=grad_x[t])
            if need_weights:
                grad_ih.addmm_(delta_input, all_x[t].t())
                grad_h.addmm_(delta_hidden, all_states[t].t())
                grad_bias.addmv_(delta, ones)
        if not need_weights:
            return grad_x, None, None, None, None
        grad_bias_hh = torch.cat((grad_bias[size : 3 * size], grad_bias[:size]))
        return grad_x, grad_ih, grad_h.roll(-size, 0), grad_bias[size:], grad_bias_hh


def xavier_per_gate(weight: Tensor, n_gates: int, rng: torch.Generator | None) -> None:
    """Draw Xavier-uniform weights for each gate's block of rows: the bound is that of one block, not of the stack."""
    for block in weight.detach().chunk(n_gates, dim=-2):
        nn.init.xavier_uniform_(block, generator=rng)


class GRU(nn.Module):
    """One GRU layer over (T, n_inputs, B) sequences; parameters named, shaped and ordered as in torch.nn.GRU."""

    def __init__(self, n_inputs: int, hidden_size: int, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, n_inputs))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(3 * hidden_size))
        xavier_per_gate(self.weight_ih, 3, rng)
        xavier_per_gate(self.weight_hh, 3, rng)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states (T, H, B) of the sequence x (T, n_inputs, B), from a zero state."""
        parameters = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if torch.is_grad_enabled():
            states: Tensor = _GRUSequence.apply(x, *parameters)
            return states
        return _run(x, *parameters, keep_gates=False)[0][1:]

"""The three networks of the method (section III of the paper): generator, discriminator, autoencoder."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from model.networks.gru import GRU, xavier_per_gate
from model.networks.imputing_gru import imputing_gru
from model.networks.imputing_gru_inference import estimates_by_date, weights_for_estimation
from model.series import channel_mean, select


def _linear(n_inputs: int, n_outputs: int, rng: torch.Generator | None) -> nn.Linear:
    # skip_init: nn.Linear's own initialisation would draw from torch's global random numbers.
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)
    nn.init.xavier_uniform_(layer.weight, generator=rng)
    nn.init.zeros_(layer.bias)
    return layer


class Generator(nn.Module):
    """Bidirectional imputing GRU (Eqs 1-3), which estimates the value of every date from all others.

    Parameters hold both directions, forward first, on their leading axis. `rng` draws the initial weights.
    """

    def __init__(self, n_channels: int = 1, hidden_size: int = 5, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.n_channels, self.hidden_size = n_channels, hidden_size
        self.weight_imp = nn.Parameter(torch.empty(2, n_channels, hidden_size))
        self.bias_imp = nn.Parameter(torch.zeros(2, n_channels))
        self.weight_ih = nn.Parameter(torch.empty(2, 3 * hidden_size, n_channels))
        self.weight_hh = nn.Parameter(torch.empty(2, 3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(2, 3 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(2, 3 * hidden_size))
        self.reset(rng)

    @torch.no_grad()
    def reset(self, rng: torch.Generator | None = None) -> None:
        """Draw new weights, and set the biases to zero."""
        for bias in (self.bias_imp, self.bias_ih, self.bias_hh):
            bias.zero_()
        for direction in range(2):
            xavier_per_gate(self.weight_imp[direction], 1, rng)
            xavier_per_gate(self.weight_ih[direction], 3, rng)
            xavier_per_gate(self.weight_hh[direction], 3, rng)

    @torch.no_grad()
    def start_from(self, x: Tensor, m: Tensor) -> None:
        """Set the first estimate (b_imp) to the mean of the training set x, m (n, T, C), x being 0 where missing."""
        self.bias_imp.copy_(channel_mean(x, m))

    def estimates(self, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Return estimates (Eqs 1-2) of forward and backward direction, (B, T, C) as x and m; m true = observed.

        In evaluation mode and without gradient `imputing_gru_inference` computes them: twice as fast, but rounded
        differently.
        """
        series = x.permute(1, 2, 0)  # (T, C, B)
        observed = m.permute(1, 2, 0) != 0
        if not self.training and not torch.is_grad_enabled():
            given, known = select(observed, series, torch.zeros_like(series)), observed.to(series.dtype)
            forward, backward = (self._estimates_of_one(given, known, direction) for direction in range(2))
            return forward.permute(2, 0, 1), backward.permute(2, 0, 1)
        both = imputing_gru(
            torch.cat((series, series.flip(0)), 1),  # (T, 2C, B)
            torch.cat((observed, observed.flip(0)), 1),
            self._both(self.weight_imp, 1),
            self.bias_imp.flatten(),
            self._both(self.weight_ih, 3),
            self._both(self.weight_hh, 3),
            self.bias_ih.view(2, 3, -1).transpose(0, 1).flatten(),
            self.bias_hh.view(2, 3, -1).transpose(0, 1).flatten(),
        )
        forward, backward = both.split(self.n_channels, 1)
        return forward.permute(2, 0, 1), backward.flip(0).permute(2, 0, 1)

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """Return X_hat (B, T, C) of Eq 3, the mean of both directions; values of x where m is 0 have no influence."""
        forward, backward = self.estimates(x, m)
        return (forward + backward) / 2

    def _estimates_of_one(self, series: Tensor, observed: Tensor, direction: int) -> Tensor:
        hidden = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        weights = weights_for_estimation(*(p[direction] for p in (self.weight_imp, self.bias_imp, *hidden)))
        return estimates_by_date(series, observed, weights, backward=direction == 1)

    @staticmethod
    def _both(weight: Tensor, n_gates: int) -> Tensor:
        """Return two directions (2, gates * a, b) as one block-diagonal (gates * 2a, 2b), for one GRU of width 2H."""
        _, rows, columns = weight.shape
        per_gate = weight.view(2, n_gates, rows // n_gates, columns)
        own = torch.eye(2, dtype=weight.dtype, device=weight.device)
        return torch.einsum("dgab,de->gdaeb", per_gate, own).reshape(2 * rows, 2 * columns)


class Discriminator(nn.Module):
    """Five stacked GRUs (32-16-8-16-32 units) and a linear layer; for every cell the logit that it was observed."""

    UNITS = (32, 16, 8, 16, 32)

    def __init__(self, n_channels: int = 1, rng: torch.Generator | None = None) -> None:
        super().__init__()
        inputs = (n_channels, *self.UNITS[:-1])
        self.layers = nn.ModuleList(GRU(i, units, rng) for i, units in zip(inputs, self.UNITS, strict=True))
        self.output = _linear(self.UNITS[-1], n_channels, rng)

    def forward(self, x_hat: Tensor) -> Tensor:
        """Return the logits S (B, T, C) of the series x_hat (B, T, C); D = sigmoid(S)."""
        hidden = x_hat.permute(1, 2, 0).contiguous()  # (T, C, B)
        for layer in self.layers:
            hidden = layer(hidden)
        logits = torch.matmul(self.output.weight, hidden) + self.output.bias.unsqueeze(1)
        return logits.permute(2, 0, 1)


class Autoencoder(nn.Module):
    """n_inputs - 30 - 20 - 10 - E - 10 - 20 - 30 - n_inputs; ReLU inside, linear embedding and output."""

    UNITS = (30, 20, 10)

    def __init__(self, n_inputs: int, embedding_size: int = 5, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.n_inputs, self.embedding_size = n_inputs, embedding_size
        self.encoder = self._stack((n_inputs, *self.UNITS, embedding_size), rng)
        self.decoder = self._stack((embedding_size, *self.UNITS[::-1], n_inputs), rng)

    def encode(self, x_flat: Tensor) -> Tensor:
        """Return the embedding z (B, E) of flattened series (B, T * C).

        In evaluation mode and without gradient the batch is the contiguous axis of every product, as in the generator:
        a layer of few units is otherwise rounded differently from row to row of one batch.
        """
        if not self.training and not torch.is_grad_enabled():
            columns = x_flat.t()  # (T * C, B)
            for layer in self.encoder:
                if isinstance(layer, nn.Linear):
                    columns = torch.addmm(layer.bias.unsqueeze(1), layer.weight, columns)
                else:
                    columns = layer(columns)
            return columns.t()
        z: Tensor = self.encoder(x_flat)
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstruction (B, T * C) of the embedding z (B, E)."""
        reconstruction: Tensor = self.decoder(z)
        return reconstruction

    def forward(self, x_flat: Tensor) -> Tensor:
        """Return the reconstruction (B, T * C) of flattened series (B, T * C)."""
        return self.decode(self.encode(x_flat))

    @staticmethod
    def _stack(sizes: tuple[int, ...], rng: torch.Generator | None) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n_inputs, n_outputs in pairwise(sizes):
            layers += [_linear(n_inputs, n_outputs, rng), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers[:-1])

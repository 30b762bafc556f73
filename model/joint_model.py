"""The networks of the joint method together, and what one forward pass of them gives."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.assignment import soft_assignment
from model.networks import Autoencoder, Discriminator, Generator


class Outcome(NamedTuple):
    """One forward pass over series (B, T, C), without the discriminator."""

    x_tilde: Tensor  # (B, T, C) observed values, and estimates where there are none
    spread: Tensor  # (B, T, C) |e_fwd - e_bwd|
    x_hat: Tensor  # (B, T, C)
    z: Tensor  # (B, E)
    q: Tensor  # (B, K)


class JointModel(nn.Module):
    """Generator, autoencoder, cluster centres and, where an adversarial term is wanted, the discriminator."""

    def __init__(
        self,
        n_times: int,
        n_channels: int,
        n_clusters: int,
        hidden_size: int,
        embedding_size: int,
        adversarial: bool,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.generator = Generator(n_channels, hidden_size, rng)
        self.autoencoder = Autoencoder(n_times * n_channels, embedding_size, rng)
        self.centres = nn.Parameter(torch.zeros(n_clusters, embedding_size))
        self.discriminator = Discriminator(n_channels, rng) if adversarial else None

    def clustering_parameters(self) -> list[nn.Parameter]:
        """What the second step of an iteration trains: everything but the discriminator."""
        return [*self.generator.parameters(), *self.autoencoder.parameters(), self.centres]

    def forward(self, x: Tensor, m: Tensor) -> Outcome:
        """x (B, T, C) scaled, any number where m (B, T, C) is false."""
        forward, backward = self.generator.estimates(x, m)
        x_hat = (forward + backward) / 2
        x_tilde = torch.where(m, x, x_hat)
        z = self.autoencoder.encode(x_tilde.flatten(1))
        return Outcome(x_tilde, (forward - backward).abs(), x_hat, z, soft_assignment(z, self.centres))

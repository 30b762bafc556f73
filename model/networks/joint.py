"""The networks of the joint method together, and the plain filling that may replace its generator."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model.losses import soft_assignment
from model.networks.networks import Autoencoder, Discriminator, Generator
from model.networks.series_model import Outcome, SeriesModel
from model.parameters import with_preset
from model.series import channel_mean, select, series_mean


class JointModel(SeriesModel):
    """Generator, autoencoder, cluster centres and, where an adversarial term is wanted, the discriminator.

    filling "network" has the generator of the paper (Eqs 1-3), "mean" the mean of each series in its place.
    """

    def __init__(
        self,
        n_times: int,
        n_channels: int,
        n_clusters: int,
        hidden_size: int,
        embedding_size: int,
        adversarial: bool,
        rng: torch.Generator | None = None,
        filling: str = "network",
    ) -> None:
        super().__init__()
        self.n_times, self.n_channels = n_times, n_channels
        self.generator: Generator | MeanFilling = (
            MeanFilling(n_channels) if filling == "mean" else Generator(n_channels, hidden_size, rng)
        )
        self.autoencoder = Autoencoder(n_times * n_channels, embedding_size, rng)
        self.centres = nn.Parameter(torch.zeros(n_clusters, embedding_size))
        self.discriminator = Discriminator(n_channels, rng) if adversarial else None

    def clustering_parameters(self) -> list[nn.Parameter]:
        """Return what the second step of an iteration trains: everything but the discriminator."""
        return [*self.generator.parameters(), *self.autoencoder.parameters(), self.centres]

    def forward(self, x: Tensor, m: Tensor) -> Outcome:
        """Pass scaled x (B, T, C) through the networks; it may be any number where m (B, T, C) is false."""
        forward, backward = self.generator.estimates(x, m)
        x_hat = (forward + backward) / 2
        x_tilde = select(m, x, x_hat)
        z = self.autoencoder.encode(x_tilde.flatten(1))
        return Outcome(x_tilde, forward, backward, x_hat, z, soft_assignment(z, self.centres))

    def decoded_centres(self) -> Tensor:
        """Return the scaled series (K, T, C) into which the decoder turns the centres."""
        decoded = self.autoencoder.decode(self.centres)  # (K, T * C)
        return decoded.view(len(decoded), self.n_times, self.n_channels)


def new_model(
    parameters: Mapping[str, Any], n_times: int, n_channels: int, rng: torch.Generator | None = None
) -> JointModel:
    """Return an untrained model as the parameters ask for it, with a discriminator only where w_gen is above 0."""
    return JointModel(
        n_times,
        n_channels,
        parameters["n_clusters"],
        parameters["hidden_size"],
        parameters["embedding_size"],
        adversarial=with_preset(parameters)["w_gen"] > 0,
        rng=rng,
        filling=parameters["filling"],
    )


class MeanFilling(nn.Module):
    """Filling of every value of a series by the mean of its own observations in the channel; nothing is learned.

    A channel that a series never observed takes the mean of the channel over the training set, which `start_from` sets.
    """

    channel_mean: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("channel_mean", torch.zeros(n_channels))

    def start_from(self, x: Tensor, m: Tensor) -> None:
        """Take the channels' means from the training set x, m (n, T, C), x scaled and 0 where missing."""
        self.channel_mean.copy_(channel_mean(x, m))

    def estimates(self, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same estimate (B, T, C) twice, in the place of the two directions of the generator."""
        mean = series_mean(torch.where(m, x, 0), m, self.channel_mean).expand_as(x)
        return mean, mean

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """Return X_hat (B, T, C), constant in time; values of x where m is false have no influence."""
        return self.estimates(x, m)[0]

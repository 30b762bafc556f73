"""Filling by the mean as a module, in the place that the generator has in the joint method."""

import torch
from torch import Tensor, nn

from model.series import channel_mean, series_mean


class MeanFilling(nn.Module):
    """Estimates every value of a series by the mean of its own observations in the channel; nothing is learned.

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
        """The same estimate (B, T, C) for both directions of the generator, whose place this takes."""
        mean = series_mean(torch.where(m, x, 0), m, self.channel_mean).expand_as(x)
        return mean, mean

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """X_hat (B, T, C), constant in time; values of x where m is false have no influence."""
        return self.estimates(x, m)[0]

"""What every trained model of series is made of, and what one forward pass of it gives."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Outcome(NamedTuple):
    """One forward pass over series (B, T, C), without the discriminator."""

    x_tilde: Tensor  # (B, T, C) observed values, and estimates where there are none
    forward: Tensor  # (B, T, C) e_fwd
    backward: Tensor  # (B, T, C) e_bwd
    x_hat: Tensor  # (B, T, C), their mean
    z: Tensor  # (B, E)
    q: Tensor  # (B, K) soft assignment (Eq 6); 1 for the nearest centre and 0 for the others where k-means assigns

    @property
    def spread(self) -> Tensor:
        """|e_fwd - e_bwd| (B, T, C): how much the two directions disagree."""
        return (self.forward - self.backward).abs()


class SeriesModel(nn.Module):
    """Networks and cluster centres that take series with gaps to fillings, an embedding and an assignment."""

    centres: nn.Parameter  # (K, E)

    def forward(self, x: Tensor, m: Tensor) -> Outcome:
        """x (B, T, C) scaled, any number where m (B, T, C) is false."""
        raise NotImplementedError

    def decoded_centres(self) -> Tensor:
        """The series (K, T, C), scaled, that the decoder makes of the centres."""
        raise NotImplementedError

    def reorder(self, order: Tensor) -> None:
        """Number the clusters anew; `order` (K,) holds the old numbers in their new order."""
        with torch.no_grad():
            self.centres.copy_(self.centres[order.to(self.centres.device)].clone())


def joined(parts: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of consecutive series; those of one part are given as they are."""
    if len(parts) == 1:
        return parts[0]
    # series lie along the last axis in memory: joined there, they need not be put in another order
    along_last = ([one.movedim(0, -1) for one in same] for same in zip(*parts, strict=True))
    return Outcome(*(torch.cat(same, -1).movedim(-1, 0) for same in along_last))

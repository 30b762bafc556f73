"""Base of the trained models of series, and the result of their forward pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Outcome(NamedTuple):
    """Result of one forward pass over series (B, T, C), without the discriminator."""

    x_tilde: Tensor  # (B, T, C) observed values, and estimates where there are none
    forward: Tensor  # (B, T, C) e_fwd
    backward: Tensor  # (B, T, C) e_bwd
    x_hat: Tensor  # (B, T, C), their mean
    z: Tensor  # (B, E)
    q: Tensor  # (B, K) soft assignment (Eq 6); 1 for the nearest centre and 0 for the others where k-means assigns

    @property
    def spread(self) -> Tensor:
        """Return |e_fwd - e_bwd| (B, T, C): how much the two directions disagree."""
        return (self.forward - self.backward).abs()


class SeriesModel(nn.Module):
    """Networks and cluster centres that take series with gaps to fillings, an embedding and an assignment."""

    centres: nn.Parameter  # (K, E)

    def forward(self, x: Tensor, m: Tensor) -> Outcome:
        """Pass scaled x (B, T, C) through the networks; it may be any number where m (B, T, C) is false."""
        raise NotImplementedError

    def decoded_centres(self) -> Tensor:
        """Return the scaled series (K, T, C) into which the decoder turns the centres."""
        raise NotImplementedError

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters; `order` (K,) has the old numbers in their new order."""
        with torch.no_grad():
            self.centres.copy_(self.centres[order.to(self.centres.device)].clone())


def joined(parts: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of consecutive series; a single part is returned unchanged."""
    if len(parts) == 1:
        return parts[0]
    # In memory the series are along the last axis: joined there, they keep their order.
    along_last = ([one.movedim(0, -1) for one in same] for same in zip(*parts, strict=True))
    return Outcome(*(torch.cat(same, -1).movedim(-1, 0) for same in along_last))

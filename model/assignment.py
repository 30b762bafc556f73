"""Soft assignment of embedded series to clusters and its sharpened target (Eqs 5-6 of the paper)."""

import torch
from torch import Tensor


def soft_assignment(z: Tensor, centres: Tensor) -> Tensor:
    """q (B, K), Eq 6: Student t kernel between z (B, E) and centres (K, E), rows summing to 1."""
    squared_distance = (z.unsqueeze(1) - centres).square().sum(-1)  # (B, K)
    return torch.softmax(-torch.log1p(squared_distance), 1)


def target_distribution(q: Tensor, cluster_sizes: Tensor | None = None) -> Tensor:
    """p (B, K), the target of Eq 5: q squared over the soft cluster size f_j, rows summing to 1.

    cluster_sizes (K,): f_j, the sum of q over ALL series; without it q is taken to be all there is. No gradient.
    """
    q = q.detach()
    sizes = q.sum(0) if cluster_sizes is None else cluster_sizes
    weight = q.square() / sizes.clamp_min(torch.finfo(q.dtype).tiny)  # an empty cluster keeps weight 0
    return weight / weight.sum(1, keepdim=True)

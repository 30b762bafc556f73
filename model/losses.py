"""The losses of the method (Eqs 4, 5, 7, 8, 9 of the paper), summed over dates and channels, averaged over a batch."""

import torch
from torch import Tensor
from torch.nn.functional import softplus


def _observed_square_error(target: Tensor, estimate: Tensor, m: Tensor) -> Tensor:
    error = torch.where(m != 0, target - estimate, 0)  # never the product m * error: a missing cell may hold NaN
    return error.square().sum() / target.shape[0]


def prediction_loss(x: Tensor, x_hat: Tensor, m: Tensor) -> Tensor:
    """Return L_pre (Eq 4), the squared error of the generator on observed cells; x, x_hat, m (B, T, C), scalar."""
    return _observed_square_error(x, x_hat, m)


def reconstruction_loss(x_tilde: Tensor, reconstruction: Tensor, m: Tensor) -> Tensor:
    """Return L_rec (Eq 7), the squared error of the autoencoder on observed cells; x_tilde, m (B, T, C), scalar.

    `reconstruction` has the same number of elements: (B, T, C) or (B, T * C).
    """
    return _observed_square_error(x_tilde, reconstruction.view_as(x_tilde), m)


def cluster_loss(p: Tensor, q: Tensor) -> Tensor:
    """Return L_clu (Eq 5), the Kullback-Leibler divergence of assignment q from target p, both (B, K), scalar.

    It is a mean over the batch: the literal sum over all series makes the other terms vanish.
    """
    q = q.clamp_min(torch.finfo(q.dtype).tiny)
    return (torch.xlogy(p, p) - p * q.log()).sum() / q.shape[0]


def discriminator_loss(logits: Tensor, m: Tensor) -> Tensor:
    """Return L_dis (Eq 8), the cross entropy of the discriminator's logits and the mask, both (B, T, C), scalar."""
    return torch.where(m != 0, softplus(-logits), softplus(logits)).sum() / logits.shape[0]


def generator_loss(logits: Tensor, m: Tensor, form: str = "paper") -> Tensor:
    """Return L_gen, which falls as the discriminator takes imputed cells for observed; logits, m (B, T, C), scalar.

    form "paper": (1 - M) log(1 - D), Eq 9 as printed; "nonsaturating": -(1 - M) log D, as CRLI's code does.
    """
    if form == "paper":
        per_cell = -softplus(logits)
    elif form == "nonsaturating":
        per_cell = softplus(-logits)
    else:
        raise ValueError(f'generator_loss: form is {form!r}; it must be "paper" or "nonsaturating"')
    return torch.where(m != 0, 0, per_cell).sum() / logits.shape[0]


def soft_assignment(z: Tensor, centres: Tensor) -> Tensor:
    """Return q (B, K) of Eq 6, the Student t kernel of z (B, E) and centres (K, E); rows sum to 1."""
    squared_distance = (z.unsqueeze(1) - centres).square().sum(-1)  # (B, K)
    return torch.softmax(-torch.log1p(squared_distance), 1)


def target_distribution(q: Tensor, cluster_sizes: Tensor | None = None) -> Tensor:
    """Return p (B, K), the target of Eq 5: q squared over the soft cluster size f_j; rows sum to 1, no gradient.

    cluster_sizes (K,): f_j, the sum of q over ALL series; without it the batch stands for all series.
    """
    q = q.detach()
    sizes = q.sum(0) if cluster_sizes is None else cluster_sizes
    weight = q.square() / sizes.clamp_min(torch.finfo(q.dtype).tiny)  # an empty cluster keeps weight 0
    return weight / weight.sum(1, keepdim=True)

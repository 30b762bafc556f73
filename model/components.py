"""A start of autoencoder and centres that does not depend on luck: principal components, made equally wide.

Autoencoders trained from random weights embed the same series in shapes that differ from seed to seed, and the Student
t kernel of Eq 6, which has the width 1 in all directions, then finds clusters that differ as much. Principal components
of the filled series are the same for every seed; whitening them lets the kernel see a direction in which clusters part
though others vary more.
"""

import warnings
from typing import Any

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from model.networks import Autoencoder
from model.pretraining import coincide, kmeans, smallest_distance

FLOOR = 0.4  # of the widest component's standard deviation: narrower ones are not widened beyond what that would be


@torch.no_grad()
def start_from_components(autoencoder: Autoencoder, filled: Tensor) -> None:
    """Set the weights so that encoding filled (n, D) gives its whitened principal components, and decoding inverts it.

    A component passes the ReLU layers as a pair of units, of which one carries its positive part and the other its
    negative part; so the narrowest layer, of 10 units, lets min(E, 5) components through. What is left of every layer,
    and of the embedding, keeps its random weights, and counts for nothing in the output at first.
    """
    n_pairs = min(autoencoder.embedding_size, autoencoder.UNITS[-1] // 2, filled.shape[1])
    mean = filled.mean(0, dtype=torch.float64)
    axes, deviation = _components(filled, mean, n_pairs)
    encoder, decoder = _linear_layers(autoencoder.encoder), _linear_layers(autoencoder.decoder)
    project = (axes / deviation).T  # (pairs, D)
    first, last = encoder[0], decoder[-1]
    first.weight[: 2 * n_pairs] = torch.cat((project, -project)).to(first.weight.dtype)
    first.bias[: 2 * n_pairs] = torch.cat((-project @ mean, project @ mean)).to(first.bias.dtype)
    for layer in (*encoder[1:-1], *decoder[1:-1]):
        _pass_on(layer, torch.eye(2 * n_pairs))
    eye = torch.eye(n_pairs)
    _pass_on(encoder[-1], torch.cat((eye, -eye), 1))
    _pass_on(decoder[0], torch.cat((eye, -eye), 0))
    spread = axes * deviation  # (D, pairs)
    last.weight.zero_()
    last.weight[:, : 2 * n_pairs] = torch.cat((spread, -spread), 1).to(last.weight.dtype)
    last.bias.copy_(mean)


def _components(filled: Tensor, mean: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """The first principal axes (D, n) of series (N, D), and what to divide by along each (n,), in float64."""
    covariance = torch.zeros(filled.shape[1], filled.shape[1], dtype=torch.float64, device=filled.device)
    for part in filled.split(65_536):  # a float64 copy of all series would be twice their size
        centred = part.double() - mean
        covariance += centred.T @ centred
    variance, axes = torch.linalg.eigh(covariance / len(filled))
    axes = axes.flip(1)[:, :n_components]
    sign = torch.where(axes.sum(0) < 0, -1.0, 1.0)  # that of an eigenvector is arbitrary
    deviation = variance.flip(0)[:n_components].clamp_min(0).sqrt()
    widest = deviation[0] if deviation[0] > 0 else deviation.new_ones(())
    return axes * sign, torch.maximum(deviation, FLOOR * widest)


def _linear_layers(stack: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in stack if isinstance(layer, nn.Linear)]


def _pass_on(layer: nn.Linear, block: Tensor) -> None:
    """Let the first units of a layer be `block` times the first units before it, and nothing else."""
    rows, columns = block.shape
    layer.weight[:rows] = 0
    layer.weight[:rows, :columns] = block
    layer.bias[:rows] = 0


def centres_from_clusters(
    filled: Tensor, autoencoder: Autoencoder, n_clusters: int, rng: torch.Generator
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Centres (K, E): k-means in the embedding that starts where k-means on the filled series (n, D) has ended.

    Where two of them coincide, k-means in the embedding starts anew, and an event says so.
    """
    with torch.no_grad():
        z = autoencoder.encode(filled)
        centroids = kmeans(filled, n_clusters, rng)
        nearest = torch.cat([torch.cdist(part, centroids).argmin(1) for part in filled.split(65_536)])
        start = torch.stack(
            [
                z[nearest == k].mean(0) if (nearest == k).any() else autoencoder.encode(centroids[k])
                for k in range(n_clusters)
            ]
        )
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct series than clusters: see below
        fitted = KMeans(n_clusters, init=start.cpu().numpy(), n_init=1).fit(z.cpu().numpy())
    centres = torch.as_tensor(fitted.cluster_centers_, dtype=z.dtype, device=z.device)
    if coincide(centres, z):
        return kmeans(z, n_clusters, rng), [{"event": "centres coincide", "distance": smallest_distance(centres)}]
    return centres, []

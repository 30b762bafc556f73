"""The networks of CRLI: those of the joint method for filling, and a recurrent encoder and decoder."""

import torch
from torch import Tensor, nn

from model.networks.gru import GRU
from model.networks.networks import Discriminator, Generator
from model.networks.series_model import Outcome, SeriesModel
from model.series import select


class RecurrentAutoencoder(nn.Module):
    """A GRU whose last hidden state is the latent H, and a second one that unrolls H to the series again."""

    def __init__(self, n_times: int, n_channels: int, latent_size: int, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.n_times = n_times
        self.encoder = GRU(n_channels, latent_size, rng)
        self.decoder = GRU(latent_size, latent_size, rng)
        self.output_weight = nn.Parameter(torch.empty(n_channels, latent_size))
        self.output_bias = nn.Parameter(torch.zeros(n_channels))
        nn.init.xavier_uniform_(self.output_weight, generator=rng)

    def encode(self, x_tilde: Tensor) -> Tensor:
        """Return the latent H (B, D) of series without gaps (B, T, C)."""
        states: Tensor = self.encoder(x_tilde.permute(1, 2, 0).contiguous())  # (T, D, B)
        return states[-1].t()

    def decode(self, latent: Tensor) -> Tensor:
        """Return the reconstruction (B, T, C) of the latent (B, D), which the decoder reads at every date."""
        inputs = latent.t().expand(self.n_times, -1, -1).contiguous()  # (T, D, B)
        series = torch.matmul(self.output_weight, self.decoder(inputs)) + self.output_bias.unsqueeze(1)
        return series.permute(2, 0, 1)


class CRLIModel(SeriesModel):
    """Generator, recurrent autoencoder, the centres of k-means and, with an adversarial term, the discriminator."""

    def __init__(
        self,
        n_times: int,
        n_channels: int,
        n_clusters: int,
        hidden_size: int,
        latent_size: int,
        adversarial: bool,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.generator = Generator(n_channels, hidden_size, rng)
        self.autoencoder = RecurrentAutoencoder(n_times, n_channels, latent_size, rng)
        self.centres = nn.Parameter(torch.zeros(n_clusters, latent_size), requires_grad=False)
        self.discriminator = Discriminator(n_channels, rng) if adversarial else None

    def generator_side(self) -> list[nn.Parameter]:
        """Return what is trained against the discriminator: generator and autoencoder."""
        return [*self.generator.parameters(), *self.autoencoder.parameters()]

    def forward(self, x: Tensor, m: Tensor) -> Outcome:
        """Pass scaled x (B, T, C) through the networks; it may be any number where m (B, T, C) is false."""
        forward, backward = self.generator.estimates(x, m)
        x_hat = (forward + backward) / 2
        x_tilde = select(m, x, x_hat)
        z = self.autoencoder.encode(x_tilde)
        return Outcome(x_tilde, forward, backward, x_hat, z, nearest(z, self.centres))

    def decoded_centres(self) -> Tensor:
        """Return the scaled series (K, T, C) into which the decoder turns the centres."""
        return self.autoencoder.decode(self.centres)


def nearest(z: Tensor, centres: Tensor) -> Tensor:
    """Return the assignment (B, K) of k-means: 1 for the nearest of the centres (K, D) to z (B, D), 0 for others."""
    distance = (z.detach().unsqueeze(1) - centres).square().sum(-1)
    number: Tensor = distance.argmin(1)
    return torch.nn.functional.one_hot(number, len(centres)).to(z.dtype)


def kmeans_loss(latent: Tensor, n_clusters: int) -> Tensor:
    """Return L_kmeans = Tr(H^T H) - Tr(F^T H^T H F) of CRLI, scalar, for a batch of latents, H = latent^T (D, B).

    F (B, K), the top K right singular vectors of H, is the relaxed indicator of the clusters and a constant: its rows
    belong to the series of this very batch. A batch drawn at random shares no order with the one before, so F is
    computed for each, from the eigenvectors of the small H H^T (D, D): F F^T H^T = H^T V V^T with V (D, K) those of
    the K largest eigenvalues, which makes the loss the sum of squares of the latents beyond those K directions.
    """
    h = latent.detach().double()
    _, vectors = torch.linalg.eigh(h.t() @ h)  # ascending
    top = vectors[:, max(0, vectors.shape[1] - n_clusters) :].to(latent.dtype)  # V
    left: Tensor = latent.square().sum() - (latent @ top).square().sum()
    return left

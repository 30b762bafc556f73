"""Snapshots for figures: embedding and fillings of a few series during training."""

import numpy as np
import torch
from torch import Tensor

from model.networks.joint import JointModel
from model.training.history import SnapshotHistory

MAX_SERIES = 2000  # whose embedding is kept
MAX_CURVES = 200  # of them, whose filling is kept too
MAX_SNAPSHOTS = 6  # of the history
MAX_KEPT = 16  # during training, whose end is not known beforehand: it may stop early


class Snapshots:
    """Take embedding and estimates of some of n_series training series at target updates.

    The choice of series depends on `seed` alone. No other random numbers are drawn.
    """

    def __init__(self, n_series: int, seed: int) -> None:
        chosen = np.random.default_rng(seed).choice(n_series, min(n_series, MAX_SERIES), replace=False)
        self.rows: Tensor = torch.from_numpy(chosen)  # (W,) int64, in random order
        self._kept: list[tuple[int, int, Tensor, Tensor]] = []  # number of the update, iteration, z (W, E), X_hat
        self._stride = 1  # of the numbers of those that stay; the last always stays

    @torch.no_grad()
    def take(self, iteration: int, model: JointModel, x: Tensor, m: Tensor) -> None:
        """Take a snapshot at a target update; x, m (n, T, C) are the whole training set."""
        rows = self.rows.to(x.device)
        outcome = model(x[rows], m[rows])
        number = self._kept[-1][0] + 1 if self._kept else 0
        kept = [one for one in self._kept if one[0] % self._stride == 0]
        if len(kept) == MAX_KEPT:
            self._stride *= 2
            kept = kept[::2]
        curves = outcome.x_hat[: min(len(rows), MAX_CURVES)]
        self._kept = [*kept, (number, iteration, outcome.z.cpu(), curves.cpu().clone())]

    def history(self) -> SnapshotHistory:
        """Return up to MAX_SNAPSHOTS of the updates, spread evenly over training, the first and the last among them.

        Row numbers are those of x, curves have the units of x, and "curve_rows" are the first of the rows.
        """
        iterations = np.array([one[1] for one in self._kept], np.int64)
        even = np.linspace(iterations[0], iterations[-1], min(len(iterations), MAX_SNAPSHOTS))
        nearest = np.abs(iterations - even[:, None]).argmin(1)
        chosen = [self._kept[place] for place in np.unique(nearest)]
        curves = torch.stack([one[3] for one in chosen])
        return {
            "iterations": np.array([one[1] for one in chosen], np.int64),
            "rows": self.rows.numpy(),
            "embedding": torch.stack([one[2] for one in chosen]).numpy(),
            "curve_rows": self.rows[: curves.shape[1]].numpy(),
            "curves": curves.numpy(),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return all that `restore` needs; there must be a snapshot."""
        return {
            "rows": self.rows,
            "stride": torch.tensor(self._stride),
            "numbers": torch.tensor([one[:2] for one in self._kept]),  # (kept, 2)
            "embedding": torch.stack([one[2] for one in self._kept]),
            "curves": torch.stack([one[3] for one in self._kept]),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned."""
        self.rows, self._stride = tensors["rows"], int(tensors["stride"])
        numbers = ((int(number), int(iteration)) for number, iteration in tensors["numbers"])
        parts = zip(numbers, tensors["embedding"], tensors["curves"], strict=True)
        self._kept = [(*pair, embedding, curves) for pair, embedding, curves in parts]

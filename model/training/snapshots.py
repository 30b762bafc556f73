"""How the embedding and the fillings of a few series change during training, for figures."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.networks.joint import JointModel

MAX_SERIES = 2000  # whose embedding is kept
MAX_CURVES = 200  # of them, whose filling is kept too
MAX_SNAPSHOTS = 6  # of the history
MAX_HELD = 16  # during training, whose end is not known beforehand: it may stop early


class Snapshots:
    """Embedding and estimates of some of n_series training series at target updates.

    Which series are watched depends on `seed` alone. No other random numbers are touched.
    """

    def __init__(self, n_series: int, seed: int) -> None:
        chosen = np.random.default_rng(seed).choice(n_series, min(n_series, MAX_SERIES), replace=False)
        self.rows: Tensor = torch.from_numpy(chosen)  # (W,) int64, in random order
        self._held: list[tuple[int, int, Tensor, Tensor]] = []  # number of the update, iteration, z (W, E), X_hat
        self._stride = 1  # of the numbers of those that stay; the last is always held

    @torch.no_grad()
    def take(self, iteration: int, model: JointModel, x: Tensor, m: Tensor) -> None:
        """Add the state of training at a target update; x, m (n, T, C) are the whole training set."""
        rows = self.rows.to(x.device)
        outcome = model(x[rows], m[rows])
        number = self._held[-1][0] + 1 if self._held else 0
        held = [one for one in self._held if one[0] % self._stride == 0]
        if len(held) == MAX_HELD:
            self._stride *= 2
            held = held[::2]
        curves = outcome.x_hat[: min(len(rows), MAX_CURVES)]
        self._held = [*held, (number, iteration, outcome.z.cpu(), curves.cpu().clone())]

    def history(self) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
        """Up to MAX_SNAPSHOTS of the updates, spread evenly over training, the first and the last among them.

        {"iterations": (S,), "rows": (W,) row numbers of x, "embedding": (S, W, E) z, "curve_rows": (V,) the first of
        the rows, "curves": (S, V, T, C) X_hat in the units of x}.
        """
        iterations = np.array([one[1] for one in self._held], np.int64)
        even = np.linspace(iterations[0], iterations[-1], min(len(iterations), MAX_SNAPSHOTS))
        nearest = np.abs(iterations - even[:, None]).argmin(1)
        chosen = [self._held[place] for place in np.unique(nearest)]
        curves = torch.stack([one[3] for one in chosen])
        return {
            "iterations": np.array([one[1] for one in chosen], np.int64),
            "rows": self.rows.numpy(),
            "embedding": torch.stack([one[2] for one in chosen]).numpy(),
            "curve_rows": self.rows[: curves.shape[1]].numpy(),
            "curves": curves.numpy(),
        }

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs, at least one snapshot being held."""
        return {
            "rows": self.rows,
            "stride": torch.tensor(self._stride),
            "numbers": torch.tensor([one[:2] for one in self._held]),  # (held, 2)
            "embedding": torch.stack([one[2] for one in self._held]),
            "curves": torch.stack([one[3] for one in self._held]),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        self.rows, self._stride = tensors["rows"], int(tensors["stride"])
        numbers = ((int(number), int(iteration)) for number, iteration in tensors["numbers"])
        parts = zip(numbers, tensors["embedding"], tensors["curves"], strict=True)
        self._held = [(*pair, embedding, curves) for pair, embedding, curves in parts]

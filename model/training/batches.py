"""Batches of row numbers, epoch by epoch."""

from typing import Self

import torch
from torch import Tensor


class Batches:
    """Draw endless batches of row numbers: a new permutation every epoch, without its incomplete last batch."""

    def __init__(self, n_series: int, batch_size: int, rng: torch.Generator) -> None:
        self._n_series, self._size, self._rng = n_series, min(batch_size, n_series), rng
        self._epoch_start = rng.get_state()  # the permutation follows from it
        self._order: tuple[Tensor, ...] = ()
        self._taken = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        if self._taken == len(self._order):
            self._epoch_start = self._rng.get_state()
            self._draw()
        self._taken += 1
        return self._order[self._taken - 1]

    def _draw(self) -> None:
        order = torch.randperm(self._n_series, generator=self._rng)
        self._order = order[: self._n_series - self._n_series % self._size].split(self._size)
        self._taken = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the position: states of the generator now and at the start of the epoch, and the batches since."""
        return {
            "rng": self._rng.get_state(),
            "epoch_rng": self._epoch_start,
            "taken": torch.tensor(self._taken),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned, and set the generator as it was."""
        taken = int(tensors["taken"])
        self._epoch_start = tensors["epoch_rng"].clone()
        if taken:
            self._rng.set_state(self._epoch_start)
            self._draw()
        self._taken = taken
        self._rng.set_state(tensors["rng"])

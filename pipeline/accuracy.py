"""Accuracy of labels against a reference: confusion matrix and what follows from it, on plain counts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Confusion:
    """Counts of cells: rows are labels of the map, columns classes of the reference."""

    counts: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, reference: np.ndarray, n_labels: int, n_classes: int) -> "Confusion":
        """Count pairs of whole numbers from 0."""
        pairs = labels.astype(np.int64) * n_classes + reference.astype(np.int64)
        return cls(np.bincount(pairs, minlength=n_labels * n_classes).reshape(n_labels, n_classes))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)

    @property
    def n(self) -> int:
        """Number of cells."""
        return int(self.counts.sum())

    def overall_accuracy(self) -> float:
        """Share of cells whose label is the reference's class of the same number; NaN of none."""
        return _share(np.trace(self.counts), self.n)

    def matched_accuracy(self) -> float:
        """The same under the best one-to-one matching of labels to classes (Hungarian), as the paper reports it."""
        rows, columns = linear_sum_assignment(self.counts, maximize=True)
        return _share(self.counts[rows, columns].sum(), self.n)

    def users_accuracy(self) -> list[float]:
        """Per label, the share of its cells that the reference agrees with."""
        return [_share(self.counts[k, k], self.counts[k].sum()) for k in range(self.counts.shape[1])]

    def producers_accuracy(self) -> list[float]:
        """Per class of the reference, the share of its cells that the map agrees with."""
        return [_share(self.counts[k, k], self.counts[:, k].sum()) for k in range(self.counts.shape[1])]

    def as_json(self) -> list[list[int]]:
        """Rows of counts."""
        return [[int(v) for v in row] for row in self.counts]


def _share(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")

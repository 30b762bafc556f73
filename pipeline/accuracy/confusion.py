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

    def matching(self) -> list[int | None]:
        """Per class, the label given to it by the best one-to-one matching (Hungarian), None where none is left.

        With more labels than classes, labels are left over, and their cells count as wrong.
        """
        rows, columns = linear_sum_assignment(self.counts, maximize=True)
        found = dict(zip(columns.tolist(), rows.tolist(), strict=True))
        return [found.get(column) for column in range(self.counts.shape[1])]

    def matched_accuracy(self) -> float:
        """Share of cells that agree under the best one-to-one matching, as the paper reports it; NaN of none."""
        return _share(sum(self._agreeing()), self.n)

    def matched_class_accuracy(self) -> list[float]:
        """Producer's accuracy per class under the best matching; 0 for a class without a label, NaN for one of none."""
        return [_share(part, whole) for part, whole in zip(self._agreeing(), self.counts.sum(axis=0), strict=True)]

    def _agreeing(self) -> list[int]:
        """Per class, its cells that carry the label matched to it."""
        return [0 if label is None else int(self.counts[label, k]) for k, label in enumerate(self.matching())]

    def adjusted_rand_index(self) -> float:
        """Agreement of pairs of cells, 0 by chance and 1 when perfect (Hubert and Arabie 1985); NaN of no cells."""
        if not self.n:
            return float("nan")
        # whole numbers of Python: pairs of the cells of a continent exceed 64 bits
        squares = sum(int(v) ** 2 for v in self.counts.ravel())
        rows, columns = (sum(int(v) ** 2 for v in self.counts.sum(axis=axis)) for axis in (1, 0))
        together, rows_only, columns_only = squares - self.n, rows - squares, columns - squares
        apart = self.n**2 - rows - columns + squares
        if rows_only == columns_only == 0:
            return 1.0
        chance = (together + columns_only) * (columns_only + apart) + (together + rows_only) * (rows_only + apart)
        return 2 * (together * apart - rows_only * columns_only) / chance

    def normalised_mutual_information(self) -> float:
        """Mutual information over the mean of both entropies, 0 of independent labels, 1 of equal ones; NaN of none."""
        if not self.n:
            return float("nan")
        joint = self.counts / self.n
        rows, columns = joint.sum(axis=1), joint.sum(axis=0)
        entropies = _entropy(rows), _entropy(columns)
        if max(entropies) == 0:
            return 1.0
        information = sum(entropies) - _entropy(joint.ravel())
        return max(0.0, information) / (sum(entropies) / 2)

    def users_accuracy(self) -> list[float]:
        """Per label, the share of its cells that the reference agrees with."""
        return [_share(self.counts[k, k], self.counts[k].sum()) for k in range(self.counts.shape[1])]

    def producers_accuracy(self) -> list[float]:
        """Per class of the reference, the share of its cells that the map agrees with."""
        return [_share(self.counts[k, k], self.counts[:, k].sum()) for k in range(self.counts.shape[1])]

    def f1(self) -> list[float]:
        """Per class, the harmonic mean of user's and producer's accuracy; NaN of one that neither map has."""
        sums = self.counts.sum(axis=1)[: self.counts.shape[1]] + self.counts.sum(axis=0)
        return [_share(2 * self.counts[k, k], whole) for k, whole in enumerate(sums)]

    def kappa(self) -> float:
        """Agreement beyond chance (Cohen 1960), 1 when perfect; NaN of no cells, or where all are of one class.

        It is reported because readers ask for it; Olofsson et al. (2014) advise against it.
        """
        rows, columns = ([int(v) for v in self.counts.sum(axis=axis)] for axis in (1, 0))
        # whole numbers of Python, as above
        chance = sum(row * column for row, column in zip(rows, columns, strict=True))
        return _share(self.n * int(np.trace(self.counts)) - chance, self.n**2 - chance)

    def as_json(self) -> list[list[int]]:
        """Rows of counts."""
        return [[int(v) for v in row] for row in self.counts]


def _share(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _entropy(shares: np.ndarray) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum()) if len(present) > 1 else 0.0

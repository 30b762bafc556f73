"""The confusion matrix of labels and a reference, and the measures of accuracy that follow from it."""

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
        """Count pairs of labels and classes, whole numbers from 0."""
        pairs = labels.astype(np.int64) * n_classes + reference.astype(np.int64)
        return cls(np.bincount(pairs, minlength=n_labels * n_classes).reshape(n_labels, n_classes))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)

    @property
    def n(self) -> int:
        """Number of cells."""
        return int(self.counts.sum())

    def overall_accuracy(self) -> float:
        """Return the share of cells whose label is the reference's class of the same number; NaN of no cells."""
        return _share(np.trace(self.counts), self.n)

    def matching(self) -> list[int | None]:
        """Return the label of each class in the best one-to-one matching (Hungarian), None where none is left.

        With more labels than classes, labels are left over, and their cells count as wrong.
        """
        rows, columns = linear_sum_assignment(self.counts, maximize=True)
        found = dict(zip(columns.tolist(), rows.tolist(), strict=True))
        return [found.get(column) for column in range(self.counts.shape[1])]

    def matched_accuracy(self) -> float:
        """Return the share of cells that agree under the best one-to-one matching, as in the paper; NaN of no cells."""
        return _share(sum(self._agreeing()), self.n)

    def matched_class_accuracy(self) -> list[float]:
        """Return producer's accuracy per class under the best matching; 0 without a label, NaN without cells."""
        return [_share(part, whole) for part, whole in zip(self._agreeing(), self.counts.sum(axis=0), strict=True)]

    def _agreeing(self) -> list[int]:
        """Count the cells of each class that carry the label matched to it."""
        return [0 if label is None else int(self.counts[label, k]) for k, label in enumerate(self.matching())]

    def adjusted_rand_index(self) -> float:
        """Return the agreement of pairs of cells, 0 by chance, 1 if perfect (Hubert, Arabie 1985); NaN of no cells."""
        if not self.n:
            return float("nan")
        # integers of Python: pairs of the cells of a continent exceed 64 bits
        squares = sum(int(v) ** 2 for v in self.counts.ravel())
        rows, columns = (sum(int(v) ** 2 for v in self.counts.sum(axis=axis)) for axis in (1, 0))
        together, rows_only, columns_only = squares - self.n, rows - squares, columns - squares
        apart = self.n**2 - rows - columns + squares
        if rows_only == columns_only == 0:
            return 1.0
        chance = (together + columns_only) * (columns_only + apart) + (together + rows_only) * (rows_only + apart)
        return 2 * (together * apart - rows_only * columns_only) / chance

    def normalised_mutual_information(self) -> float:
        """Return mutual information over the mean of both entropies, 0 if independent, 1 if equal; NaN of no cells."""
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
        """Return the share of each label's cells that the reference agrees with."""
        return [_share(self.counts[k, k], self.counts[k].sum()) for k in range(self.counts.shape[1])]

    def producers_accuracy(self) -> list[float]:
        """Return the share of the cells of each class of the reference that the map agrees with."""
        return [_share(self.counts[k, k], self.counts[:, k].sum()) for k in range(self.counts.shape[1])]

    def f1(self) -> list[float]:
        """Return the harmonic mean of user's and producer's accuracy per class; NaN of one that neither map has."""
        sums = self.counts.sum(axis=1)[: self.counts.shape[1]] + self.counts.sum(axis=0)
        return [_share(2 * self.counts[k, k], whole) for k, whole in enumerate(sums)]

    def kappa(self) -> float:
        """Return the agreement beyond chance (Cohen 1960), 1 when perfect; NaN of no cells, or of a single class.

        It is reported because readers ask for it; Olofsson et al. (2014) advise against it.
        """
        rows, columns = ([int(v) for v in self.counts.sum(axis=axis)] for axis in (1, 0))
        # integers of Python, as above
        chance = sum(row * column for row, column in zip(rows, columns, strict=True))
        return _share(self.n * int(np.trace(self.counts)) - chance, self.n**2 - chance)

    def as_json(self) -> list[list[int]]:
        """Return the rows of counts."""
        return [[int(v) for v in row] for row in self.counts]


def _share(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _entropy(shares: np.ndarray) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum()) if len(present) > 1 else 0.0

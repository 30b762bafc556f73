"""Results of a trained model, for the two layouts in which it takes series."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.networks.series_model import Outcome
from model.series import FloatArray


class Inference(NamedTuple):
    """All results for n series; those without any observation have label -1 and NaN."""

    labels: NDArray[np.int64]  # (n,)
    proba: FloatArray  # (n, K) q, rows summing to 1; 0 and 1 where the method assigns by k-means
    filled: FloatArray  # (n, T, C) data units, observed cells unchanged bit for bit
    spread: FloatArray  # (n, T, C) |e_fwd - e_bwd| in data units: how much the two directions disagree


@dataclass(frozen=True)
class DateInference:
    """Results for n series in the layout (T, C, n), on the device of the model."""

    scaled: Outcome  # in the unit range
    minimum: Tensor  # (C, 1) of the unit range, data units
    span: Tensor  # (C, 1)

    @property
    def q(self) -> Tensor:
        """Return the soft assignment (n, K) of Eq 6; rows sum to 1."""
        return self.scaled.q

    @property
    def z(self) -> Tensor:
        """Return the embedding (n, E)."""
        return self.scaled.z

    def estimates(self) -> Tensor:
        """Return X_hat (T, C, n) of Eq 3 in data units, of observed cells too."""
        return self.scaled.x_hat.permute(1, 2, 0).mul(self.span).add_(self.minimum)

    def spread(self) -> Tensor:
        """Return |e_fwd - e_bwd| (T, C, n) in data units."""
        return self.scaled.spread.permute(1, 2, 0).mul(self.span)

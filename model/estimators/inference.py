"""What a trained model says about series, in the two layouts that they are given in."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.networks.series_model import Outcome
from model.series import FloatArray


class Inference(NamedTuple):
    """Everything a trained model says about n series; series without any observation hold -1 and NaN."""

    labels: NDArray[np.int64]  # (n,)
    proba: FloatArray  # (n, K) q, rows summing to 1; 0 and 1 where the method assigns by k-means
    filled: FloatArray  # (n, T, C) data units, observed cells bit for bit as given
    spread: FloatArray  # (n, T, C) |e_fwd - e_bwd| in data units: how much the two directions disagree


@dataclass(frozen=True)
class DateInference:
    """What a trained model says about n series given date by date, on the model's device."""

    scaled: Outcome  # in the unit range
    minimum: Tensor  # (C, 1) of the unit range, data units
    span: Tensor  # (C, 1)

    @property
    def q(self) -> Tensor:
        """Soft assignment (n, K), rows summing to 1."""
        return self.scaled.q

    @property
    def z(self) -> Tensor:
        """Embedding (n, E)."""
        return self.scaled.z

    def estimates(self) -> Tensor:
        """X_hat (T, C, n) in data units, of observed cells too."""
        return self.scaled.x_hat.permute(1, 2, 0).mul(self.span).add_(self.minimum)

    def spread(self) -> Tensor:
        """|e_fwd - e_bwd| (T, C, n) in data units."""
        return self.scaled.spread.permute(1, 2, 0).mul(self.span)

"""What the estimators share that learn their clusters in the embedding with a sharpened target (Algorithm 1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model.base import Population, SeriesClustering, Trained
from model.fitting import fit_model
from model.joint_model import new_model
from model.pretraining import Progress
from model.series import FloatArray
from model.series_model import SeriesModel


class EmbeddedClustering(SeriesClustering):
    """Clusters whose centres are trained with the networks; every series belongs to each with probability q (Eq 6)."""

    def predict_proba(self, X: Any) -> FloatArray:
        """q (n, K), Eq 6; NaN where a series has none."""
        return self.infer(X).proba

    @staticmethod
    def _new_model(parameters: Mapping[str, Any], n_times: int, n_channels: int) -> SeriesModel:
        return new_model(parameters, n_times, n_channels)

    @staticmethod
    def _train(
        x: Tensor,
        m: Tensor,
        parameters: Mapping[str, Any],
        progress: Progress,
        checkpoint: Path | None,
        population: Population | None,
    ) -> Trained:
        return Trained(*fit_model(x, m, parameters, progress, checkpoint=checkpoint, population=population))

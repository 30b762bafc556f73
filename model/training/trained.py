"""What training returns."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.networks.series_model import SeriesModel
from model.training.history import History


class Trained(NamedTuple):
    """A trained model; its clusters have the numbers that k-means happened to give them."""

    model: SeriesModel
    labels: NDArray[np.int64]  # (n,)
    n_iter: int
    history: History  # snapshots in it: row numbers of the training set, curves scaled as the training set is

"""Profiles of clusters over the year, and the order of clusters that follows from them."""

import numpy as np
from numpy.typing import NDArray

from model.series import FloatArray

MIN_OBSERVED_SHARE = 0.05  # of a cluster's series; on dates with fewer the mean is that of a few odd series


def cluster_profiles(series: FloatArray, labels: NDArray[np.int64], decoded_centres: FloatArray) -> FloatArray:
    """Return the mean observed curve of every cluster's series (K, T, C); an empty cluster has its decoded centre.

    series (n, T, C) with NaN = missing, labels (n,) in 0..K-1, decoded_centres (K, T, C). Dates on which too few series
    were observed are interpolated in time. Decoded centres or filled series do not serve all clusters: on dates almost
    never observed no loss binds the decoder, and hardly any an adversarial generator. One false maximum there would
    turn winter into summer.
    """
    profiles = decoded_centres.astype(np.float32, copy=True)
    dates = np.arange(series.shape[1])
    for k in range(len(profiles)):
        members = series[labels == k]
        if len(members) == 0:
            continue
        observed = ~np.isnan(members)
        count = observed.sum(0)  # (T, C)
        mean = np.where(observed, members, 0).sum(0, dtype=np.float64) / np.maximum(count, 1)
        for c in range(series.shape[2]):
            enough = count[:, c] >= max(1.0, min(MIN_OBSERVED_SHARE * len(members), count[:, c].max()))
            if enough.any():
                profiles[k, :, c] = np.interp(dates, dates[enough], mean[enough, c])
    return profiles


def seasonal_order(curves: FloatArray) -> NDArray[np.int64]:
    """Return the cluster numbers in the order of the dates on which their curves (K, T) peak.

    Two peaks on one date: the earlier centre of mass first, so that the order does not depend on the numbers they had.
    """
    above = curves - curves.min(1, keepdims=True)
    mass = (above * np.arange(curves.shape[1])).sum(1) / np.maximum(above.sum(1), np.finfo(np.float32).tiny)
    return np.lexsort((mass, curves.argmax(1)))

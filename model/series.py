"""Arrays of time series: checked, scaled, and filled by their mean."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

FloatArray = NDArray[np.float32]


def as_series(X: ArrayLike) -> FloatArray:
    """Return X as float32 (n, T, C), NaN = missing; (n, T) becomes C = 1. ValueError on infinities and other shapes."""
    values = np.asarray(X)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"X has dtype {values.dtype}; it must hold numbers, with NaN where an observation is missing")
    if values.ndim not in (2, 3) or 0 in values.shape[1:]:
        raise ValueError(f"X has shape {values.shape}; it must be (n, T) or (n, T, C) with at least one date")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        series: FloatArray = values.astype(np.float32, copy=False)
    if np.isinf(series).any():
        index = tuple(int(i) for i in np.argwhere(np.isinf(series))[0])
        raise ValueError(f"X[{', '.join(map(str, index))}] is {values[index]}; mark missing observations with NaN")
    return series[:, :, None] if series.ndim == 2 else series


@dataclass(frozen=True)
class ChannelScaler:
    """Scaling of every channel that maps the range of observed training values to [0, 1]."""

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    @classmethod
    def fit(cls, series: FloatArray) -> "ChannelScaler":
        """Take the range of every channel of series (n, T, C); ValueError for a channel without any observation."""
        for channel in range(series.shape[2]):
            if np.isnan(series[:, :, channel]).all():
                raise ValueError(f"channel {channel} of X has no observation at all; leave it out")
        low, high = np.nanmin(series, (0, 1)), np.nanmax(series, (0, 1))
        return cls(tuple(map(float, low)), tuple(map(float, high)))

    @property
    def span(self) -> FloatArray:
        """Return the width of the range of every channel (C,), 1 for a channel that never varies."""
        span = np.subtract(self.maximum, self.minimum, dtype=np.float32)
        return np.where(span > 0, span, np.float32(1))

    def by_channel(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return minimum and span as tensors (C, 1), for series (T, C, n)."""
        minimum, span = torch.tensor(self.minimum, dtype=torch.float32), torch.from_numpy(self.span)
        return minimum.to(device).unsqueeze(1), span.to(device).unsqueeze(1)

    def transform(self, series: FloatArray) -> FloatArray:
        """Scale data units to the unit range; NaN stays NaN."""
        return (series - np.asarray(self.minimum, np.float32)) / self.span

    def inverse(self, scaled: FloatArray) -> FloatArray:
        """Scale the unit range to data units."""
        return scaled * self.span + np.asarray(self.minimum, np.float32)


def observed_and_zeroed(scaled: FloatArray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return tensors x, with 0 where missing, and m (bool, true = observed), both (n, T, C)."""
    x = torch.from_numpy(np.ascontiguousarray(scaled)).to(device)
    m = ~torch.isnan(x)
    return torch.where(m, x, 0), m


_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a number


def select(m: Tensor, x: Tensor, otherwise: Tensor) -> Tensor:
    """Return torch.where(m, x, otherwise), several times faster where there is no gradient.

    m is bool, x and otherwise have one type. torch.where branches at every number, and a processor cannot predict
    gaps; here bits are masked.
    """
    if torch.is_grad_enabled():
        return torch.where(m, x, otherwise)
    bits = _BITS[x.element_size()]
    other = otherwise.view(bits)
    return (x.view(bits) ^ other).bitwise_and_(m.to(bits).neg_()).bitwise_xor_(other).view(x.dtype)


def channel_mean(x: Tensor, m: Tensor) -> Tensor:
    """Return the mean (C,) of observed values by channel of x, m (n, T, C), x being 0 where missing; 0 without any."""
    return x.sum((0, 1)) / m.sum((0, 1)).clamp_min(1)


def series_mean(x: Tensor, m: Tensor, otherwise: Tensor) -> Tensor:
    """Return the mean (n, 1, C) of observed values by series and channel of x, m (n, T, C), x being 0 where missing.

    A channel that a series never observed takes its value of `otherwise` (C,).
    """
    count = m.sum(1, keepdim=True)
    return torch.where(count > 0, x.sum(1, keepdim=True) / count.clamp_min(1), otherwise)


def mean_filled(x: Tensor, m: Tensor) -> Tensor:
    """Return x (n, T, C) with every gap set to the mean of that series' observed values in the channel.

    A channel that a series never observed takes the mean of the channel over all series.
    """
    return torch.where(m, x, series_mean(x, m, channel_mean(x, m)))

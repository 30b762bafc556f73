"""Conversion of physical numbers to stored ones, as tests expect it."""

import numpy as np

from pipeline.base.channel import Channel
from pipeline.cube.channels import whole_steps


def to_stored(values: np.ndarray, channel: Channel) -> np.ndarray:
    """Convert physical numbers to stored ones; numbers outside the valid range are clipped, NaN becomes missing."""
    known = ~np.isnan(values)
    stored = np.full(values.shape, channel.missing, channel.dtype)
    number = values[known].astype(np.float64) - channel.offset
    number = number * steps if (steps := whole_steps(channel)) else number / channel.scale
    stored[known] = np.rint(number).clip(*channel.valid_range)
    return stored

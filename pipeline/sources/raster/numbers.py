"""Numbers of raster files: which of them are observations, and how the cube stores them."""

from typing import Final

import numpy as np

from pipeline.base.channel import Channel
from pipeline.base.errors import GranuleError
from pipeline.sources.raster.settings import RasterChannel

GIVEN: Final = ":given"  # suffix of a layer that is true where another one is not the file's missing value
_STORED: Final = (  # dtype of the cube, smallest and largest number, and the number of a missing observation
    ("uint8", 0, 254, 255),
    ("int16", -32767, 32767, -32768),
    ("uint16", 0, 65534, 65535),
    ("int32", 1 - 2**31, 2**31 - 1, -(2**31)),
)


def cube_channel(channel: RasterChannel) -> Channel:
    """Return how the cube stores a channel: in the first dtype that contains its valid range."""
    low, high = (round(end / channel.step) for end in channel.valid_range)
    dtype, missing = next((dtype, gap) for dtype, least, most, gap in _STORED if least <= low and high <= most)
    return Channel(
        name=channel.name,
        long_name=channel.long_name or channel.name,
        units=channel.units,
        scale=channel.scale * channel.step,
        offset=channel.offset,
        dtype=dtype,
        missing=missing,
        valid_range=(low, high),
    )


def observed(channel: RasterChannel, raw: dict[str, np.ndarray]) -> np.ndarray:
    """Return which pixels have a number that can be an observation; NaN is none."""
    numbers = raw[channel.name]
    low, high = (int(end) if end.is_integer() else end for end in channel.valid_range)
    inside: np.ndarray = (numbers >= low) & (numbers <= high)
    if channel.fill:
        fill = np.asarray(channel.fill)
        inside &= ~np.isin(numbers, fill.astype(numbers.dtype) if numbers.dtype.kind == "f" else fill)
    return inside & raw[channel.name + GIVEN] if channel.name + GIVEN in raw else inside


def as_stored(numbers: np.ndarray, valid: np.ndarray, step: float, channel: Channel) -> np.ndarray:
    """Return numbers as the cube stores them."""
    if step == 1 and numbers.dtype.kind in "iu":
        return numbers.astype(channel.dtype)
    scaled = np.divide(np.where(valid, numbers, channel.valid_range[0] * step), step, dtype=np.float64)
    return np.rint(scaled).astype(channel.dtype)


def as_bits(name: str, numbers: np.ndarray, given: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a quality layer as unsigned integers of at most 16 bits.

    Raises:
        GranuleError: it has other numbers.
    """
    if numbers.dtype in (np.uint8, np.uint16):
        return numbers, given
    known = ~np.isnan(numbers) if numbers.dtype.kind == "f" else np.ones(numbers.shape, bool)
    if given is not None:
        known &= given
    filled = np.where(known, numbers, 0).astype(np.float64)
    bits = np.clip(filled, 0, 65535).astype(np.uint16)
    if (bits != filled).any():
        wrong = filled[bits != filled].flat[0]
        raise GranuleError(f"quality layer {name} ({numbers.dtype}) holds {wrong:g}, which is no number of 16 bits")
    return bits, known

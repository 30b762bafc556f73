"""The measured quantities of a cube: how an array stores them, and the conversion to physical units and back."""

from dataclasses import replace

import numpy as np
import zarr

from pipeline.base.channel import Channel
from pipeline.cube import layout


def layer(channel: Channel, name: str, **texts: str) -> layout.Layer:
    """Return an array (time, y, x) that stores a channel; `texts` replace or add attributes."""
    return layout.Layer(name, {**_coding(channel), **texts}, ("time",), channel.dtype, channel.missing)


def _coding(channel: Channel) -> dict[str, object]:
    """Return the CF attributes of an array that stores a channel."""
    offset = {"add_offset": channel.offset} if channel.offset else {}
    return {
        "long_name": channel.long_name,
        "units": channel.units,
        "scale_factor": channel.scale,
        **offset,
        "valid_range": list(channel.valid_range),
    }


def read_channels(cube: zarr.Group) -> tuple[Channel, ...]:
    """Read the channels of a cube, in the order in which they go through the network."""
    found = []
    for name in layout.attributes(cube)["channels"]:
        array = layout.array(cube, name)
        about = layout.attributes(array)
        found.append(
            Channel(
                name=name,
                long_name=about["long_name"],
                units=about["units"],
                scale=about["scale_factor"],
                offset=about.get("add_offset", 0.0),
                dtype=str(array.dtype),
                missing=about["_FillValue"],
                valid_range=tuple(about["valid_range"]),
            )
        )
    return tuple(found)


def whole_steps(channel: Channel) -> float | None:
    """Return how many stored numbers make up one physical unit, or None where that is no whole number.

    Stored numbers are divided by it. So 29 becomes the float nearest to 29/100, which is what every other reader gets.
    """
    steps = 1 / channel.scale
    return float(round(steps)) if abs(steps - round(steps)) < 1e-9 * steps else None


def filled_name(channel: Channel) -> str:
    """Return the name of the array with a channel's filled series."""
    return f"{channel.name}_filled"


def spread_names(channels: tuple[Channel, ...]) -> list[str]:
    """Return the names of the arrays with the difference of forward and backward estimate.

    An only channel has "fill_spread".
    """
    return ["fill_spread"] if len(channels) == 1 else [f"{channel.name}_fill_spread" for channel in channels]


def to_physical(stored: np.ndarray, channel: Channel) -> np.ndarray:
    """Convert stored numbers to physical units: float32, NaN where there is no observation."""
    steps = whole_steps(channel)
    values = stored.astype(np.float32)
    values = values / np.float32(steps) if steps else values * np.float32(channel.scale)
    values += np.float32(channel.offset)
    values[stored == channel.missing] = np.nan
    return values


def width_channel(channel: Channel) -> Channel:
    """Return how differences of a channel's numbers are stored: in the same steps, without offset, from 0."""
    low, high = channel.valid_range
    most = min(high - low, np.iinfo(channel.dtype).max - 1)
    return replace(channel, offset=0.0, valid_range=(0, most))

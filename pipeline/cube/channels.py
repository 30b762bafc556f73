"""The measured quantities of a cube: how they are stored, and stored numbers as physical ones and back."""

from dataclasses import replace
from typing import Any

import numpy as np
import zarr

from pipeline.base.channel import Channel
from pipeline.cube import layout


def coding(channel: Channel) -> dict[str, Any]:
    """CF attributes of an array that holds a channel."""
    offset = {"add_offset": channel.offset} if channel.offset else {}
    return {
        "long_name": channel.long_name,
        "units": channel.units,
        "scale_factor": channel.scale,
        **offset,
        "valid_range": list(channel.valid_range),
    }


def layer(channel: Channel, name: str, **texts: str) -> layout.Layer:
    """An array (time, y, x) that is stored as a channel is."""
    return layout.Layer(name, {**coding(channel), **texts}, ("time",), channel.dtype, channel.missing)


def read_channels(cube: zarr.Group) -> tuple[Channel, ...]:
    """The channels of a cube, in the order in which they go through the network."""
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
    """How many stored numbers make up one physical unit, where that is a whole number.

    Stored numbers are divided by it: 0.29 is then the float nearest to 29/100, as it is for every reader.
    """
    steps = 1 / channel.scale
    return float(round(steps)) if abs(steps - round(steps)) < 1e-9 * steps else None


def filled_name(channel: Channel) -> str:
    """Of the array with a channel's filled series."""
    return f"{channel.name}_filled"


def spread_names(channels: tuple[Channel, ...]) -> list[str]:
    """Of the arrays that say how far the two directions of the network differ: "fill_spread" of the only channel."""
    return ["fill_spread"] if len(channels) == 1 else [f"{channel.name}_fill_spread" for channel in channels]


def to_physical(stored: np.ndarray, channel: Channel) -> np.ndarray:
    """Stored numbers as float32 in physical units, NaN where there is no observation."""
    steps = whole_steps(channel)
    values = stored.astype(np.float32)
    values = values / np.float32(steps) if steps else values * np.float32(channel.scale)
    values += np.float32(channel.offset)
    values[stored == channel.missing] = np.nan
    return values


def to_stored(values: np.ndarray, channel: Channel) -> np.ndarray:
    """Physical numbers as they are stored; what lies outside the valid range is clipped, NaN becomes missing."""
    known = ~np.isnan(values)
    stored = np.full(values.shape, channel.missing, channel.dtype)
    number = values[known].astype(np.float64) - channel.offset
    number = number * steps if (steps := whole_steps(channel)) else number / channel.scale
    stored[known] = np.rint(number).clip(*channel.valid_range)
    return stored


def width_channel(channel: Channel) -> Channel:
    """How differences of a channel's numbers are stored: the same steps, no offset, from 0."""
    low, high = channel.valid_range
    most = min(high - low, np.iinfo(channel.dtype).max - 1)
    return replace(channel, offset=0.0, valid_range=(0, most))

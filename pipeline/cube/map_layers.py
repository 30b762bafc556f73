"""The arrays of `map.zarr`, and checks of what a map and a cube contain."""

from collections.abc import Collection, Sequence
from typing import Final

import zarr

from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.cube.channels import filled_name, layer, spread_names, width_channel

LABEL, CONFIDENCE, FILLED, SPREAD = "label", "confidence", "filled", "spread"  # the values of inference.outputs
CONFIDENCE_ABOUT: Final = {"long_name": "soft assignment q of the label", "units": "percent"}


def map_layers(
    names: Sequence[str], channels: tuple[Channel, ...], outputs: Collection[str]
) -> tuple[layout.Layer, ...]:
    """Return the arrays of a map.

    Args:
        names: names of the K labels, each without blanks.
        channels: channels of the cube.
        outputs: some of "label", "confidence", "filled", "spread"; the last two stand for one array per channel.
    """
    found = []
    if LABEL in outputs:
        about = {
            "long_name": "cluster of the year's series, in the order of the date of its peak",
            "flag_values": list(range(len(names))),
            "flag_meanings": " ".join(names),
        }
        found.append(layout.Layer(LABEL, about))
    if CONFIDENCE in outputs:
        found.append(layout.Layer(CONFIDENCE, CONFIDENCE_ABOUT))
    for channel, name in zip(channels, spread_names(channels), strict=True):
        if FILLED in outputs:
            filled = f"gaps filled by the network: {channel.long_name}"
            found.append(layer(channel, filled_name(channel), long_name=filled))
        if SPREAD in outputs:
            spread = "difference of forward and backward estimate where a gap was filled, 0 where observed"
            found.append(layer(width_channel(channel), name, long_name=spread))
    return tuple(found)


def require_labels(result: zarr.Group) -> None:
    """Check that a map has labels.

    Raises:
        UserError: it has none, because inference.outputs leaves them out.
    """
    if LABEL not in stores.layer_names(result):
        raise UserError(
            f"{result.store_path} holds no labels: add label to inference.outputs (--outputs) and run `sitscube infer`."
        )


def maps_crops(cube: zarr.Group) -> bool:
    """Return whether only cropland is mapped."""
    return bool(layout.attributes(cube)["cropland"] != "all")

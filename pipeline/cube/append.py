"""A store that grows along its first axis while others read it: whoever has it open goes on seeing what it saw.

The objects of the new coordinate come first, where no shape reaches yet; then the store says what is growing, the
shapes follow, and the store's last word says that it has grown. What a kill leaves is either not visible yet, or
`complete` brings it to its end.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import zarr

from pipeline.cube.layout import array, attributes
from pipeline.grid.grid import Grid

GROWING: Final = "growing"  # attribute of a store that is about to be longer
Window = tuple[slice, slice]


def can_grow(group: zarr.Group, axis: str, names: tuple[str, ...]) -> bool:
    """Whether every coordinate of an axis has objects of its own, in the axis and in the arrays."""
    return all(int((node.shards or node.chunks)[0]) == 1 for node in (array(group, name) for name in (axis, *names)))


def append(
    group: zarr.Group,
    axis: str,
    value: int,
    grid: Grid,
    layers: Mapping[str, dict[str, Any]],
    read: Callable[[str, Window], np.ndarray],
    *,
    first: dict[str, Any],
    last: dict[str, Any],
) -> None:
    """Add one coordinate behind the others, in place; one shard is in memory at a time.

    Args:
        group: the store, open for writing, of which nothing else is written at the same time.
        axis: the arrays' first dimension.
        value: the new coordinate.
        grid: of the store.
        layers: all arrays along the axis, by name, each with those of its attributes that change.
        read: gives the numbers (y, x) of an array in a window.
        first: attributes of the store that must be there before the new coordinate is seen.
        last: attributes of the store that must not be there before it is.
    """
    n = array(group, axis).shape[0]
    for name in layers:
        longer = _beyond(array(group, name), n + 1)
        for shard in grid.shards:
            window = grid.window(shard)
            longer[(n, *window)] = read(name, window)
    _beyond(array(group, axis), n + 1)[n] = value
    growing = {"axis": axis, "length": n + 1, "layers": dict(layers), "last": last}
    group.update_attributes({**first, GROWING: growing})
    complete(group)


def complete(group: zarr.Group) -> None:
    """Bring to its end what `append` had begun to show when it was killed; else nothing happens."""
    about = attributes(group)
    if GROWING not in about:
        return
    growing = about.pop(GROWING)
    for name, changed in {
        **growing["layers"],
        growing["axis"]: {},
    }.items():  # the axis last: it tells how many there are
        node = array(group, name)
        if any(attributes(node).get(key) != given for key, given in changed.items()):
            node.update_attributes(changed)
        node.resize((growing["length"], *node.shape[1:]))
    group.attrs.put({**about, **growing["last"]})


def _beyond(node: zarr.Array, length: int) -> zarr.Array:
    """An array that is longer than the stored one says, to write where its readers do not look yet."""
    longer = zarr.Array.from_dict(node.store_path, {**node.metadata.to_dict(), "shape": (length, *node.shape[1:])})
    return longer.with_config({"write_empty_chunks": True})

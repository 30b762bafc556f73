"""Append one coordinate to a store along its first axis while others read the store.

A reader that opened the store before still sees the same numbers afterwards. The order of the writes makes this safe:

1. the objects of the new coordinate, outside the stored shapes, where no reader looks;
2. the attribute `growing`, which says what is about to change;
3. the new shapes of the arrays, with the axis last;
4. the final attributes, without `growing`.

A kill before step 2 changes nothing that a reader can see. After a later kill, `complete` does the rest.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypedDict

import numpy as np
import zarr

from pipeline.cube.layout import array, attributes, plain_attributes
from pipeline.grid.grid import Grid

GROWING: Final = "growing"  # attribute of a store whose shapes are about to change
Window = tuple[slice, slice]


class Growth(TypedDict):
    """Describe a change of shapes that has begun: the value of the attribute `growing`."""

    axis: str
    length: int  # of the axis, when the change is complete
    layers: Mapping[str, Mapping[str, object]]  # the attributes that change, by array
    last: Mapping[str, object]  # attributes of the store that are written when the change is complete


def can_grow(group: zarr.Group, axis: str, names: tuple[str, ...]) -> bool:
    """Return whether every coordinate of an axis has its own objects, in the axis and in the arrays."""
    return all(int((node.shards or node.chunks)[0]) == 1 for node in (array(group, name) for name in (axis, *names)))


def append(
    group: zarr.Group,
    axis: str,
    value: int,
    grid: Grid,
    layers: Mapping[str, Mapping[str, object]],
    read: Callable[[str, Window], np.ndarray],
    *,
    first: Mapping[str, object],
    last: Mapping[str, object],
) -> None:
    """Append one coordinate in place, with one shard in memory at a time.

    Args:
        group: the store, open for writing; no one else writes to it meanwhile.
        axis: first dimension of the arrays.
        value: the new coordinate.
        grid: grid of the store.
        layers: all arrays along the axis by name, each with the attributes that change.
        read: returns the numbers (y, x) of an array in a window.
        first: attributes of the store that are written before a reader can see the new coordinate.
        last: attributes of the store that are written after that.
    """
    n = array(group, axis).shape[0]
    for name in layers:
        longer = _with_length(array(group, name), n + 1)
        for shard in grid.shards:
            window = grid.window(shard)
            longer[(n, *window)] = read(name, window)
    _with_length(array(group, axis), n + 1)[n] = value
    growth: Growth = {"axis": axis, "length": n + 1, "layers": dict(layers), "last": last}
    group.update_attributes({**first, GROWING: growth})
    complete(group)


def complete(group: zarr.Group) -> None:
    """Complete an `append` that was killed after it had written the new objects; do nothing without one."""
    about = attributes(group)
    if GROWING not in about:
        return
    growth: Growth = about.pop(GROWING)
    # the axis is last, because readers take the number of coordinates from it
    changes: dict[str, Mapping[str, object]] = {**growth["layers"], growth["axis"]: {}}
    for name, changed in changes.items():
        node = array(group, name)
        known = attributes(node)
        if any(known.get(key) != value for key, value in changed.items()):
            node.update_attributes(plain_attributes(changed))
        node.resize((growth["length"], *node.shape[1:]))
    group.attrs.put({**about, **plain_attributes(growth["last"])})


def _with_length(node: zarr.Array, length: int) -> zarr.Array:
    """Return an array of another length on the same objects, to write outside the stored shape."""
    longer = zarr.Array.from_dict(node.store_path, {**node.metadata.to_dict(), "shape": (length, *node.shape[1:])})
    return longer.with_config({"write_empty_chunks": True})

"""Zarr stores: template first, whole shards next, `complete` last.

A store says in its attributes which stages have written it and with which fingerprint, so that a reader never meets
half a map that calls itself whole, and a run that was killed goes on where it stopped. Stores are made and removed
in place, for objects at a URL cannot be renamed: whatever is half made or half removed says that it is not complete,
and is cleared by the next run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import zarr

from pipeline.base import locks
from pipeline.base.errors import Superseded, UserError
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location, remove_tree
from pipeline.base.locks.store import exclusive, shared
from pipeline.base.stage_names import Stage
from pipeline.cube.completion import (
    find,
    is_finished,
    record_stage,
    require,
    stage_fingerprint,
    stage_fingerprint_at,
    stage_method,
    stages_of,
)
from pipeline.cube.layout import Axis, Layer, array, create_arrays, create_layer, fits, store_attributes
from pipeline.cube.shards import (
    RECORDS,
    discard_record,
    fingerprints_after,
    read_records,
    read_window,
    shards_to_do,
    sweep_partials,
    write_record,
    write_shard,
)
from pipeline.cube.zarr_access import location_of, open_group, open_store
from pipeline.grid.grid import Grid

__all__ = (
    "begin",
    "begin_layers",
    "clear",
    "create",
    "discard",
    "discard_record",
    "find",
    "fingerprints_after",
    "finish",
    "holds",
    "is_finished",
    "layer_names",
    "match_layers",
    "open_to_read",
    "open_to_write",
    "read_records",
    "read_window",
    "require",
    "shards_to_do",
    "stage_fingerprint",
    "stage_fingerprint_at",
    "stage_method",
    "write_record",
    "write_shard",
    "writing",
)  # fmt: skip
ROOT: Final = "zarr.json"  # of a store: removed last, so that half a store is always known to be ours
UNMARKED: Final[dict[str, Any]] = {"stages": {}, "fingerprint": "", "complete": False}


def begin(
    path: Location,
    stage: Stage,
    fingerprint: Fingerprint,
    grid: Grid,
    layers: Sequence[Layer],
    *,
    axes: Sequence[Axis] = (),
    about: dict[str, Any] | None = None,
    method: Fingerprint | None = None,
) -> zarr.Group:
    """Open a store for a stage that owns it, with every array in place; what an earlier run of the same left is kept.

    Args:
        path: of the store.
        stage: name of the stage; the store's first writer.
        fingerprint: of configuration and inputs; a store made with another one is made anew.
        grid: cells and shards.
        layers: the arrays.
        axes: coordinates of the layers' leading dimensions.
        about: attributes of the store.
        method: fingerprint of all but the inputs, for a stage whose shards' records tell of inputs of their own: a
            store made by the same method from other inputs is kept, and the stage finds out which shards to do again.

    Raises:
        UserError: there is something at `path` that is no store of ours, it cannot be written, or workers of an earlier
            run go on writing there.
    """
    with _changing(path):
        group = find(path)
        if group is not None and stage_fingerprint(group, stage) == fingerprint:
            sweep_partials(path)
            return open_to_write(path)
        if group is not None and method is not None and stage_method(group, stage) == method:
            sweep_partials(path)
            group = open_to_write(path)
            # in one write, and without the later stages: what they made of the other inputs is no longer current
            stages: dict[str, Any] = {stage: {"fingerprint": fingerprint, "complete": False, "method": method}}
            unfinished: dict[str, Any] = {"stages": stages, "fingerprint": fingerprint, "complete": False}
            group.update_attributes({**(about or {}), **unfinished})
            return group
        return create(path, stage, fingerprint, grid, layers, axes=axes, about=about, method=method)


@contextmanager
def _changing(path: Location) -> Iterator[None]:
    """While what the writers of a store rely on is changed: no other run and no worker of an earlier one writes.

    Raises:
        UserError: the store cannot be written, or workers of an earlier run go on writing there.
    """
    locks.check()
    try:
        with exclusive(path):
            yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another --out."
        ) from error


def create(
    path: Location,
    stage: Stage,
    fingerprint: Fingerprint,
    grid: Grid,
    layers: Sequence[Layer],
    *,
    axes: Sequence[Axis] = (),
    about: dict[str, Any] | None = None,
    method: Fingerprint | None = None,
) -> zarr.Group:
    """Make a store anew in place, for a caller that alone writes there; arguments as of `begin`.

    Its attributes come first and say that nothing has begun, the stage's fingerprint last.
    """
    described = {**store_attributes(grid, about or {}), **UNMARKED}
    if find(path) is None:
        zarr.create_group(open_store(path, read_only=False), zarr_format=3, attributes=described)
    else:
        clear(path)
        open_to_write(path).attrs.put(described)
    group = open_to_write(path)
    create_arrays(group, grid, layers, axes)
    group.create_group(f"{RECORDS}/{stage}")
    record_stage(group, stage, fingerprint, complete=False, method=method)
    return group


def begin_layers(
    path: Location, stage: Stage, fingerprint: Fingerprint, grid: Grid, layers: Sequence[Layer]
) -> zarr.Group:
    """Add a later stage's arrays to a store, or keep those of an earlier run of the same stage.

    Those that are kept may hold what was made of other inputs: records tell of each shard what it was made from.

    Raises:
        UserError: the store cannot be written, or workers of an earlier run go on writing there.
    """
    with _changing(path):
        sweep_partials(path)
        group = open_to_write(path)
        if stage_fingerprint(group, stage) == fingerprint:
            return group
        if holds(group, stage, layers):
            record_stage(group, stage, fingerprint, complete=False)
            return group
        # from here until the arrays are in place, the stage counts as not begun
        record_stage(group, stage, Fingerprint(""), complete=False)
        remove_tree(path / RECORDS / stage)
        for layer in layers:
            create_layer(group, grid, layer)
        group.create_group(f"{RECORDS}/{stage}")
        record_stage(group, stage, fingerprint, complete=False)
        return group


def holds(group: zarr.Group, stage: Stage, layers: Sequence[Layer]) -> bool:
    """Whether a store has all these arrays, of these types, and records of the stage that writes them."""
    return f"{RECORDS}/{stage}" in group and all(
        layer.name in group and fits(array(group, layer.name), layer) for layer in layers
    )


def match_layers(path: Location, stage: Stage, grid: Grid, layers: Sequence[Layer]) -> None:
    """Give a store that a stage alone writes exactly these arrays on the grid; those that stay keep what they hold.

    Where one is added or removed, the stage counts as unfinished from then on.

    Raises:
        UserError: the store cannot be written, or workers of an earlier run go on writing there.
    """
    group = open_to_write(path)
    wanted, there = {layer.name: layer for layer in layers}, layer_names(group)
    if there == set(wanted):
        return
    with _changing(path):
        record_stage(group, stage, Fingerprint(str(stage_fingerprint(group, stage))), complete=False)
        for name in sorted(there - set(wanted)):
            remove_tree(path / name, keep=frozenset({ROOT}))  # a kill leaves an array, which is removed next time
            remove_tree(path / name)
        for name in sorted(set(wanted) - there):
            create_layer(group, grid, wanted[name])


def layer_names(group: zarr.Group) -> set[str]:
    """The arrays of a store that lie on its grid: all but coordinates, which have one dimension or none."""
    return {name for name, array in group.arrays() if array.ndim >= 2}


@contextmanager
def writing(path: Location, stage: Stage, fingerprint: Fingerprint) -> Iterator[zarr.Group]:
    """Open a store for the writes of one task, which must belong to the run that the store is begun for.

    On a disk no run begins, removes or finishes the stage while the block lasts. At a URL the fingerprint is read once,
    at the start: the record of what a worker writes there after a later run has begun has the old fingerprint.
    Hold it for the writes alone: data are read and computed before.

    Args:
        path: of the store.
        stage: that writes.
        fingerprint: with which the run of this task has begun the stage.

    Raises:
        Superseded: the store has been begun anew by another run, or the stage is finished.
    """
    try:
        with shared(path):
            group = open_to_write(path)
            of_stage = stages_of(group).get(stage, {})
            if of_stage.get("fingerprint") != fingerprint or of_stage.get("complete"):
                raise Superseded(f"{path} belongs to another run of {stage} by now: nothing is written there.")
            yield group
    except FileNotFoundError as error:
        if find(path) is None:
            raise Superseded(f"{path} has been removed since {stage} began: nothing is written there.") from error
        raise


def open_to_read(path: Location) -> zarr.Group:
    """A store that is known to be there, for a task that reads from it."""
    return open_group(path, "r")


def open_to_write(path: Location) -> zarr.Group:
    """A store that `begin` has made, to change its attributes; tasks write shards within `writing`."""
    return open_group(path, "r+")


def finish(group: zarr.Group, stage: Stage, fingerprint: Fingerprint, **facts: Any) -> None:
    """Say that a stage is whole: its last write. `facts` become attributes of the store.

    Raises:
        Superseded: another run has begun the stage anew meanwhile.
    """
    locks.check()
    path = location_of(group)
    with exclusive(path):
        if stage_fingerprint_at(path, stage) != stage_fingerprint(group, stage):
            raise Superseded(f"{path} belongs to another run of {stage} by now: it is not finished here.")
        record_stage(group, stage, fingerprint, complete=True, facts=facts)


def discard(path: Location) -> None:
    """Remove a store of ours: first what it says of itself, last its root, so that no reader takes half for whole."""
    if find(path) is None:
        if isinstance(path, Path) and path.is_dir():
            remove_tree(path)  # an empty folder, with strays at most
        return
    clear(path)
    remove_tree(path)


def clear(path: Location) -> None:
    """Leave nothing of a store but its root, which says that no stage has begun."""
    open_to_write(path).update_attributes(UNMARKED)
    remove_tree(path, keep=frozenset({ROOT}))

"""Zarr stores: the empty arrays first, whole shards next, the attribute `complete` last.

The attributes of a store record which stages have written it, and with which fingerprints. So a reader never takes half
a map for a complete one, and a run continues where a killed one stopped.

Stores are created and removed in place, because objects at a URL cannot be renamed. A store that is created or removed
in part is marked as not complete, and the next run clears it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import zarr

from pipeline.base import locks
from pipeline.base.errors import Superseded, UserError
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location, remove_tree
from pipeline.base.locks.store import exclusive, shared
from pipeline.base.stage_names import Stage
from pipeline.cube.completion import (
    StageRecord,
    find,
    is_finished,
    record_stage,
    require,
    stage_fingerprint,
    stage_fingerprint_at,
    stage_method,
    stages_of,
)
from pipeline.cube.layout import (
    Axis,
    Layer,
    array,
    create_arrays,
    create_layer,
    fits,
    plain_attributes,
    store_attributes,
)
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
    "NOT_BEGUN", "ROOT", "begin", "begin_layers", "clear", "create", "discard", "discard_record", "find",
    "fingerprints_after", "finish", "holds", "is_finished", "layer_names", "match_layers", "open_to_read",
    "open_to_write", "read_records", "read_window", "require", "shards_to_do", "stage_fingerprint",
    "stage_fingerprint_at", "stage_method", "write_record", "write_shard", "writing",
)  # fmt: skip
ROOT: Final = "zarr.json"  # of a store: removed last, so that a store removed in part is still known as ours
NOT_BEGUN: Final[Mapping[str, object]] = {"stages": {}, "fingerprint": "", "complete": False}


def begin(
    path: Location,
    stage: Stage,
    fingerprint: Fingerprint,
    grid: Grid,
    layers: Sequence[Layer],
    *,
    axes: Sequence[Axis] = (),
    about: Mapping[str, object] | None = None,
    method: Fingerprint | None = None,
) -> zarr.Group:
    """Create the store of a stage with all its arrays, or open it where an earlier run with the same inputs made it.

    Args:
        path: the store.
        stage: the stage, which is the first writer of the store.
        fingerprint: fingerprint of configuration and inputs; a store with another one is created again.
        grid: cells and shards.
        layers: the arrays.
        axes: coordinates of the leading dimensions of the arrays.
        about: attributes of the store.
        method: fingerprint of all but the inputs, for a stage whose records have a fingerprint per shard. A store of
            the same method from other inputs is then kept, and the stage finds the shards that it must write again.

    Raises:
        UserError: something at `path` was not written by sitscube, the store cannot be written, or workers of an
            earlier run still write to it.
    """
    with _changing(path):
        group = find(path)
        if group is not None and stage_fingerprint(group, stage) == fingerprint:
            sweep_partials(path)
            return open_to_write(path)
        if group is not None and method is not None and stage_method(group, stage) == method:
            sweep_partials(path)
            group = open_to_write(path)
            # in one write, and without the later stages, whose results belong to the other inputs
            stages: dict[str, StageRecord] = {stage: {"fingerprint": fingerprint, "complete": False, "method": method}}
            unfinished = {"stages": stages, "fingerprint": fingerprint, "complete": False}
            group.update_attributes({**(about or {}), **unfinished})
            return group
        return create(path, stage, fingerprint, grid, layers, axes=axes, about=about, method=method)


@contextmanager
def _changing(path: Location) -> Iterator[None]:
    """Keep all writers of a store away for the duration of the block: other runs, and workers of earlier ones.

    Raises:
        UserError: the store cannot be written, or workers of an earlier run still write to it.
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
    about: Mapping[str, object] | None = None,
    method: Fingerprint | None = None,
) -> zarr.Group:
    """Create a store in place of an existing one, for a caller that is its only writer; for the arguments see `begin`.

    Attributes without any stage are written first, the fingerprint of the stage is written last.
    """
    described = plain_attributes({**store_attributes(grid, about or {}), **NOT_BEGUN})
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
    """Add the arrays of a later stage to a store, or keep those of an earlier run of the same stage.

    Kept arrays may contain shards that were made from other inputs; the record of each shard has its fingerprint.

    Raises:
        UserError: the store cannot be written, or workers of an earlier run still write to it.
    """
    with _changing(path):
        sweep_partials(path)
        group = open_to_write(path)
        if stage_fingerprint(group, stage) == fingerprint:
            return group
        if holds(group, stage, layers):
            record_stage(group, stage, fingerprint, complete=False)
            return group
        # until the arrays exist, the stage counts as not begun
        record_stage(group, stage, Fingerprint(""), complete=False)
        remove_tree(path / RECORDS / stage)
        for layer in layers:
            create_layer(group, grid, layer)
        group.create_group(f"{RECORDS}/{stage}")
        record_stage(group, stage, fingerprint, complete=False)
        return group


def holds(group: zarr.Group, stage: Stage, layers: Sequence[Layer]) -> bool:
    """Return whether a store has all these arrays, with these types and attributes, and records of their stage."""
    return f"{RECORDS}/{stage}" in group and all(
        layer.name in group and fits(array(group, layer.name), layer) for layer in layers
    )


def match_layers(path: Location, stage: Stage, grid: Grid, layers: Sequence[Layer]) -> None:
    """Add and remove arrays on the grid until a store of one stage has exactly these; the others keep their numbers.

    If an array is added or removed, the stage counts as unfinished.

    Raises:
        UserError: the store cannot be written, or workers of an earlier run still write to it.
    """
    group = open_to_write(path)
    wanted, there = {layer.name: layer for layer in layers}, layer_names(group)
    if there == set(wanted):
        return
    with _changing(path):
        record_stage(group, stage, Fingerprint(str(stage_fingerprint(group, stage))), complete=False)
        for name in sorted(there - set(wanted)):
            remove_tree(path / name, keep=frozenset({ROOT}))  # after a kill here, the array is still removed next time
            remove_tree(path / name)
        for name in sorted(set(wanted) - there):
            create_layer(group, grid, wanted[name])


def layer_names(group: zarr.Group) -> set[str]:
    """Return the names of the arrays on the grid: all but coordinates, which have one dimension or none."""
    return {name for name, array in group.arrays() if array.ndim >= 2}


@contextmanager
def writing(path: Location, stage: Stage, fingerprint: Fingerprint) -> Iterator[zarr.Group]:
    """Open a store for the writes of one task, which must belong to the run that has begun the stage.

    On a disk, no run begins, removes or finishes the stage during the block. At a URL, the fingerprint is read once, at
    the start. If a later run begins meanwhile, records from this block have the old fingerprint, and that run writes
    their shards again. Read and compute before the block, so that it is short.

    Args:
        path: the store.
        stage: the stage that writes.
        fingerprint: fingerprint with which the run of this task has begun the stage.

    Raises:
        Superseded: another run has begun the stage again, or the stage is finished.
    """
    try:
        with shared(path):
            group = open_to_write(path)
            record = stages_of(group).get(stage)
            if record is None or record.get("fingerprint") != fingerprint or record.get("complete"):
                raise Superseded(f"{path} belongs to another run of {stage} by now: nothing is written there.")
            yield group
    except FileNotFoundError as error:
        if find(path) is None:
            raise Superseded(f"{path} has been removed since {stage} began: nothing is written there.") from error
        raise


def open_to_read(path: Location) -> zarr.Group:
    """Open an existing store for reading."""
    return open_group(path, "r")


def open_to_write(path: Location) -> zarr.Group:
    """Open an existing store to change its attributes; for the shards of a task see `writing`."""
    return open_group(path, "r+")


def finish(group: zarr.Group, stage: Stage, fingerprint: Fingerprint, **facts: object) -> None:
    """Record that a stage is complete, as its last write; `facts` become attributes of the store.

    Raises:
        Superseded: another run has begun the stage again meanwhile.
    """
    locks.check()
    path = location_of(group)
    with exclusive(path):
        if stage_fingerprint_at(path, stage) != stage_fingerprint(group, stage):
            raise Superseded(f"{path} belongs to another run of {stage} by now: it is not finished here.")
        record_stage(group, stage, fingerprint, complete=True, facts=facts)


def discard(path: Location) -> None:
    """Remove a store: its completion first and its root last, so that no reader takes a part for a complete store."""
    if find(path) is None:
        if isinstance(path, Path) and path.is_dir():
            remove_tree(path)  # an empty folder, or one with partial files alone
        return
    clear(path)
    remove_tree(path)


def clear(path: Location) -> None:
    """Remove all of a store but its root, which then records that no stage has begun."""
    open_to_write(path).update_attributes(plain_attributes(NOT_BEGUN))
    remove_tree(path, keep=frozenset({ROOT}))

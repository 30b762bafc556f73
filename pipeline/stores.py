"""Zarr stores: template first, whole shards next, `complete` last.

A store says in its attributes which stages have written it and with which fingerprint, so that a reader never meets
half a map that calls itself whole, and a run that was killed goes on where it stopped.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.errors import UserError
from pipeline.files import partial_path
from pipeline.grid import Grid, Shard
from pipeline.layout import SOFTWARE, Axis, Layer, array, attributes, create_layer, create_store

_RECORDS = "records"  # group of the shards' records; readers of the arrays never meet it


def begin(
    path: Path,
    stage: str,
    fingerprint: str,
    grid: Grid,
    layers: Sequence[Layer],
    *,
    axes: Sequence[Axis] = (),
    about: dict[str, Any] | None = None,
    method: str | None = None,
) -> zarr.Group:
    """Open a store for a stage that owns it, with every array in place; what an earlier run of the same left is kept.

    Args:
        path: folder of the store.
        stage: name of the stage; the store's first writer.
        fingerprint: of configuration and inputs; a store made with another one is made anew.
        grid: cells and shards.
        layers: the arrays.
        axes: coordinates of the layers' leading dimensions.
        about: attributes of the store.
        method: fingerprint of all but the inputs, for a stage that keeps a record of each shard's own inputs: a store
            made by the same method from other inputs is kept, and the stage finds out which shards to do again.

    Raises:
        UserError: there is something at `path` that is no store of ours, or it cannot be written.
    """
    group = find(path)
    if group is not None and stage_fingerprint(group, stage) == fingerprint:
        sweep_partials(path)
        return open_to_write(path)
    if group is not None and method is not None and _stages(group).get(stage, {}).get("method") == method:
        sweep_partials(path)
        group = open_to_write(path)
        # in one write, and without the later stages: what they made of the other inputs is no longer current
        stages: dict[str, Any] = {stage: {"fingerprint": fingerprint, "complete": False, "method": method}}
        unfinished: dict[str, Any] = {"stages": stages, "fingerprint": fingerprint, "complete": False}
        group.attrs.update({**(about or {}), **unfinished})
        return group
    try:
        discard(path)
        beside = partial_path(path)
        shutil.rmtree(beside, ignore_errors=True)
        group = create_store(beside, grid, layers, axes, about or {})
        if method is not None:
            group.create_group(f"{_RECORDS}/{stage}")
        _mark(group, stage, fingerprint, complete=False, method=method)
        beside.rename(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another --out."
        ) from None
    return open_to_write(path)


def begin_layers(group: zarr.Group, stage: str, fingerprint: str, grid: Grid, layers: Sequence[Layer]) -> None:
    """Add a later stage's arrays to a store, or keep those that an earlier run of the same stage has begun."""
    if stage_fingerprint(group, stage) == fingerprint:
        return
    _mark(group, stage, "", complete=False)  # from here until the arrays are in place, the stage counts as not begun
    for layer in layers:
        create_layer(group, grid, layer)
    _mark(group, stage, fingerprint, complete=False)


def open_to_read(path: Path) -> zarr.Group:
    """A store that is known to be there, for a task that reads from it."""
    return zarr.open_group(path, mode="r", zarr_format=3)


def open_to_write(path: Path) -> zarr.Group:
    """A store that `begin` has made, for a task that writes a shard of it."""
    return zarr.open_group(path, mode="r+", zarr_format=3)


def finish(group: zarr.Group, stage: str, fingerprint: str, **facts: Any) -> None:
    """Say that a stage is whole: its last write. `facts` become attributes of the store."""
    group.attrs.update(facts)
    _mark(group, stage, fingerprint, complete=True)


def is_finished(group: zarr.Group | None, stage: str, fingerprint: str) -> bool:
    """Whether a stage has been brought to its end with this fingerprint."""
    if group is None:
        return False
    record = _stages(group).get(stage, {})
    return bool(record.get("complete")) and record.get("fingerprint") == fingerprint


def stage_fingerprint(group: zarr.Group, stage: str) -> str | None:
    """With what fingerprint a stage was last begun, or None."""
    return _stages(group).get(stage, {}).get("fingerprint") or None


def stage_fingerprint_at(path: Path, stage: str) -> str | None:
    """The same, of the store at `path`."""
    group = find(path)
    return None if group is None else stage_fingerprint(group, stage)


def _stages(group: zarr.Group) -> dict[str, dict[str, Any]]:
    return dict(attributes(group).get("stages", {}))


def _mark(group: zarr.Group, stage: str, fingerprint: str, *, complete: bool, method: str | None = None) -> None:
    method = method or _stages(group).get(stage, {}).get("method")
    stages = {**_stages(group), stage: {"fingerprint": fingerprint, "complete": complete, "method": method}}
    whole = all(record["complete"] for record in stages.values())
    group.attrs.update({"stages": stages, "fingerprint": fingerprint, "complete": whole})


def find(path: Path) -> zarr.Group | None:
    """The store at `path` for reading, or None where there is nothing.

    Raises:
        UserError: what lies there was not written by sitscube.
    """
    if not path.exists():
        return None
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is in the way and is no Zarr store that can be read ({error}): move it away."
        ) from None
    if group.attrs.get("software") != SOFTWARE:
        raise UserError(f"{path} is in the way and was not written by sitscube: move it away or choose another --out.")
    return group


def require(path: Path, stage: str, command: str) -> zarr.Group:
    """The store at `path`, which a stage must have finished.

    Raises:
        UserError: it is missing or unfinished; the message says which command makes it.
    """
    group = find(path)
    if group is None:
        raise UserError(f"there is no {path}: run `sitscube {command}` with the same --year and --out first.")
    if stage not in _stages(group):
        raise UserError(f"{path} is not ready: run `sitscube {command}` with the same --year and --out first.")
    if not _stages(group)[stage]["complete"]:
        raise UserError(
            f"{path} is not finished ({stage}): run `sitscube {command}` again, it goes on where it stopped."
        )
    return group


def discard(path: Path) -> None:
    """Remove a store of ours, by way of another name, so that no reader meets half of it."""
    if find(path) is None:
        return
    away = _away(path)
    shutil.rmtree(away, ignore_errors=True)
    path.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def swap(beside: Path, path: Path) -> None:
    """Put a finished store in the place of another; `recover` mends what a kill between the two renames leaves."""
    away = _away(path)
    if find(path) is not None:
        shutil.rmtree(away, ignore_errors=True)
        path.rename(away)
    beside.rename(path)
    shutil.rmtree(away, ignore_errors=True)


def recover(path: Path) -> None:
    """Put back the store that a killed `swap` had moved away."""
    if not path.exists() and _away(path).exists():
        _away(path).rename(path)


def _away(path: Path) -> Path:
    return path.with_name(f".{path.name}.discarded")


def sweep_partials(path: Path) -> None:
    """Remove the strays that a killed writer leaves beside its objects."""
    for stray in path.rglob("*.partial"):
        stray.unlink(missing_ok=True)


def write_shard(group: zarr.Group, name: str, grid: Grid, shard: Shard, data: np.ndarray) -> None:
    """Write one whole shard of an array: the only way in, so that no object ever has two writers.

    Args:
        group: the store.
        name: of the array.
        grid: the store's grid.
        shard: which one.
        data: (..., rows of the shard, columns of the shard), all leading coordinates.

    Raises:
        ValueError: `data` is not exactly the shard, or not of its type.
    """
    target = array(group, name)
    rows, columns = grid.window(shard)
    expected = (*target.shape[:-2], rows.stop - rows.start, columns.stop - columns.start)
    if data.shape != expected or data.dtype != target.dtype:
        raise ValueError(f"{name} {shard}: {data.dtype} {data.shape} is not the whole shard, {target.dtype} {expected}")
    # an all-missing shard is written too: that its object exists is how we know that the shard is done
    target.with_config({"write_empty_chunks": True})[..., rows, columns] = data


def read_window(group: zarr.Group, name: str, window: tuple[slice, slice]) -> np.ndarray:
    """Read a window of an array: all leading coordinates, `window` in y and x, numbers as stored.

    Raises:
        UserError: what is stored there is damaged.
    """
    try:
        return np.asarray(array(group, name)[..., window[0], window[1]])
    except (ValueError, RuntimeError) as error:  # a checksum that is wrong, or bytes that cannot be unpacked
        raise UserError(
            f"{group.store_path} is damaged in {name}, rows {window[0].start} to {window[0].stop}, columns "
            f"{window[1].start} to {window[1].stop} ({error}): remove it and run again."
        ) from None


def write_record(group: zarr.Group, stage: str, shard: Shard, record: dict[str, Any]) -> None:
    """Keep what a stage has to say of one shard it has written, such as from which inputs: the shard's last write."""
    group.create_group(f"{_RECORDS}/{stage}/{shard}", attributes=record)


def discard_record(group: zarr.Group, stage: str, shard: Shard) -> None:
    """Drop a shard's record before the shard is written anew: a kill in between must not leave the old one standing."""
    if f"{_RECORDS}/{stage}/{shard}" in group:
        del group[f"{_RECORDS}/{stage}/{shard}"]


def read_records(path: Path, stage: str, shards: Sequence[Shard]) -> dict[Shard, dict[str, Any]]:
    """The records of those shards that have one."""
    found = {}
    for shard in shards:
        try:
            node = zarr.open_group(path / _RECORDS / stage / str(shard), mode="r", zarr_format=3)
        except FileNotFoundError:
            continue
        found[shard] = attributes(node)
    return found


def shards_to_do(path: Path, names: Sequence[str], grid: Grid) -> list[Shard]:
    """The shards of which at least one of the arrays `names` has no object yet."""

    def written(name: str, shard: Shard) -> bool:
        leading = ["0"] * (len(zarr.open_array(path / name, mode="r").shape) - 2)
        return path.joinpath(name, "c", *leading, str(shard.i), str(shard.j)).exists()

    return [shard for shard in grid.shards if not all(written(name, shard) for name in names)]

"""The shards of a store: written whole, each with a record that says what it was made from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from pipeline.base.errors import UserError
from pipeline.base.files import remove_file, write_text
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location, keys_below, read_many
from pipeline.base.stage_names import Stage
from pipeline.cube.layout import array
from pipeline.cube.zarr_access import location_of, open_group
from pipeline.grid.grid import Grid, Shard

RECORDS: Final = "records"  # group of the shards' records, which readers of the arrays need not know
FINGERPRINT_KEY: Final = "mark"  # of the fingerprint in a record; stores of all versions have this key


def write_shard(group: zarr.Group, name: str, grid: Grid, shard: Shard, data: np.ndarray) -> None:
    """Write one whole shard of an array.

    Arrays are written by whole shards alone, so that no object ever has two writers.

    Args:
        group: the store.
        name: name of the array.
        grid: grid of the store.
        shard: the shard.
        data: numbers (..., rows of the shard, columns of the shard), with all leading coordinates.

    Raises:
        ValueError: `data` is not exactly the shard, or not of the array's type.
    """
    target = array(group, name)
    rows, columns = grid.window(shard)
    expected = (*target.shape[:-2], rows.stop - rows.start, columns.stop - columns.start)
    if data.shape != expected or data.dtype != target.dtype:
        raise ValueError(f"{name} {shard}: {data.dtype} {data.shape} is not the whole shard, {target.dtype} {expected}")
    # a shard of fill values is written, too: a missing object means that the shard is still to do
    target.with_config({"write_empty_chunks": True})[..., rows, columns] = data


def read_window(group: zarr.Group, name: str, window: tuple[slice, slice]) -> np.ndarray:
    """Read a window of an array (..., y, x): all leading coordinates, numbers as stored.

    Args:
        group: the store.
        name: name of the array.
        window: rows and columns.

    Raises:
        UserError: an object is damaged.
    """
    try:
        return np.asarray(array(group, name)[..., window[0], window[1]])
    except (ValueError, RuntimeError) as error:  # a wrong checksum, or bytes that cannot be decompressed
        raise UserError(
            f"{group.store_path} is damaged in {name}, rows {window[0].start} to {window[0].stop}, columns "
            f"{window[1].start} to {window[1].stop} ({error}): remove it and run again."
        ) from None


def write_record(group: zarr.Group, stage: Stage, shard: Shard, record: Mapping[str, object]) -> None:
    """Write the record of one shard, as the shard's last write.

    Args:
        group: the store.
        stage: the stage that wrote the shard.
        shard: the shard.
        record: JSON-able; under `FINGERPRINT_KEY` the fingerprint of the method and of all inputs of the shard.
    """
    write_text(location_of(group) / RECORDS / stage / _key(shard), json.dumps(record, sort_keys=True) + "\n")


def discard_record(group: zarr.Group, stage: Stage, shard: Shard) -> None:
    """Remove a shard's record before the shard is written again, so that a kill in between leaves no wrong record."""
    remove_file(location_of(group) / RECORDS / stage / _key(shard))


def read_records(path: Location, stage: Stage, shards: Sequence[Shard]) -> dict[Shard, dict[str, Any]]:
    """Read the records of shards; shards without a readable record are left out."""
    keys = {_key(shard): shard for shard in shards}
    found = {}
    for key, content in read_many(path / RECORDS / stage, list(keys)).items():
        try:
            record = json.loads(content)
        except ValueError:  # damaged: the shard counts as not done
            continue
        if isinstance(record, dict):
            found[keys[key]] = record
    return found


def fingerprints_after(
    path: Location, stage: Stage, otherwise: Fingerprint | None, method: Fingerprint, shards: Sequence[Shard]
) -> dict[Shard, Fingerprint]:
    """Return a fingerprint per shard: of a method, and of the inputs from which an earlier stage made that shard.

    Where some shards of the earlier stage change, the fingerprints of the others stay the same.

    Args:
        path: store with the records of the earlier stage.
        stage: the earlier stage.
        otherwise: fingerprint of the whole earlier stage, for shards without a readable record.
        method: fingerprint of all else that the result depends on.
        shards: the shards.
    """
    records = read_records(path, stage, shards)
    return {shard: fingerprint_of(method, records.get(shard, {}).get(FINGERPRINT_KEY, otherwise)) for shard in shards}


def shards_to_do(
    path: Location,
    stage: Stage,
    made_from: Fingerprint | Mapping[Shard, Fingerprint],
    names: Sequence[str],
    grid: Grid,
) -> list[Shard]:
    """Return the shards that are not done: an object is missing, or the record has another fingerprint.

    Args:
        path: the store.
        stage: the stage that writes the shards.
        made_from: fingerprint that the records must have: one for all shards, or one per shard.
        names: the arrays that the stage writes.
        grid: grid of the store.
    """
    records = read_records(path, stage, grid.shards)
    written = [_written(path, name, grid) for name in names]

    def done(shard: Shard) -> bool:
        wanted = made_from if isinstance(made_from, str) else made_from[shard]
        return records.get(shard, {}).get(FINGERPRINT_KEY) == wanted and all(shard in of_array for of_array in written)

    return [shard for shard in grid.shards if not done(shard)]


def _written(path: Location, name: str, grid: Grid) -> set[Shard]:
    """Return the shards whose object of an array exists; partial files of killed writers have other names."""
    lead = ["0"] * (len(array(open_group(path, "r"), name).shape) - 2)
    keys = keys_below(path / name / "c")
    return {shard for shard in grid.shards if "/".join([*lead, str(shard.i), str(shard.j)]) in keys}


def sweep_partials(path: Location) -> None:
    """Remove the partial files that killed writers have left in a store on a disk; at a URL there are none."""
    if isinstance(path, Path):
        for stray in path.rglob("*.partial"):
            stray.unlink(missing_ok=True)


def _key(shard: Shard) -> str:
    return f"{shard}.json"

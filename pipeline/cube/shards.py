"""The shards of a store: written whole, each with a record that says which run it belongs to."""

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

RECORDS: Final = "records"  # group of the shards' records; readers of the arrays never meet it
_FINGERPRINT: Final = "mark"  # key of a record


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
    # an all-missing shard is written too: its object belongs to what makes the shard done
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


def write_record(group: zarr.Group, stage: Stage, shard: Shard, record: dict[str, Any]) -> None:
    """Keep what a stage has to say of one shard it has written: the shard's last write.

    Args:
        group: the store.
        stage: that wrote the shard.
        shard: which one.
        record: JSON-able; under "mark" the fingerprint of what the shard was made by and from.
    """
    write_text(location_of(group) / RECORDS / stage / _key(shard), json.dumps(record, sort_keys=True) + "\n")


def discard_record(group: zarr.Group, stage: Stage, shard: Shard) -> None:
    """Drop a shard's record before the shard is written anew: a kill in between must not leave the old one standing."""
    remove_file(location_of(group) / RECORDS / stage / _key(shard))


def read_records(path: Location, stage: Stage, shards: Sequence[Shard]) -> dict[Shard, dict[str, Any]]:
    """The records of those shards that have one that can be read."""
    keys = {_key(shard): shard for shard in shards}
    found = {}
    for key, content in read_many(path / RECORDS / stage, list(keys)).items():
        try:
            record = json.loads(content)
        except ValueError:  # damaged: the shard is done again
            continue
        if isinstance(record, dict):
            found[keys[key]] = record
    return found


def fingerprints_after(
    path: Location, stage: Stage, otherwise: Fingerprint | None, method: Fingerprint, shards: Sequence[Shard]
) -> dict[Shard, Fingerprint]:
    """Return fingerprints of single shards: of a method, and of what an earlier stage has made that shard from.

    A shard whose content has stayed is then known not to need the method again, though others have changed.

    Args:
        path: of the store with the records of the earlier stage.
        stage: the earlier one.
        otherwise: fingerprint of the whole of it, for shards without a record that can be read.
        method: fingerprint of all else that the result depends on.
        shards: which ones.
    """
    records = read_records(path, stage, shards)
    return {shard: fingerprint_of(method, records.get(shard, {}).get(_FINGERPRINT, otherwise)) for shard in shards}


def shards_to_do(
    path: Location,
    stage: Stage,
    made_from: Fingerprint | Mapping[Shard, Fingerprint],
    names: Sequence[str],
    grid: Grid,
) -> list[Shard]:
    """Return the shards that are not done: an object is missing, or the record does not carry the fingerprint.

    Args:
        path: of the store.
        stage: that writes the shards.
        made_from: fingerprint that their records must carry; one a shard where each has its own.
        names: the arrays that the stage writes.
        grid: the store's grid.
    """
    records = read_records(path, stage, grid.shards)
    written = [_written(path, name, grid) for name in names]

    def done(shard: Shard) -> bool:
        wanted = made_from if isinstance(made_from, str) else made_from[shard]
        return records.get(shard, {}).get(_FINGERPRINT) == wanted and all(shard in of_array for of_array in written)

    return [shard for shard in grid.shards if not done(shard)]


def _written(path: Location, name: str, grid: Grid) -> set[Shard]:
    """The shards of which an array has an object; strays of killed writers have other names."""
    lead = ["0"] * (len(array(open_group(path, "r"), name).shape) - 2)
    keys = keys_below(path / name / "c")
    return {shard for shard in grid.shards if "/".join([*lead, str(shard.i), str(shard.j)]) in keys}


def sweep_partials(path: Location) -> None:
    """Remove the strays that a killed writer leaves beside its objects on a disk; at a URL there are none."""
    if isinstance(path, Path):
        for stray in path.rglob("*.partial"):
            stray.unlink(missing_ok=True)


def _key(shard: Shard) -> str:
    return f"{shard}.json"

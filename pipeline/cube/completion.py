"""The stages of a store: which have written it, with which fingerprint, and which are complete."""

from collections.abc import Mapping
from typing import TypedDict

import zarr

from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location, is_empty
from pipeline.base.stage_names import Stage
from pipeline.cube.layout import SOFTWARE, attributes
from pipeline.cube.zarr_access import open_group


class StageRecord(TypedDict):
    """Describe how far one stage is with a store."""

    fingerprint: Fingerprint  # of configuration and inputs; empty: the stage counts as not begun
    complete: bool
    method: Fingerprint | None  # of all but the inputs


def is_finished(group: zarr.Group | None, stage: Stage, fingerprint: Fingerprint) -> bool:
    """Return whether a stage is complete with this fingerprint."""
    record = stages_of(group).get(stage) if group is not None else None
    return record is not None and bool(record.get("complete")) and record.get("fingerprint") == fingerprint


def stage_fingerprint(group: zarr.Group, stage: Stage) -> Fingerprint | None:
    """Return the fingerprint with which a stage was last begun, or None."""
    record = stages_of(group).get(stage)
    return (record.get("fingerprint") or None) if record else None


def stage_fingerprint_at(path: Location, stage: Stage) -> Fingerprint | None:
    """Return the fingerprint with which a stage of the store at `path` was last begun, or None."""
    group = find(path)
    return None if group is None else stage_fingerprint(group, stage)


def stage_method(group: zarr.Group, stage: Stage) -> Fingerprint | None:
    """Return the fingerprint of a stage without its inputs, or None where it has none."""
    record = stages_of(group).get(stage)
    return (record.get("method") or None) if record else None


def stages_of(group: zarr.Group) -> dict[str, StageRecord]:
    """Return the records of a store's stages, by the name of the stage."""
    return dict(attributes(group).get("stages", {}))


def record_stage(
    group: zarr.Group,
    stage: Stage,
    fingerprint: Fingerprint,
    *,
    complete: bool,
    method: Fingerprint | None = None,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Write how far a stage is, in one write; the store is complete when all its stages are.

    Args:
        group: the store.
        stage: the stage.
        fingerprint: fingerprint with which the stage was begun; empty: the stage counts as not begun.
        complete: whether the stage is complete.
        method: fingerprint of all but the inputs; None keeps the recorded one.
        facts: other attributes, which are part of the same write.
    """
    stages = stages_of(group)
    stages[stage] = {
        "fingerprint": fingerprint,
        "complete": complete,
        "method": method or (stages[stage].get("method") if stage in stages else None),
    }
    whole = all(record["complete"] for record in stages.values())
    # group.attrs.update would write once a key, and a kill in between would leave a store that claims too much
    group.update_attributes({**(facts or {}), "stages": stages, "fingerprint": fingerprint, "complete": whole})


def find(path: Location) -> zarr.Group | None:
    """Open the store at `path` for reading, or return None where there is nothing.

    Raises:
        UserError: something is there that sitscube has not written.
    """
    try:
        group = open_group(path, "r")
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError) as error:
        if is_empty(path):
            return None
        raise UserError(
            f"{path} is in the way and is no Zarr store that can be read ({error}): move it away."
        ) from None
    if group.attrs.get("software") != SOFTWARE:
        raise UserError(f"{path} is in the way and was not written by sitscube: move it away or choose another --out.")
    return group


def require(path: Location, stage: Stage, command: str) -> zarr.Group:
    """Open the store at `path` for reading, which a stage must have finished.

    Raises:
        UserError: the store is missing or unfinished; the message says which command makes it.
    """
    group = find(path)
    if group is None:
        raise UserError(f"there is no {path}: run `sitscube {command}` with the same --year and --out first.")
    record = stages_of(group).get(stage)
    if record is None:
        raise UserError(f"{path} is not ready: run `sitscube {command}` with the same --year and --out first.")
    if not record["complete"]:
        raise UserError(
            f"{path} is not finished ({stage}): run `sitscube {command}` again, it goes on where it stopped."
        )
    return group

"""What a store says of its stages: which have written it, with which fingerprint, and which are complete."""

from typing import Any

import zarr

from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location, is_empty
from pipeline.base.stage_names import Stage
from pipeline.cube.layout import SOFTWARE, attributes
from pipeline.cube.zarr_access import open_group


def is_finished(group: zarr.Group | None, stage: Stage, fingerprint: Fingerprint) -> bool:
    """Whether a stage has been brought to its end with this fingerprint."""
    if group is None:
        return False
    record = stages_of(group).get(stage, {})
    return bool(record.get("complete")) and record.get("fingerprint") == fingerprint


def stage_fingerprint(group: zarr.Group, stage: Stage) -> Fingerprint | None:
    """Return the fingerprint with which a stage was last begun, or None."""
    return stages_of(group).get(stage, {}).get("fingerprint") or None


def stage_fingerprint_at(path: Location, stage: Stage) -> Fingerprint | None:
    """Return the same of the store at `path`."""
    group = find(path)
    return None if group is None else stage_fingerprint(group, stage)


def stage_method(group: zarr.Group, stage: Stage) -> Fingerprint | None:
    """Return the fingerprint of a stage without its inputs, or None where it has none."""
    return stages_of(group).get(stage, {}).get("method") or None


def stages_of(group: zarr.Group) -> dict[str, dict[str, Any]]:
    """By stage: its fingerprint, whether it is complete, and its method where it has one."""
    return dict(attributes(group).get("stages", {}))


def record_stage(
    group: zarr.Group,
    stage: Stage,
    fingerprint: Fingerprint,
    *,
    complete: bool,
    method: Fingerprint | None = None,
    facts: dict[str, Any] | None = None,
) -> None:
    """Say how far a stage is, in one write; the store is complete when all its stages are.

    Args:
        group: the store.
        stage: of which something is said.
        fingerprint: with which it was begun; empty: it counts as not begun.
        complete: whether it is.
        method: fingerprint of all but its inputs; without one that which is there stays.
        facts: other attributes, written with it.
    """
    method = method or stages_of(group).get(stage, {}).get("method")
    stages = {**stages_of(group), stage: {"fingerprint": fingerprint, "complete": complete, "method": method}}
    whole = all(record["complete"] for record in stages.values())
    # not group.attrs.update, which writes once a key: a kill in between would leave a store that says too much
    group.update_attributes({**(facts or {}), "stages": stages, "fingerprint": fingerprint, "complete": whole})


def find(path: Location) -> zarr.Group | None:
    """The store at `path` for reading, or None where there is nothing.

    Raises:
        UserError: what lies there was not written by sitscube.
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
    """The store at `path`, which a stage must have finished.

    Raises:
        UserError: it is missing or unfinished; the message says which command makes it.
    """
    group = find(path)
    if group is None:
        raise UserError(f"there is no {path}: run `sitscube {command}` with the same --year and --out first.")
    if stage not in stages_of(group):
        raise UserError(f"{path} is not ready: run `sitscube {command}` with the same --year and --out first.")
    if not stages_of(group)[stage]["complete"]:
        raise UserError(
            f"{path} is not finished ({stage}): run `sitscube {command}` again, it goes on where it stopped."
        )
    return group

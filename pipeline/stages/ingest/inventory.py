"""Take inventory of a year's files before any work: which can be used, which are bad, what is missing."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final, TypedDict

from shapely.geometry.base import BaseGeometry

from pipeline.base.calendar import AsOf
from pipeline.base.errors import GranuleError, UserError
from pipeline.sources.source import Checked, Scene, Source
from pipeline.stages.context import Run

_NAMED: Final = 6  # missing scenes that are named in a message
_SAID: Final = 10  # bad files that have a message of their own


@dataclass(frozen=True)
class Observations:
    """The files of a year, and the part of them that a run may use."""

    source: Source
    folder: Path  # that the files are in; messages name files relative to it
    outline: BaseGeometry  # of the region, longitude and latitude
    as_of: AsOf | None = None  # of a running year, whose later composites are not used; None: the year is over


class InventoryAttributes(TypedDict):
    """The attributes of a cube that say which files were used."""

    granules: int
    bad_granules: dict[str, str]  # by file: the reason
    missing_granules: list[str]
    newest_composite: str  # ISO 8601; empty where there is none
    awaited_composites: list[str]  # ISO 8601


@dataclass(frozen=True)
class Inventory:
    """The scenes that can be used, and what is wrong with the others."""

    scenes: tuple[Scene, ...]
    digests: Mapping[Path, str]  # of the content of every usable file
    bad: Mapping[str, str]  # by file, relative to the folder: why it is not used
    missing: tuple[str, ...]  # keys of expected scenes that no usable file contains
    n_expected: int
    awaited: tuple[date, ...]  # composites of a running year that are not there yet: neither expected nor missing
    simulated: str  # the text by which simulated files say so; empty for real ones

    @property
    def newest(self) -> str:
        """Date of the newest scene in ISO 8601; empty where there is none."""
        return max((scene.day.isoformat() for scene in self.scenes), default="")

    def inputs(self, scenes: tuple[Scene, ...]) -> list[list[str]]:
        """Return date and content digest of scenes, sorted: the names of the files make no difference."""
        return sorted([scene.day.isoformat(), self.digests[scene.path]] for scene in scenes)

    def by_file(self) -> dict[Path, list[Scene]]:
        """Return the scenes of every usable file."""
        files: dict[Path, list[Scene]] = {path: [] for path in self.digests}
        for scene in self.scenes:
            files[scene.path].append(scene)
        return files

    def attributes(self) -> InventoryAttributes:
        """Return what the cube says of the files that it was made from."""
        return {
            "granules": len(self.scenes),
            "bad_granules": dict(self.bad),
            "missing_granules": list(self.missing),
            "newest_composite": self.newest,
            "awaited_composites": [day.isoformat() for day in self.awaited],
        }


def take_inventory(run: Run, observations: Observations, undecodable: Mapping[str, str]) -> Inventory:
    """Open every file of the year once; where a file is bad, an earlier production of it is used if there is one.

    Args:
        run: opens the files on its workers, and reports every file that is not used.
        observations: the files, and the part of them that may be used.
        undecodable: by content digest, files whose pixels an earlier run could not read, with the reason.

    Raises:
        UserError: there are no files, or simulated and real ones are mixed.
    """
    reporter, paths = run.reporter, observations.source.files(observations.outline)
    results: dict[Path, Found] = {}
    n_bad = 0
    with reporter.track("check", len(paths)) as task:
        for outcome in run.executor.run(partial(_best, observations.source, undecodable), paths, name="check"):
            if outcome.error is not None or outcome.result is None:
                raise outcome.error or RuntimeError(f"{outcome.item} was not checked")
            results[outcome.item] = outcome.result
            for reason in outcome.result.bad.values():
                n_bad += 1
                if n_bad <= _SAID:
                    reporter.message(f"set aside: {reason}")
            task.advance(note=outcome.item.name)
    if n_bad > _SAID:
        reporter.message(f"set aside: {n_bad - _SAID} more, which the cube's attributes and the report name")
    inventory = _inventory(observations, [results[path] for path in paths])
    if inventory.awaited:
        reporter.message(f"{len(inventory.awaited)} composites, from {inventory.awaited[0]} on, are not there yet")
    if inventory.missing:
        some = ", ".join(inventory.missing[:_NAMED]) + (", ..." if len(inventory.missing) > _NAMED else "")
        reporter.message(f"{len(inventory.missing)} of {inventory.n_expected} missing or bad, left as gaps: {some}")
    return inventory


def without_unreadable(inventory: Inventory, observations: Observations, unreadable: Mapping[Path, str]) -> Inventory:
    """Return the inventory without files whose pixels cannot be read; earlier productions of them are used instead.

    Args:
        inventory: with these files.
        observations: of which the inventory was taken.
        unreadable: the files, each with the reason.
    """
    known = {inventory.digests[path]: reason for path, reason in unreadable.items()}
    found = [
        Found(path, Checked(tuple(scenes), inventory.digests[path], inventory.simulated), {})
        for path, scenes in inventory.by_file().items()
        if path not in unreadable
    ]
    found += [_best(observations.source, known, path) for path in unreadable]
    left = _inventory(observations, found)
    return replace(left, bad={**inventory.bad, **left.bad})


@dataclass(frozen=True)
class Found:
    """What is used for one file of the year: the file, an earlier production of it, or nothing."""

    path: Path
    checked: Checked | None  # None: nothing can be used
    bad: dict[Path, str]  # the productions that cannot be used, with the reason


def _best(source: Source, undecodable: Mapping[str, str], path: Path) -> Found:
    """Find the newest production of a file that can be used."""
    bad: dict[Path, str] = {}
    for candidate in (path, *source.older(path)):
        try:
            checked = source.check(candidate)
        except GranuleError as error:
            bad[candidate] = str(error)
            continue
        if checked.digest not in undecodable:
            return Found(candidate, checked, bad)
        bad[candidate] = undecodable[checked.digest]
    return Found(path, None, bad)


def _inventory(observations: Observations, found: Sequence[Found]) -> Inventory:
    """Return the inventory of files that have been opened.

    Raises:
        UserError: simulated and real ones are mixed.
    """
    source, folder, as_of = observations.source, observations.folder, observations.as_of
    usable = [(one.path, one.checked) for one in found if one.checked is not None]
    simulated = {checked.simulated for _, checked in usable}
    if len(simulated) > 1:
        raise UserError(f"{folder} mixes simulated granules with real ones: keep them in folders apart.")
    scenes = tuple(sorted((s for _, one in usable for s in one.scenes), key=lambda s: (s.day, s.place, s.path)))
    expected = source.expected(observations.outline)
    awaited: tuple[date, ...] = ()
    if as_of is not None:
        scenes = tuple(scene for scene in scenes if as_of.exists(scene.day))
        awaited = as_of.awaited(expected.values(), max((scene.day for scene in scenes), default=None))
    there = {source.expected_key(scene) for scene in scenes}
    due = [key for key, day in expected.items() if day not in awaited]
    bad = {path: reason for one in found for path, reason in one.bad.items()}
    return Inventory(
        scenes=scenes,
        digests={path: checked.digest for path, checked in usable},
        bad={os.path.relpath(path, folder): reason for path, reason in sorted(bad.items())},
        missing=tuple(key for key in due if key not in there),
        n_expected=len(due),
        awaited=awaited,
        simulated=simulated.pop() if simulated else "",
    )


def refuse_too_few(inventory: Inventory, folder: Path, share: float, way_out: str) -> None:
    """Refuse an inventory of which too much is missing.

    Args:
        inventory: of the year.
        folder: that the files are in.
        share: largest share of the expected scenes that may be missing or bad.
        way_out: what the user can do, as the end of a message.

    Raises:
        UserError: more is missing or bad.
    """
    n_missing, n_bad = len(inventory.missing), len(inventory.bad)
    if not inventory.scenes:
        reason = next(iter(inventory.bad.values()), "none of them touches the region")
        raise UserError(
            f"{folder} holds no file that can be used, {n_missing} of the {inventory.n_expected} granules or dates of "
            f"a whole year are missing or bad: {reason.rstrip('.')}. {way_out}"
        )
    if n_missing > share * inventory.n_expected:
        bad = f"; {n_bad} file(s) are bad, such as: {next(iter(inventory.bad.values()))}" if n_bad else ""
        raise UserError(
            f"{folder}: {n_missing} of the {inventory.n_expected} granules or dates that a whole year has are "
            f"missing or bad (such as {inventory.missing[0]}), more than the share ingest.max_missing_share = "
            f"{share:g}{bad.rstrip('.')}. {way_out} Or raise the share."
        )

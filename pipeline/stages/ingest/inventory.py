"""Taking inventory of a year's files before any work: which can be used, which are bad, what is missing."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from shapely.geometry.base import BaseGeometry

from pipeline.base.calendar import AsOf
from pipeline.base.errors import GranuleError, UserError
from pipeline.base.progress import Reporter
from pipeline.runtime.executor import Executor
from pipeline.sources.source import Checked, Scene, Source

_NAMED = 6  # missing scenes that are named in a message
_SAID = 10  # bad files that have a message of their own


@dataclass(frozen=True)
class Inventory:
    """The scenes that can be used, and what is wrong with the others."""

    scenes: tuple[Scene, ...]
    digests: Mapping[Path, str]  # content of every usable file
    bad: Mapping[str, str]  # by file, counted from the folder: why it is set aside
    missing: tuple[str, ...]  # keys of expected scenes that no usable file holds
    n_expected: int
    awaited: tuple[date, ...]  # composites of a running year that are not there yet: neither expected nor missing
    simulated: str  # what simulated files say of themselves; empty for real ones

    @property
    def newest(self) -> str:
        """Date of the newest scene, in ISO 8601; empty where there is none."""
        return max((scene.day.isoformat() for scene in self.scenes), default="")

    def inputs(self, scenes: tuple[Scene, ...]) -> list[list[str]]:
        """Date and content of scenes, in an order of their own: the same whatever the files are called."""
        return sorted([scene.day.isoformat(), self.digests[scene.path]] for scene in scenes)

    def by_file(self) -> dict[Path, list[Scene]]:
        """The scenes of every usable file."""
        files: dict[Path, list[Scene]] = {path: [] for path in self.digests}
        for scene in self.scenes:
            files[scene.path].append(scene)
        return files


def take_inventory(
    source: Source,
    folder: Path,
    outline: BaseGeometry,
    undecodable: Mapping[str, str],
    executor: Executor,
    reporter: Reporter,
    as_of: AsOf | None = None,
) -> Inventory:
    """Open every file of the year once; for one that is bad an earlier production stands in, where there is one.

    Args:
        source: where the files are.
        folder: that they are in, from which they are named.
        outline: the region in longitude and latitude.
        undecodable: by content, files that an earlier run has found bad while it read their pixels.
        executor: where files are opened.
        reporter: told of progress and of every file that is set aside.
        as_of: of a running year, whose later composites are left alone; none: the year is over.

    Raises:
        UserError: there are no files, or simulated and real ones are mixed.
    """
    paths = source.files(outline)
    results: dict[Path, Found] = {}
    n_bad = 0
    with reporter.track("check", len(paths)) as task:
        for outcome in executor.run(partial(_best, source, undecodable), paths, name="check"):
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
    inventory = _stock(source, folder, outline, [results[path] for path in paths], as_of)
    if inventory.awaited:
        reporter.message(f"{len(inventory.awaited)} composites, from {inventory.awaited[0]} on, are not there yet")
    if inventory.missing:
        some = ", ".join(inventory.missing[:_NAMED]) + (", ..." if len(inventory.missing) > _NAMED else "")
        reporter.message(f"{len(inventory.missing)} of {inventory.n_expected} missing or bad, left as gaps: {some}")
    return inventory


def without_unreadable(
    inventory: Inventory,
    source: Source,
    folder: Path,
    outline: BaseGeometry,
    unreadable: Mapping[Path, str],
    as_of: AsOf | None = None,
) -> Inventory:
    """The inventory without files whose pixels turned out to be unreadable; earlier productions stand in for them."""
    known = {inventory.digests[path]: reason for path, reason in unreadable.items()}
    found = [
        Found(path, Checked(tuple(scenes), inventory.digests[path], inventory.simulated), {})
        for path, scenes in inventory.by_file().items()
        if path not in unreadable
    ]
    found += [_best(source, known, path) for path in unreadable]
    fresh = _stock(source, folder, outline, found, as_of)
    return replace(fresh, bad={**inventory.bad, **fresh.bad})


@dataclass(frozen=True)
class Found:
    """What stands for one file of the year: itself, an earlier production, or nothing; and what is bad."""

    path: Path
    checked: Checked | None
    bad: dict[Path, str]


def _best(source: Source, undecodable: Mapping[str, str], path: Path) -> Found:
    """The newest production that can be used."""
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


def _stock(
    source: Source, folder: Path, outline: BaseGeometry, found: Sequence[Found], as_of: AsOf | None
) -> Inventory:
    usable = [(one.path, one.checked) for one in found if one.checked is not None]
    simulated = {checked.simulated for _, checked in usable}
    if len(simulated) > 1:
        raise UserError(f"{folder} mixes simulated granules with real ones: keep them in folders apart.")
    scenes = tuple(sorted((s for _, one in usable for s in one.scenes), key=lambda s: (s.day, s.place, s.path)))
    expected = source.expected(outline)
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
    """Stop where too much is missing.

    Args:
        inventory: what there is.
        folder: where it is.
        share: of the expected scenes, that may be missing or bad.
        way_out: what to do, as the end of a message.

    Raises:
        UserError: of the expected scenes a larger share than `share` is missing or bad.
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

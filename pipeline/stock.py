"""Taking stock of a year's files before any work: which can be used, which are bad, what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from shapely.geometry.base import BaseGeometry

from pipeline.errors import GranuleError, UserError
from pipeline.executor import Executor
from pipeline.progress import Reporter
from pipeline.sources.source import Checked, Scene, Source

_NAMED = 6  # missing scenes that are named in a message


@dataclass(frozen=True)
class Stock:
    """The scenes that can be used, and what is wrong with the others."""

    scenes: tuple[Scene, ...]
    digests: Mapping[Path, str]  # content of every usable file
    bad: Mapping[str, str]  # file name: why it is set aside
    missing: tuple[str, ...]  # keys of expected scenes that no usable file holds
    n_expected: int
    simulated: str  # what simulated files say of themselves; empty for real ones

    def inputs(self, scenes: tuple[Scene, ...]) -> list[list[str]]:
        """Date and content of scenes, in an order of their own: the same whatever the files are called."""
        return sorted([scene.day.isoformat(), self.digests[scene.path]] for scene in scenes)


def take_stock(
    source: Source, outline: BaseGeometry, undecodable: Mapping[str, str], executor: Executor, reporter: Reporter
) -> Stock:
    """Open every file of the year once.

    Args:
        source: where the files are.
        outline: the region in longitude and latitude.
        undecodable: by content, files that an earlier run has found bad while it read their pixels.
        executor: where files are opened.
        reporter: told of progress and of every file that is set aside.

    Raises:
        UserError: there are no files, or simulated and real ones are mixed.
    """
    paths = source.files(outline)
    checked: dict[Path, Checked] = {}
    bad: dict[Path, str] = {}
    with reporter.track("check", len(paths)) as task:
        for outcome in executor.run(partial(_check, source), paths, name="check"):
            if outcome.error is not None:
                raise outcome.error
            result = outcome.result
            if isinstance(result, Checked) and result.digest in undecodable:
                result = undecodable[result.digest]
            if isinstance(result, Checked):
                checked[outcome.item] = result
            else:
                bad[outcome.item] = str(result)
                reporter.message(f"set aside: {result}")
            task.advance(note=outcome.item.name)
    found = [checked[path] for path in paths if path in checked]
    simulated = {one.simulated for one in found}
    if len(simulated) > 1:
        raise UserError(f"{paths[0].parent} mixes simulated granules with real ones: keep them in folders apart.")
    scenes = tuple(scene for one in found for scene in one.scenes)
    expected = source.expected(outline)
    stock = Stock(
        scenes=scenes,
        digests={path: one.digest for path, one in checked.items()},
        bad={path.name: reason for path, reason in sorted(bad.items())},
        missing=_missing(source, expected, scenes),
        n_expected=len(expected),
        simulated=simulated.pop() if simulated else "",
    )
    if stock.missing:
        some = ", ".join(stock.missing[:_NAMED]) + (", ..." if len(stock.missing) > _NAMED else "")
        reporter.message(f"{len(stock.missing)} of {stock.n_expected} missing or bad, left as gaps: {some}")
    return stock


def set_aside(stock: Stock, source: Source, outline: BaseGeometry, unreadable: Mapping[Path, str]) -> Stock:
    """The stock without files whose pixels turned out to be unreadable."""
    scenes = tuple(scene for scene in stock.scenes if scene.path not in unreadable)
    return replace(
        stock,
        scenes=scenes,
        digests={path: digest for path, digest in stock.digests.items() if path not in unreadable},
        bad={**stock.bad, **{path.name: reason for path, reason in unreadable.items()}},
        missing=_missing(source, source.expected(outline), scenes),
    )


def refuse_too_few(stock: Stock, folder: Path, share: float) -> None:
    """Stop where too much is missing.

    Raises:
        UserError: of the expected scenes a larger share than `share` is missing or bad.
    """
    if not stock.scenes:
        reason = next(iter(stock.bad.values()), "none of them touches the region")
        raise UserError(f"{folder} holds no file that can be used: {reason}.")
    if len(stock.missing) > share * stock.n_expected:
        bad = f"; {len(stock.bad)} file(s) are bad, such as: {next(iter(stock.bad.values()))}" if stock.bad else ""
        raise UserError(
            f"{folder}: {len(stock.missing)} of the {stock.n_expected} granules or dates that a whole year has are "
            f"missing or bad (such as {stock.missing[0]}), more than the share ingest.max_missing_share = {share:g}"
            f"{bad}. Fetch them again, or raise the share."
        )


def _check(source: Source, path: Path) -> Checked | str:
    try:
        return source.check(path)
    except GranuleError as error:
        return str(error)


def _missing(source: Source, expected: list[str], scenes: tuple[Scene, ...]) -> tuple[str, ...]:
    there = {source.expected_key(scene) for scene in scenes}
    return tuple(key for key in expected if key not in there)

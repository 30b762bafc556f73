"""Download: a year of granules from NASA; whole files that exist are kept, the others are fetched."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final

from pipeline.base import locks
from pipeline.base.calendar import DAYS_OF_YEAR, AsOf, composite_dates
from pipeline.base.errors import GranuleError, OutOfReach, UserError
from pipeline.base.progress import Reporter, Silent, Task
from pipeline.base.retry import Transient, patiently
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.grid.polygons import read_outline
from pipeline.grid.sinusoidal import Tile
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.sources.archive import Archive, NotServed, Remote, Unavailable
from pipeline.sources.viirs.granules import parse_name
from pipeline.sources.viirs.names import tiles_touching
from pipeline.stages.download.transfer import Check, Stopped, Transfer, scratch_folder, verify
from pipeline.stages.sources import open_source

STAGE: Final = Stage.DOWNLOAD
SILENCE: Final = 5  # files in a row without an answer from the archive, after which the others are not tried
_LISTED: Final = 10  # failures and missing granules that a message names

Key = tuple[int, Tile]  # day of the year and tile
Sleep = Callable[[float], Any]


def download(
    config: Config,
    executor: Executor | None = None,
    reporter: Reporter | None = None,
    *,
    archive: Archive | None = None,
    check: Check | None = None,
    sleep: Sleep | None = None,
) -> StageResult:
    """Fetch a year of granules of the region's tiles into `config.granules`.

    Of each tile and date the newest production is fetched. A file is kept if it has the size and checksum of the
    catalogue, and the content that its name promises; older productions are left alone.

    Args:
        config: year, region, product, target folder.
        executor: not used, as the network takes the time; all stages have this argument.
        reporter: shows progress, and granules that the catalogue lacks.
        archive: where granules are; NASA's Earthdata if None.
        check: raises `GranuleError` for files whose content is wrong; the reader's own check if None.
        sleep: waits some seconds between two attempts; if None, a wait that ends when the stage is stopped.

    Returns:
        The folder; fresh if anything was fetched. Facts: "found", "kept" and "fetched" granules, fetched "bytes", and
        the "missing" ones, which the catalogue does not have: "A2018001 h18v04".

    Raises:
        UserError: credentials, a licence or the disk prevent it, the catalogue has nothing, or some files could not
            be fetched; OutOfReach, a subclass, where the cause may end by itself. Fetched files stay, and running
            again fetches the rest.
    """
    reporter = reporter or Silent()
    if config.raster.folder is not None or config.simulated:
        raise UserError(
            "there is no folder to download into: set download.enabled = true, or name one in ingest.granules, and "
            "leave out raster.folder."
        )
    if archive is None:
        from pipeline.sources.earthdata.client import EarthdataArchive

        archive = EarthdataArchive()
    stop = Event()
    sleep = sleep or stop.wait
    tiles = tiles_touching(read_outline(config.region.outline))
    listed = _ask_catalogue(config, archive, tiles, sleep, reporter)
    missing = _missing(config, listed, tiles)
    _report_missing(config, listed, missing, tiles, reporter)
    folder, wanted = config.granules, [listed[key] for key in sorted(listed)]
    check = check or open_source(config).check
    with scratch_folder(folder) as scratch, reporter.track(STAGE, len(wanted)) as task:
        absent = _not_there(wanted, folder, check, task, reporter)
        _refuse_lack_of_space(absent, folder)
        transfer = Transfer(archive, folder, scratch, check, stop)
        n_bytes = _fetch_all(absent, transfer, config, sleep, task)
    facts = {
        "product": f"{config.download.product}.{config.download.version}",
        "found": len(wanted),
        "kept": len(wanted) - len(absent),
        "fetched": len(absent),
        "bytes": n_bytes,
        "missing": missing,
    }
    return StageResult(STAGE, bool(absent), (folder,), facts)


def newest(remotes: Iterable[Remote], product: str, version: str, year: int, tile: Tile) -> dict[Key, Remote]:
    """Return the newest production of each composite of a product, year and tile, by the files' names.

    Names decide, as catalogues also answer with composites of other years that reach into this one.
    """
    found: dict[Key, tuple[str, Remote]] = {}
    for remote in remotes:
        name = parse_name(Path(remote.name))
        if name is None or (name.product, name.version, name.year, name.tile) != (product, version, year, tile):
            continue
        key = (name.day, name.tile)
        if name.day in DAYS_OF_YEAR and (key not in found or name.produced > found[key][0]):
            found[key] = (name.produced, remote)
    return {key: remote for key, (_, remote) in found.items()}


def _ask_catalogue(
    config: Config, archive: Archive, tiles: Sequence[Tile], sleep: Sleep, reporter: Reporter
) -> dict[Key, Remote]:
    product, version = config.download.product, config.download.version
    listed: dict[Key, Remote] = {}
    with reporter.track("catalogue", len(tiles)) as task:
        for tile in tiles:
            question = partial(archive.search, product, version, config.year, tile)
            try:
                answer = patiently(question, config.download.attempts, sleep)
            except Transient as error:
                raise _silent(error, config) from error
            listed |= newest(answer, product, version, config.year, tile)
            task.advance(note=str(tile))
    return listed


def _missing(config: Config, listed: dict[Key, Remote], tiles: Sequence[Tile]) -> list[str]:
    """Return the granules that the catalogue should have and lacks: of a running year, those that are due."""
    days = dict(zip(DAYS_OF_YEAR, composite_dates(config.year).tolist(), strict=True))
    newest = max((days[day] for day, _ in listed), default=None)
    awaited = AsOf(config.ingest.as_of, "eight-day").awaited(days.values(), newest)
    due = (number for number, first in days.items() if first not in awaited)
    return [f"A{config.year}{day:03d} {tile}" for day in due for tile in tiles if (day, tile) not in listed]


def _report_missing(
    config: Config, listed: dict[Key, Remote], missing: Sequence[str], tiles: Sequence[Tile], reporter: Reporter
) -> None:
    product = f"{config.download.product}.{config.download.version}"
    if not listed:
        raise UserError(
            f"the catalogue has no granule of {product} in {config.year} for {', '.join(map(str, tiles))}: give "
            "another --year, or another download.product or download.version."
        )
    if missing:
        reporter.message(
            f"{len(missing)} of {len(missing) + len(listed)} granules are not in the catalogue of {product} and are "
            f"left as gaps: {_some(missing, ', ')}"
        )


def _not_there(wanted: Sequence[Remote], folder: Path, check: Check, task: Task, reporter: Reporter) -> list[Remote]:
    """Return the files that are missing in the folder, or not whole."""
    absent = []
    for remote in wanted:
        try:
            verify(remote, folder / remote.name, check)
        except FileNotFoundError:
            absent.append(remote)
        except GranuleError as error:
            reporter.message(f"fetched again: {error}")
            absent.append(remote)
        else:
            task.advance(note=remote.name)
    return absent


def _refuse_lack_of_space(absent: Sequence[Remote], folder: Path) -> None:
    needed = sum(remote.size or remote.about or 0 for remote in absent)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {len(absent)} granules need {needed / 1e6:,.0f} MB there, {free / 1e6:,.0f} MB are free. Make "
            "room, or give another folder with --out or ingest.granules."
        )


def _fetch_all(absent: Sequence[Remote], transfer: Transfer, config: Config, sleep: Sleep, task: Task) -> int:
    """Fetch files, several at once; one that fails stops no other.

    Returns:
        Bytes fetched.
    """
    failures: dict[str, str] = {}
    n_bytes = n_silent = 0
    broken = False  # whether a transfer that failed may succeed later
    attempts, parallel = config.download.attempts, config.download.parallel
    with ThreadPoolExecutor(parallel, thread_name_prefix=STAGE) as pool:
        try:
            started = {pool.submit(patiently, partial(transfer.fetch, one), attempts, sleep): one for one in absent}
            for future in as_completed(started):
                locks.check()
                remote = started[future]
                try:
                    n_bytes += future.result()
                    n_silent = 0
                except Stopped:  # by another file's error, which comes later
                    continue
                except (Transient, NotServed) as error:
                    failures[remote.name] = str(error).removeprefix(f"{remote.name}: ")
                    broken = broken or isinstance(error, Transient)
                    n_silent = n_silent + 1 if isinstance(error, Unavailable) else 0
                    if n_silent >= max(SILENCE, parallel):
                        raise _silent(error, config) from error
                task.advance(note=remote.name)
        except BaseException:
            # of any error, an interruption too, the threads must end first, or they would outlive the command
            transfer.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        lines = [f"  {name}: {reason}" for name, reason in sorted(failures.items())]
        raise (OutOfReach if broken else UserError)(
            f"{STAGE}: {len(failures)} of {len(absent)} granules could not be fetched, the others are in "
            f"{transfer.folder}:\n{_some(lines, chr(10))}\nRun the same command again: only what is missing is fetched."
        )
    return n_bytes


def _silent(error: Exception, config: Config) -> OutOfReach:
    return OutOfReach(
        f"{error}, after {config.download.attempts} attempts. NASA says at https://status.earthdata.nasa.gov what is "
        "down. Run the same command again later: it goes on where it stopped."
    )


def _some(texts: Sequence[str], separator: str) -> str:
    """Join the first of many texts, and say how many more there are."""
    more = len(texts) - _LISTED
    return separator.join(texts[:_LISTED]) + (f"{separator}and {more} more" if more > 0 else "")

"""The state of the outputs of all regions and years, for monitoring: only files are read, and no run is disturbed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.files import read_bytes, read_text
from pipeline.base.locations import Location, is_empty
from pipeline.base.locks.lease import may_be_taken
from pipeline.base.locks.owner import Owner
from pipeline.cube import clusters, layout, stores
from pipeline.runtime.summary import FILE as SUMMARY
from pipeline.runtime.summary import read_summary

State = Literal["finished", "running", "silent", "stopped", "failed"]
Level = Literal["OK", "WARNING", "CRITICAL"]
LEVELS: Final[tuple[Level, ...]] = ("OK", "WARNING", "CRITICAL")  # in the order of the exit status of Nagios
_Summary = Mapping[str, Mapping[str, object]]  # by stage, see `read_summary`
_OF_STATE: Final[dict[State, Level]] = {
    "finished": "OK", "running": "OK", "silent": "WARNING", "stopped": "WARNING", "failed": "CRITICAL",
}  # fmt: skip


@dataclass(frozen=True)
class YearStatus:
    """The state of a year of a region."""

    region: str
    year: int
    state: State
    detail: str  # in words: the run that works on it, or the stage where it ended
    published: datetime | None  # when its products were last completed
    newest_composite: str  # first day, ISO 8601; empty where the year is over or nothing is known

    @property
    def level(self) -> Level:
        """Return the level of the state."""
        return _OF_STATE[self.state]


@dataclass(frozen=True)
class Status:
    """The state of all years, each and together."""

    level: Level
    message: str
    age_days: float | None  # of the newest product
    years: tuple[YearStatus, ...]


def inspect_outputs(
    out: Location, now: datetime, *, max_age: timedelta | None, max_silence: timedelta, region: str | None = None
) -> Status:
    """Return the state of every year below a folder of outputs.

    Args:
        out: folder or URL of all outputs.
        now: the time.
        max_age: of the newest product, above which the status is critical; None: it may be of any age.
        max_silence: longest time of a run without a sign of life.
        region: the only one that counts; None: all count together, and a fresh one hides that another is stale.

    Raises:
        UserError: there are no outputs.
    """
    years = tuple(_year(folder, now, max_silence) for folder in _year_folders(out, region))
    if not years:
        raise UserError(f"{out} holds no outputs of sitscube: check --out or the configuration.")
    newest = max((each for each in years if each.published), key=_published, default=None)
    level = max((each.level for each in years), key=LEVELS.index)
    parts = [f"{each.region} {each.year}: {each.detail}" for each in years if each.level != "OK"]
    age = None
    if newest is None:
        parts.insert(0, "nothing has been published yet")
        level = "CRITICAL" if max_age is not None else level
    else:
        age = (now - _published(newest)).total_seconds() / 86400
        parts.insert(0, f"newest product: {newest.region} {newest.year}, {age:.1f} days old")
        if max_age is not None and age > max_age.total_seconds() / 86400:
            level = "CRITICAL"
    return Status(level, "; ".join(parts), age, years)


def _published(year: YearStatus) -> datetime:
    return year.published or datetime.min.replace(tzinfo=UTC)


def _year_folders(out: Location, only: str | None) -> list[Location]:
    """Return the folders of years, OUT/REGION/YEAR, by region and year."""
    if is_empty(out):
        return []
    found = []
    for region in sorted(_folders(out), key=str):
        if only not in (None, region.name):
            continue
        years = [folder for folder in _folders(region) if len(folder.name) == 4 and folder.name.isdecimal()]
        found += [folder for folder in sorted(years, key=str) if _has_outputs(folder)]
    return found


def _folders(folder: Location) -> Sequence[Location]:
    return [each for each in folder.iterdir() if not each.name.startswith(".") and each.is_dir()]


def _has_outputs(folder: Location) -> bool:
    return any((folder / name).exists() for name in (SUMMARY, "cube.zarr", locks.NAME))


def _year(folder: Location, now: datetime, max_silence: timedelta) -> YearStatus:
    summary = read_summary(folder)
    published = _finished(folder, summary)
    cube = stores.find(folder / "cube.zarr")
    about = {} if cube is None else layout.attributes(cube)
    newest = str(about.get("newest_composite", "")) if about.get("awaited_composites") else ""
    state, detail = _state(folder, summary, published, now, max_silence)
    if newest and state == "finished":
        detail += f", composites to {newest}"
    when = _ended(summary, "publish")
    return YearStatus(folder.parent.name, int(folder.name), state, detail, when, newest)


def _state(
    folder: Location, summary: _Summary, published: bool, now: datetime, max_silence: timedelta
) -> tuple[State, str]:
    holder = _holder(folder)
    if holder is not None:
        silence = now - _last_sign(folder, summary, holder)
        if silence > max_silence:
            return "silent", f"no sign of life for {silence.total_seconds() / 60:.0f} minutes of {holder}"
        return "running", f"running: {holder}"
    if published:
        return "finished", f"finished {_ended(summary, 'publish') or ''}".rstrip()
    last = max(summary, key=lambda stage: str(summary[stage].get("ended")), default=None)
    if last is None:
        return "stopped", "begun, and no stage has ended"
    failed = summary[last].get("failed")
    if failed and isinstance(failed, dict):
        return "failed", f"failed: {len(failed)} shards in {last}"
    return "stopped", f"stopped after {last}"


def _finished(folder: Location, summary: _Summary) -> bool:
    """Say whether the map that has been published is the current one."""
    result = stores.find(folder / "map.zarr")
    try:
        run = json.loads(read_text(folder / "run.json"))
    except (FileNotFoundError, ValueError):
        return False
    whole = result is not None and bool(layout.attributes(result).get("complete"))
    return whole and "publish" in summary and result is not None and run.get("map") == clusters.map_fingerprint(result)


def _ended(summary: _Summary, stage: str) -> datetime | None:
    try:
        return datetime.fromisoformat(str(summary[stage]["ended"]))
    except (KeyError, TypeError, ValueError):
        return None


def _holder(folder: Location) -> Owner | None:
    """Return the run that has locked the year; None where a killed process left its lock, or where a lease is stale.

    The lock itself is not tried: a run that begins at that moment would be refused.
    """
    try:
        owner = Owner.read(read_bytes(folder / locks.NAME))
    except FileNotFoundError:
        return None
    gone = owner.is_gone() if isinstance(folder, Path) else may_be_taken(owner)
    return None if gone else owner


def _last_sign(folder: Location, summary: _Summary, holder: Owner) -> datetime:
    """Return the last sign of life of a run: of its lock or lease, the end of a stage, or the training state."""
    signs = [moment for stage in summary if (moment := _ended(summary, stage))]
    if isinstance(folder, Path):
        files = [folder / locks.NAME, *(folder / "training").glob("*")]
        signs += [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files if path.exists()]
    for name in ("since", "renewed"):
        value = holder.facts.get(name)
        if isinstance(value, str):
            signs.append(datetime.fromisoformat(value))
        elif isinstance(value, int | float):
            signs.append(datetime.fromtimestamp(value, UTC))
    return max(signs, default=datetime.min.replace(tzinfo=UTC))

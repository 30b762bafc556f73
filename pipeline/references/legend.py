"""The legend of a reference map: names of its classes, which of them are crops, and their seasons; from CSV tables."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.base.errors import UserError

NO_DATA: Final = 0  # code of cells without a class, in every reference map
SEASONS: Final = ("winter", "summer")  # their order is their number
UNUSED: Final = 255  # season of classes that may be of either, and of all that is no crop
COLUMNS: Final = ("code", "name", "crop", "season", "certainty", "note")
_LARGEST_CODE: Final = 2**15 - 1
_CERTAIN: Final = "certain"
_WEAK: Final = "weak"


@dataclass(frozen=True)
class MapClass:
    """A class of a reference map; `season` is None where the class is not used."""

    code: int
    name: str
    season: str | None
    crop: bool


def read_table(path: Path, *, weak: bool = False) -> tuple[MapClass, ...]:
    """Read the classes of a table in ascending order of their codes.

    The file is CSV with the header code,name,crop,season,certainty,note: code a whole number from 1; crop yes or no;
    season winter, summer or nothing; certainty certain or weak where there is a season; note is for readers.

    Args:
        path: of the CSV file.
        weak: whether seasons of weak certainty count, too.

    Raises:
        UserError: the file cannot be read, or a line of it is wrong; the message names file, line and value.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [value.strip() for value in line]) for line in reader]
    except OSError as error:
        raise UserError(f"cannot read the class table {path}: {error.strerror}. Set reference.classes.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"the class table {path} is no CSV file: {error}.") from None
    lines = [(number, values) for number, values in lines if any(values)]
    if not lines or tuple(lines[0][1]) != COLUMNS:
        raise UserError(f"the class table {path} must begin with the line {','.join(COLUMNS)}.")
    classes: dict[int, MapClass] = {}
    for number, values in lines[1:]:
        try:
            one = _parse(values, weak)
            if one.code in classes:
                raise ValueError(f"code = {one.code} is there twice")
        except ValueError as error:
            raise UserError(f"the class table {path}, line {number}: {error}.") from None
        classes[one.code] = one
    if not classes:
        raise UserError(f"the class table {path} holds no class.")
    return tuple(classes[code] for code in sorted(classes))


def _parse(values: Sequence[str], weak: bool) -> MapClass:
    if len(values) != len(COLUMNS):
        raise ValueError(f"{len(values)} values of {len(COLUMNS)}, {','.join(COLUMNS)}: quote texts with commas")
    given = dict(zip(COLUMNS, values, strict=True))
    code, season, certainty = given["code"], given["season"], given["certainty"]
    if not (code.isascii() and code.isdigit() and 1 <= int(code) <= _LARGEST_CODE):
        raise ValueError(f"code = {code!r} is no whole number from 1 to {_LARGEST_CODE}")
    if not given["name"]:
        raise ValueError(f"the code {code} has no name")
    if given["crop"] not in ("yes", "no"):
        raise ValueError(f"crop = {given['crop']!r}: yes or no is meant")
    if season not in (*SEASONS, ""):
        raise ValueError(f"season = {season!r}: {', '.join(SEASONS)} or nothing is meant")
    if season and given["crop"] == "no":
        raise ValueError(f"season = {season!r} of what is no crop")
    if certainty not in ((_CERTAIN, _WEAK) if season else ("",)):
        meant = f"{_CERTAIN} or {_WEAK}" if season else "nothing"
        raise ValueError(f"certainty = {certainty!r}: {meant} is meant where season = {season!r}")
    counts = certainty == _CERTAIN or (weak and certainty == _WEAK)
    return MapClass(int(code), given["name"], season if counts else None, given["crop"] == "yes")


def as_attribute(classes: Sequence[MapClass]) -> list[dict[str, object]]:
    """Return the classes for the attributes of a store."""
    return [asdict(one) for one in classes]


def of_attributes(attributes: Mapping[str, Any]) -> tuple[MapClass, ...]:
    """Return the classes of a reduced reference map from the attributes of its store."""
    return tuple(MapClass(**one) for one in attributes["classes"])


def seasons(codes: np.ndarray, classes: Sequence[MapClass]) -> np.ndarray:
    """Return the season of every code, uint8 of the same shape: 0 winter, 1 summer, 255 not used."""
    season = np.full(codes.shape, UNUSED, np.uint8)
    for number, name in enumerate(SEASONS):
        season[np.isin(codes, [one.code for one in classes if one.season == name])] = number
    return season


def crops(codes: np.ndarray, classes: Sequence[MapClass]) -> np.ndarray:
    """Return whether every code is that of a crop: boolean, of the same shape."""
    return np.isin(codes, [one.code for one in classes if one.crop])

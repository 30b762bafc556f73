"""StructMetadata.0 of HDF-EOS5 files: the place of a grid on the sinusoidal projection.

Source: HDF-EOS5 library user's guide; the text is ODL, of which only keys and values matter here.
"""

import re
from dataclasses import dataclass
from typing import Final

from pipeline.base.errors import GranuleError

_SPHERE: Final = 6371007.181  # m: radius
_SPHERE_TOLERANCE: Final = 0.001  # m
_SINUSOIDAL: Final = ("HE5_GCTP_SNSOID", "GCTP_SNSOID")


@dataclass(frozen=True)
class Structure:
    """Size and place of a grid, from StructMetadata.0."""

    name: str
    shape: tuple[int, int]  # rows (YDim), columns (XDim)
    upper_left: tuple[float, float]  # x, y of the corner in metres
    lower_right: tuple[float, float]


def parse_structure(text: str, grid: str, field: str, where: str) -> Structure:
    """Read size and place of a grid from StructMetadata.0; a projection in it must be the sinusoidal one.

    Args:
        text: all of it.
        grid: the grid's name, which decides where there are several.
        field: a field of the grid, whose dimensions must be rows and columns.
        where: file, for messages.

    Raises:
        GranuleError: size or corners are missing, entries contradict each other, or the projection is another one.
    """
    own = _group_of(text, grid, where)
    projection = re.search(r"\bProjection=(\w+)", own)
    if projection is not None and projection[1] not in _SINUSOIDAL:
        raise GranuleError(
            f"{where}: StructMetadata.0 has the projection {projection[1]}, not {_SINUSOIDAL[0]}, the sinusoidal one"
        )
    if re.search(r"\bProjParams=", own):
        parameters = _numbers(own, "ProjParams", where)
        if abs(parameters[0] - _SPHERE) > _SPHERE_TOLERANCE or any(parameters[1:]):
            raise GranuleError(f"{where}: StructMetadata.0 has ProjParams={parameters}, not the sphere {_SPHERE} alone")
    order = re.search(rf'DataFieldName="{re.escape(field)}"\s.*?DimList=\(([^)]*)\)', own, re.DOTALL)
    if order is not None and order[1].replace('"', "").split(",") == ["XDim", "YDim"]:
        raise GranuleError(f"{where}: {field} is stored by columns, not by rows")
    columns, rows = (_count(own, key, where) for key in ("XDim", "YDim"))
    left, top = _pair(own, "UpperLeftPointMtrs", where)
    right, bottom = _pair(own, "LowerRightMtrs", where)
    if not (left < right and bottom < top):
        raise GranuleError(f"{where}: its corners in StructMetadata.0 are the wrong way round")
    return Structure(grid, (rows, columns), (left, top), (right, bottom))


def _group_of(text: str, grid: str, where: str) -> str:
    """Return the part of the text about a grid: all of it where grids have no groups of their own."""
    groups = re.findall(r"GROUP=GRID_\d+\s(.*?)END_GROUP=GRID_\d+", text, re.DOTALL)
    if not groups:
        return text
    named = [group for group in groups if f'GridName="{grid}"' in group] if len(groups) > 1 else groups
    if len(named) != 1:
        raise GranuleError(f"{where}: StructMetadata.0 describes {len(groups)} grids, and not one of them is {grid}")
    return named[0]


def _search(text: str, key: str, pattern: str, where: str) -> re.Match[str]:
    match = re.search(rf"\b{key}={pattern}", text)
    if match is None:
        raise GranuleError(f"{where}: StructMetadata.0 has no {key} that can be read")
    return match


def _count(text: str, key: str, where: str) -> int:
    return int(_search(text, key, r"(\d{1,9})\s", where)[1])


def _numbers(text: str, key: str, where: str) -> tuple[float, ...]:
    listed = _search(text, key, r"\(([-+.\deE, ]+)\)", where)[1]
    try:
        return tuple(float(number) for number in listed.split(","))
    except ValueError:
        raise GranuleError(f"{where}: StructMetadata.0 has no {key} that can be read: ({listed})") from None


def _pair(text: str, key: str, where: str) -> tuple[float, float]:
    numbers = _numbers(text, key, where)
    if len(numbers) != 2:
        raise GranuleError(f"{where}: StructMetadata.0 has {key}={numbers}, not x and y")
    return numbers[0], numbers[1]

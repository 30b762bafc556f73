"""Name patterns of raster files: they find files, and the dates and places in their names."""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

_DIGITS: Final = {"Y": 4, "m": 2, "d": 2, "j": 3}
_DATES: Final = ("", "Y", "Ym", "Ymd", "Yj")  # sets of codes that make sense
_PIECE: Final = re.compile(r"\*\*/|\*|\?|%.?|\{[^}]*\}|[^*?%{]+|\{")


@dataclass(frozen=True)
class Named:
    """Parts of a name; None where its pattern has no such part."""

    year: int | None = None
    day: date | None = None
    place: str | None = None


@dataclass(frozen=True)
class Step:
    """A date of a file: its index along time, or its band, and the date if the file itself has it."""

    index: int | None
    day: date | None


@dataclass(frozen=True)
class NamePattern:
    """A pattern of names below a folder, or of other texts such as band descriptions.

    `*` and `?` have the same meaning as in a shell, `**/` for any folders, `%Y %m %d %j` for year, month, day of the
    month and day of the year with leading zeros, `%%` for a percent sign and `{place}` for the place. A month without
    a day means its first day.

    Raises:
        ValueError: it has other codes, or codes that make no date.
    """

    text: str

    def __post_init__(self) -> None:
        folders = self.text.split("/")
        if not self.text or any("**" in part for part in folders if part != "**") or folders[-1] == "**":
            raise ValueError(f"{self.text!r} is no pattern of file names: ** stands for whole folders, as in **/*.tif")
        if folders[0] == "" or ".." in folders:
            raise ValueError(f"the pattern {self.text!r} leads out of the folder: patterns count from the folder")
        for piece in self._pieces:
            if piece.startswith("%") and piece[1:] not in (*_DIGITS, "%"):
                raise ValueError(f"the pattern {self.text!r} has {piece!r}: the codes are %Y, %m, %d, %j and %%")
            if piece.startswith("{") and piece != "{place}":
                raise ValueError(f"the pattern {self.text!r} has {piece!r}: only {{place}} may stand in braces")
        if self.codes not in _DATES:
            raise ValueError(
                f"the codes of the pattern {self.text!r} make no date: give %Y with %m and %d, or %Y with %j, or %Y "
                "with %m for the first of the month"
            )

    @property
    def codes(self) -> str:
        """Date codes of the pattern, in the order Y, m, d, j: "Ymd", "Yj", ... or empty."""
        present = {piece[1] for piece in self._pieces if piece.startswith("%")}
        return "".join(code for code in _DIGITS if code in present)

    @property
    def dated(self) -> bool:
        """Whether names have a date, and not at most a year."""
        return len(self.codes) > 1

    @property
    def _pieces(self) -> list[str]:
        return _PIECE.findall(self.text)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts: list[str] = []
        seen: set[str] = set()
        for piece in self._pieces:
            group = _group(piece)
            if group is None:
                parts.append({"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]", "%%": "%"}.get(piece, re.escape(piece)))
            elif group in seen:
                parts.append(f"(?P={group})")
            else:
                one = "[^/]+?" if group == "place" else f"[0-9]{{{_DIGITS[group]}}}"
                parts.append(f"(?P<{group}>{one})")
                seen.add(group)
        return re.compile("".join(parts))

    def match(self, text: str) -> Named | None:
        """Return the parts of a name, or None if it does not match the pattern or its date does not exist.

        Args:
            text: path below the folder, with `/` between folders.
        """
        found = self._regex.fullmatch(text)
        if found is None:
            return None
        parts = found.groupdict()
        place = parts.get("place")
        if not self.codes:
            return Named(place=place)
        number = {code: int(parts[code]) for code in self.codes}
        if not self.dated:
            return Named(number["Y"], place=place)
        day = _date(**number)
        return None if day is None else Named(day.year, day, place)

    def find(self, folder: Path, like: Named | None = None) -> Iterator[tuple[Path, Named]]:
        """Yield the matching files in a folder with the parts of their names, in the order of the names.

        Args:
            folder: where patterns start.
            like: only files whose names have the same parts, as far as they have them.
        """
        like = like or Named()
        for path in sorted(folder.glob(self._glob(like))):
            named = self.match(path.relative_to(folder).as_posix())
            hidden = path.name.startswith(".")  # half-written files, and files of other systems
            if named is not None and not hidden and _agree(named, like) and path.is_file():
                yield path, named

    def _glob(self, like: Named) -> str:
        """Return the pattern for the file system, with the wanted parts in it, so that few names have to be matched."""
        known = {"Y": f"{like.year:04d}"} if like.year is not None else {}
        if like.day is not None:
            known |= {code: like.day.strftime(f"%{code}") for code in "mdj"}
        parts = []
        for piece in self._pieces:
            if piece in ("**/", "*", "?"):
                parts.append(piece)
                continue
            group = _group(piece)
            if group is None:
                parts.append(_literal("%" if piece == "%%" else piece))
            elif group == "place":
                parts.append("*" if like.place is None else _literal(like.place))
            else:
                parts.append(known.get(group, "[0-9]" * _DIGITS[group]))
        return "".join(parts)


def _group(piece: str) -> str | None:
    """Return the part of a name that a piece of a pattern means: "place", a code's letter, or None."""
    if piece == "{place}":
        return "place"
    return piece[1:] if piece.startswith("%") and piece != "%%" else None


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def _agree(one: Named, other: Named) -> bool:
    pairs = ((one.year, other.year), (one.day, other.day), (one.place, other.place))
    return all(a is None or b is None or a == b for a, b in pairs)


def _date(Y: int, m: int = 1, d: int = 1, j: int | None = None) -> date | None:
    try:
        day = date(Y, m, d)
    except ValueError:
        return None
    if j is None:
        return day
    return date(Y, 1, 1) + timedelta(days=j - 1) if 1 <= j <= 365 + calendar.isleap(Y) else None

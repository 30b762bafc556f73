"""The accuracy report as a table of single numbers: table, row, column, value."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

_BY_LABEL: Final = (
    "confusion", "users_accuracy", "mapped_cells", "mapped_km2", "sampled", "nonresponse", "cells_by_label",
)  # fmt: skip
_BIN: Final = ("from", "to")
_OWN_NAMES: Final = (("code", "name"), ("name",), ("class",), _BIN)  # keys of a row with its own name


def to_csv(figures: Mapping[str, Any]) -> str:
    """Return every number of the report in a line of its own; an unknown one has an empty value.

    The three columns before it are its place in the JSON file, the table with slashes between its parts. Entries of a
    list are named by label, class of the reference, crop, region or bin.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value"))
    for place, value in _numbers(figures, (), figures):
        padded = ("all", *place, "value") if len(place) == 1 else (*place, "value") if len(place) == 2 else place
        writer.writerow(("/".join(padded[:-2]), *padded[-2:], "" if value is None else repr(value)))
    return stream.getvalue()


def _numbers(
    value: object, place: tuple[str, ...], figures: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], float | None]]:
    """Yield every number or None, with the names on the way to it."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _numbers(value[key], (*place, key), figures)
    elif isinstance(value, list):
        for name, entry in zip(_names(value, place[-1], figures), value, strict=True):
            yield from _numbers(entry, (*place, name), figures)
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield place, value


def _names(entries: list[Any], key: str, figures: Mapping[str, Any]) -> list[str]:
    """Return the names of the entries of the list under a key."""
    if not entries or isinstance(entries[0], str):
        return [str(entry) for entry in entries]
    if isinstance(entries[0], dict):
        for keys in _OWN_NAMES:
            if all(key in entry for entry in entries for key in keys):
                between = "-" if keys == _BIN else " "
                return [between.join(str(entry[key]) for key in keys) for entry in entries]
    names = figures["labels"] if key in _BY_LABEL else figures["design_based"]["classes"]
    return list(names[: len(entries)])

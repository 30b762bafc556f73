"""The files of a change: GeoTIFFs with a style for QGIS, a table, and a page."""

from collections.abc import Sequence
from typing import Final

from pipeline.accuracy.stratified import EstimateJson
from pipeline.base.files import sweep_partials, write_text
from pipeline.base.locations import Location
from pipeline.cube import layout, stores
from pipeline.reports.figures.change import change_colours
from pipeline.reports.html import embedded, render
from pipeline.reports.products.cog import categories_xml, class_tags, file_tags, write_cog
from pipeline.reports.products.qgis import classes_style
from pipeline.reports.tables import csv_text
from pipeline.stages.change.facts import ChangeFacts, EstimateFacts
from pipeline.stages.change.map import CHANGE, CHANGE_CONFIDENCE
from pipeline.stages.change.pair import Pair
from pipeline.stages.change.transitions import transition_names

OUTPUTS: Final = (
    "index.html", "change.png", "change.csv", "change.tif", "change.tif.aux.xml", "change.qml", "change_confidence.tif",
    "change.zarr", "change.json",
)  # fmt: skip
_COLUMNS: Final = ("table", "from", "to", "value", "standard_error", "low", "high")
_Line = tuple[object, ...]  # one cell a column


def write_rasters(folder: Location, pair: Pair) -> None:
    """Write change.tif and change_confidence.tif, cloud-optimised, of the change.zarr beside them, and their style.

    Raises:
        UserError: what is stored is damaged.
        OSError: a file cannot be written.
    """
    sweep_partials(folder, CHANGE)
    source = stores.open_to_read(folder / "change.zarr")
    names, palette = transition_names(pair.names, pair.years), change_colours(len(pair.names))
    tags = file_tags(layout.attributes(source), pair.fingerprint)
    change, confidence = folder / f"{CHANGE}.tif", folder / f"{CHANGE_CONFIDENCE}.tif"
    write_cog(change, source, CHANGE, tags=tags | class_tags(names), overviews="nearest", colours=palette)
    write_cog(confidence, source, CHANGE_CONFIDENCE, tags=tags, overviews="average")
    write_text(folder / f"{CHANGE}.tif.aux.xml", categories_xml(names))
    write_text(folder / f"{CHANGE}.qml", classes_style(names, palette))


def as_csv(facts: ChangeFacts) -> str:
    """Write the numbers of change.json as a table, one a line; areas in km2, shares from 0 to 1.

    Columns: table (what the value is), from and to (labels, or classes of the references), value, standard_error, low
    and high (of the 95 % confidence interval, where it is an estimate).
    """
    names = facts["labels"]
    lines: list[_Line] = []
    squares: dict[str, Sequence[Sequence[object]]] = {
        "cells": facts["cells"],
        "mapped_km2": facts["mapped_km2"],
        "confidence": facts["confidence"],
    }
    for table, rows in squares.items():
        lines += [
            _plain(table, i, j, value)
            for i, row in zip(names, rows, strict=True)
            for j, value in zip(names, row, strict=True)
        ]
    for year, areas in zip(facts["years"], facts["mapped_in_one_year_km2"], strict=True):
        lines += [_plain(f"mapped_in_{year}_only_km2", i, "", value) for i, value in zip(names, areas, strict=True)]
    lines += [_plain("net_mapped_km2", "", j, v) for j, v in zip(names, facts["net_mapped_km2"], strict=True)]
    lines.append(_plain("changed_km2", "", "", facts["changed_km2"]))
    lines.append(_plain("changed_share", "", "", facts["changed_share"]))
    if facts["estimate"] is not None:
        lines += _estimated(facts["estimate"], names)
    return csv_text(_COLUMNS, lines)


def _plain(table: str, before: str, after: str, value: object) -> _Line:
    """Return the line of a number that is no estimate."""
    return table, before, after, value, "", "", ""


def _estimated(estimate: EstimateFacts, names: list[str]) -> list[_Line]:
    classes = estimate["classes"]
    lines = _square("estimated_km2", classes, estimate["transitions_km2"])
    lines += [("estimated_net_km2", "", k, *_numbers(one)) for k, one in zip(classes, estimate["net_km2"], strict=True)]
    lines.append(("estimated_changed_km2", "", "", *_numbers(estimate["changed_km2"])))
    if estimate["share_right"] is not None:
        lines += _square("share_right", names, estimate["share_right"])
    if estimate["changed_right"] is not None:
        lines.append(("changed_right", "", "", *_numbers(estimate["changed_right"])))
    return lines


def _square(table: str, names: list[str], rows: list[list[EstimateJson]]) -> list[_Line]:
    return [
        (table, before, after, *_numbers(one))
        for before, row in zip(names, rows, strict=True)
        for after, one in zip(names, row, strict=True)
    ]


def _numbers(estimate: EstimateJson) -> _Line:
    return tuple(estimate[name] for name in ("value", "standard_error", "low", "high"))


def page(facts: ChangeFacts, picture: bytes) -> str:
    """Write the page of a change as self-contained HTML."""
    return _render("change.html", facts, picture)


def section(facts: ChangeFacts, picture: bytes) -> str:
    """Write the change as a section of a year's report: HTML without a frame around it."""
    return _render("change_section.html", facts, picture)


def _render(template: str, facts: ChangeFacts, picture: bytes) -> str:
    return render(template, facts=facts, estimate=facts["estimate"], picture=embedded(picture))

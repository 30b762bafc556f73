"""Accuracy by purity and observations, and estimated areas with their intervals."""

from collections.abc import Sequence
from typing import Any, Final, TypedDict

from pipeline.reports.figures.style import GREY, colours, plain, png, sheet

_MOST: Final = 40  # parts of the country that are drawn

# a bin of compared cells; a key is a keyword, so that no class can be written
Bin = TypedDict("Bin", {"from": int, "to": int, "cells": int, "accuracy": float | None})


class PurityBin(Bin):
    """A bin of the purity of the reference, in percent."""

    accuracy_at_least: float | None  # of these cells and purer ones


class Area(TypedDict):
    """An estimated area with its 95 % confidence interval, in km2; None: unknown."""

    value: float | None
    low: float | None
    high: float | None


class Part(TypedDict):
    """A part of the country."""

    name: str
    area_km2: Sequence[Area]  # by class


def accuracy_by(purity: Sequence[PurityBin], observations: Sequence[Bin]) -> bytes:
    """Draw the share of the compared cells that agree, and the number of these cells, as PNG.

    Args:
        purity: bins of the purity of the reference cell, in percent.
        observations: bins of the number of dates with an observation.
    """
    figure = sheet(9, 4.2)
    grid = figure.subplots(2, 2, sharex="col", height_ratios=(2, 1))
    names = [f"under {row['to']}" if row["from"] == 0 else f"{row['from']} to {row['to']}" for row in purity]
    _bins(grid[:, 0], names, purity, "cells of the reference map of one class (%)")
    cumulative = [(k, 100 * share) for k, row in enumerate(purity) if (share := row["accuracy_at_least"]) is not None]
    grid[0, 0].plot(*zip(*cumulative, strict=True), "--", color=GREY, label="these and purer ones")
    grid[0, 0].legend(frameon=False, fontsize=8)
    names = [f"{row['from']} to {row['to']}" for row in observations]
    _bins(grid[:, 1], names, observations, "dates with an observation")
    return png(figure)


def _bins(axes: Any, names: Sequence[str], rows: Sequence[Bin], quantity: str) -> None:
    above, below = axes
    known = [(k, 100 * share) for k, row in enumerate(rows) if (share := row["accuracy"]) is not None]
    above.plot(*zip(*known, strict=True), "o-", color="black", label="cells of this bin")
    low = min(value for _, value in known)
    above.set_ylim(max(0, low - max(1, 0.15 * (100 - low))), 100.5)
    above.set_ylabel("agreement (%)")
    below.bar(range(len(rows)), [row["cells"] for row in rows], color=GREY)
    below.set_ylabel("cells")
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    below.set_xlabel(quantity)
    for each in axes:
        plain(each)


def area_bars(parts: Sequence[Part], classes: Sequence[str]) -> bytes:
    """Draw the estimated areas of the first classes in every part of the country, with 95 % intervals, as PNG.

    Args:
        parts: of the country; the first 40 are drawn.
        classes: names of the classes that are drawn.
    """
    drawn = parts[:_MOST]
    figure = sheet(7.5, 1.1 + 0.22 * len(classes) * len(drawn))
    axes = figure.add_subplot()
    height = 0.8 / len(classes)
    for c, (name, colour) in enumerate(zip(classes, colours(len(classes)), strict=True)):
        offset = (c - (len(classes) - 1) / 2) * height
        known = [
            (k + offset, value, part["area_km2"][c])
            for k, part in enumerate(drawn)
            if (value := part["area_km2"][c]["value"]) is not None
        ]
        places, values = [place for place, _, _ in known], [value for _, value, _ in known]
        axes.barh(places, values, height, color=colour, label=name, alpha=0.85)
        sure = [
            (place, value, value - low, high - value)
            for place, value, area in known
            if (low := area["low"]) is not None and (high := area["high"]) is not None
        ]
        if sure:
            places, values, below, above = (list(column) for column in zip(*sure, strict=True))
            axes.errorbar(values, places, xerr=[below, above], fmt="none", color="black", linewidth=1, capsize=2)
    axes.set_yticks(range(len(drawn)), [part["name"] for part in drawn], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("estimated area (km²), bars with 95 % interval")
    axes.legend(frameon=False, fontsize=8)
    plain(axes)
    return png(figure)

"""Accuracy by what may explain it, and estimated areas with their intervals."""

from collections.abc import Sequence
from typing import Any, Final

from pipeline.reports.figures.style import GREY, colours, plain, png, sheet

_MOST: Final = 40  # parts of the country that are drawn


def accuracy_by(purity: Sequence[dict[str, Any]], observations: Sequence[dict[str, Any]]) -> bytes:
    """Share of the compared cells that agree, by purity of the reference cell and by observations, with their numbers.

    Args:
        purity: rows with "from", "to" (percent), "cells", "accuracy" and "accuracy_at_least".
        observations: rows with "from", "to" (dates), "cells" and "accuracy".
    """
    figure = sheet(9, 4.2)
    grid = figure.subplots(2, 2, sharex="col", height_ratios=(2, 1))
    names = [f"under {row['to']}" if row["from"] == 0 else f"{row['from']} to {row['to']}" for row in purity]
    _bins(grid[:, 0], names, purity, "cells of the reference map of one class (%)")
    cumulative = [(k, 100 * r["accuracy_at_least"]) for k, r in enumerate(purity) if r["accuracy_at_least"] is not None]
    grid[0, 0].plot(*zip(*cumulative, strict=True), "--", color=GREY, label="these and purer ones")
    grid[0, 0].legend(frameon=False, fontsize=8)
    names = [f"{row['from']} to {row['to']}" for row in observations]
    _bins(grid[:, 1], names, observations, "dates with an observation")
    return png(figure)


def _bins(axes: Any, names: Sequence[str], rows: Sequence[dict[str, Any]], quantity: str) -> None:
    above, below = axes
    known = [(k, 100 * row["accuracy"]) for k, row in enumerate(rows) if row["accuracy"] is not None]
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


def area_bars(parts: Sequence[dict[str, Any]], classes: Sequence[str]) -> bytes:
    """Estimated area of the first classes in every part of the country, with 95 % intervals; the first 40 are drawn.

    Args:
        parts: with "name", and under "area_km2" for every class "value", "low" and "high", None where not known.
        classes: names of those that are drawn.
    """
    drawn = parts[:_MOST]
    figure = sheet(7.5, 1.1 + 0.22 * len(classes) * len(drawn))
    axes = figure.add_subplot()
    height = 0.8 / len(classes)
    for c, (name, colour) in enumerate(zip(classes, colours(len(classes)), strict=True)):
        known = [(k, part["area_km2"][c]) for k, part in enumerate(drawn) if part["area_km2"][c]["value"] is not None]
        places = [k + (c - (len(classes) - 1) / 2) * height for k, _ in known]
        axes.barh(places, [each["value"] for _, each in known], height, color=colour, label=name, alpha=0.85)
        sure = [(place, e) for place, (_, e) in zip(places, known, strict=True) if e["low"] is not None]
        if sure:
            ends = [[e["value"] - e["low"] for _, e in sure], [e["high"] - e["value"] for _, e in sure]]
            values = [e["value"] for _, e in sure]
            axes.errorbar(values, [p for p, _ in sure], xerr=ends, fmt="none", color="black", linewidth=1, capsize=2)
    axes.set_yticks(range(len(drawn)), [part["name"] for part in drawn], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("estimated area (km²), bars with 95 % interval")
    axes.legend(frameon=False, fontsize=8)
    plain(axes)
    return png(figure)

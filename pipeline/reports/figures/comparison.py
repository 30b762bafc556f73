"""Accuracy of the compared methods, seed by seed."""

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure

from pipeline.reports.comparison_rows import Row, group_key
from pipeline.reports.comparison_summary import summarise
from pipeline.reports.figures.style import png

_SEED: Final = "#0072B2"
_MEAN: Final = "#222222"
_PAPER: Final = "#D55E00"


def accuracy_dots(rows: Sequence[Row]) -> bytes:
    """Draw the overall accuracy of every seed as a dot, their mean as a bar, the paper's as a diamond, as PNG.

    There is a panel a year, or a file.
    """
    summary = summarise(rows)
    groups = list(dict.fromkeys(group_key(row) for row in summary))
    names = list(dict.fromkeys(row["name"] for row in summary))
    figure = Figure(figsize=(2.2 + 2.6 * len(groups), 1.3 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        for place, name in enumerate(names):
            seeds = [row for row in rows if group_key(row) == group and row["name"] == name and row["error"] is None]
            dots = [100 * accuracy for row in seeds if (accuracy := row["accuracy"]) is not None]
            axes.plot(dots, [place] * len(dots), "o", color=_SEED, alpha=0.6, markersize=6, markeredgewidth=0)
            for row in (one for one in summary if group_key(one) == group and one["name"] == name):
                _mark(axes, row["accuracy"], place, "|", _MEAN)
                _mark(axes, row["paper_accuracy"], place, "D", _PAPER)
        axes.set_title(str(group), fontsize=10)
        axes.set_xlabel("overall accuracy (%)", fontsize=9)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    _legend(figure, any(row["paper_accuracy"] is not None for row in summary))
    return png(figure)


def _mark(axes: Any, share: float | None, place: int, marker: str, colour: str) -> None:
    if share is None:
        return
    size = 16 if marker == "|" else 6
    face = "none" if marker == "D" else colour
    axes.plot([100 * share], [place], marker, color=colour, markersize=size, markerfacecolor=face, markeredgewidth=1.5)


def _legend(figure: Figure, paper: bool) -> None:
    axes = figure.axes[0]
    handles = [
        axes.plot([], [], "o", color=_SEED, alpha=0.6, markeredgewidth=0, label="a seed")[0],
        axes.plot([], [], "|", color=_MEAN, markersize=12, markeredgewidth=1.5, label="mean")[0],
    ]
    if paper:
        handles += axes.plot([], [], "D", color=_PAPER, markerfacecolor="none", markeredgewidth=1.5, label="the paper")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)

"""The comparison as a section of the report: table, picture, and the paper's own figures beside them."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure

from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.reports.comparison_table import (
    HIDDEN_NOTE,
    KINDS,
    NOTE,
    Row,
    class_names,
    failures,
    group_key,
    number,
    percent,
    summarise,
    summarise_filling,
)
from pipeline.reports.figures.style import png

_TEMPLATES: Final = Path(__file__).parent / "templates"
_SEED, _MEAN, _PAPER = "#0072B2", "#222222", "#D55E00"


def comparison_section(config: Config) -> str | None:
    """HTML of the region's comparison, all its years, to stand in a report; None where nothing has been compared.

    Raises:
        UserError: a file of the comparison is damaged.
    """
    folder = config.comparison
    rows, fillings = _read(folder / "runs.json"), _read(folder / "fillings.json")
    if rows is None or fillings is None:
        return None
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(percent=percent, number=number)
    summary, filling = summarise(rows), summarise_filling(rows, fillings)
    groups = [
        {
            "name": group,
            "summary": [row for row in summary if group_key(row) == group],
            "filling": [row for row in filling if group_key(row) == group],
        }
        for group in dict.fromkeys(group_key(row) for row in summary)
    ]
    return environment.get_template("comparison.html").render(
        groups=groups,
        classes=class_names(summary),
        kinds=KINDS,
        simulated=any(row.get("simulated") for row in rows),
        paper=any(row["paper_accuracy"] is not None for row in summary),
        note=NOTE,
        hidden_note=HIDDEN_NOTE,
        failed=failures(rows),
        picture=base64.b64encode(accuracy_dots(rows)).decode(),
    )


def _read(path: Path) -> list[Row] | None:
    try:
        rows: list[Row] = json.loads(path.read_text())
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError("it holds no list of rows")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): run `sitscube compare` again.") from None
    return rows


def accuracy_dots(rows: Sequence[Row]) -> bytes:
    """PNG: overall accuracy of every seed as a dot, their mean as a bar, the paper's as a diamond; a panel a year."""
    summary = summarise(rows)
    groups = list(dict.fromkeys(group_key(row) for row in summary))
    names = list(dict.fromkeys(row["name"] for row in summary))
    figure = Figure(figsize=(2.2 + 2.6 * len(groups), 1.3 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        for place, name in enumerate(names):
            seeds = [row for row in rows if group_key(row) == group and row["name"] == name and row["error"] is None]
            dots = [100 * row["accuracy"] for row in seeds if row["accuracy"] is not None]
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

"""The course of a training: losses, clusters and events over the iterations."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.typing import LineStyleType

from pipeline.reports.figures.style import GREY, colours, plain, png, sheet

# Eqs 4, 5 and 7 to 9 of the paper: word, colour, marker; the losses of other methods have other names
_LOSSES: Final = {
    "rec": ("reconstruction", "#0072B2", "o"),
    "pre": ("prediction of observed values", "#D55E00", "s"),
    "clu": ("clustering", "#009E73", "^"),
    "dis": ("discriminator", "#CC79A7", "v"),
    "gen": ("adversarial", "#56B4E9", "D"),
}
_MORE_COLOURS: Final = ("#000000", "#E69F00", "#F0E442", "#999999")
_LEGEND: Final[Mapping[str, Any]] = {"framealpha": 0.9, "edgecolor": "none"}  # covers the lines of events
_MARKS: Final = 40  # most points of a curve that are marked one by one

Line = Mapping[str, Any]  # a target update or an event
History = Mapping[str, Any] | Sequence[Line]


class _EventLine(TypedDict):
    """Keywords of matplotlib for the line of an event."""

    color: str
    linestyle: LineStyleType


def training(history: History, names: Sequence[str] = ()) -> bytes:
    """Draw losses, cluster sizes, label change and centre distance over the iterations, as PNG.

    Args:
        history: `history_` of an estimator, or the lines of a history.jsonl.
        names: of the clusters; without them their numbers.

    In a notebook, after `estimator.fit(X)`:

        from IPython.display import Image
        from pipeline.reports import figures

        Image(figures.training(estimator.history_))
    """
    return png(draw_training(history, names))


def draw_training(history: History, names: Sequence[str] = ()) -> Figure:
    """Draw the figure of `training`; panels without any value in the history are left out."""
    updates, events = _updates_and_events(history)
    panels = [
        (title, draw)
        for key, title, draw in (
            ("losses", "losses, means since the update before", _losses),
            ("cluster_sizes", "series in each cluster", lambda axes, lines: _sizes(axes, lines, names)),
            ("label_change", "labels that changed since the update before", _label_change),
            ("centre_distance", "smallest distance of two cluster centres", _centre_distance),
        )
        if any(line.get(key) is not None for line in updates)
    ]
    n_columns = 1 if len(panels) < 2 else 2
    n_rows = max(1, -(-len(panels) // n_columns))
    figure = sheet((6, 9)[n_columns - 1], 2.9 * n_rows + 0.4)
    if not panels:
        figure.text(0.5, 0.5, "no target update was recorded", ha="center", color=GREY)
        return figure
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    for axes, (title, draw) in zip(grid.flat, panels, strict=False):
        axes.set_title(title, fontsize=10, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(_thousands)
        draw(axes, updates)
        _mark_events(axes, events)
        plain(axes)
        axes.tick_params(labelbottom=True)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    for axes in list(grid.flat)[max(0, len(panels) - n_columns) : len(panels)]:
        axes.set_xlabel("iteration")
    _legend_of_events(figure, events)
    return figure


def _thousands(value: float, _: int | None) -> str:
    return f"{value:,.0f}"


def _updates_and_events(history: History) -> tuple[list[Line], list[Line]]:
    """Return the target updates and the events of joint training; events of pre-training have no iteration."""
    if isinstance(history, Mapping):
        updates, events = list(history["updates"]), list(history["events"])
    else:
        updates = [line for line in history if line["phase"] == "joint"]
        events = [line for line in history if line["phase"] == "event"]
    return updates, [event for event in events if "iteration" in event]


def _values(updates: Sequence[Line], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the iterations and the values of a key, NaN where it is unknown."""
    found = [np.nan if line.get(key) is None else float(line[key]) for line in updates]
    return np.array([line["iteration"] for line in updates]), np.array(found)


def _style(updates: Sequence[Line], marker: str = "o") -> Mapping[str, Any]:
    return {"marker": marker if len(updates) <= _MARKS else "", "markersize": 3.5, "linewidth": 1.3}


def _losses(axes: Any, updates: Sequence[Line]) -> None:
    iterations = [line["iteration"] for line in updates]
    given = dict.fromkeys(name for line in updates for name in line.get("losses") or {})
    known = [name for name in _LOSSES if name in given] + [name for name in given if name not in _LOSSES]
    spare = iter(_MORE_COLOURS * len(known))
    for name in known:
        values = np.array([np.nan if (v := line["losses"].get(name)) is None else float(v) for line in updates])
        if not np.any(values[np.isfinite(values)]):  # a loss of weight zero is never computed
            continue
        word, colour, marker = _LOSSES[name] if name in _LOSSES else ("", next(spare), "o")
        negative = bool(np.nanmin(values) < 0)
        symbol = rf"$|L_{{{name}}}|$" if negative else rf"$L_{{{name}}}$"
        axes.plot(iterations, np.abs(values), color=colour, label=f"{symbol} {word}", **_style(updates, marker))
    axes.set_yscale("log")
    if axes.lines:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.45)  # room for the legend
        axes.legend(fontsize=8, ncols=2, loc="upper right", columnspacing=1, handlelength=1.5, **_LEGEND)


def _sizes(axes: Any, updates: Sequence[Line], names: Sequence[str]) -> None:
    iterations = [line["iteration"] for line in updates]
    n_clusters = len(updates[0]["cluster_sizes"])
    for k, colour in enumerate(colours(n_clusters)):
        name = names[k] if k < len(names) else f"cluster {k}"
        sizes = [line["cluster_sizes"][k] for line in updates]
        axes.plot(iterations, sizes, color=colour, label=name, **_style(updates))
    axes.set_ylim(0, 1.25 * max(max(line["cluster_sizes"]) for line in updates))
    axes.yaxis.set_major_formatter(_thousands)
    axes.legend(fontsize=8, ncols=min(4, n_clusters), loc="upper right", **_LEGEND)


def _label_change(axes: Any, updates: Sequence[Line]) -> None:
    iterations, change = _values(updates, "label_change")
    axes.plot(iterations, change, color="black", **_style(updates))
    axes.set_ylim(0, max(0.01, 1.1 * float(np.nanmax(change))))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _centre_distance(axes: Any, updates: Sequence[Line]) -> None:
    iterations, distance = _values(updates, "centre_distance")
    axes.plot(iterations, distance, color="black", **_style(updates))
    axes.set_ylim(0, 1.1 * float(np.nanmax(distance)) or 1)


def _mark_events(axes: Any, events: Sequence[Line]) -> None:
    kinds = _kinds(events)
    for event in events:
        axes.axvline(event["iteration"], linewidth=1, zorder=0, **_line_of(kinds.index(event["event"])))


def _kinds(events: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(str(event["event"]) for event in events))


def _line_of(kind: int) -> _EventLine:
    return {"color": GREY, "linestyle": ("--", ":", "-.", (0, (1, 3)))[kind % 4]}


def _legend_of_events(figure: Figure, events: Sequence[Line]) -> None:
    kinds = _kinds(events)
    if kinds:
        handles = [Line2D([], [], linewidth=1, label=kind, **_line_of(i)) for i, kind in enumerate(kinds)]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)

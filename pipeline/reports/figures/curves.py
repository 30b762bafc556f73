"""Observed, missing and generated values of single series while a network trains: Fig. 3 of the paper."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, TypedDict

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType
from numpy.typing import ArrayLike

from pipeline.reports.figures.latent import Snapshots, classes_of
from pipeline.reports.figures.style import GREY, class_colours, label_months, plain, png, sheet


class _Marker(TypedDict, total=False):
    """Keywords of matplotlib for points without a line."""

    linestyle: LineStyleType
    marker: str
    markersize: float
    color: str
    markerfacecolor: str
    markeredgewidth: float


_OBSERVED: Final[_Marker] = {"linestyle": "", "marker": "o", "markersize": 3, "color": "black"}
_GENERATED: Final[_Marker] = {
    "linestyle": "",
    "marker": "o",
    "markersize": 4,
    "markerfacecolor": "white",
    "markeredgewidth": 1,
}


def imputation(
    snapshots: Snapshots,
    X: ArrayLike,
    classes: ArrayLike,
    names: Sequence[str],
    dates: np.ndarray | None = None,
    labels: ArrayLike | None = None,
    colours: Sequence[str] | None = None,
    channel: int = 0,
    quantity: str = "value",
    columns: int = 4,
) -> bytes:
    """Draw one series of each class (rows) at several iterations (columns), as PNG (Fig. 3 of the paper).

    A panel has the observed values, the generated curve X_hat, and its values on the dates that are missing. Of the
    series whose curves were kept, a class shows the one with the median number of gaps.

    Args:
        snapshots: `history_["snapshots"]` of an estimator.
        X: (n, T) or (n, T, C), the argument of fit, NaN = missing.
        classes: (n,) class of every series as a number from 0; others, such as -1 or 255, are not shown.
        names: of the classes.
        dates: (T,) datetime64; without them dates are numbered from 1.
        labels: (n,) clusters in the order of the classes: only series whose label is their class are shown.
        colours: of the classes; without them those of the maps.
        channel: number of the channel that is shown.
        quantity: name of the channel, with its unit.
        columns: most snapshots shown, spread evenly; the first and the last are always there.

    Raises:
        ValueError: X, classes, dates, colours or the channel do not fit, or no series with a curve has a class.

    In a notebook, after `estimator.fit(X)`, with known classes y or with `estimator.labels_`:

        from IPython.display import Image
        from pipeline.reports import figures

        Image(figures.imputation(estimator.history_["snapshots"], X, y, ["winter", "summer"]))
    """
    return png(draw_imputation(snapshots, X, classes, names, dates, labels, colours, channel, quantity, columns))


def draw_imputation(
    snapshots: Snapshots,
    X: ArrayLike,
    classes: ArrayLike,
    names: Sequence[str],
    dates: np.ndarray | None = None,
    labels: ArrayLike | None = None,
    colours: Sequence[str] | None = None,
    channel: int = 0,
    quantity: str = "value",
    columns: int = 4,
) -> Figure:
    """Draw the figure of `imputation`, see there."""
    palette = class_colours(names, colours)
    observed, curves = _observed(snapshots, X), snapshots["curves"]
    _check_shown(curves, channel, dates)
    observed, curves = observed[..., channel], curves[..., channel]
    given = classes_of(snapshots["curve_rows"], classes)
    if labels is not None:
        given = np.where(classes_of(snapshots["curve_rows"], labels) == given, given, -1)
    picks = [(k, pick) for k in range(len(names)) if (pick := _median_gaps(observed, given == k)) is not None]
    if not picks:
        raise ValueError(f"none of the {len(given)} watched curves has a class from 0 to {len(names) - 1}")
    when = np.arange(1, observed.shape[1] + 1) if dates is None else dates.astype("datetime64[D]").astype(object)
    chosen = np.unique(np.linspace(0, len(curves) - 1, min(columns, len(curves))).round().astype(int))
    figure = sheet(9, 2.1 * len(picks) + 0.8)
    grid = figure.subplots(len(picks), len(chosen), squeeze=False, sharex=True, sharey=True)
    for row, (k, pick) in zip(grid, picks, strict=True):
        for axes, s in zip(row, chosen, strict=True):
            _draw_series(axes, when, observed[pick], curves[s, pick], palette[k])
        n_missing = int(np.isnan(observed[pick]).sum())
        row[0].set_ylabel(f"{names[k]}, {n_missing} of {len(when)} missing\n{quantity}", fontsize=9)
    for axes, s in zip(grid[0], chosen, strict=True):
        axes.set_title(f"iteration {snapshots['iterations'][s]:,}", fontsize=10)
    for axes in grid[-1]:
        _label_dates(axes, when)
    handles = [
        Line2D([], [], label="observed", **_OBSERVED),
        Line2D([], [], label="generated where missing", markeredgecolor=GREY, **_GENERATED),
        Line2D([], [], color=GREY, label="generated on all dates"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_series(axes: Any, when: np.ndarray, observed: np.ndarray, curve: np.ndarray, colour: str) -> None:
    missing = np.isnan(observed)
    axes.plot(when, curve, color=colour, linewidth=1.3)
    axes.plot(when[missing], curve[missing], markeredgecolor=colour, **_GENERATED)
    axes.plot(when[~missing], observed[~missing], **_OBSERVED)
    plain(axes)


def _label_dates(axes: Any, when: np.ndarray) -> None:
    axes.tick_params(labelsize=9)
    if isinstance(when[0], date):
        label_months(axes, every=3)
    else:
        axes.set_xlabel("date", fontsize=9)


def _observed(snapshots: Snapshots, X: ArrayLike) -> np.ndarray:
    """Return the observations (V, T, C) of the series whose curves were kept."""
    series, rows, curves = np.asarray(X, np.float32), snapshots["curve_rows"], snapshots["curves"]
    series = series[..., None] if series.ndim == 2 else series
    if series.ndim != 3 or series.shape[1:] != curves.shape[2:] or (len(rows) and rows.max() >= len(series)):
        raise ValueError(
            f"X has shape {np.shape(X)}, and curves of {' x '.join(map(str, curves.shape[2:]))} (dates x channels) of "
            f"series up to number {rows.max(initial=0)} were watched: the X that was given to fit is meant"
        )
    found: np.ndarray = series[rows]
    return found


def _check_shown(curves: np.ndarray, channel: int, dates: np.ndarray | None) -> None:
    n_dates, n_channels = curves.shape[2:]
    if not 0 <= channel < n_channels:
        raise ValueError(f"channel is {channel}; the series have {n_channels}, counted from 0")
    if dates is not None and len(dates) != n_dates:
        raise ValueError(f"dates has {len(dates)} entries; the series have {n_dates} dates")


def _median_gaps(observed: np.ndarray, member: np.ndarray) -> int | None:
    """Return the index of the member whose number of gaps is nearest to the median; None without members."""
    members = np.flatnonzero(member)
    if not len(members):
        return None
    n_missing = np.isnan(observed[members]).sum(axis=1)
    return int(members[np.abs(n_missing - np.median(n_missing)).argmin()])

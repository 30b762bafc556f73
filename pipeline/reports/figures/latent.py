"""The embedding of some series while a network trains: Fig. 2 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from pipeline.reports.figures.style import GREY, class_colours, plain, png, sheet

Snapshots = Mapping[str, np.ndarray]  # `history_["snapshots"]` of an estimator

_COLUMNS: Final = 3
_WIDTH: Final = 9.0  # of all panels side by side, in inches
_FAR: Final = 0.002  # share of the points at each end of an axis that may be outliers ...
_SLACK: Final = 0.25  # ... which lie beyond the others by more than this share of their range
_FLATTEST: Final = 0.5  # short side of a panel by its long side


class Plane(NamedTuple):
    """Points, projected on the plane in which they vary most."""

    points: NDArray[np.float64]  # (..., 2)
    share: NDArray[np.float64]  # (2,) of the variance


def principal_plane(points: ArrayLike) -> Plane:
    """Project points (..., E) on their first two principal components.

    The largest weight of each component is positive. With E = 1 the second coordinate is 0, and so is its share.
    """
    given = np.asarray(points, np.float64)
    flat = given.reshape(-1, given.shape[-1])
    centred = flat - flat.mean(axis=0)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.where(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0) < 0, -1, 1)
    plane, share = np.zeros((len(flat), 2)), np.zeros(2)
    plane[:, : axes.shape[1]] = centred @ axes
    share[: axes.shape[1]] = variances[::-1][:2].clip(0) / max(float(variances.clip(0).sum()), np.finfo(float).tiny)
    return Plane(plane.reshape(*given.shape[:-1], 2), share)


def embedding(
    snapshots: Snapshots,
    classes: ArrayLike,
    names: Sequence[str],
    colours: Sequence[str] | None = None,
    per_class: int = 500,
) -> bytes:
    """Draw the embedding z at several iterations, coloured by class, as PNG (Fig. 2 of the paper).

    All panels show the same plane, the first two principal components of all snapshots together, on the same scale.

    Args:
        snapshots: `history_["snapshots"]` of an estimator.
        classes: (n,) class of every series of X as a number from 0; others, such as -1 or 255, are not shown.
        names: of the classes.
        colours: of the classes; without them those of the maps.
        per_class: most points of a class.

    Raises:
        ValueError: classes do not belong to the X of the snapshots, colours are too few, or no series with
            snapshots has a class.

    In a notebook, after `estimator.fit(X)`, with known classes y or with `estimator.labels_`:

        from IPython.display import Image
        from pipeline.reports import figures

        Image(figures.embedding(estimator.history_["snapshots"], y, ["winter", "summer"]))
    """
    return png(draw_embedding(snapshots, classes, names, colours, per_class))


def draw_embedding(
    snapshots: Snapshots,
    classes: ArrayLike,
    names: Sequence[str],
    colours: Sequence[str] | None = None,
    per_class: int = 500,
) -> Figure:
    """Draw the figure of `embedding`, see there."""
    palette = np.array(class_colours(names, colours))
    given = classes_of(snapshots["rows"], classes)
    shown = _first_of_each(given, len(names), per_class)
    if not len(shown):
        raise ValueError(f"none of the {len(given)} watched series has a class from 0 to {len(names) - 1}")
    plane = principal_plane(snapshots["embedding"][:, shown])
    n_panels = len(plane.points)
    n_columns = 2 if n_panels == 4 else min(_COLUMNS, n_panels)
    n_rows = -(-n_panels // n_columns)
    low, high = _frame(plane.points)
    tall = (high - low)[1] / (high - low)[0]
    width = _WIDTH / n_columns
    figure = sheet(_WIDTH + 0.5, ((width - 0.3) * tall + 0.4) * n_rows + 0.7)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    for axes, points, iteration in zip(grid.flat, plane.points, snapshots["iterations"], strict=False):
        # the series are in random order, so that no class covers the others
        axes.scatter(*points.T, s=7, c=palette[given[shown]], alpha=0.5, linewidths=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_title(f"iteration {iteration:,}", fontsize=10)
        n_outside = int(((points < low) | (points > high)).any(axis=1).sum())
        if n_outside:
            axes.text(0.98, 0.02, f"{n_outside} outside", transform=axes.transAxes, ha="right", fontsize=8, color=GREY)
        plain(axes)
    for number, axes in enumerate(grid.flat):
        if number >= n_panels:
            axes.set_axis_off()
        elif number + n_columns >= n_panels:  # nothing below it
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(f"component 1 ({100 * plane.share[0]:.1f} % of variance)", fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"component 2 ({100 * plane.share[1]:.1f} %)", fontsize=9)
    counts = np.bincount(given[shown], minlength=len(names))
    handles = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=f"{name} ({count:,} series)")
        for colour, name, count in zip(palette, names, counts, strict=True)
        if count
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def classes_of(rows: np.ndarray, classes: ArrayLike) -> NDArray[np.int64]:
    """Return the classes of some rows.

    Args:
        rows: numbers of the series whose state was kept.
        classes: (n,) of all series.

    Raises:
        ValueError: classes are not one whole number a series, or a row is beyond them.
    """
    given = np.asarray(classes)
    if given.ndim != 1 or given.dtype.kind not in "iub":
        raise ValueError(f"classes has shape {given.shape} and type {given.dtype}: one whole number a series is meant")
    if len(rows) and rows.max() >= len(given):
        raise ValueError(
            f"classes has {len(given)} entries, and series {rows.max()} was watched: the classes of all series that "
            "were given to fit are meant, in their order"
        )
    return given[rows].astype(np.int64)


def _first_of_each(classes: np.ndarray, n_classes: int, most: int) -> NDArray[np.int64]:
    """Return the positions of the first `most` members of every class, ascending."""
    return np.sort(np.concatenate([np.flatnonzero(classes == k)[:most] for k in range(n_classes)]))


def _frame(points: np.ndarray) -> np.ndarray:
    """Return lower and upper limits (2, 2) of x and y around the points.

    A few outliers are left outside, because they would squeeze the others. No side is much longer than the other.
    """
    flat = points.reshape(-1, 2)
    low, high = np.quantile(flat, (_FAR, 1 - _FAR), axis=0)
    low, high = (
        np.maximum(flat.min(0), low - _SLACK * (high - low)),
        np.minimum(flat.max(0), high + _SLACK * (high - low)),
    )
    middle, half = (low + high) / 2, 0.54 * (high - low)
    half = np.maximum(half, _FLATTEST * half.max() or 1.0)
    return np.stack([middle - half, middle + half])

"""The rows of a comparison of methods, as its JSON and CSV files have them; which methods there are is not known here.

A row belongs to a year ("year") or to an array file ("data").
"""

from collections.abc import Iterable
from typing import Final, NotRequired, TypedDict

FILLED_PLAINLY: Final = ("mean-dec", "kmeans-mean", "kmeans-linear")  # methods without a network that fills


class Errors(TypedDict):
    """Errors of a filling over hidden cells, in data units; None where there are no cells."""

    cells: int
    rmse: float | None
    mae: float | None


class FillingErrors(TypedDict):
    """Errors by kind of hidden cell, over all channels together, and of each channel where there are several."""

    runs: Errors
    single: Errors
    all: Errors
    channels: NotRequired[dict[str, "FillingErrors"]]


class About(TypedDict, total=False):
    """What the methods were compared on."""

    year: int
    data: str  # name of the file
    region: str
    simulated: bool
    left_out: int  # series without any observation


class Row(About, total=False):
    """One fit of a method with a seed, or one plain filling of the hidden observations.

    A fit that failed has an "error" and no figures.
    """

    fingerprint: str
    method: str
    name: str  # of the method, for people
    seed: int
    error: str | None
    seconds: float
    accuracy: float | None
    class_accuracy: dict[str, float | None]
    ari: float | None
    nmi: float | None
    rmse: float | None
    mae: float | None
    n_iter: int
    trained_on: int
    judged: int
    confusion: list[list[int]]
    filling: str  # of a plain filling alone, which has none of the columns of a fit
    imputation: FillingErrors | None


class MethodSummary(About):
    """A method on a year or file: means over the seeds that succeeded, None without any."""

    method: str
    name: str
    seeds: int
    failed: int
    accuracy: float | None
    accuracy_std: float | None
    accuracy_range: float | None
    paper_accuracy: float | None
    class_accuracy: dict[str, float | None]
    ari: float | None
    nmi: float | None
    rmse: float | None
    mae: float | None
    seconds: float | None
    n_iter: float | None


class MeanErrors(TypedDict):
    """Errors over the hidden cells, means over the seeds; None where there are no such cells."""

    cells: int  # hidden in all
    rmse_runs: float | None
    mae_runs: float | None
    rmse_single: float | None
    mae_single: float | None
    rmse: float | None
    mae: float | None


class FillingSummary(About, MeanErrors):
    """A way of filling on a year or file, in one channel."""

    filling: str
    channel: str  # empty where there is one alone


def group_key(row: About) -> int | str:
    """Return the year, or the name of the file, that a row belongs to."""
    return row["year"] if "year" in row else row["data"]


def failures(rows: Iterable[Row]) -> list[str]:
    """Return the fits that failed and why, a line each."""
    return [
        f"{group_key(row)}, {row['name']}, seed {row['seed']}: {row['error']}"
        for row in rows
        if row["error"] is not None
    ]

"""Means of a comparison over its seeds, with the paper's own figures beside them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import numpy as np

from pipeline.reports.comparison_rows import (
    FILLED_PLAINLY,
    About,
    Errors,
    FillingErrors,
    FillingSummary,
    MeanErrors,
    MethodSummary,
    Row,
    group_key,
)

_PAPER_REGION: Final = "italy"
# Table I of the paper: overall accuracy over Italy, mean of three runs
_PAPER: Final[dict[str, dict[int, float]]] = {
    "joint": {2018: 0.9261, 2021: 0.9556, 2022: 0.9019},
    "mean-dec": {2018: 0.8408, 2021: 0.8949, 2022: 0.9059},
    "crli": {2018: 0.6622, 2021: 0.6056, 2022: 0.6789},
}


def summarise(rows: Sequence[Row]) -> list[MethodSummary]:
    """Return a row a year (or file) and method over its seeds, in the order given; fits that failed are only counted.

    Deviation and range need two seeds.
    """
    kinds = [(group_key(row), row["method"]) for row in rows]
    return [
        _summary(group, key, [row for row in rows if (group_key(row), row["method"]) == (group, key)])
        for group, key in dict.fromkeys(kinds)
    ]


def _summary(group: int | str, key: str, rows: Sequence[Row]) -> MethodSummary:
    done = [row for row in rows if row["error"] is None]
    accuracies = _values(done, "accuracy")
    classes = list(done[0]["class_accuracy"]) if done else []
    about = _about(rows[0], ("year", "data", "region", "simulated"))
    return {
        **about,
        "method": key,
        "name": rows[0]["name"],
        "seeds": len(done),
        "failed": len(rows) - len(done),
        "accuracy": _mean(accuracies),
        "accuracy_std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "accuracy_range": max(accuracies) - min(accuracies) if len(accuracies) > 1 else None,
        "paper_accuracy": _of_paper(key, group) if about.get("region") == _PAPER_REGION else None,
        "class_accuracy": {name: _mean(_values((row["class_accuracy"] for row in done), name)) for name in classes},
        "ari": _mean(_values(done, "ari")),
        "nmi": _mean(_values(done, "nmi")),
        "rmse": _mean(_values(done, "rmse")),
        "mae": _mean(_values(done, "mae")),
        "seconds": _mean(_values(done, "seconds")),
        "n_iter": _mean(_values(done, "n_iter")),
    }


def _of_paper(method: str, group: int | str) -> float | None:
    return _PAPER.get(method, {}).get(group) if isinstance(group, int) else None


def summarise_filling(rows: Sequence[Row], fillings: Sequence[Row]) -> list[FillingSummary]:
    """Return a row a year (or file), way of filling and channel: the plain ways first, then the networks."""
    trained = [row for row in rows if row["method"] not in FILLED_PLAINLY]
    measured = [(row, errors) for row in (*fillings, *trained) if (errors := row.get("imputation")) is not None]
    summary: list[FillingSummary] = []
    for group in dict.fromkeys(group_key(row) for row, _ in measured):
        of_group = [(row, errors) for row, errors in measured if group_key(row) == group]
        about = _about(of_group[0][0], ("year", "data"))
        for name in dict.fromkeys(_filled_by(row) for row, _ in of_group):
            found = [errors for row, errors in of_group if _filled_by(row) == name]
            if "channels" not in found[0]:
                summary.append({**about, "filling": name, "channel": "", **_mean_errors(found)})
                continue
            for channel in found[0]["channels"]:
                of_channel = [errors["channels"][channel] for errors in found]
                summary.append({**about, "filling": name, "channel": channel, **_mean_errors(of_channel)})
    return summary


def _filled_by(row: Row) -> str:
    return row["filling"] if "filling" in row else row["name"]


def _mean_errors(found: Sequence[FillingErrors]) -> MeanErrors:
    """Return the means of one channel's errors, one of the list a seed."""

    def mean(parts: Iterable[Errors]) -> tuple[float | None, float | None]:
        known = list(parts)
        return _mean(_values(known, "rmse")), _mean(_values(known, "mae"))

    rmse_runs, mae_runs = mean(one["runs"] for one in found)
    rmse_single, mae_single = mean(one["single"] for one in found)
    rmse, mae = mean(one["all"] for one in found)
    return {
        "cells": found[0]["all"]["cells"],
        "rmse_runs": rmse_runs,
        "mae_runs": mae_runs,
        "rmse_single": rmse_single,
        "mae_single": mae_single,
        "rmse": rmse,
        "mae": mae,
    }


def _about(row: Row, names: Sequence[str]) -> About:
    known: Mapping[str, object] = row
    return cast(About, {name: known[name] for name in names if name in known})


def _values(rows: Iterable[Mapping[str, object]], name: str) -> list[float]:
    return [value for row in rows if isinstance(value := row[name], int | float)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None

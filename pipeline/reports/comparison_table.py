"""The comparison in figures: summaries over seeds, and the files that hold them."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.base.files import write_file

Row = dict[str, Any]  # JSON-able
FILLED_PLAINLY: Final = ("mean-dec", "kmeans-mean", "kmeans-linear")  # methods without a network that fills
KINDS: Final = {"runs": "_runs", "single": "_single", "all": ""}  # of hidden cells, and what their columns end in
NOTE: Final = (
    "Accuracy, and that of each class (producer's), under the best one-to-one matching of clusters to classes; "
    "clusters that are left over count as wrong. Means over seeds; s.d. is the sample standard deviation, range the "
    "largest minus the smallest."
)
_LARGE: Final = 1e9  # from here on numbers are written with a power of ten
HIDDEN_NOTE: Final = (
    "Errors in data units over observations that were hidden, half of them in runs of dates as long as the data's own "
    "gaps, half singly; no method has seen them. Of years: means over seeds. Of an array file: of the first seed only, "
    "since networks are trained once more for it."
)


def group_key(row: Row) -> Any:
    """The year, or the file, that a row belongs to."""
    return row["year"] if "year" in row else row["data"]


def summarise(rows: Sequence[Row]) -> list[Row]:
    """A row a year (or file) and method over its seeds, in the order given; fits that failed are only counted."""
    summary = []
    kinds: list[tuple[Any, str]] = [(group_key(row), row["method"]) for row in rows]
    for group, key in dict.fromkeys(kinds):
        ours = [row for row in rows if (group_key(row), row["method"]) == (group, key)]
        done = [row for row in ours if row["error"] is None]
        accuracies = _values(done, "accuracy")
        classes: list[str] = list(done[0]["class_accuracy"]) if done else []
        about: Row = {name: ours[0][name] for name in ("year", "data", "region", "simulated") if name in ours[0]}
        summary.append(
            {
                **about,
                "method": key,
                "name": ours[0]["name"],
                "seeds": len(done),
                "failed": len(ours) - len(done),
                "accuracy": _mean(accuracies),
                "accuracy_std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
                "accuracy_range": max(accuracies) - min(accuracies) if len(accuracies) > 1 else None,
                "paper_accuracy": PAPER.get(key, {}).get(group) if about.get("region") == PAPER_REGION else None,
                "class_accuracy": {
                    name: _mean(_values((row["class_accuracy"] for row in done), name)) for name in classes
                },
                **{name: _mean(_values(done, name)) for name in ("ari", "nmi", "rmse", "mae", "seconds", "n_iter")},
            }
        )
    return summary


def summarise_filling(rows: Sequence[Row], fillings: Sequence[Row]) -> list[Row]:
    """A row a year (or file), way of filling and channel: the plain ways first, then the networks over their seeds."""
    trained = [row for row in rows if row["method"] not in FILLED_PLAINLY]
    measured = [row for row in (*fillings, *trained) if row.get("imputation") is not None]
    summary = []
    for group in dict.fromkeys(group_key(row) for row in measured):
        of_group = [row for row in measured if group_key(row) == group]
        names: list[str] = [_filling(row) for row in of_group]
        for name in dict.fromkeys(names):
            ours = [row["imputation"] for row in of_group if _filling(row) == name]
            about: Row = {key: of_group[0][key] for key in ("year", "data") if key in of_group[0]}
            channels: list[str] = list(ours[0].get("channels", [""]))
            for channel in channels:
                parts = [one["channels"][channel] if channel else one for one in ours]
                errors = {
                    f"{error}{ending}": _mean([part[kind][error] for part in parts if part[kind][error] is not None])
                    for kind, ending in KINDS.items()
                    for error in ("rmse", "mae")
                }
                cells = parts[0]["all"]["cells"]
                summary.append({**about, "filling": name, "channel": channel, "cells": cells, **errors})
    return summary


def _filling(row: Row) -> str:
    name: str = row["filling"] if "filling" in row else row["name"]
    return name


def markdown(rows: Sequence[Row], fillings: Sequence[Row]) -> str:
    """The tables that people read."""
    summary, filling = summarise(rows), summarise_filling(rows, fillings)
    parts = ["# Comparison of methods\n", NOTE + "\n"]
    for group in dict.fromkeys(group_key(row) for row in summary):
        ours = [row for row in summary if group_key(row) == group]
        parts.append(f"## {group}{_simulated(ours)}\n")
        parts.append(_accuracy_table(ours))
        errors = [row for row in filling if group_key(row) == group]
        if errors:
            parts += [f"### {group}: filling of hidden observations\n", HIDDEN_NOTE + "\n", _filling_table(errors)]
    failed = failures(rows)
    if failed:
        parts.append("## Failed\n\n" + "".join(f"- {line}\n" for line in failed))
    return "\n".join(parts)


def _simulated(summary: Sequence[Row]) -> str:
    if not summary[0].get("simulated"):
        return ""
    paper = any(row["paper_accuracy"] is not None for row in summary)
    return " (simulated; the paper's figures are of the real Italy)" if paper else " (simulated)"


def class_names(summary: Iterable[Row]) -> list[str]:
    """The classes of all rows of a summary."""
    return list(dict.fromkeys(name for row in summary for name in row["class_accuracy"]))


def failures(rows: Iterable[Row]) -> list[str]:
    """The fits that failed and why, a line each."""
    return [
        f"{group_key(row)}, {row['name']}, seed {row['seed']}: {row['error']}"
        for row in rows
        if row["error"] is not None
    ]


def _accuracy_table(summary: Sequence[Row]) -> str:
    paper = any(row["paper_accuracy"] is not None for row in summary)
    classes = class_names(summary)
    head = [
        "method",
        "seeds",
        "accuracy %",
        "s.d.",
        "range",
        *(["paper %"] if paper else []),
        *(f"{c} %" for c in classes),
    ]
    head += ["ARI", "NMI", "RMSE", "MAE", "seconds", "iterations"]
    body = [
        [
            row["name"],
            str(row["seeds"]) + (f" ({row['failed']} failed)" if row["failed"] else ""),
            *(percent(row[name]) for name in ("accuracy", "accuracy_std", "accuracy_range")),
            *([percent(row["paper_accuracy"])] if paper else []),
            *(percent(row["class_accuracy"].get(name)) for name in classes),
            number(row["ari"], 3),
            number(row["nmi"], 3),
            number(row["rmse"], 4),
            number(row["mae"], 4),
            number(row["seconds"], 1),
            number(row["n_iter"], 0),
        ]
        for row in summary
    ]
    return _table(head, body)


def _filling_table(summary: Sequence[Row]) -> str:
    several = any(row["channel"] for row in summary)
    names = [f"{error}{ending}" for ending in KINDS.values() for error in ("rmse", "mae")]
    head = ["filled by", *(["channel"] if several else []), "hidden cells"]
    head += [f"{error}, {kind}" for kind in KINDS for error in ("RMSE", "MAE")]
    body = [
        [row["filling"], *([row["channel"]] if several else []), f"{row['cells']:,}"]
        + [number(row[name], 4) for name in names]
        for row in summary
    ]
    return _table(head, body)


def percent(share: float | None) -> str:
    """In percent with two decimals."""
    return "–" if share is None else f"{100 * share:.2f}"


def number(value: float | None, decimals: int) -> str:
    """With so many decimals, or in significant figures where that would show nothing or fill the page."""
    if value is None:
        return "–"
    if value == 0 or 10**-decimals <= abs(value) < _LARGE:
        return f"{value:.{decimals}f}"
    return f"{value:.{decimals if abs(value) < _LARGE else 5}g}"


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def write_files(folder: Path, rows: Sequence[Row], fillings: Sequence[Row]) -> None:
    """Write table.md, summary.csv, imputation.csv, runs.csv, runs.json and fillings.json.

    Raises:
        UserError: they cannot be written.
    """
    runs = [{name: value for name, value in row.items() if name not in ("confusion", "imputation")} for row in rows]
    files = {
        "runs.json": as_json(rows),
        "fillings.json": as_json(fillings),
        "runs.csv": as_csv(runs),
        "summary.csv": as_csv(summarise(rows)),
        "imputation.csv": as_csv(summarise_filling(rows, fillings)),
        "table.md": markdown(rows, fillings),
    }
    for name, text in files.items():
        write_file(folder / name, text)


def as_json(rows: Sequence[Row]) -> str:
    """A list of rows."""
    return json.dumps(list(rows), indent=1, allow_nan=False) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV; nested values get columns of their own, named after both."""
    flat = [_flat(row) for row in rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in flat for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def _flat(row: Row) -> Row:
    flat: Row = {}
    for name, value in row.items():
        flat |= {f"{name}_{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _values(rows: Iterable[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


PAPER_REGION: Final = "italy"


# Table I of the paper: overall accuracy over Italy, mean of three runs
PAPER: Final[dict[str, dict[int, float]]] = {
    "joint": {2018: 0.9261, 2021: 0.9556, 2022: 0.9019},
    "mean-dec": {2018: 0.8408, 2021: 0.8949, 2022: 0.9059},
    "crli": {2018: 0.6622, 2021: 0.6056, 2022: 0.6789},
}

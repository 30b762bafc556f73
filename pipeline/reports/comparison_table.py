"""The files of a comparison: tables for people, CSV and JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipeline.base.files import write_file
from pipeline.reports.comparison_rows import FillingSummary, MethodSummary, Row, failures, group_key
from pipeline.reports.comparison_summary import summarise, summarise_filling
from pipeline.reports.numbers import number, percentage
from pipeline.reports.tables import csv_text, markdown_text

KINDS: Final = {"runs": "_runs", "single": "_single", "all": ""}  # of hidden cells, and how their columns end
NOTE: Final = (
    "Accuracy, and that of each class (producer's), under the best one-to-one matching of clusters to classes; "
    "clusters that are left over count as wrong. Means over seeds; s.d. is the sample standard deviation, range the "
    "largest minus the smallest."
)
HIDDEN_NOTE: Final = (
    "Errors in data units over observations that were hidden, half of them in runs of dates as long as the data's own "
    "gaps, half singly; no method has seen them. Of years: means over seeds. Of an array file: of the first seed only, "
    "since networks are trained once more for it."
)


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
    """Write rows as a JSON list."""
    return json.dumps(list(rows), indent=1, allow_nan=False) + "\n"


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows as CSV; nested values get columns of their own, named after both."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    return csv_text(columns, [[row.get(name, "") for name in columns] for row in flat])


def _flat(row: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in row.items():
        flat |= {f"{name}_{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def markdown(rows: Sequence[Row], fillings: Sequence[Row]) -> str:
    """Write the tables that people read, as Markdown."""
    summary, filling = summarise(rows), summarise_filling(rows, fillings)
    parts = ["# Comparison of methods\n", NOTE + "\n"]
    for group in dict.fromkeys(group_key(row) for row in summary):
        of_group = [row for row in summary if group_key(row) == group]
        parts.append(f"## {group}{_simulated(of_group)}\n")
        parts.append(_accuracy_table(of_group))
        errors = [row for row in filling if group_key(row) == group]
        if errors:
            parts += [f"### {group}: filling of hidden observations\n", HIDDEN_NOTE + "\n", _filling_table(errors)]
    failed = failures(rows)
    if failed:
        parts.append("## Failed\n\n" + "".join(f"- {line}\n" for line in failed))
    return "\n".join(parts)


def _simulated(summary: Sequence[MethodSummary]) -> str:
    if not summary[0].get("simulated"):
        return ""
    paper = any(row["paper_accuracy"] is not None for row in summary)
    return " (simulated; the paper's figures are of the real Italy)" if paper else " (simulated)"


def class_names(summary: Iterable[MethodSummary]) -> list[str]:
    """Return the classes of all rows of a summary, each once."""
    return list(dict.fromkeys(name for row in summary for name in row["class_accuracy"]))


def _accuracy_table(summary: Sequence[MethodSummary]) -> str:
    paper = any(row["paper_accuracy"] is not None for row in summary)
    classes = class_names(summary)
    head = ["method", "seeds", "accuracy %", "s.d.", "range", *(["paper %"] if paper else [])]
    head += [*(f"{name} %" for name in classes), "ARI", "NMI", "RMSE", "MAE", "seconds", "iterations"]
    body = [
        [
            row["name"],
            str(row["seeds"]) + (f" ({row['failed']} failed)" if row["failed"] else ""),
            percentage(row["accuracy"]),
            percentage(row["accuracy_std"]),
            percentage(row["accuracy_range"]),
            *([percentage(row["paper_accuracy"])] if paper else []),
            *(percentage(row["class_accuracy"].get(name)) for name in classes),
            number(row["ari"], 3),
            number(row["nmi"], 3),
            number(row["rmse"], 4),
            number(row["mae"], 4),
            number(row["seconds"], 1),
            number(row["n_iter"], 0),
        ]
        for row in summary
    ]
    return markdown_text(head, body)


def _filling_table(summary: Sequence[FillingSummary]) -> str:
    several = any(row["channel"] for row in summary)
    head = ["filled by", *(["channel"] if several else []), "hidden cells"]
    head += [f"{error}, {kind}" for kind in KINDS for error in ("RMSE", "MAE")]
    body = [
        [row["filling"], *([row["channel"]] if several else []), f"{row['cells']:,}"]
        + [number(error, 4) for error in _errors(row)]
        for row in summary
    ]
    return markdown_text(head, body)


def _errors(row: FillingSummary) -> list[float | None]:
    """Return the errors in the order of KINDS."""
    return [row["rmse_runs"], row["mae_runs"], row["rmse_single"], row["mae_single"], row["rmse"], row["mae"]]

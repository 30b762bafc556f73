"""The comparison as a section of the report: tables, a picture, and the paper's own figures beside them."""

import json
from pathlib import Path

from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.reports.comparison_rows import Row, failures, group_key
from pipeline.reports.comparison_summary import summarise, summarise_filling
from pipeline.reports.comparison_table import HIDDEN_NOTE, KINDS, NOTE, class_names
from pipeline.reports.figures.comparison import accuracy_dots
from pipeline.reports.html import embedded, render


def comparison_section(config: Config) -> str | None:
    """Return the region's comparison, all its years, as HTML to stand in a report; None where there is none.

    Raises:
        UserError: a file of the comparison is damaged.
    """
    folder = config.comparison
    rows, fillings = _read(folder / "runs.json"), _read(folder / "fillings.json")
    if rows is None or fillings is None:
        return None
    summary, filling = summarise(rows), summarise_filling(rows, fillings)
    groups = [
        {
            "name": group,
            "summary": [row for row in summary if group_key(row) == group],
            "filling": [row for row in filling if group_key(row) == group],
        }
        for group in dict.fromkeys(group_key(row) for row in summary)
    ]
    return render(
        "comparison.html",
        groups=groups,
        classes=class_names(summary),
        kinds=KINDS,
        simulated=any(row.get("simulated") for row in rows),
        paper=any(row["paper_accuracy"] is not None for row in summary),
        note=NOTE,
        hidden_note=HIDDEN_NOTE,
        failed=failures(rows),
        picture=embedded(accuracy_dots(rows)),
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

"""Compare: methods against each other by known classes, over several seeds; what the paper's table shows."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.base.errors import UserError
from pipeline.base.files import check_writable
from pipeline.base.progress import Reporter
from pipeline.comparison.contest import RunLog, Trial, run_contest
from pipeline.comparison.methods import Method
from pipeline.reports.comparison import comparison_section
from pipeline.reports.comparison_table import Row, failures, write_files

__all__ = ["check_failures", "compare", "comparison_section"]


def compare(
    contests: Sequence[Trial], methods: Sequence[Method], seeds: int, folder: Path | None, reporter: Reporter
) -> tuple[list[Row], list[Row]]:
    """Train and judge every method with every seed on every contest.

    Writes into `folder`, where there is one: runs.jsonl, kept so that a comparison that was stopped goes on, and once
    all is done table.md, summary.csv, imputation.csv, runs.csv, runs.json, fillings.json.

    Returns:
        A row a fit, and a row a plain filling. Fits that failed are rows with an "error".

    Raises:
        UserError: `folder` cannot be written, or what an earlier comparison left there is damaged.
    """
    torch.set_num_threads(1)  # measured: on networks this small a second thread costs more than it brings
    if folder is not None:
        check_writable(folder / "runs.jsonl")
    ledger = RunLog(None if folder is None else folder / "runs.jsonl")
    rows: list[Row] = []
    fillings: list[Row] = []
    for contest in contests:
        more_rows, more_fillings = run_contest(contest, methods, seeds, ledger, reporter)
        rows, fillings = rows + more_rows, fillings + more_fillings
    if folder is not None:
        write_files(folder, rows, fillings)
    return rows, fillings


def check_failures(rows: Sequence[Row]) -> None:
    """Raise UserError naming the fits that failed, if any did."""
    failed = failures(rows)
    if failed:
        listed = "\n".join(f"  {line}" for line in failed)
        raise UserError(f"{len(failed)} of {len(rows)} fits failed, the others are done:\n{listed}")

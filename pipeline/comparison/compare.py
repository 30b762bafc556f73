"""Compare: methods against each other by known classes, over several seeds, see the paper's Table I."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.base.errors import UserError
from pipeline.base.files import check_writable
from pipeline.base.progress import Reporter
from pipeline.comparison.methods import Method
from pipeline.comparison.trial import RunLog, Trial, run_trial
from pipeline.reports.comparison_rows import Row, failures
from pipeline.reports.comparison_table import write_files


def compare_methods(
    trials: Sequence[Trial], methods: Sequence[Method], seeds: int, folder: Path | None, reporter: Reporter
) -> tuple[list[Row], list[Row]]:
    """Train and evaluate every method with every seed on every trial.

    Writes into `folder`, where there is one: runs.jsonl, from which a comparison that was stopped goes on, and at the
    end table.md, summary.csv, imputation.csv, runs.csv, runs.json, fillings.json.

    Args:
        trials: years or a file.
        methods: in the order of the table.
        seeds: number of seeds; they are 0, 1, ...
        folder: for the results; None: nothing is written.
        reporter: receives messages and progress.

    Returns:
        A row a fit, and a row a plain filling. Fits that failed are rows with an "error".

    Raises:
        UserError: `folder` cannot be written, or the log of an earlier comparison there is damaged.
    """
    if folder is not None:
        check_writable(folder / "runs.jsonl")
    log = RunLog(None if folder is None else folder / "runs.jsonl")
    rows: list[Row] = []
    fillings: list[Row] = []
    for trial in trials:
        more_rows, more_fillings = run_trial(trial, methods, seeds, log, reporter)
        rows, fillings = rows + more_rows, fillings + more_fillings
    if folder is not None:
        write_files(folder, rows, fillings)
    return rows, fillings


def check_failures(rows: Sequence[Row]) -> None:
    """Refuse a comparison of which fits failed.

    Raises:
        UserError: it names the fits that failed.
    """
    failed = failures(rows)
    if failed:
        listed = "\n".join(f"  {line}" for line in failed)
        raise UserError(f"{len(failed)} of {len(rows)} fits failed, the others are done:\n{listed}")

"""The stages in their order, one by one or all together."""

import time
from collections.abc import Callable
from typing import Final

from pipeline.config import Config
from pipeline.download import download
from pipeline.evaluate import evaluate
from pipeline.executor import Executor
from pipeline.infer import infer
from pipeline.ingest import ingest
from pipeline.prepare import prepare
from pipeline.progress import Reporter
from pipeline.publish import publish
from pipeline.simulate import simulate
from pipeline.stage import StageResult
from pipeline.times import record_time
from pipeline.train import train

Stage = Callable[[Config, Executor, Reporter], StageResult]
STAGES: Final[dict[str, Stage]] = {
    "simulate": simulate,
    "download": download,
    "ingest": ingest,
    "prepare": prepare,
    "train": train,
    "infer": infer,
    "evaluate": evaluate,
    "publish": publish,
}


def planned(config: Config) -> list[str]:
    """The stages of a whole run: observations are simulated, fetched or given; only a given reference is compared."""
    skipped = set()
    if not config.simulated:
        skipped.add("simulate")
    if not config.download.enabled:
        skipped.add("download")
    if config.reference_path is None:
        skipped.add("evaluate")
    return [name for name in STAGES if name not in skipped]


def run_stage(name: str, config: Config, executor: Executor, reporter: Reporter) -> StageResult:
    """Do one stage, say how it ended, and keep how long it took."""
    started = time.perf_counter()
    result = STAGES[name](config, executor, reporter)
    seconds = time.perf_counter() - started
    if result.fresh:
        record_time(config.year_folder, name, seconds)
        reporter.message(f"{name}: done in {seconds:.1f} s")
    else:
        reporter.message(f"{name}: nothing to do, {result.outputs[0]} is complete")
    return result


def run(config: Config, executor: Executor, reporter: Reporter) -> list[StageResult]:
    """Do the whole year; what an earlier run with the same configuration and inputs has finished is kept.

    Raises:
        UserError: a stage cannot go on; running again goes on where it stopped.
    """
    return [run_stage(name, config, executor, reporter) for name in planned(config)]

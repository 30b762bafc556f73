"""The stages in their order, one by one or all together."""

import time
from collections.abc import Callable
from typing import Final

from pipeline.base import locks
from pipeline.base.accounting import collecting
from pipeline.base.errors import ShardsFailed
from pipeline.base.progress import Reporter
from pipeline.config.config import Config
from pipeline.config.regions import configured_regions
from pipeline.cube.map_layers import LABEL
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.runtime.summary import record_stage
from pipeline.stages.download.stage import download
from pipeline.stages.evaluate import evaluate
from pipeline.stages.infer.stage import infer
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.prepare import prepare
from pipeline.stages.publish import publish
from pipeline.stages.simulate.stage import simulate
from pipeline.stages.train.stage import train

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
    """The stages of a whole run: observations are simulated, fetched or given; only a given reference is
    compared; with the model of another year none is trained; without labels nothing is compared or published.

    Raises:
        UserError: a file that a late stage needs cannot be used.
    """
    skipped = set()
    if not config.simulated:
        skipped.add("simulate")
    if not config.download.enabled:
        skipped.add("download")
    if not config.trains:
        skipped.add("train")
    if config.reference_path is None:
        skipped.add("evaluate")
    if LABEL not in config.inference.outputs:
        skipped |= {"evaluate", "publish"}
    if "evaluate" not in skipped:
        configured_regions(config)  # a file that cannot be used is said before hours of work, not after
    return [name for name in STAGES if name not in skipped]


def run_stage(name: str, config: Config, executor: Executor, reporter: Reporter) -> StageResult:
    """Do one stage, say how it ended, and keep what it took in `summary.json` and Dask's performance report.

    Raises:
        UserError: the stage cannot go on, or another run works on the same output.
    """
    with locks.hold(config.year_folder, f"sitscube {name} --year {config.year}"), collecting() as tasks:
        started, where = time.perf_counter(), executor.describe()
        try:
            with executor.record(config.report / f"dask-{name}.html") as recording:
                result = STAGES[name](config, executor, reporter)
                recording.wanted = result.fresh and tasks.shards > 0
        except ShardsFailed as error:
            record_stage(config.year_folder, name, started, tasks, where, error.failures)
            raise
        if not result.fresh:
            reporter.message(f"{name}: nothing to do, {result.outputs[0]} is complete")
            return result
        seconds = record_stage(config.year_folder, name, started, tasks, where)
        reporter.message(f"{name}: done in {seconds:.1f} s")
        return result


def run(config: Config, executor: Executor, reporter: Reporter) -> list[StageResult]:
    """Do the whole year; what an earlier run with the same configuration and inputs has finished is kept.

    Raises:
        UserError: a stage cannot go on; running again goes on where it stopped.
    """
    with locks.hold(config.year_folder, f"sitscube run --year {config.year}"):
        return [run_stage(name, config, executor, reporter) for name in planned(config)]

"""Run the stages of a year in their order, one by one or all together."""

import time
from collections.abc import Callable
from typing import Final

from pipeline.base import locks
from pipeline.base.accounting import collecting
from pipeline.base.errors import ShardsFailed
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
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

StageFunction = Callable[[Config, Executor, Reporter], StageResult]
STAGES: Final[dict[Stage, StageFunction]] = {
    Stage.SIMULATE: simulate,
    Stage.DOWNLOAD: download,
    Stage.INGEST: ingest,
    Stage.PREPARE: prepare,
    Stage.TRAIN: train,
    Stage.INFER: infer,
    Stage.EVALUATE: evaluate,
    Stage.PUBLISH: publish,
}


def planned(config: Config) -> list[Stage]:
    """Return the stages of a whole run.

    Observations are simulated, downloaded or given. With the model of another year none is trained. Only where there
    is a reference map is the map compared, and without labels it is neither compared nor published.

    Raises:
        UserError: a file that a late stage needs cannot be used.
    """
    skipped = set()
    if not config.simulated:
        skipped.add(Stage.SIMULATE)
    if not config.download.enabled:
        skipped.add(Stage.DOWNLOAD)
    if not config.trains:
        skipped.add(Stage.TRAIN)
    if config.reference_path is None:
        skipped.add(Stage.EVALUATE)
    if LABEL not in config.inference.outputs:
        skipped |= {Stage.EVALUATE, Stage.PUBLISH}
    if Stage.EVALUATE not in skipped:
        configured_regions(config)  # refuses a file that cannot be used before hours of work, not after
    return [stage for stage in STAGES if stage not in skipped]


def run_stage(name: str, config: Config, executor: Executor, reporter: Reporter) -> StageResult:
    """Run one stage, report how it ended, and record its time and memory in `summary.json`.

    On a cluster Dask's performance report is saved, too.

    Args:
        name: of the stage.
        config: of the run.
        executor: where its tasks run.
        reporter: where progress is reported.

    Raises:
        UserError: the stage cannot go on, or another run works on the same output.
        ShardsFailed: some shards could not be done.
    """
    stage = Stage(name)
    with locks.hold(config.year_folder, f"sitscube {stage} --year {config.year}"), collecting() as tasks:
        started, where = time.perf_counter(), executor.describe()
        try:
            with executor.record(config.report / f"dask-{stage}.html") as recording:
                result = STAGES[stage](config, executor, reporter)
                recording.wanted = result.fresh and tasks.shards > 0
        except ShardsFailed as error:
            record_stage(config.year_folder, stage, started, tasks, where, error.failures)
            raise
        if not result.fresh:
            reporter.message(f"{stage}: nothing to do, {result.outputs[0]} is complete")
            return result
        seconds = record_stage(config.year_folder, stage, started, tasks, where)
        reporter.message(f"{stage}: done in {seconds:.1f} s")
        return result


def run(config: Config, executor: Executor, reporter: Reporter) -> list[StageResult]:
    """Run all stages of the year; what an earlier run with the same configuration and inputs has finished is kept.

    Raises:
        UserError: a stage cannot go on; the next run goes on where it stopped.
        ShardsFailed: some shards could not be done.
    """
    with locks.hold(config.year_folder, f"sitscube run --year {config.year}"):
        return [run_stage(stage, config, executor, reporter) for stage in planned(config)]

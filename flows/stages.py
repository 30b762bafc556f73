"""The stages of a year as Prefect tasks, one task a stage and year; every flow is made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed, Failed
from prefect.tasks import Task

from flows.artifacts import FlowReporter, show_dashboard, show_results
from flows.parameters import Count, Scheduler, Year, configuration
from pipeline.base import locks
from pipeline.base.errors import OutOfReach, UserError
from pipeline.config.config import Config
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.executor import Executor
from pipeline.stages.run import planned, run_stage

RETRY_DELAYS: Final[list[float]] = [60, 300, 900]  # s; the stage goes on where it was, and does nothing twice

DONE: Final = "done"  # what a stage says that had something to do


def can_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether trying a stage again may end otherwise: only where a service did not answer."""
    return isinstance(state.result(raise_on_failure=False), OutOfReach)


@task(
    name="stage",
    task_run_name="{name} {config.year}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=can_help,
)
def stage_task(name: str, config: Config, executor: Executor) -> State[Any]:
    """Do one stage; a failure that a user can mend is a message, not a traceback.

    Raises:
        OutOfReach: the archive or the Dask scheduler does not answer; Prefect tries it again later.
    """
    try:
        result = run_stage(name, config, executor, FlowReporter(get_run_logger(), config, name))
    except OutOfReach:
        raise
    except (UserError, OSError) as error:
        return Failed(message=str(error))
    return Completed(message=DONE if result.fresh else "nothing to do", data=result.outputs)


def do_stages(config: Config, names: Sequence[str] | None, what: str) -> State[Any]:
    """Do stages of one year in sequence, on one cluster and under the year's lock, and show what came of them.

    Args:
        config: of the year.
        names: of the stages, in their order; those that the configuration plans where None.
        what: is being done, told to runs that are refused meanwhile.

    Returns:
        Completed, or Failed with the message of the stage that failed; the stages after it are not begun.
    """
    logger = get_run_logger()
    try:
        with (
            locks.hold(config.year_folder, f"{what} {config.year}"),
            open_executor(config.cluster) as (executor, dashboard),
        ):
            show_dashboard(config, dashboard, logger)
            fresh = False
            for name in planned(config) if names is None else names:
                state = stage_task(name, config, executor, return_state=True)
                if not state.is_completed():
                    return Failed(message=f"{name} {config.year}: {state.message}")
                fresh = fresh or state.message == DONE
                for path in state.result():
                    logger.info("%s: %s", name, path)
            found = show_results(config, logger)
            return Completed(message=found if fresh else f"nothing new; {found}")
    except UserError as error:
        return Failed(message=str(error))


def _some_stages(what: str, names: Sequence[str], config_file: Path | None, **given: Any) -> State[Any]:
    try:
        config = configuration(config_file, **given)
        if "download" in names:  # where nothing is fetched, Italy is simulated, or files are given
            names = [name for name in planned(config) if name in names]
    except UserError as error:
        return Failed(message=str(error))
    return do_stages(config, names, what)


@flow(name="download", persist_result=False)
def download(
    year: Year | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Fetch a year of granules; where the configuration fetches none, simulate Italy's, or do nothing.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    given = {"year": year, "out": out, "scheduler": scheduler, "workers": workers}
    return _some_stages("download", ["simulate", "download"], config_file, **given)


@flow(name="ingest", persist_result=False)
def ingest(
    year: Year | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Make the year's cube, its masks and its means.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    given = {"year": year, "out": out, "scheduler": scheduler, "workers": workers}
    return _some_stages("ingest", ["ingest", "prepare"], config_file, **given)


@flow(name="train", persist_result=False)
def train(
    year: Year | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    iterations: Count | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Train the network on the year's cube, on a GPU worker where the cluster has one.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        iterations: of joint training.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    given = {"year": year, "out": out, "iterations": iterations, "scheduler": scheduler, "workers": workers}
    return _some_stages("train", ["train"], config_file, **given)


@flow(name="infer", persist_result=False)
def infer(
    year: Year | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Label every mapped cell of the year with the model that was trained, shard by shard on all workers.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    given = {"year": year, "out": out, "scheduler": scheduler, "workers": workers}
    return _some_stages("infer", ["infer"], config_file, **given)


@flow(name="evaluate", persist_result=False)
def evaluate(
    year: Year | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    reference: Path | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Compare the year's labels with the reference map.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        reference: crop map to compare with, a EUCROPMAP GeoTIFF or a folder of WorldCereal zips.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    given = {"year": year, "out": out, "reference": reference, "scheduler": scheduler, "workers": workers}
    return _some_stages("evaluate", ["evaluate"], config_file, **given)


@flow(name="publish", persist_result=False)
def publish(
    year: Year | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Add the year to the cluster cube; write its report and its products.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    given = {"year": year, "out": out, "scheduler": scheduler, "workers": workers}
    return _some_stages("publish", ["publish"], config_file, **given)

"""The stages of a year as Prefect tasks, one task for each stage and year, and flows of one or two stages."""

from collections.abc import Sequence
from typing import Any, Final

from prefect import Flow, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed, Failed
from prefect.tasks import Task

from flows.artifacts import FlowReporter, show_dashboard, show_results
from flows.parameters import flow_config, with_parameters
from pipeline.base import locks
from pipeline.base.errors import OutOfReach, UserError
from pipeline.config.config import Config
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.executor import Executor
from pipeline.stages.run import planned, run_stage

RETRY_DELAYS: Final[list[float]] = [60, 300, 900]  # s; a stage that is tried again continues where it stopped

DONE: Final = "done"  # message of a stage that had something to do


def can_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether trying a stage again may help: only where a service did not answer."""
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
    """Do one stage; an error that a user can mend becomes the message of the state, without a traceback.

    Raises:
        OutOfReach: the archive or the Dask scheduler does not answer; Prefect tries the stage again later.
    """
    try:
        result = run_stage(name, config, executor, FlowReporter(get_run_logger(), config, name))
    except OutOfReach:
        raise
    except (UserError, OSError) as error:
        return Failed(message=str(error))
    return Completed(message=DONE if result.fresh else "nothing to do", data=result.outputs)


def do_stages(config: Config, names: Sequence[str] | None, what: str) -> State[Any]:
    """Do stages of one year in sequence, on one cluster and under the year's lock, and show their results.

    Args:
        config: configuration of the year.
        names: names of the stages, in their order; None: those that the configuration plans.
        what: name of the work, in the message to another run that wants the same year.

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


def stage_flow(name: str, stages: Sequence[str], summary: str, *options: str) -> Flow[..., State[Any]]:
    """Make a flow of some stages of a year.

    Args:
        name: of the flow. Prefect finds it as the variable of this module that has the same name.
        stages: in their order.
        summary: first line of its description.
        options: parameters besides those that every such flow has.
    """

    def run(**given: object) -> State[Any]:
        try:
            config = flow_config(given)
            # where nothing is fetched, Italy is simulated, or files are given
            names = [stage for stage in planned(config) if stage in stages] if "download" in stages else stages
        except UserError as error:
            return Failed(message=str(error))
        return do_stages(config, names, name)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = summary
    run = with_parameters("year", "out", "config_file", *options, "scheduler", "workers")(run)
    return flow(name=name, persist_result=False)(run)


download = stage_flow(
    "download",
    ["simulate", "download"],
    "Fetch a year of granules; where the configuration fetches none, simulate Italy's, or do nothing.",
)
ingest = stage_flow("ingest", ["ingest", "prepare"], "Make the year's cube, its masks and its means.")
train = stage_flow(
    "train", ["train"], "Train the network on the year's cube, on a GPU worker where the cluster has one.", "iterations"
)
infer = stage_flow(
    "infer",
    ["infer"],
    "Label every mapped cell of the year with the model that was trained, shard by shard on all workers.",
)
evaluate = stage_flow("evaluate", ["evaluate"], "Compare the year's labels with the reference map.", "reference")
publish = stage_flow("publish", ["publish"], "Add the year to the cluster cube; write its report and its products.")

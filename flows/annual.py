"""The flow `annual_map`: every stage of a year as one Prefect task, in sequence, on a Dask cluster."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from pipeline import lock
from pipeline.cluster import open_executor
from pipeline.config import Config, load_config
from pipeline.errors import UserError
from pipeline.evaluate import accuracy_lines, read_accuracy
from pipeline.executor import Executor
from pipeline.progress import Log
from pipeline.run import planned, run_stage


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def stage_task(name: str, config: Config, executor: Executor) -> State[Any]:
    """Do one stage; a failure that a user can mend is a message, not a traceback."""
    try:
        result = run_stage(name, config, executor, Log(get_run_logger()))
    except (UserError, OSError) as error:
        return Failed(message=str(error))
    return Completed(message="done" if result.fresh else "nothing to do", data=result.outputs)


@flow(name="annual_map", persist_result=False)
def annual_map(
    year: int | None = None,
    out: str | None = None,
    config_file: Path | None = None,
    granules: Path | None = None,
    reference: Path | None = None,
    iterations: int | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> State[Any]:
    """Map one year.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration.
        granules: folder of VNP15A2H granules; without it Italy is simulated.
        reference: EUCROPMAP GeoTIFF to compare with.
        iterations: of joint training.
        scheduler: address of a Dask scheduler; without one, Dask workers are started on this machine.
        workers: of the local cluster.
    """
    logger = get_run_logger()
    try:
        config = load_config(
            config_file, year=year, out=out, ingest__granules=granules, reference__path=reference,
            training__iterations=iterations, cluster__scheduler=scheduler, cluster__workers=workers,
        )  # fmt: skip
        cluster = config.cluster.model_copy(update={"scheduler": config.cluster.scheduler or "local"})
        command = f"annual_map {config.year}"
        with lock.hold(config.year_folder, command), open_executor(cluster) as (executor, dashboard):
            logger.info("Dask dashboard: %s", dashboard)
            written: dict[str, Any] = {}
            for name in planned(config):
                state = stage_task(name, config, executor, return_state=True)
                if state.is_failed():
                    return Failed(message=f"{name}: {state.message}")
                written[name] = state.result()
        for name, paths in written.items():
            for path in paths:
                logger.info("%s: %s", name, path)
        for line in accuracy_lines(read_accuracy(config)):
            logger.info(line)
    except UserError as error:
        return Failed(message=str(error))
    return Completed(message=f"finished: {config.report / 'index.html'}")

"""The flow `backfill`: several years, one after the other, each as a run of `annual_map` below it."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed, State

from flows.annual import annual_map
from flows.parameters import Count, Scheduler, Years


@flow(name="backfill", persist_result=False)
def backfill(
    years: Years,
    out: str | None = None,
    config_file: Path | None = None,
    granules: Path | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Map several years, earlier ones first; a year that fails stops no other, and is named at the end.

    Args:
        years: of the observations.
        out: folder of all outputs, or a URL such as s3://bucket/prefix; what is left out comes from the configuration.
        config_file: TOML configuration, counted from where the worker runs.
        granules: folder of VNP15A2H granules of all these years.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    logger = get_run_logger()
    failed: dict[int, str | None] = {}
    wanted = sorted(set(years))
    for year in wanted:
        state = annual_map(
            year=year, out=out, config_file=config_file, granules=granules, scheduler=scheduler, workers=workers,
            return_state=True,
        )  # fmt: skip
        logger.info("%d: %s", year, state.message)
        if not state.is_completed():
            failed[year] = state.message
    if failed:
        reasons = "\n".join(f"  {year}: {reason}" for year, reason in failed.items())
        return Failed(
            message=f"{len(failed)} of {len(wanted)} years failed; running again does only what is missing:\n{reasons}"
        )
    return Completed(message=f"finished: {', '.join(map(str, wanted))}")

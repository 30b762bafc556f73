"""The flow `backfill`: several years, one after the other, each as a run of `annual_map` below it."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed, State

from flows.annual import annual_map
from flows.parameters import Years, with_parameters


@flow(name="backfill", persist_result=False)
@with_parameters(
    "out", "config_file", "granules", "scheduler", "workers",
    years="of the observations.",
    out="folder of all outputs, or a URL such as s3://bucket/prefix; what is left out comes from the configuration.",
    granules="folder of VNP15A2H granules of all these years.",
)  # fmt: skip
def backfill(years: Years, **given: object) -> State[Any]:
    """Map several years, earlier ones first; a year that fails stops no other, and is named at the end."""
    logger = get_run_logger()
    failed: dict[int, str | None] = {}
    wanted = sorted(set(years))
    for year in wanted:
        state = annual_map(year=year, **given, return_state=True)
        logger.info("%d: %s", year, state.message)
        if not state.is_completed():
            failed[year] = state.message
    if failed:
        reasons = "\n".join(f"  {year}: {reason}" for year, reason in failed.items())
        return Failed(
            message=f"{len(failed)} of {len(wanted)} years failed; running again does only what is missing:\n{reasons}"
        )
    return Completed(message=f"finished: {', '.join(map(str, wanted))}")

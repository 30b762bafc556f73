"""The flow `annual_map`: every stage of a year as one Prefect task, in sequence, on a Dask cluster."""

from typing import Any

from prefect import flow
from prefect.states import Failed, State

from flows.parameters import flow_config, with_parameters
from flows.stages import do_stages
from pipeline.base.errors import UserError


@flow(name="annual_map", persist_result=False)
@with_parameters(
    "year", "last_complete_year", "out", "config_file", "granules", "reference", "iterations", "scheduler", "workers",
    last_complete_year="instead of a year, the one before the year that the run is scheduled in.",
)  # fmt: skip
def annual_map(last_complete_year: bool = False, **given: object) -> State[Any]:
    """Map one year."""
    try:
        config = flow_config(given, last_complete_year)
    except UserError as error:
        return Failed(message=str(error))
    return do_stages(config, None, "annual_map")

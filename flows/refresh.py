"""The flow `refresh`: the newest composites of the running year, mapped with the model of a finished one."""

from datetime import date
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from flows.parameters import flow_config, with_parameters
from flows.stages import do_stages
from pipeline.base.errors import UserError
from pipeline.operations.refresh import has_own_model, running_year_config
from pipeline.stages.publish import is_whole


@flow(name="refresh", persist_result=False)
@with_parameters(
    "year", "model_year", "as_of", "out", "config_file", "granules", "reference", "scheduler", "workers",
    year="of the observations; nothing: the year that is running when the run is scheduled.",
    out="folder of all outputs, or a URL such as s3://bucket/prefix; what is left out comes from the configuration.",
    granules="folder of VNP15A2H granules.",
    reference="crop map of this year to compare with, where there is one already.",
)  # fmt: skip
def refresh(
    year: int | None = None, model_year: int | None = None, as_of: date | None = None, **given: object
) -> State[Any]:
    """Map the running year as far as it has come; only what has changed since the last time is done again."""
    day = as_of or flow_run.scheduled_start_time.date()
    try:
        config = running_year_config(flow_config(given), day, year=year, model_year=model_year)
        if has_own_model(config):
            return Completed(message=f"{config.year} has been mapped with a model of its own, which stays")
    except UserError as error:
        return Failed(message=str(error))
    state = do_stages(config, None, "refresh")
    if state.is_completed() and is_whole(config):
        return Completed(
            message=f"{state.message}. All composites of {config.year} are there: annual_map trains on them"
        )
    return state

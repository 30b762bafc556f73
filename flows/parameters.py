"""Parameters of flows, made from the table of options: Prefect's form shows them and checks their types."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from prefect.runtime import flow_run
from pydantic import Field

from pipeline.base.errors import UserError
from pipeline.cli.options import OPTIONS, Function, Year, configure, set_signature
from pipeline.config.config import Config

Years = Annotated[list[Year], Field(min_length=1)]


def with_parameters(*names: str, **descriptions: str) -> Callable[[Function], Function]:
    """Give a flow's function the parameters of these names; it takes their values as `**given`.

    Prefect reads their types from the signature and their descriptions from the section `Args` of the docstring, so
    both are written here.

    Args:
        names: parameters in the order of the form, with the flow's own where they do not come first.
        descriptions: those of the flow's own parameters, and others than the table's.
    """

    def annotation(name: str) -> Any:
        return OPTIONS[name].type | None

    def decorate(function: Function) -> Function:
        set_signature(function, names, annotation)
        lines = [
            f"    {name}: {descriptions[name] if name in descriptions else OPTIONS[name].description}"
            for name in inspect.signature(function).parameters
        ]
        function.__doc__ = "\n".join([f"{inspect.getdoc(function)}\n", "Args:", *lines])
        return function

    return decorate


def flow_config(given: Mapping[str, object], last_complete_year: bool = False) -> Config:
    """Build the configuration of a flow: as on the command line, but without a scheduler Dask workers start here.

    Args:
        given: values of parameters by the names of the table.
        last_complete_year: take the year before the one that this run was scheduled for. A run that starts late still
            means the same year.

    Raises:
        UserError: a key or value is wrong, or a year is given besides the last complete one.
    """
    if last_complete_year:
        year = given.get("year")
        if year is not None:
            raise UserError(f"year = {year} and last_complete_year are both given: leave one of them out.")
        given = {**given, "year": int(flow_run.scheduled_start_time.year) - 1}
    config = configure(given)
    cluster = config.cluster.model_copy(update={"scheduler": config.cluster.scheduler or "local"})
    return config.model_copy(update={"cluster": cluster})

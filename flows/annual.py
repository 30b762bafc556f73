"""The flow `annual_map`: every stage of a year as one Prefect task, in sequence, on a Dask cluster."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.states import Failed, State

from flows.parameters import Count, Scheduler, Year, configuration
from flows.stages import do_stages
from pipeline.base.errors import UserError


@flow(name="annual_map", persist_result=False)
def annual_map(
    year: Year | None = None,
    last_complete_year: bool = False,
    out: str | None = None,
    config_file: Path | None = None,
    granules: Path | None = None,
    reference: Path | None = None,
    iterations: Count | None = None,
    scheduler: Scheduler | None = None,
    workers: Count | None = None,
) -> State[Any]:
    """Map one year.

    Args:
        year: of the observations; like every parameter, what is left out comes from the configuration.
        last_complete_year: instead of a year, the one before the year that the run is scheduled in.
        out: folder of all outputs, or a URL such as s3://bucket/prefix.
        config_file: TOML configuration, counted from where the worker runs.
        granules: folder of VNP15A2H granules; without it, or download.enabled, Italy is simulated.
        reference: crop map to compare with, a EUCROPMAP GeoTIFF or a folder of WorldCereal zips.
        iterations: of joint training.
        scheduler: address of a Dask scheduler; "local" or nothing: workers on this machine.
        workers: of the local cluster.
    """
    try:
        config = configuration(
            config_file, year=year, last_complete_year=last_complete_year, out=out, granules=granules,
            reference=reference, iterations=iterations, scheduler=scheduler, workers=workers,
        )  # fmt: skip
    except UserError as error:
        return Failed(message=str(error))
    return do_stages(config, None, "annual_map")

"""Parameters that flows have in common: their types are what Prefect's form checks before a run begins."""

from pathlib import Path
from typing import Annotated

from prefect.runtime import flow_run
from pydantic import Field

from pipeline.base.errors import UserError
from pipeline.config.config import Config, load_config
from pipeline.config.sections import FIRST_YEAR, LAST_YEAR

Year = Annotated[int, Field(ge=FIRST_YEAR, le=LAST_YEAR)]
Years = Annotated[list[Year], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Scheduler = Annotated[str, Field(pattern=r"^(local|(tcp|tls|ws|wss|ucx)://\S+)$")]


def configuration(
    config_file: Path | None,
    *,
    year: int | None = None,
    last_complete_year: bool = False,
    out: str | None = None,
    granules: Path | None = None,
    reference: Path | None = None,
    iterations: int | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Config:
    """The configuration of a flow: as of the command line, but without a scheduler it starts Dask workers here.

    Raises:
        UserError: a key or value is wrong, or a year is given besides the last complete one.
    """
    if last_complete_year:
        if year is not None:
            raise UserError(f"year = {year} and last_complete_year are both given: leave one of them out.")
        year = complete_year()
    config = load_config(
        config_file, year=year, out=out, ingest__granules=granules, reference__path=reference,
        training__iterations=iterations, cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    cluster = config.cluster.model_copy(update={"scheduler": config.cluster.scheduler or "local"})
    return config.model_copy(update={"cluster": cluster})


def complete_year() -> int:
    """The year before the one that this run was scheduled for: a run that starts late still means the same year."""
    return int(flow_run.scheduled_start_time.year) - 1

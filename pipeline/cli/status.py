"""The command `sitscube status`, which Nagios and cron can call."""

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from pipeline.cli.command_line import with_options
from pipeline.cli.options import configure

_UNKNOWN: Final = 3  # exit status of a Nagios plugin
_log = logging.getLogger(__name__)

MaxAge = Annotated[
    float | None, typer.Option(min=0, help="Critical where the newest product is older; default: any age.")
]
MaxSilence = Annotated[
    float, typer.Option(min=0, help="Minutes without a sign of life after which a run is a warning.")
]
RegionName = Annotated[str | None, typer.Option(help="Of this region alone; default: all of them together.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@with_options("out", "config_file", "max_age_days", "max_silence", "region", "as_json")
def status(
    max_age_days: MaxAge = None, max_silence: MaxSilence = 60, region: RegionName = None, as_json: AsJson = False,
    **given: object,
) -> None:  # fmt: skip
    """Say how all years stand: finished, running, stopped or failed, and how old the newest product is.

    The first line and the exit status are those of a Nagios plugin: 0 OK, 1 WARNING (a year was stopped before its
    end, or a run shows no sign of life), 2 CRITICAL (shards failed, or the newest product is too old), 3 UNKNOWN (there
    are no outputs). Only files are looked at, and no run is disturbed.
    """
    from pipeline.operations.status import LEVELS, inspect_outputs

    age = None if max_age_days is None else timedelta(days=max_age_days)
    try:
        found = inspect_outputs(
            configure(given).out,
            datetime.now(UTC),
            max_age=age,
            max_silence=timedelta(minutes=max_silence),
            region=region,
        )
    except Exception as error:  # noqa: BLE001 - of any kind that a store raises: a plugin answers that nothing is known
        _log.debug("traceback", exc_info=True)
        typer.echo(
            json.dumps({"level": "UNKNOWN", "message": str(error) or type(error).__name__})
            if as_json
            else f"SITSCUBE UNKNOWN - {error}"
        )
        raise typer.Exit(_UNKNOWN) from None
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1, default=datetime.isoformat))
    else:
        limit = "" if max_age_days is None else f";;{max_age_days:g}"
        figures = "" if found.age_days is None else f" | age_days={found.age_days:.2f}{limit}"
        typer.echo(f"SITSCUBE {found.level} - {found.message}{figures}")
        for year in found.years:
            typer.echo(f"{year.region} {year.year}  {year.detail}")
    raise typer.Exit(LEVELS.index(found.level))

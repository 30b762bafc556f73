"""The command `sitscube status`, which Nagios and cron can call."""

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pipeline.cli.options import File, Out
from pipeline.config.config import load_config

_UNKNOWN = 3  # as Nagios has it
_log = logging.getLogger(__name__)


def status(
    out: Out = None,
    config: File = None,
    max_age_days: Annotated[
        float | None, typer.Option(min=0, help="Critical where the newest product is older; default: any age.")
    ] = None,
    max_silence: Annotated[
        float, typer.Option(min=0, help="Minutes without a sign of life after which a run is a warning.")
    ] = 60,
    region: Annotated[str | None, typer.Option(help="Of this region alone; default: all of them together.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say how all years stand: finished, running, stopped or failed, and how old the newest product is.

    The first line and the exit status are those of a Nagios plugin: 0 OK, 1 WARNING (a year was stopped before its
    end, or a run shows no sign of life), 2 CRITICAL (shards failed, or the newest product is too old), 3 UNKNOWN (there
    are no outputs). Only files are looked at, and no run is disturbed.
    """
    from pipeline.operations.status import LEVELS, inspect_outputs

    age = None if max_age_days is None else timedelta(days=max_age_days)
    try:
        found = inspect_outputs(
            load_config(config, out=out).out,
            datetime.now(UTC),
            max_age=age,
            max_silence=timedelta(minutes=max_silence),
            region=region,
        )
    except Exception as error:  # of whatever kind a store's are: a plugin's answer is that nothing is known
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

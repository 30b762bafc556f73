"""`python -m flows`: run `annual_map` once, on Prefect's own embedded server unless PREFECT_API_URL names another."""

import os
from pathlib import Path

import typer

from pipeline.cli.command_line import with_options

# read by Prefect when it is imported
_EMBEDDED = {
    "PREFECT_HOME": str(Path.cwd() / ".prefect"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "pipeline,flows",  # their warnings are shown with the run's own messages
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "DO_NOT_TRACK": "1",
}
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@with_options(
    "year", "out", "config_file", "granules", "reference", "iterations", "scheduler", "workers",
    scheduler="local, or the address of a Dask scheduler; default: workers on this machine.",
)  # fmt: skip
def main(**given: object) -> None:
    """Map one year, as a Prefect flow."""
    if "PREFECT_API_URL" not in os.environ:
        for name, value in _EMBEDDED.items():
            os.environ.setdefault(name, value)

    from flows.annual import annual_map

    state = annual_map(**given, return_state=True)
    typer.echo(state.message)
    raise typer.Exit(0 if state.is_completed() else 1)


if __name__ == "__main__":
    app()

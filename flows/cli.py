"""The command `sitscube`: that of the pipeline, and `serve`, for which Prefect is needed."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.progress import Terminal
from pipeline.cli import commands

Port = Annotated[int, typer.Option(min=1024, max=65535, help="Of the Prefect server and its pages.")]
SchedulerPort = Annotated[int, typer.Option(min=1024, max=65535, help="Of the Dask scheduler.")]
DashboardPort = Annotated[int, typer.Option(min=1024, max=65535, help="Of the Dask dashboard.")]
Folder = Annotated[Path, typer.Option(help="For Prefect's database, logs, and what Dask workers put aside.")]
PrefectFile = Annotated[Path, typer.Option(help="The deployments.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Dask workers without a GPU; default: one a core.")]


@commands.app.command()
def serve(
    folder: Folder = Path(".sitscube"), prefect_file: PrefectFile = Path("deploy/prefect.yaml"),
    workers: Workers = None, port: Port = 4200, scheduler_port: SchedulerPort = 8786,
    dashboard_port: DashboardPort = 8787,
) -> None:  # fmt: skip
    """Serve scheduled runs on this machine: Prefect, Dask, and the deployments, until Ctrl-C."""
    from flows import serving

    n_workers = (os.cpu_count() or 1) if workers is None else workers
    serving.serve(folder, prefect_file, n_workers, serving.Ports(port, scheduler_port, dashboard_port), Terminal())


def main() -> None:
    """Run the command."""
    commands.main()


if __name__ == "__main__":
    main()

"""The commands `sitscube run` and `sitscube STAGE`.

The stages are imported where they run: torch and Dask come with them, which `sitscube --help` need not wait for.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.command_line import with_options
from pipeline.cli.options import OPTIONS, configure
from pipeline.config.config import Config

Product = Annotated[str | None, typer.Option(help="VNP15A2H, VJ115A2H or VJ215A2H.")]


@with_options(*OPTIONS)
def run(**given: object) -> None:
    """Do the whole year: every stage in sequence."""
    _do(configure(given))


@with_options("year", "out", "config_file", "scheduler", "workers")
def simulate(**given: object) -> None:
    """Write a year of simulated granules of Italy, and its crop map."""
    config = configure(given)
    if not config.simulated:
        raise UserError(f"granules are given ({config.granules}): leave ingest.granules out to simulate some.")
    _do(config, "simulate")


@with_options(
    "year", "out", "config_file", "granules", "product", granules="Folder to put them in; default: OUT/archive/."
)
def download(product: Product = None, **given: object) -> None:
    """Fetch a year of granules from NASA's LP DAAC, all tiles that the region touches."""
    config = configure(given, download__product=product, download__enabled=True)
    _do(config, "download")
    Terminal().message(f"Map them with: sitscube run --year {config.year} --granules {config.granules}")


@with_options("year", "out", "config_file", "granules", "grid", "qc", "as_of", "scheduler", "workers")
def ingest(**given: object) -> None:
    """Average granules or rasters onto the grid: cube.zarr."""
    _do(configure(given), "ingest")


@with_options("year", "out", "config_file", "reference", "scheduler", "workers")
def prepare(**given: object) -> None:
    """Choose the cells that are mapped, count and average their observations."""
    _do(configure(given), "prepare")


@with_options(
    "year", "out", "config_file", "iterations", "sample_pixels", "target", "tol", "w_gen", "seed", "scheduler",
    "workers",
)  # fmt: skip
def train(**given: object) -> None:
    """Train the network on sampled cells: model/."""
    _do(configure(given), "train")


@with_options("year", "out", "config_file", "outputs", "model_year", "scheduler", "workers")
def infer(**given: object) -> None:
    """Label every mapped cell and fill its gaps: map.zarr."""
    _do(configure(given), "infer")


@with_options("year", "out", "config_file", "reference", "regions", "seed", "scheduler", "workers")
def evaluate(**given: object) -> None:
    """Compare the map with the reference crop map: report/accuracy.json."""
    _do(configure(given), "evaluate")


@with_options("year", "out", "config_file", "model_year")
def publish(**given: object) -> None:
    """Add the year to clusters.zarr, draw the map, write the report."""
    _do(configure(given), "publish")


COMMANDS = (run, simulate, download, ingest, prepare, train, infer, evaluate, publish)


def _do(config: Config, *stages: str) -> None:
    """Do the given stages, or without any those that the configuration plans, and print what was written."""
    from pipeline.base import locks
    from pipeline.runtime.dask.cluster import open_executor
    from pipeline.stages.evaluate import accuracy_lines, read_accuracy
    from pipeline.stages.run import planned, run_stage

    reporter = Terminal()
    command = f"sitscube {stages[0] if stages else 'run'} --year {config.year}"
    with locks.hold(config.year_folder, command), open_executor(config.cluster) as (executor, dashboard):
        if dashboard:
            reporter.message(f"Dask dashboard: {dashboard}")
        names: Sequence[str] = stages or planned(config)
        results = [run_stage(name, config, executor, reporter) for name in names]
    if not any(result.fresh for result in results):
        reporter.message("Nothing to do: all of this is finished, with the same configuration and inputs.")
    for result in results:
        for path in result.outputs:
            reporter.message(f"{result.stage:<10}{path}")
    if any(result.stage == "evaluate" for result in results):
        for line in accuracy_lines(read_accuracy(config)):
            reporter.message(line)

"""The command line: `sitscube run`, `sitscube STAGE`, `sitscube config`.

The stages are imported where they run: with them come torch and Dask, which `sitscube --help` need not wait for.
"""

import json
import logging
import sys
from typing import Annotated

import tomli_w
import typer
from rich.console import Console

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.change import change
from pipeline.cli.compare import compare
from pipeline.cli.export import export
from pipeline.cli.options import (
    AsOf,
    File,
    Granules,
    GridName,
    Iterations,
    ModelYear,
    Out,
    Outputs,
    Qc,
    ReferenceMap,
    Regions,
    SamplePixels,
    Scheduler,
    Seed,
    Target,
    TargetOf,
    Tol,
    WGen,
    Workers,
    Year,
    day_of,
    listed,
)
from pipeline.cli.plan import plan
from pipeline.cli.reference import reference
from pipeline.cli.status import status
from pipeline.config.config import Config, load_config

HELP = """\
Turn a year of satellite observations of a country into a gap-free cube and a map of what grew where, unlabelled.

The stages, each a command of its own, all together in `sitscube run`:

simulate | download -> ingest -> prepare -> train -> infer -> evaluate -> publish

Without granules of your own, Italy is simulated: `sitscube run` works as it stands. With them:

sitscube run --year 2018 --granules VNP15A2H/ --reference EUCROPMAP_2018.tif --out out

`sitscube download --year 2018 --granules VNP15A2H/` fetches them with an Earthdata account (EARTHDATA_TOKEN, or
~/.netrc). GeoTIFF and NetCDF files of other sensors are described under [raster] in a TOML file; deploy/ has examples.

Outputs: OUT/REGION/YEAR/cube.zarr (observations), map.zarr (labels, filled series), model/, report/index.html,
products/ (COGs), and OUT/REGION/clusters.zarr (all years). `sitscube change` compares years, `sitscube export` writes
GeoTIFF, NetCDF and CSV. What is finished is never done twice; a run that was stopped goes on where it was.

Settings come from a TOML file (--config), from the environment (SITSCUBE_TRAINING__ITERATIONS=3000) and from options,
each stronger than the one before; `sitscube config show` prints them all. By default everything runs in this process;
--scheduler local starts Dask workers here, --scheduler tcp://... uses a cluster.
"""

_log = logging.getLogger(__name__)
app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
config_app = typer.Typer(help="Show the configuration.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")


@app.command("run")
def run_all(
    year: Year = None, out: Out = None, config: File = None, granules: Granules = None, reference: ReferenceMap = None,
    regions: Regions = None, grid: GridName = None, qc: Qc = None, iterations: Iterations = None,
    sample_pixels: SamplePixels = None, target: TargetOf = None, tol: Tol = None, w_gen: WGen = None,
    seed: Seed = None, outputs: Outputs = None, as_of: AsOf = None, model_year: ModelYear = None,
    scheduler: Scheduler = None, workers: Workers = None,
) -> None:  # fmt: skip
    """Do the whole year: every stage in sequence."""
    settings = load_config(
        config, year=year, out=out, seed=seed, ingest__granules=granules, ingest__grid=grid, ingest__qc=qc,
        reference__path=reference, evaluation__regions=regions, training__iterations=iterations,
        training__sample_pixels=sample_pixels, training__target=target, training__tol=tol, training__w_gen=w_gen,
        inference__outputs=listed(outputs), ingest__as_of=day_of(as_of), inference__model_year=model_year,
        cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    _work(settings, None)


@app.command()
def simulate(
    year: Year = None, out: Out = None, config: File = None, scheduler: Scheduler = None, workers: Workers = None
) -> None:
    """Write a year of simulated granules of Italy, and its crop map."""
    settings = load_config(config, year=year, out=out, cluster__scheduler=scheduler, cluster__workers=workers)
    if not settings.simulated:
        raise UserError(f"granules are given ({settings.granules}): leave ingest.granules out to simulate some.")
    _work(settings, ["simulate"])


@app.command()
def download(
    year: Year = None, out: Out = None, config: File = None, granules: Target = None,
    product: Annotated[str | None, typer.Option(help="VNP15A2H, VJ115A2H or VJ215A2H.")] = None,
) -> None:  # fmt: skip
    """Fetch a year of granules from NASA's LP DAAC, all tiles that the region touches."""
    settings = load_config(
        config, year=year, out=out, ingest__granules=granules, download__product=product, download__enabled=True
    )
    _work(settings, ["download"])
    Terminal().message(f"Map them with: sitscube run --year {settings.year} --granules {settings.granules}")


@app.command()
def ingest(
    year: Year = None, out: Out = None, config: File = None, granules: Granules = None, grid: GridName = None,
    qc: Qc = None, as_of: AsOf = None, scheduler: Scheduler = None, workers: Workers = None,
) -> None:  # fmt: skip
    """Average granules or rasters onto the grid: cube.zarr."""
    settings = load_config(
        config, year=year, out=out, ingest__granules=granules, ingest__grid=grid, ingest__qc=qc,
        ingest__as_of=day_of(as_of), cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    _work(settings, ["ingest"])


@app.command()
def prepare(
    year: Year = None, out: Out = None, config: File = None, reference: ReferenceMap = None,
    scheduler: Scheduler = None, workers: Workers = None,
) -> None:  # fmt: skip
    """Choose the cells that are mapped, count and average their observations."""
    settings = load_config(
        config, year=year, out=out, reference__path=reference, cluster__scheduler=scheduler, cluster__workers=workers
    )
    _work(settings, ["prepare"])


@app.command()
def train(
    year: Year = None, out: Out = None, config: File = None, iterations: Iterations = None,
    sample_pixels: SamplePixels = None, target: TargetOf = None, tol: Tol = None, w_gen: WGen = None,
    seed: Seed = None, scheduler: Scheduler = None, workers: Workers = None,
) -> None:  # fmt: skip
    """Train the network on sampled cells: model/."""
    settings = load_config(
        config, year=year, out=out, seed=seed, training__iterations=iterations, training__sample_pixels=sample_pixels,
        training__target=target, training__tol=tol, training__w_gen=w_gen,
        cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    _work(settings, ["train"])


@app.command()
def infer(
    year: Year = None, out: Out = None, config: File = None, outputs: Outputs = None, model_year: ModelYear = None,
    scheduler: Scheduler = None, workers: Workers = None,
) -> None:  # fmt: skip
    """Label every mapped cell and fill its gaps: map.zarr."""
    settings = load_config(
        config, year=year, out=out, inference__outputs=listed(outputs), inference__model_year=model_year,
        cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    _work(settings, ["infer"])


@app.command()
def evaluate(
    year: Year = None, out: Out = None, config: File = None, reference: ReferenceMap = None,
    regions: Regions = None, seed: Seed = None, scheduler: Scheduler = None, workers: Workers = None,
) -> None:  # fmt: skip
    """Compare the map with the reference crop map: report/accuracy.json."""
    settings = load_config(
        config, year=year, out=out, seed=seed, reference__path=reference, evaluation__regions=regions,
        cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    _work(settings, ["evaluate"])


@app.command()
def publish(year: Year = None, out: Out = None, config: File = None, model_year: ModelYear = None) -> None:
    """Add the year to clusters.zarr, draw the map, write the report."""
    _work(load_config(config, year=year, out=out, inference__model_year=model_year), ["publish"])


app.command()(compare)
app.command()(change)
app.command()(plan)
app.command()(reference)
app.command()(export)
app.command()(status)


@config_app.command("show")
def config_show(config: File = None) -> None:
    """Print every setting with its value, as TOML."""
    sys.stdout.write(tomli_w.dumps(load_config(config).model_dump(mode="json", exclude_none=True)))


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema: every key, its type, meaning and default."""
    sys.stdout.write(json.dumps(Config.model_json_schema(), indent=1) + "\n")


def _work(settings: Config, stages: list[str] | None) -> None:
    """Do the given stages, or all that the configuration plans, and say what was written."""
    from pipeline.base import locks
    from pipeline.runtime.dask.cluster import open_executor
    from pipeline.stages.evaluate import accuracy_lines, read_accuracy
    from pipeline.stages.run import planned, run_stage

    reporter = Terminal()
    command = f"sitscube {stages[0] if stages else 'run'} --year {settings.year}"
    with locks.hold(settings.year_folder, command), open_executor(settings.cluster) as (executor, dashboard):
        if dashboard:
            reporter.message(f"Dask dashboard: {dashboard}")
        results = [run_stage(name, settings, executor, reporter) for name in stages or planned(settings)]
    if not any(result.fresh for result in results):
        reporter.message("Nothing to do: all of this is finished, with the same configuration and inputs.")
    for result in results:
        for path in result.outputs:
            reporter.message(f"{result.stage:<10}{path}")
    if any(result.stage == "evaluate" for result in results):
        for line in accuracy_lines(read_accuracy(settings)):
            reporter.message(line)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, tracebacks of errors included.")] = False,
) -> None:
    """Set up logging before any command."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(name)s: %(message)s")


def main() -> None:
    """Entry point: errors that a user can mend are one message and status 1."""
    try:
        app()
    except (UserError, OSError) as error:
        _log.debug("traceback", exc_info=True)
        Console(stderr=True).print(f"sitscube: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)

"""The command line `sitscube`: all its commands, and how errors are shown."""

import logging
import sys
from typing import Annotated

import typer
from rich.console import Console

from pipeline.base.errors import UserError
from pipeline.cli import configuration, stages
from pipeline.cli.change import compare_years
from pipeline.cli.compare import compare
from pipeline.cli.export import export
from pipeline.cli.plan import plan
from pipeline.cli.reference import reference
from pipeline.cli.status import status

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
app.add_typer(configuration.app, name="config")
for command in stages.COMMANDS:
    app.command()(command)
app.command()(compare)
app.command("change")(compare_years)
app.command()(plan)
app.command()(reference)
app.command()(export)
app.command()(status)


@app.callback()
def set_up(
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, tracebacks of errors included.")] = False,
) -> None:
    """Set up logging before any command."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(name)s: %(message)s")


def main() -> None:
    """Run the command; an error that a user can mend is printed as one message, with status 1."""
    try:
        app()
    except (UserError, OSError) as error:
        _log.debug("traceback", exc_info=True)
        Console(stderr=True).print(f"sitscube: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)

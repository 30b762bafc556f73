"""The command `sitscube export`."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.options import File, Out, Year, listed
from pipeline.config.config import load_config

To = Annotated[str, typer.Option("--to", help="Folder or URL to write into.")]
Kind = Annotated[str, typer.Option("--format", help="geotiff, netcdf or csv.")]
Layer = Annotated[str | None, typer.Option("--layer", help="Arrays of map.zarr and cube.zarr, such as label,fpar.")]
Regions = Annotated[Path | None, typer.Option(help="GeoJSON of named polygons, for csv; default: as configured.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]


def export(
    to: To, kind: Kind = "geotiff", layer: Layer = None, regions: Regions = None, overwrite: Overwrite = False,
    year: Year = None, out: Out = None, config: File = None,
) -> None:  # fmt: skip
    """Write a finished year for other software: GeoTIFF, NetCDF, or a table of areas by region."""
    from pipeline.base.locations import to_location
    from pipeline.reports.products.export import FORMATS, Format, export_year

    if kind not in FORMATS:
        raise UserError(f"--format {kind} is unknown: choose one of {', '.join(FORMATS)}.")
    if regions is not None and kind != "csv":
        raise UserError(f"--regions belongs to --format csv, not to {kind}.")
    given: dict[str, Any] = {"evaluation__regions": regions}
    settings = load_config(config, year=year, out=out, **given)
    try:
        folder = to_location(to)
    except ValueError as error:
        raise UserError(f"--to {error}.") from None
    reporter = Terminal()
    files = export_year(settings, folder, cast(Format, kind), listed(layer), overwrite=overwrite, reporter=reporter)
    for path in files:
        reporter.message(f"wrote {path}")

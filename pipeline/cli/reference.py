"""The command `sitscube reference`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.progress import Terminal
from pipeline.cli.options import File, GridName
from pipeline.config.config import load_config

Source = Annotated[Path, typer.Option("--input", help="EUCROPMAP GeoTIFF, or the folder of WorldCereal zips.")]
Target = Annotated[Path, typer.Option("--out", help="GeoTIFF to write.")]
ProductName = Annotated[str | None, typer.Option("--product", help="eucropmap or worldcereal; default: by the input.")]
Classes = Annotated[Path | None, typer.Option(help="CSV table of classes and seasons; default: the product's own.")]
Weak = Annotated[bool | None, typer.Option("--weak", help="Count crops that are mostly of one season, too.")]


def reference(
    source: Source, target: Target, grid: GridName = None, config: File = None, product: ProductName = None,
    classes: Classes = None, weak: Weak = None,
) -> None:  # fmt: skip
    """Reduce a crop map of any year to seasons on the grid: 0 winter, 1 summer, 255 not used."""
    from pipeline.stages.reference import reference_to_geotiff

    settings = load_config(
        config, ingest__grid=grid, reference__path=source, reference__product=product, reference__classes=classes,
        reference__weak=weak,
    )  # fmt: skip
    reporter = Terminal()
    reporter.message(f"wrote {reference_to_geotiff(settings, target, reporter)}")

"""The command `sitscube reference`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.progress import Terminal
from pipeline.cli.command_line import with_options
from pipeline.cli.options import configure

Source = Annotated[Path, typer.Option("--input", help="EUCROPMAP GeoTIFF, or the folder of WorldCereal zips.")]
Target = Annotated[Path, typer.Option("--out", help="GeoTIFF to write.")]
ProductName = Annotated[str | None, typer.Option("--product", help="eucropmap or worldcereal; default: by the input.")]
Classes = Annotated[Path | None, typer.Option(help="CSV table of classes and seasons; default: the product's own.")]
Weak = Annotated[bool | None, typer.Option("--weak", help="Count crops that are mostly of one season, too.")]


@with_options("grid", "config_file", "product", "classes", "weak")
def reference(
    source: Source, target: Target, product: ProductName = None, classes: Classes = None, weak: Weak = None,
    **given: object,
) -> None:  # fmt: skip
    """Reduce a crop map of any year to seasons on the grid: 0 winter, 1 summer, 255 not used."""
    from pipeline.stages.reference import reference_to_geotiff

    config = configure(
        given, reference__path=source, reference__product=product, reference__classes=classes, reference__weak=weak
    )
    reporter = Terminal()
    reporter.message(f"wrote {reference_to_geotiff(config, target, reporter)}")

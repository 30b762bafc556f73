"""Options that several commands have, and what is made of their texts."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

Year = Annotated[int | None, typer.Option(help="Year of the observations.")]
Out = Annotated[str | None, typer.Option(help="Folder of all outputs, or a URL such as s3://bucket/prefix.")]
File = Annotated[Path | None, typer.Option("--config", help="TOML configuration.")]
Granules = Annotated[Path | None, typer.Option(help="Folder of VNP15A2H granules; without it Italy is simulated.")]
Target = Annotated[Path | None, typer.Option("--granules", help="Folder to put them in; default: OUT/archive/.")]
ReferenceMap = Annotated[
    Path | None, typer.Option("--reference", help="EUCROPMAP GeoTIFF or folder of WorldCereal zips to compare with.")
]
Regions = Annotated[
    Path | None, typer.Option("--regions", help="GeoJSON of polygons, WGS 84: areas and accuracy are given for each.")
]
GridName = Annotated[
    str | None, typer.Option("--grid", help="epsg3035-1km, epsg<code>-<size>m, sinusoidal-463m or -927m.")
]
Qc = Annotated[str | None, typer.Option(help="Which observations count: strict, standard, loose or custom.")]
Iterations = Annotated[int | None, typer.Option(help="Iterations of joint training; 3000 as in the paper.")]
SamplePixels = Annotated[int | None, typer.Option(help="Pixels drawn for training.")]
WGen = Annotated[float | None, typer.Option("--w-gen", help="Weight of the adversarial loss; 0: no discriminator.")]
TargetOf = Annotated[str | None, typer.Option("--target", help="Cluster sizes of the target over: sample or all.")]
Tol = Annotated[float | None, typer.Option(help="Training ends when fewer labels change than this share.")]
AsOf = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Of a running year: later composites are not missing.")
]
ModelYear = Annotated[int | None, typer.Option(help="Map with the trained model of that year instead of training one.")]
Seed = Annotated[int | None, typer.Option(help="Of sampling and training.")]
Scheduler = Annotated[str | None, typer.Option(help="local, or the address of a Dask scheduler; default: in process.")]
Workers = Annotated[int | None, typer.Option(help="Workers of the local cluster.")]
Outputs = Annotated[
    str | None, typer.Option(help="Arrays of map.zarr to write, such as label,confidence; default: all four.")
]


def day_of(moment: datetime | None) -> date | None:
    """The day of an option, which the command line gives as a moment."""
    return None if moment is None else moment.date()


def listed(text: str | None) -> list[str] | None:
    """The names in a list with commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]

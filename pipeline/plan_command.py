"""The command `sitscube plan`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import load_config
from pipeline.progress import Terminal

Year = Annotated[int | None, typer.Option(help="Year of the observations.")]
Out = Annotated[str | None, typer.Option(help="Folder or URL of all outputs.")]
File = Annotated[Path | None, typer.Option("--config", help="TOML configuration.")]
Granules = Annotated[Path | None, typer.Option(help="Folder of VNP15A2H granules; without it Italy is simulated.")]
ReferenceMap = Annotated[Path | None, typer.Option("--reference", help="EUCROPMAP GeoTIFF to compare with.")]
GridName = Annotated[
    str | None, typer.Option("--grid", help="epsg3035-1km, epsg<code>-<size>m, sinusoidal-463m or -927m.")
]
Qc = Annotated[str | None, typer.Option(help="Which observations count: strict, standard, loose or custom.")]
Iterations = Annotated[int | None, typer.Option(help="Iterations of joint training.")]
SamplePixels = Annotated[int | None, typer.Option(help="Pixels drawn for training.")]
WGen = Annotated[float | None, typer.Option("--w-gen", help="Weight of the adversarial loss; 0: no discriminator.")]
TargetOf = Annotated[str | None, typer.Option("--target", help="Cluster sizes of the target over: sample or all.")]
Tol = Annotated[float | None, typer.Option(help="Training ends when fewer labels change than this share.")]
Seed = Annotated[int | None, typer.Option(help="Of sampling and training.")]
Outputs = Annotated[str | None, typer.Option(help="Arrays of map.zarr to write, such as label,confidence.")]
Scheduler = Annotated[str | None, typer.Option(help="local, or the address of a Dask scheduler; default: in process.")]
Workers = Annotated[int | None, typer.Option(help="Workers of the local cluster.")]
Probe = Annotated[bool, typer.Option("--probe/--no-probe", help="Do one shard, to know how long all would take.")]
Json = Annotated[Path | None, typer.Option("--json", help="File to write all of it to.")]


def plan(
    year: Year = None, out: Out = None, config: File = None, granules: Granules = None, reference: ReferenceMap = None,
    grid: GridName = None, qc: Qc = None, iterations: Iterations = None, sample_pixels: SamplePixels = None,
    target: TargetOf = None, tol: Tol = None, w_gen: WGen = None, seed: Seed = None, outputs: Outputs = None,
    scheduler: Scheduler = None, workers: Workers = None, probe: Probe = True, json_file: Json = None,
) -> None:  # fmt: skip
    """Say what `sitscube run` would do, how long it would take, and whether it fits; nothing is changed."""
    from pipeline.cluster import open_executor
    from pipeline.comparison_files import write_file
    from pipeline.plan import make_plan
    from pipeline.plan_table import print_plan

    listed = None if outputs is None else [name.strip() for name in outputs.split(",") if name.strip()]
    settings = load_config(
        config, year=year, out=out, seed=seed, ingest__granules=granules, ingest__grid=grid, ingest__qc=qc,
        reference__path=reference, training__iterations=iterations, training__sample_pixels=sample_pixels,
        training__target=target, training__tol=tol, training__w_gen=w_gen, inference__outputs=listed,
        cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    with open_executor(settings.cluster) as (executor, _):
        found = make_plan(settings, executor, Terminal(), probe=probe)
    print_plan(found, settings)
    if json_file is not None:
        write_file(json_file, json.dumps(found.as_json(), indent=1) + "\n")
    found.check()

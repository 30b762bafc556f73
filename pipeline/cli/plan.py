"""The command `sitscube plan`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.progress import Terminal
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
    TargetOf,
    Tol,
    WGen,
    Workers,
    Year,
    day_of,
    listed,
)
from pipeline.config.config import load_config

Probe = Annotated[bool, typer.Option("--probe/--no-probe", help="Do one shard, to know how long all would take.")]
Json = Annotated[Path | None, typer.Option("--json", help="File to write all of it to.")]


def plan(
    year: Year = None, out: Out = None, config: File = None, granules: Granules = None, reference: ReferenceMap = None,
    regions: Regions = None, grid: GridName = None, qc: Qc = None, iterations: Iterations = None,
    sample_pixels: SamplePixels = None, target: TargetOf = None, tol: Tol = None, w_gen: WGen = None,
    seed: Seed = None, outputs: Outputs = None, as_of: AsOf = None, model_year: ModelYear = None,
    scheduler: Scheduler = None, workers: Workers = None,
    probe: Probe = True, json_file: Json = None,
) -> None:  # fmt: skip
    """Say what `sitscube run` would do, how long it would take, and whether it fits; nothing is changed."""
    from pipeline.base.files import write_file
    from pipeline.operations.plan.plan import make_plan
    from pipeline.operations.plan.table import print_plan
    from pipeline.runtime.dask.cluster import open_executor

    settings = load_config(
        config, year=year, out=out, seed=seed, ingest__granules=granules, ingest__grid=grid, ingest__qc=qc,
        reference__path=reference, evaluation__regions=regions, training__iterations=iterations,
        training__sample_pixels=sample_pixels, training__target=target, training__tol=tol, training__w_gen=w_gen,
        inference__outputs=listed(outputs), ingest__as_of=day_of(as_of), inference__model_year=model_year,
        cluster__scheduler=scheduler, cluster__workers=workers,
    )  # fmt: skip
    with open_executor(settings.cluster) as (executor, _):
        found = make_plan(settings, executor, Terminal(), probe=probe)
    print_plan(found, settings)
    if json_file is not None:
        write_file(json_file, json.dumps(found.as_json(), indent=1) + "\n")
    found.check()

"""The command `sitscube plan`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.progress import Terminal
from pipeline.cli.command_line import with_options
from pipeline.cli.options import OPTIONS, configure

Probe = Annotated[bool, typer.Option("--probe/--no-probe", help="Do one shard, to know how long all would take.")]
Json = Annotated[Path | None, typer.Option("--json", help="File to write all of it to.")]


@with_options(*OPTIONS, "probe", "json_file")
def plan(probe: Probe = True, json_file: Json = None, **given: object) -> None:
    """Say what `sitscube run` would do, how long it would take, and whether it fits; nothing is changed."""
    from pipeline.base.files import write_file
    from pipeline.operations.plan.plan import make_plan
    from pipeline.operations.plan.table import print_plan
    from pipeline.runtime.dask.cluster import open_executor

    config = configure(given)
    with open_executor(config.cluster) as (executor, _):
        found = make_plan(config, executor, Terminal(), probe=probe)
    print_plan(found, config)
    if json_file is not None:
        write_file(json_file, json.dumps(found.as_json(), indent=1) + "\n")
    found.check()

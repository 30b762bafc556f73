"""The command `sitscube change`."""

from typing import Annotated

import typer

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.options import File, Scheduler, Workers
from pipeline.config.config import load_config

Years = Annotated[
    list[int] | None,
    typer.Option("--years", help="Years to compare; more of them may follow the first. Default: all there are."),
]
MoreYears = Annotated[list[int] | None, typer.Argument(metavar="[YEAR]...", help="Further years.", show_default=False)]
Out = Annotated[
    str | None, typer.Option(help="Folder or URL of all outputs; the change goes to OUT/REGION/change/YEAR-YEAR/.")
]


def change(
    more: MoreYears = None, years: Years = None, out: Out = None, config: File = None, scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:  # fmt: skip
    """Compare years of clusters.zarr: what changed, how sure that is, and areas with confidence intervals.

    `sitscube change --years 2018 2021` compares two; of more, each is compared with the next and the first with the
    last. Where both years have been evaluated against a reference map, areas of true transitions are estimated.
    """
    from pipeline.cube import clusters
    from pipeline.runtime.dask.cluster import open_executor
    from pipeline.stages.change.stage import change as compare_years
    from pipeline.stages.change.stage import pairs_of

    reporter = Terminal()
    settings = load_config(config, out=out, cluster__scheduler=scheduler, cluster__workers=workers)
    named = [*(years or ()), *(more or ())] or list(clusters.maps_of(settings.clusters))
    if not named:
        raise UserError(f"there is no {settings.clusters}: run `sitscube run` for two years with the same --out first.")
    pairs = pairs_of(named)
    with open_executor(settings.cluster) as (executor, dashboard):
        if dashboard:
            reporter.message(f"Dask dashboard: {dashboard}")
        for pair in pairs:
            result = compare_years(settings, pair, executor, reporter)
            if not result.fresh:
                reporter.message(f"{pair[0]}-{pair[1]}: nothing to do, it is finished with the same maps.")
            share = result.facts["changed_share"]
            told = "no cell is mapped in both" if share is None else f"{100 * share:.1f} % of the cells changed"
            reporter.message(f"{pair[0]}-{pair[1]}: {told}, {result.outputs[0]}")

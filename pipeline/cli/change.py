"""The command `sitscube change`."""

from typing import Annotated

import typer

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.command_line import MoreYears, with_options
from pipeline.cli.options import configure

Years = Annotated[
    list[int] | None,
    typer.Option("--years", help="Years to compare; more of them may follow the first. Default: all there are."),
]


@with_options(
    "out", "config_file", "scheduler", "workers",
    out="Folder or URL of all outputs; the change goes to OUT/REGION/change/YEAR-YEAR/.",
)  # fmt: skip
def compare_years(more: MoreYears = None, years: Years = None, **given: object) -> None:
    """Compare years of clusters.zarr: what changed, how sure that is, and areas with confidence intervals.

    `sitscube change --years 2018 2021` compares two; of more, each is compared with the next and the first with the
    last. Where both years have been evaluated against a reference map, areas of true transitions are estimated.
    """
    from pipeline.cube import clusters
    from pipeline.runtime.dask.cluster import open_executor
    from pipeline.stages.change.stage import change, pairs_of

    reporter = Terminal()
    config = configure(given)
    all_years = [*(years or ()), *(more or ())] or list(clusters.maps_of(config.clusters))
    if not all_years:
        raise UserError(f"there is no {config.clusters}: run `sitscube run` for two years with the same --out first.")
    pairs = pairs_of(all_years)
    with open_executor(config.cluster) as (executor, dashboard):
        if dashboard:
            reporter.message(f"Dask dashboard: {dashboard}")
        for pair in pairs:
            result = change(config, pair, executor, reporter)
            if not result.fresh:
                reporter.message(f"{pair[0]}-{pair[1]}: nothing to do, it is finished with the same maps.")
            share = result.facts["changed_share"]
            changed = "no cell is mapped in both" if share is None else f"{100 * share:.1f} % of the cells changed"
            reporter.message(f"{pair[0]}-{pair[1]}: {changed}, {result.outputs[0]}")

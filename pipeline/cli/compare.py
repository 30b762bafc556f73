"""The command `sitscube compare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.command_line import MoreYears, with_options
from pipeline.cli.options import config_file, configure, flag, overrides
from pipeline.config.config import load_config

Years = Annotated[
    list[int] | None, typer.Option("--years", help="Years to compare; more of them may follow the first.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Every method is trained with the seeds 0 to N - 1.", metavar="N")]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        help="joint, joint-w0 (no discriminator), mean-dec, crli, kmeans-mean, kmeans-linear, divided by commas; "
        "default: the first four.",
    ),
]
Hide = Annotated[
    float,
    typer.Option(
        min=0,
        max=0.9,
        help="Share of observations that is hidden to measure the filling; 0: none. With --data networks are trained "
        "once more for it, with the first seed only.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Instead of years: npz file with X (n, T) or (n, T, C), NaN = missing, and y (n,)."),
]
Clusters = Annotated[int | None, typer.Option(min=2, help="Number of clusters; default with --data: as y has classes.")]
Json = Annotated[Path | None, typer.Option("--json", help="File to write all rows to, one a method and seed.")]


@with_options(
    "out", "config_file", "methods", "data", "clusters", "iterations", "sample_pixels", "hide", "json_file",
    "scheduler", "workers",
    out="Folder of all outputs; the tables go to OUT/REGION/comparison/, with --data to OUT/FILE/comparison/ and only "
    "where --out is given.",
    config_file="TOML configuration; {year} in its name stands for the year.",
    iterations="Iterations of training, of every method that has some.",
)  # fmt: skip
def compare(
    more: MoreYears = None, years: Years = None, seeds: Seeds = 3, methods: Methods = None, data: Data = None,
    clusters: Clusters = None, hide: Hide = 0.1, json_file: Json = None, **given: object,
) -> None:  # fmt: skip
    """Train and judge the methods on years or on an array file: the paper's table.

    `sitscube compare --years 2018 2021 2022 --seeds 3` compares them on years of cubes, simulated unless configured
    otherwise; `sitscube compare --data FILE.npz --seeds 3 --json FILE` on series of your own.
    """
    from pipeline.base.files import write_file
    from pipeline.comparison.compare import check_failures, compare_methods
    from pipeline.comparison.methods import choose_methods
    from pipeline.comparison.trial import Trial
    from pipeline.reports.comparison_table import as_json, markdown
    from pipeline.runtime.dask.cluster import open_executor

    reporter = Terminal()
    chosen = choose_methods(key.strip() for keys in methods or () for key in keys.split(",") if key.strip())
    _check_json(json_file)
    all_years = [*(years or ()), *(more or ())]
    folder: Path | None
    if data is not None:
        _check_data_alone(all_years, given)
        from pipeline.comparison.data import DataTrial

        config = configure(given, training__clusters=clusters)
        trial = DataTrial(data, config, clusters, hide)
        for line in trial.lines():
            reporter.message(line)
        folder = None if given.get("out") is None else config.local_folder / data.stem / config.comparison.name
        rows, fillings = compare_methods([trial], chosen, seeds, folder, reporter)
    else:
        from pipeline.comparison.years import YearTrial, load_years

        file = config_file(given)
        if not all_years and file is not None and "{year}" in str(file):
            raise UserError(f"{file} stands for a file a year: name the years, as in --years 2018 2021.")
        configs = load_years(
            file, all_years or [load_config(file).year], **overrides(given), training__clusters=clusters
        )
        folder = configs[0].comparison
        with open_executor(configs[0].cluster) as (executor, dashboard):
            if dashboard:
                reporter.message(f"Dask dashboard: {dashboard}")
            trials: list[Trial] = [YearTrial(config, hide, executor, reporter) for config in configs]
            rows, fillings = compare_methods(trials, chosen, seeds, folder, reporter)
    typer.echo(markdown(rows, fillings))
    if json_file is not None:
        write_file(json_file, as_json(rows))
    if folder is not None:
        reporter.message(f"wrote {folder / 'table.md'}")
    check_failures(rows)


def _check_json(file: Path | None) -> None:
    """Refuse a file that cannot be written, before hours of training.

    Raises:
        UserError: it cannot be written, or is no file.
    """
    from pipeline.base.files import check_writable

    if file is not None:
        # the file is put in its place by renaming, which would replace /dev/null or /dev/stdout, too
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise UserError(f"--json {file} is a folder, a link or a device: name a file.")
        check_writable(file)


def _check_data_alone(years: list[int], given: Mapping[str, object]) -> None:
    """Refuse options that belong to a comparison on years.

    Raises:
        UserError: years or an option of cubes are given.
    """
    if years:
        raise UserError("--data and years exclude each other: compare one after the other.")
    of_cubes = [flag(name) for name in ("sample_pixels", "scheduler", "workers") if given.get(name) is not None]
    if of_cubes:
        raise UserError(f"{', '.join(of_cubes)}: nothing to do with --data, whose series are all trained on, here.")

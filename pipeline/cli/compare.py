"""The command `sitscube compare`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.errors import UserError
from pipeline.base.progress import Terminal
from pipeline.cli.options import SamplePixels, Scheduler, Workers
from pipeline.config.config import load_config

Years = Annotated[
    list[int] | None, typer.Option("--years", help="Years to compare; more of them may follow the first.")
]
MoreYears = Annotated[list[int] | None, typer.Argument(metavar="[YEAR]...", help="Further years.", show_default=False)]
Seeds = Annotated[int, typer.Option(min=1, help="Every method is trained with the seeds 0 to N - 1.", metavar="N")]
File = Annotated[
    Path | None, typer.Option("--config", help="TOML configuration; {year} in its name stands for the year.")
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Folder of all outputs; the tables go to OUT/REGION/comparison/, with --data to OUT/FILE/comparison/ and "
        "only where --out is given."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        help="joint, joint-w0 (no discriminator), mean-dec, crli, kmeans-mean, kmeans-linear, divided by commas; "
        "default: the first four.",
    ),
]
Iterations = Annotated[int | None, typer.Option(help="Iterations of training, of every method that has some.")]
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


def compare(
    more: MoreYears = None, years: Years = None, seeds: Seeds = 3, out: Out = None, config: File = None,
    methods: Methods = None, data: Data = None, clusters: Clusters = None, iterations: Iterations = None,
    sample_pixels: SamplePixels = None, hide: Hide = 0.1, json_file: Json = None, scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:  # fmt: skip
    """Train and judge the methods on years or on an array file: the paper's table.

    `sitscube compare --years 2018 2021 2022 --seeds 3` compares them on years of cubes, simulated unless configured
    otherwise; `sitscube compare --data FILE.npz --seeds 3 --json FILE` on series of your own.
    """
    from pipeline.base.files import check_writable, write_file
    from pipeline.comparison.compare import check_failures, compare_methods
    from pipeline.comparison.methods import choose_methods
    from pipeline.comparison.trial import Trial
    from pipeline.reports.comparison_table import as_json, markdown
    from pipeline.runtime.dask.cluster import open_executor

    reporter = Terminal()
    chosen = choose_methods(key.strip() for keys in methods or () for key in keys.split(",") if key.strip())
    if json_file is not None:
        # the file is put in its place by renaming, which would take that of /dev/null or /dev/stdout, too
        if json_file.is_symlink() or (json_file.exists() and not json_file.is_file()):
            raise UserError(f"--json {json_file} is a folder, a link or a device: name a file.")
        check_writable(json_file)
    all_years = [*(years or ()), *(more or ())]
    if data is None and not all_years and config is not None and "{year}" in str(config):
        raise UserError(f"{config} stands for a file a year: name the years, as in --years 2018 2021.")
    overrides = {
        "out": out, "training__iterations": iterations, "training__sample_pixels": sample_pixels,
        "training__clusters": clusters, "cluster__scheduler": scheduler, "cluster__workers": workers,
    }  # fmt: skip
    if data is not None:
        if all_years:
            raise UserError("--data and years exclude each other: compare one after the other.")
        of_cubes = {"--sample-pixels": sample_pixels, "--scheduler": scheduler, "--workers": workers}
        given = [name for name, value in of_cubes.items() if value is not None]
        if given:
            raise UserError(f"{', '.join(given)}: nothing to do with --data, whose series are all trained on, here.")
        from pipeline.comparison.data import DataTrial

        settings = load_config(config, **overrides)
        trial = DataTrial(data, settings, clusters, hide)
        for line in trial.lines():
            reporter.message(line)
        folder = None if out is None else settings.local_folder / data.stem / settings.comparison.name
        rows, fillings = compare_methods([trial], chosen, seeds, folder, reporter)
    else:
        from pipeline.comparison.years import YearTrial, load_years

        configs = load_years(config, all_years or [load_config(config).year], **overrides)
        folder = configs[0].comparison
        with open_executor(configs[0].cluster) as (executor, dashboard):
            if dashboard:
                reporter.message(f"Dask dashboard: {dashboard}")
            trials: list[Trial] = [YearTrial(one, hide, executor, reporter) for one in configs]
            rows, fillings = compare_methods(trials, chosen, seeds, folder, reporter)
    typer.echo(markdown(rows, fillings))
    if json_file is not None:
        write_file(json_file, as_json(rows))
    if folder is not None:
        reporter.message(f"wrote {folder / 'table.md'}")
    check_failures(rows)

"""Measure how early in a year its map can be trusted: labels at several dates against those of the whole year.

    python -m benchmarks.early_maps --out out --year 2021 --model-year 2018 [--composites 12 20 28 36 46]

`--out` is the folder of a finished `sitscube run` of the model's year, in which the observations of `--year` have been
simulated (`sitscube simulate --year 2021 --out out`). The map of each date is made in a temporary folder with the model
of the other year, as `sitscube run --year 2021 --model-year 2018 --as-of DAY` makes it. The output is a row a date: the
number of composites, the share of cells whose label is that of the whole year, and the overall accuracy by the
reference map of the whole year.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from pipeline.base.calendar import composite_dates, period_end
from pipeline.base.progress import Terminal
from pipeline.config.config import load_config
from pipeline.cube import layout, stores
from pipeline.cube.layout import MISSING
from pipeline.runtime.dask.cluster import open_executor
from pipeline.stages.evaluate import read_accuracy
from pipeline.stages.run import run_stage

STAGES = ("ingest", "prepare", "infer", "evaluate")


def early_map(out: Path, temporary: Path, year: int, model_year: int, n: int) -> tuple[np.ndarray, float]:
    """Return the labels (y, x) with the first n composites of a year, and their overall accuracy."""
    day = period_end(composite_dates(year)[n - 1].item(), "eight-day")
    settings: dict[str, object] = {
        "year": year,
        "out": temporary,
        "local": out,
        "ingest__as_of": day,
        "inference__model_year": model_year,
        "inference__outputs": ["label"],
        "cluster__scheduler": "local",
    }
    config = load_config(**settings)
    if not config.model.exists():
        shutil.copytree(out / config.region.name / str(model_year) / "model", config.model)
    with open_executor(config.cluster) as (executor, _):
        for stage in STAGES:
            run_stage(stage, config, executor, Terminal())
    accuracy = read_accuracy(config)
    assert accuracy is not None
    return np.asarray(layout.array(stores.open_to_read(config.map), "label")[:]), accuracy["overall_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.early_maps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--year", type=int, default=2021)
    parser.add_argument("--model-year", type=int, default=2018)
    parser.add_argument("--composites", type=int, nargs="+", default=[12, 20, 28, 36, 46])
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=options.out) as temporary:
        for n in sorted(options.composites):
            found[n] = early_map(options.out.absolute(), Path(temporary), options.year, options.model_year, n)
    whole, _ = found[max(found)]
    print("composites  last day    mapped    as the whole year  overall accuracy")
    for n, (label, accuracy) in found.items():
        both = (label != MISSING) & (whole != MISSING)
        last = period_end(composite_dates(options.year)[n - 1].item(), "eight-day")
        same = (label == whole)[both].mean()
        print(f"{n:10d}  {last}  {both.sum():8,d}  {100 * same:16.2f} %  {100 * accuracy:14.2f} %")


if __name__ == "__main__":
    main()

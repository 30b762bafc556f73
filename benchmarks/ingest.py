"""Measure what ingest costs, compared with merely reading the same layers, and how its memory grows with the country.

    python -m benchmarks.ingest --granules out/simulated/VNP15A2H/2018 [--memory]

The cost is the CPU time of `ingest` of a year, in process, at 1 km and at 463 m, divided by that of reading the same
three layers of the same granules whole with h5py, and with this project's reader. Each runs in a process of its own, in
turn.

The memory is the peak of one process that ingests at 463 m an area of 1, 4 and 16 times Italy's bounding box, from
made-up granules of four dates (the cube has all 46; missing dates are gaps). It needs about 6 GB of disk.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import h5py
import numpy as np
from shapely.geometry import box, mapping

LAYERS = ("Fpar", "FparLai_QC", "FparExtra_QC")
GRIDS = ("epsg3035-1km", "sinusoidal-463m")
DAYS = (1, 97, 193, 289)
WEST, SOUTH, WIDTH, HEIGHT = 6.6, 36.0, 12.0, 7.0  # degrees: about as many cells as Italy's bounding box


def read_with_h5py(folder: Path) -> None:
    """Read the layers of all granules whole with h5py."""
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            (grid,) = file["HDFEOS/GRIDS"].values()
            for name in LAYERS:
                grid["Data Fields"][name][:]


def read_with_ours(folder: Path) -> None:
    """Read all granules whole with this project's reader."""
    from pipeline.sources.viirs.granules import ViirsGranules

    source = ViirsGranules(folder, 2018, "standard", ())
    for path in sorted(folder.glob("*.h5")):
        (scene,) = source.check(path).scenes
        source.read(scene, slice(0, 2400), slice(0, 2400))


def ingest_year(folder: Path, grid: str, out: Path, **settings: object) -> None:
    """Ingest the granules of a folder."""
    from pipeline.config.config import load_config
    from pipeline.stages.ingest.stage import ingest

    ingest(load_config(year=2018, out=out, ingest__granules=folder, ingest__grid=grid, **settings))


def worker(task: str, folder: Path) -> None:
    """Do one task and print its CPU seconds and the peak memory of this process."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        if task == "memory":  # every size pays alike for imports and the first pages of the libraries
            outline = folder / "outline.geojson"
            started = time.process_time()
            settings = {"region__outline": outline, "region__name": "box", "ingest__max_missing_share": 1.0}
            ingest_year(folder, "sinusoidal-463m", Path(out), **settings)
        else:
            import pipeline.stages.ingest.stage  # noqa: F401  so that imports are not counted

            started = time.process_time()
            if task == "h5py":
                read_with_h5py(folder)
            elif task == "ours":
                read_with_ours(folder)
            else:
                ingest_year(folder, task, Path(out))
        seconds = time.process_time() - started
    print(json.dumps({"cpu": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(task: str, folder: Path) -> dict[str, float]:
    """Do one task in a process of its own and return its figures."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.ingest", "--worker", task, "--granules", str(folder)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def cost(folder: Path, rounds: int) -> None:
    """Print the CPU time of reading and of ingesting."""
    tasks = ("h5py", "ours", *GRIDS)
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            seconds[task].append(measure(task, folder)["cpu"])
    limit = float(np.median(seconds["h5py"]))
    print(f"{len(list(folder.glob('*.h5')))} granules, median of {rounds} rounds, one process at a time")
    for task in tasks:
        own = float(np.median(seconds[task]))
        print(f"  {task:<16} {own:6.1f} s of CPU   {own / limit:5.2f} times reading the layers with h5py")


def make_area(folder: Path, times: int) -> None:
    """Write granules of an area `times` as wide and as high, all land, on four dates."""
    from pipeline.sources.simulated.granules import granule_name, write_granule
    from pipeline.sources.viirs.names import tiles_touching

    area = box(WEST, SOUTH, WEST + times * WIDTH, SOUTH + times * HEIGHT)
    folder.mkdir()
    (folder / "outline.geojson").write_text(json.dumps(mapping(area)))
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(2400) // 50, np.arange(2400) // 50) % 60
    fpar = (smooth + rng.integers(0, 40, (2400, 2400), dtype=np.uint8)).astype(np.uint8)
    layers = {"Fpar": fpar, "FparLai_QC": np.full_like(fpar, 0x10), "FparExtra_QC": np.zeros_like(fpar)}
    for tile in tiles_touching(area):
        for day in DAYS:
            first = date(2018, 1, 1) + timedelta(days=day - 1)
            write_granule(folder / granule_name(tile, first), tile, first, layers)


def memory(scratch: Path) -> None:
    """Print the peak memory of ingesting areas of several sizes."""
    from pipeline.grid.grid import make_grid
    from pipeline.grid.polygons import read_outline

    for times in (1, 2, 4):
        folder = scratch / f"area-{times}"
        make_area(folder, times)
        found = measure("memory", folder)
        n = len(list(folder.glob("*.h5")))
        grid = make_grid("sinusoidal-463m", read_outline(folder / "outline.geojson"), 512, 128)
        cells = grid.shape[0] * grid.shape[1] / 1e6
        peak, cpu = found["peak_mb"], found["cpu"]
        print(f"  {cells:6.1f} million cells, {n:>3} granules: peak {peak:6.0f} MB, {cpu:6.1f} s of CPU")
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--granules", type=Path, default=Path("out/simulated/VNP15A2H/2018"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of cost")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.granules)
    elif arguments.memory:
        with tempfile.TemporaryDirectory() as scratch:
            memory(Path(scratch))
    else:
        cost(arguments.granules, arguments.rounds)


if __name__ == "__main__":
    main()

"""Reading granules: `pipeline.sources.viirs` against h5py's own slicing, and what checking and decoding cost.

    python benchmarks/reading_granules.py FOLDER --year 2018 [--files 8] [--repeats 5]

Both read the three layers that FPAR needs of whole granules of Italy's tiles, turn about. That they read the same is
checked first. Times are of the processor, in milliseconds a granule: the median over granules and repeats.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from shapely.geometry import box

from pipeline.sources.source import Scene
from pipeline.sources.viirs import LAYERS, ViirsGranules, policy_rules

ITALY = box(7.0, 37.0, 18.0, 46.5)
ALL = slice(None)


def by_library(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        (grid,) = file["HDFEOS/GRIDS"].values()
        return {name: grid[f"Data Fields/{name}"][:] for name in LAYERS}


def milliseconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--year", type=int, required=True)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    source = ViirsGranules(arguments.folder, arguments.year, "standard", policy_rules("standard"))
    paths = source.files(ITALY)
    paths = paths[:: max(1, len(paths) // arguments.files)][: arguments.files]
    times: dict[str, list[float]] = {}
    for path in paths:
        (scene,) = source.check(path).scenes
        raw = source.read(scene, ALL, ALL)
        for name, values in by_library(path).items():
            np.testing.assert_array_equal(raw[name], values)
        flat = {name: values.ravel() for name, values in raw.items()}
        for _ in range(arguments.repeats):
            for name, work in works(source, scene, flat).items():
                times.setdefault(name, []).append(milliseconds(work))
    print(f"{len(paths)} granules")
    for name, values in times.items():
        print(f"{name:<40}{statistics.median(values):8.1f}")


def works(source: ViirsGranules, scene: Scene, flat: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
    return {
        "check, with the digest": lambda: source.check(scene.path),
        "read by h5py": lambda: by_library(scene.path),
        "read": lambda: source.read(scene, ALL, ALL),
        "read 100 rows": lambda: source.read(scene, slice(1000, 1100), ALL),
        "decode 5.76 million pixels": lambda: source.decode(flat),
    }


if __name__ == "__main__":
    main()

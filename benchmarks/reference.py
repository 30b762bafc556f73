"""Measure what reducing a crop map costs, compared with merely reading it.

    python -m benchmarks.reference [--cells 30000] [--crs EPSG:3035] [--dtype int16] [--rounds 3] [--folder DIR]

The map has 10 m cells in EUCROPMAP's layout (LZW, tiles of 256 cells, one layer of class codes): parcels of about 100
to 300 m, crops that differ from district to district, woods and towns, and 1 % of stray cells. It is reduced to 1 km of
EPSG:3035, and read with rasterio by the same windows, in one process each, in turn. The output is wall time and
processor time of both, their ratios, and the peak memory of each. Reducing reads one window ahead in a thread: on the
clock both run at once where a core is free. The first round fills the disk cache and does not count. A map in
`--folder` is kept and used again.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rasterio.windows import Window

STRIP = 512  # rows that are made at once
DISTRICT = 1500  # cells along a side of a district with its own mix of crops
CORNERS = {"EPSG:3035": (4_200_000.0, 2_600_000.0, 10.0), "EPSG:4326": (9.0, 46.0, 1 / 11_132)}  # and cell size
CODES = np.array([100, 211, 212, 213, 215, 216, 217, 218, 222, 230, 231, 232, 233, 240, 250, 290, 300, 500, 600, 0])


def scrambled(*numbers: np.ndarray) -> np.ndarray:
    """Return numbers that look random, the same for the same input."""
    mixed = np.uint64(0x9E3779B97F4A7C15)
    for number in numbers:
        mixed = (mixed ^ number.astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def make_map(path: Path, cells: int, crs: str, dtype: str) -> None:
    """Write the crop map."""
    rng = np.random.default_rng(0)
    left, top, size = CORNERS[crs]
    districts = -(-cells // DISTRICT)
    mix = rng.dirichlet(np.full(len(CODES), 0.3), (districts, districts)).cumsum(axis=-1)
    lookup = np.minimum((mix[..., None, :] < (np.arange(1024) / 1024)[:, None]).sum(axis=-1), len(CODES) - 1)
    crops = CODES[lookup].astype(dtype) if dtype == "int16" else lookup.astype(np.uint8) + 1
    crops[crops == (0 if dtype == "int16" else len(CODES))] = 0
    across = rng.uniform(10, 30, 4 * cells).cumsum()  # edges of strips of parcels
    profile = {"driver": "GTiff", "count": 1, "nodata": 0, "compress": "lzw", "tiled": True, "blockxsize": 256}
    beside = path.with_suffix(".partial")
    with rasterio.open(
        beside, "w", width=cells, height=cells, dtype=dtype, crs=crs, blockysize=256,
        transform=from_origin(left, top, size, size), **profile,
    ) as file:  # fmt: skip
        column = np.arange(cells)
        for row in range(0, cells, STRIP):
            rows = np.arange(row, min(row + STRIP, cells))[:, None]
            along, over = 0.94 * column + 0.34 * rows, 0.34 * (cells - column) + 0.94 * rows
            strip = np.searchsorted(across, over)
            parcel = np.floor(along / (10 + (scrambled(strip) >> np.uint64(40)) % np.uint64(20)))
            draw = (scrambled(strip, parcel) >> np.uint64(20)) % np.uint64(1024)
            codes = crops[rows // DISTRICT, column // DISTRICT, draw]
            stray = rng.integers(0, codes.size, codes.size // 100)
            codes.flat[stray] = codes.flat[np.minimum(stray + 97, codes.size - 1)]
            file.write(codes, 1, window=Window(0, row, cells, len(rows)))
    beside.replace(path)


def grid_over(box: GeoBox) -> GeoBox:
    """Return the grid of 1 km of EPSG:3035 over a map."""
    bounds = box.extent.to_crs("EPSG:3035").boundingbox
    left, top = bounds.left // 1000 * 1000, -(-bounds.top // 1000) * 1000
    shape = -int((bounds.bottom - top) // 1000), -int((left - bounds.right) // 1000)
    return GeoBox(shape, from_origin(left, top, 1000, 1000), "EPSG:3035")


def worker(task: str, path: Path) -> None:
    """Do one task and print its wall time, processor time and peak memory."""
    from pipeline.references.geotiff import CACHE, GeoTiffMap, open_header
    from pipeline.references.majority import majority, windows
    from pipeline.references.placement import place

    source = GeoTiffMap(path, open_header(str(path), str(path), "a map")[0], None, "")
    grid = grid_over(source.geobox)
    with rasterio.open(path) as file:
        dtype = file.dtypes[0]
    codes = [int(code) for code in CODES if code] if dtype == "int16" else list(range(1, len(CODES)))
    started = time.perf_counter(), time.process_time()
    if task == "reduce":
        cells = int(majority(source, grid, codes).n_valid.sum())
    else:
        cells = 0
        rows, columns = place(source.geobox, grid).window()
        with rasterio.Env(GDAL_CACHEMAX=CACHE), rasterio.open(path) as file:
            for row, column in windows(rows, columns, source.block):
                window = Window(column.start, row.start, column.stop - column.start, row.stop - row.start)
                cells += file.read(1, window=window).size
    took = time.perf_counter() - started[0], time.process_time() - started[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"wall": took[0], "cpu": took[1], "peak": peak, "cells": cells}))


def run(task: str, path: Path, *options: str) -> dict[str, float]:
    """Do one task in a process of its own and return its figures."""
    command = [sys.executable, "-m", "benchmarks.reference", "--task", task, "--map", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=30_000, help="along each side of the map")
    parser.add_argument("--crs", choices=CORNERS, default="EPSG:3035")
    parser.add_argument("--dtype", choices=("int16", "uint8"), default="int16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the map is made and kept; default: one that is removed")
    parser.add_argument("--task", choices=("make", "read", "reduce"), help=argparse.SUPPRESS)
    parser.add_argument("--map", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task == "make":  # in a process of its own: children of this one would count its memory
        make_map(options.map, options.cells, options.crs, options.dtype)
        print("{}")
        return
    if options.task:
        worker(options.task, options.map)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"map-{options.crs.replace(':', '')}-{options.dtype}-{options.cells}.tif"
        if not path.exists():
            run("make", path, "--cells", str(options.cells), "--crs", options.crs, "--dtype", options.dtype)
        print(f"{path.name}: {options.cells} x {options.cells} cells, {path.stat().st_size / 1e6:.0f} MB")
        rounds = [{task: run(task, path) for task in ("read", "reduce")} for _ in range(options.rounds + 1)][1:]
    for clock in ("wall", "cpu"):
        seconds = {task: [one[task][clock] for one in rounds] for task in ("read", "reduce")}
        ratio = statistics.median(b / a for a, b in zip(seconds["read"], seconds["reduce"], strict=True))
        shown = ", ".join(f"{task} {' '.join(f'{s:.2f}' for s in of)} s" for task, of in seconds.items())
        print(f"{clock}: {shown}; ratio {ratio:.2f}")
    peaks = {task: max(one[task]["peak"] for one in rounds) for task in ("read", "reduce")}
    print(f"peak memory: read {peaks['read']:.0f} MB, reduce {peaks['reduce']:.0f} MB")


if __name__ == "__main__":
    main()

"""Measure the difficulty of the simulated Italy: gaps, areas, purity, a supervised forest and k-means at 1 km.

    python -m benchmarks.simulation_difficulty [--out DIR] [--years 2018 2021 2022] [--joint ITERATIONS] [--json FILE]

Granules are averaged without the ingest stage: a pixel belongs to the cell that contains its centre, and a cell has a
value where at least a quarter of its pixels are valid under the standard mask. A cell's crop is the most frequent
code of its reference cells, counted over all codes.
"""

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import rasterio
from odc.geo import CRS
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict

from pipeline.base.calendar import DAYS_OF_YEAR, composite_dates, period_of
from pipeline.config.config import Config, load_config
from pipeline.grid.polygons import read_outline
from pipeline.grid.sinusoidal import SINUSOIDAL
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.settings import Cluster
from pipeline.sources.viirs.codes import FILL, QUALITY
from pipeline.stages.simulate.stage import simulate
from pipeline.stages.sources import open_source

WINTER, SUMMER = (211, 212, 213, 214, 218, 232), (216, 217, 231, 233)
SEASONS = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}
LEAST_VALID = 0.25
REGIONS = {  # degrees: west, south, east, north
    "north": (6.0, 44.3, 14.5, 47.5),
    "centre": (9.5, 41.4, 14.5, 44.3),
    "south": (13.7, 37.8, 19.0, 41.9),
    "sicily": (12.0, 36.0, 15.7, 38.4),
    "sardinia": (8.0, 38.5, 10.0, 41.5),
}


def read_series(config: Config, origin: tuple[float, float], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read the series of the cells (46, cells) float32 with NaN, and the share of gaps over land pixels by date."""
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    total = np.zeros(shape[0] * shape[1])
    source = open_source(config)
    granules = [source.check(path).scenes[0] for path in source.files(read_outline(config.region.outline))]
    for granule in granules[:4]:
        land = source.read(granule, slice(None), slice(None))[QUALITY] != FILL
        pixel = np.flatnonzero(land)
        if pixel.size:
            x, y = granule.geobox.transform @ (pixel % 2400 + 0.5, pixel // 2400 + 0.5)
            x, y = SINUSOIDAL.transformer_to_crs(CRS("EPSG:3035"))(x, y)
            row, column = np.floor((origin[1] - y) / 1000), np.floor((x - origin[0]) / 1000)
            places[granule.place] = pixel, (row * shape[1] + column).astype(np.int64)
            total += np.bincount(places[granule.place][1], minlength=total.size)
    count = np.zeros((len(DAYS_OF_YEAR), total.size), np.float32)
    summed = np.zeros_like(count)
    gaps = np.zeros((len(DAYS_OF_YEAR), 2))
    for granule in granules:
        if granule.place not in places:
            continue
        pixel, cell = places[granule.place]
        step = period_of(granule.day, "eight-day")
        layers = {k: v.ravel()[pixel] for k, v in source.read(granule, slice(None), slice(None)).items()}
        decoded = source.decode(layers)
        valid, static = decoded.valid["fpar"], decoded.static
        gaps[step] += (~valid & ~static).sum(), (~static).sum()
        count[step] += np.bincount(cell, valid, minlength=total.size)
        summed[step] += np.bincount(cell, valid * layers["Fpar"].astype(float), minlength=total.size)
    enough = (count > 0) & (count >= LEAST_VALID * total)
    return np.where(enough, np.rint(summed / np.maximum(count, 1)), np.nan), gaps[:, 0] / gaps[:, 1]


def read_reference(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float], tuple[int, int]]:
    """Read the most frequent code and its share in each 1 km cell, and the origin and shape of the grid."""
    with rasterio.open(path) as file:
        codes, side = file.read(1), round(1000 / file.res[0])
        origin = file.bounds.left, file.bounds.top
    rows, columns = codes.shape[0] // side, codes.shape[1] // side
    cells = codes.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, -1)
    legend = np.unique(codes)
    counts = np.stack([(cells == code).sum(axis=1) for code in legend], axis=1)
    return legend[counts.argmax(axis=1)], counts.max(axis=1) / side**2, origin, (rows, columns)


def matched_accuracy(labels: np.ndarray, truth: np.ndarray) -> float:
    """Return the accuracy under the best one-to-one matching of cluster labels to classes."""
    table = np.zeros((2, 2))
    np.add.at(table, (labels, truth), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(truth))


def mean_filled(series: np.ndarray) -> np.ndarray:
    """Fill gaps with the mean of each pixel's observations."""
    return np.where(np.isnan(series), np.nanmean(series, axis=1, keepdims=True), series)


def forest_accuracy(series: np.ndarray, truth: np.ndarray) -> float:
    """Return the cross-validated accuracy of a random forest: with gaps or mean-filled, whichever is better."""

    def accuracy(features: np.ndarray) -> float:
        forest = RandomForestClassifier(200, min_samples_leaf=2, n_jobs=1, random_state=0)
        return float((cross_val_predict(forest, features, truth, cv=5) == truth).mean())

    return max(accuracy(series), accuracy(mean_filled(series)))


def area_by_region(
    code: np.ndarray, mask: np.ndarray, origin: tuple[float, float], columns: int
) -> dict[str, dict[str, float]]:
    """Return thousands of km2 of winter and summer cells by region."""
    cell = np.flatnonzero(mask)
    x, y = origin[0] + (cell % columns + 0.5) * 1000, origin[1] - (cell // columns + 0.5) * 1000
    longitude, latitude = CRS("EPSG:3035").transformer_to_crs(CRS("EPSG:4326"))(x, y)
    areas = {}
    for name, (west, south, east, north) in REGIONS.items():
        here = (longitude > west) & (longitude < east) & (latitude > south) & (latitude < north)
        areas[name] = {
            "winter": round(int(np.isin(code[cell[here]], WINTER).sum()) / 1000, 1),
            "summer": round(int(np.isin(code[cell[here]], SUMMER).sum()) / 1000, 1),
        }
    return areas


def measure(config: Config, sample: int = 12_000, joint: int = 0) -> dict[str, object]:
    """Return all figures of one simulated year.

    Args:
        config: of a year that is simulated already.
        sample: number of cells for the forest and k-means.
        joint: iterations of the joint network; 0: it is left out.
    """
    code, purity, origin, shape = read_reference(config.reference_path)
    series, gaps = read_series(config, origin, shape)
    months = composite_dates(config.year).astype("datetime64[M]").astype(int) % 12 + 1
    used = np.isin(code, (*WINTER, *SUMMER)) & np.isfinite(series).any(axis=0)
    x, y = series[:, used].T.astype(np.float32), np.isin(code[used], SUMMER).astype(int)
    codes, counts = np.unique(code[code > 0], return_counts=True)
    figures: dict[str, object] = {
        "year": config.year,
        "gaps by month": {int(m): round(float(gaps[months == m].mean()), 3) for m in range(1, 13)},
        "gaps by season": {name: round(float(gaps[np.isin(months, of)].mean()), 3) for name, of in SEASONS.items()},
        "thousand km2 by code": {int(c): round(int(n) / 1000, 1) for c, n in zip(codes, counts, strict=True)},
        "thousand km2 by region": area_by_region(code, used, origin, shape[1]),
        "cells": int(used.sum()),
        "share winter": round(1 - float(y.mean()), 3),
        "purity 10/50/90 %": np.percentile(purity[used], [10, 50, 90]).round(2).tolist(),
        "missing in cells": round(float(np.isnan(x).mean()), 3),
    }
    some = np.random.default_rng(0).permutation(len(y))[:sample]
    x, y = x[some], y[some]
    clusters = [KMeans(2, n_init=20, random_state=seed).fit_predict(mean_filled(x)) for seed in range(3)]
    figures["random forest"] = round(forest_accuracy(x, y), 4)
    figures["k-means"] = [round(matched_accuracy(labels, y), 4) for labels in clusters]
    if joint:
        figures["joint"] = joint_accuracy(x, y, joint)
    return figures


def joint_accuracy(x: np.ndarray, y: np.ndarray, iterations: int) -> dict[str, float]:
    """Return the accuracy of the joint network without and with its discriminator."""
    from model import JointClustering

    accuracies = {}
    for name, options in {"w_gen 0": {"w_gen": 0.0}, "default": {}}.items():
        start = time.perf_counter()
        network = JointClustering(n_iter=iterations, preset="robust", random_state=0, device="cpu", **options).fit(x)
        accuracies[name] = round(matched_accuracy(network.predict(x), y), 4)
        accuracies[f"{name}, seconds"] = round(time.perf_counter() - start)
    return accuracies


def main() -> None:
    """Simulate the years that are missing, measure each, and print or write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation_difficulty",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder of the simulated data; default: a temporary one")
    parser.add_argument("--years", type=int, nargs="+", default=[2018, 2021, 2022])
    parser.add_argument("--sample", type=int, default=12_000, help="cells that forest, k-means and network see")
    parser.add_argument("--joint", type=int, default=0, help="iterations of the joint network; 0: leave it out")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message="Mean of empty slice")
    with tempfile.TemporaryDirectory() as temporary:
        results = []
        for year in given.years:
            config = load_config(year=year, out=given.out or Path(temporary))
            start = time.perf_counter()
            with open_executor(Cluster(scheduler="local", workers=2)) as (executor, _):
                fresh = simulate(config, executor).fresh
            seconds = round(time.perf_counter() - start, 1) if fresh else None
            results.append({**measure(config, given.sample, given.joint), "simulated in seconds": seconds})
            print(json.dumps(results[-1], indent=2), flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

"""A cluster cube with given labels, and reduced reference maps beside it: the inputs of change."""

import json
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping

from pipeline.base.fingerprint import fingerprint_of
from pipeline.config.config import Config, load_config
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid
from pipeline.grid.polygons import LONLAT, project

SIDE, SHARD, CHUNK, CELL = 40, 16, 8, 1000.0
SIMULATED = "yes: a test"


def make_grid(side: int = SIDE) -> Grid:
    geobox = GeoBox((side, side), Affine(CELL, 0, 4_300_000, 0, -CELL, 2_500_000), CRS("EPSG:3035"))
    return Grid("epsg3035-1km", geobox, SHARD, CHUNK)


def make_config(out: Path, **settings: object) -> Config:
    """Return a configuration whose region contains the grid."""
    out.mkdir(parents=True, exist_ok=True)
    left, bottom, right, top = make_grid().geobox.boundingbox
    edge = box(left, bottom, right, top).buffer(2000, join_style="mitre")
    (out / "outline.geojson").write_text(json.dumps(mapping(project(edge, CRS("EPSG:3035"), LONLAT))))
    return load_config(out=out, region__name="made", region__outline=out / "outline.geojson", **settings)


def write_clusters(
    config: Config,
    labels: dict[int, np.ndarray],
    confidence: dict[int, np.ndarray] | None = None,
    names: str | dict[int, str] = "winter summer",
) -> None:
    """Write the cluster cube with these labels (y, x) by year; confidence is 90 % everywhere unless given."""
    years = sorted(labels)
    grid = make_grid(labels[years[0]].shape[0])
    of_year = {str(year): names if isinstance(names, str) else names[year] for year in years}
    about = {
        "simulated": SIMULATED,
        "label_names": of_year,
        "maps": {str(year): fingerprint_of(labels[year].tolist()) for year in years},
    }
    meanings = {"flag_meanings": of_year[str(years[0])]}
    layers = [layout.Layer("label", meanings, ("year",)), layout.Layer("confidence", {}, ("year",))]
    axes = [layout.Axis("year", np.array(years, np.int32), grows=True)]
    group = stores.create(config.clusters, "publish", "mark", grid, layers, axes=axes, about=about)
    sure = confidence or {year: np.where(labels[year] == 255, 255, 90) for year in years}
    for k, year in enumerate(years):
        layout.array(group, "label")[k] = labels[year].astype(np.uint8)
        layout.array(group, "confidence")[k] = sure[year].astype(np.uint8)
    stores.finish(group, "publish", "mark")


def write_reference(config: Config, year: int, season: np.ndarray, n_valid: np.ndarray | None = None) -> None:
    """Write the reduced reference map of a year with these seasons (y, x), 255 = none."""
    grid = make_grid(season.shape[0])
    path = config.model_copy(update={"year": year}).reference_grid
    layers = [layout.Layer("season", {}), layout.Layer("n_valid", {}, dtype="uint32", fill=0)]
    about = {"source": f"crops_{year}.tif", "simulated": ""}
    group = stores.create(path, "reference", f"mark-{int(season.sum())}", grid, layers, about=about)
    layout.array(group, "season")[:] = season.astype(np.uint8)
    layout.array(group, "n_valid")[:] = np.full(season.shape, 100, np.uint32) if n_valid is None else n_valid
    stores.finish(group, "reference", f"mark-{int(season.sum())}")

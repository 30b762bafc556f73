"""The report of a year: one self-contained HTML page that needs no network."""

import base64
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import tomli_w
import zarr
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline import figures, layout, stores
from pipeline.channels import filled_name, read_channels, spread_names, to_physical, width_channel
from pipeline.config import Config
from pipeline.grid import LONLAT, project, read_outline
from pipeline.infer import load_model
from pipeline.map_layers import CONFIDENCE, SEASON_NAMES
from pipeline.sources.source import Channel
from pipeline.summary import read_summary
from pipeline.train import read_history, read_record
from pipeline.watched import Watched, read_watched

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PACKAGES: Final = ("torch", "numpy", "scikit-learn", "zarr", "xarray", "dask", "h5py", "rasterio")
_CROPLAND: Final = {
    "reference": "those whose most frequent class in the reference map is a crop",
    "biome": "those of a crop biome in the granules",
    "all": "all of the region, whatever their land cover",
}
_EXAMPLES: Final = 2  # filled series shown of every label
_WIDEST: Final = 2000  # cells along an edge of the picture


@dataclass(frozen=True)
class Page:
    """The report and its pictures, as PNG by name."""

    html: str
    pictures: dict[str, bytes]


def make(config: Config, accuracy: dict[str, Any] | None, comparison: str | None = None) -> Page:
    """Draw the figures and write the page.

    Args:
        config: of the year, whose cube, model and map are finished.
        accuracy: the figures of the evaluation, or None where there was no reference map.
        comparison: a section as HTML that compares methods, if they were compared.
    """
    cube, result = stores.open_to_read(config.cube), stores.open_to_read(config.map)
    names = layout.attributes(layout.array(result, "label"))["flag_meanings"].split()
    what = "cropland by season" if names == list(SEASON_NAMES) else "clusters, by the date of their peak"
    observations = _observations(cube)
    dates, channels = layout.read_dates(cube), read_channels(cube)
    record, history = read_record(config.model) or {}, read_history(config.model)
    estimator = load_model(config.model)
    reference = stores.find(config.reference_grid) if accuracy else None
    watched = read_watched(estimator, config.model, cube, result, reference)
    pictures = {
        "map": _map(config, result, names, what),
        "profiles": figures.profiles(dates, estimator.cluster_profiles_, names, [_quantity(c) for c in channels]),
        "gaps": figures.gaps(dates, observations.missing),
        "training": figures.training(history, names),
    }
    if _holds_series(result, channels):
        pictures["series"] = figures.filled_series(dates, _examples(result, cube, names), n_channels=len(channels))
    if isinstance(watched, Watched):
        pictures |= _watched_pictures(watched, names, dates, channels[0])
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.2f} %"
    html = environment.get_template("report.html").render(
        config=config,
        accuracy=accuracy,
        names=names,
        what=what,
        simulated=layout.attributes(cube)["simulated"],
        cube=layout.attributes(cube),
        channels=[_quantity(channel) for channel in channels],
        cropland=_CROPLAND[layout.attributes(cube)["cropland"]],
        labels=_labels(result, names),
        observations=observations,
        n_dates=len(dates),
        gap_share=float(observations.missing.mean()),
        training=record.get("facts", {}),
        events=[_event_in_words(line) for line in history if line["phase"] == "event"],
        watched=watched,
        comparison=comparison,
        times=read_summary(config.year_folder),
        versions={"sitscube": version("sitscube"), "Python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        fingerprints={"cube": layout.attributes(cube)["fingerprint"], "map": layout.attributes(result)["fingerprint"]},
        toml=tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)),
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
    )
    return Page(html, pictures)


def _labels(result: zarr.Group, names: list[str]) -> list[dict[str, Any]]:
    """Cells, area and mean confidence of every label; without cells, or where it is switched off, that is None."""
    known = CONFIDENCE in stores.layer_names(result)
    grid = layout.read_grid(result)
    cells, confidence = np.zeros(len(names), np.int64), np.zeros(len(names))
    for shard in grid.shards:
        window = grid.window(shard)
        label = stores.read_window(result, "label", window)
        mapped = label != layout.MISSING
        cells += np.bincount(label[mapped], minlength=len(names))
        if known:
            percent = stores.read_window(result, CONFIDENCE, window)[mapped]
            confidence += np.bincount(label[mapped], percent, minlength=len(names))
    transform = grid.geobox.transform
    area = abs(transform.a * transform.e - transform.b * transform.d) / 1e6
    return [
        {"name": name, "cells": int(n), "area": area * int(n), "confidence": total / (100 * n) if n and known else None}
        for name, n, total in zip(names, cells, confidence, strict=True)
    ]


def _holds_series(result: zarr.Group, channels: tuple[Channel, ...]) -> bool:
    """Whether the map holds filled series and their spread, which may be switched off."""
    return {*map(filled_name, channels), *spread_names(channels)} <= stores.layer_names(result)


def _quantity(channel: Channel) -> str:
    """A channel's name and unit, for axes."""
    return channel.name if channel.units == "1" else f"{channel.name} ({channel.units})"


def _watched_pictures(watched: Watched, names: list[str], dates: np.ndarray, channel: Channel) -> dict[str, bytes]:
    """Embedding and imputation at several iterations, by season of the reference, or by label where there is none."""
    classes, class_names, agreeing = watched.labels, names, None
    if watched.seasons is not None:
        classes, class_names = watched.seasons, list(SEASON_NAMES)
        agreeing = watched.labels if names == class_names else None
    pictures = {"embedding": figures.embedding(watched.snapshots, classes, class_names)}
    with_curve = slice(len(watched.series))
    shown = classes[with_curve] < len(class_names)
    if agreeing is not None:
        shown &= classes[with_curve] == agreeing[with_curve]
    if shown.any():
        pictures["imputation"] = figures.imputation(
            watched.snapshots, watched.series, classes, class_names, dates, agreeing, quantity=_quantity(channel)
        )
    return pictures


def _event_in_words(event: dict[str, Any]) -> str:
    """What happened in training, when, and what was done about it."""
    when = next((f" ({key} {event[key]:,})" for key in ("iteration", "epoch") if key in event), "")
    rate = event.get("learning_rate")
    return f"{event['event']}{when}" + ("" if rate is None else f": learning rate lowered to {rate:.3g}")


def _map(config: Config, result: zarr.Group, names: list[str], what: str) -> bytes:
    grid = layout.read_grid(result)
    step = max(1, -(-max(grid.shape) // _WIDEST))
    label = np.asarray(layout.array(result, "label")[::step, ::step])
    outline = project(read_outline(config.region.outline), LONLAT, grid.geobox.crs)
    title = f"{config.region.name.capitalize()} {config.year}: {what}"
    if layout.attributes(result)["simulated"]:
        title += " (simulated)"
    return figures.seasons_map(label, grid.geobox, outline, names, title)


@dataclass(frozen=True)
class Observations:
    """How the mapped cells were observed."""

    missing: np.ndarray  # (T,) share of cells that each date leaves without observation
    cells: int
    longest_gap: float  # mean, in dates

    @property
    def n_observed(self) -> float:
        """Dates on which a cell was observed, in the mean."""
        return float((1 - self.missing).sum())


def _observations(cube: zarr.Group) -> Observations:
    grid = layout.read_grid(cube)
    missing, cells, gap = np.zeros(layout.array(cube, "time").shape[0], np.int64), 0, 0
    for shard in grid.shards:
        window = grid.window(shard)
        mask = stores.read_window(cube, "mask", window) == 1
        if mask.any():
            missing += (stores.read_window(cube, "observed", window)[:, mask] == 0).sum(axis=1)
            gap += int(stores.read_window(cube, "longest_gap", window)[mask].sum())
            cells += int(mask.sum())
    return Observations(missing / max(1, cells), cells, gap / max(1, cells))


def _examples(result: zarr.Group, cube: zarr.Group, names: list[str]) -> list[dict[str, Any]]:
    """For every label some cells with an average number of gaps, from the shard that has most cells of that label.

    Each cell gives one example a channel.
    """
    grid, n_dates = layout.read_grid(cube), layout.array(cube, "time").shape[0]
    found = []
    for k, name in enumerate(names):
        counts = {s: int((stores.read_window(result, "label", grid.window(s)) == k).sum()) for s in grid.shards}
        shard = max(counts, key=lambda s: counts[s])
        rows, columns = grid.window(shard)
        y, x = np.nonzero(stores.read_window(result, "label", (rows, columns)) == k)
        if not len(y):
            continue
        observed = stores.read_window(cube, "n_observed", (rows, columns))[y, x]
        middling = np.flatnonzero(observed == np.sort(observed)[len(observed) // 2])
        for pick in middling[np.linspace(0, len(middling) - 1, _EXAMPLES).astype(int)]:
            i, j = rows.start + int(y[pick]), columns.start + int(x[pick])
            colour = figures.colours(len(names))[k]
            for series in _series_at(result, cube, i, j):
                n_seen = int(np.isfinite(series["observed"]).sum())
                about = f"{name}, row {i}, column {j}: {n_seen} of {n_dates} observed"
                found.append({"title": about, "colour": colour, **series})
    return found


def _series_at(result: zarr.Group, cube: zarr.Group, i: int, j: int) -> list[dict[str, Any]]:
    """Observed and filled series of a cell, one dictionary a channel."""
    at = (slice(i, i + 1), slice(j, j + 1))
    channels = read_channels(cube)
    return [
        {
            "channel": channel.name,
            "range": (to_physical(np.array(channel.valid_range), channel)).tolist(),
            "observed": to_physical(stores.read_window(cube, channel.name, at)[:, 0, 0], channel),
            "filled": to_physical(stores.read_window(result, filled_name(channel), at)[:, 0, 0], channel),
            "spread": to_physical(stores.read_window(result, spread, at)[:, 0, 0], width_channel(channel)),
        }
        for channel, spread in zip(channels, spread_names(channels), strict=True)
    ]

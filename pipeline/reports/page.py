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

from pipeline.base.channel import Channel
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import filled_name, read_channels, spread_names, to_physical, width_channel
from pipeline.cube.label_names import SEASON_NAMES, in_words
from pipeline.cube.map_layers import CONFIDENCE
from pipeline.cube.trained_model import load_model, read_history, read_record
from pipeline.grid.grid import cell_area_km2, is_equal_area
from pipeline.reports import figures
from pipeline.reports.inputs import inputs
from pipeline.reports.maps import maps
from pipeline.reports.observations import observations
from pipeline.reports.snapshots import NoSnapshots, Snapshots, read_watched
from pipeline.runtime.summary import read_summary

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PACKAGES: Final = ("torch", "numpy", "scikit-learn", "zarr", "xarray", "dask", "h5py", "rasterio")
_CROPLAND: Final = {
    "reference": "those whose most frequent class in the reference map is a crop",
    "biome": "those of a crop biome in the granules",
    "all": "all of the region, whatever their land cover",
}
_EXAMPLES: Final = 2  # filled series shown of every label


@dataclass(frozen=True)
class Page:
    """The report and its pictures, as PNG by name."""

    html: str
    pictures: dict[str, bytes]


def make(
    config: Config, accuracy: dict[str, Any] | None, comparison: str | None = None, change: str | None = None
) -> Page:
    """Draw the figures and write the page.

    Args:
        config: of the year, whose cube, model and map are finished.
        accuracy: the figures of the evaluation, or None where there was no reference map.
        comparison: a section as HTML that compares methods, if they were compared.
        change: a section as HTML on the changes between years, if there are several.
    """
    cube, result = stores.open_to_read(config.cube), stores.open_to_read(config.map)
    labels = layout.attributes(layout.array(result, "label"))["flag_meanings"].split()
    names = [in_words(name) for name in labels]
    what = "cropland by season" if labels == list(SEASON_NAMES) else "clusters, by the date of their peak"
    observed = observations(cube)
    dates, channels = layout.read_dates(cube), read_channels(cube)
    record, history = read_record(config.model) or {}, read_history(config.model)
    estimator = load_model(config.model)
    reference = stores.find(config.reference_grid) if accuracy else None
    watched: Snapshots | NoSnapshots = NoSnapshots("the model was trained on another year")
    if config.trains:
        watched = read_watched(estimator, config.model, cube, result, reference)
    pictures = {
        **maps(config, cube, result, reference, names, what, accuracy),
        "profiles": figures.profiles(dates, estimator.cluster_profiles_, names, [_quantity(c) for c in channels]),
        "gaps": figures.gaps(dates, observed.missing),
        "gaps_by_latitude": figures.gaps_by_latitude(dates, observed.by_latitude, observed.edges),
        "training": figures.training(history, names),
    }
    if accuracy is not None:
        pictures |= _accuracy_pictures(accuracy, config.region.name)
    if _holds_series(result, channels):
        pictures["series"] = figures.filled_series(dates, _examples(result, cube, names), n_channels=len(channels))
    if isinstance(watched, Snapshots):
        pictures |= _watched_pictures(watched, names, dates, channels[0])
    html = (
        _environment()
        .get_template("report.html")
        .render(
            config=config,
            accuracy=accuracy,
            names=names,
            what=what,
            simulated=layout.attributes(cube)["simulated"],
            cube=layout.attributes(cube),
            channels=[_quantity(channel) for channel in channels],
            cropland=_CROPLAND[layout.attributes(cube)["cropland"]],
            labels=_labels(result, names),
            model_year=layout.attributes(result).get("model_year", config.year),
            equal_area=is_equal_area(layout.read_grid(result).geobox),
            observations=observed,
            n_dates=len(dates),
            gap_share=float(observed.missing.mean()),
            training=record.get("facts", {}),
            events=[_event_in_words(line) for line in history if line["phase"] == "event"],
            watched=watched,
            comparison=comparison,
            change=change,
            times=read_summary(config.year_folder),
            inputs=inputs(config, cube, result, accuracy),
            versions={"sitscube": version("sitscube"), "Python": platform.python_version()}
            | {name: version(name) for name in _PACKAGES},
            fingerprints={
                "cube": layout.attributes(cube)["fingerprint"],
                "map": layout.attributes(result)["fingerprint"],
            },
            toml=tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)),
            pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        )
    )
    return Page(html, pictures)


def _environment() -> Environment:
    """Templates, and how they write numbers; what is not known is a dash."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        percent=lambda value: "–" if value is None else f"{100 * value:.2f} %",
        whole=lambda value: "–" if value is None else f"{value:,.0f}",
        decimals=lambda value: "–" if value is None else f"{value:.3f}",
        interval=_interval,
        percent_interval=lambda estimate: _interval(estimate, 100, 1),
    )
    return environment


def _interval(estimate: dict[str, Any] | None, scale: float = 1, digits: int = 0) -> str:
    """An estimate with its 95 % confidence interval: 12,345 (12,000–12,690)."""
    if estimate is None or estimate["value"] is None:
        return "–"
    value, low, high = (
        None if estimate[key] is None else f"{scale * estimate[key]:,.{digits}f}" for key in ("value", "low", "high")
    )
    return f"{value}" if low is None else f"{value} ({low}–{high})"


def _accuracy_pictures(accuracy: dict[str, Any], region: str) -> dict[str, bytes]:
    based = accuracy["design_based"]
    parts = [{"name": f"all of {region.capitalize()}", **based["country"]}, *based["regions"]]
    return {
        "accuracy": figures.accuracy_by(accuracy["by_purity"], accuracy["by_observations"]),
        "areas": figures.area_bars(parts, accuracy["seasons"]),
    }


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
    area = cell_area_km2(grid.geobox)
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


def _watched_pictures(watched: Snapshots, names: list[str], dates: np.ndarray, channel: Channel) -> dict[str, bytes]:
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

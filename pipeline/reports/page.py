"""The report of a year: one self-contained HTML page that needs no network."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import tomli_w
import zarr

from model import JointClustering
from pipeline.base.channel import Channel
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.label_names import SEASON_NAMES, in_words
from pipeline.cube.trained_model import load_model, read_history, read_record
from pipeline.grid.grid import is_equal_area
from pipeline.reports import figures
from pipeline.reports.examples import examples, has_filled_series
from pipeline.reports.html import embedded, render
from pipeline.reports.inputs import inputs
from pipeline.reports.labels import label_rows
from pipeline.reports.maps import maps
from pipeline.reports.observations import Observations, observations
from pipeline.reports.snapshots import NoSnapshots, Snapshots, read_snapshots
from pipeline.runtime.summary import read_summary

_PACKAGES: Final = ("torch", "numpy", "scikit-learn", "zarr", "xarray", "dask", "h5py", "rasterio")
_CROPLAND: Final = {
    "reference": "those whose most frequent class in the reference map is a crop",
    "biome": "those of a crop biome in the granules",
    "all": "all of the region, whatever their land cover",
}


@dataclass(frozen=True)
class Page:
    """The report and its pictures, as PNG by name."""

    html: str
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class _Year:
    """The finished stores of a year, and what the page's parts share."""

    config: Config
    cube: zarr.Group
    result: zarr.Group  # the map
    reference: zarr.Group | None  # reduced to the grid; None where nothing was compared with it
    accuracy: Mapping[str, Any] | None  # the content of accuracy.json
    names: list[str]  # of the labels, for people
    what: str  # the labels are
    dates: np.ndarray  # (T,)
    channels: tuple[Channel, ...]
    observed: Observations
    estimator: JointClustering
    history: Sequence[Mapping[str, Any]]  # lines of history.jsonl
    snapshots: Snapshots | NoSnapshots


def make_page(
    config: Config, accuracy: Mapping[str, Any] | None, comparison: str | None = None, change: str | None = None
) -> Page:
    """Draw the figures and write the page.

    Args:
        config: of the year, whose cube, model and map are finished.
        accuracy: the content of accuracy.json, or None where there was no reference map.
        comparison: HTML of a section that compares methods, if they were compared.
        change: HTML of a section on the changes between years, if there are several.

    Raises:
        UserError: a store or the model is damaged.
    """
    year = _read_year(config, accuracy)
    pictures = _pictures(year)
    about_cube, about_map = layout.attributes(year.cube), layout.attributes(year.result)
    html = render(
        "report.html",
        config=config,
        accuracy=accuracy,
        names=year.names,
        what=year.what,
        simulated=about_cube["simulated"],
        cube=about_cube,
        channels=[_quantity(channel) for channel in year.channels],
        cropland=_CROPLAND[about_cube["cropland"]],
        labels=label_rows(year.result, year.names),
        model_year=about_map.get("model_year", config.year),
        equal_area=is_equal_area(layout.read_grid(year.result).geobox),
        observations=year.observed,
        n_dates=len(year.dates),
        gap_share=float(year.observed.missing.mean()),
        training=(read_record(config.model) or {}).get("facts", {}),
        events=[event_in_words(line) for line in year.history if line["phase"] == "event"],
        snapshots=year.snapshots,
        comparison=comparison,
        change=change,
        times=read_summary(config.year_folder),
        inputs=inputs(config, year.cube, year.result, accuracy),
        versions=_versions(),
        fingerprints={"cube": about_cube["fingerprint"], "map": about_map["fingerprint"]},
        toml=tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)),
        pictures={name: embedded(png) for name, png in pictures.items()},
    )
    return Page(html, pictures)


def _read_year(config: Config, accuracy: Mapping[str, Any] | None) -> _Year:
    cube, result = stores.open_to_read(config.cube), stores.open_to_read(config.map)
    labels = layout.attributes(layout.array(result, "label"))["flag_meanings"].split()
    estimator = load_model(config.model)
    reference = stores.find(config.reference_grid) if accuracy else None
    snapshots: Snapshots | NoSnapshots = NoSnapshots("the model was trained on another year")
    if config.trains:
        snapshots = read_snapshots(estimator, config.model, cube, result, reference)
    return _Year(
        config,
        cube,
        result,
        reference,
        accuracy,
        names=[in_words(name) for name in labels],
        what="cropland by season" if labels == list(SEASON_NAMES) else "clusters, by the date of their peak",
        dates=layout.read_dates(cube),
        channels=read_channels(cube),
        observed=observations(cube),
        estimator=estimator,
        history=read_history(config.model),
        snapshots=snapshots,
    )


def _pictures(year: _Year) -> dict[str, bytes]:
    """Draw all pictures, by the names of their files."""
    dates, names, observed = year.dates, year.names, year.observed
    quantities = [_quantity(channel) for channel in year.channels]
    pictures = {
        **maps(year.config, year.cube, year.result, year.reference, names, year.what, year.accuracy),
        "profiles": figures.profiles(dates, year.estimator.cluster_profiles_, names, quantities),
        "gaps": figures.gaps(dates, observed.missing),
        "gaps_by_latitude": figures.gaps_by_latitude(dates, observed.by_latitude, observed.edges),
        "training": figures.training(year.history, names),
    }
    if year.accuracy is not None:
        pictures |= _accuracy_pictures(year.accuracy, year.config.region.name)
    if has_filled_series(year.result, year.channels):
        cells = examples(year.result, year.cube, names)
        pictures["series"] = figures.filled_series(dates, cells, n_channels=len(year.channels))
    if isinstance(year.snapshots, Snapshots):
        pictures |= _snapshot_pictures(year.snapshots, names, dates, year.channels[0])
    return pictures


def _accuracy_pictures(accuracy: Mapping[str, Any], region: str) -> dict[str, bytes]:
    based = accuracy["design_based"]
    parts = [{"name": f"all of {region.capitalize()}", **based["country"]}, *based["regions"]]
    return {
        "accuracy": figures.accuracy_by(accuracy["by_purity"], accuracy["by_observations"]),
        "areas": figures.area_bars(parts, accuracy["seasons"]),
    }


def _snapshot_pictures(found: Snapshots, names: list[str], dates: np.ndarray, channel: Channel) -> dict[str, bytes]:
    """Draw embedding and imputation by iteration; by season of the reference, or by label where there is none."""
    classes, class_names, agreeing = found.labels, names, None
    if found.seasons is not None:
        classes, class_names = found.seasons, list(SEASON_NAMES)
        agreeing = found.labels if names == class_names else None
    pictures = {"embedding": figures.embedding(found.snapshots, classes, class_names)}
    with_curve = slice(len(found.series))
    shown = classes[with_curve] < len(class_names)
    if agreeing is not None:
        shown &= classes[with_curve] == agreeing[with_curve]
    if shown.any():
        pictures["imputation"] = figures.imputation(
            found.snapshots, found.series, classes, class_names, dates, agreeing, quantity=_quantity(channel)
        )
    return pictures


def _quantity(channel: Channel) -> str:
    """Return a channel's name and unit, for axes."""
    return channel.name if channel.units == "1" else f"{channel.name} ({channel.units})"


def _versions() -> dict[str, str]:
    """Return the versions of the software that has a bearing on the result, by name."""
    own = {"sitscube": version("sitscube"), "Python": platform.python_version()}
    return own | {name: version(name) for name in _PACKAGES}


def event_in_words(event: Mapping[str, Any]) -> str:
    """Say what happened in training, when, and what was done about it."""
    when = next((f" ({key} {event[key]:,})" for key in ("iteration", "epoch") if key in event), "")
    rate = event.get("learning_rate")
    return f"{event['event']}{when}" + ("" if rate is None else f": learning rate lowered to {rate:.3g}")

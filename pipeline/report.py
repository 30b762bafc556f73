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
from pipeline.channels import read_channels, to_physical, width_channel
from pipeline.config import Config
from pipeline.grid import LONLAT, project, read_outline
from pipeline.infer import SEASON_NAMES, filled_name, spread_names
from pipeline.times import read_times
from pipeline.train import read_history, read_record

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PACKAGES: Final = ("torch", "numpy", "scikit-learn", "zarr", "xarray", "dask", "h5py", "rasterio")
_EXAMPLES: Final = 2  # filled series shown of every label
_WIDEST: Final = 2000  # cells along an edge of the picture


@dataclass(frozen=True)
class Page:
    """The report and its map."""

    html: str
    map_png: bytes


def make(config: Config, accuracy: dict[str, Any] | None) -> Page:
    """Draw the figures and write the page.

    Args:
        config: of the year, whose cube, model and map are finished.
        accuracy: the figures of the evaluation, or None where there was no reference map.
    """
    cube, result = stores.open_to_read(config.cube), stores.open_to_read(config.map)
    names = layout.attributes(layout.array(result, "label"))["flag_meanings"].split()
    what = "cropland by season" if names == list(SEASON_NAMES) else "clusters, by the date of their peak"
    map_png = _map(config, result, names, what)
    observations = _observations(cube)
    dates, n_channels = layout.read_dates(cube), len(read_channels(cube))
    record = read_record(config.model) or {}
    pictures = {
        "map": map_png,
        "gaps": figures.gaps(dates, observations.missing),
        "series": figures.filled_series(dates, _examples(result, cube, names), n_channels=n_channels),
        "training": figures.training(read_history(config.model)),
    }
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
        observations=observations,
        n_dates=len(dates),
        gap_share=float(observations.missing.mean()),
        training=record.get("facts", {}),
        events=[line for line in read_history(config.model) if line["phase"] == "event"],
        times=read_times(config.year_folder),
        versions={"sitscube": version("sitscube"), "Python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        fingerprints={"cube": layout.attributes(cube)["fingerprint"], "map": layout.attributes(result)["fingerprint"]},
        toml=tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)),
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
    )
    return Page(html, map_png)


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
            about = f"{name}, row {i}, column {j}: {int(observed[pick])} of {n_dates} observed"
            colour = figures.colours(len(names))[k]
            found += [{"title": about, "colour": colour, **series} for series in _series_at(result, cube, i, j)]
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

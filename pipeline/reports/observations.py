"""Where and when the mapped cells have gaps, for the report."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import zarr
from odc.geo.geobox import GeoBox

from pipeline.cube import layout, stores
from pipeline.grid.polygons import LONLAT

_BLOCK: Final = 5000.0  # m: cells of a block this wide share a latitude
_WIDTHS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)  # of a band of latitude, in degrees
_MOST_BANDS: Final = 30


@dataclass(frozen=True)
class Observations:
    """The gaps of the mapped cells."""

    missing: np.ndarray  # (T,) share of cells that each date leaves without observation
    cells: int
    longest_gap: float  # mean, in dates
    by_latitude: np.ndarray  # (bands, T) share of the cells of each band, southernmost first; NaN where it has none
    edges: np.ndarray  # (bands + 1,) latitudes, ascending

    @property
    def n_observed(self) -> float:
        """Return the mean number of dates on which a cell was observed."""
        return float((1 - self.missing).sum())


def observations(cube: zarr.Group) -> Observations:
    """Count the gaps of a prepared cube, shard by shard."""
    grid = layout.read_grid(cube)
    edges = _bands(grid.geobox)
    n_bands, n_dates = len(edges) - 1, layout.array(cube, "time").shape[0]
    missing, cells, gap = np.zeros((n_bands, n_dates), np.int64), np.zeros(n_bands, np.int64), 0
    for shard in grid.shards:
        window = grid.window(shard)
        mask = stores.read_window(cube, "mask", window) == 1
        if not mask.any():
            continue
        band = np.clip(np.searchsorted(edges, latitudes(grid.shard_geobox(shard))[mask], "right") - 1, 0, n_bands - 1)
        cells += np.bincount(band, minlength=n_bands)
        absent = stores.read_window(cube, "observed", window)[:, mask] == 0
        for t, of_date in enumerate(absent):
            missing[:, t] += np.bincount(band[of_date], minlength=n_bands)
        gap += int(stores.read_window(cube, "longest_gap", window)[mask].sum())
    with np.errstate(invalid="ignore"):
        by_latitude = missing / cells[:, None]
    n = int(cells.sum())
    used = np.flatnonzero(cells)
    shown = slice(used[0], used[-1] + 1) if n else slice(0, n_bands)
    edges = edges[shown.start : shown.stop + 1]
    return Observations(missing.sum(axis=0) / max(1, n), n, gap / max(1, n), by_latitude[shown], edges)


def latitudes(geobox: GeoBox) -> np.ndarray:
    """Return the latitude (y, x) of the cells; all cells of a block 5 km wide have that of its middle."""
    step = max(1, round(_BLOCK / abs(geobox.transform.a)))
    shape: tuple[int, int] = geobox.shape[0], geobox.shape[1]
    middles = [np.minimum(np.arange(0, n, step) + step / 2, n - 0.5) for n in shape]
    columns, rows = np.meshgrid(middles[1], middles[0])
    x, y = geobox.transform @ (columns, rows)
    _, latitude = geobox.crs.transformer_to_crs(LONLAT)(x, y)
    blocks = np.asarray(latitude).repeat(step, axis=0).repeat(step, axis=1)
    found: np.ndarray = blocks[: shape[0], : shape[1]]
    return found


def _bands(geobox: GeoBox) -> np.ndarray:
    """Return the edges of bands of latitude of a round width that hold all cells, at most 30 bands."""
    box = geobox.extent.to_crs(LONLAT, resolution=16 * abs(geobox.transform.a)).boundingbox
    width = next((w for w in _WIDTHS if (box.top - box.bottom) / w <= _MOST_BANDS - 2), _WIDTHS[-1])
    first, last = np.floor(box.bottom / width), np.ceil(box.top / width)
    edges: np.ndarray = np.arange(first, last + 1) * width
    return edges

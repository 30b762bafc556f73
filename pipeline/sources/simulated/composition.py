"""The composition of each 463 m pixel: shares of vegetation curves, with the mean shift and vigour of their fields."""

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.grid.polygons import inside
from pipeline.grid.sinusoidal import SINUSOIDAL, TILE_PIXELS, Tile
from pipeline.sources.simulated.draws import generator
from pipeline.sources.simulated.geography import EUROPE, Places, geography
from pipeline.sources.simulated.landscape import parcels_at
from pipeline.sources.simulated.vegetation import BIOMES, CURVE_INDEX, CURVES
from pipeline.sources.simulated.weather import weather

SIDE: Final = 4  # a pixel is sampled in 4 x 4 points
POINTS: Final = SIDE**2
_AT_ONCE: Final = 512  # pixels; a Dask worker returns arrays above 64 KB to the system each time, which is slow
_NODES: Final = 151  # of the lattice on which the projection is computed exactly, along each side of a tile

_URBAN_ABOVE: Final = 0.6  # share that makes a pixel static
_WATER_ABOVE: Final = 0.5
_BARE_ABOVE: Final = 0.65
_DELAY: Final = np.array([curve.delay for curve in CURVES], np.float32)  # days a degree, or 130 m
_METRES_A_DEGREE: Final = 130.0
_REFERENCE_LATITUDE: Final = 43.0
_SUMMER: Final = np.array(
    [curve.name.split("+")[0] in ("maize", "soya", "sunflower", "rice") for curve in CURVES]
)  # curves that follow the second half of the year's anomalies
_SOIL_SCATTER: Final = 2.0  # FPAR 0..100: soils, hedges and roadsides, pixel by pixel


@dataclass(frozen=True)
class Composition:
    """Land pixels of a band of rows: n pixels made of m pieces, the pieces of a pixel one after the other.

    Attributes:
        pixel: place in the band, row by row, int32 (n,).
        first: each pixel's first piece, int32 (n,).
        curve: of each piece, uint8 (m,).
        points: out of `POINTS`, uint8 (m,).
        shift: days by which the piece's season is late, int16 (m,).
        vigour: factor on FPAR, float32 (m,).
        soil: added to FPAR (0..100), float32 (n,).
        static: land-cover code of pixels that never have FPAR (250 urban, 252 ice, 253 bare, 254 water), else 0, uint8.
        biome: BiomeType, uint8 (n,).
        row, column: place on the lattice, float32 (n,).
        height: metres, float32 (n,).
    """

    pixel: np.ndarray
    first: np.ndarray
    curve: np.ndarray
    points: np.ndarray
    shift: np.ndarray
    vigour: np.ndarray
    soil: np.ndarray
    static: np.ndarray
    biome: np.ndarray
    row: np.ndarray
    column: np.ndarray
    height: np.ndarray

    @property
    def places(self) -> Places:
        """Return the pixels' places on the lattice."""
        return Places(self.row, self.column)

    def some(self, start: int, stop: int) -> "Composition":
        """Return pixels `start` to `stop`, with their pieces."""
        stop = min(stop, self.pixel.size)
        begin = self.first[start]
        end = self.first[stop] if stop < self.pixel.size else self.curve.size
        of_pieces = ("curve", "points", "shift", "vigour")
        parts = {
            part.name: getattr(self, part.name)[slice(begin, end) if part.name in of_pieces else slice(start, stop)]
            for part in fields(self)
        }
        return Composition(**{**parts, "first": parts["first"] - begin})

    def save(self, folder: Path) -> None:
        """Write each array as a .npy file into a folder that exists."""
        for part in fields(self):
            np.save(folder / f"{part.name}.npy", getattr(self, part.name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "Composition":
        """Read the files of `save`."""
        return cls(**{part.name: np.load(folder / f"{part.name}.npy", allow_pickle=False) for part in fields(cls)})


def compose(tile: Tile, rows: slice, outline: BaseGeometry, seed: int, year: int) -> Composition | None:
    """Compose every land pixel of a band of rows from 4 x 4 points.

    Args:
        tile: which tile.
        rows: the band.
        outline: the country, in longitude and latitude.
        seed: of the country.
        year: whose crops and seasons.

    Returns:
        The composition, or None if no pixel has its centre in the outline.
    """
    geobox: GeoBox = tile.geobox()[rows, slice(None)]
    pixel = np.flatnonzero(inside(geobox, outline)).astype(np.int32)
    if pixel.size == 0:
        return None
    rng = generator(seed, year, 4, tile.h, tile.v, rows.start)
    soil = (_SOIL_SCATTER * rng.standard_normal(pixel.size)).astype(np.float32)
    starts = range(0, pixel.size, _AT_ONCE)
    pieces = [_compose_some(tile, rows.start, pixel[n : n + _AT_ONCE], seed, year) for n in starts]
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    first = np.concatenate([[0], np.cumsum(joined.pop("pieces"))[:-1]]).astype(np.int32)
    return Composition(pixel=pixel, first=first, soil=soil, **joined)


def _compose_some(tile: Tile, first_row: int, pixel: np.ndarray, seed: int, year: int) -> dict[str, np.ndarray]:
    offset = (np.arange(SIDE) + 0.5) / SIDE
    row = (first_row + pixel // TILE_PIXELS)[:, None, None] + offset[:, None]
    column = (pixel % TILE_PIXELS)[:, None, None] + offset
    x, y = _to_europe(tile, *np.broadcast_arrays(row, column))
    x, y = x.reshape(-1), y.reshape(-1)
    parcels = parcels_at(x, y, seed, year)

    n = pixel.size
    slot = np.repeat(np.arange(n), POINTS) * len(CURVES) + parcels.curve
    counts = np.bincount(slot, minlength=n * len(CURVES))
    used = np.flatnonzero(counts)
    points = counts[used]
    owner, curve = used // len(CURVES), used % len(CURVES)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(slot, values, minlength=n * len(CURVES))[used] / points

    places = Places.at(x.reshape(n, POINTS).mean(axis=1), y.reshape(n, POINTS).mean(axis=1))
    country, seasons = geography(seed), weather(seed, year)
    height = places.sample(country.height)
    north = places.sample(country.latitude) - _REFERENCE_LATITUDE + height / _METRES_A_DEGREE
    halves = _SUMMER[curve].astype(np.intp)
    late = np.stack([places.sample(half) for half in seasons.late])[halves, owner]
    vigour = np.stack([places.sample(half) for half in seasons.vigour])[halves, owner]
    vigour *= places.sample(country.fertility)[owner]
    shift = mean(parcels.shift(year)) + _DELAY[curve] * north[owner] + late
    shares = counts.reshape(n, len(CURVES)) / POINTS
    return {
        "pieces": np.bincount(owner, minlength=n),
        "curve": curve.astype(np.uint8),
        "points": points.astype(np.uint8),
        "shift": np.rint(np.clip(shift, -70, 90)).astype(np.int16),
        "vigour": (mean(parcels.vigour(year)) * vigour).astype(np.float32),
        "static": _static(shares, height),
        "biome": _biome(shares),
        "row": places.row,
        "column": places.column,
        "height": height,
    }


def _static(shares: np.ndarray, height: np.ndarray) -> np.ndarray:
    code = np.zeros(shares.shape[0], np.uint8)
    bare = shares[:, CURVE_INDEX["bare"]] > _BARE_ABOVE
    code[bare] = 253
    code[bare & (height > 3100)] = 252
    code[shares[:, CURVE_INDEX["urban"]] > _URBAN_ABOVE] = 250
    code[shares[:, CURVE_INDEX["water"]] > _WATER_ABOVE] = 254
    return code


_BIOME_OF_CURVE: Final = (BIOMES[:, None] == np.arange(12)).astype(np.float32)


def _biome(shares: np.ndarray) -> np.ndarray:
    """Return the biome with the largest share."""
    return (shares.astype(np.float32) @ _BIOME_OF_CURVE).argmax(axis=1).astype(np.uint8)


def _to_europe(tile: Tile, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return EPSG:3035 coordinates of points in a tile, bilinear between exact ones every 16 pixels (error < 2 m)."""
    exact_x, exact_y = _lattice_in_europe(tile)
    step = TILE_PIXELS / (_NODES - 1)
    v, u = row / step, column / step
    i = np.minimum(v.astype(np.int32), _NODES - 2)
    j = np.minimum(u.astype(np.int32), _NODES - 2)
    v, u, first = v - i, u - j, i * _NODES + j

    def between(exact: np.ndarray) -> np.ndarray:
        flat = exact.ravel()
        above = flat.take(first) * (1 - u) + flat.take(first + 1) * u
        below = flat.take(first + _NODES) * (1 - u) + flat.take(first + _NODES + 1) * u
        return above * (1 - v) + below * v

    return between(exact_x), between(exact_y)


@lru_cache(maxsize=4)
def _lattice_in_europe(tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    (left, top), (right, bottom) = tile.upper_left, tile.lower_right
    x, y = np.meshgrid(np.linspace(left, right, _NODES), np.linspace(top, bottom, _NODES))
    return SINUSOIDAL.transformer_to_crs(EUROPE)(x, y)

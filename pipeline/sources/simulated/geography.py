"""The geography: heights, lakes, towns, and the crops of each place, on a coarse lattice in EPSG:3035.

Plausible, not exact: ridges, regions and shares are drawn from general knowledge of Italy, with smooth noise on top.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from odc.geo import CRS

from pipeline.sources.simulated.draws import generator, smooth_fields
from pipeline.sources.simulated.italy import ALPINE, CITIES, LAKES, MASSIFS, RIDGES, ZONES
from pipeline.sources.simulated.vegetation import COVERS, CROPS

STEP: Final = 4000.0  # m between nodes
ORIGIN: Final = (3_940_000.0, 1_300_000.0)  # x, y of node (0, 0) in EPSG:3035
SHAPE: Final = (361, 301)  # nodes along y (northwards) and x: Italy and its surroundings
_DISTRICTS: Final[dict[float, float]] = {20: 0.8, 5: 0.6}  # weight of each correlation length, in nodes
_SOIL_SCATTER: Final = 0.15  # standard deviation of the logarithm of fertility
_LAPSE: Final = 250.0  # m over which woods and pasture replace farming

LON_LAT: Final = CRS("EPSG:4326")
EUROPE: Final = CRS("EPSG:3035")


@dataclass(frozen=True)
class Geography:
    """Fields on the lattice; arrays have the shape `SHAPE`, tables one row a node.

    Attributes:
        latitude: degrees.
        height: metres above the sea.
        lake: normalised distance from the nearest lake's centre, water below 1.
        parcel_size: typical width of a parcel, in metres.
        plain: 0 in mountains .. 1 in the Po plain.
        fertility: factor on FPAR: soils, rain and irrigation.
        practice: standard normal; low in districts where land is bare between crops, high where it stays green.
        cover: cumulative shares of `COVERS`, (nodes, covers).
        crops: cumulative shares of `CROPS` on arable land, (nodes, crops).
    """

    latitude: np.ndarray
    height: np.ndarray
    lake: np.ndarray
    parcel_size: np.ndarray
    plain: np.ndarray
    fertility: np.ndarray
    practice: np.ndarray
    cover: np.ndarray
    crops: np.ndarray


@dataclass(frozen=True)
class Places:
    """Points on the lattice: fractional row and column, for bilinear sampling."""

    row: np.ndarray
    column: np.ndarray

    @classmethod
    def at(cls, x: np.ndarray, y: np.ndarray) -> "Places":
        """Return points by EPSG:3035 coordinates in metres; beyond the lattice they are on its edge."""
        row = np.clip((y - ORIGIN[1]) / STEP, 0, SHAPE[0] - 1.001).astype(np.float32)
        column = np.clip((x - ORIGIN[0]) / STEP, 0, SHAPE[1] - 1.001).astype(np.float32)
        return cls(row, column)

    def sample(self, field: np.ndarray) -> np.ndarray:
        """Return bilinear values of a lattice field, float32."""
        i, j = self.row.astype(np.int32), self.column.astype(np.int32)
        v, u = self.row - i, self.column - j
        flat, first = field.astype(np.float32, copy=False).ravel(), i * SHAPE[1] + j
        south = flat.take(first) * (1 - u) + flat.take(first + 1) * u
        north = flat.take(first + SHAPE[1]) * (1 - u) + flat.take(first + SHAPE[1] + 1) * u
        return south * (1 - v) + north * v

    def nodes(self, draw_row: np.ndarray, draw_column: np.ndarray) -> np.ndarray:
        """Return one of the four nodes around each point, by two uniform draws: on average the bilinear mean."""
        return (self.row + draw_row).astype(np.int32) * SHAPE[1] + (self.column + draw_column).astype(np.int32)


@lru_cache(maxsize=2)
def geography(seed: int) -> Geography:
    """Return the geography of a seed."""
    rows, columns = np.indices(SHAPE)
    x, y = ORIGIN[0] + columns * STEP, ORIGIN[1] + rows * STEP
    longitude, latitude = EUROPE.transformer_to_crs(LON_LAT)(x, y)
    rng = generator(seed, 1)
    rough, patches = smooth_fields(rng, 2, SHAPE, {4.0: 1.0, 2.0: 0.5})
    soils, districts = smooth_fields(rng, 2, SHAPE, _DISTRICTS)
    height = _heights(longitude, latitude, rough)
    weights = _zone_weights(longitude, latitude)
    urban = _urban_share(x, y)
    return Geography(
        latitude=latitude.astype(np.float32),
        height=height,
        lake=_lake_distance(longitude, latitude),
        parcel_size=_mean_of_zones(weights, "parcel").astype(np.float32),
        plain=(np.clip(1.2 - height / 250, 0, 1) * np.clip((latitude - 43.8) / 0.6, 0, 1)).astype(np.float32),
        fertility=(_mean_of_zones(weights, "vigour") * np.exp(_SOIL_SCATTER * soils)).astype(np.float32),
        practice=districts,
        cover=_cover(latitude, height, weights, urban, patches),
        crops=_crop_shares(weights),
    )


def _heights(longitude: np.ndarray, latitude: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Return heights: ridges and massifs with bell-shaped slopes, cut into valleys by noise."""
    height = np.full(SHAPE, 30.0)
    for ridge in RIDGES:
        for (west, south, low), (east, north, high) in zip(ridge.crest, ridge.crest[1:], strict=False):
            distance, along = _distance_km(longitude, latitude, (west, south), (east, north))
            crest = low + along * (high - low)
            height = np.maximum(height, crest * np.exp(-((distance / ridge.width) ** 2)))
    for lon, lat, top, width in MASSIFS:
        distance, _ = _distance_km(longitude, latitude, (lon, lat), (lon, lat))
        height = np.maximum(height, top * np.exp(-((distance / width) ** 2)))
    return (height * np.clip(0.9 + 0.45 * rough, 0.15, 1.6)).astype(np.float32)


def _distance_km(
    longitude: np.ndarray, latitude: np.ndarray, start: tuple[float, float], end: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance to a segment, and its nearest point (0..1); on a flat earth, exact to a few per cent."""
    east = 111.3 * np.cos(np.radians(latitude))
    px, py = (longitude - start[0]) * east, (latitude - start[1]) * 111.2
    dx, dy = (end[0] - start[0]) * east, (end[1] - start[1]) * 111.2
    along = np.clip((px * dx + py * dy) / np.maximum(dx**2 + dy**2, 1e-9), 0, 1)
    return np.hypot(px - along * dx, py - along * dy), along


def _lake_distance(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    nearest = np.full(SHAPE, 10.0)
    for start, end, radius in LAKES:
        nearest = np.minimum(nearest, _distance_km(longitude, latitude, start, end)[0] / radius)
    return nearest.astype(np.float32)


def _urban_share(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the share of built-up land around the cities; villages are in `landscape`."""
    share = np.zeros(SHAPE)
    to_europe = LON_LAT.transformer_to_crs(EUROPE)
    for lon, lat, radius in CITIES:
        cx, cy = to_europe(lon, lat)
        share = np.maximum(share, 0.95 * np.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / (1000 * radius) ** 2)))
    return share


def _zone_weights(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the weight of each zone at each node, (zones, *SHAPE): bells around the zones' centres, summing to 1."""
    logs = np.empty((len(ZONES), *SHAPE))
    for n, zone in enumerate(ZONES):
        centres = [_distance_km(longitude, latitude, centre, centre)[0] for centre in zone.centres]
        logs[n] = -((np.min(centres, axis=0) / zone.reach) ** 2)
    weights = np.exp(logs - logs.max(axis=0))
    return weights / weights.sum(axis=0)


def _mean_of_zones(weights: np.ndarray, attribute: str) -> np.ndarray:
    return np.tensordot([getattr(zone, attribute) for zone in ZONES], weights, axes=1)


def _cover(
    latitude: np.ndarray, height: np.ndarray, weights: np.ndarray, urban: np.ndarray, patches: np.ndarray
) -> np.ndarray:
    """Return cumulative cover shares: the zone's own in its lowlands, woods and pasture above, rock at the top."""
    farmed = 1 / (1 + np.exp((height - _mean_of_zones(weights, "farmed_up_to")) / _LAPSE * 2.5))
    farmed *= 1 - weights[ALPINE] * np.clip((height - 400) / 300, 0, 1)
    woods = np.clip(_mean_of_zones(weights, "woods") * np.exp(0.9 * patches), 0, 0.8)
    groves = np.clip(_mean_of_zones(weights, "groves") * np.exp(0.5 * patches), 0, 0.8)
    pasture = np.clip(_mean_of_zones(weights, "pasture") * np.exp(-0.5 * patches), 0, 0.8)
    arable = np.clip(_mean_of_zones(weights, "arable") * np.exp(-0.35 * patches), 0.01, 3)
    total = woods + groves + pasture + arable
    treeline = 1 / (1 + np.exp((height - 1900) / 120))
    rock = 1 / (1 + np.exp((2450 - height) / 130))
    high_woods = 0.78 * treeline
    shares = {
        "arable": farmed * arable / total,
        "groves": farmed * groves / total,
        "woods": farmed * woods / total + (1 - farmed) * high_woods,
        "pasture": farmed * pasture / total + (1 - farmed) * (1 - high_woods) * (1 - rock),
        "bare": (1 - farmed) * (1 - high_woods) * rock,
    }
    table = np.stack([urban, *((1 - urban) * shares[name] for name in COVERS[1:])], axis=-1)
    return _cumulative(table.reshape(-1, len(COVERS)))


def _crop_shares(weights: np.ndarray) -> np.ndarray:
    shares = np.array([[zone.crops.get(crop.name, 0.0) for crop in CROPS] for zone in ZONES])
    # weighted by arable land: zones without any must not dilute their neighbours' crops
    arable = np.array([zone.arable for zone in ZONES])[:, None]
    table = np.tensordot(weights.reshape(len(ZONES), -1).T, shares * arable, axes=1)
    return _cumulative(np.maximum(table, 1e-9))


def _cumulative(table: np.ndarray) -> np.ndarray:
    return (np.cumsum(table, axis=1) / table.sum(axis=1, keepdims=True)).astype(np.float32)

"""The vegetation of any point of the country, field by field, as a pure function of place, seed and year.

Parcels are rectangles in blocks of some kilometres that have their own direction and parcel size. Neighbouring parcels
form farms. Cover (town, wood, pasture, arable) stays from year to year; the crops on arable parcels change.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import ndtr

from pipeline.sources.simulated.draws import Key, generator, key, normal, uniform
from pipeline.sources.simulated.geography import Geography, Places, geography
from pipeline.sources.simulated.vegetation import COVERS, CROPS, CURVE_INDEX, CURVES

_BLOCK: Final = 3600.0  # m: side of a block of parallel parcels
_FARM: Final = (14, 9)  # parcels of a farm, along and across
_COVER_FOLLOWS_FARM: Final = 0.30  # share of parcels whose cover is drawn farm by farm
_CROP_FOLLOWS_FARM: Final = 0.95
_DISTRICT, _OWN_FARM, _OWN_PARCEL = 0.70, 0.55, 0.455  # weights in the way of growing a crop; squares sum to 1
_VILLAGES: Final = 5200.0  # m: one village in each square of this side
_VIGOUR_SCATTER: Final = 0.14  # between fields
_TURN = 2 * np.pi * np.arange(64) / 64
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)

# streams of draws, one a purpose
_BLOCK_DRAW, _WIDTH, _LENGTH, _COVER, _CROP, _WAY, _SHIFT, _VIGOUR, _NODE, _VILLAGE, _EDGE = range(11)
_YEARS: Final = 1000  # streams from here on belong to years


@dataclass(frozen=True)
class Parcels:
    """Vegetation of points: the curve's place in `CURVES`, and the key of the parcel."""

    curve: np.ndarray  # uint8
    key: Key

    def shift(self, year: int) -> np.ndarray:
        """Return the days by which each parcel's season is late."""
        return normal(self.key, _YEARS * year + _SHIFT) * _SCATTER[self.curve]

    def vigour(self, year: int) -> np.ndarray:
        """Return the factor on each parcel's FPAR, about 1."""
        return np.clip(1 + _VIGOUR_SCATTER * normal(self.key, _YEARS * year + _VIGOUR), 0.5, 1.4)


_SCATTER: Final = np.array([curve.scatter for curve in CURVES], np.float32)


def parcels_at(x: np.ndarray, y: np.ndarray, seed: int, year: int) -> Parcels:
    """Classify points.

    Args:
        x: EPSG:3035 eastings in metres, (n,).
        y: northings, (n,).
        seed: of the country.
        year: whose crops.

    Returns:
        `Parcels` of n points.
    """
    country = geography(seed)
    places = Places.at(x, y)
    parcel, farm = _parcel_and_farm(x, y, seed, places.sample(country.parcel_size))
    edge = places.nodes(uniform(farm, _NODE), uniform(farm, _EDGE))

    follows = uniform(parcel, _WIDTH) < _COVER_FOLLOWS_FARM
    draw = np.where(follows, uniform(farm, _COVER), uniform(parcel, _COVER))
    cover = _pick(country.cover, edge, draw)
    height, latitude = country.height.ravel()[edge], country.latitude.ravel()[edge]

    curve = _perennial(cover, parcel, height, latitude)
    arable = np.flatnonzero(cover == COVERS.index("arable"))
    curve[arable] = _annual(parcel[arable], farm[arable], edge[arable], latitude[arable], seed, year)
    curve[_in_village(x, y, seed) & (height < 1100) & (cover != COVERS.index("bare"))] = CURVE_INDEX["urban"]
    curve[places.sample(country.lake) < 1] = CURVE_INDEX["water"]
    return Parcels(curve, parcel)


def _parcel_and_farm(x: np.ndarray, y: np.ndarray, seed: int, size: np.ndarray) -> tuple[Key, Key]:
    # blocks with wavy borders: land is not divided along the lines of a projection
    wavy_x = x + 450 * np.sin(y / 1900)
    wavy_y = y + 450 * np.sin(x / 2300)
    block = key(seed, np.floor(wavy_x / _BLOCK).astype(np.int64), np.floor(wavy_y / _BLOCK).astype(np.int64))
    turn = (uniform(block, _BLOCK_DRAW) * 64).astype(np.int8)
    cos, sin = _COS[turn], _SIN[turn]
    # sizes in steps, so that neighbouring points of a block have the same
    step = np.round(4 * np.log2(size / 230))
    width = 230 * 2 ** (step / 4) * (0.7 + 0.6 * uniform(block, _WIDTH))
    across = np.floor((cos * x + sin * y) / width).astype(np.int64)
    row_of_farms = key(block.view(np.int64), across // _FARM[0])
    length = width * (1.1 + 0.9 * uniform(row_of_farms, _LENGTH))
    along = np.floor((cos * y - sin * x) / length).astype(np.int64)
    return key(row_of_farms.view(np.int64), across, along), key(row_of_farms.view(np.int64), along // _FARM[1])


def _pick(table: np.ndarray, row: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Return classes by a uniform draw from cumulative shares, one table row a point."""
    return (draw[:, None] >= table[row, :-1]).sum(axis=1, dtype=np.uint8)


def _perennial(cover: np.ndarray, parcel: Key, height: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the curves of all but arable land: they follow from cover, height and latitude with blurred borders."""
    blur = uniform(parcel, _WAY) - 0.5
    humid = (latitude + 1.5 * blur > 43.3) | (height + 300 * blur > 650)
    needles = height + 700 * blur > 1250
    evergreen = (latitude + 2.0 * blur < 42.3) & (height < 600)
    woods = np.where(needles, CURVE_INDEX["woods, needleleaf"], CURVE_INDEX["woods, broadleaf"])
    woods = np.where(evergreen & ~needles, CURVE_INDEX["woods, evergreen"], woods)
    pasture = np.where(humid, CURVE_INDEX["pasture, humid"], CURVE_INDEX["pasture, dry"])
    curve = np.zeros(cover.shape, np.uint8)
    for name in ("urban", "groves", "bare"):
        curve[cover == COVERS.index(name)] = CURVE_INDEX[name]
    for name, kinds in (("woods", woods), ("pasture", pasture)):
        curve = np.where(cover == COVERS.index(name), kinds, curve).astype(np.uint8)
    return curve


def _annual(parcel: Key, farm: Key, node: np.ndarray, latitude: np.ndarray, seed: int, year: int) -> np.ndarray:
    """Return the curves of arable parcels in a year: a crop, and a way of growing it."""
    stream = _YEARS * year
    follows = uniform(parcel, stream + _EDGE) < _CROP_FOLLOWS_FARM
    draw = np.where(follows, uniform(farm, stream + _CROP), uniform(parcel, stream + _CROP))
    crop = _pick(crop_shares(seed, year), node, draw)
    shares, curves = _WAYS
    row = crop.astype(np.int64) * 2 + (latitude < 43.6)
    practice = geography(seed).practice.ravel()[node]
    own = _OWN_FARM * normal(farm, stream + _WAY) + _OWN_PARCEL * normal(parcel, stream + _WAY)
    return curves[row, _pick(shares, row, ndtr(_DISTRICT * practice + own))]


@lru_cache(maxsize=4)
def crop_shares(seed: int, year: int) -> np.ndarray:
    """Return cumulative crop shares of a year, (nodes, crops): prices and policy change them by about a tenth."""
    country: Geography = geography(seed)
    shares = np.diff(country.crops, axis=1, prepend=0)
    shares = shares * np.exp(0.12 * generator(seed, year, 2).standard_normal(len(CROPS)))
    return (np.cumsum(shares, axis=1) / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _ways() -> tuple[np.ndarray, np.ndarray]:
    """Return cumulative shares and curves of the ways to grow each crop; rows 2 n (north) and 2 n + 1 (south)."""
    widest = max(len(ways) for crop in CROPS for ways in (crop.north, crop.south))
    shares, curves = np.ones((2 * len(CROPS), widest), np.float32), np.zeros((2 * len(CROPS), widest), np.uint8)
    for n, crop in enumerate(CROPS):
        for row, ways in ((2 * n, crop.north), (2 * n + 1, crop.south or crop.north)):
            shares[row, : len(ways)] = np.cumsum(list(ways.values()))
            curves[row, : len(ways)] = [CURVE_INDEX[name] for name in ways]
            shares[row, len(ways) - 1 :] = 1
    return shares, curves


_WAYS: Final = _ways()


def _in_village(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    i, j = np.floor(x / _VILLAGES), np.floor(y / _VILLAGES)
    village = key(seed, _VILLAGE, i.astype(np.int64), j.astype(np.int64))
    radius = 180 + 900 * uniform(village, 0) ** 3
    room = _VILLAGES - 2 * radius
    from_x = x - i * _VILLAGES - radius - uniform(village, 1) * room
    from_y = y - j * _VILLAGES - radius - uniform(village, 2) * room
    return from_x**2 + from_y**2 < radius**2

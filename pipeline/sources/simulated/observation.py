"""Observations of a composition on one date: the six layers of the product."""

from functools import lru_cache
from typing import Final

import numpy as np

from pipeline.base.calendar import DAYS_OF_YEAR
from pipeline.sources.simulated.composition import POINTS, Composition
from pipeline.sources.simulated.draws import generator
from pipeline.sources.simulated.granules import FILL, LAYERS
from pipeline.sources.simulated.vegetation import FIRST_DAY, fpar_table
from pipeline.sources.simulated.weather import Weather, ragged, weather

# values in the quality layers (Earth Engine catalogue, NASA/VIIRS/002/VNP15A2H)
_MAIN, _SATURATED, _BAD_GEOMETRY, _BACKUP, _NOT_PRODUCED = range(5)  # SCF_QC
_BIOME_SHIFT: Final = 4
_PROBABLY_CLEAR, _PROBABLY_CLOUDY, _CLOUDY = 1, 2, 3
_SHADOW, _CIRRUS, _SNOW = 0b100, 0b1000, 0b100_0000
_AEROSOL_SHIFT: Final = 4
_UNCLASSIFIED: Final = 249
_NO_DEVIATION: Final = 248

_AT_ONCE: Final = 8192  # pixels; a Dask worker returns arrays above 64 KB to the system each time, which is slow
_MIDDLE: Final = 4  # day of a composite to which its FPAR belongs
_EDGE: Final = 0.45  # cloud depth within which cloud leaves shadows, cirrus and doubtful states
_NOISE: Final = (1.6, 0.030)  # FPAR noise under clear sky: constant part, and part in proportion to FPAR
_MISSED_CLOUD: Final = (0.03, 0.14)  # share of clear pixels with unflagged cloud: anywhere, near cloud edges
_CLOUDY_NOISE: Final = 6.0
_SATURATION: Final = 82  # FPAR above which the main algorithm mostly reports saturation


def observe(
    pixels: Composition, layers: dict[str, np.ndarray], seed: int, year: int, step: int, stream: tuple[int, ...]
) -> None:
    """Fill a band of the six layers with one composite.

    Args:
        pixels: the composition of the band's land pixels.
        layers: uint8 arrays of the band by layer name, C-contiguous; only land pixels are written.
        seed: of the country.
        year: of the weather.
        step: number of the composite, 0..45.
        stream: integers that distinguish this band from all others.
    """
    rng = generator(seed, year, 5, step, *stream)
    flat = {name: layer.reshape(-1) for name, layer in layers.items()}
    for start in range(0, pixels.pixel.size, _AT_ONCE):
        some = pixels.some(start, start + _AT_ONCE)
        for name, values in _observe_some(some, weather(seed, year), step, rng).items():
            flat[name][some.pixel] = values


def _observe_some(pixels: Composition, sky: Weather, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    places = pixels.places
    depth = ragged(places.sample(sky.depth[step]), rng)
    snow = pixels.height > places.sample(sky.snow_line[step])
    chance = rng.random((3, depth.size), dtype=np.float32)
    blocked = depth > 0

    scf = _algorithm(blocked, chance[0])
    fpar = _measured(_true_fpar(pixels, DAYS_OF_YEAR[step] + _MIDDLE), depth, blocked, snow, chance[1], rng)
    scf[(scf == _MAIN) & (fpar > _SATURATION)] = _SATURATED

    lost = blocked & (depth > 1.6) & (chance[0] > 0.93)
    unclear = ~lost & (chance[1] > 0.998)
    code = np.where(lost, np.uint8(FILL), np.where(unclear, np.uint8(_UNCLASSIFIED), np.uint8(0)))
    code = np.where(pixels.static > 0, pixels.static, code)
    scf[code > 0] = _NOT_PRODUCED

    retrieved = {"Fpar": fpar, "Lai": _lai_of_fpar()[fpar]}
    for name, deviation in zip(("FparStdDev", "LaiStdDev"), _deviations(fpar), strict=True):
        deviation[(scf == _BAD_GEOMETRY) | (scf == _BACKUP)] = _NO_DEVIATION
        retrieved[name] = deviation
    return {
        **{name: np.where(code > 0, code, values) for name, values in retrieved.items()},
        "FparLai_QC": scf | (pixels.biome << _BIOME_SHIFT),
        "FparExtra_QC": _extra_qc(depth, blocked, snow, chance[2]),
    }


def empty_layers(rows: int, columns: int) -> dict[str, np.ndarray]:
    """Return all six layers full of fill."""
    return {name: np.full((rows, columns), FILL, np.uint8) for name in LAYERS}


@lru_cache(maxsize=1)
def _fpar_by_day() -> np.ndarray:
    return fpar_table()


def _true_fpar(pixels: Composition, day: int) -> np.ndarray:
    """Return the true FPAR (0..100) of each pixel: the shares' mean."""
    table = _fpar_by_day()
    column = np.int32(day - FIRST_DAY) - pixels.shift
    value = table.ravel().take(pixels.curve.astype(np.int32) * table.shape[1] + column)
    weighted = value * pixels.vigour * pixels.points
    return np.add.reduceat(weighted, pixels.first) / POINTS + pixels.soil


def _algorithm(blocked: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return SCF_QC: the main algorithm mostly fails under cloud; it rarely fails under clear sky."""
    under_cloud = np.select([chance < 0.25, chance < 0.40], [_MAIN, _BAD_GEOMETRY], _BACKUP)
    clear = np.where(chance < 0.008, _BAD_GEOMETRY, _MAIN)
    return np.where(blocked, under_cloud, clear).astype(np.uint8)


def _measured(
    fpar: np.ndarray,
    depth: np.ndarray,
    blocked: np.ndarray,
    snow: np.ndarray,
    chance: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the retrieved FPAR, uint8 0..100: cloud and snow mostly lower it, some cloud is not flagged."""
    noise = rng.standard_normal(fpar.shape, dtype=np.float32)
    loss = rng.random(fpar.shape, dtype=np.float32)
    missed = ~blocked & (chance < _MISSED_CLOUD[0] + _MISSED_CLOUD[1] * np.exp(np.minimum(depth, 0) / _EDGE))
    kept = np.where(blocked, 1 - 0.85 * loss, np.where(missed, 1 - 0.45 * loss, 1))
    kept = np.where(snow, 0.4 * kept, kept)
    spread = np.where(blocked, _CLOUDY_NOISE, _NOISE[0] + _NOISE[1] * fpar)
    return np.rint(np.clip(fpar * kept + spread * noise, 0, 100)).astype(np.uint8)


def _extra_qc(depth: np.ndarray, blocked: np.ndarray, snow: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return cloud state, shadow, cirrus, aerosol and snow, of which every blocked pixel has at least one."""
    edge = depth < _EDGE
    shadow = blocked & edge & (chance < 0.18)
    cirrus = blocked & edge & (chance > 0.86)
    state = np.where(depth < -_EDGE, 0, _PROBABLY_CLEAR)
    clouded = blocked & ~shadow & ~cirrus
    state[clouded] = np.where(edge, _PROBABLY_CLOUDY, _CLOUDY)[clouded]
    aerosol = np.select([blocked, depth > -0.9, depth > -2.0], [0, 3 * (chance > 0.7) + 2 * (chance <= 0.7), 2], 1)
    return (state + shadow * _SHADOW + cirrus * _CIRRUS + (aerosol << _AEROSOL_SHIFT) + snow * _SNOW).astype(np.uint8)


@lru_cache(maxsize=1)
def _lai_of_fpar() -> np.ndarray:
    """Return LAI (0.1 units) of FPAR 0..100 by Beer's law, FPAR = 0.95 (1 - exp(-0.5 LAI)), at most 7."""
    fpar = np.minimum(np.arange(101) / 100, 0.94)
    return np.rint(10 * np.minimum(-2 * np.log(1 - fpar / 0.95), 7)).astype(np.uint8)


def _deviations(fpar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviations of FPAR and LAI like the main algorithm's: widest at middle FPAR and high LAI."""
    of_fpar = 2 + np.arange(101) * (100 - np.arange(101)) // 260
    of_lai = 1 + _lai_of_fpar() // 5
    return of_fpar.astype(np.uint8)[fpar], of_lai.astype(np.uint8)[fpar]

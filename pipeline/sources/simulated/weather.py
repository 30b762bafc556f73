"""Clouds, snow and the year's seasons: coherent in space and time, on the lattice of `geography`."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from pipeline.base.calendar import DAYS_OF_YEAR
from pipeline.sources.simulated.draws import generator, smooth_fields
from pipeline.sources.simulated.geography import SHAPE, geography

# weight of each correlation length, in nodes 4 km apart: fronts down to cloud banks
_CLOUD_SCALES: Final[dict[float, float]] = {16: 0.6, 6: 0.5, 2.5: 0.45}
_CLOUD_MEMORY: Final = 0.3  # correlation between successive composites
_RAGGEDNESS: Final = 0.25  # of cloud edges, pixel by pixel
_CLOUDY_SEASON: Final = 0.45  # power of the yearly wave: below 1, clear weather is short and falls in high summer
_CLOUDIEST_DAY: Final = 52  # of the year, so that springs are cloudier than autumns
_CLEAREST: Final = -2.25  # normal quantile of the share of gaps in high summer
_CLOUDIER: Final = 2.22  # what the cloudiest day adds
_NORTH: Final = 0.80  # added in winter towards the Alps, and subtracted towards Sicily
_FOG: Final = 0.30  # added at New Year in the Po plain
_SEASON_SCALES: Final[dict[float, float]] = {45: 1.0}


@dataclass(frozen=True)
class Weather:
    """The weather of a year; depth (46, *SHAPE) is above 0 where the sky was not clear in eight days."""

    depth: np.ndarray
    snow_line: np.ndarray  # (46, *SHAPE), metres
    late: np.ndarray  # (2, *SHAPE): days by which the first and second half of the year run late
    vigour: np.ndarray  # (2, *SHAPE): factors on FPAR


@lru_cache(maxsize=2)
def weather(seed: int, year: int) -> Weather:
    """Return the weather of a year in the country of a seed."""
    rng = generator(seed, year, 3)
    fronts = smooth_fields(rng, len(DAYS_OF_YEAR), SHAPE, _CLOUD_SCALES)
    for before, now in pairwise(fronts):
        now *= np.sqrt(1 - _CLOUD_MEMORY**2)
        now += _CLOUD_MEMORY * before
    # pixels add their own noise to the depth; a wider threshold keeps the share of gaps
    depth = fronts + _cloud_probit(seed, rng) * np.sqrt(1 + _RAGGEDNESS**2)
    seasons = smooth_fields(rng, 4, SHAPE, _SEASON_SCALES)
    national = rng.standard_normal(4)
    anomaly = 0.6 * national[:, None, None] + 0.8 * seasons
    return Weather(
        depth=depth.astype(np.float32),
        snow_line=_snow_line(seed, rng),
        late=(5.0 * anomaly[:2]).astype(np.float32),
        vigour=np.exp(0.05 * anomaly[2:]).astype(np.float32),
    )


def _cloud_probit(seed: int, rng: np.random.Generator) -> np.ndarray:
    """Return the normal quantile of the share of gaps, (46, *SHAPE).

    Winters and springs are cloudy, more so in the north, over mountains and, with fog, in the Po plain; summers are
    clear but for storms over mountains.
    """
    country = geography(seed)
    day = np.array(DAYS_OF_YEAR)[:, None, None] + 4
    winter = (0.5 + 0.5 * np.cos(2 * np.pi * (day - _CLOUDIEST_DAY) / 365)) ** _CLOUDY_SEASON
    fog = np.exp(-(((day - 365 * (day > 182) - 2) / 38) ** 2))
    mountains = np.clip(country.height / 1500, 0, 1.3)
    north = np.clip((country.latitude - 41.5) / 4, -1, 1)
    mean = _CLEAREST + _CLOUDIER * winter + (0.50 - 0.15 * winter) * mountains
    mean = mean + _NORTH * winter * north + _FOG * fog * country.plain
    return mean + 0.08 * rng.standard_normal((len(DAYS_OF_YEAR), 1, 1)) + 0.04 * rng.standard_normal()


def _snow_line(seed: int, rng: np.random.Generator) -> np.ndarray:
    country = geography(seed)
    day = np.array(DAYS_OF_YEAR)[:, None, None] + 4
    summer = 0.5 - 0.5 * np.cos(2 * np.pi * (day - 35) / 365)
    noise = 180 * smooth_fields(rng, len(DAYS_OF_YEAR), SHAPE, {20.0: 1.0, 4.0: 0.6})
    return (950 + 110 * (46 - country.latitude) + 2300 * summer + noise).astype(np.float32)


def ragged(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return cloud depth at pixels: the lattice's, with ragged edges of single pixels."""
    return depth + np.float32(_RAGGEDNESS) * rng.standard_normal(depth.shape, dtype=np.float32)

"""Land cover and crops: their EUCROPMAP codes, biomes, and FPAR through the year.

Sowing and harvest after the crop calendars of WorldCereal and of USDA FAS for Italy: winter cereals are sown in October
and November and cut in June and July; summer crops are sown from April to June and cut from August to October.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

COVERS: Final = ("urban", "arable", "groves", "woods", "pasture", "bare")


@dataclass(frozen=True)
class Stand:
    """A stand of green leaves: rise and fall by half at two days of the year, with their time scales in days."""

    amplitude: float
    rise: float
    rise_scale: float
    fall: float
    fall_scale: float


@dataclass(frozen=True)
class Curve:
    """FPAR (0..1) of one kind of vegetation through the year: bare ground plus stands.

    Attributes:
        code: EUCROPMAP code.
        biome: BiomeType of FparLai_QC.
        ground: FPAR without any stand.
        stands: added up, limited to 0..1.
        delay: days later a degree further north or 130 m higher up.
        scatter: standard deviation of the delay between fields, in days.
    """

    name: str
    code: int
    biome: int
    ground: float
    stands: tuple[Stand, ...]
    delay: float
    scatter: float


@dataclass(frozen=True)
class Crop:
    """A crop, and the ways to grow it: curve names with their shares, in the north and in the south."""

    name: str
    north: dict[str, float]
    south: dict[str, float] = field(default_factory=dict)


_SOIL: Final = 0.06
_REGROWTH: Final = Stand(0.30, 222, 10, 305, 14)  # weeds and volunteers on stubble
_CATCH: Final = Stand(0.60, 205, 9, 277, 9)  # a second, irrigated crop sown into the stubble
_WEEDS: Final = Stand(0.22, 30, 25, 108, 8)  # in the winter before a summer crop
_COVER: Final = Stand(0.46, 48, 18, 122, 6)  # ryegrass or another cover crop before a summer crop
_AUTUMN: Final = Stand(0.13, 308, 14, 400, 20)  # green after the harvest of a summer crop


def _winter(name: str, code: int, early: float, late: float, rise: float, fall: float, biome: int = 1) -> list[Curve]:
    """Return the curves of a winter crop, seedlings and main stand: alone, with regrowth, or with a second crop."""
    main = (Stand(early, -25, 14, fall, 7), Stand(late, rise, 12, fall, 7))
    ways = {"": (), "+regrowth": (_REGROWTH,), "+second": (_CATCH,)}
    return [Curve(name + way, code, biome, _SOIL, main + more, 3.4, 9.0) for way, more in ways.items()]


def _summer(name: str, code: int, amplitude: float, rise: float, fall: float, biome: int) -> list[Curve]:
    main = (Stand(amplitude, rise, 8, fall, 8),)
    ways = {"": (), "+weeds": (_WEEDS, _AUTUMN), "+cover": (_COVER,)}
    return [Curve(name + way, code, biome, _SOIL, main + more, 1.6, 10.0) for way, more in ways.items()]


CURVES: Final[tuple[Curve, ...]] = (
    *_winter("wheat", 211, 0.14, 0.66, 84, 166),
    *_winter("durum", 212, 0.15, 0.60, 76, 158),
    *_winter("barley", 213, 0.16, 0.60, 77, 151),
    *_winter("rapeseed", 232, 0.22, 0.60, 78, 160, biome=3),
    *_summer("maize", 216, 0.82, 160, 252, 1),
    *_summer("soya", 233, 0.82, 172, 261, 3),
    *_summer("sunflower", 231, 0.70, 152, 227, 3),
    Curve("rice", 217, 1, 0.05, (Stand(0.82, 172, 8, 260, 8), Stand(0.10, 30, 25, 105, 8)), 1.0, 8.0),
    Curve("fodder", 250, 1, 0.12, (Stand(0.42, 75, 14, 165, 16), Stand(0.30, 170, 14, 310, 16)), 3.0, 12.0),
    Curve("pasture, humid", 500, 1, 0.14, (Stand(0.56, 92, 14, 298, 18),), 3.0, 9.0),
    Curve("pasture, dry", 500, 1, 0.16, (Stand(0.44, -60, 25, 152, 14), Stand(0.10, 270, 15, 400, 30)), 3.4, 10.0),
    Curve("woods, broadleaf", 300, 6, 0.20, (Stand(0.68, 112, 9, 303, 11),), 3.0, 6.0),
    Curve("woods, needleleaf", 300, 7, 0.60, (Stand(0.16, 105, 20, 305, 20),), 2.0, 6.0),
    Curve("woods, evergreen", 300, 5, 0.58, (Stand(0.12, -60, 30, 175, 25),), 2.0, 6.0),
    Curve("groves", 300, 4, 0.30, (Stand(0.18, -60, 30, 148, 16), Stand(0.06, 200, 30, 300, 20)), 2.0, 10.0),
    Curve("urban", 100, 10, 0.09, (Stand(0.16, 90, 18, 300, 20),), 2.0, 5.0),
    Curve("bare", 600, 9, 0.04, (Stand(0.10, 165, 12, 262, 12),), 1.0, 5.0),
    Curve("water", 700, 0, 0.03, (), 0.0, 0.0),
)
CURVE_INDEX: Final = {curve.name: n for n, curve in enumerate(CURVES)}
CODES: Final = np.array([curve.code for curve in CURVES], np.int16)
BIOMES: Final = np.array([curve.biome for curve in CURVES], np.uint8)


def _cereal(name: str) -> Crop:
    """Return the ways to grow a cereal: in the north many fields have a second crop; southern summers are too dry."""
    second = {name: 0.22, f"{name}+regrowth": 0.40, f"{name}+second": 0.38}
    return Crop(name, second, {name: 0.85, f"{name}+regrowth": 0.15})


def _row_crop(name: str) -> Crop:
    return Crop(name, {name: 0.28, f"{name}+weeds": 0.30, f"{name}+cover": 0.42})


CROPS: Final[tuple[Crop, ...]] = (
    *(_cereal(name) for name in ("wheat", "durum", "barley", "rapeseed")),
    *(_row_crop(name) for name in ("maize", "soya", "sunflower")),
    Crop("rice", {"rice": 1.0}),
    Crop("fodder", {"fodder": 1.0}),
)

FIRST_DAY: Final = -150  # of the lookup table; days count from 1 January = 1
_LAST_DAY: Final = 560


def fpar_table() -> np.ndarray:
    """Return FPAR of every curve for every day.

    Returns:
        float32 (curves, days), in 0..100; column n is day `FIRST_DAY` + n.
    """
    days = np.arange(FIRST_DAY, _LAST_DAY + 1)
    table = np.empty((len(CURVES), days.size))
    for row, curve in zip(table, CURVES, strict=True):
        row[:] = curve.ground
        for stand in curve.stands:
            # a stand that lives over New Year is at both ends of the table
            row += sum(_double_logistic(stand, days - 365 * year) for year in (-1, 0, 1))
    return (100 * np.clip(table, 0, 1)).astype(np.float32)


def _double_logistic(stand: Stand, day: np.ndarray) -> np.ndarray:
    rise = 1 / (1 + np.exp(-(day - stand.rise) / stand.rise_scale))
    fall = 1 / (1 + np.exp((day - stand.fall) / stand.fall_scale))
    return stand.amplitude * rise * fall

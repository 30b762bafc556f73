"""Italy in tables: mountain crests, lakes, cities, and farming zones. Longitudes and latitudes in degrees."""

from dataclasses import dataclass
from typing import Final

Point = tuple[float, float]


@dataclass(frozen=True)
class Ridge:
    """A mountain range: its crest as (longitude, latitude, height in metres), and the half-width of its slopes."""

    crest: tuple[tuple[float, float, float], ...]
    width: float  # km


@dataclass(frozen=True)
class Zone:
    """A farming zone: shares of land cover in its lowlands, and of crops on its arable land."""

    name: str
    centres: tuple[Point, ...]
    reach: float  # km: distance at which its weight falls
    parcel: float  # m: typical width of a parcel
    arable: float
    groves: float  # olives, vines, orchards
    woods: float
    pasture: float
    farmed_up_to: float  # m: height at which half of the land is farmed
    vigour: float  # typical factor on FPAR of rain and irrigation
    crops: dict[str, float]


RIDGES: Final = (
    Ridge(  # Alps
        (
            (7.2, 44.1, 2300),
            (7.0, 44.8, 2900),
            (7.0, 45.5, 3300),
            (7.8, 45.95, 3800),
            (8.5, 46.35, 2900),
            (9.6, 46.4, 3100),
            (10.5, 46.5, 3300),
            (11.4, 46.9, 3000),
            (12.3, 46.9, 2900),
            (13.5, 46.5, 2200),
        ),
        44,
    ),
    Ridge(((10.1, 46.0, 2300), (11.0, 45.9, 1900), (11.8, 46.35, 2800), (12.6, 46.3, 2200)), 34),  # Prealps, Dolomites
    Ridge(((7.4, 44.15, 1800), (8.3, 44.4, 900), (9.2, 44.55, 1200), (10.1, 44.35, 1700)), 24),  # Ligurian range
    Ridge(((10.1, 44.35, 1800), (11.0, 44.05, 1600), (12.0, 43.7, 1200), (12.9, 43.1, 1300)), 27),
    Ridge(((12.9, 43.1, 1700), (13.4, 42.5, 2200), (14.0, 42.05, 2200), (14.3, 41.5, 1700)), 34),
    Ridge(((14.3, 41.5, 1500), (15.2, 40.8, 1300), (15.8, 40.3, 1500), (16.1, 39.9, 1700)), 27),
    Ridge(((16.1, 39.9, 1500), (16.2, 39.4, 1200), (16.5, 39.3, 1700), (16.4, 38.7, 1000), (15.9, 38.15, 1700)), 15),
    Ridge(((15.3, 38.1, 900), (14.6, 37.95, 1500), (13.9, 37.9, 1500), (13.3, 37.95, 900)), 14),  # northern Sicily
    Ridge(((14.4, 37.5, 800), (13.6, 37.6, 750), (13.1, 37.75, 500)), 35),  # Sicily inland
    Ridge(((9.3, 40.0, 1500), (9.3, 40.4, 900), (9.1, 40.9, 900)), 32),  # eastern Sardinia
)
MASSIFS: Final = (  # longitude, latitude, height in m, half-width in km
    (15.0, 37.75, 3100.0, 14.0),  # Etna
    (14.85, 37.0, 750.0, 22.0),  # Iblei
    (15.85, 41.8, 800.0, 18.0),  # Gargano
    (16.4, 40.95, 500.0, 30.0),  # Murge
    (11.6, 42.9, 900.0, 18.0),  # Amiata
    (10.9, 43.15, 450.0, 30.0),
    (11.6, 43.6, 600.0, 26.0),
    (8.6, 39.4, 700.0, 20.0),  # Iglesiente
    (8.2, 44.85, 330.0, 26.0),  # Monferrato
    (11.7, 45.3, 350.0, 6.0),  # Colli Euganei
    (13.9, 41.4, 1100.0, 16.0),
    (12.7, 42.2, 800.0, 20.0),
)
LAKES: Final = (  # two ends and half-width in km: everything nearer to the segment is water
    ((10.60, 45.50), (10.70, 45.62), 5.5),  # Garda, south
    ((10.70, 45.62), (10.85, 45.85), 2.4),  # Garda, north
    ((8.55, 45.75), (8.70, 46.10), 2.2),  # Maggiore
    ((9.05, 45.82), (9.30, 46.15), 1.9),  # Como
    ((9.25, 45.98), (9.40, 45.86), 1.6),
    ((10.05, 45.67), (10.07, 45.79), 2.2),  # Iseo
    ((12.09, 43.13), (12.12, 43.14), 5.4),  # Trasimeno
    ((11.93, 42.59), (11.94, 42.60), 6.0),  # Bolsena
    ((12.23, 42.12), (12.24, 42.12), 4.2),  # Bracciano
    ((12.17, 44.55), (12.20, 44.62), 5.0),  # Comacchio
    ((12.25, 45.35), (12.45, 45.50), 4.5),  # lagoon of Venice
)
CITIES: Final = (  # longitude, latitude, radius in km of the built-up core
    (9.19, 45.46, 13.0),
    (12.49, 41.89, 13.0),
    (14.27, 40.86, 11.0),
    (7.68, 45.07, 9.0),
    (13.36, 38.11, 6.0),
    (8.93, 44.41, 5.0),
    (11.34, 44.49, 6.0),
    (11.25, 43.78, 6.0),
    (16.87, 41.12, 5.5),
    (15.08, 37.51, 6.0),
    (10.99, 45.44, 5.5),
    (12.24, 45.48, 4.5),
    (11.88, 45.41, 5.5),
    (15.55, 38.19, 4.0),
    (13.77, 45.65, 4.0),
    (10.22, 45.54, 5.5),
    (9.67, 45.69, 5.5),
    (10.33, 44.80, 4.5),
    (10.93, 44.65, 4.5),
    (17.23, 40.47, 4.5),
    (9.12, 39.22, 4.5),
    (15.54, 41.46, 4.0),
    (13.24, 46.06, 4.0),
    (12.57, 44.06, 4.0),
    (12.39, 43.11, 3.5),
    (13.51, 43.60, 3.5),
    (14.21, 42.46, 4.5),
    (18.17, 40.35, 3.5),
    (8.56, 40.73, 3.0),
    (11.62, 44.84, 3.5),
    (8.61, 45.45, 3.5),
    (10.02, 45.13, 3.0),
    (14.78, 40.68, 4.5),
)

ZONES: Final = (
    Zone("alps", ((7.2, 45.6), (8.4, 46.2), (10.3, 46.4), (11.5, 46.6), (12.8, 46.5), (7.2, 44.6), (11.0, 46.1)),
         45, 170, 0.15, 0.15, 0.35, 0.35, 600, 0.95,
         {"maize": 0.4, "wheat": 0.2, "barley": 0.2, "fodder": 0.2}),
    Zone("rice plain", ((8.35, 45.3), (8.75, 45.2)), 33, 300, 0.86, 0.01, 0.07, 0.06, 300, 1.00,
         {"rice": 0.74, "maize": 0.12, "wheat": 0.07, "soya": 0.05, "barley": 0.02}),
    Zone("piedmont", ((7.7, 44.7), (8.4, 44.85)), 38, 210, 0.66, 0.10, 0.12, 0.12, 380, 1.00,
         {"maize": 0.41, "wheat": 0.36, "barley": 0.10, "soya": 0.05, "rapeseed": 0.02, "sunflower": 0.01,
          "fodder": 0.05}),
    Zone("lombardy", ((9.3, 45.4), (10.0, 45.25), (10.6, 45.2)), 38, 270, 0.80, 0.03, 0.08, 0.09, 350, 1.06,
         {"maize": 0.52, "wheat": 0.17, "soya": 0.12, "barley": 0.08, "rapeseed": 0.01, "rice": 0.01, "fodder": 0.09}),
    Zone("emilia", ((9.7, 45.0), (10.6, 44.75), (11.4, 44.65), (12.0, 44.55)), 36, 260, 0.76, 0.11, 0.06, 0.07,
         400, 1.00,
         {"wheat": 0.38, "durum": 0.12, "maize": 0.17, "soya": 0.08, "barley": 0.05, "sunflower": 0.03,
          "rapeseed": 0.02, "fodder": 0.15}),
    Zone("veneto", ((11.3, 45.2), (11.9, 45.3), (12.4, 45.65)), 36, 230, 0.78, 0.09, 0.06, 0.07, 350, 1.04,
         {"maize": 0.40, "soya": 0.26, "wheat": 0.23, "barley": 0.05, "rapeseed": 0.02, "fodder": 0.04}),
    Zone("friuli", ((13.1, 45.95),), 36, 200, 0.76, 0.09, 0.08, 0.07, 350, 1.02,
         {"maize": 0.47, "soya": 0.30, "wheat": 0.08, "barley": 0.10, "rapeseed": 0.03, "fodder": 0.02}),
    Zone("liguria", ((8.3, 44.1), (9.4, 44.35)), 26, 140, 0.06, 0.30, 0.54, 0.10, 500, 0.90,
         {"wheat": 0.4, "maize": 0.2, "fodder": 0.4}),
    Zone("tuscany", ((10.7, 43.4), (11.5, 43.2), (11.2, 42.7)), 55, 230, 0.36, 0.21, 0.29, 0.14, 430, 0.90,
         {"durum": 0.36, "wheat": 0.14, "sunflower": 0.17, "barley": 0.10, "maize": 0.06, "rapeseed": 0.03,
          "fodder": 0.14}),
    Zone("marche", ((13.3, 43.4), (12.4, 43.0), (12.9, 43.75)), 48, 230, 0.50, 0.12, 0.22, 0.16, 500, 0.93,
         {"durum": 0.43, "wheat": 0.10, "sunflower": 0.21, "barley": 0.11, "maize": 0.04, "rapeseed": 0.02,
          "fodder": 0.09}),
    Zone("lazio", ((12.2, 42.2), (12.9, 41.5)), 45, 220, 0.34, 0.23, 0.21, 0.22, 420, 0.90,
         {"durum": 0.33, "wheat": 0.10, "barley": 0.12, "maize": 0.15, "sunflower": 0.10, "fodder": 0.20}),
    Zone("abruzzo", ((14.1, 42.4), (14.8, 41.8)), 38, 220, 0.36, 0.28, 0.20, 0.16, 520, 0.88,
         {"durum": 0.55, "wheat": 0.07, "barley": 0.10, "sunflower": 0.12, "maize": 0.04, "fodder": 0.12}),
    Zone("campania", ((14.2, 41.0), (14.9, 41.1), (15.0, 40.5)), 36, 170, 0.34, 0.28, 0.23, 0.15, 540, 0.95,
         {"durum": 0.40, "wheat": 0.08, "maize": 0.24, "barley": 0.10, "fodder": 0.18}),
    Zone("tavoliere", ((15.4, 41.5), (15.9, 41.3)), 36, 320, 0.74, 0.16, 0.02, 0.08, 600, 0.88,
         {"durum": 0.84, "wheat": 0.02, "barley": 0.06, "sunflower": 0.04, "rapeseed": 0.01, "fodder": 0.03}),
    Zone("salento", ((16.9, 40.95), (17.8, 40.4)), 42, 170, 0.20, 0.66, 0.02, 0.12, 600, 0.75,
         {"durum": 0.66, "barley": 0.15, "maize": 0.01, "fodder": 0.18}),
    Zone("basilicata", ((16.1, 40.6), (15.8, 41.0)), 38, 270, 0.44, 0.15, 0.23, 0.18, 650, 0.82,
         {"durum": 0.66, "wheat": 0.02, "barley": 0.13, "sunflower": 0.02, "maize": 0.01, "fodder": 0.16}),
    Zone("calabria", ((16.4, 39.2), (16.9, 38.9), (15.9, 38.5)), 45, 170, 0.20, 0.40, 0.28, 0.12, 550, 0.82,
         {"durum": 0.48, "wheat": 0.06, "barley": 0.14, "maize": 0.10, "fodder": 0.22}),
    Zone("sicily", ((13.5, 37.5), (14.5, 37.4), (12.7, 37.8), (14.9, 37.0)), 65, 240, 0.30, 0.38, 0.07, 0.25, 700, 0.75,
         {"durum": 0.74, "barley": 0.07, "rapeseed": 0.01, "fodder": 0.18}),
    Zone("sardinia", ((8.8, 39.6), (9.0, 40.5), (8.4, 40.7)), 80, 230, 0.18, 0.10, 0.28, 0.44, 450, 0.72,
         {"durum": 0.36, "barley": 0.19, "maize": 0.05, "rice": 0.02, "fodder": 0.38}),
)  # fmt: skip
ALPINE: Final = 0  # its place in ZONES

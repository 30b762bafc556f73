"""Texts and attributes of a VNP15A2H granule, as in HDF-EOS5 files of Collection 2."""

import math
from datetime import date, datetime, time, timedelta
from typing import Final

import numpy as np

from pipeline.base.calendar import COMPOSITE_DAYS
from pipeline.grid.sinusoidal import TILE_PIXELS, TILE_SIZE, Tile

SHORT_NAME: Final = "VNP15A2H"
GRID_GROUP: Final = "VNP_Grid_VNP15A2H"
EARTH_RADIUS: Final = 6371007.181  # m
STRUCT_METADATA_BYTES: Final = 32000
LAYERS: Final = ("Fpar", "FparExtra_QC", "FparLai_QC", "FparStdDev", "Lai", "LaiStdDev")

_LONG_NAME: Final = "VIIRS/NPP Leaf Area Index/FPAR 8-Day L4 Global 500m SIN Grid"
_PRODUCTION_DELAY: Final = timedelta(days=COMPOSITE_DAYS + 2, hours=12)

_CODES: Final = """
\t Values that are no data:
\t\t 255 : fill
\t\t 254 : perennial salt or inland fresh water
\t\t 253 : barren, sparse vegetation
\t\t 252 : perennial snow, ice
\t\t 251 : permanent wetlands
\t\t 250 : urban, built-up
\t\t 249 : unclassified or not able to determine
"""
_BACKUP: Final = "\t\t 248 : no standard deviation, pixel from the backup method\n"
_LAI_QC: Final = """
\t Bit Fields Description (Right to Left):
\t[0-2] : SCF_QC
\t\t 0 : main method, best result, no saturation
\t\t 1 : main method, with saturation
\t\t 2 : main method failed for bad geometry, empirical method
\t\t 3 : main method failed for other reasons, empirical method
\t\t 4 : not produced
\t[3] : DeadDetector
\t[4-7] : BiomeType
\t\t 0 : water
\t\t 1 : grasses, cereal crops
\t\t 2 : shrubs
\t\t 3 : broadleaf crops
\t\t 4 : savanna
\t\t 5 : evergreen broadleaf
\t\t 6 : deciduous broadleaf
\t\t 7 : evergreen needleleaf
\t\t 8 : deciduous needleleaf
\t\t 9 : non-vegetated
\t\t 10 : urban
\t\t 11 : unclassified
\t\t 12 : filled value
"""
_EXTRA_QC: Final = """
\t Bit Fields Description (Right to Left):
\t[0-1] : Cloud state
\t\t 0 : confident clear
\t\t 1 : probably clear
\t\t 2 : probably cloudy
\t\t 3 : confident cloudy
\t[2] : Cloud shadow
\t[3] : Thin cirrus
\t[4-5] : Aerosol
\t\t 0 : climatology
\t\t 1 : low
\t\t 2 : average
\t\t 3 : high
\t[6] : Snow, ice
\t[7] : unused
"""

# layer: long name, units, scale factor (None: bit field), Legend
LAYER_TEXTS: Final[dict[str, tuple[str, str, float | None, str]]] = {
    "Fpar": ("Fraction of photosynthetically active radiation (8-day)", "fraction", 0.01, _CODES),
    "FparExtra_QC": ("Extra quality of FPAR and LAI (8-day)", "bit field", None, _EXTRA_QC),
    "FparLai_QC": ("Quality of FPAR and LAI (8-day)", "bit field", None, _LAI_QC),
    "FparStdDev": ("Standard deviation of FPAR (8-day)", "fraction", 0.01, _CODES + _BACKUP),
    "Lai": ("Leaf area index (8-day)", "m^2/m^2", 0.1, _CODES),
    "LaiStdDev": ("Standard deviation of LAI (8-day)", "m^2/m^2", 0.1, _CODES + _BACKUP),
}


def granule_name(tile: Tile, first_day: date) -> str:
    """Return a granule's file name; the production time follows from the date, so that no clock matters."""
    produced = _production_time(first_day)
    return f"{SHORT_NAME}.A{first_day:%Y%j}.{tile}.002.{produced:%Y%j%H%M%S}.h5"


def corners(tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Return XDim and YDim: upper-left corners of columns and rows in metres, from rounded corners as in real files."""
    (left, top), (right, bottom) = _rounded(tile.upper_left), _rounded(tile.lower_right)
    x = np.linspace(left, right, TILE_PIXELS, endpoint=False)
    y = np.linspace(top, bottom, TILE_PIXELS, endpoint=False)
    return x, y


def struct_metadata(tile: Tile) -> str:
    """Return the ODL text of StructMetadata.0: the grid, its place, its layers."""
    fields = [_field(number, name) for number, name in enumerate(LAYERS, start=1)]
    fields.append(
        f"\t\t\tOBJECT=DataField_{len(LAYERS) + 1}\n"
        '\t\t\t\tDataFieldName="Projection"\n'
        "\t\t\t\tDataType=H5T_NATIVE_INT\n"
        '\t\t\t\tDimList=("dimofone")\n'
        '\t\t\t\tMaxdimList=("dimofone")\n'
        f"\t\t\tEND_OBJECT=DataField_{len(LAYERS) + 1}\n"
    )
    upper_left, lower_right = (f"({x:.6f},{y:.6f})" for x, y in (tile.upper_left, tile.lower_right))
    return (
        "GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n\tGROUP=GRID_1\n"
        f'\t\tGridName="{GRID_GROUP}"\n\t\tXDim={TILE_PIXELS}\n\t\tYDim={TILE_PIXELS}\n'
        f"\t\tUpperLeftPointMtrs={upper_left}\n\t\tLowerRightMtrs={lower_right}\n"
        "\t\tProjection=HE5_GCTP_SNSOID\n"
        f"\t\tProjParams=({EARTH_RADIUS:.6f}{',0' * 12})\n\t\tSphereCode=-1\n"
        "\t\tGROUP=Dimension\n\t\t\tOBJECT=Dimension_1\n"
        '\t\t\t\tDimensionName="dimofone"\n\t\t\t\tSize=1\n'
        "\t\t\tEND_OBJECT=Dimension_1\n\t\tEND_GROUP=Dimension\n"
        f"\t\tGROUP=DataField\n{''.join(fields)}\t\tEND_GROUP=DataField\n"
        "\t\tGROUP=MergedFields\n\t\tEND_GROUP=MergedFields\n\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\n"
        "GROUP=PointStructure\nEND_GROUP=PointStructure\nGROUP=ZaStructure\nEND_GROUP=ZaStructure\nEND\n"
    )


def inventory_metadata(master: str, objects: dict[str, str]) -> str:
    """Return an ODL text of one master group: CoreMetadata.0 ("INVENTORYMETADATA") or ArchiveMetadata.0."""
    listed = "".join(
        f'\n\tOBJECT = {name}\n\t   NUM_VAL = 1\n\t   VALUE = "{value}"\n\tEND_OBJECT = {name}\n'
        for name, value in objects.items()
    )
    return f"\nGROUP = {master}\n  GROUPTYPE = MASTERGROUP\n{listed}\nEND_GROUP = {master}\n\nEND\n"


def root_attributes(tile: Tile, first_day: date, file_name: str) -> dict[str, str | np.ndarray]:
    """Return attributes of the file: texts, and float64 arrays of its bounds in degrees.

    `ProcessingCenter` and `LongName` say that the file is simulated; a real file carries LandSIPS and the plain name.
    """
    last_day = first_day + timedelta(days=COMPOSITE_DAYS - 1)
    first, last = f"{first_day} 00:00:00.000", f"{last_day} 23:59:59.000"
    days = ", ".join(str((first_day + timedelta(days=n)).timetuple().tm_yday) for n in range(COMPOSITE_DAYS))
    bounds = _bounds(tile)
    return {
        "AlgorithmType": "SCI",
        "AlgorithmVersion": "sitscube simulation",
        "Conventions": "CF-1.6",
        "DataResolution": "500m",
        "DayNightFlag": "Day",
        "DayNumbers": days,
        "EastBoundingCoord": bounds["East"],
        "EndTime": last,
        "GRingLatitude": bounds["Latitude"],
        "GRingLongitude": bounds["Longitude"],
        "HORIZONTALTILENUMBER": f"{tile.h:02d}",
        "InputPointer": "none: simulated",
        "LocalGranuleID": file_name,
        "LongName": f"{_LONG_NAME} (simulated)",
        "NorthBoundingCoord": bounds["North"],
        "PGE_EndTime": last,
        "PGE_Name": "simulated",
        "PGE_StartTime": first,
        "PlatformShortName": "SUOMI-NPP",
        "ProcessVersion": "002",
        "ProcessingCenter": "sitscube (simulated)",
        "ProductionTime": f"{_production_time(first_day):%Y-%m-%d %H:%M:%S}.000",
        "RangeBeginningDate": f"{first_day}",
        "RangeBeginningTime": "00:00:00.000000",
        "RangeEndingDate": f"{last_day}",
        "RangeEndingTime": "23:59:59.000000",
        "SatelliteInstrument": "NPP_OPS",
        "SensorShortname": "VIIRS",
        "ShortName": SHORT_NAME,
        "SouthBoundingCoord": bounds["South"],
        "StartTime": first,
        "TileID": f"51{tile.h:03d}{tile.v:03d}",
        "VERTICALTILENUMBER": f"{tile.v:02d}",
        "VersionID": "002",
        "WestBoundingCoord": bounds["West"],
        "identifier_product_doi": f"10.5067/VIIRS/{SHORT_NAME}.002",
        "identifier_product_doi_authority": "https://doi.org",
    }


def _production_time(first_day: date) -> datetime:
    return datetime.combine(first_day, time()) + _PRODUCTION_DELAY


def _rounded(corner: tuple[float, float]) -> tuple[float, float]:
    return round(corner[0], 6), round(corner[1], 6)


def _field(number: int, name: str) -> str:
    return (
        f"\t\t\tOBJECT=DataField_{number}\n"
        f'\t\t\t\tDataFieldName="{name}"\n'
        "\t\t\t\tDataType=H5T_NATIVE_UCHAR\n"
        '\t\t\t\tDimList=("YDim","XDim")\n'
        '\t\t\t\tMaxdimList=("YDim","XDim")\n'
        "\t\t\t\tCompressionType=HE5_HDFE_COMP_DEFLATE\n"
        "\t\t\t\tDeflateLevel=5\n"
        f"\t\t\tEND_OBJECT=DataField_{number}\n"
    )


def _bounds(tile: Tile) -> dict[str, np.ndarray]:
    """Return bounding coordinates and ring of the tile in degrees; the ring goes LL, UL, UR, LR."""
    degree = TILE_SIZE / 10  # metres of one degree along a meridian
    (left, top), (right, bottom) = tile.upper_left, tile.lower_right
    north, south = top / degree, bottom / degree

    def longitude(x: float, latitude: float) -> float:
        stretched = x / degree / max(math.cos(math.radians(latitude)), 1e-12)
        return max(-180.0, min(180.0, stretched))

    ring = [(left, south), (left, north), (right, north), (right, south)]
    longitudes = [longitude(x, latitude) for x, latitude in ring]
    return {
        "North": np.array([north]),
        "South": np.array([south]),
        "West": np.array([min(longitudes)]),
        "East": np.array([max(longitudes)]),
        "Latitude": np.array([latitude for _, latitude in ring]),
        "Longitude": np.array(longitudes),
    }

"""Codes of VIIRS LAI/FPAR granules: those of Fpar, bit fields of both quality layers, and quality policies.

Source: VIIRS LAI/FPAR user guide; bit tables of the Earth Engine catalogue, NASA/VIIRS/002/VNP15A2H, which are the same
for versions 001 and 002. The layers have the names of those of MODIS (MOD15A2H), but their bits have other meanings.
"""

from typing import Final

from pipeline.sources.quality import BitField, Rule

FPAR_MAX: Final = 100  # raw 0..100 are values, in percent

# codes of Fpar above the values
UNCLASSIFIED: Final = 249  # or not able to determine, on this date
URBAN: Final = 250
WETLAND: Final = 251  # permanent
SNOW_ICE: Final = 252  # perennial
BARREN: Final = 253  # rock, tundra, desert, sparse vegetation
WATER: Final = 254  # perennial salt or inland fresh water
FILL: Final = 255  # surface reflectance or land cover were fill
STATIC_CODES: Final = (URBAN, WETLAND, SNOW_ICE, BARREN, WATER)  # land covers that have no value on any date
CODE_NAMES: Final = {
    UNCLASSIFIED: "unclassified",
    URBAN: "urban",
    WETLAND: "wetland",
    SNOW_ICE: "snow or ice",
    BARREN: "barren",
    WATER: "water",
    FILL: "fill",
}

QUALITY: Final = "FparLai_QC"
EXTRA: Final = "FparExtra_QC"

QC_FIELDS: Final = {
    # 0 main method, best; 1 main method, saturated; 2 empirical, bad geometry; 3 empirical, other; 4 not produced
    "SCF_QC": BitField(QUALITY, 0, 2),
    # 1: of at least one band
    "DeadDetector": BitField(QUALITY, 3, 3),
    # 0 water; 1 grasses, cereal crops; 2 shrubs; 3 broadleaf crops; 4 savanna; 5 evergreen broadleaf; 6 deciduous
    # broadleaf; 7 evergreen needleleaf; 8 deciduous needleleaf; 9 non-vegetated; 10 urban; 11 unclassified; 12 fill
    "BiomeType": BitField(QUALITY, 4, 7),
    # 0 confident clear; 1 probably clear; 2 probably cloudy; 3 confident cloudy
    "CloudState": BitField(EXTRA, 0, 1),
    "CloudShadow": BitField(EXTRA, 2, 2),
    "ThinCirrus": BitField(EXTRA, 3, 3),
    # 0 climatology; 1 low; 2 average; 3 high
    "Aerosol": BitField(EXTRA, 4, 5),
    "SnowIce": BitField(EXTRA, 6, 6),
}
CROP_BIOMES: Final = (1, 3)  # grasses and cereal crops; broadleaf crops


def rule(field: str, *accept: int) -> Rule:
    """Return a rule on one of `QC_FIELDS`."""
    return Rule(field, QC_FIELDS[field], accept)


_UNSPOILT: Final = (rule("CloudShadow", 0), rule("ThinCirrus", 0), rule("SnowIce", 0))
QC_POLICIES: Final = {
    "strict": (rule("SCF_QC", 0), rule("DeadDetector", 0), rule("CloudState", 0), *_UNSPOILT),
    "standard": (rule("SCF_QC", 0, 1), rule("CloudState", 0, 1), *_UNSPOILT),
    "loose": (rule("SCF_QC", 0, 1, 2, 3),),
}

"""VIIRS LAI/FPAR granules (VNP15A2H and its NOAA-20 and NOAA-21 twins), HDF-EOS5 on the sinusoidal grid.

Source: VIIRS LAI/FPAR user guide; bit tables of the Earth Engine catalogue, NASA/VIIRS/002/VNP15A2H.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from pipeline.calendar import DAYS_OF_YEAR
from pipeline.errors import GranuleError, UserError
from pipeline.layout import SIMULATED
from pipeline.sources.sinusoidal import TILE_PIXELS, Tile

NAME: Final = re.compile(r"^(VNP|VJ1|VJ2)15A2H\.A(\d{4})(\d{3})\.(h\d{2}v\d{2})\.(\d{3})\.(\d{13})\.h5$")
FPAR_MAX: Final = 100  # raw values above are codes: 249 unclassified .. 254 water, 255 fill
FILL: Final = 255

# FparLai_QC
SCF_QC: Final = 0b0000_0111  # algorithm: 0 main, 1 main with saturation, 2 and 3 empirical backup, 4 not produced
DEAD_DETECTOR: Final = 0b0000_1000
BIOME_SHIFT: Final = 4  # bits 4-7: BiomeType
CROP_BIOMES: Final = (1, 3)  # grasses and cereal crops; broadleaf crops

# FparExtra_QC
CLOUD_STATE: Final = 0b0000_0011  # 0 confident clear, 1 probably clear, 2 probably cloudy, 3 confident cloudy
CLOUD_SHADOW: Final = 0b0000_0100
THIN_CIRRUS: Final = 0b0000_1000
AEROSOL: Final = 0b0011_0000  # 0 climatology, 1 low, 2 average, 3 high
SNOW_ICE: Final = 0b0100_0000

_LAYERS: Final = ("Fpar", "FparLai_QC", "FparExtra_QC")
_CORNER_TOLERANCE: Final = 0.01  # m: metadata are printed to six decimals


@dataclass(frozen=True)
class QcPolicy:
    """Which observations count: largest algorithm code and cloud state, and bits of FparExtra_QC that must be unset."""

    scf_max: int
    cloud_max: int
    forbidden: int
    reject_dead_detector: bool = False


QC_POLICIES: Final = {
    "strict": QcPolicy(0, 0, CLOUD_SHADOW | THIN_CIRRUS | SNOW_ICE, reject_dead_detector=True),
    "standard": QcPolicy(1, 1, CLOUD_SHADOW | THIN_CIRRUS | SNOW_ICE),
    "loose": QcPolicy(3, 3, 0),
}


@dataclass(frozen=True)
class Granule:
    """One file: one tile of one composite."""

    path: Path
    product: str
    version: str
    year: int
    day: int  # of the year, the composite's first
    tile: Tile
    produced: str  # production time, as written in the name

    def __str__(self) -> str:
        return self.path.name


def parse_name(path: Path) -> Granule | None:
    """What a file's name says, or None if it is no LAI/FPAR granule's."""
    match = NAME.match(path.name)
    if match is None:
        return None
    satellite, year, day, tile, version, produced = match.groups()
    return Granule(path, f"{satellite}15A2H", version, int(year), int(day), Tile.parse(tile), produced)


def find_granules(folder: Path, year: int) -> list[Granule]:
    """The year's granules in a folder, the newest production of each tile and date, ordered by date and tile.

    Raises:
        UserError: the folder is missing or holds none of the year's, or mixes products or versions.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the folder of the granules with --granules.")
    named = [granule for path in sorted(folder.glob("*.h5")) if (granule := parse_name(path))]
    found = [granule for granule in named if granule.year == year]
    if not found:
        years = sorted({granule.year for granule in named})
        there = f"granules of {', '.join(map(str, years))}" if years else "no LAI/FPAR granule"
        raise UserError(
            f"{folder} holds {there}, none of {year}. Names look like VNP15A2H.A{year}001.h18v04.002.<production>.h5; "
            "give another folder with --granules, or another --year."
        )
    kinds = sorted({(granule.product, granule.version) for granule in found})
    if len(kinds) > 1:
        raise UserError(
            f"{folder} mixes {', '.join(f'{product}.{version}' for product, version in kinds)}: their values do not "
            "compare. Keep one product and one version in the folder."
        )
    newest: dict[tuple[int, Tile], Granule] = {}
    for granule in sorted(found, key=lambda granule: granule.produced):
        newest[granule.day, granule.tile] = granule
    return [newest[key] for key in sorted(newest)]


def check(granule: Granule) -> dict[str, str]:
    """Open a granule and hold its content against its name, without reading pixels.

    Returns:
        What later stages need of its attributes: "simulated" (its text, or empty).

    Raises:
        GranuleError: it is truncated, no HDF5, lacks a layer, is of another shape or place than its
            name says, or starts on no day of the calendar.
    """
    if granule.day not in DAYS_OF_YEAR:
        raise GranuleError(f"{granule}: day {granule.day} is no first day of an eight-day composite")
    with _open(granule) as file:
        fields = _fields(granule, file)
        for name in _LAYERS:
            layer = fields[name]
            if layer.shape != (TILE_PIXELS, TILE_PIXELS) or layer.dtype != np.uint8:
                raise GranuleError(
                    f"{granule}: {name} is {layer.dtype} {layer.shape}, not uint8 ({TILE_PIXELS}, {TILE_PIXELS})"
                )
        _check_place(granule, file)
        simulated = file.attrs.get(SIMULATED, b"")
        return {"simulated": simulated.decode() if isinstance(simulated, bytes) else str(simulated)}


def read(granule: Granule, rows: slice, columns: slice) -> dict[str, np.ndarray]:
    """Read a window of the three layers that FPAR needs.

    Args:
        granule: which file.
        rows: rows of the tile; only these rows' chunks are read.
        columns: columns of the tile.

    Returns:
        Raw uint8 arrays by layer name.

    Raises:
        GranuleError: the file cannot be opened or its pixels cannot be decoded.
    """
    with _open(granule) as file:
        fields = _fields(granule, file)
        try:
            return {name: fields[name][rows, columns] for name in _LAYERS}
        except OSError as error:
            raise GranuleError(f"{granule}: pixels cannot be decoded ({error})") from None


def valid(layers: dict[str, np.ndarray], policy: QcPolicy) -> np.ndarray:
    """Which pixels hold an observation that a policy accepts.

    Args:
        layers: raw arrays as `read` gives them.
        policy: one of `QC_POLICIES`.

    Returns:
        Boolean array.
    """
    quality, extra = layers["FparLai_QC"], layers["FparExtra_QC"]
    accepted = (
        (layers["Fpar"] <= FPAR_MAX)
        & ((quality & SCF_QC) <= policy.scf_max)
        & ((extra & CLOUD_STATE) <= policy.cloud_max)
        & ((extra & policy.forbidden) == 0)
    )
    if policy.reject_dead_detector:
        accepted &= (quality & DEAD_DETECTOR) == 0
    return accepted


def crop_biome(layers: dict[str, np.ndarray]) -> np.ndarray:
    """Which pixels the product's land cover calls crops or grassland (BiomeType of FparLai_QC)."""
    return np.isin(layers["FparLai_QC"] >> BIOME_SHIFT, CROP_BIOMES)


def tiles_of(granules: Iterable[Granule]) -> list[Tile]:
    """The tiles that occur, in order."""
    return sorted({granule.tile for granule in granules})


def _open(granule: Granule) -> h5py.File:
    try:
        return h5py.File(granule.path, "r")
    except FileNotFoundError:
        raise GranuleError(f"{granule}: the file is gone") from None
    except OSError as error:
        reason = "truncated" if "truncated" in str(error) else "no HDF5 file, or a damaged one"
        raise GranuleError(f"{granule}: {reason}; fetch it again") from None


def _fields(granule: Granule, file: h5py.File) -> h5py.Group:
    """The one data group with an Fpar layer: its name differs between versions, so it is never assumed."""
    grids = file.get("HDFEOS/GRIDS")
    names = list(grids) if isinstance(grids, h5py.Group) else []
    found = [name for name in names if f"{name}/Data Fields/Fpar" in grids]
    if len(found) != 1:
        raise GranuleError(f"{granule}: {len(found)} groups under /HDFEOS/GRIDS hold an Fpar layer, not one")
    fields = grids[f"{found[0]}/Data Fields"]
    missing = [name for name in _LAYERS if name not in fields]
    if missing:
        raise GranuleError(f"{granule}: the layer {', '.join(missing)} is missing")
    return fields


def _check_place(granule: Granule, file: h5py.File) -> None:
    structure = file.get("HDFEOS INFORMATION/StructMetadata.0")
    if structure is None:
        raise GranuleError(f"{granule}: there is no StructMetadata.0 that says where it lies")
    text = structure[()].decode("ascii", errors="replace").rstrip("\0")
    corners = {}
    for key in ("UpperLeftPointMtrs", "LowerRightMtrs"):
        match = re.search(rf"{key}=\(([-+.\deE]+),([-+.\deE]+)\)", text)
        if match is None:
            raise GranuleError(f"{granule}: StructMetadata.0 has no {key}")
        corners[key] = (float(match[1]), float(match[2]))
    expected = {"UpperLeftPointMtrs": granule.tile.upper_left, "LowerRightMtrs": granule.tile.lower_right}
    for key, place in expected.items():
        if max(abs(a - b) for a, b in zip(corners[key], place, strict=True)) > _CORNER_TOLERANCE:
            raise GranuleError(f"{granule}: its {key} is {corners[key]}, but tile {granule.tile} has {place}")

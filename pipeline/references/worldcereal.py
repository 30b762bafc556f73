"""ESA WorldCereal 2021: zips of GeoTIFFs, one file an agro-ecological zone (AEZ), read in place.

Source: WorldCereal 2021 v100 (Van Tricht et al. 2023; Zenodo record 7875105). In a product every cell is its
crop (100) or not (0); all other values count as missing, whatever the file's no-data value. Products are combined cell
by cell into classes of a legend of our own. The map is itself a product of remote sensing, and no ground truth.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product as every_pair
from pathlib import Path
from typing import Final

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline.base.errors import UserError
from pipeline.base.fingerprint import fingerprint_of
from pipeline.references.geotiff import RasterHeader, open_header
from pipeline.references.legend import NO_DATA
from pipeline.references.worldcereal_zone import ZoneReader

NAME: Final = "WorldCereal"
TABLE: Final = Path(__file__).parent / "tables" / "worldcereal.csv"
WINTER, MAIZE, DROPPED, OTHER_CROP, OTHER = 1, 2, 3, 4, 10  # codes of the legend
CODES: Final[tuple[int, ...]] = (WINTER, MAIZE, DROPPED, OTHER_CROP, OTHER)
NEEDED: Final = ("wintercereals", "maize")
OPTIONAL: Final = ("springcereals", "temporarycrops")
MISSING, ABSENT, PRESENT = 0, 1, 2  # values of a cell in a product; where zones overlap, the largest
_ZIP = re.compile(r"(?P<name>wintercereals|springcereals|temporarycrops|maize)_classification.*\.zip$", re.IGNORECASE)
_YEAR = re.compile(r"WorldCereal_(20\d\d)(?!\d)", re.IGNORECASE)
_SECOND = re.compile(r"maize-second", re.IGNORECASE)  # the second maize season is no summer crop of ours
_WHAT: Final = "a zip of WorldCereal GeoTIFFs"
_RIM: Final = 0.2  # degrees around the region that the grid may reach beyond it


def recognises(path: Path) -> bool:
    """Return whether it is a folder or a zip."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def find(path: Path, year: int | None, region: BaseGeometry) -> "ZoneMap":
    """Find the map in the zips of a folder; only files of zones that overlap the region are used.

    Args:
        path: folder of the zips, or one of them.
        year: preferred where there are zips of several.
        region: to be mapped, in longitude and latitude.

    Raises:
        UserError: a needed zip is missing, empty, damaged or has other content; or none overlaps the region.
    """
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise UserError(f"there is no reference map {path}: the folder of WorldCereal zips is expected there.")
    zips, of_year = _choose(folder, year)
    area = box(*region.bounds).buffer(_RIM)
    files = {name: tuple(file for file in _look_into(zips[name]) if file.meets(area)) for name in zips}
    for name in NEEDED:
        if not files[name]:
            raise UserError(
                f"the reference map {zips[name]} does not overlap the region: none of its zones does. Is it of another "
                "part of the world, or region.outline wrong?"
            )
    return ZoneMap(of_year, tuple(files.items()), tuple((name, str(zips[name])) for name in zips))


def _choose(folder: Path, year: int | None) -> tuple[dict[str, Path], int | None]:
    """Return the zips of one year, by product, and the year."""
    found: dict[int | None, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _ZIP.search(path.name)
        if match is None or _SECOND.search(path.name):
            continue
        named = _YEAR.search(path.name)
        of_year = found.setdefault(int(named[1]) if named else None, {})
        name = match["name"].lower()
        if name in of_year:
            raise UserError(f"{folder} holds {of_year[name].name} and {path.name}, which are one product: remove one.")
        of_year[name] = path
    if len(found) > 1 and year not in found:
        years = ", ".join(str(one or "unknown") for one in found)
        raise UserError(
            f"{folder} holds WorldCereal zips of several years ({years}): set reference.year to one of them."
        )
    chosen = year if year in found else next(iter(found), None)
    zips = found.get(chosen, {})
    for name in NEEDED:
        if name not in zips:
            there = ", ".join(path.name for path in zips.values()) or "none of WorldCereal"
            raise UserError(
                f"{folder} lacks the zip of the product {name}, such as WorldCereal_2021_..._{name}_classification.zip "
                f"(there: {there}). Fetch it from https://zenodo.org/records/7875105."
            )
    return {name: zips[name] for name in (*NEEDED, *OPTIONAL) if name in zips}, chosen


@dataclass(frozen=True)
class ZoneFile:
    """The GeoTIFF of one zone."""

    path: str  # in GDAL's form
    shown: str
    layout: RasterHeader

    def meets(self, area: BaseGeometry) -> bool:
        """Return whether it overlaps an area in longitude and latitude."""
        return bool(
            self.layout.geobox.extent.to_crs("EPSG:4326", resolution=_resolution(self.layout)).geom.intersects(area)
        )


def _resolution(layout: RasterHeader) -> float:
    """Return the distance of an outline's points when it is transformed."""
    extent = layout.geobox.extent.boundingbox
    return max(extent.span_x, extent.span_y) / 64


def _look_into(path: Path) -> list[ZoneFile]:
    try:
        with zipfile.ZipFile(path) as content:
            names = [info.filename for info in content.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"the reference map {path} cannot be read: {error}. Fetch it again.") from None
    names = [name for name in names if re.search(r"\.tiff?$", name, re.IGNORECASE) and "confidence" not in name]
    if not names:
        raise UserError(f"the reference map {path} holds no GeoTIFF: {_WHAT} is expected. Fetch it again.")
    files = []
    for name in sorted(names):
        inside, shown = f"/vsizip/{{{path}}}/{name}", f"{path}/{name}"
        files.append(ZoneFile(inside, shown, open_header(inside, shown, _WHAT)[0]))
    return files


@dataclass(frozen=True)
class ZoneMap:
    """The classes of all products together, on the cells of the first zone's file of winter cereals, extended."""

    year: int | None
    files: tuple[tuple[str, tuple[ZoneFile, ...]], ...]  # by product
    zips: tuple[tuple[str, str], ...]  # by product
    simulated: str = ""
    missing: tuple[int, ...] = (NO_DATA,)

    @property
    def name(self) -> str:
        """Names of all zips."""
        return ", ".join(Path(path).name for _, path in self.zips)

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a tile of the first file."""
        return self._first.block

    @property
    def _first(self) -> RasterHeader:
        return self.files[0][1][0].layout

    @cached_property
    def geobox(self) -> GeoBox:
        """Cells around all files of the needed products, aligned with the first one's tiles."""
        first, (rows, columns) = self._first, self._first.block
        crs, inverse = CRS(first.crs), ~Affine(*first.transform)
        places = []
        for file in (file for name, files in self.files if name in NEEDED for file in files):
            bounds = file.layout.geobox.extent.to_crs(crs, resolution=_resolution(file.layout)).boundingbox
            corners = every_pair((bounds.left, bounds.right), (bounds.bottom, bounds.top))
            places += [inverse @ corner for corner in corners]
        x, y = (np.array(of) for of in zip(*places, strict=True))
        left, top = columns * np.floor(x.min() / columns + 1e-6), rows * np.floor(y.min() / rows + 1e-6)
        shape = int(np.ceil(y.max() - top - 1e-3)), int(np.ceil(x.max() - left - 1e-3))
        return GeoBox(shape, Affine(*first.transform) @ Affine.translation(left, top), crs)

    @contextmanager
    def open(self) -> Iterator["ProductsReader"]:
        """Open the map for reading; a file is opened when the first window overlaps it."""
        with ExitStack() as stack:
            readers = {
                name: [ZoneReader(file.path, file.shown, file.layout, self.geobox, stack) for file in files]
                for name, files in self.files
            }
            yield ProductsReader(readers)

    def digest(self) -> str:
        """Return a digest of the names, sizes and checksums in the zips' directories."""
        contents = {}
        for name, path in self.zips:
            with zipfile.ZipFile(path) as content:
                contents[name] = sorted((info.filename, info.file_size, info.CRC) for info in content.infolist())
        return fingerprint_of(NAME, contents)


class ProductsReader:
    """The products' open files."""

    def __init__(self, readers: Mapping[str, list[ZoneReader]]) -> None:
        self._readers = readers

    def read(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Read codes of the legend, uint8 (rows, columns); None where no file of a needed product overlaps them.

        Raises:
            UserError: a file is damaged there.
        """
        said: dict[str, np.ndarray] = {}
        for name in (*NEEDED, *(name for name in OPTIONAL if name in self._readers)):
            parts = [part for reader in self._readers[name] if (part := reader.read(rows, columns)) is not None]
            if parts:
                said[name] = reduce(np.maximum, parts)
            elif name in NEEDED:
                return None
        return combine(**said)


def combine(
    wintercereals: np.ndarray,
    maize: np.ndarray,
    springcereals: np.ndarray | None = None,
    temporarycrops: np.ndarray | None = None,
) -> np.ndarray:
    """Return codes of the legend from the values of all products in the same cells: missing, absent or present.

    The code is missing where one of the first two products is; the others count as absent where they are missing, as
    spring cereals are mapped in some zones only.
    """
    codes = _TOGETHER[wintercereals * np.uint8(3) + maize]
    known = codes != NO_DATA
    if temporarycrops is not None:
        codes[(codes == OTHER) & (temporarycrops == PRESENT)] = OTHER_CROP
    if springcereals is not None:
        codes[known & (springcereals == PRESENT)] = DROPPED
    return codes


_TOGETHER: Final = np.zeros(9, np.uint8)
_TOGETHER[[3 * ABSENT + ABSENT, 3 * ABSENT + PRESENT, 3 * PRESENT + ABSENT, 3 * PRESENT + PRESENT]] = (
    OTHER, MAIZE, WINTER, DROPPED,
)  # fmt: skip

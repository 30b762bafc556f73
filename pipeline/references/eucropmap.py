"""EUCROPMAP, the JRC's crop map of the European Union: one GeoTIFF of 10 m a year.

Source: EUCROPMAP 2018 and 2022 (d'Andrimont et al. 2021; legend of the Earth Engine catalogue, JRC/D5/EUCROPMAP/V1).
The map is itself a product of remote sensing, and no ground truth.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shapely.geometry.base import BaseGeometry

from pipeline.base.errors import UserError
from pipeline.cube.layout import SIMULATED
from pipeline.references.geotiff import GeoTiffMap, check_whole, open_header

NAME: Final = "EUCROPMAP"
TABLE: Final = Path(__file__).parent / "tables" / "eucropmap.csv"
CODES: Final[tuple[int, ...]] = ()
_YEAR = re.compile(r"EU_?CROP_?MAP[_-]?(20\d\d|\d\d)(?!\d)", re.IGNORECASE)  # EUCROPMAP_2018, EU_CropMap_22_v1
_WHAT: Final = "a EUCROPMAP GeoTIFF"


def recognises(path: Path) -> bool:
    """Return whether it is a single file and no zip."""
    return not path.is_dir() and path.suffix.lower() != ".zip"


def find(path: Path, year: int | None, region: BaseGeometry) -> GeoTiffMap:
    """Find the map in a GeoTIFF; its header is read, its cells are not.

    Args:
        path: of the file.
        year: not needed, as a file is of one year.
        region: not needed, as the file is used as a whole.

    Raises:
        UserError: it is missing or truncated, cannot be read, or is no map of classes.
    """
    if not path.is_file():
        raise UserError(f"there is no reference map {path}: {_WHAT} is expected there. Give one with --reference.")
    layout, tags = open_header(str(path), str(path), _WHAT)
    check_whole(path)
    return GeoTiffMap(path, layout, year_of(path.name, tags), str(tags.get(SIMULATED, "")))


def year_of(name: str, tags: Mapping[str, object]) -> int | None:
    """Return the year in a file's name, or else its tag `year`; None where there is neither."""
    if match := _YEAR.search(name):
        return int(match[1]) % 100 + 2000
    year = {key.lower(): str(value).strip() for key, value in tags.items()}.get("year", "")
    return int(year) if re.fullmatch(r"20\d\d", year) else None

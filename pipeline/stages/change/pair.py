"""Two years of the cluster cube that are compared, and what the cube holds of them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import zarr

from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube import layout, stores
from pipeline.cube.map_layers import LABEL
from pipeline.stages.change.transitions import MOST_LABELS

STAGE: Final = Stage.CHANGE
VERSION: Final = 1


@dataclass(frozen=True)
class Pair:
    """Two years of a cluster cube that can be compared."""

    cube: Location
    years: tuple[int, int]  # the earlier one first
    maps: tuple[str, str]  # fingerprints of what the cube holds of them
    names: tuple[str, ...]  # of the labels

    @property
    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the map of change."""
        return fingerprint_of(STAGE, VERSION, self.years, self.maps, self.names)


def find_pair(path: Location, years: tuple[int, int]) -> Pair:
    """Check that two years of a cluster cube can be compared, and return them.

    Args:
        path: of the cube.
        years: in any order.

    Raises:
        UserError: there is no cube, it lacks a year, or the labels of the years do not mean the same.
    """
    group = stores.require(path, Stage.PUBLISH, "publish")
    about = layout.attributes(group)
    maps: dict[str, str] = about["maps"]
    if missing := [year for year in years if str(year) not in maps]:
        raise UserError(
            f"{path} holds no {missing[0]}, only {', '.join(sorted(maps))}: run `sitscube run --year {missing[0]}` "
            "with the same --out first."
        )
    earlier, later = sorted(years)
    if earlier == later:
        raise UserError(f"change is between two years, and {earlier} was named twice.")
    first, second = (names_in(group, year) for year in (earlier, later))
    if first != second:
        raise UserError(
            f"the labels of {earlier} ({', '.join(first)}) and {later} ({', '.join(second)}) in {path} do not mean the "
            "same: years can be compared whose labels have the same names. Map both with the same training.clusters "
            "and preparation.cropland."
        )
    if len(first) > MOST_LABELS:
        raise UserError(f"{path} has {len(first)} labels: changes between {MOST_LABELS} at most can be mapped.")
    return Pair(path, (earlier, later), (maps[str(earlier)], maps[str(later)]), first)


def names_in(cube: zarr.Group, year: int) -> tuple[str, ...]:
    """Return the names of the labels of a year of a cluster cube.

    Cubes of earlier versions have one list for all years.
    """
    shared = layout.attributes(layout.array(cube, LABEL))["flag_meanings"]
    names: str = layout.attributes(cube).get("label_names", {}).get(str(year), shared)
    return tuple(names.split())


def read_years(cube: zarr.Group, name: str, years: tuple[int, int], window: tuple[slice, slice]) -> np.ndarray:
    """Read two years of an array of the cluster cube, (2, y, x), as stored."""
    known = np.asarray(layout.array(cube, "year")[:]).tolist()
    values = layout.array(cube, name)
    return np.stack([np.asarray(values[known.index(year), window[0], window[1]]) for year in years])

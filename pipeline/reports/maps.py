"""The maps of the report, coarser than the grid where the grid has more cells than a picture shows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import zarr

from pipeline.config.config import Config
from pipeline.cube import layout
from pipeline.cube.label_names import SEASON_NAMES
from pipeline.grid.polygons import LONLAT, project, read_outline
from pipeline.reports import figures
from pipeline.reports.figures.maps import AGREE, DISAGREE, NOT_COMPARED

_WIDEST: Final = 2000  # cells along an edge of the picture


def maps(
    config: Config,
    cube: zarr.Group,
    result: zarr.Group,
    reference: zarr.Group | None,
    names: Sequence[str],
    what: str,
    accuracy: Mapping[str, Any] | None,
) -> dict[str, bytes]:
    """Draw the map of labels, the gap map, and where there is a reference the agreement map, as PNG by name.

    Args:
        config: of the year.
        cube: prepared.
        result: the map.
        reference: reduced to the grid.
        names: of the labels.
        what: the labels are, for the title.
        accuracy: the content of accuracy.json; None: there was no reference map.
    """
    grid = layout.read_grid(result)
    step = max(1, -(-max(grid.shape) // _WIDEST))
    outline = project(read_outline(config.region.outline), LONLAT, grid.geobox.crs)
    place = f"{config.region.name.capitalize()} {config.year}"
    ending = " (simulated)" if layout.attributes(result)["simulated"] else ""
    label = _coarse(result, "label", step)
    observed = _coarse(cube, "n_observed", step).astype(float)
    missing = np.where(label == layout.MISSING, np.nan, 1 - observed / layout.array(cube, "time").shape[0])
    drawn = {
        "map": figures.seasons_map(label, grid.geobox, outline, names, f"{place}: {what}{ending}"),
        "gap_map": figures.gap_map(missing, grid.geobox, outline, f"{place}: missing dates{ending}"),
    }
    if reference is not None and accuracy is not None:
        agreement = agreement_of(label, _coarse(reference, "season", step), _right_labels(accuracy))
        title = f"{place}: map and reference{ending}"
        drawn["agreement"] = figures.agreement_map(agreement, grid.geobox, outline, title)
    return drawn


def agreement_of(label: np.ndarray, season: np.ndarray, right: Sequence[int | None]) -> np.ndarray:
    """Compare labels with those that their season should have (y, x): 0 same, 1 other, 2 not compared, 255 not mapped.

    Args:
        label: (y, x), 255 = not mapped.
        season: (y, x) of the reference, 255 = not set.
        right: the label of each season, None where there is none.
    """
    wanted = np.full(season.shape, -1)
    for k, of_season in enumerate(right):
        if of_season is not None:
            wanted[season == k] = of_season
    agreement = np.where(label == wanted, AGREE, DISAGREE).astype(np.uint8)
    agreement[season == layout.MISSING] = NOT_COMPARED
    agreement[label == layout.MISSING] = layout.MISSING
    return agreement


def _right_labels(accuracy: Mapping[str, Any]) -> list[int | None]:
    """Return the label of each season: that of its number where labels are seasons, else the best match."""
    if accuracy["overall_accuracy"] is not None:
        return list(range(len(SEASON_NAMES)))
    return list(accuracy["matching"])


def _coarse(group: zarr.Group, name: str, step: int) -> np.ndarray:
    """Read every so many cells of a layer along both axes."""
    return np.asarray(layout.array(group, name)[::step, ::step])

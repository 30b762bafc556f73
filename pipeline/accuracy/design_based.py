"""Area and accuracy of a part of the country, estimated from its sample and counted over all of its cells."""

from dataclasses import dataclass

import numpy as np

from pipeline.accuracy.probability_sample import Drawn, allocate
from pipeline.accuracy.report import Domain
from pipeline.accuracy.stratified import EstimateJson, StratifiedSample
from pipeline.accuracy.tally import CLASSES, UNKNOWN
from pipeline.cube.label_names import SEASON_NAMES


@dataclass(frozen=True)
class CellArea:
    """The area of a cell of the grid."""

    cell_km2: float
    equal_area: bool  # whether that is its area on the ground


def domain(counts: np.ndarray, drawn: Drawn, first: int, size: int, cell: CellArea, comparable: bool) -> Domain:
    """Estimate area and accuracy of a part of the country, whose strata are the labels.

    Sampled cells without a reference are nonresponse: the others of their stratum represent them.

    Args:
        counts: (K, 4) all mapped cells by label, and by class of the reference or unknown.
        drawn: sampled cells, in groups from `first` on, one a label.
        first: group of label 0.
        size: sampled cells in all; each stratum has an equal share, and what one cannot take goes to the others.
        cell: its area.
        comparable: whether labels are seasons, so that there is an accuracy.
    """
    cells = counts.sum(axis=1)
    allocated = allocate(cells.tolist(), size)
    answers = np.stack(
        [np.bincount(drawn.values(first + k, n), minlength=UNKNOWN + 1) for k, n in enumerate(allocated)]
    )
    areas = cell.cell_km2 * cells
    sample = StratifiedSample(answers[:, :UNKNOWN], areas)
    agreeing, certain = int(np.trace(counts)), int(counts[:, : len(SEASON_NAMES)].sum())
    return {
        "mapped_cells": cells.tolist(),
        "mapped_km2": areas.tolist(),
        "sampled": allocated,
        "nonresponse": answers[:, UNKNOWN].tolist(),
        "confusion": sample.counts.tolist(),
        "area_km2": [{"class": name, **each.as_json()} for name, each in zip(CLASSES, sample.area(), strict=True)],
        "counted_km2": (cell.cell_km2 * counts[:, :UNKNOWN].sum(axis=0)).tolist(),
        "unknown_km2": cell.cell_km2 * int(counts[:, UNKNOWN].sum()),
        "users_accuracy": [each.as_json() for each in sample.users_accuracy()] if comparable else None,
        "producers_accuracy": [each.as_json() for each in sample.producers_accuracy()] if comparable else None,
        "overall_accuracy": sample.overall_accuracy().as_json() if comparable else None,
        "overall_accuracy_certain": _among_seasons(sample) if comparable else None,
        "overall_accuracy_counted": agreeing / certain if comparable and certain else None,
    }


def _among_seasons(sample: StratifiedSample) -> EstimateJson:
    """Estimate accuracy among the cells whose reference has a certain season, which are compared cell by cell."""
    return sample.accuracy_among(range(len(SEASON_NAMES))).as_json()

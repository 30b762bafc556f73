"""The accuracy report, computed from counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from pipeline.accuracy.confusion import Confusion
from pipeline.accuracy.design_based import CellArea, domain
from pipeline.accuracy.report import (
    Agreeing,
    Agreement,
    ClassCells,
    Classes,
    Compared,
    CropAccuracy,
    DesignBased,
    LegendClass,
    ObservationsBin,
    PurityBin,
    Summary,
)
from pipeline.accuracy.tally import CLASSES, CountShape, Tally
from pipeline.cube.label_names import SEASON_NAMES

_PURITY: Final = (0, 50, 60, 70, 80, 90, 101)  # percent: where bins begin, and the last one ends
_BINS: Final = 10  # of the number of observations, at most
KMEANS: Final = "k-means on series filled by their mean, labels matched to seasons in the way that suits it best"


@dataclass(frozen=True)
class ReportNames:
    """The names of labels, classes and regions, which are counted by number."""

    labels: tuple[str, ...]
    legend: Sequence[LegendClass]  # classes of the reference
    regions: tuple[str, ...]


def summarise(tally: Tally, shape: CountShape, names: ReportNames, cell: CellArea) -> Summary:
    """Return the accuracy report; direct accuracies only where there is a label for each season."""
    comparable = shape.n_labels == len(SEASON_NAMES)
    return {
        **_compared(tally.joint, comparable),
        "labels": list(names.labels),
        "seasons": list(SEASON_NAMES),
        **_by_class(tally.by_code, names.legend, tally.joint, comparable),
        "kmeans": {"method": KMEANS, **_agreement(tally.kmeans), "confusion": tally.kmeans.as_json()},
        "by_purity": _by_purity(tally, comparable),
        "by_observations": _by_observations(tally, comparable),
        "design_based": _design_based(tally, shape, names, cell, comparable),
    }


def known(value: float) -> float | None:
    """Return a number, or None where it is NaN: JSON has no NaN."""
    return None if np.isnan(value) else value


def _all_known(values: Sequence[float]) -> list[float | None]:
    return [known(value) for value in values]


def _compared(joint: Confusion, comparable: bool) -> Compared:
    """Return the accuracy of all compared cells."""
    return {
        "cells": joint.n,
        "confusion": joint.as_json(),
        "overall_accuracy": joint.overall_accuracy() if comparable else None,
        "kappa": known(joint.kappa()) if comparable else None,
        "users_accuracy": _all_known(joint.users_accuracy()) if comparable else None,
        "producers_accuracy": _all_known(joint.producers_accuracy()) if comparable else None,
        "f1": _all_known(joint.f1()) if comparable else None,
        **_agreement(joint),
        "matching": joint.matching(),
        "matched_class_accuracy": _all_known(joint.matched_class_accuracy()),
    }


def _agreement(confusion: Confusion) -> Agreement:
    """Return the agreement that does not depend on how labels are numbered."""
    return {
        "overall_accuracy_matched": confusion.matched_accuracy(),
        "adjusted_rand_index": known(confusion.adjusted_rand_index()),
        "normalised_mutual_information": known(confusion.normalised_mutual_information()),
    }


def _by_class(by_code: Confusion, legend: Sequence[LegendClass], joint: Confusion, comparable: bool) -> Classes:
    """Count cells by class of the legend: the crops that were compared, with the share that agrees, and the others."""
    right = list(range(len(SEASON_NAMES))) if comparable else joint.matching()
    compared: list[CropAccuracy] = []
    others: list[ClassCells] = []
    for about, counts in zip(legend, by_code.counts.T, strict=True):
        if not counts.sum():
            continue
        row: ClassCells = {"code": about["code"], "name": about["name"], "cells_by_label": [int(v) for v in counts]}
        if about["season"] is None:
            others.append(row)
            continue
        label = right[SEASON_NAMES.index(about["season"])]
        agreeing = 0 if label is None else int(counts[label])
        compared.append({**row, "season": about["season"], "accuracy": agreeing / int(counts.sum())})
    return {"crops": compared, "not_compared": others}


def _agreeing(counts: np.ndarray, matching: Sequence[int | None]) -> Agreeing:
    """Count compared cells, and the share that agrees."""
    agreeing = sum(int(counts[label, k]) for k, label in enumerate(matching) if label is not None)
    n = int(counts.sum())
    return {"cells": n, "accuracy": agreeing / n if n else None}


def _matching(tally: Tally, comparable: bool) -> Sequence[int | None]:
    """Return the label that fits each season best in all cells together, so that no bin has a matching of its own."""
    return range(len(SEASON_NAMES)) if comparable else tally.joint.matching()


def _by_purity(tally: Tally, comparable: bool) -> list[PurityBin]:
    """Count by percent of a cell that is of its class in the reference; each bin alone, and with all purer ones."""
    matching = _matching(tally, comparable)
    rows: list[PurityBin] = []
    for start, stop in pairwise(_PURITY):
        pure = _agreeing(tally.by_share[start:].sum(axis=0), matching)
        rows.append(
            {
                "from": start,
                "to": min(stop, 100),
                **_agreeing(tally.by_share[start:stop].sum(axis=0), matching),
                "cells_at_least": pure["cells"],
                "accuracy_at_least": pure["accuracy"],
            }
        )
    return rows


def _by_observations(tally: Tally, comparable: bool) -> list[ObservationsBin]:
    """Count by the number of dates on which a cell was observed, in bins of equal width."""
    matching, n = _matching(tally, comparable), len(tally.by_observations)
    width = -(-(n - 1) // _BINS)
    return [
        {
            "from": start,
            "to": min(start + width, n) - 1,
            **_agreeing(tally.by_observations[start : start + width].sum(axis=0), matching),
        }
        for start in range(0, n, width)
    ]


def _design_based(tally: Tally, shape: CountShape, names: ReportNames, cell: CellArea, comparable: bool) -> DesignBased:
    """Estimate area and accuracy from the samples of the country and of every region."""
    k = shape.n_labels
    return {
        "classes": list(CLASSES),
        "sample_size": shape.sample_size,
        "region_sample_size": shape.region_sample_size,
        "seed": shape.seed,
        "cell_km2": cell.cell_km2,
        "equal_area": cell.equal_area,
        "country": domain(tally.by_region.sum(axis=0), tally.country, 0, shape.sample_size, cell, comparable),
        "regions": [
            {
                "name": name,
                **domain(tally.by_region[r], tally.regions, r * k, shape.region_sample_size, cell, comparable),
            }
            for r, name in enumerate(names.regions)
        ],
        "outside_regions_km2": cell.cell_km2 * int(tally.by_region[-1].sum()),
    }

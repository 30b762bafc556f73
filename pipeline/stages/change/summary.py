"""Figures of a change: areas as mapped, the confidence of the map, and areas estimated from the reference maps."""

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np

from pipeline.accuracy.stratified import Estimate, EstimateJson
from pipeline.accuracy.transitions import TransitionSample
from pipeline.cube.label_names import SEASON_NAMES
from pipeline.stages.change.facts import EstimateFacts, MapFacts
from pipeline.stages.change.map import Counts
from pipeline.stages.change.pair import Pair
from pipeline.stages.change.sample import CLASSES, SampledCells
from pipeline.stages.change.transitions import SCALE

T = TypeVar("T")
OVERSTATES: Final = (
    "Two maps that are compared cell by cell overstate change: every error in either year looks like change. Where a "
    "tenth of the labels is wrong in each year, and independently, 18 % of the cells that never changed look as if "
    "they had."
)
CONFIDENCE_NOTE: Final = (
    "Confidence of a transition is the probability that both labels are right. It takes the soft assignments q of the "
    "network for probabilities, and the errors of both years for independent; networks are often surer than they "
    "should be, so that it rather is a rank of cells than a probability."
)
ESTIMATE_NOTE: Final = (
    "Areas of true transitions are estimated from a stratified random sample of the cells mapped in both years "
    "(strata: the mapped transitions; estimators of Olofsson et al. 2014), whose classes are looked up in the "
    "reference maps of both years. Errors of both years enter as they are, related or not. The intervals tell the "
    "error of sampling, at 95 %. The reference maps are themselves products of remote sensing and no ground truth: "
    "their own errors look like change, too, and more so where the two are different products. Sampled cells without "
    "a reference are left out, as if they were like the others of their stratum."
)


def summarise(pair: Pair, counts: Counts, sample: SampledCells | None, cell_area: float) -> MapFacts:
    """Return the figures of a change; areas in km2.

    Args:
        pair: the years.
        counts: of all cells.
        sample: of the cells mapped in both years, or None where a year has no reference map.
        cell_area: of a cell, in km2.
    """
    changed = int(counts.cells.sum() - np.trace(counts.cells))
    both = int(counts.cells.sum())
    return {
        "years": list(pair.years),
        "labels": list(pair.names),
        "cell_km2": cell_area,
        "cells": counts.cells.tolist(),
        "mapped_km2": (counts.cells * cell_area).tolist(),
        "mapped_in_one_year_km2": (counts.only * cell_area).tolist(),
        "changed_km2": changed * cell_area,
        "changed_share": changed / both if both else None,
        "net_mapped_km2": ((counts.cells.sum(axis=0) - counts.cells.sum(axis=1)) * cell_area).tolist(),
        "confidence": _mean_confidence(counts),
        "notes": [OVERSTATES, CONFIDENCE_NOTE],
        "estimate": None if sample is None else _estimate(pair, counts, sample, cell_area),
    }


def _mean_confidence(counts: Counts) -> list[list[float | None]]:
    """Return the mean probability that both labels are right, by transition; None where there are no cells."""
    pairs = zip(counts.both_right.tolist(), counts.sure.tolist(), strict=True)
    return [[right / SCALE / n if n else None for right, n in zip(*row, strict=True)] for row in pairs]


def _estimate(pair: Pair, counts: Counts, sample: SampledCells, cell_area: float) -> EstimateFacts | None:
    """Return the figures of the sample; None where it has too few cells in every transition."""
    n = len(pair.names)
    areas = counts.cells.ravel() * cell_area
    found = TransitionSample(sample.counts, areas)
    if not found.estimated.any():
        return None
    seasons = pair.names == SEASON_NAMES
    shares: list[EstimateJson] = [share.as_json() for share in found.share_right(n)] if seasons else []
    used = sample.counts.sum(axis=(1, 2))
    return {
        "classes": list(CLASSES),
        "drawn": _rows(sample.drawn.tolist(), n),
        "used": _rows(used.tolist(), n),
        "counts": sample.counts.tolist(),
        "left_out_km2": found.left_out,
        "transitions_km2": [[one.as_json() for one in row] for row in found.transitions()],
        "net_km2": [one.as_json() for one in found.net()],
        "changed_km2": found.changed(range(len(SEASON_NAMES))).as_json(),
        "share_right": _rows(shares, n) if seasons else None,
        "changed_right": _changed_right(sample.counts, areas) if seasons else None,
        "note": ESTIMATE_NOTE,
    }


def _changed_right(counts: np.ndarray, areas: np.ndarray) -> EstimateJson | None:
    """Estimate the share of the area mapped as changed whose transition is that of the references.

    None where too few cells were sampled. Labels and classes must be the two seasons.
    """
    strata = [k for k in (1, 2) if areas[k] > 0]
    n = counts.sum(axis=(1, 2))
    if not strata or any(n[k] < 2 for k in strata):
        return None
    weights = areas[strata] / areas[strata].sum()
    shares = np.array([counts[k][divmod(k, 2)] / n[k] for k in strata])
    variance = weights**2 @ (shares * (1 - shares) / (n[strata] - 1))
    return Estimate(float(weights @ shares), float(np.sqrt(variance)), 1.0).as_json()


def _rows(values: Sequence[T], n: int) -> list[list[T]]:
    """Cut a list into n rows of n values."""
    return [list(values[k * n : (k + 1) * n]) for k in range(n)]

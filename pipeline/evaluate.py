"""Evaluate: the map against the reference crop map, with k-means on mean-filled series beside it."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from pipeline import layout, stores
from pipeline.accounting import count_pixels
from pipeline.accuracy import Confusion
from pipeline.channels import read_channels
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.files import read_text, write_text
from pipeline.fingerprint import fingerprint
from pipeline.grid import Shard
from pipeline.infer import load_model
from pipeline.kmeans import FilledKMeans
from pipeline.locations import Location
from pipeline.map_layers import SEASON_NAMES, require_labels
from pipeline.progress import Reporter, Silent
from pipeline.reference import UNUSED, reduce_reference
from pipeline.references import eucropmap
from pipeline.series import mapped_numbers, sample_series, to_series
from pipeline.stage import StageResult, run_shards

STAGE: Final = "evaluate"
VERSION: Final = 2
_BATCH: Final = 1 << 16  # cells that are compared at once: as floating-point series they take much more memory
REFERENCE_NOTE: Final = (
    "The reference crop map is itself a product of remote sensing and no ground truth: "
    "the figures say how far two maps agree."
)


def accuracy_path(config: Config) -> Location:
    """Where the figures are written."""
    return config.report / "accuracy.json"


def evaluate(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Compare the map with the reference crop map over the mapped cells whose most frequent crop has a certain season.

    Writes `report/accuracy.json`. Labels are compared as they are, 0 winter and 1 summer; the accuracy under the best
    matching of labels to seasons, which the paper reports, and that of k-means on mean-filled series stand beside it.

    Raises:
        UserError: there is no finished map or no reference, or they have no cell in common.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    group = stores.require(config.map, "infer", "infer")
    require_labels(group)
    reference = reduced_reference(config, executor, reporter)
    map_mark = stores.stage_fingerprint(group, "infer")
    mark = evaluate_mark(config, map_mark, stores.stage_fingerprint_at(reference, "reference"))
    path = accuracy_path(config)
    written = read_accuracy(config)
    if written is not None and written["fingerprint"] == mark:
        return StageResult(STAGE, False, (path,), written)
    n_clusters = load_model(config.model).n_clusters
    kmeans = _kmeans(config, n_clusters, executor, reporter)
    work = partial(_compare_shard, cube=config.cube, target=config.map, reference=reference, kmeans=kmeans)
    tally = Tally.empty(n_clusters)
    for part in run_shards(executor, work, layout.read_grid(group).shards, STAGE, reporter):
        tally = tally + part
    if tally.joint.n == 0:
        raise UserError(
            f"{config.map} and {reference} have no cell in common that is mapped and of a certain season: "
            "is the reference map of another region?"
        )
    figures = summarise(tally, n_clusters) | {
        "fingerprint": mark,
        "map": map_mark,
        **_about(reference, layout.attributes(group)),
    }
    try:
        write_text(path, json.dumps(figures, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from None
    return StageResult(STAGE, True, (path,), figures)


def evaluate_mark(config: Config, map_mark: str | None, reference_mark: str | None) -> str:
    """Fingerprint of the figures: of the map, the reduced reference, and the sample that k-means is trained on."""
    return fingerprint(STAGE, VERSION, (map_mark, reference_mark), config.training.sample_pixels, config.seed)


def read_accuracy(config: Config) -> dict[str, Any] | None:
    """The figures of the map as it is now, or None: those of an earlier map do not count."""
    path = accuracy_path(config)
    try:
        figures: dict[str, Any] = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove it and run `sitscube evaluate`.") from None
    return figures if figures.get("map") == stores.stage_fingerprint_at(config.map, "infer") else None


def accuracy_lines(accuracy: dict[str, Any] | None) -> list[str]:
    """The accuracy in two lines, for terminals and logs; none where nothing was compared."""
    if accuracy is None:
        return []
    where = f"{accuracy['cells']:,} cells against {accuracy['reference']}"
    where += " (simulated)" if accuracy["reference_simulated"] else ""
    joint = accuracy["overall_accuracy"]
    matched = f"{100 * accuracy['overall_accuracy_matched']:.2f} % under the best matching of labels"
    first = matched if joint is None else f"{100 * joint:.2f} % ({matched})"
    kmeans = 100 * accuracy["kmeans"]["overall_accuracy_matched"]
    return [
        f"overall accuracy: {first}, {where}",
        f"k-means on mean-filled series, same cells: {kmeans:.2f} % under the best matching",
    ]


@dataclass(frozen=True)
class Tally:
    """Counts of compared cells; they add up over shards."""

    joint: Confusion  # labels by season
    kmeans: Confusion
    by_code: Confusion  # labels by EUCROPMAP code, in the order of the legend

    @classmethod
    def empty(cls, n_clusters: int) -> "Tally":
        """No cells."""
        none = np.zeros(0, np.int64)
        seasons = Confusion.of(none, none, n_clusters, len(SEASON_NAMES))
        return cls(seasons, seasons, Confusion.of(none, none, n_clusters, len(eucropmap.LEGEND)))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.joint + other.joint, self.kmeans + other.kmeans, self.by_code + other.by_code)


def summarise(tally: Tally, n_clusters: int) -> dict[str, Any]:
    """The figures of the report, JSON-able; direct accuracies only where there is a label for each season."""
    joint = tally.joint
    comparable = n_clusters == len(SEASON_NAMES)
    codes = zip(eucropmap.LEGEND.items(), tally.by_code.counts.T, strict=True)
    return {
        "cells": joint.n,
        "overall_accuracy": joint.overall_accuracy() if comparable else None,
        "overall_accuracy_matched": joint.matched_accuracy(),
        "confusion": joint.as_json(),
        "seasons": list(SEASON_NAMES),
        "users_accuracy": _known(joint.users_accuracy()) if comparable else None,
        "producers_accuracy": _known(joint.producers_accuracy()) if comparable else None,
        "crops": [
            {"code": code, "name": name, "cells_by_label": [int(v) for v in counts]}
            for (code, name), counts in codes
            if counts.sum()
        ],
        "kmeans": {
            "method": "k-means on series filled by their mean, labels matched to seasons in the way that suits it best",
            "overall_accuracy_matched": tally.kmeans.matched_accuracy(),
            "confusion": tally.kmeans.as_json(),
        },
    }


def _known(shares: list[float]) -> list[float | None]:
    """Shares with None for those of no cells: JSON knows no NaN."""
    return [None if np.isnan(share) else share for share in shares]


def _about(reference: Location, attributes: Any) -> dict[str, Any]:
    source = layout.attributes(stores.open_to_read(reference))
    return {
        "reference": source["source"],
        "reference_simulated": source["simulated"],
        "simulated": attributes["simulated"],
        "note": REFERENCE_NOTE,
    }


def reduced_reference(config: Config, executor: Executor, reporter: Reporter) -> Location:
    """The reduced reference: made from the configured map, or what `prepare` has left.

    Raises:
        UserError: there is neither, or the map cannot be used.
    """
    source = config.reference_path
    if config.reference.path is not None or (source is not None and source.exists()):
        grid = layout.read_grid(stores.require(config.cube, "prepare", "prepare"))
        return reduce_reference(config, grid, executor, reporter).outputs[0]
    if stores.find(config.reference_grid) is None:
        raise UserError("there is no reference map to evaluate against: name one with --reference.")
    stores.require(config.reference_grid, "reference", "prepare")
    return config.reference_grid


def _kmeans(config: Config, n_clusters: int, executor: Executor, reporter: Reporter) -> FilledKMeans:
    """K-means on the mean-filled series that the network was trained on."""
    series = sample_series(config.cube, config.training.sample_pixels, config.seed, executor, reporter).series
    return FilledKMeans(n_clusters, random_state=config.seed).fit(series)


def _compare_shard(
    shard: Shard, *, cube: Location, target: Location, reference: Location, kmeans: FilledKMeans
) -> Tally:
    source = stores.open_to_read(cube)
    window = layout.read_grid(source).window(shard)
    read = {
        name: stores.read_window(stores.open_to_read(path), name, window)
        for path, name in ((target, "label"), (reference, "season"), (reference, "code"))
    }
    channels = read_channels(source)
    numbers, mask = mapped_numbers(source, window, channels)
    label, season, code = (read[name][mask] for name in ("label", "season", "code"))
    used = (season != UNUSED) & (label != layout.MISSING)
    label, season, code = label[used], season[used], code[used]
    nearest = np.empty(len(label), np.int64)
    cells = np.flatnonzero(used)
    for start in range(0, len(cells), _BATCH):
        batch = {name: stored[:, cells[start : start + _BATCH]] for name, stored in numbers.items()}
        nearest[start : start + _BATCH] = kmeans.predict(to_series(batch, channels))
    n, seasons = kmeans.n_clusters, len(SEASON_NAMES)
    order = np.searchsorted(list(eucropmap.LEGEND), code)
    count_pixels(len(code))
    return Tally(
        Confusion.of(label, season, n, seasons),
        Confusion.of(nearest, season, n, seasons),
        Confusion.of(label, order, n, len(eucropmap.LEGEND)),
    )

"""Evaluate: the map against the reference crop map, with k-means on mean-filled series beside it."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import zarr

from model.filled_kmeans import FilledKMeans
from pipeline.accuracy.design_based import CellArea
from pipeline.accuracy.report import LegendClass
from pipeline.accuracy.summary import ReportNames, summarise
from pipeline.accuracy.table import to_csv
from pipeline.accuracy.tally import Cells, CountShape, Tally
from pipeline.base.accounting import count_pixels
from pipeline.base.errors import UserError
from pipeline.base.files import read_text, write_text
from pipeline.base.fingerprint import fingerprint
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.config.regions import configured_regions, regions_digest
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.map_layers import LABEL, require_labels
from pipeline.cube.series import mapped_numbers, to_series
from pipeline.grid.grid import Shard, cell_area_km2, is_equal_area
from pipeline.grid.polygons import Region, region_of_cells
from pipeline.runtime import per_process
from pipeline.runtime.executor import Executor, InProcess
from pipeline.runtime.stage import StageResult, run_shards
from pipeline.stages.reference import reduce_reference
from pipeline.stages.train.sample import sample_series

STAGE: Final = "evaluate"
VERSION: Final = 3
_HELD: Final = "regions"
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

    Writes `report/accuracy.json`, and the same numbers as `report/accuracy.csv`. Labels are compared as they are,
    0 winter and 1 summer; the accuracy under the best matching of labels to seasons, which the paper reports, and that
    of k-means on mean-filled series stand beside it. Areas are estimated from stratified random samples of the mapped
    cells, for the country and for every configured region.

    Raises:
        UserError: there is no finished map or no reference, they have no cell in common, or the regions cannot be
            used.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    group = stores.require(config.map, "infer", "infer")
    require_labels(group)
    regions = configured_regions(config)
    reference = reduced_reference(config, executor, reporter)
    map_mark = stores.stage_fingerprint(group, "infer")
    mark = evaluate_mark(config, map_mark, stores.stage_fingerprint_at(reference, "reference"))
    outputs = accuracy_path(config), config.report / "accuracy.csv"
    written = read_accuracy(config)
    if written is not None and written["fingerprint"] == mark and _is_text(outputs[1], to_csv(written)):
        return StageResult(STAGE, False, outputs, written)
    legend = _legend(reference)
    names = ReportNames(_label_names(group), legend, tuple(region.name for region in regions))
    frame, grid = _frame(config, group, legend, len(regions)), layout.read_grid(group)
    kmeans = _kmeans(config, frame.n_labels, executor, reporter)
    tally = Tally.empty(frame)
    work = partial(_compare_shard, cube=config.cube, target=config.map, reference=reference, kmeans=kmeans, frame=frame)
    with executor.on_every_worker(_HELD, partial(_given, regions)):
        for part in run_shards(executor, work, grid.shards, STAGE, reporter):
            tally = tally + part
    if tally.joint.n == 0:
        raise UserError(
            f"{config.map} and {reference} have no cell in common that is mapped and of a certain season: "
            "is the reference map of another region?"
        )
    design = CellArea(cell_area_km2(grid.geobox), is_equal_area(grid.geobox))
    figures = summarise(tally, frame, names, design) | {
        "version": VERSION,
        "fingerprint": mark,
        "map": map_mark,
        "regions": None if config.regions_path is None else config.regions_path.name,
        "regions_digest": regions_digest(config),
        **_about(reference, layout.attributes(group)),
    }
    try:
        write_text(outputs[1], to_csv(figures))
        write_text(
            outputs[0], json.dumps(figures, indent=1, sort_keys=True, allow_nan=False) + "\n"
        )  # the last: commits
    except OSError as error:
        raise UserError(f"cannot write into {config.report}: {error.strerror or error}.") from None
    return StageResult(STAGE, True, outputs, figures)


def _is_text(path: Location, text: str) -> bool:
    """Whether a file holds this text: a kill may leave the table of figures that were never committed."""
    try:
        return read_text(path) == text
    except (FileNotFoundError, ValueError):
        return False


def _given(regions: list[Region], device: str) -> list[Region]:
    """The regions, as what every process holds: they are sent once, not with every task."""
    return regions


def evaluate_mark(config: Config, map_mark: str | None, reference_mark: str | None) -> str:
    """Fingerprint of the figures: of the map, the reduced reference, the regions, and what is sampled.

    Raises:
        UserError: the file of the regions cannot be read.
    """
    sampled = config.seed, config.training.sample_pixels, config.evaluation.model_dump(exclude={"regions"})
    return fingerprint(STAGE, VERSION, (map_mark, reference_mark), regions_digest(config), sampled)


def read_accuracy(config: Config) -> dict[str, Any] | None:
    """The figures of the map as it is now, or None: those of an earlier map or version do not count."""
    path = accuracy_path(config)
    try:
        figures: dict[str, Any] = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove it and run `sitscube evaluate`.") from None
    current = {"version": VERSION, "map": stores.stage_fingerprint_at(config.map, "infer")}
    return figures if current.items() <= figures.items() else None


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


def _frame(config: Config, group: zarr.Group, legend: Sequence[LegendClass], n_regions: int) -> CountShape:
    sizes = config.evaluation
    return CountShape(
        n_labels=len(_label_names(group)),
        codes=tuple(about["code"] for about in legend),
        n_dates=layout.array(stores.open_to_read(config.cube), "time").shape[0],
        n_regions=n_regions,
        sample_size=sizes.sample_size,
        region_sample_size=sizes.region_sample_size,
        seed=config.seed,
    )


def _label_names(group: zarr.Group) -> tuple[str, ...]:
    return tuple(layout.attributes(layout.array(group, LABEL))["flag_meanings"].split())


def _legend(reference: Location) -> list[LegendClass]:
    """The classes of a reduced reference: code, name, season (winter, summer or None) and crop, by ascending code."""
    found = layout.attributes(stores.open_to_read(reference)).get("classes")
    if not found:
        raise UserError(
            f"{reference} does not say what its codes mean: it was made by an earlier version. Name the reference map "
            "with --reference, so that it is reduced again."
        )
    return list(found)


def _about(reference: Location, attributes: dict[str, Any]) -> dict[str, Any]:
    source = layout.attributes(stores.open_to_read(reference))
    return {
        "reference": source["source"],
        "reference_simulated": source["simulated"],
        "reference_digest": source.get("reference_digest"),
        "reference_product": source.get("product"),
        "reference_year": source.get("reference_year"),
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
    shard: Shard, *, cube: Location, target: Location, reference: Location, kmeans: FilledKMeans, frame: CountShape
) -> Tally:
    source = stores.open_to_read(cube)
    grid = layout.read_grid(source)
    window = grid.window(shard)
    names = {target: (LABEL,), reference: ("season", "code", "share"), cube: ("n_observed",)}
    read = {
        name: stores.read_window(stores.open_to_read(path), name, window)
        for path, of_store in names.items()
        for name in of_store
    }
    channels = read_channels(source)
    numbers, mask = mapped_numbers(source, window, channels)
    mapped = mask & (read[LABEL] != layout.MISSING)
    rows, columns = np.nonzero(mapped)
    region = region_of_cells(grid.shard_geobox(shard), per_process.get(_HELD))
    cells = Cells(
        **{name: values[mapped] for name, values in read.items()},
        region=region[mapped],
        row=rows + window[0].start,
        column=columns + window[1].start,
    )
    chosen = np.flatnonzero(mapped[mask])[cells.compared]
    nearest = np.empty(len(chosen), np.int64)
    for start in range(0, len(chosen), _BATCH):
        batch = {name: stored[:, chosen[start : start + _BATCH]] for name, stored in numbers.items()}
        nearest[start : start + _BATCH] = kmeans.predict(to_series(batch, channels))
    count_pixels(len(rows))
    return Tally.of(cells, nearest, frame)

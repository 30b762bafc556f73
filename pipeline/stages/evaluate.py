"""Evaluate: compare the map with the reference crop map, and k-means on mean-filled series with it, too."""

import json
from collections.abc import Mapping
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
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.config.regions import configured_regions, regions_digest
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.map_layers import LABEL, require_labels
from pipeline.cube.series import mapped_numbers, to_series
from pipeline.grid.grid import Grid, Shard, cell_area_km2, is_equal_area
from pipeline.grid.polygons import Region, region_of_cells
from pipeline.runtime import per_process
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult, run_shards
from pipeline.stages.context import Run
from pipeline.stages.reference import reduce_reference
from pipeline.stages.train.sample import sample_series

STAGE: Final = Stage.EVALUATE
VERSION: Final = 3
_REGIONS: Final = "regions"  # key of the regions in every process
_BATCH: Final = 1 << 16  # cells that are compared at once: their floating-point series take much memory
REFERENCE_NOTE: Final = (
    "The reference crop map is itself a product of remote sensing and no ground truth: "
    "the figures say how far two maps agree."
)


def accuracy_path(config: Config) -> Location:
    """Return the path of the accuracy report."""
    return config.report / "accuracy.json"


def evaluate(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Compare the map with the reference crop map over the mapped cells whose most frequent crop has a certain season.

    Writes `report/accuracy.json`, and the same numbers as `report/accuracy.csv`. Labels are compared as they are,
    0 winter and 1 summer. The report also has the accuracy under the best matching of labels to seasons, which the
    paper states, and that of k-means on mean-filled series. Areas are estimated from stratified random samples of the
    mapped cells, for the country and for every configured region.

    Raises:
        UserError: there is no finished map or no reference, they have no cell in common, or the regions cannot be
            used.
        ShardsFailed: some shards could not be done.
    """
    run = Run.of(config, executor, reporter)
    group = stores.require(config.map, Stage.INFER, "infer")
    require_labels(group)
    regions = configured_regions(config)
    reference = reduced_reference(run)
    of_map = stores.stage_fingerprint(group, Stage.INFER)
    fingerprint = evaluate_fingerprint(config, of_map, stores.stage_fingerprint_at(reference, Stage.REFERENCE))
    outputs = accuracy_path(config), config.report / "accuracy.csv"
    written = read_accuracy(config)
    if written is not None and written["fingerprint"] == fingerprint and _is_text(outputs[1], to_csv(written)):
        return StageResult(STAGE, False, outputs, written)
    legend, grid = _legend(reference), layout.read_grid(group)
    names = ReportNames(_label_names(group), legend, tuple(region.name for region in regions))
    shape = _count_shape(config, names)
    tally = _compare(run, reference, regions, shape, grid)
    if tally.joint.n == 0:
        raise UserError(
            f"{config.map} and {reference} have no cell in common that is mapped and of a certain season: "
            "is the reference map of another region?"
        )
    design = CellArea(cell_area_km2(grid.geobox), is_equal_area(grid.geobox))
    figures = summarise(tally, shape, names, design) | {
        "version": VERSION,
        "fingerprint": fingerprint,
        "map": of_map,
        "regions": None if config.regions_path is None else config.regions_path.name,
        "regions_digest": regions_digest(config),
        **_about(reference, layout.attributes(group)),
    }
    try:
        write_text(outputs[1], to_csv(figures))
        # last, for this file says that the stage is done
        write_text(outputs[0], json.dumps(figures, indent=1, sort_keys=True, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write into {config.report}: {error.strerror or error}.") from None
    return StageResult(STAGE, True, outputs, figures)


def _is_text(path: Location, text: str) -> bool:
    """Return whether a file has this text: a kill may leave a table whose report was not written."""
    try:
        return read_text(path) == text
    except (FileNotFoundError, ValueError):
        return False


def evaluate_fingerprint(config: Config, of_map: Fingerprint | None, of_reference: Fingerprint | None) -> Fingerprint:
    """Return the fingerprint of the report: of the map, the reduced reference, the regions, and what is sampled.

    Raises:
        UserError: the file of the regions cannot be read.
    """
    sampled = config.seed, config.training.sample_pixels, config.evaluation.model_dump(exclude={"regions"})
    return fingerprint_of(STAGE, VERSION, (of_map, of_reference), regions_digest(config), sampled)


def read_accuracy(config: Config) -> dict[str, Any] | None:
    """Read the accuracy report of the map as it is; None where there is none of this map and version.

    Raises:
        UserError: the file is damaged.
    """
    path = accuracy_path(config)
    try:
        figures: dict[str, Any] = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove it and run `sitscube evaluate`.") from None
    current = {"version": VERSION, "map": stores.stage_fingerprint_at(config.map, Stage.INFER)}
    return figures if current.items() <= figures.items() else None


def accuracy_lines(accuracy: Mapping[str, Any] | None) -> list[str]:
    """Return the accuracy in two lines, for terminals and logs; no lines where nothing was compared."""
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


def _count_shape(config: Config, names: ReportNames) -> CountShape:
    """Return what is counted: labels, classes, regions and samples."""
    sizes = config.evaluation
    return CountShape(
        n_labels=len(names.labels),
        codes=tuple(about["code"] for about in names.legend),
        n_dates=layout.array(stores.open_to_read(config.cube), "time").shape[0],
        n_regions=len(names.regions),
        sample_size=sizes.sample_size,
        region_sample_size=sizes.region_sample_size,
        seed=config.seed,
    )


def _label_names(group: zarr.Group) -> tuple[str, ...]:
    return tuple(layout.attributes(layout.array(group, LABEL))["flag_meanings"].split())


def _legend(reference: Location) -> list[LegendClass]:
    """Return the classes of a reduced reference by ascending code: code, name, season ("winter", "summer", None), crop.

    Raises:
        UserError: an earlier version has reduced it and does not name its classes.
    """
    found = layout.attributes(stores.open_to_read(reference)).get("classes")
    if not found:
        raise UserError(
            f"{reference} does not say what its codes mean: it was made by an earlier version. Name the reference map "
            "with --reference, so that it is reduced again."
        )
    return list(found)


def _about(reference: Location, of_map: Mapping[str, object]) -> dict[str, object]:
    """Return what the report says of its inputs, from the attributes of the reference and of the map."""
    source = layout.attributes(stores.open_to_read(reference))
    return {
        "reference": source["source"],
        "reference_simulated": source["simulated"],
        "reference_digest": source.get("reference_digest"),
        "reference_product": source.get("product"),
        "reference_year": source.get("reference_year"),
        "simulated": of_map["simulated"],
        "note": REFERENCE_NOTE,
    }


def reduced_reference(run: Run) -> Location:
    """Return the reduced reference: made from the configured map, or the one that `prepare` has made.

    Raises:
        UserError: there is neither, or the map cannot be used.
        ShardsFailed: some shards could not be done.
    """
    config, source = run.config, run.config.reference_path
    if config.reference.path is not None or (source is not None and source.exists()):
        grid = layout.read_grid(stores.require(config.cube, Stage.PREPARE, "prepare"))
        return reduce_reference(run, grid).outputs[0]
    if stores.find(config.reference_grid) is None:
        raise UserError("there is no reference map to evaluate against: name one with --reference.")
    stores.require(config.reference_grid, Stage.REFERENCE, "prepare")
    return config.reference_grid


def _compare(run: Run, reference: Location, regions: list[Region], shape: CountShape, grid: Grid) -> Tally:
    """Count labels against classes over all shards."""
    config, kmeans, tally = run.config, _kmeans(run, shape.n_labels), Tally.empty(shape)
    work = partial(_compare_shard, cube=config.cube, target=config.map, reference=reference, kmeans=kmeans, shape=shape)
    with run.executor.on_every_worker(_REGIONS, partial(_same, regions)):
        for part in run_shards(run.executor, work, grid.shards, STAGE, run.reporter):
            tally = tally + part
    return tally


def _kmeans(run: Run, n_clusters: int) -> FilledKMeans:
    """Fit k-means to the mean-filled series that the network was trained on."""
    config = run.config
    sample = sample_series(run, config.training.sample_pixels, config.seed)
    return FilledKMeans(n_clusters, random_state=config.seed).fit(sample.series)


def _same(regions: list[Region], device: str) -> list[Region]:
    """Return the regions; in this way they are sent once to every process and not with every task."""
    return regions


def _compare_shard(
    shard: Shard, *, cube: Location, target: Location, reference: Location, kmeans: FilledKMeans, shape: CountShape
) -> Tally:
    """Count labels against classes in one shard."""
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
    region = region_of_cells(grid.shard_geobox(shard), per_process.get(_REGIONS))
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
    return Tally.of(cells, nearest, shape)

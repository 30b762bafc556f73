"""Publish: add the year to the cluster cube, write report and products, and commit the run."""

import json
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from pipeline.base.errors import UserError
from pipeline.base.files import read_text, remove_file, write_bytes, write_text
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import clusters, layout, stores
from pipeline.cube.map_layers import require_labels
from pipeline.reports.comparison import comparison_section
from pipeline.reports.page import Page, make_page
from pipeline.reports.products import products
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.stages.change.section import change_section, section_fingerprint
from pipeline.stages.context import Run
from pipeline.stages.evaluate import read_accuracy

STAGE: Final = Stage.PUBLISH
VERSION: Final = 3


class RunRecord(TypedDict, total=False):
    """The record in `run.json`, which commits a run; an empty one stands for a run that has not been committed."""

    fingerprint: Fingerprint
    map: Fingerprint
    pictures: list[str]  # names of the report's pictures
    configuration: Mapping[str, object]


def publish(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Add the year to `clusters.zarr`, write the report and the products, and commit the run in `run.json`.

    A year that is still running gets a report and products but joins neither the cluster cube nor the Collection:
    they contain what is final, and would otherwise change under their readers every few days.

    Products are COGs of label and confidence with a style for QGIS, and a STAC Item that the region's Collection links.

    Args:
        config: of the year.
        executor: where the year is compared with the one before; the rest has one writer.
        reporter: where progress is reported; nowhere if None.

    Raises:
        UserError: there is no finished map, or an output cannot be written.
    """
    run = Run.of(config, executor, reporter)
    group = stores.require(config.map, Stage.INFER, "infer")
    require_labels(group)
    map_fingerprint = clusters.map_fingerprint(group)
    accuracy, comparison = read_accuracy(config), comparison_section(config)
    fingerprint = publish_fingerprint(config, map_fingerprint, accuracy, comparison)
    outputs, whole = _outputs(config), is_whole(config)
    if whole:
        clusters.published(config.outputs)  # finishes what a killed run has left half done
    if is_published(config, fingerprint, map_fingerprint):
        return StageResult(STAGE, False, outputs)
    with run.reporter.track(STAGE, 5) as task:
        if whole:
            clusters.add_year(config.outputs, map_fingerprint)
        task.advance(note="cluster cube")
        change = change_section(config, run.executor) if whole else None
        task.advance(note="change")
        page = make_page(config, accuracy, comparison, change)
        task.advance(note="report")
        record: RunRecord = {
            "fingerprint": fingerprint,
            "map": map_fingerprint,
            "pictures": sorted(page.pictures),
            "configuration": config.model_dump(mode="json"),
        }
        try:
            products.write_products(config, map_fingerprint)
            if whole:
                products.write_collection(config)
            task.advance(note="products")
            _write_report(config, page, record)
        except OSError as error:
            raise UserError(f"cannot write into {config.year_folder}: {error.strerror or error}.") from None
        task.advance(note="committed")
    return StageResult(STAGE, True, outputs)


def _write_report(config: Config, page: Page, record: RunRecord) -> None:
    """Write the report's pictures and page, remove pictures of an earlier report, and commit the run.

    Raises:
        OSError: a file cannot be written.
    """
    earlier = _pictures(config)
    for name, png in page.pictures.items():
        write_bytes(config.report / f"{name}.png", png)
    for path in earlier:
        if path.stem not in page.pictures:
            remove_file(path)
    write_text(config.report / "index.html", page.html)
    write_text(_record_path(config), json.dumps(record, indent=1, sort_keys=True) + "\n")


def is_whole(config: Config) -> bool:
    """Return whether all composites of the year are there, or will never be."""
    return not layout.attributes(stores.open_to_read(config.cube)).get("awaited_composites")


def is_published(config: Config, fingerprint: Fingerprint, map_fingerprint: Fingerprint) -> bool:
    """Return whether nothing is left to do for `publish`, given its fingerprint and that of the map."""
    joined = not is_whole(config) or clusters.maps_of(config.clusters).get(config.year) == map_fingerprint
    return joined and is_written(config, fingerprint)


def publish_fingerprint(
    config: Config, map_fingerprint: Fingerprint, accuracy: Mapping[str, Any] | None, comparison: str | None
) -> Fingerprint:
    """Return the fingerprint of what is published: of the map, its accuracy, and what else the report says."""
    change = section_fingerprint(config, map_fingerprint) if is_whole(config) else None
    files = _unused_files(config)
    return fingerprint_of(STAGE, VERSION, map_fingerprint, accuracy, _described(config), files, comparison, change)


def is_written(config: Config, fingerprint: Fingerprint | None = None) -> bool:
    """Return whether the run has been committed and all of its files are there.

    Args:
        config: of the year.
        fingerprint: with which it must have been committed; None: any.
    """
    record, result = _read_record(config), stores.find(config.map)
    if result is None:
        return False
    there = all(path.exists() for path in (*_outputs(config), *_pictures(config)))
    return (
        there
        and products.are_there(config, result, linked=is_whole(config))
        and bool(record)
        and fingerprint in (None, record.get("fingerprint"))
    )


def _outputs(config: Config) -> tuple[Location, ...]:
    """Return the outputs that are always written; last the record that commits the run."""
    shared = (config.clusters,) if is_whole(config) else ()
    return config.report / "index.html", config.report / "map.png", *shared, _record_path(config)


def _record_path(config: Config) -> Location:
    return config.year_folder / "run.json"


def _pictures(config: Config) -> list[Location]:
    """Return the pictures of the report that was committed last."""
    return [config.report / f"{name}.png" for name in _read_record(config).get("pictures", ())]


def _described(config: Config) -> Mapping[str, object]:
    """Return the configuration without what does not change the result: places of files, and how the run is executed.

    The content of the files is in the fingerprints of the map and of its accuracy.
    """
    without: dict[str, bool | set[str]] = {
        "out": True,
        "local": True,
        "cluster": True,
        "region": {"outline"},
        "download": True,
        "ingest": {"granules", "as_of"},
        "raster": {"folder"},
        "reference": {"path"},
        "inference": {"batch_pixels"},
        "evaluation": {"regions"},
    }
    return config.model_dump(mode="json", exclude=without)


def _unused_files(config: Config) -> list[object]:
    """Return what the report says of files that were not used: it may change where no number of the map does."""
    about = layout.attributes(stores.open_to_read(config.cube))
    awaited = [about["awaited_composites"]] if about.get("awaited_composites") else []
    return [about["granules"], about["bad_granules"], about["missing_granules"], *awaited]


def _read_record(config: Config) -> RunRecord:
    """Read the record of the run; a run without a readable one counts as not committed."""
    try:
        record: RunRecord = json.loads(read_text(_record_path(config)))
    except (FileNotFoundError, ValueError):
        return {}
    return record

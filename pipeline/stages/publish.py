"""Publish: the year joins the cluster cube, report and products are written, and the run is committed."""

import json
from typing import Any, Final

from pipeline.base.errors import UserError
from pipeline.base.files import read_text, remove_file, write_bytes, write_text
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import clusters, layout, stores
from pipeline.cube.map_layers import require_labels
from pipeline.reports.comparison import comparison_section
from pipeline.reports.page import make_page
from pipeline.reports.products import products
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.stages.change.section import change_section, section_fingerprint
from pipeline.stages.evaluate import read_accuracy

STAGE: Final = Stage.PUBLISH
VERSION: Final = 3


def publish(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Add the year to `clusters.zarr`, write the report and the products, and commit the run in `run.json`.

    A year that is still running has its report and its products, but joins neither the cluster cube nor the Collection:
    they hold what is final, and would change under their readers every few days.

    Products are COGs of label and confidence with a style for QGIS, and a STAC Item that the region's Collection links.

    Args:
        config: of the year.
        executor: where the year is compared with the one before; the rest has one writer.
        reporter: where progress goes.

    Raises:
        UserError: there is no finished map, or an output cannot be written.
    """
    reporter = reporter or Silent()
    group = stores.require(config.map, Stage.INFER, "infer")
    require_labels(group)
    map_mark = clusters.map_fingerprint(group)
    accuracy, comparison = read_accuracy(config), comparison_section(config)
    mark = publish_mark(config, map_mark, accuracy, comparison)
    outputs, pictures = _outputs(config), _pictures(config)
    whole = is_whole(config)
    if whole:
        clusters.published(config.outputs)  # ends what a killed run has left half done
    if is_published(config, mark, map_mark):
        return StageResult(STAGE, False, outputs)
    with reporter.track(STAGE, 5) as task:
        if whole:
            clusters.add_year(config.outputs, map_mark)
        task.advance(note="cluster cube")
        change = change_section(config, executor) if whole else None
        task.advance(note="change")
        page = make_page(config, accuracy, comparison, change)
        task.advance(note="report")
        try:
            products.write_products(config, map_mark)
            if whole:
                products.write_collection(config)
            task.advance(note="products")
            for name, png in page.pictures.items():
                write_bytes(config.report / f"{name}.png", png)
            for path in pictures:
                if path.stem not in page.pictures:  # one of an earlier report
                    remove_file(path)
            write_text(config.report / "index.html", page.html)
            record = {
                "fingerprint": mark,
                "map": map_mark,
                "pictures": sorted(page.pictures),
                "configuration": config.model_dump(mode="json"),
            }
            write_text(outputs[-1], json.dumps(record, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise UserError(f"cannot write into {config.year_folder}: {error.strerror or error}.") from None
        task.advance(note="committed")
    return StageResult(STAGE, True, outputs)


def is_whole(config: Config) -> bool:
    """Whether all composites of the year are there, or will never be."""
    return not layout.attributes(stores.open_to_read(config.cube)).get("awaited_composites")


def is_published(config: Config, mark: str, map_mark: str) -> bool:
    """Whether nothing is left to do for `publish`; its fingerprint, and that of the map, are given."""
    joined = not is_whole(config) or clusters.maps_of(config.clusters).get(config.year) == map_mark
    return joined and is_written(config, mark)


def publish_mark(config: Config, map_mark: str, accuracy: dict[str, Any] | None, comparison: str | None) -> str:
    """Fingerprint of what is published: of the map, its accuracy, and what else the report tells."""
    change = section_fingerprint(config, map_mark) if is_whole(config) else None
    return fingerprint_of(
        STAGE, VERSION, map_mark, accuracy, _described(config), _set_aside(config), comparison, change
    )


def is_written(config: Config, mark: str | None = None) -> bool:
    """Whether the run has been committed and all of its files are there; with this fingerprint, if one is given."""
    run, result = _read_run(_outputs(config)[-1]), stores.find(config.map)
    if result is None:
        return False
    there = all(path.exists() for path in (*_outputs(config), *_pictures(config)))
    return (
        there
        and products.are_there(config, result, linked=is_whole(config))
        and bool(run)
        and mark in (None, run.get("fingerprint"))
    )


def _outputs(config: Config) -> tuple[Location, ...]:
    """What is always written; last the record that commits the run."""
    report, record = config.report, config.year_folder / "run.json"
    shared = (config.clusters,) if is_whole(config) else ()
    return report / "index.html", report / "map.png", *shared, record


def _pictures(config: Config) -> list[Location]:
    """The report's pictures, those of the last run."""
    return [config.report / f"{name}.png" for name in _read_run(_outputs(config)[-1]).get("pictures", ())]


def _described(config: Config) -> dict[str, Any]:
    """The configuration without what has no bearing on the result: where files lie, and on how many workers it ran.

    The content of the files has its bearing through the fingerprints of the map and of its accuracy.
    """
    paths: dict[str, Any] = {
        "out": True,
        "local": True,
        "region": {"outline"},
        "ingest": {"granules", "as_of"},
        "reference": {"path"},
    }
    paths |= {"raster": {"folder"}, "download": True, "inference": {"batch_pixels"}, "evaluation": {"regions"}}
    return config.model_dump(mode="json", exclude={"cluster": True, **paths})


def _set_aside(config: Config) -> list[Any]:
    """What the report says of files that were not used: it may change where no number of the map does."""
    about = layout.attributes(stores.open_to_read(config.cube))
    awaited = [about["awaited_composites"]] if about.get("awaited_composites") else []
    return [about["granules"], about["bad_granules"], about["missing_granules"], *awaited]


def _read_run(path: Location) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(read_text(path))
    except (FileNotFoundError, ValueError):  # without a readable record the run counts as not committed
        return {}
    return run

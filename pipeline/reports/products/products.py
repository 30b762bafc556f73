"""The products of a year for other software: COGs of its map with a style for QGIS, and their STAC Item."""

from typing import Final

import zarr

from pipeline.base.files import remove_file, sweep_partials, write_text
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.config.config import Config
from pipeline.cube import clusters, layout, stores
from pipeline.cube.map_layers import CONFIDENCE, LABEL
from pipeline.reports.figures import colours
from pipeline.reports.products.cog import categories_xml, class_tags, file_tags, write_cog
from pipeline.reports.products.qgis import classes_style
from pipeline.reports.products.stac import COLLECTION, ITEM, collection_text, item_id, item_text, links_year

_OVERVIEWS: Final = {LABEL: "nearest", CONFIDENCE: "average"}


def product_paths(config: Config, result: zarr.Group) -> dict[str, Location]:
    """Return the files of a year's map, by their content; without confidence where the map has none."""
    paths = {f"{name}.tif": _path(config, f"{name}.tif") for name in _layers(result)}
    return paths | {
        "label.tif.aux.xml": _path(config, "label.tif.aux.xml"),
        "label.qml": _path(config, "label.qml"),
        ITEM: config.year_folder / ITEM,
    }


def write_products(config: Config, fingerprint: Fingerprint) -> None:
    """Write the COGs, their style, and the STAC Item of a year that is in the cluster cube.

    Args:
        config: of the year.
        fingerprint: of the map.

    Raises:
        UserError: what is stored is damaged.
        OSError: a file cannot be written.
    """
    result = stores.open_to_read(config.map)
    paths, names = product_paths(config, result), label_names(result)
    palette = colours(len(names))
    sweep_partials(config.products, item_id(config))
    tags = file_tags(layout.attributes(result), fingerprint)
    for name in _layers(result):
        write_cog(
            paths[f"{name}.tif"],
            result,
            name,
            tags=tags | class_tags(names) if name == LABEL else tags,
            overviews=_OVERVIEWS[name],
            colours=palette if name == LABEL else (),
        )
    if CONFIDENCE not in _layers(result):
        remove_file(_path(config, "confidence.tif"))  # of an earlier map
    write_text(paths["label.tif.aux.xml"], categories_xml(names))
    write_text(paths["label.qml"], classes_style(names, palette))
    write_text(paths[ITEM], item_text(config, names, palette, fingerprint))


def write_collection(config: Config) -> None:
    """Write the region's STAC Collection with all years of the cluster cube; other runs wait for it."""
    with clusters.hold(config.outputs):
        years = sorted(clusters.maps_of(config.clusters))
        write_text(config.region_folder / COLLECTION, collection_text(config, years))


def are_there(config: Config, result: zarr.Group, *, linked: bool) -> bool:
    """Say whether every file is there, and where the year is to be `linked`, whether the collection links it."""
    there = all(path.exists() for path in product_paths(config, result).values())
    return there and (links_year(config) or not linked)


def label_names(result: zarr.Group) -> list[str]:
    """Return the names of a map's labels, from 0 on."""
    names: list[str] = layout.attributes(layout.array(result, LABEL))["flag_meanings"].split()
    return names


def _layers(result: zarr.Group) -> list[str]:
    return [name for name in (LABEL, CONFIDENCE) if name in stores.layer_names(result)]


def _path(config: Config, what: str) -> Location:
    return config.products / f"{item_id(config)}_{what}"

"""Export of a finished year for other software, as GeoTIFF, NetCDF or a table."""

from typing import Final, Literal

import zarr

from pipeline.base.errors import UserError
from pipeline.base.files import sweep_partials, write_text
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent, Task
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.config.regions import configured_regions
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.map_layers import CONFIDENCE, LABEL, require_labels
from pipeline.reports.figures import colours
from pipeline.reports.products.areas_table import areas_csv
from pipeline.reports.products.cog import bands_of, write_cog
from pipeline.reports.products.netcdf import write_netcdf
from pipeline.reports.products.products import label_names
from pipeline.reports.products.stac import item_id

Format = Literal["geotiff", "netcdf", "csv"]
FORMATS: Final = ("geotiff", "netcdf", "csv")
STAGE: Final = "export"


def export_year(
    config: Config,
    folder: Location,
    kind: Format,
    layers: list[str] | None = None,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[Location]:
    """Write layers of a year that is mapped, each file whole or not at all, and return the files.

    Args:
        config: of the year.
        folder: for the files.
        kind: "geotiff": a cloud-optimised GeoTIFF a layer, whose bands are the dates of a series; "netcdf": one file
            with all layers; "csv": areas of the labels by region, without layers.
        layers: arrays of map.zarr and cube.zarr; None: label and confidence as GeoTIFF, and all of the map with the
            observations as NetCDF.
        overwrite: whether files that are there are replaced.
        reporter: receives the progress.

    Raises:
        UserError: the year is not mapped, a layer is unknown, a file is there already or cannot be written.
    """
    reporter = reporter or Silent()
    result = stores.require(config.map, Stage.INFER, "infer")
    cube = stores.require(config.cube, Stage.PREPARE, "prepare")
    name = item_id(config)
    chosen: dict[str, zarr.Group] = {}
    if kind == "csv":
        if layers is not None:
            raise UserError(
                "a table holds areas of the labels, no layers: leave out --layer, or choose another --format."
            )
        require_labels(result)
        files = [f"{name}_areas.csv"]
    else:
        chosen = _chosen(result, cube, layers, kind)
        files = [f"{name}.nc"] if kind == "netcdf" else [f"{name}_{layer}.tif" for layer in chosen]
    targets = [folder / file for file in files]
    _refuse_to_overwrite(targets, overwrite)
    n_shards = len(layout.read_grid(result).shards)
    try:
        sweep_partials(folder, name)
        regions = configured_regions(config) if kind == "csv" else []
        with reporter.track(STAGE, n_shards * max(1, len(chosen))) as task:
            if kind == "csv":
                write_text(targets[0], areas_csv(result, config.year, config.region.name, regions, task))
            elif kind == "netcdf":
                parts = [(group, [n for n in chosen if chosen[n] is group]) for group in (result, cube)]
                write_netcdf(targets[0], [part for part in parts if part[1]], task)
            else:
                for target, (layer, group) in zip(targets, chosen.items(), strict=True):
                    _write_geotiff(target, layer, group, task)
    except OSError as error:
        raise UserError(
            f"cannot write into {folder}: {error.strerror or error}. Free space or choose another --to."
        ) from error
    return targets


def _write_geotiff(target: Location, layer: str, group: zarr.Group, task: Task) -> None:
    classed = "flag_values" in layout.attributes(layout.array(group, layer))
    write_cog(
        target,
        group,
        layer,
        tags={"TITLE": layout.attributes(group)["title"]} | _simulated(group),
        overviews="nearest" if classed else "average",
        colours=colours(len(label_names(group))) if layer == LABEL else (),
        bands=bands_of(group, layer),
        task=task,
    )


def _simulated(group: zarr.Group) -> dict[str, str]:
    made = layout.attributes(group)["simulated"]
    return {layout.SIMULATED: made} if made else {}


def _chosen(result: zarr.Group, cube: zarr.Group, layers: list[str] | None, kind: Format) -> dict[str, zarr.Group]:
    """Return the wanted layers in their order, each with its store.

    Raises:
        UserError: a layer is unknown, or none is given.
    """
    there = dict.fromkeys(sorted(stores.layer_names(result)), result)
    there |= {name: cube for name in sorted(stores.layer_names(cube)) if name not in there}
    if layers is None:
        of_map = [LABEL, CONFIDENCE] if kind == "geotiff" else sorted(stores.layer_names(result))
        series = [] if kind == "geotiff" else [channel.name for channel in read_channels(cube)]
        layers = [name for name in (*of_map, *series) if name in there]
    unknown = [name for name in layers if name not in there]
    if unknown or not layers:
        asked = f"there is no layer {', '.join(unknown)}" if unknown else "no layer is given"
        raise UserError(f"{asked}: choose from {', '.join(there)}.")
    return {name: there[name] for name in layers}


def _refuse_to_overwrite(targets: list[Location], overwrite: bool) -> None:
    for target in targets:
        if not overwrite and target.exists():
            raise UserError(f"{target} is there already: give --overwrite to replace it, or choose another --to.")

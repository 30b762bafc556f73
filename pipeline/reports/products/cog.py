"""Cloud-optimised GeoTIFFs of a store's arrays, written shard by shard."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from matplotlib.colors import to_rgb
from rasterio.windows import Window

from pipeline.base.files import atomic_file
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.base.progress import Task
from pipeline.cube import layout, stores

_BLOCK: Final = 512  # cells along the edge of a tile


def write_cog(
    target: Location,
    source: zarr.Group,
    name: str,
    *,
    tags: Mapping[str, str],
    overviews: str,
    colours: Sequence[str] = (),
    bands: Sequence[str] = (),
    task: Task | None = None,
) -> None:
    """Write an array of a store as a cloud-optimised GeoTIFF, whole or not at all; one shard is in memory at a time.

    Args:
        target: the file.
        source: the store.
        name: of the array, (y, x) or (time, y, x); a date is a band.
        tags: of the file.
        overviews: method that makes them, such as "nearest" or "average".
        colours: of the values from 0 on, such as "#0072B2".
        bands: descriptions of the bands.
        task: advances with every shard.

    Raises:
        UserError: what is stored is damaged.
        OSError: the file cannot be written.
    """
    grid, array = layout.read_grid(source), layout.array(source, name)
    about = layout.attributes(array)
    n_bands = array.shape[0] if array.ndim == 3 else 1
    rows, columns = grid.shape
    with atomic_file(target) as path:
        plain = path.with_suffix(".plain.tif")
        with rasterio.open(
            plain, "w", driver="GTiff", height=rows, width=columns, count=n_bands, dtype=str(array.dtype),
            crs=grid.geobox.crs.to_wkt(), transform=grid.geobox.transform, nodata=about["_FillValue"],
            tiled=True, blockxsize=_BLOCK, blockysize=_BLOCK, compress="lzw", BIGTIFF="IF_SAFER", interleave="band",
        ) as file:  # fmt: skip
            for shard in grid.shards:
                window = grid.window(shard)
                values = stores.read_window(source, name, window).reshape(n_bands, *_lengths(window))
                file.write(values, window=Window.from_slices(*window))
                if task is not None:
                    task.advance(note=f"{name} {shard}")
            file.update_tags(**tags)
            _describe(file, about, colours, bands, n_bands)
        rasterio.shutil.copy(
            plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=str(_BLOCK),
            OVERVIEW_RESAMPLING=overviews.upper(), BIGTIFF="IF_SAFER",
        )  # fmt: skip
        plain.unlink()


def file_tags(about: Mapping[str, Any], fingerprint: Fingerprint) -> dict[str, str]:
    """Return the tags of a GeoTIFF that say what it was made from and by which software; empty ones are left out.

    Args:
        about: attributes of the store that the file is made from.
        fingerprint: of its content.
    """
    tags = {
        "SOFTWARE": f"{layout.SOFTWARE} {about['software_version']}",
        "TITLE": about["title"],
        layout.SIMULATED: about["simulated"],
        "FINGERPRINT": fingerprint,
    }
    return {key: text for key, text in tags.items() if text}


def class_tags(names: Sequence[str]) -> dict[str, str]:
    """Return the tags of a GeoTIFF of classes: their names and values from 0 on."""
    return {"FLAG_MEANINGS": " ".join(names), "FLAG_VALUES": " ".join(map(str, range(len(names))))}


def categories_xml(names: Sequence[str]) -> str:
    """Write what GDAL reads from FILE.tif.aux.xml: the names of the values from 0 on."""
    root = ElementTree.Element("PAMDataset")
    listed = ElementTree.SubElement(ElementTree.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for name in names:
        ElementTree.SubElement(listed, "Category").text = name
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _describe(
    file: rasterio.io.DatasetWriter,
    about: Mapping[str, Any],
    colours: Sequence[str],
    bands: Sequence[str],
    n_bands: int,
) -> None:
    for band in range(1, n_bands + 1):
        file.set_band_description(band, bands[band - 1] if bands else about.get("long_name", ""))
    file.scales = [about.get("scale_factor", 1.0)] * n_bands
    file.offsets = [about.get("add_offset", 0.0)] * n_bands
    file.units = [about.get("units", "")] * n_bands
    if colours:
        table = {value: (*(round(255 * part) for part in to_rgb(c)), 255) for value, c in enumerate(colours)}
        file.write_colormap(1, {**table, int(about["_FillValue"]): (0, 0, 0, 0)})


def _lengths(window: tuple[slice, slice]) -> tuple[int, int]:
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def bands_of(source: zarr.Group, name: str) -> list[str]:
    """Return the descriptions of an array's bands: its dates, or none where it has one band."""
    if layout.array(source, name).ndim < 3:
        return []
    return [str(date) for date in np.asarray(layout.read_dates(source))]

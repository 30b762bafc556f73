"""Writer of granules in the layout of VNP15A2H, Collection 2 (HDF-EOS5 on the sinusoidal grid)."""

import zlib
from datetime import date
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from pipeline.base.files import write_bytes
from pipeline.grid.sinusoidal import TILE_PIXELS, Tile
from pipeline.sources.simulated.metadata import (
    EARTH_RADIUS,
    GRID_GROUP,
    LAYER_TEXTS,
    LAYERS,
    SHORT_NAME,
    STRUCT_METADATA_BYTES,
    corners,
    granule_name,
    inventory_metadata,
    root_attributes,
    struct_metadata,
)

__all__ = ["FILL", "LAYERS", "granule_name", "write_granule"]

FILL: Final = 255
_DEFLATE_LEVEL: Final = 5
_SHAPE: Final = (TILE_PIXELS, TILE_PIXELS)


def write_granule(
    path: Path,
    tile: Tile,
    first_day: date,
    layers: dict[str, np.ndarray],
    *,
    attributes: dict[str, str] | None = None,
) -> None:
    """Write a granule; equal arguments give equal bytes, and no reader finds half of it.

    Rows that hold only fill in all given layers are not stored and read back as fill, so a granule without land costs
    about 100 KB. All six layers store the same rows: a reader can tell a row that was left out from one that was lost.

    Args:
        path: the file; `granule_name` returns names like the product's. Its folder is made.
        tile: its place.
        first_day: of the composite.
        layers: raw uint8 (2400, 2400) arrays by layer name; layers left out are all fill.
        attributes: further texts of the file, such as its origin.

    Raises:
        ValueError: a layer is unknown, or its dtype or shape is wrong.
        OSError: the file cannot be written.
    """
    for name, layer in layers.items():
        if name not in LAYERS:
            raise ValueError(f"unknown layer {name!r}: a granule has {', '.join(LAYERS)}")
        if layer.dtype != np.uint8 or layer.shape != _SHAPE:
            raise ValueError(f"layer {name} is {layer.dtype} {layer.shape}, it must be uint8 {_SHAPE}")
    # made in memory, because HDF5 reports a full disk as a RuntimeError, and only when the file is closed
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        for key, value in {**root_attributes(tile, first_day, path.name), **(attributes or {})}.items():
            file.attrs[key] = _stored(value)
        _write_grid(file, tile, layers)
        _write_information(file, tile, path.name)
        file.flush()
        image = file.id.get_file_image()
    write_bytes(path, image)


def _stored(value: str | np.ndarray) -> np.bytes_ | np.ndarray:
    """Return a value as HDF5 stores it; texts are ASCII scalars of fixed length, as in the product."""
    return np.bytes_(value.encode("ascii")) if isinstance(value, str) else value


def _write_grid(file: h5py.File, tile: Tile, layers: dict[str, np.ndarray]) -> None:
    file.create_group("HDFEOS/ADDITIONAL/FILE_ATTRIBUTES")
    grid = file.create_group(f"HDFEOS/GRIDS/{GRID_GROUP}")
    scales = []
    for axis, name, values in zip("yx", ("YDim", "XDim"), reversed(corners(tile)), strict=True):
        scale = grid.create_dataset(name, data=values, track_times=False)
        scale.make_scale(name)
        scale.attrs["long_name"] = np.bytes_(f"{axis} coordinate of projection")
        scale.attrs["standard_name"] = np.bytes_(f"projection_{axis}_coordinate")
        scale.attrs["units"] = np.bytes_("m")
        scales.append(scale)
    fields = grid.create_group("Data Fields")
    used = np.zeros(TILE_PIXELS, bool)  # rows with values
    for values in layers.values():
        used |= (values != FILL).any(axis=1)
    for name in LAYERS:
        # The product declares HDF5 fill value 0 and stores rows of 255. With 255 declared instead, rows of fill can be
        # left out, and every value is read the same.
        layer = fields.create_dataset(
            name,
            _SHAPE,
            np.uint8,
            chunks=(1, TILE_PIXELS),
            compression="gzip",
            compression_opts=_DEFLATE_LEVEL,
            fillvalue=FILL,
            track_times=False,
        )
        for dimension, scale in zip(layer.dims, scales, strict=True):
            dimension.attach_scale(scale)
        _describe(layer, name)
        _write_rows(layer, layers.get(name), np.flatnonzero(used))
    _write_projection(fields)


def _describe(layer: h5py.Dataset, name: str) -> None:
    long_name, units, scale_factor, legend = LAYER_TEXTS[name]
    layer.attrs["Legend"] = np.array([legend.encode()])
    layer.attrs["_FillValue"] = np.array([FILL], np.uint8)
    layer.attrs["grid_mapping"] = np.array([b"Projection"])
    layer.attrs["long_name"] = np.array([long_name.encode()])
    layer.attrs["units"] = np.array([units.encode()])
    if scale_factor is None:
        layer.attrs["valid_range"] = np.array([0, 254], np.uint8)
    else:
        layer.attrs["add_offset"] = np.array([0.0])
        layer.attrs["scale_factor"] = np.array([scale_factor])
        layer.attrs["valid_range"] = np.array([0, 100], np.uint8)


def _write_rows(layer: h5py.Dataset, values: np.ndarray | None, rows: np.ndarray) -> None:
    """Write rows, of fill where there are no values, one chunk each.

    They are compressed here, so that HDF5 does not use its chunk cache.
    """
    fill = zlib.compress(bytes([FILL]) * TILE_PIXELS, _DEFLATE_LEVEL)
    for row in rows.tolist():
        packed = fill if values is None else zlib.compress(values[row].tobytes(), _DEFLATE_LEVEL)
        layer.id.write_direct_chunk((row, 0), packed)


def _write_projection(fields: h5py.Group) -> None:
    projection = fields.create_dataset("Projection", data=np.zeros(1, np.int32), track_times=False)
    projection.attrs["earth_radius"] = np.array([EARTH_RADIUS])
    projection.attrs["false_easting"] = np.zeros(1)
    projection.attrs["false_northing"] = np.zeros(1)
    projection.attrs["grid_mapping_name"] = np.bytes_("sinusoidal")
    projection.attrs["longitude_of_central_meridian"] = np.zeros(1)


def _write_information(file: h5py.File, tile: Tile, file_name: str) -> None:
    information = file.create_group("HDFEOS INFORMATION")
    information.attrs["HDFEOSVersion"] = np.array(b"HDFEOS_5.1.16", "S32")
    archive = inventory_metadata("ARCHIVEDMETADATA", {"LONGNAME": "simulated", "PROCESSINGCENTER": "sitscube"})
    core = inventory_metadata("INVENTORYMETADATA", {"LOCALGRANULEID": file_name, "SHORTNAME": SHORT_NAME})
    texts = {
        "ArchiveMetadata.0": (archive, len(archive)),
        "CoreMetadata.0": (core, len(core)),
        "StructMetadata.0": (struct_metadata(tile), STRUCT_METADATA_BYTES),
    }
    for name, (text, length) in texts.items():
        information.create_dataset(name, data=np.array(text.encode("ascii"), f"S{length}"), track_times=False)

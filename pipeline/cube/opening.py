"""Opening of outputs in notebooks: those of a year, or the cluster cube of all years, as one xarray Dataset."""

import time
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from upath import UPath

from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.base.locations import Location, to_location
from pipeline.base.outputs import Outputs
from pipeline.base.stage_names import Stage
from pipeline.cube import layout, stores
from pipeline.cube.append import GROWING
from pipeline.cube.channels import to_physical
from pipeline.cube.zarr_access import open_store

_TRIES: Final = 20
_PAUSE: Final = 0.1  # seconds
_ANY_YEAR: Final = 0  # for outputs that all years share
# arrays of the reference map by their name in its store, each with its name in the Dataset
_OF_REFERENCE: Final = {"season": "reference_season", "code": "reference_code", "share": "reference_share"}


def open_year(out: str | Path | UPath, year: int, region: str = "italy") -> xr.Dataset:
    """Open a year's observations, map and reference map on one grid; numbers are read when they are used.

    Arrays in physical units, such as `fpar` and `fpar_filled` (time, y, x), are float32 with NaN for missing values.
    Classes and counts stay integers, with the number for missing values in the attribute `_FillValue`: `label` (y, x)
    is 255 where no cell is mapped, and `ds.label.where(ds.label != 255)` masks it. `reference_season`,
    `reference_code` and `reference_share` exist where the map was compared with a reference map. Dask chunks are the
    shards. The CRS is in `spatial_ref`, where `.rio` and `.odc` find it.

    Args:
        out: folder or URL of all outputs.
        year: year of the observations.
        region: name of the region.

    Raises:
        UserError: the region or year does not exist, and the message lists those that do; or it is not finished.
    """
    outputs = _outputs(out, region, year)
    if stores.find(outputs.cube) is None:
        there = sorted(name for name in _children(outputs.region_folder) if name.isdigit())
        raise UserError(f"there is no {outputs.cube}: of {region}, there are the years {_listed(there)}.")
    parts = [_decoded(outputs.cube, Stage.PREPARE)]
    if stores.find(outputs.map) is None:
        raise UserError(f"{year} of {region} is not mapped yet: run `sitscube infer --year {year} --out {out}`.")
    parts.append(_decoded(outputs.map, Stage.INFER))
    path = outputs.year_folder / "reference.zarr"
    reference = stores.find(path)
    if reference is not None and layout.attributes(reference).get("complete"):
        found = _decoded(path, None)
        parts.append(found[[name for name in _OF_REFERENCE if name in found]].rename(_OF_REFERENCE))
    data = xr.merge(parts, join="exact", compat="override", combine_attrs="override")
    data.attrs = parts[1].attrs
    return data


def open_clusters(out: str | Path | UPath, region: str = "italy") -> xr.Dataset:
    """Open `label` and `confidence` of all years: (year, y, x) uint8, 255 where no cell is mapped.

    While a year is being added, the cube is returned either with the new year or without it, but always complete. The
    meanings of the labels are in `label.attrs["flag_meanings"]`, those of each year in the attribute `label_names`.

    Args:
        out: folder or URL of all outputs.
        region: name of the region.

    Raises:
        UserError: there is no such cube, and the message lists the regions; or a publication was cut short.
    """
    path = _outputs(out, region).clusters
    for _ in range(_TRIES):
        group = stores.find(path)
        if group is None:
            raise UserError(f"there is no {path}: no year of {region} has been published yet, see `sitscube publish`.")
        about = layout.attributes(group)
        if about.get("complete") and GROWING not in about:
            try:
                data = _decoded(path, None)
            except (ValueError, KeyError, FileNotFoundError):  # a year was being appended, or the cube replaced
                data = xr.Dataset()
            if set(data.get("year", xr.DataArray()).values.ravel().tolist()) == {int(year) for year in about["maps"]}:
                return data
        time.sleep(_PAUSE)
    raise UserError(f"{path} is being written, or a publication was cut short: run `sitscube publish` again.")


def _outputs(out: str | Path | UPath, region: str, year: int = _ANY_YEAR) -> Outputs:
    """Return the outputs of a region that exists."""
    outputs = Outputs(to_location(out), region, year)
    if not outputs.region_folder.exists():
        place = outputs.out
        there = sorted(name for name in _children(place) if Outputs(place, name, year).clusters.exists())
        raise UserError(f"there is no {outputs.region_folder}: in {place}, there are the regions {_listed(there)}.")
    return outputs


def _children(folder: Location) -> list[str]:
    return [child.name for child in folder.iterdir() if child.is_dir()] if folder.exists() else []


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "(none)"


def _decoded(path: Location, stage: Stage | None) -> xr.Dataset:
    """Open a store, with arrays that have a scale in physical units.

    Args:
        path: the store.
        stage: stage that must have finished it, or None.

    Raises:
        UserError: the stage has not finished it.
    """
    if stage is not None:
        stores.require(path, stage, stage)
    store = open_store(path, read_only=True)
    raw = xr.open_zarr(store, consolidated=False, mask_and_scale=False, chunks=None)
    whole = {dim: size for dim, size in raw.sizes.items() if dim not in ("y", "x", "year")}
    side = int(raw.attrs["shard"])
    raw = raw.chunk(
        {**whole, **{dim: size for dim, size in (("year", 1), ("y", side), ("x", side)) if dim in raw.sizes}}
    )
    for name, array in raw.data_vars.items():
        if "scale_factor" in array.attrs:
            raw[name] = _physical(array)
    return raw


def _physical(array: xr.DataArray) -> xr.DataArray:
    """Return an array in physical units: float32, NaN for missing values."""
    about = dict(array.attrs)
    channel = Channel(
        name=str(array.name),
        long_name=about["long_name"],
        units=about["units"],
        scale=about.pop("scale_factor"),
        offset=about.pop("add_offset", 0.0),
        dtype=str(array.dtype),
        missing=about.pop("_FillValue"),
        valid_range=tuple(about.pop("valid_range", ())),
    )
    values: xr.DataArray = xr.apply_ufunc(
        to_physical, array, kwargs={"channel": channel}, dask="parallelized", output_dtypes=[np.float32]
    )
    low_and_high = to_physical(np.array(channel.valid_range), channel).tolist()
    values.attrs = about | ({"valid_range": low_and_high} if low_and_high else {})
    return values

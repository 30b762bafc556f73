"""The door for notebooks: a year's outputs, or the cluster cube of all years, as one xarray Dataset."""

import time
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from upath import UPath

from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.base.locations import Location, to_location
from pipeline.cube import layout, stores
from pipeline.cube.append import GROWING
from pipeline.cube.channels import to_physical
from pipeline.cube.zarr_access import open_store

_TRIES: Final = 20
_PAUSE: Final = 0.1  # seconds
# what tells of the reference map, by its name there
_OF_REFERENCE: Final = {"season": "reference_season", "code": "reference_code", "share": "reference_share"}


def open_year(out: str | Path | UPath, year: int, region: str = "italy") -> xr.Dataset:
    """A year's observations, map and reference map on one grid; nothing is read before it is asked for.

    Arrays in physical units, such as `fpar` and `fpar_filled` (time, y, x), are float32 with NaN where nothing is
    known. Classes and counts keep their integers, with the number for nothing in the attribute `_FillValue`: `label`
    (y, x) is 255 where no cell is mapped, and `ds.label.where(ds.label != 255)` masks it. `reference_season`,
    `reference_code` and `reference_share` are there where the map was compared. Dask chunks are the shards. The CRS is
    in `spatial_ref`, so that `.rio` and `.odc` know it.

    Args:
        out: folder or URL of all outputs.
        year: of the observations.
        region: name of the region.

    Raises:
        UserError: the region or year is not there, which says what there is; or a run has not finished it.
    """
    folder = _folder(out, region)
    of_year = folder / str(year)
    cube = stores.find(of_year / "cube.zarr")
    if cube is None:
        there = sorted(name for name in _children(folder) if name.isdigit())
        raise UserError(f"there is no {of_year / 'cube.zarr'}: of {region}, there are the years {_listed(there)}.")
    parts = [_decoded(of_year / "cube.zarr", "prepare")]
    if stores.find(of_year / "map.zarr") is None:
        raise UserError(f"{year} of {region} is not mapped yet: run `sitscube infer --year {year} --out {out}`.")
    parts.append(_decoded(of_year / "map.zarr", "infer"))
    reference = stores.find(of_year / "reference.zarr")
    if reference is not None and layout.attributes(reference).get("complete"):
        found = _decoded(of_year / "reference.zarr", None)
        parts.append(found[[name for name in _OF_REFERENCE if name in found]].rename(_OF_REFERENCE))
    data = xr.merge(parts, join="exact", compat="override", combine_attrs="override")
    data.attrs = parts[1].attrs
    return data


def open_clusters(out: str | Path | UPath, region: str = "italy") -> xr.Dataset:
    """Labels and confidence of all years, `label` and `confidence` (year, y, x) uint8, 255 where no cell is mapped.

    Cubes grow while they are read: who meets one in that moment gets it with the new year or without it, whole. What
    labels mean is told by `label.attrs["flag_meanings"]`, and of each year by the attribute `label_names`.

    Args:
        out: folder or URL of all outputs.
        region: name of the region.

    Raises:
        UserError: there is no such cube, which says which regions there are; or a publication was cut short.
    """
    path = _folder(out, region) / "clusters.zarr"
    for _ in range(_TRIES):
        group = stores.find(path)
        if group is None:
            raise UserError(f"there is no {path}: no year of {region} has been published yet, see `sitscube publish`.")
        about = layout.attributes(group)
        if about.get("complete") and GROWING not in about:
            try:
                data = _decoded(path, None)
            except (ValueError, KeyError, FileNotFoundError):  # its arrays were growing, or the cube was being replaced
                data = xr.Dataset()
            if set(data.get("year", xr.DataArray()).values.ravel().tolist()) == {int(year) for year in about["maps"]}:
                return data
        time.sleep(_PAUSE)
    raise UserError(f"{path} is being written, or a publication was cut short: run `sitscube publish` again.")


def _folder(out: str | Path | UPath, region: str) -> Location:
    place = to_location(out)
    folder = place / region
    if not folder.exists():
        there = sorted(name for name in _children(place) if (place / name / "clusters.zarr").exists())
        raise UserError(f"there is no {folder}: in {place}, there are the regions {_listed(there)}.")
    return folder


def _children(folder: Location) -> list[str]:
    return [child.name for child in folder.iterdir() if child.is_dir()] if folder.exists() else []


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "(none)"


def _decoded(path: Location, stage: str | None) -> xr.Dataset:
    """A store's arrays, those with a scale in physical units; `stage` must have finished it, if one is named."""
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
    """Stored numbers as float32 in physical units, NaN where nothing is known."""
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

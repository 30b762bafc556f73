"""Polygons in longitude and latitude: the outline of a country, its named regions, and the cells in each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask, rasterize
from shapely import clip_by_rect, make_valid, segmentize, transform
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from pipeline.base.errors import UserError

LONLAT: Final = CRS("EPSG:4326")
OUTSIDE: Final = -1  # of every region
_POLYGONS: Final = ("Polygon", "MultiPolygon")
_NAMES: Final = ("name", "NAME", "Name", "NUTS_NAME", "NAME_LATN", "NAME_1", "DEN_REG")
_MOST: Final = int(np.iinfo(np.int16).max)
_WGS84: Final = ("CRS84", "4326")  # one of these ends the name of a CRS that GeoJSON may still carry
_EDGE: Final = 0.02  # degrees: straight edges of a polygon are cut into such pieces, which leave them by 0.1 m at most
_MARGIN: Final = 1.0  # degrees around the cells


class Feature(TypedDict):
    """A feature of a GeoJSON file of regions."""

    geometry: Any  # as it was read
    properties: dict[str, object]


@lru_cache(maxsize=8)
def read_outline(path: Path) -> BaseGeometry:
    """Read the region's outline as one geometry in longitude and latitude.

    Args:
        path: GeoJSON with polygons in WGS 84.

    Raises:
        UserError: the file is missing, is no GeoJSON, or holds no polygon.
    """
    try:
        content = _read_json(path, "the region's outline", "region.outline")
        features = content["features"] if content["type"] == "FeatureCollection" else [content]
        polygons = [shape(feature.get("geometry", feature)) for feature in features]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"the region's outline {path} is no GeoJSON that can be used: {error!r}.") from None
    outline = make_valid(unary_union([polygon for polygon in polygons if polygon.geom_type in _POLYGONS]))
    if outline.is_empty:
        raise UserError(f"the region's outline {path} holds no polygon.")
    _check_degrees(outline, f"the region's outline {path}")
    return outline


def project(geometry: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    """Return a geometry in another coordinate reference system, vertex by vertex."""
    return transform(geometry, source.transformer_to_crs(target), interleaved=False)


def inside(geobox: GeoBox, outline: BaseGeometry) -> np.ndarray:
    """Return which cells have their centre in the region.

    Args:
        geobox: the cells.
        outline: the region in longitude and latitude.

    Returns:
        Boolean array of the geobox's shape.
    """
    projected = project(outline, LONLAT, geobox.crs)
    return geometry_mask([projected], out_shape=tuple(geobox.shape), transform=geobox.transform, invert=True)


@dataclass(frozen=True)
class Region:
    """A named part of the country."""

    name: str
    polygon: BaseGeometry  # longitude and latitude


def read_regions(path: Path, name_property: str | None = None) -> list[Region]:
    """Read the polygons of a GeoJSON file in WGS 84, in their order there.

    Args:
        path: of the file.
        name_property: property with each region's name; None: the first of name, NAME, Name, NUTS_NAME,
            NAME_LATN, NAME_1 and DEN_REG that all features have.

    Raises:
        UserError: the file is missing, is no such file, lacks names, uses one twice, or is not in degrees.
    """
    features = _features(path)
    key = _name_property(path, features, name_property)
    regions: list[Region] = []
    known: set[str] = set()
    for number, feature in enumerate(features, 1):
        name = str(feature["properties"].get(key, "") or "").strip()
        if not name:
            raise UserError(f"feature {number} of {path} has no {key}: every region needs a name.")
        if name in known:
            raise UserError(
                f"{path} holds two regions with {key} = {name!r}: unite them, or name another property with "
                "evaluation.region_name."
            )
        known.add(name)
        regions.append(Region(name, _polygon(path, name, feature)))
    return regions


def check_overlap(regions: Sequence[Region], path: Path, outline: BaseGeometry) -> None:
    """Check that at least one region has cells in common with the country.

    Args:
        regions: of the file.
        path: of the file.
        outline: of the country, in longitude and latitude.

    Raises:
        UserError: none has; the message names both extents.
    """
    if any(region.polygon.intersects(outline) for region in regions):
        return
    bounds = [region.polygon.bounds for region in regions]
    west, south = (min(b[k] for b in bounds) for k in (0, 1))
    east, north = (max(b[k] for b in bounds) for k in (2, 3))
    own = ", ".join(f"{v:g}" for v in outline.bounds)
    raise UserError(
        f"none of the {len(regions)} regions of {path} lies in the country: they reach from ({west:g}, {south:g}) to "
        f"({east:g}, {north:g}), the country is within ({own}) in longitude and latitude."
    )


def region_of_cells(geobox: GeoBox, regions: Sequence[Region]) -> np.ndarray:
    """Return the number of the region in which each cell has its centre; where regions overlap, of the first.

    Args:
        geobox: the cells.
        regions: see `read_regions`.

    Returns:
        int16 array (y, x), -1 where the centre is in none.
    """
    found = np.full(tuple(geobox.shape), OUTSIDE, np.int16)
    box = geobox.extent.to_crs(LONLAT, resolution=16 * abs(geobox.transform.a)).boundingbox
    bounds = (box.left - _MARGIN, box.bottom - _MARGIN, box.right + _MARGIN, box.top + _MARGIN)
    shapes = []
    for number, region in enumerate(regions):
        near = region.polygon
        if np.isfinite(bounds).all():  # the grid's projection may be undefined far away
            near = clip_by_rect(near, *bounds)
        if not near.is_empty:
            shapes.append((project(segmentize(near, _EDGE), LONLAT, geobox.crs), number))
    if shapes:  # the first region is drawn last, over the others
        rasterize(shapes[::-1], out=found, transform=geobox.transform)
    return found


def _read_json(path: Path, what: str, setting: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: it cannot be read; the message names `setting`, with which another one is given.
        ValueError: it is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}. Set {setting}.") from None


def _check_degrees(geometry: BaseGeometry, what: str) -> None:
    """Check that coordinates may be longitudes and latitudes.

    Raises:
        UserError: they are not; the message begins with `what` they are of.
    """
    west, south, east, north = geometry.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise UserError(
            f"{what} reaches from ({west:g}, {south:g}) to ({east:g}, {north:g}): longitudes and latitudes in degrees "
            "(WGS 84) are expected, as GeoJSON has them."
        )


def _features(path: Path) -> list[Feature]:
    """Return the features of a GeoJSON file, each with its properties."""
    try:
        content = _read_json(path, "the regions", "evaluation.regions")
    except ValueError as error:
        raise UserError(f"the regions {path} are no GeoJSON: {error}.") from None
    kind = content.get("type") if isinstance(content, dict) else None
    if kind not in ("FeatureCollection", "Feature"):
        raise UserError(f"the regions {path} are no GeoJSON of features: its type is {kind!r}.")
    crs = content.get("crs")
    if crs is not None:
        name = str(crs.get("properties", {}).get("name", crs)) if isinstance(crs, dict) else str(crs)
        if not name.endswith(_WGS84):
            raise UserError(f"the regions {path} are in the CRS {name}: write them in WGS 84 (EPSG:4326).")
    features = content.get("features") if kind == "FeatureCollection" else [content]
    if not isinstance(features, list) or not features or not all(isinstance(f, dict) for f in features):
        raise UserError(f"the regions {path} hold no features: a FeatureCollection of named polygons is expected.")
    if len(features) > _MOST:
        raise UserError(f"{path} holds {len(features):,} regions: {_MOST:,} at most can be told apart.")
    return [
        {"geometry": feature.get("geometry"), "properties": feature.get("properties") or {}} for feature in features
    ]


def _name_property(path: Path, features: Sequence[Feature], wanted: str | None) -> str:
    there = sorted({key for feature in features for key in feature["properties"]})
    listed = f"the properties of its features are {', '.join(there) or 'none'}"
    if wanted is not None:
        if wanted not in there:
            raise UserError(f"{path} has no property {wanted!r} (evaluation.region_name): {listed}.")
        return wanted
    for key in _NAMES:
        if all(key in feature["properties"] for feature in features):
            return key
    raise UserError(f"{path} does not say what its regions are called: {listed}; choose evaluation.region_name.")


def _polygon(path: Path, name: str, feature: Feature) -> BaseGeometry:
    """Return the valid polygon of a feature."""
    kind = (feature["geometry"] or {}).get("type")
    if kind not in _POLYGONS:
        raise UserError(f"the region {name!r} of {path} is no polygon: its geometry is {kind}.")
    try:
        valid = make_valid(shape(feature["geometry"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ShapelyError) as error:
        raise UserError(f"the polygon of the region {name!r} of {path} cannot be used: {error!r}.") from None
    parts = [part for part in getattr(valid, "geoms", [valid]) if part.geom_type in _POLYGONS]
    whole = MultiPolygon([one for part in parts for one in getattr(part, "geoms", [part])])
    if whole.is_empty:
        raise UserError(f"the polygon of the region {name!r} of {path} has no area.")
    _check_degrees(whole, f"the region {name!r} of {path}")
    return whole

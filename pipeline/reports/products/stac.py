"""STAC: an Item for every year, and a Collection for a region that links them."""

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import pystac
import zarr
from odc.geo.geobox import GeoBox
from pystac.extensions.classification import Classification, ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterBand, RasterExtension
from shapely import make_valid, set_precision
from shapely.geometry import box, mapping

from pipeline.base.files import read_text
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.map_layers import CONFIDENCE
from pipeline.grid.polygons import read_outline

ITEM: Final = "item.json"
COLLECTION: Final = "collection.json"
_ROOT: Final = "https://sitscube.invalid/"  # links are relative to it, at whatever folder or URL the outputs are
_DETAIL: Final = 0.01  # degrees to which the outline is simplified
_ZARR: Final = "application/vnd.zarr; version=3"
_LICENSE: Final = "other"  # of the data, which is their owner's choice


def item_id(config: Config) -> str:
    """Return the name of a year's products: region and year."""
    return f"sitscube_{config.region.name}_{config.year}"


def item_text(config: Config, names: list[str], colours: list[str], fingerprint: Fingerprint) -> str:
    """Write the year's STAC Item as JSON, with links and assets relative to its place.

    Args:
        config: of the year, whose cube and map are finished.
        names: of the labels.
        colours: of the labels, such as "#0072B2".
        fingerprint: of the map.
    """
    cube, result = stores.open_to_read(config.cube), stores.open_to_read(config.map)
    about, geobox = layout.attributes(result), layout.read_grid(result).geobox
    outline = make_valid(set_precision(read_outline(config.region.outline).simplify(_DETAIL), 1e-5))
    dates = layout.read_dates(cube)
    item = pystac.Item(
        id=item_id(config), geometry=json.loads(json.dumps(mapping(outline))), bbox=list(outline.bounds), datetime=None,
        start_datetime=_moment(dates[0]), end_datetime=datetime(config.year, 12, 31, 23, 59, 59, tzinfo=UTC),
        collection=config.region.name,
        properties={
            "title": about["title"],
            "simulated": about["simulated"],
            "processing:software": {layout.SOFTWARE: version("sitscube")},
            "sitscube:fingerprint": fingerprint,
            "sitscube:source": about["source"],
        },
    )  # fmt: skip
    item.stac_extensions.append("https://stac-extensions.github.io/processing/v1.2.0/schema.json")
    _project(ProjectionExtension.ext(item, add_if_missing=True), geobox)
    for key, asset in _assets(config, result).items():
        item.add_asset(key, asset)
    RasterExtension.add_to(item)
    ClassificationExtension.add_to(item)
    cell = float(abs(geobox.transform.a))
    for name in ("label", "confidence"):
        if name in item.assets:
            unit = "percent" if name == "confidence" else None
            band = RasterBand.create(nodata=layout.MISSING, data_type="uint8", unit=unit, spatial_resolution=cell)  # type: ignore[arg-type]
            RasterExtension.ext(item.assets[name]).bands = [band]
    ClassificationExtension.ext(item.assets["label"]).classes = [
        Classification.create(
            value=k, name=name, description=name.replace("_", " "), color_hint=colour.removeprefix("#")
        )
        for k, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]
    item.set_self_href(f"{_ROOT}{config.year}/{ITEM}")
    for relation in ("collection", "parent", "root"):
        item.add_link(pystac.Link(relation, f"../{COLLECTION}", pystac.MediaType.JSON))
    found = item.to_dict(include_self_link=False, transform_hrefs=False)
    return json.dumps(found, indent=1) + "\n"


def collection_text(config: Config, years: list[int]) -> str:
    """Write the region's STAC Collection as JSON, with links to the items of the years that have one.

    Args:
        config: of any year of the region.
        years: of the cluster cube.
    """
    items = [item for year in sorted(years) if (item := _read(config.region_folder / str(year) / ITEM)) is not None]
    west, south, east, north = np.array([item["bbox"] for item in items]).T
    spatial = pystac.SpatialExtent([[float(west.min()), float(south.min()), float(east.max()), float(north.max())]])
    moments = [
        datetime.fromisoformat(item["properties"][f"{end}_datetime"]) for item in items for end in ("start", "end")
    ]
    collection = pystac.Collection(
        id=config.region.name,
        title=f"Seasons of {config.region.name} by year",
        description="Labels of every cell, made without reference data, and gap-free series; one item a year.",
        extent=pystac.Extent(spatial, pystac.TemporalExtent([[min(moments), max(moments)]])),
        license=_LICENSE,
        extra_fields={"simulated": " ".join(sorted({i["properties"]["simulated"] for i in items} - {""}))},
    )
    collection.set_self_href(f"{_ROOT}{COLLECTION}")
    collection.clear_links("root")
    collection.add_link(pystac.Link("root", f"./{COLLECTION}", pystac.MediaType.JSON))
    for item in items:
        year = item["properties"]["start_datetime"][:4]
        collection.add_link(
            pystac.Link("item", f"./{year}/{ITEM}", pystac.MediaType.GEOJSON, title=item["properties"]["title"])
        )
    collection.add_asset(
        "clusters",
        pystac.Asset("./clusters.zarr", "Labels and confidence of all years", media_type=_ZARR, roles=["data"]),
    )
    found = collection.to_dict(include_self_link=False, transform_hrefs=False)
    return json.dumps(found, indent=1) + "\n"


def links_year(config: Config) -> bool:
    """Say whether the region's collection links the year's item."""
    collection = _read(config.region_folder / COLLECTION) or {}
    return any(link.get("href") == f"./{config.year}/{ITEM}" for link in collection.get("links", ()))


def _assets(config: Config, result: zarr.Group) -> dict[str, pystac.Asset]:
    name, tif = item_id(config), pystac.MediaType.COG
    found = {"label": pystac.Asset(f"./products/{name}_label.tif", "Labels", media_type=tif, roles=["data"])}
    if CONFIDENCE in stores.layer_names(result):
        found["confidence"] = pystac.Asset(
            f"./products/{name}_confidence.tif", "Confidence of the labels", media_type=tif, roles=["data"]
        )
    return found | {
        "style": pystac.Asset(
            f"./products/{name}_label.qml", "Style for QGIS", media_type="text/xml", roles=["metadata"]
        ),
        "quicklook": pystac.Asset(
            "./report/map.png", "Map with legend and scale", media_type=pystac.MediaType.PNG, roles=["overview"]
        ),
        "report": pystac.Asset("./report/index.html", "Report", media_type=pystac.MediaType.HTML, roles=["metadata"]),
        "map": pystac.Asset("./map.zarr", "Labels, confidence, filled series", media_type=_ZARR, roles=["data"]),
        "cube": pystac.Asset("./cube.zarr", "Observations", media_type=_ZARR, roles=["data"]),
    }


def _project(projection: Any, geobox: GeoBox) -> None:
    about = layout.spatial_attributes(geobox)
    projection.apply(
        code=about.get("proj:code"),
        wkt2=None if "proj:code" in about else geobox.crs.to_wkt(),
        bbox=about["spatial:bbox"],
        shape=about["spatial:shape"],
        transform=about["spatial:transform"],
        geometry=mapping(box(*about["spatial:bbox"])),
    )


def _moment(date: np.datetime64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=int(date.astype("datetime64[D]").astype(int)))


def _read(path: Location) -> dict[str, Any] | None:
    try:
        found = json.loads(read_text(path))
    except (FileNotFoundError, ValueError):  # not there, or damaged: it is written again with its year
        return None
    return found if isinstance(found, dict) else None

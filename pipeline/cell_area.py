"""The area of a grid's cells."""

from typing import Final

from odc.geo.geobox import GeoBox

_EQUAL_AREA: Final = ("equal area", "sinusoidal", "mollweide")  # words in the names of projections that keep areas


def cell_area_km2(geobox: GeoBox) -> float:
    """Area of a cell on the grid, in km2; true on the ground where `is_equal_area`."""
    a = geobox.transform
    return float(abs(a.a * a.e - a.b * a.d) / 1e6)


def is_equal_area(geobox: GeoBox) -> bool:
    """Whether the grid's projection keeps areas, so that those of its cells are areas on the ground."""
    operation = geobox.crs.proj.coordinate_operation
    name = operation.method_name.lower() if operation is not None else ""
    return any(word in name for word in _EQUAL_AREA)

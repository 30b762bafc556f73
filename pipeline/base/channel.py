"""A channel: what a sensor measures, and how its values are coded as numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Channel:
    """One measured quantity, and how the cube stores it: physical = stored * scale + offset."""

    name: str  # of the cube's array
    long_name: str
    units: str
    scale: float
    offset: float
    dtype: str  # of the stored numbers
    missing: int  # the stored number that says that there is no observation
    valid_range: tuple[int, int]  # of the stored numbers

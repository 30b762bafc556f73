"""A channel: a quantity that a sensor measures, and the numbers that code it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Channel:
    """A measured quantity and its storage in the cube: physical = stored * scale + offset."""

    name: str  # of the cube's array
    long_name: str
    units: str
    scale: float
    offset: float
    dtype: str  # of the stored numbers
    missing: int  # the stored number where there is no observation
    valid_range: tuple[int, int]  # of the stored numbers

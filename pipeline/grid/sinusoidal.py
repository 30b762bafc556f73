"""The MODIS/VIIRS sinusoidal projection and its 10-degree tiles (VIIRS land product user guides)."""

import re
from dataclasses import dataclass
from typing import Final

from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

SINUSOIDAL: Final = CRS("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")
TILE_SIZE: Final = 20015109.354 / 18  # m: from NASA's rounded half-circumference, for corners exact to the bit
TILE_PIXELS: Final = 2400  # the 500 m products: pixels of 463.3127 m
_WEST: Final = -20015109.354
_NORTH: Final = 10007554.677
_NAME = re.compile(r"^h(\d{2})v(\d{2})$")


@dataclass(frozen=True, order=True)
class Tile:
    """A tile of the sinusoidal grid, named hHHvVV: column `h` (0..35) and row `v` (0..17)."""

    h: int
    v: int

    def __post_init__(self) -> None:
        if not (0 <= self.h <= 35 and 0 <= self.v <= 17):
            raise ValueError(f"no tile h{self.h:02d}v{self.v:02d}: h is 0..35 and v is 0..17")

    @classmethod
    def parse(cls, name: str) -> "Tile":
        """Read "h18v04".

        Raises:
            ValueError: it is no tile name.
        """
        match = _NAME.match(name)
        if not match:
            raise ValueError(f"{name!r} is no tile name such as h18v04")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def containing(cls, x: float, y: float) -> "Tile":
        """Return the tile of a point, from its sinusoidal coordinates in metres."""
        return cls(int((x - _WEST) // TILE_SIZE), int((_NORTH - y) // TILE_SIZE))

    def __str__(self) -> str:
        return f"h{self.h:02d}v{self.v:02d}"

    @property
    def upper_left(self) -> tuple[float, float]:
        """Sinusoidal x and y of the upper left corner, in metres."""
        return _WEST + self.h * TILE_SIZE, _NORTH - self.v * TILE_SIZE

    @property
    def lower_right(self) -> tuple[float, float]:
        """Sinusoidal x and y of the lower right corner, in metres."""
        return _WEST + (self.h + 1) * TILE_SIZE, _NORTH - (self.v + 1) * TILE_SIZE

    def geobox(self, pixels: int = TILE_PIXELS) -> GeoBox:
        """Return the tile's grid of `pixels` x `pixels` cells."""
        x, y = self.upper_left
        step = TILE_SIZE / pixels
        return GeoBox((pixels, pixels), Affine(step, 0, x, 0, -step, y), SINUSOIDAL)

"""What every source of observations gives: scenes, and the pixels of a window of one. The readers are its plug-ins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.base.channel import Channel
from pipeline.sources.quality import Rule


@dataclass(frozen=True)
class Scene:
    """One place on one date: one granule, or one date of a raster file. Sources add what they need to read it."""

    path: Path
    day: date
    geobox: GeoBox  # all of its pixels
    place: str  # tells scenes of one date apart: the tile, or the file's place

    @property
    def key(self) -> str:
        """Date and place, as in messages and records: "A2018001 h18v04"."""
        return f"A{self.day:%Y%j} {self.place}"


@dataclass(frozen=True)
class Checked:
    """What opening a file has shown."""

    scenes: tuple[Scene, ...]
    digest: str  # SHA-256 of the content: it decides, not the name
    simulated: str = ""  # what simulated files say of themselves


@dataclass
class Decoded:
    """What n raw pixels say."""

    values: dict[str, np.ndarray]  # by channel, in stored units, (n,); meaningless where not valid
    valid: dict[str, np.ndarray]  # by channel, (n,) boolean: an observation that counts
    static: np.ndarray | None = None  # (n,) boolean: of a land cover that never has values (water, urban, ...)
    crop: np.ndarray | None = None  # (n,) boolean: the product's own land cover calls it crops
    observed: np.ndarray | None = None  # (n,) boolean, where `crop` means something
    counts: dict[str, int] = field(default_factory=dict)  # pixels by what became of them; see `quality.judge`


class Source(Protocol):
    """A reader of one kind of archive. It is sent to workers, so it holds settings, and never an open file."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What the cube holds."""
        ...

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What the quality of an observation that counts must be."""
        ...

    @property
    def has_static(self) -> bool:
        """Whether `Decoded.static` is ever given."""
        ...

    @property
    def has_crop(self) -> bool:
        """Whether `Decoded.crop` is ever given."""
        ...

    @property
    def row_width(self) -> float:
        """Metres along x that are decoded at once anyway; 0 where any window costs what it holds."""
        ...

    def settings(self) -> Any:
        """All, besides the files, that the pixels' meaning depends on: JSON-able, part of the fingerprint."""
        ...

    def about(self, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Attributes for the cube: "source" (product and version) and "qc_policy"."""
        ...

    def files(self, outline: BaseGeometry) -> list[Path]:
        """The year's files that may touch the region, in order, none of them opened yet.

        Raises:
            UserError: there are none, or what is there must not be mixed.
        """
        ...

    def older(self, path: Path) -> list[Path]:
        """Earlier productions of the same date and place, the newest first: they stand in for a file that is bad."""
        ...

    def check(self, path: Path) -> Checked:
        """Open a file and hold its content against what it should be.

        Raises:
            GranuleError: it cannot be used; the message names the file and the reason.
        """
        ...

    def expected(self, outline: BaseGeometry) -> dict[str, date]:
        """Keys of all scenes that a whole year over the region has, or those that can be told; with their dates."""
        ...

    def expected_key(self, scene: Scene) -> str:
        """Which of the expected keys a scene fulfils."""
        ...

    def read(self, scene: Scene, rows: slice, columns: slice) -> dict[str, np.ndarray]:
        """Raw layers of a window (rows, columns), by layer name; no more of the file is decoded than is needed.

        Raises:
            GranuleError: the pixels cannot be decoded.
        """
        ...

    def decode(self, raw: dict[str, np.ndarray]) -> Decoded:
        """What raw pixels (n,) mean."""
        ...

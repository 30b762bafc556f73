"""The protocol of sources of observations: scenes, and the pixels of a window of one. Readers are its plug-ins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypedDict

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
    place: str  # distinguishes scenes of one date: the tile, or the file's place

    @property
    def key(self) -> str:
        """Date and place, as in messages and records: "A2018001 h18v04"."""
        return f"A{self.day:%Y%j} {self.place}"


@dataclass(frozen=True)
class Checked:
    """The result of checking a file."""

    scenes: tuple[Scene, ...]
    digest: str  # SHA-256 of the content; the name does not count
    simulated: str = ""  # origin of a simulated file, from its attribute


class Origin(TypedDict):
    """Attributes of a cube that name its origin."""

    source: str  # product and version
    qc_policy: str


@dataclass
class Decoded:
    """The values of n raw pixels."""

    values: dict[str, np.ndarray]  # by channel, in stored units, (n,); meaningless where not valid
    valid: dict[str, np.ndarray]  # by channel, (n,) boolean: an observation that counts
    static: np.ndarray | None = None  # (n,) boolean: of a land cover that never has values (water, urban, ...)
    crop: np.ndarray | None = None  # (n,) boolean: the product's own land cover calls it crops
    observed: np.ndarray | None = None  # (n,) boolean, where `crop` has a meaning
    counts: dict[str, int] = field(default_factory=dict)  # pixels by the reason why they count; see `quality.judge`


class Source(Protocol):
    """A reader of one kind of archive. It is sent to workers, so it has settings and never an open file."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The measured quantities."""
        ...

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rules of quality that an observation must pass to count."""
        ...

    @property
    def has_static(self) -> bool:
        """Whether `Decoded.static` is ever set."""
        ...

    @property
    def has_crop(self) -> bool:
        """Whether `Decoded.crop` is ever set."""
        ...

    @property
    def row_width(self) -> float:
        """Metres along x that are decoded together in any case; 0 where a window costs no more than its pixels."""
        ...

    def settings(self) -> Any:
        """Return all, besides the files, on which the pixels' meaning depends: JSON-able, part of the fingerprint."""
        ...

    def about(self, scenes: Sequence[Scene]) -> Origin:
        """Return the cube's attributes of origin."""
        ...

    def files(self, outline: BaseGeometry) -> list[Path]:
        """Return the year's files that may touch the region, in order, none of them opened yet.

        Raises:
            UserError: there are none, or they must not be mixed.
        """
        ...

    def older(self, path: Path) -> list[Path]:
        """Return earlier productions of the same date and place, the newest first: they replace a bad file."""
        ...

    def check(self, path: Path) -> Checked:
        """Open a file and check that its content is what it should be.

        Raises:
            GranuleError: it cannot be used; the message names the file and the reason.
        """
        ...

    def expected(self, outline: BaseGeometry) -> dict[str, date]:
        """Return the keys and dates of all scenes of a whole year over the region, as far as they are known."""
        ...

    def expected_key(self, scene: Scene) -> str:
        """Return the expected key to which a scene belongs."""
        ...

    def read(self, scene: Scene, rows: slice, columns: slice) -> dict[str, np.ndarray]:
        """Read raw layers of a window (rows, columns), by layer name; no more of the file is decoded than is needed.

        Raises:
            GranuleError: the pixels cannot be decoded.
        """
        ...

    def decode(self, raw: dict[str, np.ndarray]) -> Decoded:
        """Decode raw pixels (n,)."""
        ...

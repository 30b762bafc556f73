"""The section `raster` of the configuration."""

from typing import Final

from odc.geo import CRS
from odc.geo.crs import CRSError
from pydantic import Field, FiniteFloat, field_validator, model_validator

from pipeline.base.settings import AbsolutePath, Count, Section
from pipeline.sources.quality import ACCEPTED, OBSERVED
from pipeline.sources.raster.names import NamePattern

_LARGEST_KEPT: Final = 2**31 - 1  # numbers of the cube have at most 32 bits
_TAKEN: Final = (
    "time", "year", "x", "y", "spatial_ref", "records", "land_share", "crop_biome", "observed", "n_observed",
    "longest_gap", "first_observed", "last_observed", "mask", "train_mask", "label", "confidence",
)  # fmt: skip


class BitRule(Section):
    """A rule on bits of a quality layer: an observation counts only where they have an accepted value."""

    name: str = Field(description="what it is called in the report")
    bits: tuple[int, int] = Field((0, 15), description="first and last bit, counted from 0")
    accept: tuple[int, ...] = Field((), description="values that pass")
    least: int | None = Field(None, description="instead of accept: the smallest value that passes")
    most: int | None = Field(None, description="instead of accept: the largest value that passes")

    @model_validator(mode="after")
    def _consistent(self) -> "BitRule":
        first, last = self.bits
        if not 0 <= first <= last <= 15:
            raise ValueError(f"bits = {list(self.bits)}: first and last of bits 0 to 15 are meant")
        if bool(self.accept) == (self.least is not None or self.most is not None):
            raise ValueError(f"rule {self.name!r}: give the values that pass, as accept, or as least and most")
        most = (1 << (last - first + 1)) - 1
        if not self.accepted() or any(not 0 <= value <= most for value in self.accept):
            raise ValueError(f"rule {self.name!r}: its bits hold values from 0 to {most}, and some of these must pass")
        return self

    def accepted(self) -> tuple[int, ...]:
        """Return all values that pass."""
        most = (1 << (self.bits[1] - self.bits[0] + 1)) - 1
        if self.accept:
            return self.accept
        return tuple(range(self.least or 0, (most if self.most is None else min(self.most, most)) + 1))


class RasterLayer(Section):
    """The place of a layer in the files."""

    files: tuple[str, ...] = Field((), description="name patterns of this layer's files, if not those of the section")
    variable: str | None = Field(None, description="of NetCDF files")
    band: Count = Field(1, description="of GeoTIFF files, unless their bands are dates")


class RasterChannel(RasterLayer):
    """A measured quantity; physical = number * scale + offset."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="of the cube's array")
    long_name: str = Field("", description="in attributes and figures; without one the name")
    units: str = "1"
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)
    valid_range: tuple[FiniteFloat, FiniteFloat] = Field(description="of the numbers in the file")
    fill: tuple[float, ...] = Field((), description="numbers within valid_range that say that there is no observation")
    static: tuple[int, ...] = Field((), description="numbers that stand for land covers without values, such as water")
    step: float = Field(1.0, gt=0, description="of the numbers that the cube keeps, in numbers of the file")

    @model_validator(mode="after")
    def _consistent(self) -> "RasterChannel":
        if self.name in _TAKEN or self.name.startswith("mean_") or self.name.endswith(("_filled", "_spread")):
            raise ValueError(f"name = {self.name!r} is that of another array of the cube or the map: choose another")
        low, high = self.valid_range
        if low >= high:
            raise ValueError(f"valid_range = {list(self.valid_range)}: the smallest and the largest number are meant")
        if max(abs(low), abs(high)) / self.step > _LARGEST_KEPT:
            raise ValueError(f"step = {self.step:g} is too fine for numbers up to {max(abs(low), abs(high)):g}")
        if round(low / self.step) == round(high / self.step):
            raise ValueError(f"step = {self.step:g} is too coarse for numbers from {low:g} to {high:g}")
        return self


class RasterQuality(RasterLayer):
    """A quality layer and the rules that its bits must pass."""

    name: str = Field("", description="in the report; without one the variable, or the layer's number")
    rules: tuple[BitRule, ...] = Field(min_length=1)


class Raster(Section):
    """GeoTIFF, COG or NetCDF files as the source of observations, instead of granules."""

    folder: AbsolutePath | None = Field(None, description="where the files are; without it there is no raster source")
    files: tuple[str, ...] = Field(
        (),
        description="name patterns below the folder, with *, ?, **/, {place}, and the date as %Y, %m, %d, %j; without "
        "a date in them, files hold dates inside (a NetCDF time coordinate, or band descriptions)",
    )
    band_date: str | None = Field(None, description="GeoTIFFs whose bands are dates: the pattern of band descriptions")
    crs: str | None = Field(None, description="of files that carry none")
    channels: tuple[RasterChannel, ...] = ()
    quality: tuple[RasterQuality, ...] = ()

    @property
    def quality_names(self) -> tuple[str, ...]:
        """Names of the quality layers."""
        return tuple(
            layer.name or layer.variable or f"quality {number}" for number, layer in enumerate(self.quality, 1)
        )

    @field_validator("crs")
    @classmethod
    def _known_crs(cls, crs: str | None) -> str | None:
        try:
            return crs if crs is None else str(CRS(crs))
        except CRSError:
            raise ValueError("no coordinate reference system that is known, such as EPSG:4326") from None

    @model_validator(mode="after")
    def _consistent(self) -> "Raster":
        if (self.folder is None) != (not self.channels):
            raise ValueError("folder and channels go together: give both, or neither to read granules")
        for layer in (*self.channels, *self.quality):
            if self.folder is not None and not (self.files or layer.files):
                raise ValueError("files is missing: the name patterns of the files, such as *_%Y%j_*.tif")
        names = [*(channel.name for channel in self.channels), *self.quality_names]
        if len(set(names)) < len(names):
            raise ValueError(f"channels and quality layers need names of their own, these are {', '.join(names)}")
        rules = [rule.name for layer in self.quality for rule in layer.rules]
        taken = [rule for rule in rules if rule in (OBSERVED, ACCEPTED) or rule.startswith("code ")]
        if len(set(rules)) < len(rules) or taken:
            raise ValueError(
                f"rules need names of their own, and not {OBSERVED}, {ACCEPTED}, code ...: {', '.join(rules)}"
            )
        self._check_patterns()
        return self

    def _check_patterns(self) -> None:
        of_layers = [layer.files or self.files for layer in (*self.channels, *self.quality)]
        for text in {*self.files, *(text for patterns in of_layers for text in patterns)}:
            NamePattern(text)
        if self.band_date is None:
            return
        if not NamePattern(self.band_date).dated:
            raise ValueError(f"band_date = {self.band_date!r} holds no date such as %Y-%m-%d")
        if len(set(of_layers)) < len(of_layers):
            raise ValueError("where bands are dates, every channel and quality layer needs files of its own")

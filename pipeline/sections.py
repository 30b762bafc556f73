"""The sections of the configuration, one class each."""

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

from odc.geo import CRS
from odc.geo.crs import CRSError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from pipeline.calendar import CalendarName
from pipeline.grid import GRID_EXAMPLES, check_grid_name
from pipeline.locations import refuse_secrets
from pipeline.references import AUTO, PRODUCTS
from pipeline.sources.quality import ACCEPTED, OBSERVED
from pipeline.sources.raster_names import NamePattern
from pipeline.sources.viirs_codes import QC_FIELDS

DATA: Final = Path(__file__).parent / "data"
ITALY: Final = DATA / "italy_ne10m.geojson"
ITALY_BELTS: Final = DATA / "italy_belts.geojson"
FIRST_YEAR: Final = 1981  # of the AVHRR record, the oldest of its kind
LAST_YEAR: Final = 2100
_LARGEST_KEPT: Final = 2**31 - 1  # numbers of the cube have at most 32 bits

# workers of a cluster need not run where the command does
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


_TAKEN: Final = (
    "time", "year", "x", "y", "spatial_ref", "records", "land_share", "crop_biome", "observed", "n_observed",
    "longest_gap", "first_observed", "last_observed", "mask", "train_mask", "label", "confidence",
)  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Region(_Section):
    """What is mapped."""

    name: str = Field("italy", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="folder of the outputs")
    outline: AbsolutePath = Field(ITALY, description="GeoJSON polygons in WGS 84")


class QcRule(_Section):
    """A rule of a quality policy of your own: observations count only where the field holds an accepted value."""

    field: str = Field(description="one of " + ", ".join(QC_FIELDS))
    accept: tuple[int, ...] = Field(min_length=1, description="values of the field")

    @model_validator(mode="after")
    def _known_field(self) -> "QcRule":
        if self.field not in QC_FIELDS:
            raise ValueError(f"unknown field {self.field!r}: choose one of {', '.join(QC_FIELDS)}")
        bits = QC_FIELDS[self.field]
        most = (1 << (bits.last - bits.first + 1)) - 1
        if any(not 0 <= value <= most for value in self.accept):
            raise ValueError(f"{self.field} holds values from 0 to {most}, not all of {list(self.accept)}")
        return self


class Ingest(_Section):
    """From granules or rasters to the cube."""

    granules: AbsolutePath | None = Field(None, description="folder of VNP15A2H granules or its twins'")
    grid: str = Field("epsg3035-1km", description="such as " + ", ".join(GRID_EXAMPLES))
    calendar: CalendarName = Field("eight-day", description="46, 36 or 12 dates a year")
    shard: Count = Field(512, description="cells along y and x of a shard: one object per output")
    chunk: Count = Field(128, description="cells along y and x of a chunk, the least that a reader decodes")
    qc: Literal["strict", "standard", "loose", "custom"] = Field(
        "standard", description="which observations of granules count as valid; custom: those that pass qc_rules"
    )
    qc_rules: tuple[QcRule, ...] = Field((), description="the rules of qc = custom, all of which must pass")
    min_valid_share: Share = Field(0.25, description="least share of a cell's land pixels that must be valid")
    max_missing_share: Share = Field(0.25, description="share of missing or bad granules above which nothing is done")

    as_of: date | None = Field(
        None, description="of a running year: composites that are not there by this day are not missing; none: all are"
    )

    @field_validator("grid")
    @classmethod
    def _known_grid(cls, name: str) -> str:
        check_grid_name(name)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> "Ingest":
        if self.shard % self.chunk:
            raise ValueError(f"shard = {self.shard} is no multiple of chunk = {self.chunk}")
        if (self.qc == "custom") != bool(self.qc_rules):
            raise ValueError("qc = custom and qc_rules go together: give both or neither")
        return self


class BitRule(_Section):
    """A rule on bits of a quality layer: only where they hold an accepted value does an observation count."""

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
        """All values that pass."""
        most = (1 << (self.bits[1] - self.bits[0] + 1)) - 1
        if self.accept:
            return self.accept
        return tuple(range(self.least or 0, (most if self.most is None else min(self.most, most)) + 1))


class RasterLayer(_Section):
    """Where a layer lies in the files."""

    files: tuple[str, ...] = Field((), description="name patterns of this layer's files, if not those of the section")
    variable: str | None = Field(None, description="of NetCDF files")
    band: Count = Field(1, description="of GeoTIFF files, unless their bands are dates")


class RasterChannel(RasterLayer):
    """One measured quantity; physical = number * scale + offset."""

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


class Raster(_Section):
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
        """What the quality layers are called."""
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


class Download(_Section):
    """Fetching granules from NASA's LP DAAC; credentials come from the environment or ~/.netrc, never from here."""

    enabled: bool = Field(False, description="whether a whole run begins with fetching what is missing")
    product: Literal["VNP15A2H", "VJ115A2H", "VJ215A2H"] = "VNP15A2H"
    version: Literal["001", "002"] = "002"
    parallel: Annotated[int, Field(ge=1, le=16)] = Field(4, description="files fetched at once")
    attempts: Count = Field(5, description="tries of each file and each question to the catalogue")


class Reference(_Section):
    """The crop map that the result is compared with."""

    path: AbsolutePath | None = Field(
        None,
        description="EUCROPMAP GeoTIFF, or folder of WorldCereal zips; none: the simulated one, if Italy is simulated",
    )
    product: str = Field(AUTO, description=f"{', '.join(PRODUCTS)}, or auto: told by what path is")
    classes: AbsolutePath | None = Field(
        None, description="CSV table of classes and their seasons; none: the product's of pipeline/data/references"
    )
    weak: bool = Field(False, description="whether crops count that are mostly, but not certainly, of one season")
    year: int | None = Field(None, description="that the map is of; none: must be that of the observations")

    @field_validator("product")
    @classmethod
    def _known_product(cls, name: str) -> str:
        if name not in (AUTO, *PRODUCTS):
            raise ValueError(f"unknown product: choose one of {', '.join((AUTO, *PRODUCTS))}")
        return name


class Simulation(_Section):
    """The simulated Italy."""

    seed: int = Field(2018, ge=0, description="of the country: its fields; a year's weather and crops follow from it")
    reference_resolution: Literal[100, 200, 250, 500, 1000] = Field(100, description="of the crop map, in metres")


class Preparation(_Section):
    """Which pixels are mapped, and which of them are trained on."""

    cropland: Literal["auto", "reference", "biome", "all"] = Field(
        "auto",
        description="what is mapped: cells that the reference map calls a crop, cells of the granules' crop biomes, or "
        "all; auto takes the first of these that there is",
    )
    min_land_share: Share = Field(
        0.0,
        description="least share of a cell's pixels that are not of a land cover without values (water, urban, ...)",
    )
    min_observations: Count = Field(1, description="dates on which a cell must have been observed to be mapped")
    min_train_observations: Count = Field(1, description="the same, to be trained on")


class Training(_Section):
    """Training of the joint network; names as in `model.JointClustering`."""

    clusters: int = Field(2, ge=1, description="number of clusters K")
    iterations: Count = Field(3000, description="of joint training, as many as the paper's")
    batch_size: Count = 1000
    target_interval: Count = Field(140, description="iterations between two updates of the target distribution")
    pretrain_epochs: Count = Field(100, description="of the autoencoder alone, where training starts as the paper's")
    hidden_size: Count = Field(
        16, description="units H of the generator; with the paper's 5 it fills no better than linear interpolation"
    )
    warm_up: Count = Field(2000, description="iterations of the generator alone, where it starts from components")
    sample_pixels: Count = Field(20_000, description="pixels drawn for training, spread evenly over the mapped cells")
    target: Literal["sample", "all"] = Field(
        "sample", description="pixels whose assignments make the cluster sizes f_j: those drawn, or all to train on"
    )
    tol: Share = Field(0.0, description="training ends when fewer labels than this share change; 0: never")
    preset: Literal["paper", "stable", "robust"] = Field(
        "robust", description="what the keys below are where they are not given; paper: the method as published"
    )
    start: Literal["paper", "components"] | None = Field(
        None, description="what precedes joint training: the paper's pre-training, or principal components"
    )
    adversarial_interval: Count | None = Field(
        None, description="the adversarial game is played every so many iterations; 1 costs five times as much as none"
    )
    w_clu: float | None = Field(None, ge=0, description="weight of the cluster loss")
    w_gen: float | None = Field(None, ge=0, description="weight of the adversarial loss; 0: no discriminator")
    learning_rate: float | None = Field(None, gt=0, description="of all but the discriminator")
    clip_norm: float | None = Field(None, ge=0, description="largest norm of a step's gradient; 0: not clipped")
    device: str = Field("auto", description="auto, cpu or cuda")


class Evaluation(_Section):
    """The sample that area estimates come from, and the regions that they are given for."""

    sample_size: int = Field(
        2000, ge=2, description="sampled cells of the country; 2000 give overall accuracy a standard error near 0.01"
    )
    region_sample_size: int = Field(400, ge=2, description="sampled cells of every region; 400: 0.025")
    regions: AbsolutePath | None = Field(
        None, description="GeoJSON of named polygons in WGS 84; none: belts of latitude where all of Italy is mapped"
    )
    region_name: str | None = Field(None, description="property that holds the regions' names; none: name, NAME, ...")


Output = Literal["label", "confidence", "filled", "spread"]


class Inference(_Section):
    """Labelling every pixel."""

    outputs: tuple[Output, ...] = Field(
        ("label", "confidence", "filled", "spread"), min_length=1, description="which arrays of map.zarr are written"
    )
    model_year: int | None = Field(
        None, ge=FIRST_YEAR, le=LAST_YEAR, description="of the model that maps the year; none: its own, trained on it"
    )
    batch_pixels: Count | None = Field(
        None, description="pixels that go through the network at once; none: what suits the device and its memory"
    )


TLS_KEYS: Final = ("tls_ca_file", "tls_cert", "tls_key")


class Cluster(_Section):
    """Where shards are worked on, and how much may go wrong there."""

    scheduler: str | None = Field(None, description="none: in process; local: a cluster here; tcp://...: that one")
    workers: Count = Field(default_factory=lambda: os.cpu_count() or 1, description="of the local cluster")
    cpu_beside_gpu: bool = Field(
        False,
        description="whether workers without a GPU label shards, too, where others have one; last digits may differ",
    )
    max_failures: int = Field(10, ge=0, description="shards that may fail before a stage is ended early")
    retries: int = Field(2, ge=0, description="of a shard whose input or output failed for the moment")
    patience: float = Field(
        60.0, gt=0, description="seconds to wait for a scheduler that is gone, and for workers where there are none"
    )
    tls_ca_file: AbsolutePath | None = Field(None, description="PEM of the authority that signs; with it Dask uses TLS")
    tls_cert: AbsolutePath | None = Field(None, description="PEM of the certificate of scheduler, workers and clients")
    tls_key: AbsolutePath | None = Field(None, description="PEM of its private key, which only its owner may read")

    @property
    def tls(self) -> tuple[Path, Path, Path] | None:
        """Authority, certificate and key, or None where Dask goes without TLS."""
        if self.tls_ca_file is None or self.tls_cert is None or self.tls_key is None:
            return None
        return self.tls_ca_file, self.tls_cert, self.tls_key

    @field_validator("scheduler")
    @classmethod
    def _no_secret(cls, scheduler: str | None) -> str | None:
        refuse_secrets(scheduler or "")
        return scheduler

    @model_validator(mode="after")
    def _all_or_none(self) -> "Cluster":
        given = [name for name in TLS_KEYS if getattr(self, name) is not None]
        if given and self.tls is None:
            raise ValueError(f"{', '.join(TLS_KEYS)} go together: only {', '.join(given)} given")
        return self

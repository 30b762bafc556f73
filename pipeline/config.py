"""The configuration: one frozen model; TOML file, environment and command line, each stronger than the one before."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline.errors import UserError
from pipeline.grid import GRID_NAMES

DATA: Final = Path(__file__).parent / "data"
ENVIRONMENT: Final = "SITSCUBE_"
FIRST_YEAR: Final = 2012  # of the VIIRS record

# workers of a cluster need not run where the command does
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Region(_Section):
    """What is mapped."""

    name: str = Field("italy", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="folder of the outputs")
    outline: AbsolutePath = Field(DATA / "italy_ne10m.geojson", description="GeoJSON polygons in WGS 84")


class Ingest(_Section):
    """From granules to the cube."""

    granules: AbsolutePath | None = Field(None, description="folder of VNP15A2H granules; none: Italy is simulated")
    grid: str = Field("epsg3035-1km", description="one of " + ", ".join(GRID_NAMES))
    shard: Count = Field(512, description="cells along y and x of a shard: one task, one object per output")
    chunk: Count = Field(128, description="cells along y and x of a chunk, the least that a reader decodes")
    qc: Literal["strict", "standard", "loose"] = Field("standard", description="which observations count as valid")
    min_valid_share: Share = Field(0.25, description="least share of a cell's source pixels that must be valid")
    max_missing_share: Share = Field(0.25, description="share of missing or bad granules above which nothing is done")

    @field_validator("grid")
    @classmethod
    def _known_grid(cls, name: str) -> str:
        if name not in GRID_NAMES:
            raise ValueError(f"unknown grid {name!r}: choose one of {', '.join(GRID_NAMES)}")
        return name

    @model_validator(mode="after")
    def _whole_chunks(self) -> "Ingest":
        if self.shard % self.chunk:
            raise ValueError(f"shard = {self.shard} is no multiple of chunk = {self.chunk}")
        return self


class Reference(_Section):
    """The crop map that the result is compared with."""

    path: AbsolutePath | None = Field(
        None, description="EUCROPMAP GeoTIFF; none: the simulated one, if Italy is simulated"
    )


class Simulation(_Section):
    """The simulated Italy."""

    seed: int = Field(2018, ge=0, description="of the country: its fields; a year's weather and crops follow from it")
    reference_resolution: Literal[100, 200, 250, 500, 1000] = Field(100, description="of the crop map, in metres")


class Preparation(_Section):
    """Which pixels are mapped."""

    cropland: Literal["auto", "reference", "biome", "all"] = Field(
        "auto",
        description="what is mapped: cells that the reference map calls a crop, cells of the granules' crop biomes, or "
        "all; auto takes the first of these that there is",
    )


class Training(_Section):
    """Training of the joint network; names as in `model.JointClustering`."""

    clusters: int = Field(2, ge=1, description="number of clusters K")
    iterations: Count = Field(3000, description="of joint training, as many as the paper's")
    batch_size: Count = 1000
    target_interval: Count = Field(140, description="iterations between two updates of the target distribution")
    pretrain_epochs: Count = 100
    sample_pixels: Count = Field(20_000, description="pixels drawn for training, spread evenly over the mapped cells")
    preset: Literal["paper", "stable"] = Field(
        "stable", description="weight of the adversarial loss and the discriminator's learning rate"
    )
    adversarial_interval: Count = Field(
        5, description="the adversarial game is played every so many iterations; the paper: 1, at five times the cost"
    )
    w_gen: float | None = Field(
        None, ge=0, description="weight of the adversarial loss, without one the preset's; 0: no discriminator"
    )
    clip_norm: float = Field(10.0, ge=0, description="largest norm of a step's gradient; 0: not clipped")
    device: str = Field("auto", description="auto, cpu or cuda")


class Inference(_Section):
    """Labelling every pixel."""

    batch_pixels: Count = Field(8192, description="pixels that go through the network at once")


class Cluster(_Section):
    """Where shards are worked on."""

    scheduler: str | None = Field(None, description="none: in process; local: a cluster here; tcp://...: that one")
    workers: Count = Field(default_factory=lambda: os.cpu_count() or 1, description="of the local cluster")


class Config(BaseSettings):
    """All that a run depends on."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT, env_nested_delimiter="__", validate_default=True
    )

    year: int = Field(2018, ge=FIRST_YEAR, le=2100)
    out: AbsolutePath = Field(Path("out"), description="folder of all outputs")
    seed: int = Field(0, ge=0, description="of sampling and training")
    region: Region = Region()
    ingest: Ingest = Ingest()
    reference: Reference = Reference()
    simulation: Simulation = Simulation()
    preparation: Preparation = Preparation()
    training: Training = Training()
    inference: Inference = Inference()
    cluster: Cluster = Cluster()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.preparation.cropland == "reference" and self.reference_path is None:
            raise ValueError("preparation.cropland is 'reference', but no reference map is given: set reference.path")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Strongest first: command line, environment, TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def simulated(self) -> bool:
        """Whether the granules are made here."""
        return self.ingest.granules is None

    @property
    def granules(self) -> Path:
        """Folder of the year's granules."""
        return self.ingest.granules or self.out / "simulated" / "VNP15A2H" / str(self.year)

    @property
    def reference_path(self) -> Path | None:
        """The reference crop map, if there is one."""
        if self.reference.path is None and self.simulated:
            return self.out / "simulated" / "EUCROPMAP" / f"EUCROPMAP_{self.year}_simulated.tif"
        return self.reference.path

    @property
    def region_folder(self) -> Path:
        """Folder of the region's outputs of all years."""
        return self.out / self.region.name

    @property
    def year_folder(self) -> Path:
        """Folder of the year's outputs."""
        return self.region_folder / str(self.year)

    @property
    def cube(self) -> Path:
        """The year's observations, their counts and means."""
        return self.year_folder / "cube.zarr"

    @property
    def map(self) -> Path:
        """The year's labels, confidence and filled series."""
        return self.year_folder / "map.zarr"

    @property
    def reference_grid(self) -> Path:
        """The reference crop map reduced to the grid."""
        return self.year_folder / "reference.zarr"

    @property
    def model(self) -> Path:
        """Folder of the year's trained model."""
        return self.year_folder / "model"

    @property
    def report(self) -> Path:
        """Folder of the year's report."""
        return self.year_folder / "report"

    @property
    def clusters(self) -> Path:
        """The cluster cube of all years of the region."""
        return self.region_folder / "clusters.zarr"


def load_config(file: Path | None = None, **overrides: Any) -> Config:
    """Build the configuration from a TOML file, the environment and overrides.

    Args:
        file: TOML file, or None for defaults and environment alone. Paths in it count from where the command runs.
        overrides: values of the command line; a dotted section is written with a double underscore
            (`ingest__grid="sinusoidal-927m"`). None means not given.

    Raises:
        UserError: the file cannot be read, or a key or value is unknown or wrong; every such place is named.
    """
    _refuse_unknown_environment()
    given: dict[str, Any] = {}
    for name, value in overrides.items():
        if value is not None:
            *sections, key = name.split("__")
            place = given
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
    if file is not None:
        _check_toml(file)

    class _FromFile(Config):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        made = _FromFile(**given)
    except ValidationError as error:
        raise UserError(_explain(error, file)) from None
    return Config.model_construct(**{name: getattr(made, name) for name in Config.model_fields})


def _check_toml(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            tomllib.load(stream)
    except OSError as error:
        raise UserError(f"cannot read the configuration {file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"the configuration {file} is no valid TOML: {error}.") from None


def _refuse_unknown_environment() -> None:
    known = {ENVIRONMENT + path.upper().replace(".", "__") for path in key_paths()}
    sections = {ENVIRONMENT + name.upper() for name in Config.model_fields}
    for name in os.environ:
        if name.startswith(ENVIRONMENT) and name.upper() not in known | sections:
            raise UserError(f"unknown environment variable {name}: `sitscube config show` lists the keys.")


def key_paths() -> list[str]:
    """Every key of the configuration, dotted: "year", "ingest.grid", ..."""
    paths = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            paths += [f"{name}.{key}" for key in section.model_fields]
        else:
            paths.append(name)
    return paths


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {place}: unknown key; the keys are {', '.join(_siblings(place))}")
        else:
            value = "" if isinstance(problem["input"], dict | BaseModel) else f" (given: {problem['input']!r})"
            lines.append(f"  {place or 'configuration'}: {problem['msg']}{value}")
    source = f" ({file}, environment, command line)" if file else " (environment, command line)"
    return f"the configuration{source} cannot be used:\n" + "\n".join(lines)


def _siblings(place: str) -> list[str]:
    section, _, _ = place.rpartition(".")
    names = [path for path in key_paths() if path.rpartition(".")[0] == section]
    return names if section else names + [n for n in Config.model_fields if n not in names]

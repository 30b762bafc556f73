"""The configuration: one frozen model, from a TOML file, the environment and the command line; later ones win."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline.base.errors import UserError
from pipeline.base.locations import AnyLocation, Location
from pipeline.base.outputs import Outputs
from pipeline.base.settings import AbsolutePath
from pipeline.config.sections import (
    FIRST_YEAR,
    ITALY,
    ITALY_BELTS,
    LAST_YEAR,
    Download,
    Evaluation,
    Inference,
    Ingest,
    Preparation,
    Region,
    Simulation,
    Training,
)
from pipeline.references.settings import Reference
from pipeline.runtime.settings import Cluster
from pipeline.sources.raster.settings import Raster

ENVIRONMENT: Final = "SITSCUBE_"


class Config(BaseSettings):
    """Describe all that a run depends on."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT, env_nested_delimiter="__", validate_default=True
    )

    year: int = Field(2018, ge=FIRST_YEAR, le=LAST_YEAR)
    out: AnyLocation = Field(Path("out"), description="folder or URL (s3://bucket/prefix) of all outputs")
    local: AbsolutePath | None = Field(
        None,
        description="folder on this machine for what has to lie on a disk: simulated and downloaded files, the state "
        "of an unfinished training; none: out where that is a folder, else ./out",
    )
    seed: int = Field(0, ge=0, description="of sampling and training")
    region: Region = Region()
    download: Download = Download()
    ingest: Ingest = Ingest()
    raster: Raster = Raster()
    reference: Reference = Reference()
    simulation: Simulation = Simulation()
    preparation: Preparation = Preparation()
    training: Training = Training()
    inference: Inference = Inference()
    evaluation: Evaluation = Evaluation()
    cluster: Cluster = Cluster()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.preparation.cropland == "reference" and self.reference_path is None:
            raise ValueError("preparation.cropland is 'reference', but no reference map is given: set reference.path")
        if self.raster.folder is not None and (self.ingest.granules is not None or self.download.enabled):
            raise ValueError("observations come from granules or from rasters: leave out raster, or the other two")
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
        """Return the sources, with the strongest first: command line, environment, TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def simulated(self) -> bool:
        """Return whether the granules are simulated."""
        return self.ingest.granules is None and self.raster.folder is None and not self.download.enabled

    @property
    def granules(self) -> Path:
        """Return the folder of the granules: the configured one, or that of simulated or downloaded ones."""
        if self.ingest.granules is not None:
            return self.ingest.granules
        return self.simulated_granules if self.simulated else self.archive

    @property
    def observations(self) -> Path:
        """Return the folder of the files that the cube is made from."""
        return self.raster.folder or self.granules

    @property
    def local_folder(self) -> Path:
        """Return the folder on this machine for files that must be on a disk."""
        if self.local is not None:
            return self.local
        return self.out if isinstance(self.out, Path) else Path("out").absolute()

    @property
    def archive(self) -> Path:
        """Return the folder of downloaded granules, for a configuration without one."""
        return self.local_folder / "archive" / f"{self.download.product}.{self.download.version}" / str(self.year)

    @property
    def simulated_granules(self) -> Path:
        """Return the folder of simulated granules."""
        return self.local_folder / "simulated" / "VNP15A2H" / str(self.year)

    @property
    def reference_path(self) -> Path | None:
        """Return the path of the reference crop map, or None."""
        if self.reference.path is None and self.simulated:
            return self.local_folder / "simulated" / "EUCROPMAP" / f"EUCROPMAP_{self.year}_simulated.tif"
        return self.reference.path

    @property
    def regions_path(self) -> Path | None:
        """Return the path of the regions with figures of their own: the configured or, for Italy, the packaged one."""
        if self.evaluation.regions is None and self.region.outline == ITALY:
            return ITALY_BELTS
        return self.evaluation.regions

    @property
    def outputs(self) -> Outputs:
        """Return the paths of the outputs of the year."""
        return Outputs(self.out, self.region.name, self.year)

    @property
    def region_folder(self) -> Location:
        """Return the folder of the region's outputs of all years."""
        return self.outputs.region_folder

    @property
    def year_folder(self) -> Location:
        """Return the folder of the year's outputs."""
        return self.outputs.year_folder

    @property
    def cube(self) -> Location:
        """Return the store of the year's observations, their counts and means."""
        return self.outputs.cube

    @property
    def map(self) -> Location:
        """Return the store of the year's labels, confidence and filled series."""
        return self.outputs.map

    @property
    def reference_grid(self) -> Location:
        """Return the store of the reference crop map on the grid."""
        return self.year_folder / "reference.zarr"

    @property
    def model(self) -> Location:
        """Return the folder of the trained model that maps the year."""
        return self.region_folder / str(self.inference.model_year or self.year) / "model"

    @property
    def trains(self) -> bool:
        """Return whether the year is mapped with its own model, and not with that of another year."""
        return self.inference.model_year in (None, self.year)

    @property
    def report(self) -> Location:
        """Return the folder of the year's report."""
        return self.year_folder / "report"

    @property
    def products(self) -> Location:
        """Return the folder of the year's files for other software."""
        return self.year_folder / "products"

    @property
    def comparison(self) -> Path:
        """Return the folder of the region's comparison of methods; it is on a disk, because its log is appended to."""
        folder = self.region_folder
        return (folder if isinstance(folder, Path) else self.local_folder / self.region.name) / "comparison"

    @property
    def clusters(self) -> Location:
        """Return the cluster cube of all years of the region."""
        return self.outputs.clusters


def load_config(file: Path | None = None, **overrides: Any) -> Config:
    """Build the configuration from a TOML file, the environment and overrides.

    Args:
        file: TOML file, or None for defaults and environment alone. Paths in it are relative to the working directory.
        overrides: values of the command line; a section is separated by a double underscore
            (`ingest__grid="sinusoidal-927m"`). None means that the value is not set here.

    Raises:
        UserError: the file cannot be read, or a key or value is unknown or wrong; the message names all of them.
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
    """Return every key of the configuration, dotted: "year", "ingest.grid", ..."""
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
            lines.append(f"  {place}: unknown key; the keys are {', '.join(_siblings(problem['loc']))}")
        else:
            value = "" if isinstance(problem["input"], dict | BaseModel) else f" (given: {_shown(problem['input'])})"
            lines.append(f"  {place or 'configuration'}: {problem['msg'].removeprefix('Value error, ')}{value}")
    source = f" ({file}, environment, command line)" if file else " (environment, command line)"
    return f"the configuration{source} cannot be used:\n" + "\n".join(lines)


def _shown(value: object) -> str:
    """Return a value for messages, without the parts of a URL that may be credentials."""
    text = repr(value)
    return re.sub(r"\?.*", "?...", re.sub(r"://.*@", "://...@", text)) if "://" in text else text


def _siblings(place: tuple[int | str, ...]) -> list[str]:
    """Return the known keys in the place of an unknown one: the configuration, a section, or an item of a list."""
    model: type[BaseModel] = Config
    for part in place[:-1]:
        if isinstance(part, str):
            kind = model.model_fields[part].annotation
            model = next(one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel))
    section = ".".join(str(part) for part in place[:-1])
    return [f"{section}.{key}" if section else key for key in model.model_fields]

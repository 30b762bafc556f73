"""The sections of the configuration that no other room defines, one class each."""

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.base.calendar import CalendarName
from pipeline.base.settings import AbsolutePath, Count, Section, Share
from pipeline.grid.grid import GRID_EXAMPLES, check_grid_name
from pipeline.sources.viirs.settings import QcRule

DATA: Final = Path(__file__).parent / "data"
ITALY: Final = DATA / "italy_ne10m.geojson"
ITALY_BELTS: Final = DATA / "italy_belts.geojson"
FIRST_YEAR: Final = 1981  # of the AVHRR record, the oldest of its kind
LAST_YEAR: Final = 2100


class Region(Section):
    """Set what is mapped."""

    name: str = Field("italy", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="folder of the outputs")
    outline: AbsolutePath = Field(ITALY, description="GeoJSON polygons in WGS 84")


class Ingest(Section):
    """Set how granules or rasters become the cube."""

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


class Download(Section):
    """Set how granules are downloaded from NASA's LP DAAC; credentials come from the environment or ~/.netrc alone."""

    enabled: bool = Field(False, description="whether a whole run begins with fetching what is missing")
    product: Literal["VNP15A2H", "VJ115A2H", "VJ215A2H"] = "VNP15A2H"
    version: Literal["001", "002"] = "002"
    parallel: Annotated[int, Field(ge=1, le=16)] = Field(4, description="files fetched at once")
    attempts: Count = Field(5, description="tries of each file and each question to the catalogue")


class Simulation(Section):
    """Set how Italy is simulated."""

    seed: int = Field(2018, ge=0, description="of the country: its fields; a year's weather and crops follow from it")
    reference_resolution: Literal[100, 200, 250, 500, 1000] = Field(100, description="of the crop map, in metres")


class Preparation(Section):
    """Set which pixels are mapped, and which of them are used for training."""

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


class Training(Section):
    """Set how the joint network is trained; names as in `model.JointClustering`."""

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


class Evaluation(Section):
    """Set the sample for area estimates, and their regions."""

    sample_size: int = Field(
        2000, ge=2, description="sampled cells of the country; 2000 give overall accuracy a standard error near 0.01"
    )
    region_sample_size: int = Field(400, ge=2, description="sampled cells of every region; 400: 0.025")
    regions: AbsolutePath | None = Field(
        None, description="GeoJSON of named polygons in WGS 84; none: belts of latitude where all of Italy is mapped"
    )
    region_name: str | None = Field(None, description="property that holds the regions' names; none: name, NAME, ...")


Output = Literal["label", "confidence", "filled", "spread"]


class Inference(Section):
    """Set how every pixel is labelled."""

    outputs: tuple[Output, ...] = Field(
        ("label", "confidence", "filled", "spread"), min_length=1, description="which arrays of map.zarr are written"
    )
    model_year: int | None = Field(
        None, ge=FIRST_YEAR, le=LAST_YEAR, description="of the model that maps the year; none: its own, trained on it"
    )
    batch_pixels: Count | None = Field(
        None, description="pixels that go through the network at once; none: what suits the device and its memory"
    )

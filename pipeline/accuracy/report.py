"""The parts of `accuracy.json`; None is what the counts or the sample do not say."""

from typing import NotRequired, TypedDict

from pipeline.accuracy.stratified import EstimateJson

_Class = TypedDict("_Class", {"class": str})
_Bounds = TypedDict("_Bounds", {"from": int, "to": int})  # both within the bin


class Agreement(TypedDict):
    """Agreement of two maps that does not depend on how labels are numbered."""

    overall_accuracy_matched: float
    adjusted_rand_index: float | None
    normalised_mutual_information: float | None


class Compared(Agreement):
    """Accuracy of all compared cells."""

    cells: int
    confusion: list[list[int]]  # rows are labels, columns seasons
    overall_accuracy: float | None
    kappa: float | None
    users_accuracy: list[float | None] | None
    producers_accuracy: list[float | None] | None
    f1: list[float | None] | None
    matching: list[int | None]  # by season, the label that fits it best
    matched_class_accuracy: list[float | None]


class KMeans(Agreement):
    """Agreement of k-means with the reference."""

    method: str
    confusion: list[list[int]]


class LegendClass(TypedDict):
    """A class of the reference's legend."""

    code: int
    name: str
    season: str | None
    crop: NotRequired[bool]


class ClassCells(TypedDict):
    """The labels of the cells of a class of the legend."""

    code: int
    name: str
    cells_by_label: list[int]


class CropAccuracy(ClassCells):
    """The same for a crop, with the share of its cells that agree."""

    season: str
    accuracy: float


class Classes(TypedDict):
    """All classes that occur."""

    crops: list[CropAccuracy]
    not_compared: list[ClassCells]


class Agreeing(TypedDict):
    """Compared cells, and the share that agrees."""

    cells: int
    accuracy: float | None


class ObservationsBin(_Bounds, Agreeing):
    """Cells by the number of dates on which they were observed."""


class PurityBin(_Bounds, Agreeing):
    """Cells by the percent of the reference's cells in them that carry the class."""

    cells_at_least: int  # of this bin and all purer ones
    accuracy_at_least: float | None


class ClassArea(_Class, EstimateJson):
    """The estimated area of a class of the reference."""


class Domain(TypedDict):
    """Area and accuracy of a part of the country; strata are the labels."""

    mapped_cells: list[int]
    mapped_km2: list[float]
    sampled: list[int]
    nonresponse: list[int]
    confusion: list[list[int]]
    area_km2: list[ClassArea]
    counted_km2: list[float]
    unknown_km2: float
    users_accuracy: list[EstimateJson] | None
    producers_accuracy: list[EstimateJson] | None
    overall_accuracy: EstimateJson | None
    overall_accuracy_certain: EstimateJson | None
    overall_accuracy_counted: float | None


class RegionDomain(Domain):
    """The same of a named region."""

    name: str


class DesignBased(TypedDict):
    """Estimates from the probability samples of the country and of its regions."""

    classes: list[str]
    sample_size: int
    region_sample_size: int
    seed: int
    cell_km2: float
    equal_area: bool
    country: Domain
    regions: list[RegionDomain]
    outside_regions_km2: float


class Summary(Compared, Classes):
    """All of the report."""

    labels: list[str]
    seasons: list[str]
    kmeans: KMeans
    by_purity: list[PurityBin]
    by_observations: list[ObservationsBin]
    design_based: DesignBased

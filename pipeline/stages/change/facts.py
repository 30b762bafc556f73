"""The content of change.json: figures of a change between two years, areas in km2, shares from 0 to 1."""

from typing import TypedDict

from pipeline.accuracy.stratified import EstimateJson


class EstimateFacts(TypedDict):
    """Figures of the sample of the reference maps; C classes, K labels."""

    classes: list[str]
    drawn: list[list[int]]  # (K, K) sampled cells by mapped transition
    used: list[list[int]]  # (K, K) of these, cells with a reference in both years
    counts: list[list[list[int]]]  # (K K, C, C) of these, by true transition
    left_out_km2: float
    transitions_km2: list[list[EstimateJson]]  # (C, C)
    net_km2: list[EstimateJson]  # (C,)
    changed_km2: EstimateJson
    share_right: list[list[EstimateJson]] | None  # (K, K); None where labels are not seasons
    changed_right: EstimateJson | None
    note: str


class MapFacts(TypedDict):
    """Figures of the map of change."""

    years: list[int]
    labels: list[str]
    cell_km2: float
    cells: list[list[int]]  # (K, K) from label i to label j
    mapped_km2: list[list[float]]  # (K, K)
    mapped_in_one_year_km2: list[list[float]]  # (2, K) in the earlier, in the later year alone
    changed_km2: float
    changed_share: float | None
    net_mapped_km2: list[float]  # (K,)
    confidence: list[list[float | None]]  # (K, K)
    notes: list[str]
    estimate: EstimateFacts | None


class DescribedFacts(MapFacts):
    """The same with the region and the reference maps."""

    region: str
    simulated: str
    grid: str
    references: dict[str, str]  # names of the reference maps by year
    years_without_reference: list[int]
    equal_area: bool


class ChangeFacts(DescribedFacts):
    """All of change.json."""

    fingerprint: str

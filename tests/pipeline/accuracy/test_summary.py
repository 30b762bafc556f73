import csv
import io
import json
from dataclasses import fields

import numpy as np
import pytest

from pipeline.accuracy.design_based import CellArea
from pipeline.accuracy.stratified import StratifiedSample
from pipeline.accuracy.summary import ReportNames, summarise
from pipeline.accuracy.table import to_csv
from pipeline.accuracy.tally import OTHER, UNKNOWN, Cells, CountShape, Tally

LEGEND = [
    {"code": 10, "name": "wheat", "season": "winter", "crop": True},
    {"code": 20, "name": "maize", "season": "summer", "crop": True},
    {"code": 30, "name": "oats", "season": None, "crop": True},
]
DESIGN = CellArea(cell_km2=0.25, equal_area=True)


def frame(n_labels=2, n_regions=2, size=50, region_size=20):
    return CountShape(n_labels, (10, 20, 30), 46, n_regions, size, region_size, seed=0)


def some_cells(n=400, n_labels=2, seed=0, n_regions=2):
    """Return cells of a grid 20 wide, two thirds of which have the right label."""
    rng = np.random.default_rng(seed)
    season = rng.choice([0, 1, 255], n, p=[0.4, 0.4, 0.2])
    unknown = (season == 255) & (rng.random(n) < 0.3)
    right = np.where(season == 255, 0, season) % n_labels
    place = np.arange(n)
    return Cells(
        label=np.where(rng.random(n) < 2 / 3, right, rng.integers(0, n_labels, n)),
        season=season,
        code=np.select([unknown, season == 0, season == 1], [0, 10, 20], 30),
        share=np.where(unknown, 255, rng.integers(30, 101, n)),
        n_observed=rng.integers(0, 47, n),
        region=rng.integers(-1, n_regions, n),
        row=place // 20,
        column=place % 20,
    )


def part(cells, chosen):
    return Cells(**{field.name: getattr(cells, field.name)[chosen] for field in fields(cells)})


def tally(cells, frame):
    return Tally.of(cells, cells.label[cells.compared], frame)


def names(n_labels=2, n_regions=2):
    return ReportNames(
        tuple(f"peak_{k}" for k in range(n_labels)) if n_labels != 2 else ("winter", "summer"),
        LEGEND,
        ("here", "there")[:n_regions],
    )


def figures(n_labels=2, **sizes):
    return summarise(
        tally(some_cells(n_labels=n_labels), frame(n_labels, **sizes)),
        frame(n_labels, **sizes),
        names(n_labels),
        DESIGN,
    )


@pytest.mark.parametrize("n_labels", [1, 2, 3])
def test_parts_add_up_to_the_whole_however_they_are_cut(n_labels):
    cells, of = some_cells(n_labels=n_labels), frame(n_labels)
    whole = summarise(tally(cells, of), of, names(n_labels), DESIGN)
    for n_parts in (2, 7):
        total = Tally.empty(of)
        for k in np.random.default_rng(1).permutation(n_parts):
            total = total + tally(part(cells, cells.column % n_parts == k), of)
        assert summarise(total, of, names(n_labels), DESIGN) == whole


def test_the_sample_gives_the_published_estimators_of_its_own_counts():
    made = figures()
    for domain in (made["design_based"]["country"], *made["design_based"]["regions"]):
        sample = StratifiedSample(np.array(domain["confusion"]), np.array(domain["mapped_km2"]))
        assert [e["value"] for e in domain["area_km2"]] == [e.value for e in sample.area()]
        assert [e["low"] for e in domain["area_km2"]] == [e.interval[0] for e in sample.area()]
        assert domain["overall_accuracy"] == sample.overall_accuracy().as_json()
        assert domain["overall_accuracy_certain"] == sample.accuracy_among((0, 1)).as_json()
        drawn = np.array(domain["confusion"]).sum(axis=1) + domain["nonresponse"]
        assert drawn.tolist() == domain["sampled"]


def test_a_sample_of_all_cells_with_a_reference_gives_the_areas_that_are_counted():
    cells = some_cells()
    cells = part(cells, cells.reference != UNKNOWN)
    of = frame(size=1000, region_size=1000)
    based = summarise(tally(cells, of), of, names(), DESIGN)["design_based"]
    for domain in (based["country"], *based["regions"]):
        assert [e["value"] for e in domain["area_km2"]] == pytest.approx(domain["counted_km2"])
        assert domain["overall_accuracy_certain"]["value"] == pytest.approx(domain["overall_accuracy_counted"])
    assert based["country"]["counted_km2"][OTHER] == 0.25 * (cells.reference == OTHER).sum()


def test_regions_and_what_is_outside_make_the_country():
    based, cells = figures()["design_based"], some_cells()
    mapped = [np.array(domain["mapped_cells"]) for domain in based["regions"]]
    assert (sum(mapped) <= based["country"]["mapped_cells"]).all()
    assert based["outside_regions_km2"] == 0.25 * (cells.region == -1).sum()
    for r, domain in enumerate(based["regions"]):
        assert domain["mapped_cells"] == [int(((cells.region == r) & (cells.label == k)).sum()) for k in (0, 1)]


def test_sizes_are_shared_equally_by_the_labels():
    based = figures(size=51, region_size=20)["design_based"]
    assert sorted(based["country"]["sampled"]) == [25, 26]
    assert all(domain["sampled"] == [10, 10] for domain in based["regions"])


def test_a_region_without_mapped_cells_has_a_row_without_figures():
    cells = some_cells()
    cells = part(cells, cells.region != 1)
    there = summarise(tally(cells, frame()), frame(), names(), DESIGN)["design_based"]["regions"][1]
    assert there["name"] == "there"
    assert there["mapped_cells"] == [0, 0]
    assert there["overall_accuracy"]["value"] is None
    assert there["overall_accuracy_counted"] is None


def test_purity_and_observations_are_binned_without_losing_a_cell():
    made, cells = figures(), some_cells()
    used = cells.compared
    right = cells.label == cells.season
    for row in made["by_purity"]:
        inside = used & (cells.share >= row["from"]) & ((cells.share < row["to"]) | (row["to"] == 100))
        assert row["cells"] == inside.sum()
        assert row["accuracy"] == pytest.approx(right[inside].mean())
        at_least = used & (cells.share >= row["from"])
        assert row["cells_at_least"] == at_least.sum()
        assert row["accuracy_at_least"] == pytest.approx(right[at_least].mean())
    for row in made["by_observations"]:
        inside = used & (cells.n_observed >= row["from"]) & (cells.n_observed <= row["to"])
        assert row["cells"] == inside.sum()
        assert row["accuracy"] == pytest.approx(right[inside].mean())
    assert sum(row["cells"] for row in made["by_observations"]) == made["cells"] == used.sum()
    assert made["by_observations"][-1]["to"] == 46


def test_crops_that_are_not_compared_are_counted_apart():
    made, cells = figures(), some_cells()
    assert [crop["name"] for crop in made["crops"]] == ["wheat", "maize"]
    assert sum(sum(crop["cells_by_label"]) for crop in made["crops"]) == made["cells"]
    oats = [int(((cells.code == 30) & (cells.label == k)).sum()) for k in (0, 1)]
    assert made["not_compared"] == [{"code": 30, "name": "oats", "cells_by_label": oats}]
    wheat = made["crops"][0]
    assert wheat["accuracy"] == wheat["cells_by_label"][0] / sum(wheat["cells_by_label"])


def test_labels_without_seasons_have_areas_and_no_accuracy_of_their_own():
    made = figures(n_labels=3)
    assert made["overall_accuracy"] is None
    assert made["kappa"] is None
    assert made["f1"] is None
    country = made["design_based"]["country"]
    assert country["overall_accuracy"] is None
    assert country["users_accuracy"] is None
    assert len(country["mapped_km2"]) == 3
    assert all(estimate["value"] > 0 for estimate in country["area_km2"])
    share = made["by_purity"][-1]["accuracy_at_least"]
    assert made["by_purity"][0]["accuracy_at_least"] == pytest.approx(made["overall_accuracy_matched"])
    assert 0 < share <= 1


def test_a_label_without_cells_is_unknown_in_the_json():
    cells = some_cells()
    cells = part(cells, cells.label == 0)
    made = summarise(tally(cells, frame()), frame(), names(), DESIGN)
    assert made["users_accuracy"][1] is None
    json.dumps(made, allow_nan=False)


def leaves(value):
    """Yield every number of a JSON value."""
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from leaves(entry)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.parametrize("n_labels", [1, 2, 3])
def test_the_table_holds_every_number_of_the_json_once_at_a_place_of_its_own(n_labels):
    made = figures(n_labels)
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert sorted(float(row["value"]) for row in rows if row["value"]) == sorted(leaves(made))
    places = [(row["table"], row["row"], row["column"]) for row in rows]
    assert len(set(places)) == len(places)


def test_numbers_of_the_table_stand_where_their_names_say():
    made = figures()
    rows = csv.DictReader(io.StringIO(to_csv(made)))
    table = {(row["table"], row["row"], row["column"]): row["value"] for row in rows}
    based = made["design_based"]
    producers = based["country"]["producers_accuracy"]
    expected = {
        ("confusion", "winter", "summer"): made["confusion"][0][1],
        ("all", "overall_accuracy", "value"): made["overall_accuracy"],
        ("f1", "summer", "value"): made["f1"][1],
        ("kmeans", "adjusted_rand_index", "value"): made["kmeans"]["adjusted_rand_index"],
        ("by_purity", "50-60", "accuracy"): made["by_purity"][1]["accuracy"],
        ("crops/20 maize", "cells_by_label", "winter"): made["crops"][1]["cells_by_label"][0],
        ("design_based/country/area_km2", "other or either season", "low"): based["country"]["area_km2"][2]["low"],
        ("design_based/regions/there/confusion", "summer", "winter"): based["regions"][1]["confusion"][1][0],
        ("design_based/country/producers_accuracy", "summer", "value"): producers[1]["value"],
    }
    assert {place: float(table[place]) for place in expected} == expected
    assert table["design_based/country/producers_accuracy", "other or either season", "value"] == ""

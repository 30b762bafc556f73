import csv
import io
import json
import re

import numpy as np
import pytest
import rasterio
import xarray as xr
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

from pipeline.base.errors import UserError
from pipeline.base.locations import to_location
from pipeline.cli.commands import app
from pipeline.cube import layout, stores
from pipeline.stages.change import stage as change_module
from pipeline.stages.change.section import change_section, section_fingerprint
from pipeline.stages.change.stage import change, change_folder, pairs_of, read_change
from pipeline.stages.change.transitions import transition_codes
from tests.support.small_change import SIDE, SIMULATED, make_config, write_clusters, write_reference

YEARS = (2018, 2021)


def made_labels(seed: int, n_labels: int = 2, unmapped: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_labels, (SIDE, SIDE))
    return np.where(rng.random((SIDE, SIDE)) < unmapped, 255, labels)


@pytest.fixture
def labels():
    return {2018: made_labels(0), 2021: made_labels(1)}


@pytest.fixture
def config(tmp_path, labels):
    made = make_config(tmp_path, evaluation__sample_size=200)
    write_clusters(made, labels)
    return made


def with_references(config, labels):
    """Write references that differ from the maps in some cells, are no crop in some and missing in others."""
    rng = np.random.default_rng(7)
    seasons = {}
    for year, label in labels.items():
        wrong = rng.random(label.shape) < 0.2
        season = np.where(label == 255, 0, np.where(wrong, 1 - (label == 1), label))
        season = np.where(rng.random(label.shape) < 0.1, 255, season)
        n_valid = np.where((season == 255) & (rng.random(label.shape) < 0.5), 0, 100)
        write_reference(config, year, season, n_valid)
        seasons[year] = np.where(season < 255, season, np.where(n_valid > 0, 2, 255))
    return seasons


def test_every_cell_of_the_map_says_what_its_labels_did(config, labels):
    confidence = {year: np.where(label == 255, 255, 40 + 7 * k) for k, (year, label) in enumerate(labels.items())}
    confidence[2018][:, ::2] = np.where(labels[2018][:, ::2] == 255, 255, 99)
    write_clusters(config, labels, confidence)
    change(config, YEARS)
    found = xr.open_zarr(change_folder(config, YEARS) / "change.zarr", consolidated=False, mask_and_scale=False)
    np.testing.assert_array_equal(found.change, transition_codes(*(labels[y].astype(np.uint8) for y in YEARS), 2))
    assert found.change.attrs["flag_meanings"].split() == [
        "persistent_winter", "winter_to_summer", "summer_to_winter", "persistent_summer", "only_2018", "only_2021",
    ]  # fmt: skip
    both = (labels[2018] != 255) & (labels[2021] != 255)
    product = np.rint(confidence[2018] * confidence[2021] / 100)
    np.testing.assert_array_equal(found.change_confidence, np.where(both, product, 255))
    assert found.attrs["complete"]
    assert found.attrs["simulated"] == SIMULATED


def test_the_geotiffs_hold_the_map_and_are_cloud_optimised(config):
    folder = change_folder(config, YEARS)
    change(config, YEARS)
    stored = stores.open_to_read(folder / "change.zarr")
    for name in ("change", "change_confidence"):
        valid, errors, warnings = cog_validate(folder / f"{name}.tif", strict=True)
        assert valid, (errors, warnings)
        with rasterio.open(folder / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(1), layout.array(stored, name)[:])
            assert file.nodata == 255
            assert file.tags()["Simulated"] == SIMULATED
    with rasterio.open(folder / "change.tif") as file:
        assert file.colormap(1)[1] == (0xE6, 0x9F, 0x00, 255)  # winter to summer, in the colour of summer
    assert "winter_to_summer" in (folder / "change.tif.aux.xml").read_text()
    assert "winter" in (folder / "change.qml").read_text()


def test_areas_as_mapped_are_those_of_the_cells(config, labels):
    facts = change(config, YEARS).facts
    first, second = labels[2018], labels[2021]
    expected = [[int(((first == i) & (second == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    assert facts["cells"] == expected
    assert facts["mapped_in_one_year_km2"] == [
        [float(((one == k) & (other == 255)).sum()) for k in (0, 1)]
        for one, other in ((first, second), (second, first))
    ]
    assert facts["changed_km2"] == expected[0][1] + expected[1][0]
    assert facts["confidence"] == [[pytest.approx(0.81)] * 2] * 2


def test_between_two_equal_years_nothing_changes(tmp_path, labels):
    config = make_config(tmp_path)
    write_clusters(config, {2018: labels[2018], 2021: labels[2018]})
    with_references(config, {2018: labels[2018]})
    season = layout.array(stores.open_to_read(config.model_copy(update={"year": 2018}).reference_grid), "season")[:]
    write_reference(config, 2021, season)
    facts = change(config, YEARS).facts
    assert facts["changed_km2"] == 0
    assert facts["net_mapped_km2"] == [0, 0]
    assert facts["mapped_in_one_year_km2"] == [[0, 0], [0, 0]]
    assert facts["estimate"]["changed_km2"]["value"] == 0
    assert [one["value"] for one in facts["estimate"]["net_km2"]] == [0, 0, 0]
    assert facts["estimate"]["changed_right"] is None  # nothing is mapped as changed


def test_a_sample_of_all_cells_gives_the_areas_of_the_references(tmp_path, labels):
    config = make_config(tmp_path, evaluation__sample_size=SIDE**2)
    write_clusters(config, labels)
    seasons = with_references(config, labels)
    estimate = change(config, YEARS).facts["estimate"]
    first, second = labels[2018], labels[2021]
    both = (first != 255) & (second != 255)
    known = both & (seasons[2018] != 255) & (seasons[2021] != 255)
    area = np.zeros((3, 3))
    for i in (0, 1):
        for j in (0, 1):
            stratum = (first == i) & (second == j)
            answers = stratum & known
            right = answers & (seasons[2018] == i) & (seasons[2021] == j)
            assert estimate["share_right"][i][j]["value"] == pytest.approx(right.sum() / answers.sum())
            assert estimate["drawn"][i][j] == stratum.sum()
            assert estimate["used"][i][j] == answers.sum()
            for k in range(3):
                for m in range(3):
                    cells = answers & (seasons[2018] == k) & (seasons[2021] == m)
                    area[k, m] += stratum.sum() * cells.sum() / answers.sum()
    found = np.array([[one["value"] for one in row] for row in estimate["transitions_km2"]])
    np.testing.assert_allclose(found, area)
    assert found.sum() == pytest.approx(both.sum())
    net = [one["value"] for one in estimate["net_km2"]]
    np.testing.assert_allclose(net, area.sum(axis=0) - area.sum(axis=1))
    assert estimate["changed_km2"]["value"] == pytest.approx(area[0, 1] + area[1, 0])


def test_the_table_holds_the_numbers_of_the_json(config, labels):
    with_references(config, labels)
    facts = change(config, YEARS).facts
    rows = list(csv.DictReader(io.StringIO((change_folder(config, YEARS) / "change.csv").read_text())))
    of = {(row["table"], row["from"], row["to"]): row for row in rows}
    assert len(of) == len(rows)
    names, classes, estimate = ["winter", "summer"], ["winter", "summer", "other"], facts["estimate"]
    for i, name in enumerate(names):
        for j, other in enumerate(names):
            assert float(of["mapped_km2", name, other]["value"]) == facts["mapped_km2"][i][j]
            assert float(of["confidence", name, other]["value"]) == facts["confidence"][i][j]
            assert float(of["share_right", name, other]["low"]) == estimate["share_right"][i][j]["low"]
        for k, year in enumerate(YEARS):
            assert float(of[f"mapped_in_{year}_only_km2", name, ""]["value"]) == facts["mapped_in_one_year_km2"][k][i]
    for k, name in enumerate(classes):
        for m, other in enumerate(classes):
            row = of["estimated_km2", name, other]
            assert {key: float(row[key]) for key in ("value", "standard_error", "low", "high")} == (
                estimate["transitions_km2"][k][m]
            )
        assert float(of["estimated_net_km2", "", name]["high"]) == estimate["net_km2"][k]["high"]


def test_the_page_needs_no_network_and_says_what_it_is(config, labels):
    with_references(config, labels)
    change(config, YEARS)
    html = (change_folder(config, YEARS) / "index.html").read_text()
    assert not re.search(r"(src|href)=[\"'](?!data:)", html)
    text = re.sub(r"data:image/png;base64,[^\"]+", "", html)
    assert "http" not in text
    assert SIMULATED.removeprefix("yes: ") in text
    assert "Simulated." in text
    assert "overstate change" in text
    assert "no ground truth" in text
    assert "crops_2018.tif" in text


def test_without_the_references_of_both_years_there_is_no_estimate_and_the_page_says_so(config, labels):
    write_reference(config, 2018, labels[2018])
    assert change(config, YEARS).facts["estimate"] is None
    assert "no reference map on this grid for 2021" in (change_folder(config, YEARS) / "index.html").read_text()


def test_a_second_run_does_nothing_and_another_map_or_reference_is_told_again(config, labels):
    first = change(config, YEARS)
    assert first.fresh
    again = change(config, (2021, 2018))
    assert not again.fresh
    assert again.facts == first.facts == read_change(config, YEARS)
    with_references(config, labels)
    with_estimate = change(config, YEARS)
    assert with_estimate.fresh
    assert with_estimate.facts["estimate"] is not None
    labels[2021] = made_labels(5)
    write_clusters(config, labels)
    changed = change(config, YEARS)
    assert changed.facts["cells"] != first.facts["cells"]
    found = layout.array(stores.open_to_read(change_folder(config, YEARS) / "change.zarr"), "change")[:]
    np.testing.assert_array_equal(found, transition_codes(*(labels[y].astype(np.uint8) for y in YEARS), 2))


def test_a_run_that_ends_at_any_file_leaves_no_finished_change_and_the_next_one_mends_it(config, labels, monkeypatch):
    with_references(config, labels)
    names = ("write_bytes", "write_text")
    plain = {name: getattr(change_module, name) for name in names}
    left = 0

    def failing(name):
        def write(path, content):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            plain[name](path, content)

        return write

    expected = change(config, YEARS).facts
    config = config.model_copy(update={"seed": 1})  # another sample: everything but change.zarr is written again
    for n_written in range(4):
        left = n_written
        for name in names:
            monkeypatch.setattr(change_module, name, failing(name))
        with pytest.raises(KeyboardInterrupt):
            change(config, YEARS)
        assert read_change(config, YEARS) is None
    for name in names:
        monkeypatch.setattr(change_module, name, plain[name])
    mended = change(config, YEARS)
    assert mended.fresh
    assert mended.facts["cells"] == expected["cells"]
    assert mended.facts["estimate"] != expected["estimate"]
    assert not change(config, YEARS).fresh


def test_labels_of_any_number_are_compared_where_they_have_the_same_names(tmp_path):
    config = make_config(tmp_path)
    names = "peak_18_May peak_26_June peak_4_July"
    labels = {year: made_labels(year, 3) for year in YEARS}
    write_clusters(config, labels, names=names)
    with_references(config, {year: label % 2 for year, label in labels.items()})
    facts = change(config, YEARS).facts
    assert np.shape(facts["cells"]) == (3, 3)
    assert facts["estimate"]["share_right"] is None
    areas = [one["value"] for row in facts["estimate"]["transitions_km2"] for one in row]
    assert sum(areas) == pytest.approx(np.sum(facts["cells"]))
    assert "peak 26 June in 2021" in (change_folder(config, YEARS) / "index.html").read_text()


def test_years_whose_labels_mean_something_else_are_refused(tmp_path, labels):
    config = make_config(tmp_path, year=2021)
    write_clusters(config, labels, names={2018: "winter summer", 2021: "peak_18_May peak_4_July"})
    with pytest.raises(UserError, match=r"2018 \(winter, summer\) and 2021 \(peak_18_May, peak_4_July\)"):
        change(config, YEARS)
    assert change_section(config) is None


def test_what_cannot_be_compared_is_named(config, tmp_path):
    with pytest.raises(UserError, match="holds no 2019, only 2018, 2021"):
        change(config, (2019, 2021))
    with pytest.raises(UserError, match="2018 was named twice"):
        change(config, (2018, 2018))
    with pytest.raises(UserError, match=r"there is no .*clusters\.zarr"):
        change(make_config(tmp_path / "empty"), YEARS)
    with pytest.raises(UserError, match="only 2018 is there"):
        pairs_of([2018, 2018])


def test_of_more_than_two_years_neighbours_and_the_ends_are_compared():
    assert pairs_of([2021, 2018, 2022]) == [(2018, 2021), (2021, 2022), (2018, 2022)]
    assert pairs_of([2021, 2018]) == [(2018, 2021)]


def test_the_command_compares_the_years_and_says_what_it_wrote(config, labels, monkeypatch):
    labels[2022] = made_labels(3)
    write_clusters(config, labels)
    monkeypatch.setenv("SITSCUBE_REGION__NAME", "made")
    monkeypatch.setenv("SITSCUBE_REGION__OUTLINE", str(config.region.outline))
    result = CliRunner().invoke(app, ["change", "--years", "2018", "2021", "--out", str(config.out)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (config.region_folder / "change").iterdir() if path.is_dir()) == ["2018-2021"]
    result = CliRunner().invoke(app, ["change", "--out", str(config.out)])
    assert result.exit_code == 0, result.output
    assert "2018-2021: nothing to do" in result.output
    found = {path.name for path in (config.region_folder / "change").iterdir() if path.is_dir()}
    assert found == {"2018-2021", "2021-2022", "2018-2022"}


def test_the_section_of_a_report_tells_of_the_latest_earlier_year(config, labels):
    labels[2022] = made_labels(3)
    write_clusters(config, labels)
    maps = layout.attributes(stores.open_to_read(config.clusters))["maps"]
    of_year = {year: config.model_copy(update={"year": year}) for year in labels}
    assert change_section(of_year[2018]) is None
    assert section_fingerprint(of_year[2018], maps["2018"]) is None
    html = change_section(of_year[2022])
    assert html is not None
    assert "Change from 2021 to 2022" in html
    assert "<html" not in html
    assert change_section(of_year[2022]) == html
    written = read_change(config, (2021, 2022))
    assert written is not None
    assert section_fingerprint(of_year[2022], maps["2022"]) == written["fingerprint"]
    assert section_fingerprint(of_year[2022], "another map") != written["fingerprint"]


def test_a_change_lies_at_a_url_as_on_a_disk(config, labels):
    with_references(config, labels)
    at_url = config.model_copy(update={"out": to_location("memory://change-of-labels")})
    write_clusters(at_url, labels)
    with_references(at_url, labels)
    assert change(at_url, YEARS).facts == change(config, YEARS).facts
    assert not change(at_url, YEARS).fresh
    assert json.loads((change_folder(at_url, YEARS) / "change.json").read_text())["years"] == list(YEARS)

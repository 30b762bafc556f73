"""What the report of a year shows, and what it leaves out."""

import base64
import hashlib
import html
import json
import re
import shutil

import numpy as np
import pytest
from shapely.geometry import box, mapping

from pipeline.base.progress import Silent
from pipeline.cube import layout, stores
from pipeline.reports.labels import label_rows
from pipeline.reports.maps import agreement_of
from pipeline.reports.numbers import interval
from pipeline.reports.observations import latitudes, observations
from pipeline.reports.page import event_in_words, make_page
from pipeline.reports.snapshots import SAMPLE
from pipeline.runtime.executor import InProcess
from pipeline.stages import publish
from pipeline.stages.evaluate import evaluate, read_accuracy
from pipeline.stages.run import run
from tests.support.small_country import small_config

CUBE = {"map", "gap_map", "profiles", "gaps", "gaps_by_latitude", "series", "training", "embedding", "imputation"}
ALL = CUBE | {"agreement", "accuracy", "areas"}


@pytest.fixture
def copied(finished, country, tmp_path):
    """Copy the finished run, so that a test may change it."""
    config = small_config(country, tmp_path / "out", ingest__shard=16, ingest__chunk=8)
    shutil.copytree(finished.region_folder, config.region_folder)
    assert not publish.publish(config).fresh
    return config


def text_of(config):
    page = html.unescape((config.report / "index.html").read_text())
    return re.sub(r"\s+", " ", re.sub(r"data:image/png;base64,[^\"]+|<pre>.*?</pre>", "", page, flags=re.S))


def test_every_picture_is_a_file_and_stands_in_the_page_with_a_caption(finished):
    page = (finished.report / "index.html").read_text()
    assert {path.stem for path in finished.report.glob("*.png")} == ALL
    for path in finished.report.glob("*.png"):
        assert base64.b64encode(path.read_bytes()).decode() in page
    assert len(
        re.findall(r"<figure><img alt=\"[^\"]+\" src=\"[^\"]+\"><figcaption>\s*\w[^<]{40,}</figcaption>", page)
    ) == len(ALL)
    assert len(page) < 2_000_000


def test_embedding_and_imputation_are_by_the_season_of_the_reference(finished):
    assert "Up to 500 sampled cells of each season of the reference map" in text_of(finished)
    assert "One sampled cell of each season of the reference map" in text_of(finished)


def test_the_labels_have_cells_area_and_confidence(finished):
    label, confidence = (layout.array(stores.open_to_read(finished.map), name)[:] for name in ("label", "confidence"))
    rows = label_rows(stores.open_to_read(finished.map), ["winter", "summer", "none"])
    for k, name in enumerate(("winter", "summer")):
        n = int((label == k).sum())
        assert rows[k] == {
            "name": name,
            "cells": n,
            "area": pytest.approx(n),  # cells of 1 km
            "confidence": pytest.approx(confidence[label == k].mean() / 100),
        }
    assert rows[2] == {"name": "none", "cells": 0, "area": 0, "confidence": None}


def test_without_a_reference_figures_are_by_label(country, finished, copied):
    page = make_page(copied, None)
    assert set(page.pictures) == CUBE
    shown = re.sub(r"\s+", " ", page.html)
    assert "Up to 500 sampled cells of each label as" in shown
    assert "Colours show the reference map" not in shown


def test_where_the_watched_cells_are_unknown_the_report_says_why_and_an_old_picture_goes(copied):
    (copied.model / SAMPLE).unlink()
    (copied.report / "index.html").unlink()
    assert publish.publish(copied).fresh
    assert {path.stem for path in copied.report.glob("*.png")} == ALL - {"embedding", "imputation"}
    assert "are not shown: the model came without sample.npz" in text_of(copied)
    assert "<h3>Embedding</h3>" not in text_of(copied)
    assert not publish.publish(copied).fresh


def test_where_map_and_reference_agree_on_no_watched_cell_there_is_no_imputation(copied):
    season = stores.open_to_write(copied.reference_grid)["season"]
    season[:] = np.where(season[:] == 255, 255, 1 - season[:])
    assert set(make_page(copied, read_accuracy(copied)).pictures) == ALL - {"imputation"}


def test_a_picture_that_is_missing_is_drawn_again(copied):
    before = (copied.report / "embedding.png").read_bytes()
    (copied.report / "embedding.png").unlink()
    assert publish.publish(copied).fresh
    assert (copied.report / "embedding.png").read_bytes() == before


def test_a_comparison_of_methods_is_part_of_the_report_as_soon_as_there_is_one(copied, monkeypatch):
    monkeypatch.setattr(publish, "comparison_section", lambda _: "<h2>Methods</h2><table></table>")
    assert publish.publish(copied).fresh
    assert "<h2>Methods</h2><table></table>" in text_of(copied)
    assert not publish.publish(copied).fresh


def test_events_of_training_are_told_in_words():
    told = event_in_words({"phase": "event", "event": "loss not finite", "iteration": 1400, "learning_rate": 0.005})
    assert told == "loss not finite (iteration 1,400): learning rate lowered to 0.005"
    assert event_in_words({"event": "pretraining restarted", "epoch": 5}) == "pretraining restarted (epoch 5)"
    assert event_in_words({"event": "centres coincide", "distance": 0.0}) == "centres coincide"


def test_more_clusters_than_seasons_are_shown_by_the_season_of_the_reference(country, copied):
    settings = {"ingest__shard": 16, "ingest__chunk": 8, "training__clusters": 3}
    config = small_config(country, copied.out, **settings)
    assert next(result.stage for result in run(config, InProcess(), Silent()) if result.fresh) == "train"
    assert {path.stem for path in config.report.glob("*.png")} == ALL
    labels = layout.attributes(layout.array(stores.open_to_read(config.map), "label"))["flag_meanings"].split()
    assert len(labels) == 3
    assert all(label.startswith("peak_") for label in labels)
    shown = text_of(config)
    assert all(f"<td>{label.replace('_', ' ')}</td>" in shown and label not in shown for label in labels)
    assert "Mapped area by label" in shown
    assert "Up to 500 sampled cells of each season of the reference map" in text_of(config)


def with_regions(config, path):
    halves = {"west": box(8, 44, 9.25, 46), "east": box(9.25, 44, 10, 46), "away": box(12, 44, 13, 45)}
    features = [{"type": "Feature", "properties": {"name": n}, "geometry": mapping(b)} for n, b in halves.items()]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"regions": path})})


def test_areas_of_country_and_regions_stand_in_the_page_with_their_intervals(copied, tmp_path):
    config = with_regions(copied, tmp_path / "regions.geojson")
    accuracy = evaluate(config).facts
    page = make_page(config, accuracy)
    shown = re.sub(r"\s+", " ", html.unescape(page.html))
    country, west, _, _ = (accuracy["design_based"]["country"], *accuracy["design_based"]["regions"])
    for part in (country, west):
        for estimate in part["area_km2"]:
            low, high = estimate["low"], estimate["high"]
            assert f"<td>{estimate['value']:,.0f} ({low:,.0f}–{high:,.0f})</td>" in shown
    assert '<td><b>away</b></td> <td colspan="5">no mapped cells</td>' in shown
    assert "regions.geojson" in shown
    assert hashlib.sha256((tmp_path / "regions.geojson").read_bytes()).hexdigest() in shown


def test_the_contents_lead_to_every_section_and_change_is_one_if_there_is_any(copied):
    page = make_page(copied, read_accuracy(copied), "<h2>Methods</h2>", "<h2>Change</h2>").html
    assert re.findall(r'href="#(\w+)"', page) == re.findall(r'<section id="(\w+)"', page)
    assert "<h2>Change</h2>" in page
    assert 'id="change"' not in text_of(copied)


def test_the_page_says_that_the_reference_is_no_ground_truth_and_what_it_was_made_from(finished):
    shown = text_of(finished)
    assert "a product of remote sensing and no ground truth" in shown
    assert hashlib.sha256(finished.region.outline.read_bytes()).hexdigest() in shown
    reference = layout.attributes(stores.open_to_read(finished.reference_grid))
    assert reference["reference_digest"] in shown


def test_estimates_are_written_with_the_ends_of_their_interval():
    estimate = {"value": 12345.4, "standard_error": 100.0, "low": 12149.4, "high": 12541.4}
    assert interval(estimate) == "12,345 (12,149–12,541)"
    assert interval({**estimate, "low": None, "high": None}) == "12,345"
    assert interval({"value": None, "low": None, "high": None}) == "–"
    assert interval(None) == "–"


def test_gaps_by_latitude_are_those_of_the_cells_of_each_band(finished):
    cube = stores.open_to_read(finished.cube)
    found = observations(cube)
    mask = layout.array(cube, "mask")[:] == 1
    observed = layout.array(cube, "observed")[:]
    geobox = layout.read_grid(cube).geobox
    rows, columns = np.nonzero(mask)
    x, y = geobox.transform @ (columns + 0.5, rows + 0.5)
    _, latitude = geobox.crs.transformer_to_crs("EPSG:4326")(x, y)
    np.testing.assert_allclose(found.missing, (observed[:, mask] == 0).mean(axis=1))
    assert found.edges[0] <= latitude.min() + 0.03
    assert found.edges[-1] >= latitude.max() - 0.03
    grid, of_cells = layout.read_grid(cube), np.zeros(mask.shape)
    for shard in grid.shards:
        of_cells[grid.window(shard)] = latitudes(grid.shard_geobox(shard))
    np.testing.assert_allclose(of_cells[mask], latitude, atol=0.03)  # 2.5 km, half of a block
    band = np.searchsorted(found.edges, of_cells[mask], "right") - 1
    for k, of_band in enumerate(found.by_latitude):
        np.testing.assert_allclose(of_band, (observed[:, mask][:, band == k] == 0).mean(axis=1))


def test_agreement_tells_right_wrong_not_compared_and_not_mapped_apart():
    label = np.array([[0, 0, 1, 1, 0, 255]])
    season = np.array([[0, 1, 1, 0, 255, 0]])
    assert agreement_of(label, season, [0, 1]).tolist() == [[0, 1, 0, 1, 2, 255]]
    assert agreement_of(label, season, [1, None]).tolist() == [[1, 1, 1, 0, 2, 255]]

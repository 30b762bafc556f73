"""What the report of a year shows, and what it leaves out."""

import base64
import html
import re
import shutil

import numpy as np
import pytest
from small_country import small_config

from pipeline import layout, publish, report, stores
from pipeline.evaluate import read_accuracy
from pipeline.executor import InProcess
from pipeline.progress import Silent
from pipeline.run import run
from pipeline.watched import SAMPLE

ALL = {"map", "profiles", "gaps", "series", "training", "embedding", "imputation"}


@pytest.fixture
def copied(finished, country, tmp_path):
    """The finished run, in a place where tests may change it."""
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
    assert (
        len(re.findall(r"<figure><img alt=\"[^\"]+\" src=\"[^\"]+\"><figcaption>\s*\w[^<]{40,}</figcaption>", page))
        == 7
    )
    assert len(page) < 2_000_000


def test_embedding_and_imputation_are_by_the_season_of_the_reference(finished):
    assert "Up to 500 sampled cells of each season of the reference map" in text_of(finished)
    assert "One sampled cell of each season of the reference map" in text_of(finished)


def test_the_labels_have_cells_area_and_confidence(finished):
    label, confidence = (layout.array(stores.open_to_read(finished.map), name)[:] for name in ("label", "confidence"))
    rows = report._labels(stores.open_to_read(finished.map), ["winter", "summer", "none"])
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
    page = report.make(copied, None)
    assert set(page.pictures) == ALL
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
    assert set(report.make(copied, read_accuracy(copied)).pictures) == ALL - {"imputation"}


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
    told = report._event_in_words(
        {"phase": "event", "event": "loss not finite", "iteration": 1400, "learning_rate": 0.005}
    )
    assert told == "loss not finite (iteration 1,400): learning rate lowered to 0.005"
    assert report._event_in_words({"event": "pretraining restarted", "epoch": 5}) == "pretraining restarted (epoch 5)"
    assert report._event_in_words({"event": "centres coincide", "distance": 0.0}) == "centres coincide"


def test_more_clusters_than_seasons_are_shown_by_the_season_of_the_reference(country, copied):
    settings = {"ingest__shard": 16, "ingest__chunk": 8, "training__clusters": 3}
    config = small_config(country, copied.out, **settings)
    assert next(result.stage for result in run(config, InProcess(), Silent()) if result.fresh) == "train"
    assert {path.stem for path in config.report.glob("*.png")} == ALL
    assert "<td>cluster_2</td>" in text_of(config)
    assert "Up to 500 sampled cells of each season of the reference map" in text_of(config)

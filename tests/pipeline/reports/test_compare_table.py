import csv
import io

import pytest

from pipeline.reports.comparison_summary import summarise, summarise_filling
from pipeline.reports.comparison_table import as_csv, markdown
from pipeline.reports.figures.comparison import accuracy_dots
from pipeline.reports.numbers import number, percentage


def row(seed, accuracy, *, year=2018, method="joint", name="joint", **more):
    return {
        "year": year, "method": method, "name": name, "seed": seed, "error": None, "accuracy": accuracy,
        "class_accuracy": {"winter": accuracy, "summer": None}, "ari": 0.5, "nmi": 0.25, "rmse": 0.1, "mae": 0.05,
        "seconds": 10.0 + seed, "n_iter": 100, "imputation": None, "region": "italy", "simulated": True, **more,
    }  # fmt: skip


FAILED = {
    "year": 2018,
    "method": "crli",
    "name": "CRLI + k-means",
    "seed": 0,
    "error": "ValueError: no",
    "simulated": True,
}


def test_summaries_over_seeds_are_exact():
    (summary,) = summarise([row(0, 0.9), row(1, 0.95), row(2, 0.94)])
    assert summary["accuracy"] == pytest.approx(0.93)
    assert summary["accuracy_std"] == pytest.approx(((0.03**2 + 0.02**2 + 0.01**2) / 2) ** 0.5)
    assert summary["accuracy_range"] == pytest.approx(0.05)
    assert summary["paper_accuracy"] == 0.9261
    assert summary["class_accuracy"] == {"winter": pytest.approx(0.93), "summer": None}
    assert (summary["seconds"], summary["n_iter"], summary["seeds"], summary["failed"]) == (11, 100, 3, 0)


def test_one_seed_has_no_deviation_and_a_method_that_failed_no_figures():
    joint, crli = summarise([row(0, 0.9), FAILED])
    assert joint["accuracy_std"] is None
    assert (crli["seeds"], crli["failed"], crli["accuracy"], crli["class_accuracy"]) == (0, 1, None, {})
    table = markdown([row(0, 0.9), FAILED], [])
    assert "| CRLI + k-means | 0 (1 failed) | – |" in table
    assert "- 2018, CRLI + k-means, seed 0: ValueError: no" in table


def test_the_papers_figures_stand_beside_their_year_and_no_other():
    summary = summarise([row(0, 0.9, year=year) for year in (2018, 2020, 2021, 2022)])
    assert [one["paper_accuracy"] for one in summary] == [0.9261, None, 0.9556, 0.9019]
    assert "paper %" not in markdown([row(0, 0.9, year=2020)], [])
    assert "(simulated;" in markdown([row(0, 0.9)], [])


def test_the_papers_figures_stand_beside_its_region_and_no_other():
    rows = [row(0, 0.9, region="here")]
    assert [one["paper_accuracy"] for one in summarise(rows)] == [None]
    assert "## 2018 (simulated)\n" in markdown(rows, [])
    assert "paper" not in markdown(rows, [])


def test_errors_of_filling_are_means_over_the_seeds_that_were_measured():
    (summary,) = summarise([row(0, 0.9, rmse=0.3, mae=0.2), row(1, 0.9, rmse=None, mae=None)])
    assert (summary["rmse"], summary["mae"], summary["seeds"]) == (0.3, 0.2, 2)


def _measured(rmse, **more):
    part = {"cells": 10, "rmse": rmse, "mae": rmse / 2}
    return {"runs": part, "single": {"cells": 0, "rmse": None, "mae": None}, "all": part, **more}


def test_fillings_come_before_networks_and_methods_with_plain_fillings_are_left_out():
    rows = [row(seed, 0.9, imputation=_measured(0.2 + seed / 10)) for seed in (0, 1)]
    rows.append(row(0, 0.9, method="mean-dec", name="mean + DEC", imputation=_measured(9.0)))
    fillings = [{"year": 2018, "filling": "linear", "imputation": _measured(0.5)}]
    linear, joint = summarise_filling(rows, fillings)
    assert (linear["filling"], linear["rmse"], linear["rmse_single"]) == ("linear", 0.5, None)
    assert (joint["filling"], joint["cells"]) == ("joint", 10)
    assert (joint["rmse_runs"], joint["mae"]) == (pytest.approx(0.25), pytest.approx(0.125))


def test_every_channel_has_a_row_where_there_are_several():
    channels = {"red": _measured(1.0), "blue": _measured(3.0)}
    fillings = [{"year": 2018, "filling": "mean", "imputation": _measured(2.0, channels=channels)}]
    assert [(one["channel"], one["rmse"]) for one in summarise_filling([], fillings)] == [("red", 1), ("blue", 3)]
    assert "| mean | blue | 10 | 3.0000 | 1.5000 | – | – | 3.0000 | 1.5000 |" in markdown([row(0, 0.9)], fillings)


def test_csv_holds_nested_values_in_columns_of_their_own():
    text = as_csv([row(0, 0.9, name='with "quotes", and commas'), FAILED])
    first, second = csv.DictReader(io.StringIO(text))
    assert first["name"] == 'with "quotes", and commas'
    assert (first["class_accuracy_winter"], first["class_accuracy_summer"]) == ("0.9", "")
    assert second["error"] == "ValueError: no"


def test_numbers_are_short_and_small_ones_do_not_vanish():
    assert [number(value, 1) for value in (None, 0, 0.02, 3.14, 1234.5)] == ["–", "0.0", "0.02", "3.1", "1234.5"]
    assert (number(8.2e29, 4), number(123456789.25, 1), number(0.2, 0)) == ("8.2e+29", "123456789.2", "0.2")
    assert (percentage(None), percentage(0.92614)) == ("–", "92.61")


def test_the_picture_is_drawn_whatever_failed():
    rows = [row(0, 0.9), row(1, None), row(0, 0.8, year=2021), FAILED]
    assert accuracy_dots(rows).startswith(b"\x89PNG")

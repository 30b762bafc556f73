import json
import shutil
import sys

import numpy as np
import pytest
import zarr

from model import CRLI
from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.cli.commands import main
from pipeline.comparison import methods as comparison_methods
from pipeline.comparison.methods import METHODS, choose_methods
from pipeline.comparison.years import YearTrial, load_years
from pipeline.reports.comparison import comparison_section
from pipeline.reports.comparison_rows import FILLED_PLAINLY
from pipeline.runtime.executor import InProcess
from pipeline.stages.context import Run
from pipeline.stages.reference import reduce_reference
from pipeline.stages.train.sample import sample_series
from tests.support.fake_methods import FITS, fake
from tests.support.small_country import small_config


def sitscube(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Run the command in this process: exit status, and all that it said."""
    monkeypatch.setattr(sys, "argv", ["sitscube", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


def toml_of(country, folder, year=2018, region="small"):
    path = folder / f"{region}-{year}.toml"
    path.write_text(
        f'[region]\nname = "{region}"\noutline = "{country}/outline.geojson"\n'
        f'[ingest]\ngranules = "{country}/granules"\nshard = 16\nchunk = 8\n'
        f'[reference]\npath = "{country}/reference.tif"\n'
        "[training]\nwarm_up = 30\npretrain_epochs = 20\nbatch_size = 200\nw_gen = 0.0\niterations = 20\n"
    )
    return path


@pytest.fixture
def fakes(monkeypatch):
    FITS.clear()
    methods = {key: fake(key) for key in ("fake", "diverges")}
    monkeypatch.setattr(comparison_methods, "METHODS", METHODS | methods)
    return FITS


def whole(config, store, name):
    return zarr.open_group(getattr(config, store), mode="r")[name][:]


def counted_by_hand(config) -> np.ndarray:
    """Count the fake's labels by season, from whole arrays."""
    fpar = whole(config, "cube", "fpar").astype(float)
    fpar[fpar == 255] = 0
    label = (fpar[:23].sum(axis=0) > fpar[23:].sum(axis=0)).astype(int)
    used = (whole(config, "cube", "mask") == 1) & (whole(config, "reference_grid", "season") != 255)
    season = whole(config, "reference_grid", "season")
    return np.array([[((label == k) & (season == j) & used).sum() for j in (0, 1)] for k in (0, 1)])


@pytest.fixture
def out(finished, tmp_path):
    """Copy the outputs of the finished run, so that a test may add to them."""
    shutil.copytree(finished.out, tmp_path / "out")
    return tmp_path / "out"


def test_a_year_is_judged_on_every_mapped_cell_of_a_certain_season(country, fakes, out, tmp_path, monkeypatch, capsys):
    toml = toml_of(country, tmp_path)
    job = ["compare", "--years", 2018, "--seeds", 2, "--config", toml, "--out", out, "--sample-pixels", 150]
    job += ["--methods", "fake,kmeans-mean", "--json", tmp_path / "rows.json"]
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 0, said
    assert fakes == [("fake", 0, 150), ("fake", 1, 150)]
    config = small_config(country, out)
    expected = counted_by_hand(config)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["year"], row["method"], row["seed"]) for row in rows] == [
        (2018, "fake", 0), (2018, "fake", 1), (2018, "kmeans-mean", 0), (2018, "kmeans-mean", 1),
    ]  # fmt: skip
    for row in rows[:2]:
        np.testing.assert_array_equal(row["confusion"], expected)
        assert row["judged"] == expected.sum()
        assert row["accuracy"] == pytest.approx(max(np.trace(expected), np.trace(expected[::-1])) / expected.sum())
        assert row["class_accuracy"]["winter"] == pytest.approx(expected[:, 0].max() / expected[:, 0].sum())
        assert row["imputation"]["runs"]["cells"] > 0
    assert rows[2]["accuracy"] > 0.9
    assert "| the fake fake | 2 |" in said
    assert "k-means" not in (out / "small" / "comparison" / "imputation.csv").read_text()
    section = comparison_section(config)
    assert section is not None
    assert "the fake fake" in section
    assert "data:image/png;base64," in section
    fakes.clear()
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 0
    assert fakes == []
    assert "seed 0: accuracy" not in said


def test_the_sample_is_that_of_the_train_stage_and_filling_is_measured_on_others(country, finished):
    config = small_config(country, finished.out, training__sample_pixels=200, ingest__shard=16, ingest__chunk=8)
    trial = YearTrial(config, 0.1, InProcess(), Silent())
    drawn = sample_series(Run(config), 200, config.seed)
    np.testing.assert_array_equal(trial.series, drawn.series)
    hidden = trial.hidden
    assert hidden is not None
    seen = {series.tobytes() for series in drawn.series}
    mapped = int((whole(config, "cube", "train_mask") == 1).sum())
    assert len(hidden.truth) == mapped - 200
    assert not any(series.tobytes() in seen for series in hidden.truth)
    assert YearTrial(config, 0.0, InProcess(), Silent()).hidden is None


def test_filling_is_not_measured_where_every_cell_is_trained_on(finished):
    class Listener(Silent):
        said: list[str] = []  # noqa: RUF012

        def message(self, text):
            self.said.append(text)

    trial = YearTrial(finished, 0.1, InProcess(), Listener())
    assert trial.hidden is None
    assert "--sample-pixels" in Listener.said[-1]


def test_what_is_done_again_depends_on_sample_seed_and_share(country, finished, monkeypatch):
    monkeypatch.setattr("pipeline.comparison.years.run_stage", lambda *_: None)

    def mark(hide=0.1, **changes):
        config = small_config(country, finished.out, ingest__shard=16, ingest__chunk=8, **changes)
        return YearTrial(config, hide, InProcess(), Silent()).fingerprint

    assert mark() == mark()
    assert len({mark(), mark(0.2), mark(seed=1), mark(training__sample_pixels=9), mark(training__target="all")}) == 5


def test_the_methods_of_the_table_train_on_a_small_country(country, out, tmp_path, monkeypatch, capsys):
    job = ["compare", "--years", 2018, "--seeds", 1, "--config", toml_of(country, tmp_path), "--out", out]
    job += ["--sample-pixels", 200, "--iterations", 6, "--json", tmp_path / "rows.json"]
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 0, said
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["method"] for row in rows] == ["joint", "joint-w0", "mean-dec", "crli"]
    assert all(row["n_iter"] == 6 and row["rmse"] > 0 and row["accuracy"] >= 0.5 for row in rows)
    assert all(row["region"] == "small" for row in rows)  # and so not the paper's
    assert "paper" not in (out / "small" / "comparison" / "table.md").read_text()
    assert "paper" not in (comparison_section(small_config(country, out)) or "paper")


@pytest.mark.slow
def test_a_cluster_judges_as_one_process_does(country, out, tmp_path, monkeypatch, capsys):
    job = ["compare", "--years", 2018, "--seeds", 1, "--config", toml_of(country, tmp_path), "--sample-pixels", 200]
    job += ["--methods", "joint-w0,mean-dec,crli,kmeans-linear", "--iterations", 5]
    found = []
    for where in ((), ("--scheduler", "local", "--workers", 2)):
        shutil.rmtree(out / "small" / "comparison", ignore_errors=True)
        code, said = sitscube(monkeypatch, capsys, *job, "--out", out, "--json", tmp_path / "rows.json", *where)
        assert code == 0, said
        rows = json.loads((tmp_path / "rows.json").read_text())
        found.append([(row["method"], row["confusion"], row["rmse"]) for row in rows])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("spelling", "years"),
    [
        (("--years", "2018", "2021", "2022", "--seeds", "3"), [2018, 2021, 2022]),
        (("--years", "2018", "--years", "2021"), [2018, 2021]),
        (("--seeds", "1", "--years", "2021", "2018"), [2021, 2018]),
        ((), [2018]),
    ],
)
def test_years_are_given_one_after_the_other(monkeypatch, capsys, spelling, years):
    asked = []

    def load(file, years, **overrides):
        asked.extend(years)
        raise UserError("enough")

    monkeypatch.setattr("pipeline.comparison.years.load_years", load)
    assert sitscube(monkeypatch, capsys, "compare", *spelling)[0] == 1
    assert asked == years


def test_a_configuration_a_year_is_found_by_its_name(country, tmp_path):
    for year in (2018, 2021):
        path = toml_of(country, tmp_path, year)
        path.write_text(path.read_text().replace("reference.tif", f"reference_{year}.tif"))
    configs = load_years(tmp_path / "small-{year}.toml", [2018, 2021, 2018], out=tmp_path)
    assert [(config.year, config.reference.path) for config in configs] == [
        (year, country / f"reference_{year}.tif") for year in (2018, 2021)
    ]


def test_one_reference_map_for_several_years_is_refused(country, tmp_path):
    with pytest.raises(UserError, match=r"reference\.tif for several years.*\{year\}"):
        load_years(toml_of(country, tmp_path), [2018, 2021])
    assert len(load_years(None, [2018, 2021, 2022])) == 3  # simulated years have a map each


def test_years_of_different_regions_are_refused(country, tmp_path):
    for year, region in ((2018, "here"), (2021, "there")):
        toml_of(country, tmp_path, year, region).rename(tmp_path / f"{year}.toml")
    with pytest.raises(UserError, match="one region at a time"):
        load_years(tmp_path / "{year}.toml", [2018, 2021])


def test_without_years_a_name_for_several_files_is_refused(monkeypatch, capsys):
    code, said = sitscube(monkeypatch, capsys, "compare", "--config", "italy-{year}.toml")
    assert code == 1
    assert "name the years" in said


def test_a_year_without_a_reference_map_is_refused(country, tmp_path, monkeypatch, capsys):
    toml = toml_of(country, tmp_path)
    toml.write_text(toml.read_text().replace("reference.tif", "none.tif"))
    code, said = sitscube(monkeypatch, capsys, "compare", "--config", toml, "--out", tmp_path / "out")
    assert code == 1
    assert "none.tif" in said


def test_methods_are_made_from_the_configuration(country, tmp_path):
    config = small_config(country, tmp_path, training__clusters=3, training__batch_size=77, training__w_gen=0.5)
    made = {method.key: method.make(config, 4).get_params() for method in choose_methods(METHODS)}
    assert all(one["n_clusters"] == 3 and one["random_state"] == 4 for one in made.values())
    assert (made["joint"]["w_gen"], made["joint-w0"]["w_gen"]) == (0.5, 0)
    assert made["joint"]["batch_size"] == made["mean-dec"]["batch_size"] == 77
    assert made["crli"]["n_iter"] == made["joint"]["n_iter"] == 30
    assert [method.key for method in choose_methods([])] == ["joint", "joint-w0", "mean-dec", "crli"]


def test_the_report_knows_which_methods_have_no_network_that_fills():
    assert set(FILLED_PLAINLY) == {method.key for method in METHODS.values() if not method.network}


def test_without_given_iterations_crli_trains_as_long_as_it_needs():
    (config,) = load_years(None, [2018])
    assert METHODS["crli"].make(config, 0).get_params()["n_iter"] == CRLI().n_iter


def test_nothing_compared_is_no_section(country, tmp_path):
    config = small_config(country, tmp_path)
    assert comparison_section(config) is None
    folder = config.region_folder / "comparison"
    folder.mkdir(parents=True)
    (folder / "fillings.json").write_text("[]")
    for text in ("[{", "{}", "[1]"):
        (folder / "runs.json").write_text(text)
        with pytest.raises(UserError, match=r"runs\.json is damaged"):
            comparison_section(config)


def test_a_map_of_elsewhere_is_named(country, finished, tmp_path):
    config = small_config(country, finished.out, ingest__shard=16, ingest__chunk=8, training__sample_pixels=100)
    trial = YearTrial(config, 0.0, InProcess(), Silent())
    elsewhere = zarr.open_group(reduce_reference(Run(config), _grid(config)).outputs[0], mode="r")
    copy = zarr.create_group(tmp_path / "reference.zarr", zarr_format=3)
    copy.create_array("season", data=np.full_like(elsewhere["season"][:], 255))
    trial._reference = tmp_path / "reference.zarr"
    estimator = METHODS["kmeans-mean"].make(config, 0)
    estimator.fit(trial.series)
    with pytest.raises(UserError, match="another region"):
        trial.evaluate(estimator)


def _grid(config):
    from pipeline.cube import layout, stores

    return layout.read_grid(stores.open_to_read(config.cube))

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.cube import layout, stores
from pipeline.runtime.executor import InProcess
from pipeline.stages.evaluate import evaluate, read_accuracy
from pipeline.stages.publish import publish
from pipeline.stages.run import run
from tests.support.small_country import make_country, small_config, stamps


def test_accuracy_counts_the_cells_of_map_and_reference(finished):
    accuracy = read_accuracy(finished)
    assert accuracy is not None
    label = layout.array(stores.open_to_read(finished.map), "label")[:]
    season = layout.array(stores.open_to_read(finished.reference_grid), "season")[:]
    both = (label != 255) & (season != 255)
    expected = [[int((both & (label == k) & (season == s)).sum()) for s in (0, 1)] for k in (0, 1)]
    assert accuracy["confusion"] == expected
    assert accuracy["cells"] == both.sum()
    assert accuracy["overall_accuracy"] == np.trace(expected) / both.sum()
    assert sum(sum(crop["cells_by_label"]) for crop in accuracy["crops"]) == both.sum()
    assert sum(map(sum, accuracy["kmeans"]["confusion"])) == both.sum()


def test_the_small_country_is_mapped(finished):
    accuracy = read_accuracy(finished)
    assert accuracy is not None
    assert accuracy["overall_accuracy"] > 0.95


def test_evaluating_twice_does_nothing(finished):
    assert not evaluate(finished).fresh


def test_the_report_needs_no_network_and_no_other_file(finished):
    html = (finished.report / "index.html").read_text()
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", html)
    assert all(f'id="{place}"' in html for place in re.findall(r'href="#(\w+)"', html))
    assert "http" not in re.sub(r"data:image/png;base64,[^\"]+", "", html)
    assert html.count("data:image/png;base64,") == len(list(finished.report.glob("*.png")))
    assert f"{read_accuracy(finished)['cells']:,} cells" in html
    assert (finished.report / "map.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_simulated_says_so_everywhere(country, tmp_path):
    import h5py

    folder = tmp_path / "simulated"
    make_country(folder)
    for path in (folder / "granules").iterdir():
        with h5py.File(path, "r+") as file:
            file.attrs["Simulated"] = np.bytes_("yes: a test")
    config = small_config(folder, tmp_path / "out")
    run(config, InProcess(), Silent())
    for store in (config.cube, config.map, config.clusters):
        assert layout.attributes(stores.open_to_read(store))["simulated"] == "yes: a test"
    assert layout.attributes(stores.open_to_read(config.cube))["source"] == "VNP15A2H.002 (simulated: a test)"
    assert json.loads((config.report / "accuracy.json").read_text())["simulated"] == "yes: a test"
    assert "<b>Simulated.</b>" in (config.report / "index.html").read_text()


def test_a_simulated_reference_is_called_so(country, finished, tmp_path):
    import shutil

    import rasterio

    from pipeline.stages.evaluate import accuracy_lines

    assert "(simulated)" not in accuracy_lines(read_accuracy(finished))[0]
    shutil.copy(country / "reference.tif", tmp_path / "reference.tif")
    with rasterio.open(tmp_path / "reference.tif", "r+") as file:
        file.update_tags(Simulated="yes: a test")
    config = small_config(country, tmp_path / "out", reference__path=tmp_path / "reference.tif")
    run(config, InProcess(), Silent())
    assert layout.attributes(stores.open_to_read(config.reference_grid))["simulated"] == "yes: a test"
    assert "(simulated)" in accuracy_lines(read_accuracy(config))[0]


def test_figures_of_an_earlier_map_are_not_shown_for_a_new_one(country, tmp_path):
    from pipeline.stages.infer.stage import infer
    from pipeline.stages.train.stage import train

    config = small_config(country, tmp_path)
    run(config, InProcess(), Silent())
    other = small_config(country, tmp_path, seed=1)
    train(other)
    infer(other)
    assert read_accuracy(other) is None
    publish(other)
    assert "overall accuracy" not in (other.report / "index.html").read_text()
    assert evaluate(other).fresh
    publish(other)
    assert "overall accuracy" in (other.report / "index.html").read_text()


def test_the_report_without_a_reference_says_so(country, tmp_path):
    config = small_config(country, tmp_path, reference__path=None)
    stages = run(config, InProcess(), Silent())
    assert "evaluate" not in [result.stage for result in stages]
    assert "no reference map" in (config.report / "index.html").read_text()


@pytest.fixture(scope="module")
def two_years(tmp_path_factory):
    """2021 first and 2018 after it."""
    folder = tmp_path_factory.mktemp("years")
    out = folder / "out"
    configs = []
    for year in (2021, 2018):
        make_country(folder / str(year), year=year, seed=year)
        configs.append(small_config(folder / str(year), out, year=year))
        run(configs[-1], InProcess(), Silent())
    return configs


def test_the_cluster_cube_holds_every_year_in_order(two_years):
    cube = xr.open_zarr(two_years[0].clusters, consolidated=False, mask_and_scale=False)
    assert cube.year.values.tolist() == [2018, 2021]
    for config in two_years:
        label = layout.array(stores.open_to_read(config.map), "label")[:]
        np.testing.assert_array_equal(cube.label.sel(year=config.year).values, label)
    assert cube.attrs["complete"]


def test_publishing_again_does_nothing_and_leaves_no_strays(two_years):
    first, earlier = two_years  # 2018 was added last: the report of 2021 now tells of the change since then
    assert publish(first).fresh
    for config in two_years:
        before = stamps(config.region_folder)
        assert not publish(config).fresh
        assert stamps(config.region_folder) == before
    of_region = {"2018", "2021", "change", "clusters.zarr", "collection.json"}
    assert {path.name for path in earlier.region_folder.iterdir()} == of_region


def test_another_grid_is_refused_and_the_cube_kept(two_years, tmp_path):
    year = two_years[1]
    make_country(tmp_path / "2022", year=2022)
    other = small_config(tmp_path / "2022", year.out, year=2022, ingest__grid="sinusoidal-927m")
    with pytest.raises(UserError, match="another --out"):
        run(other, InProcess(), Silent())
    assert xr.open_zarr(year.clusters, consolidated=False).year.values.tolist() == [2018, 2021]


def with_outputs(config, *outputs):
    return config.model_copy(update={"inference": config.inference.model_copy(update={"outputs": outputs})})


@pytest.fixture
def copied(finished, tmp_path):
    """A finished year in an output folder of the test's own."""
    shutil.copytree(finished.out, tmp_path / "out")
    return finished.model_copy(update={"out": tmp_path / "out"})


def test_a_year_without_confidence_and_filled_series_is_published_and_completed_later(copied, finished):
    run(with_outputs(copied, "label"), InProcess(), Silent())
    years = stores.open_to_read(copied.clusters)
    assert (layout.array(years, "confidence")[:] == 255).all()
    whole = stores.open_to_read(finished.clusters)
    np.testing.assert_array_equal(layout.array(years, "label")[:], layout.array(whole, "label")[:])
    assert "Filled series" not in (copied.report / "index.html").read_text()
    assert not (copied.report / "series.png").exists()
    results = {result.stage: result.fresh for result in run(copied, InProcess(), Silent())}
    assert results["infer"]
    assert results["publish"]
    assert not results["train"]
    years = stores.open_to_read(copied.clusters)
    np.testing.assert_array_equal(layout.array(years, "confidence")[:], layout.array(whole, "confidence")[:])
    assert "Filled series" in (copied.report / "index.html").read_text()


def test_a_map_without_labels_is_neither_compared_nor_published(copied):
    filled = with_outputs(copied, "filled")
    assert [result.stage for result in run(filled, InProcess(), Silent())][-1] == "infer"
    for stage in (evaluate, publish):
        with pytest.raises(UserError, match=r"inference\.outputs"):
            stage(filled)

import json
import shutil

import numpy as np
import pytest
from shapely.geometry import box, mapping

from pipeline.accuracy.table import to_csv
from pipeline.base.errors import UserError
from pipeline.base.files import write_text
from pipeline.cube import layout, stores
from pipeline.runtime.executor import InProcess
from pipeline.stages.evaluate import evaluate, evaluate_fingerprint, read_accuracy
from tests.support.small_country import small_config


def regions_file(path, **boxes):
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": mapping(each)} for name, each in boxes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture
def copied(finished, country, tmp_path):
    """The finished run, in a place where tests may change it, with two regions."""
    path = regions_file(tmp_path / "halves.geojson", west=box(8, 44, 9.25, 46), east=box(9.25, 44, 10, 46))
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    settings = {"ingest__shard": 16, "ingest__chunk": 8, "evaluation__regions": path}
    return small_config(country, out, evaluation__sample_size=300, evaluation__region_sample_size=100, **settings)


def test_figures_are_written_whole_as_json_and_table_and_made_once(copied):
    result = evaluate(copied)
    assert result.fresh
    written = json.loads((copied.report / "accuracy.json").read_text())
    assert written == result.facts == read_accuracy(copied)
    assert (copied.report / "accuracy.csv").read_text() == to_csv(written)
    assert not evaluate(copied).fresh
    (copied.report / "accuracy.csv").unlink()
    assert evaluate(copied).fresh


def test_a_table_that_is_not_of_the_figures_is_written_again(copied):
    evaluate(copied)
    before = (copied.report / "accuracy.csv").read_text()
    (copied.report / "accuracy.csv").write_text(before.replace("winter", "spring"))
    assert evaluate(copied).fresh
    assert (copied.report / "accuracy.csv").read_text() == before


def test_a_kill_between_table_and_figures_leaves_the_figures_as_they_were(copied, monkeypatch):
    before = evaluate(copied).facts
    other = copied.model_copy(update={"evaluation": copied.evaluation.model_copy(update={"sample_size": 200})})

    def killed(path, text):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr("pipeline.stages.evaluate.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(other)
    monkeypatch.undo()
    assert read_accuracy(copied) == before
    assert evaluate(copied).fresh  # the table on the disk is of other figures
    assert (copied.report / "accuracy.csv").read_text() == to_csv(before)


def test_figures_of_an_earlier_version_do_not_count(copied):
    path = copied.report / "accuracy.json"
    figures = evaluate(copied).facts
    path.write_text(json.dumps({**figures, "version": figures["version"] - 1}))
    assert read_accuracy(copied) is None
    assert evaluate(copied).fresh


def test_areas_by_region_are_of_the_cells_that_lie_in_it(copied):
    accuracy = evaluate(copied).facts
    label = layout.array(stores.open_to_read(copied.map), "label")[:]
    geobox = layout.read_grid(stores.open_to_read(copied.map)).geobox
    rows, columns = np.nonzero(label != 255)
    x, y = geobox.transform @ (columns + 0.5, rows + 0.5)
    lon, _ = geobox.crs.transformer_to_crs("EPSG:4326")(x, y)
    west, east = accuracy["design_based"]["regions"]
    assert sum(west["mapped_cells"]) == (lon < 9.25).sum()
    assert sum(east["mapped_cells"]) == (lon > 9.25).sum()
    assert sum(west["sampled"]) == 100
    assert sum(accuracy["design_based"]["country"]["sampled"]) == 300
    assert accuracy["design_based"]["cell_km2"] == 1
    assert accuracy["design_based"]["equal_area"]


class Backwards(InProcess):
    """Hands shards out in the other order."""

    def run(self, function, items, *, name, gpu=False):
        return super().run(function, list(items)[::-1], name=name, gpu=gpu)


def test_the_sample_does_not_depend_on_the_order_of_shards(copied):
    first = evaluate(copied).facts
    (copied.report / "accuracy.json").unlink()
    assert evaluate(copied, Backwards()).facts == first


def test_regions_sizes_and_seed_decide_whether_figures_are_made_again(copied, tmp_path):
    marks = {evaluate_fingerprint(copied, "map", "reference")}
    for changed in ({"sample_size": 301}, {"region_sample_size": 101}, {"region_name": "name"}, {"regions": None}):
        evaluation = copied.evaluation.model_copy(update=changed)
        marks.add(evaluate_fingerprint(copied.model_copy(update={"evaluation": evaluation}), "map", "reference"))
    marks.add(evaluate_fingerprint(copied.model_copy(update={"seed": 7}), "map", "reference"))
    regions_file(copied.evaluation.regions, all=box(8, 44, 10, 46))
    marks.add(evaluate_fingerprint(copied, "map", "reference"))
    assert len(marks) == 7


def test_regions_that_cannot_be_used_stop_evaluation_before_any_work(copied):
    copied.evaluation.regions.write_text("no json")
    with pytest.raises(UserError, match=r"halves\.geojson are no GeoJSON"):
        evaluate(copied)
    copied.evaluation.regions.unlink()
    with pytest.raises(UserError, match=r"halves\.geojson"):
        evaluate(copied)


def test_a_reference_without_a_legend_is_refused(copied):
    reference = stores.open_to_write(copied.reference_grid)
    reference.attrs.update({"classes": []})
    with pytest.raises(UserError, match="does not say what its codes mean"):
        evaluate(copied)

import pickle

import pytest
from pydantic import ValidationError

from pipeline.cube.stores import open_to_read
from pipeline.sources.raster.settings import BitRule, Raster
from tests.support.small_rasters import (
    FPAR,
    source,
)

CLEAR = {"name": "clear", "bits": (1, 2), "accept": (0, 3)}


def test_sources_are_sent_to_workers_and_know_themselves_again(tmp_path):
    rasters = source(tmp_path, "f_%Y%j.tif", quality=({"band": 2, "rules": (CLEAR,)},))
    other = pickle.loads(pickle.dumps(rasters))
    assert other.settings() == rasters.settings()
    assert other.channels == rasters.channels
    moved = source(tmp_path / "elsewhere", "f_%Y%j.tif", quality=({"band": 2, "rules": (CLEAR,)},))
    assert moved.settings() == rasters.settings()
    assert source(tmp_path, "f_%Y%j.tif").settings() != rasters.settings()


def test_the_cube_is_told_what_it_is_made_of():
    rules = (CLEAR,)
    about = source("data", "f_%Y%j.tif", quality=({"name": "QC", "files": ("q_%Y%j.tif",), "rules": rules},)).about(())
    assert about == {
        "source": "rasters: fpar of f_%Y%j.tif",
        "qc_policy": "bit rules",
    }
    assert source("data", "f_%Y%j.tif").about(())["qc_policy"] == "none"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"files": ("f_%m.tif",)}, "make no date"),
        ({"files": ()}, "files is missing"),
        ({"channels": ()}, "go together"),
        ({"channels": (FPAR, FPAR)}, "names of their own"),
        ({"channels": (FPAR | {"valid_range": (5, 5)},)}, "smallest and the largest"),
        ({"channels": (FPAR | {"name": "mean_x"},)}, "that of another array"),
        ({"channels": (FPAR | {"step": 1e-9},)}, "too fine"),
        ({"channels": (FPAR | {"step": 1e9},)}, "too coarse"),
        ({"channels": (FPAR | {"valid_range": (0, float("inf"))},)}, "finite"),
        ({"quality": ({"name": "fpar", "rules": (CLEAR,)},)}, "names of their own"),
        ({"quality": ({"rules": (CLEAR, CLEAR)},)}, "rules need names"),
        ({"quality": ({"rules": (CLEAR | {"name": "accepted"},)},)}, "rules need names"),
        ({"quality": ({"rules": (CLEAR | {"name": "code 7"},)},)}, "rules need names"),
        ({"quality": ({"rules": ()},)}, "at least 1"),
        ({"crs": "EPSG:1"}, "no coordinate reference system"),
        ({"band_date": "%Y"}, "holds no date"),
        ({"band_date": "%Y%j", "quality": ({"rules": (CLEAR,)},)}, "files of its own"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Raster(**({"folder": "data", "files": ("f_%Y%j.tif",), "channels": (FPAR,)} | settings))


@pytest.mark.parametrize("rule", [{"accept": (4,)}, {"accept": (-1,)}, {"least": 4}, {"least": 2, "most": 1}])
def test_rules_that_nothing_can_pass_are_refused(rule):
    with pytest.raises(ValidationError, match="some of these must pass"):
        BitRule(name="clear", bits=(1, 2), **rule)


def test_no_channel_can_take_the_place_of_another_array(finished):
    arrays = {name for store in (finished.cube, finished.map) for name, _ in open_to_read(store).members()} - {"fpar"}
    assert len(arrays) > 15
    for name in sorted(arrays):
        with pytest.raises(ValidationError, match="that of another array"):
            Raster(folder="data", files=("f_%Y%j.tif",), channels=(FPAR | {"name": name},))

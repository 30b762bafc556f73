"""The cube that inference is tested and measured on is what the pipeline would have made, and looks like real FPAR."""

import zlib

import numpy as np
import pytest

from benchmarks.synthetic_cube import make_cube, make_model, make_outline, side
from pipeline.config.config import load_config
from pipeline.cube import layout, stores
from pipeline.cube.masks import count_cells
from pipeline.cube.series import mapped_series
from pipeline.cube.trained_model import fitting_model
from pipeline.stages.prepare import layers, prepare
from tests.support.synthetic_country import chunks

SHARES = {0.0: 0, 0.2: 205, 1.0: 1024}  # of a block of 32 x 32 parcels


@pytest.fixture
def config(tmp_path):
    (tmp_path / "empty").mkdir()
    return load_config(
        year=2018, out=tmp_path / "out", ingest__granules=tmp_path / "empty", preparation__cropland="biome",
        region__name="square", region__outline=tmp_path / "outline.geojson",
    )  # fmt: skip


def test_prepare_makes_the_same_of_its_observations(config):
    grid = make_cube(config, 4, 32, chunk=16)
    make_outline(grid, config.region.outline)
    names = [layer.name for layer in layers(())] + ["mean_fpar"]
    made = {name: layout.array(stores.open_to_read(config.cube), name)[:] for name in names}
    assert prepare(config).fresh
    for name, values in made.items():
        np.testing.assert_array_equal(layout.array(stores.open_to_read(config.cube), name)[:], values, err_msg=name)


@pytest.mark.parametrize("share", SHARES)
def test_the_share_of_mapped_cells_is_the_one_asked_for(config, share):
    make_cube(config, 4, 32, chunk=16, mapped_share=share)
    counts = count_cells(stores.require(config.cube, "prepare", "prepare"), "mask")
    assert set(counts.values()) == {SHARES[share]}


def test_every_shard_holds_series_of_its_own_and_they_are_the_same_each_time(config, tmp_path):
    make_cube(config, 9, 32, chunk=16)
    found = {name: digest for name, digest in chunks(config.cube).items() if name.startswith("fpar/")}
    assert len(set(found.values())) == len(found) == 9
    again = config.model_copy(update={"out": tmp_path / "again"})
    make_cube(again, 9, 32, chunk=16)
    assert chunks(again.cube) == chunks(config.cube)
    make_cube(again, 9, 32, chunk=16, seed=1)
    assert chunks(again.cube) != chunks(config.cube)


def test_it_compresses_as_real_fpar_does(config):
    grid = make_cube(config, 1, 512)
    stored = sum(path.stat().st_size for path in config.cube.glob("fpar/c/**/*") if path.is_file())
    assert 0.40 < stored / (46 * grid.shape[0] * grid.shape[1]) < 0.50
    fpar = layout.array(stores.open_to_read(config.cube), "fpar")[:, :128, :128]
    assert 0.35 < len(zlib.compress(fpar.tobytes())) / fpar.size < 0.6  # so it is with another codec


def test_its_gaps_are_those_of_a_winter_under_clouds(config):
    make_cube(config, 1, 128, mapped_share=1.0)
    series, _ = mapped_series(stores.open_to_read(config.cube), (slice(0, 128), slice(0, 128)))
    gaps = np.isnan(series[..., 0]).mean(axis=0)
    assert gaps[:8].min() > 0.4
    assert gaps[15:30].max() < 0.3
    assert not np.isnan(series).all(axis=1).any()


def test_the_model_fits_and_uses_both_labels(config):
    make_cube(config, 1, 64, chunk=32, mapped_share=1.0)
    make_model(config)
    cube = stores.open_to_read(config.cube)
    series, _ = mapped_series(cube, (slice(0, 64), slice(0, 64)))
    labels = fitting_model(config.model, cube).predict(series)
    assert 0.2 < labels.mean() < 0.8


@pytest.mark.parametrize(("n", "expected"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (16, (4, 4)), (256, (16, 16))])
def test_shards_are_laid_out_as_a_square(n, expected):
    assert side(n) == expected


def test_shards_that_no_block_fills_are_refused(config):
    with pytest.raises(ValueError, match="blocks of 256"):
        make_cube(config, 1, 300)

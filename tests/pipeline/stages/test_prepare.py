import numpy as np
import pytest

from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.grid.polygons import inside, read_outline
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.prepare import prepare
from tests.support.small_country import WOOD, crop_code, small_config


def read(config, *names):
    cube = stores.open_to_read(config.cube)
    return [layout.array(cube, name)[:] for name in names]


def test_counts_means_and_mask_are_exact(finished):
    fpar, n_observed, mean, mask = read(finished, "fpar", "n_observed", "mean_fpar", "mask")
    observed = fpar != 255
    np.testing.assert_array_equal(n_observed, observed.sum(0))
    some = n_observed > 0
    expected = np.ma.masked_array(fpar, ~observed).mean(0)
    np.testing.assert_array_equal(mean[some], np.rint(expected[some]).astype(np.uint8))
    assert (mean[~some] == 255).all()
    geobox = layout.read_grid(stores.open_to_read(finished.cube)).geobox
    x, y = np.meshgrid(*(geobox.coordinates[name].values for name in ("x", "y")))
    cropland = inside(geobox, read_outline(finished.region.outline)) & (crop_code(x, y) != WOOD) & some
    np.testing.assert_array_equal(mask, cropland)


def test_gaps_and_the_first_and_last_date_are_exact(finished):
    names = ("fpar", "observed", "longest_gap", "first_observed", "last_observed", "train_mask", "mask")
    fpar, observed, longest, first, last, train, mask = read(finished, *names)
    np.testing.assert_array_equal(observed, fpar != 255)
    for y, x in [(0, 0), (11, 30), (20, 20), (33, 7)]:
        days = 8 * np.flatnonzero(observed[:, y, x]) + 1
        if not len(days):
            assert (longest[y, x], first[y, x], last[y, x]) == (46, 65535, 65535)
            continue
        assert (first[y, x], last[y, x]) == (days[0], days[-1])
        runs = "".join("x" if seen else "." for seen in observed[:, y, x]).split("x")
        assert longest[y, x] == max(map(len, runs))
    assert longest.max() <= 46
    np.testing.assert_array_equal(train, mask)


def test_cells_observed_too_seldom_are_neither_mapped_nor_trained_on(country, tmp_path):
    few = {"preparation__min_observations": 33, "preparation__min_train_observations": 36}
    config = small_config(country, tmp_path, **few)
    ingest(config)
    facts = prepare(config).facts
    n, mask, train = read(config, "n_observed", "mask", "train_mask")
    assert n[mask == 1].min() == 33
    assert n[train == 1].min() == 36
    assert 0 < facts["cells_to_train_on"] == train.sum() < facts["mapped_cells"] == mask.sum()
    assert prepare(small_config(country, tmp_path)).facts["mapped_cells"] > facts["mapped_cells"]


def test_without_a_reference_the_biome_decides(country, tmp_path):
    config = small_config(country, tmp_path, reference__path=None)
    ingest(config)
    result = prepare(config)
    assert result.facts["cropland"] == "biome"
    (share, mask, n_observed) = read(config, "crop_biome", "mask", "n_observed")
    region = inside(layout.read_grid(stores.open_to_read(config.cube)).geobox, read_outline(config.region.outline))
    np.testing.assert_array_equal(mask == 1, region & (share >= 50) & (share != 255) & (n_observed > 0))
    assert 0 < mask.sum() < region.sum()  # there are woods


def test_all_cells_of_the_region(country, tmp_path):
    config = small_config(country, tmp_path, preparation__cropland="all")
    ingest(config)
    result = prepare(config)
    (mask, n_observed) = read(config, "mask", "n_observed")
    region = inside(layout.read_grid(stores.open_to_read(config.cube)).geobox, read_outline(config.region.outline))
    np.testing.assert_array_equal(mask == 1, region & (n_observed > 0))
    assert result.facts["mapped_cells"] == mask.sum()


def test_another_rule_prepares_anew_and_the_same_does_nothing(country, tmp_path):
    config = small_config(country, tmp_path)
    ingest(config)
    assert prepare(config).fresh
    assert not prepare(config).fresh
    assert prepare(small_config(country, tmp_path, preparation__cropland="all")).fresh
    assert not ingest(config).fresh


def test_without_a_cube_the_message_says_what_to_run(config):
    with pytest.raises(UserError, match="sitscube ingest"):
        prepare(config)


def test_a_named_reference_that_is_not_there_is_an_error(country, tmp_path):
    config = small_config(country, tmp_path, reference__path=tmp_path / "none.tif")
    ingest(config)
    with pytest.raises(UserError, match=r"none\.tif"):
        prepare(config)


def test_a_region_without_any_cropland_is_said(country, tmp_path):
    """The granules are all sea: everything is fill."""
    from datetime import date, timedelta

    from pipeline.base.calendar import DAYS_OF_YEAR
    from pipeline.sources.simulated.granules import granule_name, write_granule
    from tests.support.small_country import TILE

    (tmp_path / "sea").mkdir()
    for day in DAYS_OF_YEAR:
        first = date(2018, 1, 1) + timedelta(days=day - 1)
        write_granule(tmp_path / "sea" / granule_name(TILE, first), TILE, first, {})
    config = small_config(country, tmp_path / "out", ingest__granules=tmp_path / "sea")
    ingest(config)
    with pytest.raises(UserError, match="no cell is left to map"):
        prepare(config)


def test_a_damaged_object_of_the_cube_is_named_with_the_way_out(config):
    ingest(config)
    stored = config.cube / "fpar" / "c" / "0" / "1" / "1"
    content = bytearray(stored.read_bytes())
    content[:200] = bytes(200)
    content[-200:] = bytes(200)
    stored.write_bytes(content)
    with pytest.raises(UserError, match=r"y1x1: UserError: .*cube\.zarr is damaged in fpar, rows 16 to 32") as caught:
        prepare(config)
    assert "remove it and run again" in str(caught.value)


def test_train_before_prepare_says_to_prepare(config):
    from pipeline.stages.train.stage import train

    ingest(config)
    with pytest.raises(UserError, match="not ready: run `sitscube prepare`"):
        train(config)

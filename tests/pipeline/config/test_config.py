from pathlib import Path

import pytest

from pipeline.base.errors import UserError
from pipeline.config.config import Config, key_paths, load_config


@pytest.fixture
def toml(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "sitscube.toml"
        path.write_text(text)
        return path

    return write


def test_command_line_beats_environment_beats_file_beats_default(toml, monkeypatch):
    file = toml("year = 2019\nseed = 1\n[training]\niterations = 10\nbatch_size = 11\nsample_pixels = 12\n")
    monkeypatch.setenv("SITSCUBE_TRAINING__BATCH_SIZE", "21")
    monkeypatch.setenv("SITSCUBE_TRAINING__SAMPLE_PIXELS", "22")
    config = load_config(file, training__sample_pixels=32)
    training = config.training
    assert (training.iterations, training.batch_size, training.sample_pixels) == (10, 21, 32)
    assert (config.year, config.seed, training.target_interval) == (2019, 1, 140)


def test_a_value_given_as_none_counts_as_not_given(toml):
    assert load_config(toml("year = 2021"), year=None).year == 2021


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("yaer = 2018", "yaer"),
        ("[training]\niteration = 3", "training.iteration"),
        ('[ingest]\nqc = "lenient"', "lenient"),
        ("year = 1899", "1899"),
        ('[ingest]\ngrid = "epsg4326"', "epsg3035-1km"),
        ("[ingest]\nshard = 100\nchunk = 64", "multiple"),
    ],
)
def test_unknown_keys_and_wrong_values_are_named(toml, text, named):
    with pytest.raises(UserError, match=named):
        load_config(toml(text))


def test_every_wrong_place_is_named_at_once(toml):
    with pytest.raises(UserError) as caught:
        load_config(toml('first = 1\nsecond = 2\n[ingest]\nqc = "x"'))
    assert all(name in str(caught.value) for name in ("first", "second", "ingest.qc"))


def test_unknown_environment_variable_is_refused(monkeypatch):
    monkeypatch.setenv("SITSCUBE_TRAINING__ITERATION", "3")
    with pytest.raises(UserError, match="SITSCUBE_TRAINING__ITERATION"):
        load_config()


@pytest.mark.parametrize(("name", "content"), [("missing.toml", None), ("broken.toml", "year = = 3")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content):
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name):
        load_config(tmp_path / name)


def test_the_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_config().year = 2020


def test_cropland_by_reference_needs_a_reference(tmp_path):
    with pytest.raises(UserError, match=r"reference\.path"):
        load_config(ingest__granules=tmp_path, preparation__cropland="reference")


def test_key_paths_are_exactly_what_the_file_may_hold():
    dumped = Config().model_dump()
    flat = {f"{k}.{s}" for k, v in dumped.items() if isinstance(v, dict) for s in v}
    flat |= {k for k, v in dumped.items() if not isinstance(v, dict)}
    assert set(key_paths()) == flat


def test_paths_are_absolute_so_that_workers_elsewhere_find_them(toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(toml('out = "results"\n[ingest]\ngranules = "granules"'))
    assert (config.out, config.granules) == (tmp_path / "results", tmp_path / "granules")


def test_unknown_keys_of_items_in_lists_are_told_the_keys_beside_them(toml):
    channel = "[[raster.channels]]\nname = 'x'\nvalid_rnge = [0, 1]\nvalid_range = [0, 1]"
    with pytest.raises(UserError, match=r"valid_rnge: unknown key; .*raster\.channels\.0\.valid_range"):
        load_config(toml("[raster]\nfolder = 'x'\nfiles = ['*_%Y%j.tif']\n" + channel))
    with pytest.raises(UserError, match=r"acept: unknown key; .*ingest\.qc_rules\.0\.accept"):
        load_config(toml("[ingest]\nqc = 'custom'\nqc_rules = [{field = 'SCF_QC', acept = [0], accept = [0]}]"))

import json
from pathlib import Path

import pytest
from fsspec.registry import known_implementations
from upath import UPath

from pipeline.base.errors import UserError
from pipeline.base.files import read_bytes, remove_file, write_bytes, write_text
from pipeline.base.locations import check_reachable, is_empty, keys_below, read_many, remove_tree, to_location
from pipeline.config.config import Config, load_config


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    return tmp_path / "deep" / "out" if request.param == "disk" else to_location(f"memory://{tmp_path.name}/out")


def test_folders_are_absolute_and_urls_stay_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert to_location("out") == to_location(Path("out")) == tmp_path / "out"
    assert type(to_location("out")) is type(tmp_path)
    assert to_location(f"file://{tmp_path}/out") == tmp_path / "out"
    assert type(to_location(f"file://{tmp_path}/out")) is type(tmp_path)
    url = to_location("s3://bucket/prefix")
    assert isinstance(url, UPath)
    assert str(url / "2018" / "cube.zarr") == "s3://bucket/prefix/2018/cube.zarr"
    assert to_location(url) == url


def test_listings_at_urls_are_never_kept():
    assert not to_location("s3://bucket/prefix").fs.dircache.use_listings_cache


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://bucket/x", "nowhere is unknown"),
        ("lacking://bucket/x", "no_such_package"),
        ("simplecache::s3://bucket/x", "chains protocols"),
    ],
)
def test_urls_that_cannot_be_used_are_refused_with_the_configuration(url, said, monkeypatch):
    lacking = {"class": "no_such_package.FileSystem", "err": "no_such_package reads it"}
    monkeypatch.setitem(known_implementations, "lacking", lacking)
    with pytest.raises(UserError, match=said) as refused:
        load_config(out=url)
    assert url in str(refused.value)


def test_a_place_that_cannot_be_written_is_told_before_any_work():
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/x.*cannot be reached"):
        check_reachable(to_location("http://127.0.0.1:9/x"))


def test_checking_leaves_nothing(folder):
    check_reachable(folder)
    assert keys_below(folder) == set()


def test_files_are_written_read_and_removed(folder):
    write_text(folder / "a" / "b.json", "{}")
    write_bytes(folder / "c", b"\xff")
    write_bytes(folder / "c", b"\xfe")
    assert keys_below(folder) == {"a/b.json", "c"}
    assert (read_bytes(folder / "a" / "b.json"), read_bytes(folder / "c")) == (b"{}", b"\xfe")
    remove_file(folder / "c")
    remove_file(folder / "c")
    assert keys_below(folder) == {"a/b.json"}
    with pytest.raises(FileNotFoundError):
        read_bytes(folder / "c")


def test_many_files_are_read_at_once_and_those_not_there_left_out(folder):
    assert read_many(folder, ["1"]) == {}
    for name in ("1", "2"):
        write_bytes(folder / "r" / name, name.encode())
    assert read_many(folder / "r", ["1", "2", "3"]) == {"1": b"1", "2": b"2"}
    assert read_many(folder / "r", ["2"]) == {"2": b"2"}
    assert read_many(folder / "r", ["3"]) == {}
    assert read_many(folder / "r", []) == {}


def test_removing_keeps_what_it_is_told_to_keep(folder):
    assert is_empty(folder)
    for key in ("zarr.json", "label/zarr.json", "label/c/0/0"):
        write_bytes(folder / key, b"x")
    assert not is_empty(folder)
    remove_tree(folder, keep=frozenset({"zarr.json"}))
    assert keys_below(folder) == {"zarr.json"}
    remove_tree(folder)
    remove_tree(folder)
    assert is_empty(folder)
    assert not folder.exists()


def test_strays_alone_are_nothing(tmp_path):
    (tmp_path / "zarr.json.abc.partial").write_text("half")
    assert is_empty(tmp_path)
    assert not is_empty(tmp_path / "zarr.json.abc.partial")


def test_outputs_lie_at_the_url_and_what_needs_a_disk_lies_on_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(out="memory://bucket/out", year=2020)
    assert str(config.map) == "memory://bucket/out/italy/2020/map.zarr"
    assert config.granules == tmp_path / "out" / "simulated" / "VNP15A2H" / "2020"
    elsewhere = load_config(out="memory://bucket/out", year=2020, local=Path("scratch"))
    assert elsewhere.reference_path.is_relative_to(tmp_path / "scratch")
    assert elsewhere.comparison == tmp_path / "scratch" / "italy" / "comparison"
    assert load_config(out=tmp_path / "o").granules.is_relative_to(tmp_path / "o")
    assert load_config(out=tmp_path / "o").comparison == tmp_path / "o" / "italy" / "comparison"


def test_the_configuration_is_written_and_read_with_its_url():
    config = load_config(out="memory://bucket/out")
    assert json.loads(config.model_dump_json())["out"] == "memory://bucket/out"
    assert load_config(**{"out": config.model_dump(mode="json")["out"]}).out == config.out
    assert Config.model_json_schema()["properties"]["out"]["type"] == "string"


def test_a_url_may_stand_in_the_file_and_in_the_environment(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text('out = "memory://file/out"')
    assert str(load_config(tmp_path / "a.toml").out) == "memory://file/out"
    monkeypatch.setenv("SITSCUBE_OUT", "memory://environment/out")
    assert str(load_config(tmp_path / "a.toml").out) == "memory://environment/out"


def test_states_of_trainings_for_other_places_are_kept_apart(tmp_path):
    from pipeline.stages.train.stage import state_folder

    at = [load_config(out=out, local=tmp_path) for out in ("memory://a/o", "memory://b/o")]
    assert len({state_folder(config) for config in at}) == 2
    assert all(state_folder(config).is_relative_to(tmp_path) for config in at)
    assert state_folder(load_config(out=tmp_path)) == tmp_path / "italy" / "2018" / "training"


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/prefix",
        "s3://key:se/secret@bucket/prefix",
        "simplecache::s3://key:secret@bucket/prefix",
        "memory://bucket/prefix?X-Amz-Signature=secret",
        "nowhere://bucket/prefix?token=secret",
    ],
)
def test_a_url_with_a_password_or_a_query_is_refused_and_not_repeated(url):
    with pytest.raises(UserError, match="must hold no password") as met:
        load_config(out=url)
    assert "secret" not in str(met.value)


def test_an_address_of_a_scheduler_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="must hold no password") as met:
        load_config(cluster__scheduler="tcp://user:secret@127.0.0.1:8786")
    assert "secret" not in str(met.value)

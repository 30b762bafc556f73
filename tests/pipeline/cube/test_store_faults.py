import contextlib
import os
import shutil
import uuid

import pytest

from pipeline.base.errors import Superseded, UserError
from pipeline.base.locations import keys_below, to_location
from pipeline.cube import layout, stores
from pipeline.cube.replace import recover, replace_store
from tests.support.faults import DISK, Killed, ended_after, full_disk
from tests.support.written import GRID, LAYERS, begin, do_shard

LABEL = LAYERS[1:]
MASKS = {fingerprint: [layout.Layer("mask", {"long_name": f"mask of {fingerprint}"})] for fingerprint in ("p", "q")}
MANY = 10_000


def begin_label(path, fingerprint):
    return stores.begin(path, "ingest", fingerprint, GRID, LABEL)


def do_all(path, fingerprint, stage="ingest", name="label"):
    for shard in stores.shards_to_do(path, stage, fingerprint, [name], GRID):
        do_shard(path, shard, stage, fingerprint, [name])
    stores.finish(stores.open_to_write(path), stage, fingerprint)


def make(path, fingerprint):
    begin_label(path, fingerprint)
    do_all(path, fingerprint)


def content(path):
    return {key: (path / key).read_bytes() for key in keys_below(path)}


def check_reader(path):
    """Check that a reader gets all of the store, unless the store is marked as not complete."""
    group = stores.find(path)
    if group is not None and group.attrs["complete"]:
        fingerprint = stores.stage_fingerprint(group, "ingest")
        assert stores.shards_to_do(path, "ingest", fingerprint, ["label"], GRID) == []
        assert all(layout.array(group, name).shape for name in ("label", "y", "x"))


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path):
    """Return a function that returns another location for a store at every call."""

    def place():
        name = f"{uuid.uuid4().hex}/a.zarr"
        return tmp_path / name if request.param == "disk" else to_location(f"memory://{name}")

    return place


def copied(path, target):
    """Copy a store and return the location of the copy."""
    if hasattr(path, "fs"):
        for key in keys_below(path):
            path.fs.cp_file(f"{path.path}/{key}", f"{target.path}/{key}")
    else:
        shutil.copytree(path, target)
    return target


def killed_everywhere(before, place, monkeypatch, work):
    """Yield the stores that remain when `work` is killed before each of its changes."""
    path = copied(before, place())
    with ended_after(MANY, monkeypatch) as changes:
        work(path)
    assert changes[0] > 5
    for n in range(changes[0]):
        path = copied(before, place())
        with ended_after(n, monkeypatch), contextlib.suppress(Killed):
            work(path)
        yield path


def test_killed_anywhere_while_it_is_made_anew_a_store_is_never_half_and_is_made(place, monkeypatch):
    before, wanted = place(), place()
    make(before, "a")
    make(wanted, "b")
    for path in killed_everywhere(before, place, monkeypatch, lambda path: begin_label(path, "b")):
        check_reader(path)
        make(path, "b")
        assert content(path) == content(wanted)


def test_killed_anywhere_while_shards_are_written_a_store_is_finished_by_the_next_run(place, monkeypatch):
    before, wanted = place(), place()
    begin_label(before, "a")
    make(wanted, "a")
    for path in killed_everywhere(before, place, monkeypatch, lambda path: do_all(path, "a")):
        check_reader(path)
        make(path, "a")
        assert content(path) == content(wanted)


def test_killed_anywhere_while_layers_are_made_anew_they_are_made(place, monkeypatch):
    def add(path, fingerprint):
        stores.begin_layers(path, "prepare", fingerprint, GRID, MASKS[fingerprint])

    def make_both(path, fingerprint):
        make(path, "a")
        add(path, fingerprint)
        do_all(path, fingerprint, "prepare", "mask")

    before, wanted = place(), place()
    make_both(before, "p")
    make_both(wanted, "q")
    for path in killed_everywhere(before, place, monkeypatch, lambda path: add(path, "q")):
        group = stores.open_to_read(path)
        assert group.attrs["complete"] == (stores.stage_fingerprint(group, "prepare") == "p")
        add(path, "q")
        do_all(path, "q", "prepare", "mask")
        assert content(path) == content(wanted)


def test_killed_anywhere_while_it_is_removed_a_store_is_never_half_and_is_removed(place, monkeypatch):
    before = place()
    make(before, "a")
    for path in killed_everywhere(before, place, monkeypatch, stores.discard):
        check_reader(path)
        stores.discard(path)
        assert keys_below(path) == set()


def test_killed_anywhere_in_a_swap_the_old_or_the_new_store_is_there_after_the_next(place, monkeypatch):
    old, new = place(), place()
    make(old, "a")
    make(new, "b")
    wanted = {"a": content(old), "b": content(new)}
    beside = {}

    def work(path):
        beside[path] = copied(new, path.with_name(".a.zarr.new"))
        replace_store(beside[path], path)

    for path in killed_everywhere(old, place, monkeypatch, work):
        if path not in beside:
            continue  # killed while the other store was put beside it
        check_reader(path)
        recover(beside[path], path)
        fingerprint = stores.stage_fingerprint_at(path, "ingest")
        assert content(path) == wanted[str(fingerprint)]


def test_on_a_full_disk_nothing_half_written_is_left_and_the_store_goes_on(tmp_path, monkeypatch):
    before, wanted = tmp_path / "a.zarr", tmp_path / "w" / "a.zarr"
    begin_label(before, "a")
    make(wanted, "a")
    failed = (OSError, UserError)

    def fill(n, path):
        with ended_after(n, monkeypatch, full_disk, DISK[:1]), pytest.raises(failed) as refused:
            do_all(path, "a")
        assert not isinstance(refused.value, Superseded)

    for n in range(2 * len(GRID.shards) + 1):  # an object and a record of each, and the end
        path = copied(before, tmp_path / str(n) / "a.zarr")
        fill(n, path)
        assert not list(path.rglob("*.partial"))
        check_reader(path)
        make(path, "a")
        assert content(path) == content(wanted)


def test_a_store_that_cannot_be_made_on_a_full_disk_says_so(tmp_path, monkeypatch):
    for n in range(5):
        path = tmp_path / str(n) / "a.zarr"
        with (
            ended_after(n, monkeypatch, full_disk, DISK[:1]),
            pytest.raises(UserError, match=r"cannot write .*No space left on device.* Free space"),
        ):
            begin(path)
        begin(path)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_on_a_disk_that_is_really_full_nothing_half_written_is_left(tmp_path):
    """Use a tmpfs of 256 kB that another file fills up to different limits."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        begin_label(small / "a.zarr", "a")
        free = shutil.disk_usage(small).free
        for left in range(0, 6):
            (small / "filler").write_bytes(b"x" * max(0, free - 4096 * left))
            with contextlib.suppress(OSError, UserError):
                do_all(small / "a.zarr", "a")
            assert not list(small.rglob("*.partial"))
            check_reader(small / "a.zarr")
        (small / "filler").unlink()
        do_all(small / "a.zarr", "a")
        assert stores.open_to_read(small / "a.zarr").attrs["complete"]
    finally:
        subprocess.run(["umount", small], check=True)

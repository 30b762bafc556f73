import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.files import write_text
from pipeline.base.locations import to_location
from pipeline.base.locks import lease

HOLDS = """
import sys
from pathlib import Path
from pipeline.base import locks

with locks.hold(Path(sys.argv[1]), "sitscube run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    """A folder on a disk, and one at a URL."""
    return tmp_path / "year" if request.param == "disk" else to_location(f"memory://{tmp_path.name}/year")


@pytest.fixture
def holder(tmp_path):
    """Another process that has locked the folder on a disk."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "year")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture
def hurried(monkeypatch):
    """Leases whose times pass in an instant."""
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.02)
    monkeypatch.setattr(lease, "STALE_AFTER", 0.3)
    monkeypatch.setattr(lease, "SETTLED_AFTER", 0.01)


def in_thread(function):
    """Return what a function raises in a thread of its own, which has no lock yet."""
    raised = []

    def call():
        try:
            function()
        except UserError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return raised


def taken(folder, what="sitscube run", **options):
    def take():
        with locks.hold(folder, what, **options):
            pass

    return take


def test_the_same_code_may_hold_again_and_nothing_is_left_at_the_end(folder):
    with locks.hold(folder, "sitscube run"), locks.hold(folder, "sitscube infer"):
        locks.check()
    with locks.hold(folder, "sitscube run"):
        assert (folder / locks.NAME).exists()
    assert not (folder / locks.NAME).exists()


def test_another_thread_is_refused_and_told_who_holds(folder):
    with locks.hold(folder, "sitscube run --year 2018"):
        (error,) = in_thread(taken(folder))
    for part in ("sitscube run --year 2018", str(os.getpid()), socket.gethostname(), str(folder)):
        assert part in str(error)
    assert in_thread(taken(folder)) == []


def test_other_folders_are_free(folder):
    with locks.hold(folder, "sitscube run"):
        assert in_thread(taken(folder.parent / "2019")) == []


def test_a_folder_is_free_after_an_error(folder):
    with pytest.raises(KeyError), locks.hold(folder, "sitscube run"):
        raise KeyError
    assert in_thread(taken(folder)) == []


def test_who_waits_gets_it_afterwards(folder, monkeypatch):
    monkeypatch.setattr(locks.folder, "_PAUSE", 0.01)
    monkeypatch.setattr(locks.folder, "_PAUSE_AT_URL", 0.01)
    order = []

    def wait():
        with locks.hold(folder, "sitscube publish", wait=True):
            order.append("second")

    thread = threading.Thread(target=wait)
    with locks.hold(folder, "sitscube publish"):
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_of_many_that_wait_only_one_holds_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.folder, "_PAUSE", 0.001)
    inside, most = [], []

    def work():
        for _ in range(20):
            with locks.hold(tmp_path / "year", "sitscube publish", wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert set(most) == {1}


def test_another_process_is_refused_until_it_has_ended(tmp_path, holder):
    with pytest.raises(UserError, match=f"process {holder.pid} on"):
        taken(tmp_path / "year")()
    holder.stdin.close()
    holder.wait()
    taken(tmp_path / "year")()


def test_a_refused_process_leaves_the_owners_text_and_the_next_owner_replaces_it(tmp_path, holder):
    year = tmp_path / "year"
    text = (year / locks.NAME).read_text()
    for _ in range(2):
        with pytest.raises(UserError, match=f"process {holder.pid} on"):
            taken(year)()
    assert (year / locks.NAME).read_text() == text
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locks.hold(year, "short"):
        facts = json.loads((year / locks.NAME).read_text())
    assert (facts["what"], facts["pid"]) == ("short", os.getpid())


def test_folders_that_were_made_for_a_lock_go_with_it_where_they_are_empty(tmp_path):
    with locks.hold(tmp_path / "out" / "year", "sitscube run"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locks.hold(tmp_path / "out" / "year", "sitscube run"):
        (tmp_path / "out" / "mine").write_text("")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_the_lock_goes_with_a_killed_process(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "year" / locks.NAME).exists()
    taken(tmp_path / "year")()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write into .*file"):
        taken(tmp_path / "file" / "year")()


@pytest.fixture
def url(tmp_path):
    return to_location(f"memory://{tmp_path.name}/year")


def left_behind(url, **changed):
    """Leave a lease like a killed process."""
    with locks.hold(url, "sitscube run"):
        facts = json.loads((url / locks.NAME).read_text())
    write_text(url / locks.NAME, json.dumps(facts | changed))


def test_a_lease_of_another_machine_is_respected_while_it_is_renewed(url, hurried):
    left_behind(url, machine="elsewhere", host="elsewhere", renewed=time.time() + 60)
    with pytest.raises(UserError, match="on elsewhere"):
        taken(url)()


def test_a_lease_that_is_not_renewed_is_taken_over(url, hurried):
    left_behind(url, machine="elsewhere", renewed=time.time() - 1)
    taken(url)()
    assert not (url / locks.NAME).exists()


def test_a_lease_of_a_process_that_is_gone_from_this_machine_is_taken_over_at_once(url, hurried):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left_behind(url, pid=gone.pid, renewed=time.time() + 60)
    taken(url)()


def test_a_process_number_that_was_given_to_another_is_no_holder(url, hurried):
    left_behind(url, started=1.0, renewed=time.time() + 60)
    taken(url)()


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_lease_that_cannot_be_read_is_taken_over(url, hurried, content):
    write_text(url / locks.NAME, content)
    taken(url)()


def test_a_lease_is_renewed_while_it_is_held(url, hurried):
    with locks.hold(url, "sitscube run"):
        time.sleep(0.5)
        locks.check()
        assert in_thread(taken(url))


def test_a_run_whose_lease_was_taken_over_stops_and_leaves_it_to_the_other(url, hurried):
    with locks.hold(url, "sitscube run"):
        other = json.dumps({"token": "other", "renewed": time.time()})
        write_text(url / locks.NAME, other)
        time.sleep(0.1)
        with pytest.raises(UserError, match="no longer held by this run"):
            locks.check()
    assert (url / locks.NAME).read_text() == other


def test_a_run_that_slept_asks_before_it_goes_on(url, hurried, monkeypatch):
    """Its thread has not run yet when the machine awakes."""
    monkeypatch.setattr(lease, "RENEWED_EVERY", 60.0)
    with locks.hold(url, "sitscube run"):
        time.sleep(0.4)
        locks.check()  # nobody has taken over
        time.sleep(0.4)
        write_text(url / locks.NAME, json.dumps({"token": "other", "renewed": time.time()}))
        with pytest.raises(UserError, match="no longer held by this run"):
            locks.check()


def test_of_two_that_take_over_at_once_one_gets_it(url, monkeypatch):
    monkeypatch.setattr(lease, "SETTLED_AFTER", 0.2)
    left_behind(url, machine="elsewhere", renewed=0)
    refused, begun = [], threading.Barrier(2)

    def take():
        begun.wait()
        try:
            with locks.hold(url, "sitscube run"):
                time.sleep(0.5)
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1


def test_a_filesystem_that_cannot_create_conditionally_still_has_one_holder(url, hurried, monkeypatch):
    pipe = type(url.fs).pipe_file

    def unconditional(self, path, value, mode="overwrite", **options):
        if mode == "create":
            raise NotImplementedError
        pipe(self, path, value, **options)

    monkeypatch.setattr(type(url.fs), "pipe_file", unconditional)
    with locks.hold(url, "sitscube run"):
        assert len(in_thread(taken(url))) == 1
    taken(url)()

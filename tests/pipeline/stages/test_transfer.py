import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from pipeline.base.errors import UserError
from pipeline.base.locks import owner
from pipeline.sources.archive import Remote, Unavailable
from pipeline.stages.download import transfer
from pipeline.stages.download.stage import download
from pipeline.stages.download.transfer import scratch_folder
from tests.support.downloads import NAMES, config_for, failure, files_in

# --- interruptions


class SlowArchive:
    """An archive that sends one file at once, and the others without end."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.flowing = threading.Event()

    def search(self, *question: object) -> list[Remote]:
        return [Remote(name, "") for name in NAMES]

    def fetch(self, remote: Remote) -> Generator[bytes, None, None]:
        yield self.contents[remote.name]
        while remote.name != NAMES[0]:
            self.flowing.set()
            time.sleep(0.005)
            yield b"more"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Make Ctrl-C work also where tests run in the background, whose processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_leaves_whole_files_only_and_ends_soon(tmp_path, contents):
    config, archive = config_for(tmp_path, download__parallel=2), SlowArchive(contents)

    def interrupt() -> None:
        archive.flowing.wait()
        while not (config.granules / NAMES[0]).exists():
            time.sleep(0.005)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        download(config, archive=archive)
    assert time.monotonic() - started < 5
    assert files_in(config) == {NAMES[0]: contents[NAMES[0]]}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("download")]


def test_pauses_end_with_the_run(tmp_path):
    """One file waits for its next attempt while another one's failure ends the stage."""

    class Failing(SlowArchive):
        def fetch(self, remote: Remote) -> Generator[bytes, None, None]:
            if remote.name == NAMES[0]:
                raise Unavailable("later", pause=500)
            self.flowing.wait(0.2)
            raise OSError(errno.EACCES, "Permission denied")
            yield b""

    started = time.monotonic()
    with pytest.raises(UserError, match="Permission denied"):
        download(config_for(tmp_path, download__parallel=2), archive=Failing({}))
    assert time.monotonic() - started < 10


def test_what_killed_runs_left_is_swept_and_what_others_are_writing_is_not(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with scratch_folder(tmp_path) as own:
        machine, process, started, _ = own.name.removeprefix(".arriving-").split("-")
    assert process == str(os.getpid())
    old, new = tmp_path / ".arriving-elsewhere-1-aa", tmp_path / ".arriving-elsewhere-1-bb"
    killed = tmp_path / f".arriving-{machine}-{gone.pid}-{started}-aa"
    reused = tmp_path / f".arriving-{machine}-{process}-1.0-aa"
    alive = tmp_path / f".arriving-{machine}-{process}-{started}-aa"
    for folder in (old, new, killed, reused, alive):
        folder.mkdir()
        (folder / NAMES[0]).write_bytes(b"half a file")
    os.utime(old, (0, 0))
    with scratch_folder(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {new, alive, own}
    assert set(tmp_path.iterdir()) == {new, alive}


def test_the_folder_of_a_run_in_another_container_of_the_same_name_is_not_swept(tmp_path, monkeypatch):
    """Its process number may be unused here, or another process's."""
    here = owner.machine()
    assert socket.gethostname() in here
    theirs = []
    for pid in (os.getpid(), 2**22 + 1):  # above the largest number that Linux gives
        with monkeypatch.context() as there:
            there.setattr(owner, "machine", lambda pid=pid: f"{socket.gethostname()} another-boot pid:[{pid}]")
            there.setattr(os, "getpid", lambda pid=pid: pid)
            there.setattr(transfer, "start_time", lambda pid: 1.5)
            with scratch_folder(tmp_path) as folder:
                theirs.append(folder.rename(folder.with_name(folder.name + "0")))
    with scratch_folder(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {*theirs, own}


@pytest.mark.parametrize("age", [60, 2 * 86_400])
def test_what_earlier_versions_left_is_swept_when_it_is_old(tmp_path, age):
    """Their names have the host, which containers may share, instead of the machine."""
    left = tmp_path / f".arriving-{socket.gethostname()}-{2**22 + 1}-aa"
    left.mkdir()
    os.utime(left, (time.time() - age,) * 2)
    with scratch_folder(tmp_path):
        assert left.exists() == (age < 86_400)


def test_two_runs_on_one_folder_do_each_other_no_harm(tmp_path, contents):
    config = config_for(tmp_path)
    met = {name: threading.Barrier(2, timeout=20) for name in NAMES}

    class Halting(SlowArchive):
        def fetch(self, remote: Remote) -> Generator[bytes, None, None]:
            content = self.contents[remote.name]
            yield content[:30_000]
            met[remote.name].wait()  # both runs are now in the middle of one and the same file
            yield content[30_000:]

    results = []
    runs = [
        threading.Thread(target=lambda: results.append(download(config, archive=Halting(contents)))) for _ in range(2)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [result.facts["fetched"] for result in results] == [3, 3]
    assert files_in(config) == {name: contents[name] for name in NAMES}


# --- the disk


def test_too_little_room_is_told_before_anything_is_fetched(tmp_path, service, monkeypatch):
    usage = type("Usage", (), {"free": 2 * len(service.granules[NAMES[0]])})
    monkeypatch.setattr("pipeline.stages.download.stage.shutil.disk_usage", lambda folder: usage)
    config = config_for(tmp_path)
    message = failure(config)
    assert str(config.granules) in message
    assert "3 granules need" in message
    assert service.fetched == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_is_whole(tmp_path, contents):
    config = config_for(tmp_path, download__parallel=1)

    class Filling(SlowArchive):
        def fetch(self, remote: Remote) -> Generator[bytes, None, None]:
            if remote.name == NAMES[1]:
                (scratch,) = config.granules.glob(".arriving-*")
                (scratch / remote.name).symlink_to("/dev/full")
            assert remote.name != NAMES[2], "went on although the disk is full"
            return (piece for piece in (self.contents[remote.name],))

    with pytest.raises(UserError) as caught:
        download(config, archive=Filling(contents))
    assert f"{config.granules}: no space is left" in str(caught.value)
    assert files_in(config) == {NAMES[0]: contents[NAMES[0]]}


def test_a_target_that_is_no_folder_is_named(tmp_path, service):
    (tmp_path / "mine").write_text("")
    assert f"{tmp_path / 'mine'} cannot be written" in failure(config_for(tmp_path, ingest__granules=tmp_path / "mine"))

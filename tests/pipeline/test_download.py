import errno
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import responses
from earthdata_service import (
    LOGIN,
    METADATA,
    PASSWORD,
    TOKEN,
    USERNAME,
    EarthdataService,
    answers,
    exact,
    granule_bytes,
    name_of,
    rounded,
    whole,
)
from shapely.geometry import box, mapping

from pipeline.arrival import scratch_folder
from pipeline.calendar import DAYS_OF_YEAR
from pipeline.config import load_config
from pipeline.download import SILENCE, download
from pipeline.errors import UserError
from pipeline.sources.archive import Remote, Unavailable

NAMES = tuple(name_of(day=day) for day in (1, 9, 17))
OTHER_TILE = name_of(day=1, tile="h19v04")
IN_ONE_TILE = box(9.0, 45.0, 9.5, 45.4)


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("made")
    return {name: granule_bytes(folder, name) for name in (*NAMES, OTHER_TILE)}


@pytest.fixture
def service(contents) -> EarthdataService:
    return EarthdataService({name: contents[name] for name in NAMES})


@pytest.fixture(autouse=True)
def network(request, monkeypatch, tmp_path):
    """The service behind Earthdata's addresses, and a token in the environment; nothing else answers."""
    for name in ("EARTHDATA_USERNAME", "EARTHDATA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        if "service" in request.fixturenames:
            request.getfixturevalue("service").attach(mock)
        yield mock
        assert not [call for call in mock.calls if str(call.request.url).startswith(METADATA)]


class Listener:
    """Keeps what a stage tells."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.notes: dict[str, list[str]] = {}
        self.totals: dict[str, int] = {}

    def message(self, text: str) -> None:
        self.messages.append(text)

    @contextmanager
    def track(self, name: str, total: int):
        self.totals[name], self.notes[name] = total, []
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        list(self.notes.values())[-1].append(note)


def config_for(tmp_path: Path, outline=IN_ONE_TILE, **overrides):
    path = tmp_path / "outline.geojson"
    path.write_text(json.dumps(mapping(outline)))
    settings = {"year": 2018, "out": tmp_path / "out", "region__outline": path, "download__enabled": True}
    return load_config(**(settings | overrides))


def fetch(config, listener=None, pauses=None, **parts):
    pauses = [] if pauses is None else pauses
    return download(config, None, listener, sleep=pauses.append, **parts)


def files_in(config) -> dict[str, bytes]:
    """Everything in the folder, hidden files and folders too."""
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in config.granules.iterdir()}


def failure(config, **parts) -> str:
    with pytest.raises(UserError) as caught:
        fetch(config, **parts)
    return str(caught.value)


# --- what is fetched


def test_all_granules_of_the_year_arrive_as_they_are(tmp_path, service):
    config, listener = config_for(tmp_path), Listener()
    result = fetch(config, listener)
    assert files_in(config) == service.granules
    assert result.fresh
    assert result.outputs == (config.granules,)
    missing = [f"A2018{day:03d} h18v04" for day in DAYS_OF_YEAR[3:]]
    size = sum(map(len, service.granules.values()))
    assert result.facts == {
        "product": "VNP15A2H.002", "found": 3, "kept": 0, "fetched": 3, "bytes": size, "missing": missing
    }  # fmt: skip
    assert json.loads(json.dumps(result.facts)) == result.facts
    assert listener.totals["download"] == 3
    assert sorted(listener.notes["download"]) == list(NAMES)
    assert listener.messages == [
        "43 of 46 granules are not in the catalogue of VNP15A2H.002 and are left as gaps: "
        + ", ".join(missing[:10])
        + ", and 33 more"
    ]


def test_the_folder_that_the_configuration_names_is_the_target(tmp_path, service):
    config = config_for(tmp_path, download__enabled=False, ingest__granules=tmp_path / "mine")
    fetch(config)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == list(NAMES)


def test_every_tile_that_the_region_touches_is_asked_for_and_no_other(tmp_path, service, contents):
    """At 42 N the seam of h18v04 and h19v04 runs at 13.46 E."""
    service.granules[OTHER_TILE] = contents[OTHER_TILE]
    service.granules[name_of(tile="h17v04")] = b"never asked for"
    config = config_for(tmp_path, box(13.3, 41.9, 13.6, 42.1))
    result = fetch(config)
    assert sorted(files_in(config)) == sorted((*NAMES, OTHER_TILE))
    assert "A2018001 h19v04" not in result.facts["missing"]
    assert "A2018009 h19v04" in result.facts["missing"]
    assert len(result.facts["missing"]) == 2 * 46 - 4
    patterns = {question["readable_granule_name"][0] for question in service.questions}
    assert patterns == {"VNP15A2H.A2018*.h18v04.*", "VNP15A2H.A2018*.h19v04.*"}


@pytest.mark.parametrize(
    "stranger",
    [
        name_of(year=2017, day=361),
        name_of(year=2019, day=1),
        name_of(day=25, tile="h19v04"),
        name_of(day=25, version="001"),
        name_of(day=25, product="VJ115A2H"),
        name_of(day=26),
        "BROWSE." + name_of(day=25),
    ],
)
def test_what_the_names_say_decides_not_the_catalogue(tmp_path, service, stranger):
    service.granules[stranger], service.traps = b"a trap", (stranger,)
    config = config_for(tmp_path)
    assert fetch(config).facts["found"] == 3
    assert sorted(files_in(config)) == list(NAMES)


def test_product_and_version_come_from_the_configuration(tmp_path, service):
    twin = name_of(product="VJ115A2H", version="001")
    service.granules[twin] = granule_bytes(tmp_path, twin)
    config = config_for(tmp_path, download__product="VJ115A2H", download__version="001")
    assert fetch(config).facts["product"] == "VJ115A2H.001"
    assert list(files_in(config)) == [twin]
    assert service.questions[0]["short_name"] == ["VJ115A2H"]
    assert service.questions[0]["version"] == ["001"]


def test_the_newest_production_is_taken_and_older_ones_in_the_folder_stay(tmp_path, service, contents):
    newer = name_of(produced="2024002030405")
    service.granules[newer] = contents[NAMES[0]]
    config = config_for(tmp_path)
    config.granules.mkdir(parents=True)
    (config.granules / NAMES[0]).write_bytes(contents[NAMES[0]])
    assert fetch(config).facts["fetched"] == 3
    assert service.asked[NAMES[0]] == 0
    assert sorted(files_in(config)) == sorted((*NAMES, newer))


def test_a_year_of_which_the_catalogue_has_nothing_is_an_error(tmp_path, service):
    service.granules.clear()
    message = failure(config_for(tmp_path))
    assert "no granule of VNP15A2H.002 in 2018 for h18v04" in message
    assert "--year" in message
    assert not (tmp_path / "out").exists()


def test_nothing_is_put_among_simulated_granules(tmp_path, service):
    assert "download.enabled" in failure(config_for(tmp_path, download__enabled=False))
    assert not service.questions


# --- resuming


def test_a_second_run_fetches_nothing(tmp_path, service):
    config, listener = config_for(tmp_path), Listener()
    fetch(config)
    before = service.fetched
    result = fetch(config, listener)
    assert service.fetched == before
    assert (result.fresh, result.facts["kept"], result.facts["fetched"], result.facts["bytes"]) == (False, 3, 0, 0)
    assert listener.totals["download"] == len(listener.notes["download"]) == 3


@pytest.mark.parametrize("describe", [exact, rounded])
def test_a_damaged_file_in_the_folder_is_fetched_again(tmp_path, service, describe):
    service.describe = describe
    config, listener = config_for(tmp_path), Listener()
    fetch(config)
    (config.granules / NAMES[1]).write_bytes(service.granules[NAMES[1]][:5000])
    service.asked.clear()
    result = fetch(config, listener)
    assert dict(service.asked) == {NAMES[1]: 1}
    assert (result.facts["kept"], result.facts["fetched"]) == (2, 1)
    assert files_in(config) == service.granules
    assert any(NAMES[1] in message and "fetched again" in message for message in listener.messages)


def test_a_file_of_the_right_size_with_another_content_is_fetched_again(tmp_path, service):
    config = config_for(tmp_path)
    fetch(config)
    altered = bytearray(service.granules[NAMES[0]])
    altered[-1] ^= 1
    (config.granules / NAMES[0]).write_bytes(altered)
    assert fetch(config).facts["fetched"] == 1
    assert files_in(config) == service.granules


# --- arrival


def wrong_tile(contents):
    return whole(contents[OTHER_TILE])


def web_page(contents):
    return 200, {"Content-Type": "text/html"}, b"<html>We are being maintained.</html>"


def cut_short(contents):
    return 200, {"Content-Length": str(len(contents[NAMES[0]]))}, contents[NAMES[0]][:40_000]


def cut_short_without_length(contents):
    return 200, {}, contents[NAMES[0]][:40_000]


def one_bit_wrong(contents):
    content = bytearray(contents[NAMES[0]])
    content[-1] ^= 1
    return whole(bytes(content))


BAD_ARRIVALS = [
    (wrong_tile, rounded, "h18v04"),
    (web_page, rounded, "no HDF5"),
    (web_page, exact, "37 bytes, the catalogue says"),
    (cut_short, exact, "broke off"),
    (cut_short_without_length, rounded, "truncated"),
    (one_bit_wrong, exact, "sha256"),
    (one_bit_wrong, lambda *file: exact(*file, algorithm="MD5"), "md5"),
]


@pytest.mark.parametrize(("arrival", "describe", "reason"), BAD_ARRIVALS)
def test_a_bad_arrival_is_fetched_again(tmp_path, service, contents, arrival, describe, reason):
    service.describe = describe
    service.faults[NAMES[0]] = answers(arrival(contents))
    pauses: list[float] = []
    config = config_for(tmp_path)
    assert fetch(config, pauses=pauses).facts["fetched"] == 3
    assert service.asked == {NAMES[0]: 2, NAMES[1]: 1, NAMES[2]: 1}
    assert len(pauses) == 1
    assert files_in(config) == service.granules


@pytest.mark.parametrize(("arrival", "describe", "reason"), BAD_ARRIVALS)
def test_what_never_arrives_whole_is_named_and_stops_no_other(tmp_path, service, contents, arrival, describe, reason):
    service.describe = describe
    service.faults[NAMES[0]] = answers(*[arrival(contents)] * 3)
    config = config_for(tmp_path, download__attempts=3)
    message = failure(config)
    assert f"1 of 3 granules could not be fetched, the others are in {config.granules}" in message
    assert f"  {NAMES[0]}: " in message
    assert message.count(NAMES[0]) == 1
    assert reason in message
    assert service.asked[NAMES[0]] == 3
    assert sorted(files_in(config)) == list(NAMES[1:])


def test_a_file_that_the_archive_does_not_have_is_not_asked_for_again(tmp_path, service):
    service.faults[NAMES[2]] = answers((404, {}, b"no such key"))
    config = config_for(tmp_path)
    assert f"  {NAMES[2]}: the archive (data.lpdaac.earthdatacloud.nasa.gov) answers HTTP 404" in failure(config)
    assert service.asked[NAMES[2]] == 1
    facts = fetch(config).facts
    assert (facts["kept"], facts["fetched"], facts["bytes"]) == (2, 1, len(service.granules[NAMES[2]]))


def test_of_many_failures_ten_are_named_and_the_others_counted(tmp_path, service):
    names = [name_of(day=day) for day in DAYS_OF_YEAR[:12]]
    service.granules = dict.fromkeys(names, b"not looked at")
    service.faults = {name: answers((404, {}, b"")) for name in names}
    message = failure(config_for(tmp_path))
    assert sum(name in message for name in names) == 10
    assert "12 of 12" in message
    assert "and 2 more" in message


# --- the network


@pytest.mark.parametrize(
    "fault",
    [(503, {}, b"busy"), (429, {}, b"slow"), (500, {}, b""), requests.ConnectionError("x"), requests.ReadTimeout("x")],
)
def test_faults_that_pass_are_waited_out_with_growing_pauses(tmp_path, service, fault):
    service.catalogue_faults = [fault] * 3
    pauses: list[float] = []
    assert fetch(config_for(tmp_path), pauses=pauses).facts["fetched"] == 3
    assert len(pauses) == 3
    assert all(low <= pause <= 1.5 * low for low, pause in zip((1, 2, 4), pauses, strict=True))


@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_a_service_asks_for_is_kept(tmp_path, service, status):
    service.faults[NAMES[0]] = answers((status, {"Retry-After": "41"}, b""))
    pauses: list[float] = []
    fetch(config_for(tmp_path), pauses=pauses)
    assert len(pauses) == 1
    assert 41 <= pauses[0] <= 42


@pytest.mark.parametrize(
    ("fault", "reason"), [((503, {}, b""), "HTTP 503"), (requests.ConnectionError("x"), "no connection")]
)
def test_a_catalogue_that_is_down_is_named_after_all_attempts(tmp_path, service, fault, reason):
    service.catalogue_faults = [fault] * 9
    pauses: list[float] = []
    message = failure(config_for(tmp_path, download__attempts=4), pauses=pauses)
    assert "NASA's catalogue (cmr.earthdata.nasa.gov)" in message
    assert reason in message
    assert "4 attempts" in message
    assert "goes on where it stopped" in message
    assert len(pauses) == 3
    assert len(service.catalogue_faults) == 9 - 4


def test_when_the_archive_is_down_the_rest_is_not_tried(tmp_path, service):
    names = [name_of(day=day) for day in DAYS_OF_YEAR]
    service.granules = dict.fromkeys(names, b"not looked at")
    service.faults = {name: answers(*[(503, {}, b"")] * 2) for name in names}
    config = config_for(tmp_path, download__attempts=2, download__parallel=1)
    message = failure(config)
    assert "the archive (data.lpdaac.earthdatacloud.nasa.gov) answers HTTP 503" in message
    assert "goes on where it stopped" in message
    assert 2 * SILENCE <= service.fetched <= 2 * (SILENCE + 1)
    assert files_in(config) == {}


# --- who may


def test_without_credentials_the_message_says_what_to_set(tmp_path, service, monkeypatch):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    message = failure(config_for(tmp_path))
    for word in ("no credentials", "EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "netrc", "https://urs.earthdata.nasa.gov"):
        assert word in message
    assert service.fetched == 0


def test_a_token_that_the_catalogue_refuses_ends_the_run_at_once(tmp_path, service):
    service.token = "another"
    pauses: list[float] = []
    message = failure(config_for(tmp_path), pauses=pauses)
    assert "does not accept the credentials" in message
    assert "EARTHDATA_TOKEN" in message
    assert pauses == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}, b"Access denied."), ("does not accept the credentials", "EARTHDATA_TOKEN")),
        ((403, {}, b'{"error_description": "EULA Acceptance Failure"}'), ("licence", "https://urs.earthdata.nasa.gov")),
        ((303, {"Location": f"{LOGIN}/oauth/authorize"}, b""), ("does not accept the credentials", "netrc")),
        ((303, {"Location": f"{LOGIN}/approve_app?client_id=x"}, b""), ("authorize", "Authorized Apps")),
        ((401, {}, b'{"resolution_url": "https://urs.earthdata.nasa.gov/approve_app"}'), ("authorize", "LP DAAC")),
    ],
)
def test_when_the_archive_refuses_the_account_no_other_file_is_tried(tmp_path, service, answer, words):
    service.faults = {name: answers(answer) for name in NAMES}
    config, pauses = config_for(tmp_path, download__parallel=1), []
    message = failure(config, pauses=pauses)
    assert all(word in message for word in words)
    assert service.fetched <= 2
    assert pauses == []
    assert files_in(config) == {}


@pytest.mark.parametrize("way", ["environment", "netrc"])
def test_user_name_and_password_will_do(tmp_path, service, monkeypatch, way):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    if way == "environment":
        monkeypatch.setenv("EARTHDATA_USERNAME", USERNAME)
        monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    else:
        (tmp_path / "netrc").write_text(f"machine urs.earthdata.nasa.gov login {USERNAME} password {PASSWORD}\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert fetch(config_for(tmp_path)).facts["fetched"] == 3
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("scenario", ["works", "refused", "archive refuses", "password", "signed", "odd token"])
def test_secrets_are_in_no_message_and_in_no_log(tmp_path, service, network, monkeypatch, caplog, capfd, scenario):
    caplog.set_level("DEBUG")
    if scenario == "refused":
        service.token = "another"
    elif scenario == "archive refuses":
        service.faults = {name: answers((401, {}, TOKEN.encode())) for name in NAMES}
    elif scenario == "password":
        monkeypatch.delenv("EARTHDATA_TOKEN")
        monkeypatch.setenv("EARTHDATA_USERNAME", USERNAME)
        monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD + "x")
    elif scenario == "signed":
        location = "https://elsewhere.nasa.gov/x?Signature=the-secret-signature"  # nobody answers there
        service.faults = {name: answers(*[(303, {"Location": location}, b"")] * 2) for name in NAMES}
    elif scenario == "odd token":
        monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN + "\n")
    config, listener = config_for(tmp_path, download__attempts=2), Listener()
    told = ""
    try:
        fetch(config, listener)
    except UserError as error:
        told = str(error)
        causes = [error.__cause__, error.__context__ if not error.__suppress_context__ else None]
        told += "".join(map(repr, causes))
    assert (scenario == "works") == (told == "")
    told += repr(listener.messages) + repr(listener.notes) + caplog.text + "".join(capfd.readouterr())
    assert "the-secret" not in told


# --- interruptions


class SlowArchive:
    """One file comes at once; of the others, more and more, without end."""

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
        host = own.name.removeprefix(".arriving-").rsplit("-", 2)[0]
    old, new = tmp_path / ".arriving-elsewhere-1-aa", tmp_path / ".arriving-elsewhere-1-bb"
    killed, alive = tmp_path / f".arriving-{host}-{gone.pid}-aa", tmp_path / f".arriving-{host}-{os.getpid()}-aa"
    for folder in (old, new, killed, alive):
        folder.mkdir()
        (folder / NAMES[0]).write_bytes(b"half a file")
    os.utime(old, (0, 0))
    with scratch_folder(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {new, alive, own}
    assert set(tmp_path.iterdir()) == {new, alive}


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
    monkeypatch.setattr("pipeline.download.shutil.disk_usage", lambda folder: usage)
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

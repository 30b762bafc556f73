import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
import responses

from pipeline.base.errors import UserError
from pipeline.grid.sinusoidal import Tile
from pipeline.sources.archive import NotServed, Refused, Remote, Unavailable
from pipeline.sources.earthdata import http as transport
from pipeline.sources.earthdata.client import EarthdataArchive, remotes
from tests.support.downloads import connected
from tests.support.earthdata_service import (
    CATALOGUE,
    LOGIN,
    PASSWORD,
    TOKEN,
    USERNAME,
    EarthdataService,
    answers,
    name_of,
)

NAME = name_of()
TILE = Tile(18, 4)
FOLDER = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/VNP15A2H.002"
QUESTION = ("VNP15A2H", "002", 2018, TILE)


@pytest.fixture
def service() -> EarthdataService:
    return EarthdataService({NAME: bytes(range(256)) * 9000})


@pytest.fixture
def network(service, monkeypatch, tmp_path) -> Iterator[responses.RequestsMock]:
    with connected(service, monkeypatch, tmp_path) as mock:
        yield mock


def umm(*parts, links=None):
    links = [{"URL": f"{FOLDER}/{NAME}", "Type": "GET DATA"}] if links is None else links
    return {
        "GranuleUR": NAME.removesuffix(".h5"),
        "RelatedUrls": links,
        "DataGranule": {"ArchiveAndDistributionInformation": list(parts)},
    }


# --- what the catalogue says of a file


def test_size_and_checksum_are_those_of_the_file_with_that_name():
    described = umm(
        {"Name": NAME + ".dmrpp", "SizeInBytes": 1, "Checksum": {"Value": "aa", "Algorithm": "MD5"}},
        {"Name": NAME, "SizeInBytes": 4_600_000, "Checksum": {"Value": "ABCDEF", "Algorithm": "SHA-512"}},
    )
    assert remotes(described) == [
        Remote(NAME, f"{FOLDER}/{NAME}", size=4_600_000, algorithm="sha512", checksum="abcdef")
    ]


@pytest.mark.parametrize(("size", "unit", "about"), [(512, "KB", 524_288), (4.5, "MB", 4_718_592), (1, "NA", None)])
def test_a_rounded_size_serves_plans_only(size, unit, about):
    (remote,) = remotes(umm({"Name": "Not provided", "Size": size, "SizeUnit": unit}))
    assert (remote.size, remote.about, remote.algorithm) == (None, about, "")


def test_of_several_parts_none_of_which_is_the_file_nothing_is_believed():
    parts = [{"Name": name, "SizeInBytes": 7} for name in ("a.xml", "b.jpg")]
    assert remotes(umm(*parts)) == [Remote(NAME, f"{FOLDER}/{NAME}")]


def test_a_checksum_that_cannot_be_computed_is_left_out():
    (remote,) = remotes(umm({"Name": NAME, "SizeInBytes": 7, "Checksum": {"Value": "1", "Algorithm": "POSIX"}}))
    assert remote == Remote(NAME, f"{FOLDER}/{NAME}", size=7)


@pytest.mark.parametrize(
    "link",
    [
        {"URL": f"s3://lp-prod-protected/{NAME}", "Type": "GET DATA"},
        {"URL": f"http://data.lpdaac.earthdatacloud.nasa.gov/{NAME}", "Type": "GET DATA"},
        {"URL": f"https://nasa.gov.example.org/{NAME}", "Type": "GET DATA"},
        {"URL": f"https://e4ftl01.cr.usgs.gov/{NAME}.xml", "Type": "GET DATA"},
        {"URL": f"{FOLDER}/{NAME}", "Type": "USE SERVICE API"},
    ],
)
def test_only_files_over_https_from_nasa_and_usgs_are_taken(link):
    assert remotes(umm(links=[link])) == []


def test_a_granule_that_says_nothing_of_itself_has_no_files():
    assert remotes({"GranuleUR": "x"}) == []


# --- search and fetch


def test_a_search_asks_by_name_and_gives_address_size_and_checksum(network, service):
    (remote,) = EarthdataArchive().search(*QUESTION)
    assert remote.url == f"{FOLDER}/{NAME.removesuffix('.h5')}/{NAME}"
    assert remote.size == 256 * 9000
    assert remote.algorithm == "sha256"
    asked = service.questions[-1]
    assert asked["short_name"] == ["VNP15A2H"]
    assert asked["version"] == ["002"]
    assert asked["readable_granule_name"] == ["VNP15A2H.A2018*.h18v04.*"]


def test_a_search_that_finds_nothing_gives_nothing(network):
    assert EarthdataArchive().search("VNP15A2H", "002", 2019, TILE) == []


def test_a_file_comes_in_pieces_that_make_the_whole(network, service):
    archive = EarthdataArchive()
    (remote,) = archive.search(*QUESTION)
    pieces = list(archive.fetch(remote))
    assert len(pieces) == 3
    assert b"".join(pieces) == service.granules[NAME]


def test_one_login_serves_all_questions_and_files(network, monkeypatch):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_USERNAME", USERNAME)
    monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    archive = EarthdataArchive()
    for _ in range(3):
        (remote,) = archive.search(*QUESTION)
        assert b"".join(archive.fetch(remote))
    logins = [call for call in network.calls if call.request.method == "POST"]
    assert len(logins) <= 2  # Earthdata's challenge, then the answer to it


def test_netrc_entries_of_other_hosts_do_not_take_the_tokens_place(network, tmp_path):
    """The library requests would send a default entry's user name and password to every host, not the token."""
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    archive = EarthdataArchive()
    (remote,) = archive.search(*QUESTION)
    assert b"".join(archive.fetch(remote))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((400, {}, b'{"errors": ["Parameter [x] was not recognized."]}'), UserError, "HTTP 400"),
        ((401, {}, b"{}"), Refused, "does not accept the credentials"),
        ((502, {}, b""), Unavailable, "HTTP 502"),
        ((200, {}, b"<html>maintenance</html>"), Unavailable, "not the catalogue's"),
        ((200, {"CMR-Hits": "1"}, b"<html>maintenance</html>"), Unavailable, "NASA's catalogue"),
        (requests.exceptions.SSLError("x"), Unavailable, "certificate"),
        (requests.exceptions.ProxyError("x"), Unavailable, "proxy"),
        (requests.exceptions.ConnectTimeout("x"), Unavailable, "no answer"),
    ],
)
def test_what_the_catalogue_answers_decides_whether_to_ask_again(network, service, answer, kind, words):
    service.catalogue_faults = [answer] * 2
    with pytest.raises(kind, match=words):
        EarthdataArchive().search(*QUESTION)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((404, {}, b""), NotServed, "HTTP 404"),
        ((403, {}, b"<Error><Code>AccessDenied</Code></Error>"), NotServed, "HTTP 403"),
        ((403, {}, b"EULA Acceptance Failure"), Refused, "licence"),
        ((500, {}, b""), Unavailable, "HTTP 500"),
        (requests.exceptions.ConnectionError("x"), Unavailable, "no connection"),
        ((200, {"Content-Length": "9"}, b"short"), Unavailable, "broke off"),
    ],
)
def test_what_the_archive_answers_decides_whether_to_fetch_again(network, service, answer, kind, words):
    archive = EarthdataArchive()
    (remote,) = archive.search(*QUESTION)
    service.faults[NAME] = answers(answer)
    with pytest.raises(kind, match=words):
        list(archive.fetch(remote))


# --- login


@pytest.mark.parametrize(
    ("netrc", "words"),
    [
        (None, "netrc does not exist"),
        ("machine elsewhere.org login a password b\n", "netrc has no proper entry"),
        ("user kepler\n", "netrc has no proper entry"),
        ("a folder", "cannot be read"),
    ],
)
def test_what_is_wrong_with_netrc_is_said(network, monkeypatch, tmp_path, netrc, words):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    if netrc == "a folder":
        (tmp_path / "netrc").mkdir()
    elif netrc is not None:
        (tmp_path / "netrc").write_text(netrc)
    with pytest.raises(Refused, match=words) as caught:
        EarthdataArchive().search(*QUESTION)
    assert "EARTHDATA_TOKEN" in str(caught.value)


def test_a_refused_password_is_no_reason_to_try_again(network, monkeypatch):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_USERNAME", USERNAME)
    monkeypatch.setenv("EARTHDATA_PASSWORD", "wrong")
    with pytest.raises(Refused, match=r"refuses user name and password \(environment\)"):
        EarthdataArchive().search(*QUESTION)


@pytest.mark.parametrize("fault", [(503, {}, b""), requests.exceptions.ConnectionError("x")])
def test_a_login_service_that_is_down_is_a_reason_to_try_again(network, service, monkeypatch, fault):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_USERNAME", USERNAME)
    monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    service.login_faults = [fault]
    archive = EarthdataArchive()
    with pytest.raises(Unavailable, match=r"Earthdata Login \(urs.earthdata.nasa.gov\)"):
        archive.search(*QUESTION)
    assert len(archive.search(*QUESTION)) == 1


@pytest.mark.parametrize("token", [TOKEN + "\n", f" {TOKEN}", "to ken", "tök", "\x00"])
def test_a_token_that_cannot_be_one_is_refused_before_it_is_sent(network, monkeypatch, token):
    if "\x00" in token:
        monkeypatch.setattr("os.environ", {"EARTHDATA_TOKEN": token})
    else:
        monkeypatch.setenv("EARTHDATA_TOKEN", token)
    with pytest.raises(Refused, match="EARTHDATA_TOKEN holds"):
        EarthdataArchive().search(*QUESTION)
    assert len(network.calls) == 0


def test_an_empty_token_does_not_count_before_the_password(network, monkeypatch):
    monkeypatch.setenv("EARTHDATA_TOKEN", "")
    monkeypatch.setenv("EARTHDATA_USERNAME", USERNAME)
    monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
    with pytest.raises(Refused, match="EARTHDATA_TOKEN is set but empty"):
        EarthdataArchive().search(*QUESTION)


def test_earthaccess_is_imported_only_when_something_is_asked_for():
    program = (
        "import sys, pipeline.sources.earthdata.client as e; e.EarthdataArchive(); print('earthaccess' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- patience


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(transport, "TIMEOUT", (1.0, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as server, requests.Session() as session:
        session.mount("http://", transport.PatientAdapter())
        session.trust_env = False
        started = time.monotonic()
        with pytest.raises(requests.exceptions.ReadTimeout) as caught:
            session.get(f"http://127.0.0.1:{server.getsockname()[1]}/x?Signature=the-secret-signature")
        assert time.monotonic() - started < 2
    told = transport.unavailable(caught.value, "https://cmr.earthdata.nasa.gov")
    assert str(told) == "the archive (127.0.0.1): no answer within 60 s"  # and nothing of the signed address


def test_a_transfer_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setattr(transport, "TIMEOUT", (1.0, 0.2))

    def answer_half(server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        over.wait()
        connection.close()

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server, requests.Session() as session:
        thread = threading.Thread(target=answer_half, args=(server,))
        thread.start()
        session.mount("http://", transport.PatientAdapter())
        session.trust_env = False
        response = session.get(f"http://127.0.0.1:{server.getsockname()[1]}/x", stream=True)
        with response, pytest.raises(requests.exceptions.ConnectionError):
            list(response.iter_content(10))
        over.set()
        thread.join()


def test_retry_after_is_a_number_or_a_date():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert transport.seconds_asked("120") == 120
    assert 85 < transport.seconds_asked(format_datetime(later, usegmt=True)) <= 90
    assert transport.seconds_asked(format_datetime(later - timedelta(days=1))) == 0
    assert transport.seconds_asked("") == transport.seconds_asked("soon") == transport.seconds_asked("-5") == 0


def test_the_service_is_named_by_its_host_alone():
    assert transport.service_of(f"{CATALOGUE}?x=1") == "NASA's catalogue (cmr.earthdata.nasa.gov)"
    assert transport.service_of(f"{LOGIN}/profile") == "Earthdata Login (urs.earthdata.nasa.gov)"
    assert transport.service_of("https://x.cloudfront.net/a?Signature=s") == "the archive (x.cloudfront.net)"

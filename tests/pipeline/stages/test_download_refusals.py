import time

import pytest
import requests

from pipeline.base.calendar import DAYS_OF_YEAR
from pipeline.base.errors import UserError
from pipeline.stages.download.stage import SILENCE
from tests.support.downloads import NAMES, Listener, config_for, failure, fetch, files_in
from tests.support.earthdata_service import LOGIN, PASSWORD, TOKEN, USERNAME, answers, name_of

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
    message = failure(config, sleep=lambda seconds: time.sleep(0.02))
    assert "the archive (data.lpdaac.earthdatacloud.nasa.gov) answers HTTP 503" in message
    assert "goes on where it stopped" in message
    assert 2 * SILENCE <= service.fetched < len(names)
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
    assert service.fetched == 1
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
def test_secrets_are_in_no_message_and_in_no_log(tmp_path, service, monkeypatch, caplog, capfd, scenario):
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

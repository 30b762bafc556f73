"""A simulation of NASA's Earthdata at the level of HTTP: login, catalogue and file server, with chosen faults."""

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import md5, sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import requests
import responses

from pipeline.grid.sinusoidal import Tile
from pipeline.sources.simulated.granules import write_granule

TOKEN = "eyJ0eXAiOiJKV1QifQ.the-secret-token.c2lnbmF0dXJl"
USERNAME, PASSWORD = "kepler", "the-secret-password"
LOGIN = "https://urs.earthdata.nasa.gov"
CATALOGUE = "https://cmr.earthdata.nasa.gov/search/granules.umm_json"
FILES = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected"
SIGNED = "https://d1nklfio7vscoe.cloudfront.net"  # to which the file server redirects those who may have a file
METADATA = "http://169.254.169.254"

Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[[str], Answer | BaseException]  # the answer instead of a file, by its name


def name_of(year: int = 2018, day: int = 1, tile: str = "h18v04", produced: str = "2023181000000", **kind: str) -> str:
    """Return a granule's file name."""
    product, version = kind.get("product", "VNP15A2H"), kind.get("version", "002")
    return f"{product}.A{year}{day:03d}.{tile}.{version}.{produced}.h5"


def granule_bytes(folder: Path, name: str) -> bytes:
    """Return the bytes of a granule with this name, of nothing but fill."""
    product, when, tile, version, *_ = name.split(".")
    path = folder / name
    first = date(int(when[1:5]), 1, 1) + timedelta(days=int(when[5:]) - 1)
    write_granule(path, Tile.parse(tile), first, {}, attributes={"ShortName": product, "VersionID": version})
    return path.read_bytes()


@dataclass
class EarthdataService:
    """A service of granules; `attach` connects it to every address of Earthdata, and refuses all others."""

    granules: dict[str, bytes]  # by file name
    token: str = TOKEN
    describe: Callable[[str, bytes], dict[str, object]] = field(default=lambda name, content: exact(name, content))
    traps: tuple[str, ...] = ()  # names in every answer of the catalogue, asked for or not
    catalogue_faults: list[Answer | BaseException] = field(default_factory=list)  # answered first, one each
    login_faults: list[Answer | BaseException] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)  # by file name: answered first, one each
    asked: Counter[str] = field(default_factory=Counter)  # how often each file was asked for
    questions: list[dict[str, list[str]]] = field(default_factory=list)  # parameters of questions to the catalogue

    def attach(self, mock: responses.RequestsMock) -> None:
        mock.add_callback(responses.GET, re.compile(re.escape(CATALOGUE)), self._catalogue)
        mock.add_callback(responses.GET, re.compile(re.escape(FILES)), self._file)
        mock.add_callback(responses.GET, re.compile(re.escape(SIGNED)), self._signed)
        mock.add(responses.GET, f"{LOGIN}/oauth/authorize", body="<html>Earthdata Login: enter your name</html>")
        mock.add(responses.GET, f"{LOGIN}/approve_app", body="<html>Authorize an application</html>")
        mock.add_callback(responses.POST, f"{LOGIN}/api/users/find_or_create_token", self._login)

    @property
    def fetched(self) -> int:
        """Number of requests of files."""
        return self.asked.total()

    def _authorized(self, request: requests.PreparedRequest) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    def _login(self, request: requests.PreparedRequest) -> Answer:
        if self.login_faults:
            return _given(self.login_faults.pop(0))
        basic = b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {basic}":
            return 401, {}, b'{"error": "invalid_credentials", "error_description": "Invalid user credentials"}'
        return 200, {}, json.dumps({"access_token": self.token, "expiration_date": "12/31/2099"}).encode()

    def _catalogue(self, request: requests.PreparedRequest) -> Answer:
        if self.catalogue_faults:
            return _given(self.catalogue_faults.pop(0))
        if not self._authorized(request):
            return 401, {}, b'{"errors": ["Token does not exist"]}'
        asked = parse_qs(urlsplit(str(request.url)).query)
        self.questions.append(asked)
        pattern = asked["readable_granule_name"][0].replace(".", r"\.").replace("*", ".*")
        found = [
            name
            for name in sorted(self.granules)
            if name in self.traps or re.fullmatch(pattern, name.removesuffix(".h5"))
        ]
        start = int(request.headers.get("cmr-search-after", "0"))
        page = found[start : start + int(asked["page_size"][0])]
        headers = {"CMR-Hits": str(len(found))}
        if page:
            headers["cmr-search-after"] = str(start + len(page))
        items = [self._item(name) for name in page]
        return 200, headers, json.dumps({"hits": len(found), "took": 1, "items": items}).encode()

    def _item(self, name: str) -> dict[str, object]:
        granule = name.removesuffix(".h5")
        folder = f"{granule.split('.')[0]}.{granule.split('.')[3]}/{granule}"
        links = [
            {"URL": f"{FILES}/{folder}/{name}", "Type": "GET DATA"},
            {"URL": f"{FILES}/{folder}/{granule}.cmr.xml", "Type": "EXTENDED METADATA"},
            {"URL": f"s3://lp-prod-protected/{folder}/{name}", "Type": "GET DATA VIA DIRECT ACCESS"},
        ]
        parts = [self.describe(name, self.granules[name])]
        return {
            "meta": {"concept-id": f"G{crc32(name.encode())}-LPCLOUD", "provider-id": "LPCLOUD", "native-id": granule},
            "umm": {
                "GranuleUR": granule,
                "RelatedUrls": links,
                "DataGranule": {"ArchiveAndDistributionInformation": parts},
            },
        }

    def _file(self, request: requests.PreparedRequest) -> Answer:
        name = urlsplit(str(request.url)).path.rpartition("/")[2]
        self.asked[name] += 1
        if self.faults.get(name):
            return _given(self.faults[name].pop(0)(name))
        if not self._authorized(request):
            return 401, {}, b"HTTP Basic: Access denied."
        return 303, {"Location": f"{SIGNED}/{name}?A-userid={USERNAME}&Signature=the-secret-signature"}, b""

    def _signed(self, request: requests.PreparedRequest) -> Answer:
        assert "Authorization" not in request.headers, "the token went to a host that it was not meant for"
        return whole(self.granules[urlsplit(str(request.url)).path[1:]])


def _given(answer: Answer | BaseException) -> Answer:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def whole(content: bytes) -> Answer:
    """Return the answer of a file, with its length."""
    return 200, {"Content-Length": str(len(content))}, content


def exact(name: str, content: bytes, algorithm: str = "SHA-256") -> dict[str, object]:
    """Return name, size and checksum, as Cumulus archives describe a file."""
    value = {"SHA-256": sha256, "MD5": md5}[algorithm](content).hexdigest()
    return {"Name": name, "SizeInBytes": len(content), "Checksum": {"Value": value, "Algorithm": algorithm}}


def rounded(name: str, content: bytes) -> dict[str, object]:
    """Return a rounded size and no name, as older archives describe a file."""
    return {"Name": "Not provided", "Size": round(len(content) / 2**20, 4), "SizeUnit": "MB"}


def answers(*answer: Answer | BaseException) -> list[Fault]:
    """Return faults that are the same for every file."""
    return [lambda _, one=one: one for one in answer]  # type: ignore[misc]

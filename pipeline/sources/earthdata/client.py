"""NASA's Earthdata through earthaccess: login, the catalogue CMR, and files over HTTPS from anywhere.

`earthaccess.login` and `earthaccess.download` are not used: both ask AWS's metadata address where this machine is and
wait for answers without limit, and the latter considers any file of the right name complete. `Auth` and
`DataGranules`, on which they are built, do the same work over sessions whose every request has a timeout.
"""

import logging
import os
import threading
from collections.abc import Generator, Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests

from pipeline.base.errors import UserError
from pipeline.grid.sinusoidal import Tile
from pipeline.sources.archive import NotServed, Refused, Remote, Unavailable
from pipeline.sources.earthdata.http import PatientAdapter, service_of, unavailable

if TYPE_CHECKING:
    import earthaccess


LOGIN_HOST: Final = "urs.earthdata.nasa.gov"
CATALOGUE: Final = "https://cmr.earthdata.nasa.gov"
_CHUNK: Final = 1 << 20  # bytes of a file in memory at once
_ERROR_PAGE: Final = 1 << 16  # bytes read of an answer that is no file
_TRUSTED: Final = (".nasa.gov", ".usgs.gov")  # hosts to which the token may be sent
_LICENCE_WORDS: Final = ("eula", "approve_app", "resolution_url", "pre authorization")
_ALGORITHMS: Final = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_UNITS: Final = {"KB": 10, "MB": 20, "GB": 30, "TB": 40}  # powers of 2

HOW_TO_LOG_IN: Final = (
    "Set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or put a line "
    f"'machine {LOGIN_HOST} login NAME password PASSWORD' into ~/.netrc or the file that NETRC names. "
    f"An account is free: https://{LOGIN_HOST}/users/new; it makes tokens under Generate Token."
)


class EarthdataArchive:
    """NASA's archive (see `pipeline.sources.archive.Archive`); it logs in at the first request."""

    def __init__(self) -> None:
        self._local = threading.local()  # requests' sessions are not safe to share between threads
        # its debug lines contain the addresses that NASA signs for one user
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

    @cached_property
    def _auth(self) -> "earthaccess.Auth":
        return _log_in()

    def search(self, product: str, version: str, year: int, tile: Tile) -> list[Remote]:
        """Ask CMR by the granules' names; see `Archive.search`."""
        import warnings

        import earthaccess

        query = earthaccess.DataGranules(self._auth).parameters(
            short_name=product, version=version, granule_name=f"{product}.A{year}*.{tile}.*"
        )
        try:
            with warnings.catch_warnings():
                # about earthaccess's own use of what it will change in 1.0
                warnings.filterwarnings("ignore", "As of version 1.0", FutureWarning)
                found = query.get_all()
        except requests.RequestException as error:
            raise unavailable(error, CATALOGUE) from None
        except RuntimeError as error:
            response = getattr(error.__cause__, "response", None)
            if response is None:
                raise
            raise _catalogue_error(response) from None
        except (KeyError, ValueError):
            raise Unavailable("NASA's catalogue gave an answer that is not the catalogue's") from None
        return [remote for granule in found for remote in remotes(granule["umm"])]

    def fetch(self, remote: Remote) -> Generator[bytes, None, None]:
        """Stream over HTTPS; see `Archive.fetch`."""
        if not hasattr(self._local, "session"):
            self._local.session = self._auth.get_session()
        session: requests.Session = self._local.session
        try:
            # without compression, so that urllib3 can compare the number of bytes with the announced length
            with session.get(remote.url, stream=True, headers={"Accept-Encoding": "identity"}) as response:
                _judge(response, remote)
                yield from response.iter_content(_CHUNK)
        except requests.RequestException as error:
            raise unavailable(error, remote.url) from None


def _log_in() -> "earthaccess.Auth":
    """Log in by the environment, else by netrc, without a dialogue; nothing is stored.

    Raises:
        Refused: there are no credentials, or they are not accepted.
        Unavailable: Earthdata Login does not answer.
    """
    import earthaccess
    from earthaccess.exceptions import LoginAttemptFailure, LoginStrategyUnavailable

    class PatientAuth(earthaccess.Auth):
        """A login whose sessions have a timeout for every request."""

        def get_session(self) -> requests.Session:
            session: requests.Session = super().get_session()
            for scheme in ("https://", "http://"):
                session.mount(scheme, PatientAdapter())
            _keep_netrc_out(session)
            return session

    _check_environment()
    auth = PatientAuth()
    for strategy in ("environment", "netrc"):
        try:
            auth.login(strategy=strategy, persist=False)
        except LoginStrategyUnavailable:
            continue
        except LoginAttemptFailure:
            raise Refused(f"Earthdata Login refuses user name and password ({strategy}). {HOW_TO_LOG_IN}") from None
        except requests.RequestException as error:
            raise unavailable(error, f"https://{LOGIN_HOST}") from None
        except OSError as error:
            raise Refused(f"{error.filename} cannot be read: {error.strerror}. {HOW_TO_LOG_IN}") from None
        if auth.authenticated:
            return auth
    netrc = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    lacking = f"has no proper entry of {LOGIN_HOST}" if netrc.exists() else "does not exist"
    raise Refused(
        f"there are no credentials for NASA's Earthdata: none in the environment, and {netrc} {lacking}. "
        f"{HOW_TO_LOG_IN}"
    )


def _check_environment() -> None:
    """Refuse a token with which earthaccess would fail later, with errors that are obscure or show the token."""
    token = os.environ.get("EARTHDATA_TOKEN")
    if token is None:
        return
    if not token and os.environ.get("EARTHDATA_USERNAME") and os.environ.get("EARTHDATA_PASSWORD"):
        raise Refused("EARTHDATA_TOKEN is set but empty, and would count before EARTHDATA_USERNAME: unset it.")
    if any(character.isspace() or not character.isprintable() for character in token) or not token.isascii():
        raise Refused(
            "EARTHDATA_TOKEN holds spaces, line breaks or characters that no token has: set it to the token alone."
        )


def _keep_netrc_out(session: requests.Session) -> None:
    """Prevent requests from using netrc's passwords in place of the token, or beside a signature."""
    session.auth = session.auth or _leave_as_it_is
    rebuild = session.rebuild_auth

    def rebuild_without_netrc(request: requests.PreparedRequest, response: requests.Response) -> None:
        trusted, session.trust_env = session.trust_env, False
        try:
            rebuild(request, response)
        finally:
            session.trust_env = trusted

    session.rebuild_auth = rebuild_without_netrc  # type: ignore[method-assign,assignment]


def _leave_as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _catalogue_error(response: requests.Response) -> UserError:
    # without the answer's text, which may repeat the token
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        return _credentials_refused(response.url)
    return UserError(
        f"{service_of(response.url)} refuses the question (HTTP {response.status_code}): "
        "check download.product and download.version."
    )


def _judge(response: requests.Response, remote: Remote) -> None:
    """Check that an answer is a file.

    Raises:
        Refused, NotServed: it is one of Earthdata's refusals.
    """
    status, at_login = response.status_code, urlsplit(response.url).hostname == LOGIN_HOST
    if status < HTTPStatus.BAD_REQUEST and not at_login:
        return
    if at_login or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        page = next(response.iter_content(_ERROR_PAGE), b"").decode(errors="replace")
        if any(word in (response.url + page).lower() for word in _LICENCE_WORDS):
            raise Refused(
                f"NASA gives {remote.name} only to accounts that have accepted its licence: log in at "
                f"https://{LOGIN_HOST}, accept it under EULAs, and authorize the applications of LP DAAC under "
                "Applications > Authorized Apps. Then run the same command again."
            )
    if at_login or status == HTTPStatus.UNAUTHORIZED:
        raise _credentials_refused(remote.url)
    raise NotServed(f"{service_of(remote.url)} answers HTTP {status}")


def _credentials_refused(url: str) -> Refused:
    return Refused(
        f"{service_of(url)} does not accept the credentials: a token is valid for 60 days, a password may have "
        f"changed. {HOW_TO_LOG_IN}"
    )


def remotes(umm: Mapping[str, Any]) -> list[Remote]:
    """Return the HDF5 files of a granule that CMR describes (UMM-G), with their sizes and checksums."""
    parts = umm.get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
    found = {}
    for link in umm.get("RelatedUrls", []):
        address = urlsplit(link["URL"])
        name = PurePosixPath(address.path).name
        trusted = address.scheme == "https" and (address.hostname or "").endswith(_TRUSTED)
        if link["Type"] == "GET DATA" and trusted and name.endswith(".h5"):
            own = [part for part in parts if part.get("Name") == name] or (parts if len(parts) == 1 else [])
            found[name] = _remote(name, link["URL"], own[0] if own else {})
    return list(found.values())


def _remote(name: str, url: str, part: Mapping[str, Any]) -> Remote:
    size, about = part.get("SizeInBytes"), None
    if size is None and part.get("SizeUnit") in _UNITS and "Size" in part:
        about = int(float(part["Size"]) * 2 ** _UNITS[part["SizeUnit"]])
    checksum = part.get("Checksum", {})
    algorithm = _ALGORITHMS.get(checksum.get("Algorithm", ""), "")
    return Remote(
        name,
        url,
        size=None if size is None else int(size),
        about=about,
        algorithm=algorithm,
        checksum=checksum["Value"].lower() if algorithm else "",
    )

"""HTTP with a timeout for every request, and errors that name the service instead of an address."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from pipeline.sources.archive import Unavailable

TIMEOUT: Final = (20.0, 60.0)  # s: to connect, and between two pieces of an answer
STATUS_PAGE: Final = "https://status.earthdata.nasa.gov"
_SERVICES: Final = {"cmr.earthdata.nasa.gov": "NASA's catalogue", "urs.earthdata.nasa.gov": "Earthdata Login"}
# the first that matches counts, for these classes derive from each other
_REASONS: Final = (
    (requests.exceptions.Timeout, f"no answer within {TIMEOUT[1]:.0f} s"),
    (requests.exceptions.SSLError, "no secure connection: its certificate is not accepted"),
    (requests.exceptions.ProxyError, "the proxy gives no connection"),
    (requests.exceptions.TooManyRedirects, "it redirects in circles"),
    (requests.exceptions.ChunkedEncodingError, "the transfer broke off"),
    (requests.exceptions.ConnectionError, "no connection"),
)


class PatientAdapter(HTTPAdapter):
    """An adapter that sets a timeout for every request, and raises `Unavailable` for HTTP 429 and 5xx."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request as `HTTPAdapter` does; a timeout that it has already is kept."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = TIMEOUT
        response = super().send(request, *args, **kwargs)
        status = response.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            response.close()
            asked = seconds_asked(response.headers.get("Retry-After", ""))
            raise Unavailable(f"{service_of(request.url or '')} answers HTTP {status}", asked)
        return response


def seconds_asked(retry_after: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110: a number or a date), 0 where it is neither."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def service_of(url: str) -> str:
    """Return the name of a service for messages: its host, never path or query, which may contain signatures."""
    host = urlsplit(url).hostname or "the service"
    return f"{_SERVICES.get(host, 'the archive')} ({host})"


def unavailable(error: requests.RequestException, url: str) -> Unavailable:
    """Return the error of a failed request, without its own text: that may show addresses that NASA has signed."""
    if error.request is not None and error.request.url:
        url = str(error.request.url)
    reason = next((text for kind, text in _REASONS if isinstance(error, kind)), type(error).__name__)
    return Unavailable(f"{service_of(url)}: {reason}")

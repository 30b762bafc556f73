"""Runs that were at work when an earlier service ended: Prefect would take them for running for ever."""

import os
from typing import Any, Final

import requests

from pipeline.base.errors import UserError

_AT_WORK: Final = ["PENDING", "RUNNING", "CANCELLING"]
_MESSAGE: Final = "the service ended while the run was at work: start it again, it goes on where it was"


def mark_crashed(api: str) -> int:
    """Say of every run that seems to be at work that it has crashed; before any worker is there, none can be.

    Otherwise it would count against the one run that a deployment may have at once, too.

    Args:
        api: address of Prefect's API; a password for it is in PREFECT_SERVER_API_AUTH_STRING.

    Returns:
        How many there were.

    Raises:
        UserError: the API refuses.
    """
    user, _, password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "").partition(":")
    n_runs = 0
    with requests.Session() as session:
        session.trust_env = False  # no ~/.netrc, no proxy
        session.auth = (user, password) if user else None
        try:
            at_work = {"flow_runs": {"state": {"type": {"any_": _AT_WORK}}}}
            crashed = {"state": {"type": "CRASHED", "message": _MESSAGE}, "force": True}
            while runs := _ask(session, f"{api}/flow_runs/filter", at_work):  # which gives no more than a page
                for run in runs:
                    _ask(session, f"{api}/flow_runs/{run['id']}/set_state", crashed)
                n_runs += len(runs)
        except requests.RequestException as error:
            raise UserError(f"Prefect's API does not tell which runs an earlier service has left: {error}.") from None
    return n_runs


def _ask(session: requests.Session, address: str, body: dict[str, Any]) -> Any:
    answer = session.post(address, json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()

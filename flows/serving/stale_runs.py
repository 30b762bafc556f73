"""Runs that were at work when an earlier service ended: Prefect would show them as running for ever."""

import os
from collections.abc import Mapping
from typing import Any, Final

import requests

from pipeline.base.errors import UserError

_AT_WORK: Final = ["PENDING", "RUNNING", "CANCELLING"]
_MESSAGE: Final = "the service ended while the run was at work: start it again, it goes on where it was"


def mark_crashed(api: str) -> int:
    """Mark every run as crashed that Prefect believes to be at work; call it before any worker is started.

    Such a run would also count as the one run that a deployment may have at a time.

    Args:
        api: address of Prefect's API; a password for it is in PREFECT_SERVER_API_AUTH_STRING.

    Returns:
        Number of these runs.

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
            while runs := _ask(session, f"{api}/flow_runs/filter", at_work):  # an answer has one page of runs at most
                for run in runs:
                    _ask(session, f"{api}/flow_runs/{run['id']}/set_state", crashed)
                n_runs += len(runs)
        except requests.RequestException as error:
            raise UserError(f"Prefect's API does not tell which runs an earlier service has left: {error}.") from None
    return n_runs


def _ask(session: requests.Session, address: str, body: Mapping[str, Any]) -> Any:
    answer = session.post(address, json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()

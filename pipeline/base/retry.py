"""Repeat what may succeed later: with growing pauses, and only where that can help."""

import random
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

LONGEST_PAUSE: Final = 600.0  # s: the longest pause, even if a service asks for more
_BACKOFF_LIMIT: Final = 60.0  # s: where doubling stops

Result = TypeVar("Result")
_random = random.Random()  # noqa: S311 - spreads the load on a service, guards no secret


class Transient(Exception):
    """Something failed that may succeed when tried again."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        """Keep the reason, and the least pause in seconds that the other side has asked for."""
        super().__init__(reason)
        self.pause = pause


def pause_before(attempt: int, least: float = 0.0) -> float:
    """Return the seconds to wait before an attempt (2, 3, ...): 1, 2, 4, ... up to 60, and a random half of that more.

    Without the random part, all clients that met the same outage would come back at the same moment. That of tenacity's
    `wait_exponential_jitter` does not grow with the pause, and the longest pauses have none.

    Args:
        attempt: which attempt comes next, counted from 1.
        least: what the service has asked for; honoured up to `LONGEST_PAUSE`.
    """
    backoff = min(2.0 ** (attempt - 2), _BACKOFF_LIMIT)
    return min(max(backoff, least) + _random.uniform(0, backoff / 2), LONGEST_PAUSE)


def patiently(action: Callable[[], Result], attempts: int, sleep: Callable[[float], Any]) -> Result:
    """Return the result of an action; where it raises `Transient`, pause and repeat it, `attempts` times in all.

    Raises:
        Transient: the last attempt's, where none succeeded.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(attempts),
        wait=_pause_after,
        sleep=sleep,
        reraise=True,
    )
    return retrying(action)


def _pause_after(failed: RetryCallState) -> float:
    error = failed.outcome.exception() if failed.outcome is not None else None
    return pause_before(failed.attempt_number + 1, error.pause if isinstance(error, Transient) else 0.0)

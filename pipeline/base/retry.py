"""Trying again what may succeed later: with growing pauses, and only where that can help."""

import random
from collections.abc import Callable
from typing import Final, TypeVar

LONGEST_PAUSE: Final = 600.0  # s: no service is waited for any longer at once, even if it asks for more
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
    """Seconds to wait before an attempt (2, 3, ...): 1, 2, 4, ... up to 60, and a random half of that more.

    Without the random part, all who met the same outage would come back at the same moment.

    Args:
        attempt: which attempt comes next, counted from 1.
        least: what the service has asked for; honoured up to `LONGEST_PAUSE`.
    """
    backoff = min(2.0 ** (attempt - 2), _BACKOFF_LIMIT)
    return min(max(backoff, least) + _random.uniform(0, backoff / 2), LONGEST_PAUSE)


def patiently(action: Callable[[], Result], attempts: int, sleep: Callable[[float], object]) -> Result:
    """Do something; where it raises `Transient`, pause and do it again, `attempts` times in all.

    Raises:
        Transient: the last attempt's, where none succeeded.
    """
    for attempt in range(1, attempts):
        try:
            return action()
        except Transient as error:
            sleep(pause_before(attempt + 1, error.pause))
    return action()

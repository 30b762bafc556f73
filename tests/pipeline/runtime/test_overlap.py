import threading
import time

import pytest

from pipeline.runtime.overlap import stages_in_turn


def run_tasks(n: int, seconds: dict[str, float]) -> list[tuple[float, str, int, int]]:
    """Run n tasks at once that compute and write for some seconds: (time, phase, task, 1 at start, -1 at end)."""
    events: list[tuple[float, str, int, int]] = []

    def phase(name: str, task: int) -> None:
        events.append((time.monotonic(), name, task, 1))
        time.sleep(seconds[name])
        events.append((time.monotonic(), name, task, -1))

    def task(number: int) -> None:
        with stages_in_turn(overlap=True) as turn_to_write:
            phase("compute", number)
            turn_to_write()
            phase("write", number)

    threads = [threading.Thread(target=task, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(events)


@pytest.mark.parametrize("seconds", [{"compute": 0.02, "write": 0.005}, {"compute": 0.005, "write": 0.02}])
def test_one_computes_while_one_writes_and_never_two_of_a_kind(seconds):
    events = run_tasks(8, seconds)
    busy = {"compute": 0, "write": 0}
    computed = written = 0
    together = False
    for _, name, _, change in events:
        busy[name] += change
        assert busy[name] <= 1
        together = together or busy == {"compute": 1, "write": 1}
        computed += name == "compute" and change == -1
        written += name == "write" and change == -1
        assert computed - written <= 2  # one is being written, one waits: it does not pile up before a slow disk
    assert together
    assert written == 8


def test_an_error_gives_the_turn_back_in_either_phase():
    def fail(*, after_turn: bool) -> None:
        with stages_in_turn(overlap=True) as turn_to_write:
            if after_turn:
                turn_to_write()
            raise OSError("no space left")

    for after_turn in (False, True):
        with pytest.raises(OSError, match="no space"):
            fail(after_turn=after_turn)
    assert len(run_tasks(2, {"compute": 0.0, "write": 0.0})) == 8

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.retry import LONGEST_PAUSE, Transient, patiently, pause_before


@given(st.integers(2, 40), st.floats(0, 10_000))
def test_pauses_grow_to_a_limit_and_are_no_shorter_than_asked(attempt, asked):
    pause = pause_before(attempt, asked)
    assert min(max(asked, 2.0 ** min(attempt - 2, 5)), LONGEST_PAUSE) <= pause <= max(asked + 30, 90)
    assert pause <= LONGEST_PAUSE


@given(st.integers(1, 8), st.integers(0, 10))
def test_attempts_end_with_success_or_after_their_number(attempts, n_failures):
    outcomes = iter([*[Transient("later", pause=7)] * n_failures, "done"])
    pauses: list[float] = []

    def action() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Transient):
            raise outcome
        return outcome

    if n_failures < attempts:
        assert patiently(action, attempts, pauses.append) == "done"
        assert len(pauses) == n_failures
    else:
        with pytest.raises(Transient, match="later"):
            patiently(action, attempts, pauses.append)
        assert len(pauses) == attempts - 1
    assert all(pause >= 7 for pause in pauses)


def test_other_errors_are_not_tried_again():
    calls = []

    def action() -> None:
        calls.append(1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        patiently(action, 5, pytest.fail)
    assert len(calls) == 1

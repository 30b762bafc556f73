import io
import logging
import re

import pytest
from rich.console import Console

from pipeline.base import progress
from pipeline.base.progress import Log, Terminal


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""

    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    turned = Clock()
    monkeypatch.setattr(progress.time, "monotonic", turned)
    return turned


def lines_of(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_log_tells_pixels_a_second_and_the_time_left_by_pixels(clock, caplog):
    caplog.set_level(logging.INFO)
    with Log(logging.getLogger("test")).track("infer", 10, 1_000_000) as task:
        clock.now += 2
        task.advance(note="y0x0", pixels=250_000)
        clock.now += 6
        task.advance(note="y0x1", pixels=550_000)
    assert lines_of(caplog) == [
        "infer: 1 of 10, 125k px/s, 0:00:06 left, y0x0",  # a quarter of the pixels in 2 s
        "infer: 2 of 10, 100k px/s, 0:00:02 left, y0x1",
    ]


def test_without_pixels_the_time_left_is_that_of_the_steps(clock, caplog):
    caplog.set_level(logging.INFO)
    with Log(logging.getLogger("test")).track("check", 4) as task:
        clock.now += 60
        task.advance(note="a granule")
    assert lines_of(caplog) == ["check: 1 of 4, 0:03:00 left, a granule"]


def test_a_log_speaks_at_every_tenth_only(caplog):
    caplog.set_level(logging.INFO)
    with Log(logging.getLogger("test")).track("check", 1000) as task:
        for _ in range(1000):
            task.advance()
    assert len(caplog.records) == 10


def test_the_bar_shows_speed_and_shard_within_a_terminal_of_80_columns(clock):
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with Terminal(console).track("infer", 4, 4_000_000) as task:
        clock.now += 10
        task.advance(note="y12x11", pixels=1_180_000)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    last = [line for line in re.split(r"[\r\n]", shown) if "infer" in line][-1]
    assert "1/4" in last
    assert "118k px/s y12x11" in last
    assert "0:00:24" in last
    assert len(last.rstrip()) <= 80


@pytest.mark.parametrize(
    ("pixels", "text"), [(5, "0.5 px/s"), (12_345, "1.23k px/s"), (123_456_789, "12.3M px/s"), (4e10, "4G px/s")]
)
def test_speeds_are_short(clock, caplog, pixels, text):
    caplog.set_level(logging.INFO)
    with Log(logging.getLogger("test")).track("infer", 1) as task:
        clock.now += 10
        task.advance(pixels=int(pixels))
    assert text in lines_of(caplog)[0]

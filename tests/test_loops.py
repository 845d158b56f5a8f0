"""A loop goes on whatever its turns raise, and ends when it is told to."""

from __future__ import annotations

import queue
import threading

import pytest

from registry.loops import Loop

SOON = 30


def test_a_turn_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The next one comes, and the log tells of it."""
    turns: queue.SimpleQueue[int] = queue.SimpleQueue()

    def turn() -> float:
        turns.put(1)
        raise MemoryError

    loop = Loop("trouble", turn, trouble_seconds=0.001)
    loop.start()
    for _ in range(5):
        turns.get(timeout=SOON)
    assert loop.runs
    loop.stop(SOON)
    assert not loop.runs
    assert "The loop trouble stumbled and goes on." in caplog.text


def test_it_wakes_when_it_is_called_and_ends_with_a_last_turn() -> None:
    """A call during a turn is not lost; the end comes after all turns, even if it raises."""
    went: queue.SimpleQueue[str] = queue.SimpleQueue()
    under_way, go_on = threading.Event(), threading.Event()

    def turn() -> float:
        went.put("turn")
        under_way.set()
        assert go_on.wait(SOON)
        return 3600

    def last() -> None:
        went.put("last")
        raise ValueError

    loop = Loop("calm", turn, last=last)
    loop.start()
    assert under_way.wait(SOON)
    loop.wake()
    go_on.set()
    assert [went.get(timeout=SOON) for _ in range(2)] == ["turn", "turn"]
    loop.stop(SOON)
    assert went.get(timeout=SOON) == "last"
    assert went.empty()

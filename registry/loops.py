"""Threads that do something again and again: no exception ends one, only `stop` does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["Loop"]

log = logging.getLogger("registry.loops")

TROUBLE_SECONDS: Final = 5.0
"""How long a loop rests after a turn that raised."""


class Loop:
    """A thread that takes turns. `turn` returns in how many seconds the next one is due.

    `last` runs once in the same thread after `stop`. Whatever either raises is logged: nobody would start
    the thread again, and what it keeps fresh would grow old without a word.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], float],
        *,
        last: Callable[[], object] | None = None,
        trouble_seconds: float = TROUBLE_SECONDS,
    ) -> None:
        self._turn, self._last, self._trouble = turn, last, trouble_seconds
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._turned = threading.Condition()
        self._begun = self._ended = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopping(self) -> bool:
        """Say whether it was told to stop."""
        return self._stopping.is_set()

    @property
    def runs(self) -> bool:
        """Say whether the thread is alive."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take the first turn now. Call it once."""
        self._thread.start()

    def wake(self) -> None:
        """Take the next turn now, or as soon as the one under way has ended."""
        self._wake.set()

    def ask(self, seconds: float, give_up: Callable[[], bool]) -> None:
        """Wait until a turn has ended that began after this call, at most so many seconds.

        Not at all where `give_up` says so; it is asked again whenever a turn ends.
        """
        with self._turned:
            if give_up():
                return
            wanted = self._begun + 1  # the turn under way may have looked before this call
            self._wake.set()
            self._turned.wait_for(lambda: self._ended >= wanted or give_up(), seconds)

    def stop(self, seconds: float | None = None) -> None:
        """Let the turn under way and `last` end, and wait so many seconds for them (None: until then)."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()  # before the turn, so that what comes meanwhile wakes again
            seconds = self._trouble
            with self._turned:
                self._begun += 1
            try:
                seconds = self._turn()
            except Exception:  # no exception may end a loop on which the process depends
                log.exception("The loop %s stumbled and goes on.", self._thread.name)
            with self._turned:
                self._ended = self._begun
                self._turned.notify_all()
            if seconds > 0 and not self._stopping.is_set():
                self._wake.wait(seconds)
        if self._last is None:
            return
        try:
            self._last()
        except Exception:  # the process ends anyway, and its other loops want to end well
            log.exception("The loop %s did not end well.", self._thread.name)

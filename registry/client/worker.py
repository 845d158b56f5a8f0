"""The one thread in the background: it runs jobs when they are due, and a last time at the end.

A job is a function that returns in how many seconds it wants to run again. The thread is a daemon, so
it never keeps a program alive. It does not survive a fork (gunicorn with `preload`, multiprocessing): the
child notices, forgets what belongs to its parent, and starts a thread of its own when one is needed.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Worker"]

Job = Callable[[], float]

log: Final = logging.getLogger("registry.client")

AT_EXIT: Final = 2.0
_NEVER: Final = float("inf")


class Worker:
    """Runs jobs in one daemon thread. `last` runs when it is stopped, `forked` in a forked child.

    `thread` is None while none was started, and after a fork: then `ensure` is due.
    """

    def __init__(
        self, jobs: Sequence[Job], *, last: Callable[[], None], forked: Callable[[], None]
    ) -> None:
        self._jobs, self._last, self._forked = tuple(jobs), last, forked
        self._stopping = False
        self._begin()
        _workers.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._due = [0.0] * len(self._jobs)
        self.thread: threading.Thread | None = None

    def ensure(self) -> None:
        """Start the thread if it does not run: at the first call, and in a forked child."""
        if self.thread is not None or self._stopping:
            return
        with self._changed:
            if self.thread is None and not self._stopping:
                self.thread = threading.Thread(target=self._run, name="beta-registry", daemon=True)
                self.thread.start()

    def wake(self, job: Job, seconds: float = 0.0) -> None:
        """Run a job in so many seconds, if it is not due earlier."""
        self.ensure()
        with self._changed:
            place = self._jobs.index(job)
            self._due[place] = min(self._due[place], time.monotonic() + seconds)
            self._changed.notify()

    def stop(self, seconds: float) -> None:
        """Let the last job run, and wait so many seconds for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(seconds)

    def _run(self) -> None:
        while (place := self._next()) is not None:
            seconds = _NEVER
            try:
                seconds = self._jobs[place]()
            except Exception:
                # A bug must end neither the thread nor the facts' being kept fresh.
                log.debug("A job in the background failed; it is tried again.", exc_info=True)
                seconds = 60.0
            with self._changed:
                self._due[place] = min(self._due[place], time.monotonic() + seconds)
        self._last()

    def _next(self) -> int | None:
        """Wait until a job is due; None when it is time to stop."""
        with self._changed:
            while not self._stopping:
                place = min(range(len(self._due)), key=self._due.__getitem__)
                wait = self._due[place] - time.monotonic()
                if wait <= 0:
                    self._due[place] = _NEVER
                    return place
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))
            return None

    def forget(self) -> None:
        """Begin anew in a forked child: the thread is gone, and any lock may be held for ever."""
        self._begin()
        self._forked()


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _at_exit() -> None:
    """Let all of them finish, together in `AT_EXIT` seconds: a program's end waits no longer for us."""
    until = time.monotonic() + AT_EXIT
    for worker in list(_workers):
        worker.stop(0.0)
    for worker in list(_workers):
        worker.stop(max(0.0, until - time.monotonic()))


atexit.register(_at_exit)


def _after_fork() -> None:
    for worker in list(_workers):
        worker.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

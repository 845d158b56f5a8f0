"""PostgreSQL connections on which no wait is without end; only `db.py` makes them.

The server's own time-outs end a statement only while the server lives. One that is frozen, or gone behind a
connection that stays open, never answers, and psycopg would wait for ever; so it is bounded here too.
"""

from __future__ import annotations

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready

__all__ = ["BoundedConnection"]

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server has not answered for `answer_seconds`.

    Raises `psycopg.OperationalError` then, whatever it waits for: a statement, a commit or a rollback.
    """

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[T], *args: Any, **more: Any) -> T:
        """Wait for the server, as psycopg does, but no longer than `answer_seconds`."""
        if self.answer_seconds is not None:
            gen = self._until(gen, time.monotonic() + self.answer_seconds)
        return super().wait(gen, *args, **more)

    def _until(self, gen: PQGen[T], end: float) -> PQGen[T]:
        # psycopg sends `Ready.NONE` into its generators several times a second while nothing arrives.
        try:
            wants = next(gen)
            while True:
                ready = yield wants
                if ready == Ready.NONE and time.monotonic() > end:
                    gen.close()
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"the server did not answer within {self.answer_seconds:g} seconds"
                    )
                wants = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result

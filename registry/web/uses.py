"""Asking `/v1/header` for a service counts as usage: counted in memory, written in the background.

The hot path adds one to a cell and does no more. A cell is a list of two numbers, what was counted and
what was taken from it: the event loop's thread writes only the first and the flushing thread only the
second, so no count is lost and no lock is needed. Only calls with a token come here; everything is bounded
nevertheless, in names too, for who holds one may still send anything.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from registry import inventory
from registry.core.errors import Invalid, RegistryError
from registry.core.places import Place
from registry.db import Database
from registry.jobs import Clock, Live
from registry.loops import Loop
from registry.models import ServiceRow

__all__ = ["Use", "Uses"]

log = logging.getLogger("registry.usage")

FLUSH_SECONDS: Final = 2.0
CELLS: Final = 8192
"""Answers that are counted; what is asked beyond them until they are let go is not."""
NAMES: Final = 50_000
"""Names of betas in all those answers, at most: some 5 MB."""
BACKLOG: Final = 8
"""Dropped memos whose counts are not taken yet; of more, the oldest go uncounted."""
WAITING: Final = 10_000
"""Services (with environment and platform) whose usage waits for the database."""
WAITING_NAMES: Final = 200_000
"""Names of betas that wait with them, at most: some 30 MB."""
AT_ONCE: Final = 1000
"""Services written in one flush."""
NEW_AN_HOUR: Final = 1000
"""Services that come into being by being named here; a name is easily made up, so it is little."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one answer counts as: these betas, by this service."""

    service: str
    environment: str
    place: Place
    betas: tuple[str, ...]


_Group = tuple[str, str, str]
"""(service, environment, platform or nothing): one report."""
_Name = tuple[str, Place]
"""A beta, and where it is sent."""


class Uses:
    """The counts of one process. One thread counts, one flushes."""

    def __init__(self) -> None:
        self._cells: dict[Use, list[int]] = {}
        self._names = 0
        self._dropped: deque[dict[Use, list[int]]] = deque(maxlen=BACKLOG)
        self._waiting: dict[_Group, dict[_Name, int]] = {}
        self._new_hour, self._new = -1, 0
        self._loop: Loop | None = None

    def cell(self, use: Use) -> list[int]:
        """Return the cell of an answer; add to its first number."""
        cell = self._cells.get(use)
        if cell is None:
            cell = [0, 0]
            if len(self._cells) < CELLS and self._names + len(use.betas) <= NAMES:
                self._cells[use] = cell
                self._names += len(use.betas)
        return cell

    def turn(self) -> None:
        """Let go of all cells: the answers that held them are dropped."""
        self._dropped.append(self._cells)
        self._cells, self._names = {}, 0

    def start(self, database: Database, live: Live, clock: Clock) -> None:
        """Flush every few seconds from now on, in a thread."""

        def turn() -> float:
            self.flush(database, live, clock)
            return FLUSH_SECONDS

        self._loop = Loop("usage", turn, last=turn, trouble_seconds=FLUSH_SECONDS)
        self._loop.start()

    def stop(self) -> None:
        """Flush for the last time."""
        if self._loop is not None:
            self._loop.stop(10)

    def flush(self, database: Database, live: Live, clock: Clock) -> None:
        """Write what was counted. What the database does not take now waits; never raises."""
        self._take()
        try:
            for group in sorted(self._waiting)[:AT_ONCE]:
                self._record(database, live, group, self._waiting[group], clock())
                del self._waiting[group]
                live.usage_moved()
        except RegistryError as error:
            log.warning("Usage of /v1/header waits: %s", error)
        except Exception:
            # A bug must not end the thread, nor fill the memory with what can never be written.
            log.exception("Usage of /v1/header was not written.")
            self._waiting.clear()  # whatever it is, it would fail again

    def _take(self) -> None:
        """Move what was counted since last time to what waits."""
        room = WAITING_NAMES - sum(map(len, self._waiting.values()))
        while self._dropped:
            room = self._take_from(self._dropped.popleft(), room)
        self._take_from(self._cells, room)

    def _take_from(self, cells: dict[Use, list[int]], room: int) -> int:
        """Take what there is room for; returns for how many names there is room then."""
        for use, cell in tuple(cells.items()):
            count = cell[0] - cell[1]
            group = use.service, use.environment, use.place.platform or ""
            if not count or (group not in self._waiting and len(self._waiting) >= WAITING):
                continue
            held = self._waiting.get(group, {})
            new = sum((beta, use.place) not in held for beta in use.betas)
            if new > room:
                continue
            room -= new
            cell[1] += count
            self._waiting[group] = held
            for beta in use.betas:
                name = beta, use.place
                held[name] = held.get(name, 0) + count
        return room

    def _record(
        self, database: Database, live: Live, group: _Group, counts: dict[_Name, int], now: datetime
    ) -> None:
        service, environment, platform = group
        report = inventory.Report(
            service=service, environment=environment, platform=platform or None,
            items=tuple(_item(*name, count) for name, count in counts.items()),
        )  # fmt: skip
        try:
            with database.write() as session:
                if session.get(ServiceRow, service) is None and not self._may_be_new(now):
                    return
                inventory.record(session, report, now, snapshot=live.snapshot)
        except Invalid as error:
            log.warning("Usage of %s by /v1/header is not kept: %s", service, error)

    def _may_be_new(self, now: datetime) -> bool:
        hour = int(now.timestamp() // 3600)
        if hour != self._new_hour:
            self._new_hour, self._new = hour, 0
        self._new += 1
        if self._new == NEW_AN_HOUR + 1:
            log.warning(
                "/v1/header named more than %d new services in this hour; no more are added.",
                NEW_AN_HOUR,
            )
        return self._new <= NEW_AN_HOUR


def _item(beta: str, place: Place, count: int) -> inventory.Item:
    return inventory.Item(
        beta=beta, count=count, api=place.api, hosting=place.hosting, region=place.region,
        model=place.model, endpoint=place.endpoint,
    )  # fmt: skip

"""The courier: threads that send what is due, and one that claims and records for all of them.

Claims are conditional updates, so every process may run one. A receiver that is slow or
fails has one message on its way at a time, and all such together at most half of the threads: a slow
or dead one never delays the others. What is critical has threads of its own and waits for nothing else.
"""

from __future__ import annotations

import logging
import queue
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from registry.alerts import Alerts, Attempted
from registry.alerts.deliveries import Claim, Load
from registry.core.errors import RegistryError
from registry.loops import Loop

__all__ = ["Courier"]

log = logging.getLogger("registry.alerts")

THREADS: Final = 32
CRITICAL_THREADS: Final = 16
IDLE_SECONDS: Final = 0.5
"""How often it looks for work while there is none."""
SLOW_MS: Final = 2000
"""An answer that takes longer marks its receiver as slow, until it is quick again."""
TROUBLE_SECONDS: Final = 5.0
"""How long it rests when the database is away."""


class Courier:
    """Sends deliveries until it is stopped. `start` returns at once."""

    def __init__(
        self, alerts: Alerts, *, threads: int = THREADS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._alerts, self._threads, self._idle = alerts, threads, idle_seconds
        self._in_flight: Counter[int] = Counter()
        self._critical: Counter[int] = Counter()
        self._slow: set[int] = set()
        self._done: queue.SimpleQueue[Attempted] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="courier")
        self._critical_pool = ThreadPoolExecutor(CRITICAL_THREADS, thread_name_prefix="critical")
        self._loop = Loop("courier", self._turn, trouble_seconds=TROUBLE_SECONDS)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """Claim nothing more, wait for what is being sent, and record it."""
        self._loop.stop()
        self._critical_pool.shutdown(wait=True)
        self._pool.shutdown(wait=True)
        try:
            self._settle()
        except RegistryError as error:
            log.warning("What was sent last is not recorded, and may go out again: %s", error)

    def _turn(self) -> float:
        try:
            self._settle()
            return 0.0 if self._round() else self._idle
        except RegistryError as error:
            log.warning("Nothing is sent just now: %s", error)
            return TROUBLE_SECONDS

    def _round(self) -> bool:
        """Claim what fits and hand it to the threads; returns whether there was any."""
        load = self._load()
        if load.room <= 0 and load.critical_room <= 0:
            return False
        claims = self._alerts.advance(load)
        for claim in claims:
            flying, pool = self._way(claim)
            flying[claim.subscription] += 1
            pool.submit(self._send, claim)
        return bool(claims)

    def _way(self, claim: Claim) -> tuple[Counter[int], ThreadPoolExecutor]:
        if claim.critical:
            return self._critical, self._critical_pool
        return self._in_flight, self._pool

    def _load(self) -> Load:
        busy = sum(self._in_flight[number] for number in self._slow)
        return Load(
            room=self._threads - self._in_flight.total(),
            slow_room=self._threads // 2 - busy,
            in_flight=self._in_flight,
            slow=self._slow,
            critical_room=CRITICAL_THREADS - self._critical.total(),
            critical_in_flight=self._critical,
        )

    def _send(self, claim: Claim) -> None:
        self._done.put(self._alerts.attempt(claim))
        self._loop.wake()

    def _settle(self) -> None:
        """Record what was sent since last time, in one transaction."""
        done: list[Attempted] = []
        while not self._done.empty():
            done.append(self._done.get())
        if not done:
            return
        for item in done:
            number = item.claim.subscription
            self._way(item.claim)[0][number] -= 1
            lingers = item.outcome.result == "transient" or item.outcome.latency_ms > SLOW_MS
            (self._slow.add if lingers else self._slow.discard)(number)
        self._alerts.record(done)

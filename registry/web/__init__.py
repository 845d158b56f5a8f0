"""HTTP: a request into one call of a function below, its result into bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from registry.alerts import Alerts
from registry.core.errors import Unavailable
from registry.core.facts import STATUSES
from registry.db import Database
from registry.jobs import Clock, Live

__all__ = ["MAX_BODY", "Context", "Metrics"]

MAX_BODY: Final = 8 * 1024 * 1024
"""Largest request body, in bytes: room for a pasted answer of 1 MiB with every byte escaped."""

BESIDE: Final = 8
"""Threads that read beside answers, and so the most connections to the database they hold."""
LOOK_SECONDS: Final = 0.25
"""How often an answer that waits for what it can do without looks whether the database is away."""

T = TypeVar("T")


class Requests(Collector):
    """Counts requests by route and status, and uses that nobody is known to stand for.

    Only the event loop's one thread counts, so a plain cell does; a lock a request would cost the hot
    path a twentieth of its speed (measured).
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[str, int], list[int]] = {}
        self.anonymous = [0, 0]
        """A cell like those of `uses.py`: what named a service and came without a token."""

    def cell(self, route: str, status: int) -> list[int]:
        """Return the cell to add to: a list of one number."""
        return self._cells.setdefault((route, status), [0])

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Tell Prometheus."""
        told = CounterMetricFamily(
            "beta_registry_requests", "Requests answered.", labels=["route", "status"]
        )
        for (route, status), cell in tuple(self._cells.items()):
            told.add_metric([route, str(status)], cell[0])
        yield told
        yield CounterMetricFamily(
            "beta_registry_anonymous_uses",
            "Calls of /v1/header that named a service without a token; they are no usage.",
            value=self.anonymous[0],
        )


class Standing(Collector):
    """Tells what is known, how old that is, and how many requests wait for the database."""

    def __init__(self, live: Live, database: Database) -> None:
        self._live, self._room = live, database.room

    def collect(self) -> Iterator[Metric]:
        """Tell Prometheus."""
        live, snapshot = self._live, self._live.snapshot
        if snapshot is not None:
            counts = Counter(beta.status for beta in snapshot.betas.values())
            betas = GaugeMetricFamily(
                "beta_registry_betas", "Betas in the snapshot.", labels=["status"]
            )
            for status in STATUSES:
                betas.add_metric([status], counts[status])
            yield betas
        for name, what, value in (
            ("revision", "Id of the newest event in the snapshot.",
             snapshot.revision if snapshot else 0),
            ("refresh_age_seconds", "Seconds since the database last confirmed facts and tokens.",
             live.age),
            ("database_up", "1 while facts and tokens can be refreshed.", live.problem is None),
            ("database_file_lost", "1 if the SQLite file was removed or replaced while in use.",
             live.file_lost),
            ("database_requests", "Requests that use the database or wait for it.",
             self._room.taken_now),
        ):  # fmt: skip
            yield GaugeMetricFamily(f"beta_registry_{name}", what, value=float(value))
        yield CounterMetricFamily(
            "beta_registry_database_refused",
            "Requests refused because too many waited for the database.",
            value=self._room.refused,
        )


class Metrics:
    """What `/metrics` tells, for this process."""

    def __init__(self, live: Live, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.registry.register(Standing(live, database))
        self.seconds = Histogram(
            "beta_registry_request_seconds",
            "Time to answer, without the hot path of /v1/header.",
            ["route"],
            registry=self.registry,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the routes need, wired once by the composition root."""

    database: Database
    live: Live
    alerts: Alerts
    clock: Clock
    public_read: bool
    source_names: tuple[str, ...]
    offline: bool
    probing: str
    """Whether probing is on, as a sentence."""
    address: str | None = None
    """Where people reach this registry, if the settings say so; else it is known by the request."""
    every: Mapping[str, timedelta] = field(default_factory=dict)
    """How often each configured target is swept."""
    metrics: Metrics = field(init=False)
    _beside: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(BESIDE, "beside"), init=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", Metrics(self.live, self.database))

    def beside(self, read: Callable[[], T]) -> T:
        """Read from the database what an answer can do without.

        Waits while the database is at work, and no longer than until it counts as away. Raises what `read`
        raises, and `Unavailable`.
        """
        reading = None
        while not (problem := self.live.problem):
            reading = reading or self._beside.submit(read)
            if wait([reading], timeout=LOOK_SECONDS).done:
                return reading.result()
        if reading is not None:
            reading.cancel()
        raise Unavailable(problem, slug="database-unavailable")

    def close(self) -> None:
        """Let the threads go. Nobody may ask after this."""
        self._beside.shutdown(wait=False, cancel_futures=True)

"""HTTP: a request into one call of a function below, its result into bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from registry.alerts import Alerts
from registry.db import Database
from registry.jobs import Clock, Live

__all__ = ["MAX_BODY", "Context", "Metrics"]

MAX_BODY: Final = 8 * 1024 * 1024
"""Largest request body, in bytes: room for a pasted answer of 1 MiB with every byte escaped."""


class Requests(Collector):
    """Counts requests by route and status.

    Only the event loop's one thread counts, so a plain cell does; a lock a request would cost the hot
    path a twentieth of its speed (measured).
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[str, int], list[int]] = {}

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


class Metrics:
    """What `/metrics` tells, for this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.seconds = Histogram(
            "beta_registry_request_seconds",
            "Time to answer, without the hot path of /v1/header.",
            ["route"],
            registry=self.registry,
        )
        self.betas = Gauge(
            "beta_registry_betas", "Betas in the snapshot.", ["status"], registry=self.registry
        )
        self.revision = Gauge(
            "beta_registry_revision",
            "Id of the newest event in the snapshot.",
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
    every: Mapping[str, timedelta] = field(default_factory=dict)
    """How often each configured target is swept."""
    metrics: Metrics = field(default_factory=Metrics)

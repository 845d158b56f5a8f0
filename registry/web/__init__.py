"""HTTP: a request into one call of a function below, its result into bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from registry.db import Database
from registry.jobs import Clock, Live

__all__ = ["MAX_BODY", "Context", "Metrics"]

MAX_BODY: Final = 8 * 1024 * 1024
"""Largest request body, in bytes: room for a pasted answer of 1 MiB with every byte escaped."""


class Metrics:
    """What `/metrics` tells, for this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "beta_registry_requests",
            "Requests answered.",
            ["route", "status"],
            registry=self.registry,
        )
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
    clock: Clock
    public_read: bool
    source_names: tuple[str, ...]
    offline: bool
    probing: str
    """Whether probing is on, as a sentence."""
    metrics: Metrics = field(default_factory=Metrics)

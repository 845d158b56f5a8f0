"""A registry with alerts, a clock that goes when told to, and receivers on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from standardwebhooks import Webhook

from registry import catalog
from registry.alerts import Alerts, Rules
from registry.alerts.deliveries import Load
from registry.core.facts import Event
from registry.db import Database
from registry.sealing import Sealer
from tests.alerts.receiver import Behave, Receiver, answers, receiver
from tests.factories import NOW, claim, finding

A, B = "thing-2026-01-01", "other-2026-01-01"
ROOMY = Load(room=100, slow_room=100)


@dataclass
class World:
    """What the tests of deliveries share."""

    database: Database
    now: datetime = NOW
    key: bytes = b"key"
    timeout: float = 3.0
    alerts: Alerts = field(init=False)

    def __post_init__(self) -> None:
        """Begin with two betas that nobody is told of."""
        self.alerts = self.another()
        with self.database.write() as session:
            made = [claim(name, "status", "active", source="docs") for name in (A, B)]
            catalog.apply(session, finding("docs", *made), NOW, NOW)
        self.send()

    def another(self) -> Alerts:
        """What another process with the same settings has."""
        rules = Rules(allow_private=True, timeout=self.timeout)
        return Alerts(
            self.database, lambda: Sealer(self.key), rules, self.clock, "http://registry.example"
        )

    def clock(self) -> datetime:
        """The time."""
        return self.now

    def later(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)

    def subscribe(self, listening: Receiver | str, **members: Any) -> int:
        """Subscribe a receiver, and let it have its welcome."""
        url = listening if isinstance(listening, str) else f"http://127.0.0.1:{listening.port}/hook"
        members = {"name": url, "channel": "webhook", "url": url, **members}
        made, _ = self.alerts.subscribe(members)
        self.send()
        if not isinstance(listening, str):
            listening.callers.clear()
        return made.id

    def happen(self, *names: str, status: str = "deprecated") -> tuple[int, ...]:
        """Let an operator say something of betas, all in one transaction; returns the events' ids."""
        self.later(seconds=1)
        with self.database.write() as session:
            before = catalog.newest(session, hold=True)
            made = [
                claim(name, "status", status, source="docs", on=str(self.now.date()))
                for name in names or (A,)
            ]
            writer = catalog.Writer(session, self.now)
            catalog.insert(session, made, self.now)
            writer.derive(set(names or (A,)), backfill=False)
            events: tuple[Event, ...] = writer.finish()
        return tuple(event.id for event in events if event.id > before)

    def send(self) -> int:
        """Do what the courier does, in this thread, until nothing is due; returns the attempts."""
        count = 0
        while claims := self.alerts.advance(ROOMY):
            count += len(claims)
            self.alerts.record([self.alerts.attempt(claim) for claim in claims])
        return count

    def statuses(self) -> list[str]:
        """How the deliveries of events stand, oldest first."""
        found = self.alerts.deliveries(500)
        return [item.status for item in reversed(found) if item.events]


def bodies(listening: Receiver) -> list[dict[str, Any]]:
    """What arrived, in its order."""
    return [json.loads(caller.body) for caller in listening.callers]


def ids(listening: Receiver) -> list[str]:
    """The ids of what arrived, in its order."""
    return [caller.headers["webhook-id"] for caller in listening.callers]


def events_in(body: dict[str, Any]) -> list[int]:
    """The events that a message holds."""
    data = body["data"]
    return sorted(item["event"]["id"] for item in (data, *data["others"]))


def verify(listening: Receiver, secret: str) -> None:
    """Check the signature of everything that arrived."""
    for caller in listening.callers:
        Webhook(secret).verify(caller.body, caller.headers)


@contextmanager
def listening(behave: Behave | None = None) -> Iterator[Receiver]:
    """Run a receiver that says 204 unless told otherwise."""
    with receiver(behave or answers(204)) as found:
        yield found

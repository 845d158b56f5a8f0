"""Usage as it is reported, and who is affected by what, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from registry import catalog, inventory
from registry.core.facts import Event
from registry.db import Database
from registry.inventory import Affected, Item, Recorded, Report
from tests.factories import NOW, claim, finding

LIVE, DYING, GONE = "thing-2026-01-01", "dying-2025-06-01", "gone-2024-12-01"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def database(database: Database) -> Database:
    """A registry that knows one beta that lives, one that is deprecated, and one that is retired."""
    made = [
        claim(LIVE, source="docs"), claim(LIVE, "gate", "public", source="docs"),
        claim(DYING, "status", "deprecated", source="docs"),
        claim(DYING, "superseded_by", LIVE, source="docs"),
        claim(GONE, "status", "retired", source="docs"),
    ]  # fmt: skip
    with database.write() as session:
        catalog.apply(session, finding("docs", *made), NOW - DAY, NOW - DAY)
    return database


def tell(
    database: Database, *items: Item | str, now: datetime = NOW, key: str | None = None, **more: Any
) -> Recorded:
    """Record a report of these items."""
    made = tuple(item if isinstance(item, Item) else Item(beta=item) for item in items)
    report = Report(**{"service": "checkout", "items": made} | more)
    with database.write() as session:
        return inventory.record(session, report, now, key)


def users(database: Database, beta: str, now: datetime = NOW, **more: Any) -> list[Affected]:
    """Who is affected by what happens to a beta."""
    with database.read() as session:
        return inventory.affected(session, [beta], now, **more)[beta]


def events(database: Database, *types: str) -> list[Event]:
    """The events of these types, oldest first."""
    with database.read() as session:
        return catalog.events(session, catalog.EventFilter(types=types, ascending=True), 1000)


def test_counts_of_clients_and_gateways_add_up(database: Database) -> None:
    """Two reports of the same beta: one user, both counts, first and last moment."""
    tell(database, Item(beta=LIVE, count=3, refused=1, model="claude-haiku-4-5"), platform="vertex")
    tell(database, Item(beta=LIVE, count=4), platform="vertex", now=NOW + HOUR, source="gateway")
    tell(database, Item(beta=LIVE, count=5), platform="vertex", now=NOW + HOUR)
    (found,) = users(database, LIVE, NOW + HOUR)
    assert (found.service, found.environment, found.platform) == ("checkout", "default", "vertex")
    assert (found.count_24h, found.refused_24h, found.last_seen) == (12, 1, NOW + HOUR)


def test_a_scan_replaces_the_earlier_one_of_its_instance(database: Database) -> None:
    """What it no longer finds is gone, with its places; other instances and sources stay."""
    tell(database, Item(beta=LIVE, path="a.py", line=1), Item(beta=LIVE, path="a.py", line=9),
         Item(beta=GONE, path="b.py", line=2), source="scan", instance="api")  # fmt: skip
    tell(database, Item(beta=GONE, path="w.py", line=3), source="scan", instance="web")
    tell(database, GONE)
    tell(database, Item(beta=LIVE, path="a.py", line=4), source="scan", instance="api",
         now=NOW + HOUR)  # fmt: skip
    (live,), (gone,) = users(database, LIVE), users(database, GONE)
    assert [(at.path, at.line) for at in live.locations] == [("a.py", 4)]
    assert [(at.path, at.line) for at in gone.locations] == [("w.py", 3)]
    assert (live.count_24h, gone.count_24h) == (0, 1)

"""Usage: items a second into both databases, and the inventory of a large organisation, beside bare SQL.

Each figure stands beside the least that could do the same: for reports one `INSERT ... ON CONFLICT` of the
same rows by the driver alone, without services, risks, idempotency or bounds; for reads one SELECT.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import sqlalchemy as sa

from bench.table import show
from registry import catalog, inventory
from registry.core.facts import Claim, Finding
from registry.core.judgement import Judges
from registry.db import Database, upgrade
from tests import postgres

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ITEMS, SERVICES, ROUNDS = 500, 20, 3
BIG_SERVICES, BETAS, DAYS, RUNS = 10_000, 5, 90, 7
NAMES = [f"beta{number}-2026-01-01" for number in range(ITEMS)]

BARE_TABLE = """CREATE TABLE bare (service text, environment text, beta text, source text, platform text,
    hour integer, count bigint, accepted bigint, refused bigint,
    PRIMARY KEY (service, environment, beta, source, platform, hour))"""
BARE_INSERT = (
    "INSERT INTO bare VALUES {values} ON CONFLICT (service, environment, beta, source, platform, hour) "
    "DO UPDATE SET count = bare.count + excluded.count, accepted = bare.accepted + excluded.accepted, "
    "refused = bare.refused + excluded.refused"
)


def run() -> None:
    """Measure reports into both databases, then reads of a large inventory."""
    with tempfile.TemporaryDirectory() as folder, postgres.server() as server:
        lite = f"sqlite:///{folder}/bench.db"
        rows = []
        for name, url in (("SQLite", lite), ("PostgreSQL", server)):
            database = _registry(url)
            bare = _bare_sqlite(Path(folder)) if name == "SQLite" else _bare_postgres(server)
            ours = _record_all(database)
            rows += [
                (name, kind, f"{ours[place]:,.0f}", f"{bare[place]:,.0f}",
                 f"{bare[place] / ours[place]:.1f}")
                for place, kind in enumerate(("new rows", "rows that are there"))
            ]  # fmt: skip
            database.close()
        columns = ("database", "batches of 500", "items/s", "bare items/s", "times the bare time")
        show(f"reports of {SERVICES} services, {ITEMS} betas each, one thread", columns, rows)
        _large(server)


def _registry(url: str) -> Database:
    """Make a database that knows the betas."""
    upgrade(url)
    database = Database(url)
    claims = tuple(
        Claim(beta=name, field="status", value="active", source="docs", basis="declared", at=NOW)
        for name in NAMES
    )
    with database.write() as session:
        catalog.apply(session, Finding(source="docs", claims=claims), NOW, NOW)
    return database


# --- Reports --------------------------------------------------------------------------------------


def _rates(report: Callable[[str], None]) -> tuple[float, float]:
    """Return items a second: of the first report of each service, and of the later ones."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for number in range(SERVICES):
            report(f"service-{number}")
        times.append(time.perf_counter() - started)
    items = ITEMS * SERVICES
    return items / times[0], items / median(times[1:])


def _record_all(database: Database) -> tuple[float, float]:
    with database.read() as session:
        snapshot = catalog.snapshot(session)
    items = tuple(inventory.Item(beta=name, count=3, accepted=2, refused=0) for name in NAMES)

    def report(service: str) -> None:
        made = inventory.Report(service=service, environment="prod", platform="vertex", items=items)
        with database.write() as session:
            inventory.record(session, made, NOW, snapshot=snapshot)

    return _rates(report)


def _bare_rows(service: str) -> list[tuple[object, ...]]:
    hour = int(NOW.timestamp() // 3600)
    return [(service, "prod", name, "client", "vertex", hour, 3, 2, 0) for name in NAMES]


def _bare_sqlite(folder: Path) -> tuple[float, float]:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(BARE_TABLE)
    statement = BARE_INSERT.format(values=f"({', '.join('?' * 9)})")

    def report(service: str) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, _bare_rows(service))
        connection.execute("COMMIT")

    found = _rates(report)
    connection.close()
    return found


def _bare_postgres(server: str) -> tuple[float, float]:
    one = f"({', '.join(['%s'] * 9)})"
    statement = BARE_INSERT.format(values=", ".join([one] * ITEMS))
    with psycopg.connect(server) as connection:
        connection.execute(BARE_TABLE)
        connection.commit()

        def report(service: str) -> None:
            connection.execute(statement, [cell for row in _bare_rows(service) for cell in row])
            connection.commit()

        return _rates(report)


# --- Reads ----------------------------------------------------------------------------------------

FILL = """
SET session_replication_role = replica;
TRUNCATE services CASCADE;
INSERT INTO services (name, team, contacts, defaults, origin, created_at, changed_at, last_seen)
    SELECT 'service-' || s, 'team-' || s % 200, '[]', '{{}}', 'report', '{now}', '{now}', '{now}'
    FROM generate_series(1, {services}) s;
INSERT INTO usages (service, environment, beta, source, platform, instance, models, first_seen, last_seen,
                    count_30d, accepted_30d, refused_30d)
    SELECT 'service-' || s, 'prod', 'beta' || (s + b) % 100 || '-2026-01-01', 'client', 'vertex', '', '[]',
           '{now}', '{now}', 30 * 7, 30 * 7, 0
    FROM generate_series(1, {services}) s, generate_series(1, {betas}) b;
INSERT INTO usage_counts SELECT u.id, {hour} - d * 24, 7, 7, 0
    FROM usages u, generate_series(0, {days} - 1) d;
SET session_replication_role = DEFAULT;
ANALYZE services; ANALYZE usages; ANALYZE usage_counts
"""


def _large(server: str) -> None:
    started = time.perf_counter()
    text = FILL.format(
        services=BIG_SERVICES, betas=BETAS, days=DAYS, now=NOW.isoformat(),
        hour=int(NOW.timestamp() // 3600),
    )  # fmt: skip
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in text.split(";"):
            connection.execute(statement)
        filled = time.perf_counter() - started
        rows = _reads(Database(server), connection)
    total = BIG_SERVICES * BETAS * DAYS
    show(f"PostgreSQL, {BIG_SERVICES:,} services x {BETAS} betas x {DAYS} days = {total:,} counts "
         f"(made in {filled:.0f} s), median of {RUNS}",
         ("what", "ms", "bare SQL ms", "times"), rows)  # fmt: skip


BARE_BETA = """SELECT u.service, u.environment, s.team, u.last_seen FROM usages u
    JOIN services s ON s.name = u.service WHERE u.beta = 'beta7-2026-01-01' ORDER BY 1, 2 LIMIT 100"""
BARE_ALL_USERS = """SELECT u.service, u.environment, s.team, u.last_seen, (SELECT sum(c.count)
    FROM usage_counts c WHERE c.usage = u.id AND c.hour >= {day}) FROM usages u
    JOIN services s ON s.name = u.service WHERE u.beta = 'beta7-2026-01-01' ORDER BY 1, 2"""
BARE_ALL = """SELECT {key}, count(DISTINCT u.service), sum(u.count_30d), max(u.last_seen) FROM usages u
    JOIN services s ON s.name = u.service GROUP BY 1 ORDER BY 1 LIMIT 100"""
BARE_DAYS = """SELECT u.beta, count(DISTINCT u.service), sum(c.count) FROM usages u
    JOIN usage_counts c ON c.usage = u.id WHERE c.hour >= {month} GROUP BY 1 ORDER BY 1"""


def _reads(
    database: Database, connection: psycopg.Connection[Any]
) -> list[tuple[str, str, str, str]]:
    hour = int(NOW.timestamp() // 3600)
    one = inventory.Filter(betas=("beta7-2026-01-01",))
    with database.read() as session:
        judge = Judges(catalog.snapshot(session), NOW.date())
        asks: list[tuple[str, Callable[[], object], str]] = [
            ("who uses one beta: first page of 100",
             lambda: inventory.users(session, judge, NOW, one), BARE_BETA),
            ("all whom one beta affects (500)",
             lambda: inventory.affected(session, one.betas, judge, NOW), BARE_ALL_USERS.format(day=hour - 24)),
            ("blast radius of one beta", lambda: inventory.radius(session, judge, NOW, one),
             BARE_ALL.format(key="u.beta") .replace("GROUP", "WHERE u.beta = 'beta7-2026-01-01' GROUP")),
            ("the organisation by beta", lambda: inventory.rows(session, judge, NOW, "beta"),
             BARE_ALL.format(key="u.beta")),
            ("the organisation by team", lambda: inventory.rows(session, judge, NOW, "team"),
             BARE_ALL.format(key="s.team")),
            ("the organisation by service: first page",
             lambda: inventory.rows(session, judge, NOW, "service"), BARE_ALL.format(key="u.service")),
            ("the organisation by status", lambda: inventory.rows(session, judge, NOW, "status"),
             BARE_ALL.format(key="'active'")),
            ("services with health: first page",
             lambda: inventory.services(session, judge, NOW), BARE_ALL.format(key="u.service")),
            ("the organisation by beta, bare from the counts",
             lambda: inventory.rows(session, judge, NOW, "beta"),
             BARE_DAYS.format(month=inventory.window_starts(NOW))),
        ]  # fmt: skip
        found = []
        for name, ask, bare in asks:
            ours = _time(ask)
            plain = _time(lambda bare=bare: connection.execute(sa.text(bare).text).fetchall())  # type: ignore[misc]
            found.append((name, f"{ours:.1f}", f"{plain:.1f}", f"{ours / plain:.1f}"))
    return found


def _time(ask: Callable[[], object]) -> float:
    """Return the median time in milliseconds."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        ask()
        times.append((time.perf_counter() - started) * 1000)
    return median(times)

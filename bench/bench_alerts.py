"""What alerts weigh: a process that is killed again and again, a storm, and the way of a retirement.

`kills`: 200 events while the serving process gets SIGKILL 100 times at random moments. `storm`: 10,000
events to 50 subscriptions, one dead and one that takes 10 s an answer. `retirement`: from the end of the
sweep that found it to the webhook.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import sqlalchemy as sa
from standardwebhooks import Webhook

from bench.table import show
from registry import catalog, db, simulator
from registry.alerts import Alerts, Rules
from registry.alerts.courier import Courier
from registry.core.facts import Claim, Event
from registry.db import Database
from registry.models import AlertRow, DeliveryRow
from registry.sealing import Sealer
from tests import postgres

KILLS, EVENTS = 100, 200
STORM_EVENTS, STORM_BATCH, SUBSCRIPTIONS = 10_000, 100, 50
KEY = "a-key-for-the-measurement"
BETA = "thing-2026-01-01"


def run() -> None:
    """Print the three tables; KILLS=no leaves the first out, which takes five minutes."""
    if os.environ.get("KILLS") != "no":
        _kills()
    rows = [_storm("SQLite", url) for url in _sqlite()]
    rows += [_storm("PostgreSQL", url) for url in _postgres()]
    columns = (
        "database", "fan-out", "delivered", "drained in", "events/s", "messages/s", "median delay", "p99 delay",
    )  # fmt: skip
    show(
        f"{STORM_EVENTS:,} events in {STORM_EVENTS // STORM_BATCH} transactions to {SUBSCRIPTIONS} "
        "subscriptions, one dead, one slow (10 s)", columns, rows,
    )  # fmt: skip
    _retirement()


# --- A receiver -----------------------------------------------------------------------------------


class _Receiver(ThreadingHTTPServer):
    """Notes what arrives, and checks the signature where it has the secret."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[float, str, str, dict[str, Any]]] = []
        self.secret: str | None = None
        self.whole = True
        self.bad = 0
        self.delay: Any = lambda: 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver
    protocol_version: ClassVar[str] = "HTTP/1.1"  # type: ignore[misc]  # the library's own style

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.secret:
            try:
                Webhook(self.server.secret).verify(body, dict(self.headers.items()))
            except Exception:  # whatever is wrong with it, it is counted
                self.server.bad += 1
        time.sleep(10 if self.path == "/slow" else self.server.delay())
        data = json.loads(body)["data"] if self.server.whole else {"event": {"id": _first(body)}}
        self.server.seen.append((time.time(), self.path, self.headers["webhook-id"], data))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _first(body: bytes) -> int:
    """Return the event that a message is about, without reading all of it: the receiver shares our cores."""
    found = re.search(rb'"event":\{.{0,4000}?"id":(\d+)', body, re.DOTALL)
    return int(found[1]) if found else 0


@contextmanager
def _receiver() -> Iterator[_Receiver]:
    server = _Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def _alerts(database: Database) -> Alerts:
    rules = Rules(allow_private=True)
    return Alerts(database, lambda: Sealer(KEY.encode()), rules, _now, "http://registry.example")


def _now() -> datetime:
    return datetime.now(UTC)


def _events_of(data: dict[str, Any]) -> list[int]:
    return [item["event"]["id"] for item in (data, *data["others"]) if item["event"]]


# --- Killed again and again -----------------------------------------------------------------------


def _kills() -> None:
    random.seed(20261124)
    with tempfile.TemporaryDirectory() as folder, _receiver() as there:
        url = f"sqlite:///{folder}/registry.db"
        db.upgrade(url)
        database = Database(url)
        _know(database)
        there.delay = lambda: random.uniform(0, 0.2)
        _, there.secret = _alerts(database).subscribe(
            {"name": "x", "channel": "webhook", "url": f"{there.url}/hook"}
        )
        expected: set[int] = set()
        writer = threading.Thread(target=_write_slowly, args=(database, expected), daemon=True)
        writer.start()
        for _ in range(KILLS):
            process = _serve(folder)
            time.sleep(random.uniform(0, 1.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
        writer.join()
        process = _serve(folder)
        end = time.monotonic() + 240
        while _open(database) and time.monotonic() < end:
            time.sleep(0.2)
        process.terminate()
        process.wait()
        database.close()
    arrived: dict[int, set[str]] = {}
    tries = Counter(number for _, _, number, data in there.seen if data["event"])
    for _, _, number, data in there.seen:
        for event in _events_of(data):
            arrived.setdefault(event, set()).add(number)
    show(f"{KILLS} times SIGKILL while {EVENTS} events are delivered (SQLite)", ("what", "figure"), [
        ("events recorded", len(expected)),
        ("events that arrived", len(expected & set(arrived))),
        ("lost", len(expected - set(arrived))),
        ("with a second id", sum(len(ids) > 1 for ids in arrived.values())),
        ("messages that came more than once, under their id", sum(n > 1 for n in tries.values())),
        ("duplicates in all", sum(tries.values()) - len(tries)),
        ("bad signatures", there.bad),
    ])  # fmt: skip


def _know(database: Database) -> None:
    with database.write() as session:
        made = [_claim("active")]
        writer = catalog.Writer(session, _now())
        catalog.insert(session, made, _now())
        writer.derive({BETA}, backfill=False)
        writer.finish()


def _claim(status: str) -> Claim:
    return Claim(
        beta=BETA, field="status", value=status, source="docs", basis="declared", at=_now()
    )


def _write_slowly(database: Database, expected: set[int]) -> None:
    """Record events one by one, spread over the time in which the process is killed."""
    for number in range(EVENTS):
        with database.write() as session:
            writer = catalog.Writer(session, _now())
            writer.record(_event(number))
            expected.update(event.id for event in writer.finish())
        time.sleep(random.uniform(0.2, 1.6))


def _event(number: int) -> Event:
    return Event(
        type="beta.changed", at=_now(), reason=f"Change {number}.", source="docs", beta=BETA,
        feature="thing",
    )  # fmt: skip


def _serve(folder: str) -> subprocess.Popen[bytes]:
    """Start the service, and return when it is up."""
    environment = {
        **os.environ, "BETA_REGISTRY_OFFLINE": "true", "BETA_REGISTRY_SECRET_KEY": KEY,
        "BETA_REGISTRY_RECEIVERS_PRIVATE": "true", "BETA_REGISTRY_PORT": "0",
        "BETA_REGISTRY_DATABASE_URL": f"sqlite:///{folder}/registry.db",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "registry.cli", "serve"], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _open(database: Database) -> int:
    with database.read() as session:
        waiting = sa.select(sa.func.count()).where(DeliveryRow.status.in_(("pending", "failed")))
        unsent = sa.select(sa.func.count()).where(AlertRow.delivery.is_(None))
        return (session.scalar(waiting) or 0) + (session.scalar(unsent) or 0)


# --- A storm --------------------------------------------------------------------------------------


def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/registry.db"
        db.upgrade(url)
        yield url


def _postgres() -> Iterator[str]:
    with postgres.server() as url:
        db.upgrade(url)
        yield url


def _storm(name: str, url: str) -> tuple[str, ...]:
    database = Database(url)
    with _receiver() as there:
        there.whole = False
        _know(database)
        alerts = _alerts(database)
        for number in range(SUBSCRIPTIONS):
            where = {0: "http://127.0.0.1:1", 1: f"{there.url}/slow"}.get(
                number, f"{there.url}/{number}"
            )
            alerts.subscribe({"name": str(number), "channel": "webhook", "url": where})
        courier = Courier(alerts)
        courier.start()
        _settle(there, SUBSCRIPTIONS - 2)
        there.seen.clear()
        begun = time.time()
        recorded: dict[int, float] = {}
        for start in range(0, STORM_EVENTS, STORM_BATCH):
            with database.write() as session:
                writer = catalog.Writer(session, _now())
                for number in range(STORM_BATCH):
                    writer.record(_event(start + number))
                events = writer.finish()
            recorded.update(dict.fromkeys((event.id for event in events), time.time()))
        fanned_out = _wait_fan_out(database, begun)
        wanted = (SUBSCRIPTIONS - 2) * (STORM_EVENTS // STORM_BATCH)
        took = _settle(there, wanted, begun)
        courier.stop()
    database.close()
    good = [(at, data) for at, path, _, data in there.seen if path != "/slow"]
    delays = sorted(at - recorded[data["event"]["id"]] for at, data in good)
    return (
        name, f"{fanned_out:.1f} s", f"{len(good):,}", f"{took:.1f} s",
        f"{STORM_EVENTS * (SUBSCRIPTIONS - 2) / took:,.0f}", f"{len(good) / took:,.0f}",
        f"{delays[len(delays) // 2]:.1f} s", f"{delays[int(len(delays) * 0.99)]:.1f} s",
    )  # fmt: skip


def _settle(there: _Receiver, wanted: int, begun: float = 0.0) -> float:
    """Wait until so many messages arrived at receivers that work; returns the seconds since `begun`."""
    end = time.monotonic() + 600
    while sum(path != "/slow" for _, path, _, _ in there.seen) < wanted:
        if time.monotonic() > end:
            sys.exit(f"{wanted} messages were expected; {len(there.seen)} came.")
        time.sleep(0.05)
    return time.time() - begun


def _wait_fan_out(database: Database, begun: float) -> float:
    from registry.alerts import deliveries

    while True:
        with database.read() as session:
            if not deliveries.batches(session):
                return time.time() - begun
        time.sleep(0.05)


# --- A retirement ---------------------------------------------------------------------------------


def _retirement() -> None:
    """From the end of the sweep that finds a retirement to the webhook, ten times."""
    delays: list[float] = []
    os.environ["BENCH_KEY"] = "sk-ant-bench"
    world = simulator.create_simulator(
        {"betas": [{"beta": "*-20*"}, {"beta": "never-*", "do": "refuse"}]}
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator.running(world) as upstream,
        _receiver() as there,
    ):
        target = {
            "name": "t", "platform": "anthropic", "base_url": upstream, "api_key_env": "BENCH_KEY",
            "endpoint": "count_tokens", "every": "1s", "confirm_every": "1s",
        }  # fmt: skip
        os.environ["BETA_REGISTRY_TARGETS"] = json.dumps([target])
        process = _serve(folder)
        database = Database(f"sqlite:///{folder}/registry.db")
        _alerts(database).subscribe({
            "name": "x", "channel": "webhook", "url": f"{there.url}/hook",
            "filter": {"types": ["beta.retired"]},
        })  # fmt: skip
        names = ["effort-2025-11-24", "mcp-client-2025-11-20", "computer-use-2025-11-24",
                 "compact-2026-01-12", "skills-2025-10-02"]  # fmt: skip
        _wait_for(lambda: _health(database) == "ok")
        time.sleep(3)
        for place in range(len(names)):
            world.patch({"timeline": [
                {"at": 0, "beta": name, "do": "refuse"} for name in names[: place + 1]
            ]})  # fmt: skip
            _wait_for(lambda n=place: sum(bool(d["event"]) for *_, d in there.seen) > n)
            at, *_, data = [item for item in there.seen if item[3]["event"]][-1]
            ended = _sweep_end(database, data["event"]["at"])
            delays.append(at - ended)
        process.terminate()
        process.wait()
        database.close()
    del os.environ["BETA_REGISTRY_TARGETS"]
    show("From the end of the sweep that found a retirement to the webhook", ("what", "figure"), [
        ("median of 5", f"{sorted(delays)[2]:.2f} s"), ("longest", f"{max(delays):.2f} s"),
    ])  # fmt: skip


def _health(database: Database) -> str:
    from registry import targets

    with database.read() as session:
        return next((item.health for item in targets.statuses(session)), "never")


def _sweep_end(database: Database, at: str) -> float:
    """Return when the sweep ended that recorded an event."""
    from registry import targets

    recorded = datetime.fromisoformat(at)
    with database.read() as session:
        ends = [s.ended_at for s in targets.sweeps(session, limit=50) if s.ended_at]
    return max(end for end in ends if end <= recorded).timestamp()


def _wait_for(true: Any) -> None:
    end = time.monotonic() + 120
    while not true():
        if time.monotonic() > end:
            sys.exit("What was waited for did not come.")
        time.sleep(0.05)

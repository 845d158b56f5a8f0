"""`GET /v1/header` against a raw ASGI app and an ordinary route: requests a second, and p99.

One server process on one core, wrk on the other, all variants in one run and in turn, so that they
share whatever else the machine does. Needs `wrk`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from bench.apps import QUERY
from bench.table import show
from registry import auth, config, jobs
from registry.db import Database, upgrade
from registry.sources.catalog import CatalogSource

SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
CONNECTIONS = 32

DISTINCT = """
local n = 0
request = function()
  n = (n + 1) % 1000
  return wrk.format("GET", "/v1/header?feature=mcp-client&on_unknown=pass&beta=mine-" .. n .. "-2026-01-01")
end
"""


@dataclass(frozen=True)
class Figure:
    """What wrk measured of one variant."""

    per_second: float
    p99_ms: float
    errors: int


def run() -> None:
    """Measure all variants under both servers and print them."""
    if not shutil.which("wrk"):
        sys.exit("The measurement needs wrk; install the package of that name.")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        secret = _prepare(url)
        script = Path(folder) / "distinct.lua"
        script.write_text(DISTINCT)
        for server in ("uvicorn", "granian"):
            _measure(server, url, secret, str(script))


def _measure(server: str, database_url: str, secret: str, script: str) -> None:
    token, text = f"Authorization: Bearer {secret}", "Accept: text/plain"
    one = f"/v1/header?{QUERY}"
    with (
        _serving(server, "raw", database_url) as raw_url,
        _serving(server, "product", database_url) as url,
        _serving(server, "ordinary", database_url) as slow_url,
    ):
        variants: list[tuple[str, str, list[str], str | None]] = [
            ("raw ASGI, constant body", raw_url + one, [], None),
            ("raw ASGI, 1,000 queries", raw_url + one, [], script),
            ("/v1/header, one query, JSON", url + one, [], None),
            ("/v1/header, one query, text", url + one, [text], None),
            ("/v1/header, one query, JSON, token", url + one, [token], None),
            ("/v1/header, 304", url + one, [f"If-None-Match: {_tag(url + one)}"], None),
            ("/v1/header, 1,000 queries, JSON", url + one, [], script),
            ("/v1/header, 1,000 queries, text", url + one, [text], script),
            ("ordinary FastAPI route", slow_url + one, [], None),
        ]
        for target in (raw_url, url, slow_url):
            _wrk(target + one, [], None, 1)
        figures = [_wrk(at, sent, lua, SECONDS) for _, at, sent, lua in variants]
    raw, ordinary = figures[0].per_second, figures[-1].per_second
    rows = [
        (name, f"{f.per_second:,.0f}", f"{f.p99_ms:.2f}", f"{f.per_second / raw:.2f}",
         f"{f.per_second / ordinary:.1f}", f.errors)
        for (name, *_), f in zip(variants, figures, strict=True)
    ]  # fmt: skip
    show(f"{server}, one core, {CONNECTIONS} connections, {SECONDS} s each",
         ("variant", "requests/s", "p99 ms", "of raw", "of ordinary", "errors"), rows)  # fmt: skip


def _prepare(url: str) -> str:
    """Fill a database and make a token."""
    upgrade(url)
    database = Database(url)
    with httpx2.Client() as http:
        jobs.sync(database, CatalogSource(), http, config.now)
    with database.write() as session:
        _, secret = auth.create(session, "bench", "read", config.now())
    database.close()
    return secret


@contextmanager
def _serving(server: str, app: str, database_url: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    factory = ["--factory"] if app != "raw" else []
    command = {
        "uvicorn": [sys.executable, "-m", "uvicorn", f"bench.apps:{app}", *factory, "--port", port,
                    "--log-level", "critical", "--no-access-log", "--no-server-header"],
        "granian": [str(Path(sys.executable).with_name("granian")), f"bench.apps:{app}", *factory,
                    "--interface", "asgi", "--port", port, "--no-log", "--workers", "1"],
    }[server]  # fmt: skip
    settings = {"BETA_REGISTRY_DATABASE_URL": database_url, "BETA_REGISTRY_SCHEDULER": "false"}
    process = subprocess.Popen(
        [*_pinned(0), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **settings},
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url)
        yield url
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()
        process.terminate()
        process.wait()


def _pinned(core: int) -> Sequence[str]:
    return ["taskset", "-c", str(core)] if shutil.which("taskset") else []


def _wait(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(httpx2.HTTPError):
            httpx2.get(f"{url}/v1/header", timeout=5)
            return
        time.sleep(0.1)
    sys.exit("The server did not start.")


def _tag(url: str) -> str:
    return str(httpx2.get(url).headers["etag"])


def _wrk(url: str, headers: Sequence[str], script: str | None, seconds: int) -> Figure:
    command = [*_pinned(1), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    if script:
        command += ["-s", script]
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    assert rate
    assert p99
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return Figure(float(rate[1]), float(p99[1]) * scale, int(bad[1]) if bad else 0)

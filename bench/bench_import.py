"""Importing a gateway's log of a million lines into SQLite: lines a second, and memory.

It runs in a process of its own, so that the memory is that of the import alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.table import show
from registry.db import upgrade

LINES = 1_000_000
BETAS = ("mcp-client-2025-11-20", "files-api-2025-04-14", "context-1m-2025-08-07")


def run() -> None:
    """Measure the first import, and the same file again."""
    with tempfile.TemporaryDirectory() as folder:
        path, url = Path(folder) / "access.jsonl", f"sqlite:///{folder}/registry.db"
        _write(path)
        upgrade(url)
        size = path.stat().st_size / 2**20
        rows = [_measured(what, path, url) for what in ("first import", "the same file again")]
    columns = (
        "1,000,000 lines of JSON, 20 services",
        "lines/s",
        "CPU s",
        "peak memory, MB",
        "counted",
    )
    show(f"Import of a gateway's log of {size:.0f} MB into SQLite", columns, rows)


def _write(path: Path) -> None:
    """Write a log as a gateway does: in the order of time, over one day."""
    start = datetime.now(UTC) - timedelta(days=1)
    with path.open("w") as file:
        for number in range(LINES):
            row = {
                "time": (start + timedelta(seconds=number * 86400 / LINES)).isoformat(),
                "service": f"service-{number * 7 % 20}",
                "request": {
                    "headers": {"anthropic-beta": BETAS[number % 3], "user-agent": "python/3.12"},
                    "model": "claude-sonnet-4-5",
                },
                "status": 200,
            }
            file.write(json.dumps(row) + "\n")


def _measured(what: str, path: Path, url: str) -> tuple[object, ...]:
    command = [sys.executable, "-m", "registry.cli", "usage", "import", "--json"]
    begun = time.perf_counter()
    with subprocess.Popen(
        [*command, "--database-url", url, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    assert process.returncode == 0
    cpu = used.ru_utime + used.ru_stime
    return (
        what, f"{LINES / seconds:,.0f}", f"{cpu:.0f}", f"{used.ru_maxrss / 1024:.0f}",
        f"{told['requests']:,}",
    )  # fmt: skip

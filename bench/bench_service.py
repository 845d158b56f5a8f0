"""What the running service weighs: time to the first answer, memory, and time to list and resolve."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import httpx2
import psutil

from bench.table import show

PORT = 18431


def run() -> None:
    """Start the service from nothing and once more, and weigh it."""
    with tempfile.TemporaryDirectory() as folder:
        first, _ = _start(folder)
        second, megabytes = _start(folder)
    help_time = min(_timed([sys.executable, "-m", "registry.cli", "--help"]) for _ in range(5))
    show("The service", ("what", "figure"), [
        ("first start, empty folder, to ready", f"{first:.2f} s"),
        ("second start, to ready", f"{second:.2f} s"),
        ("memory (RSS) after 200 header answers", f"{megabytes:.0f} MB"),
        ("beta-registry --help", f"{help_time:.2f} s"),
    ])  # fmt: skip


def _start(folder: str) -> tuple[float, float]:
    environment = {**os.environ, "BETA_REGISTRY_SOURCES": "catalog"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "registry.cli", "serve", "--port", str(PORT)], cwd=folder,
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{PORT}/readyz").status_code == 200:
                    break
            if process.poll() is not None or time.perf_counter() - begun > 60:
                sys.exit(f"The service did not start on port {PORT}.")
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        with httpx2.Client(base_url=f"http://127.0.0.1:{PORT}") as http:
            for number in range(200):
                http.get(f"/v1/header?feature=mcp-client&on_unknown=pass&beta=n{number}-2026-01-01")
        return seconds, psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        process.wait()


def _timed(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun

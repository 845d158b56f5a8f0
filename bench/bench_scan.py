"""The repository scan beside `rg -o`: the same tree, the same shape of name, both processors.

The tree is the installed site-packages. Both are run in turns, so that a busy machine slows both alike;
the table shows the best of each. Memory is the peak of all processes of a run together.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from bench.table import show

# The shape that `core/scan.py` looks for. It also tells look-alikes, judges, and finds undated names.
PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*[-_.]20[0-9]{2}[-_.]?[0-9]{2}[-_.]?[0-9]{2}"
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    processor: float
    megabytes: float
    lines: int


def run() -> None:
    """Scan the installed packages with both, and compare."""
    rg = shutil.which("rg")
    if rg is None:
        print("No rg here to compare with; `apt-get install ripgrep` brings it.")
    tree = sysconfig.get_paths()["purelib"]
    scan = [sys.executable, "-m", "registry.cli", "scan", "--format", "csv", "--fail-on", "never"]
    commands = {"beta-registry scan": [*scan, tree]}
    if rg:
        commands["rg -o"] = [rg, "-o", "--hidden", "--no-ignore-parent", PATTERN, tree]
    runs: dict[str, list[_Run]] = {name: [] for name in commands}
    for _ in range(ROUNDS + 1):
        for name, command in commands.items():
            runs[name].append(_measured(command))
    best = {name: min(found[1:], key=lambda one: one.seconds) for name, found in runs.items()}
    _show(tree, best)


def _show(tree: str, best: dict[str, _Run]) -> None:
    files = sum(len(names) for _, _, names in os.walk(tree))
    rows: list[tuple[object, ...]] = [
        (name, f"{one.seconds:.2f}", f"{one.processor:.2f}", f"{one.megabytes:.0f}", one.lines)
        for name, one in best.items()
    ]
    if len(best) == 2:
        ours, theirs = best.values()
        rows.append(
            ("ratio", f"{ours.seconds / theirs.seconds:.1f}",
             f"{ours.processor / theirs.processor:.1f}", "", "")
        )  # fmt: skip
    title = f"Scan of {files:,} files on {os.cpu_count()} processors, best of {ROUNDS}"
    show(title, ("what", "wall s", "processor s", "peak MB", "lines"), rows)


def _measured(command: Sequence[str]) -> _Run:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out:
        before = os.times()
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=out)
        peak: list[float] = [0.0]
        watch = threading.Thread(target=_watch, args=(process, peak))
        watch.start()
        code = process.wait()
        seconds = time.perf_counter() - begun
        after = os.times()
        watch.join()
        if code not in (0, 1):
            sys.exit(f"{command[0]} ended with {code}.")
        out.seek(0)
        spent = after.children_user + after.children_system
        spent -= before.children_user + before.children_system
        return _Run(seconds, spent, peak[0], sum(1 for _ in out))


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    """Add up what all processes of a run hold; pages that they share count once for each."""
    while process.poll() is None:
        try:
            root = psutil.Process(process.pid)
            held = sum(one.memory_info().rss for one in (root, *root.children(recursive=True)))
            peak[0] = max(peak[0], held / 1e6)
        except psutil.Error:
            pass
        time.sleep(0.02)

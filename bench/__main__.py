"""Run all measurements, or those named: `make bench B="hot_path"`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

KNOWN = sorted(
    path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
)


def main() -> None:
    """Run the named measurements one after the other."""
    wanted = sys.argv[1:] or KNOWN
    for name in wanted:
        if name not in KNOWN:
            sys.exit(f"{name!r} is no measurement; there are {', '.join(KNOWN)}.")
        importlib.import_module(f"bench.bench_{name}").run()


main()

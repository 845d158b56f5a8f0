"""Run all measurements, or those named: `make bench B="hot_path"`, or `B="verdicts sweeps=9"`."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

KNOWN = sorted(
    path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
)


def main() -> None:
    """Run the named measurements one after the other, each with the settings that it knows."""
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    wanted = [word for word in sys.argv[1:] if "=" not in word] or KNOWN
    for name in wanted:
        if name not in KNOWN:
            sys.exit(f"{name!r} is no measurement; there are {', '.join(KNOWN)}.")
        measure = importlib.import_module(f"bench.bench_{name}").run
        known = inspect.signature(measure).parameters
        if unknown := [key for key in given if len(wanted) == 1 and key not in known]:
            sys.exit(f"{name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}.")
        measure(**{key: value for key, value in given.items() if key in known})


main()

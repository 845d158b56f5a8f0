"""The command line: each command calls a job, the catalog or the core, and prints the result.

Reading commands work against a registry (`--url`), the local database, or the bundled catalog with
nothing installed but the light client; so whatever belongs to the server is imported by the commands
that need it, which also keeps `--help` quick. One file a group of commands; `frame.py` is what they share.

Exit codes: 0 fine, 1 error; `check` and `scan` add 2 (deprecated, needless or unknown) and 3 (would fail).
"""

from registry.cli import (
    alerts,
    changelog,
    exchange,
    inventory,
    operating,
    probing,
    reading,
    scan,
    usage,
)
from registry.cli.frame import cli, main

__all__ = [
    "alerts", "changelog", "cli", "exchange", "inventory", "main", "operating", "probing", "reading",
    "scan", "usage",
]  # fmt: skip

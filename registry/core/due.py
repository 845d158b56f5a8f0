"""What is due, by moments that were stored and clocks that may be set.

Processes share moments as wall times. When a clock is set back, a stored moment lies in the future, and
nobody can tell how long ago it was. What waits for it is then due: once too early, instead of as much too
late as the clock was set back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

__all__ = ["holds", "is_due"]


def is_due(now: datetime, since: datetime | None, wait: timedelta) -> bool:
    """Say whether `wait` is over that began at `since`; None: it never began."""
    return since is None or not since <= now < since + wait


def holds(until: datetime, now: datetime, longest: timedelta) -> bool:
    """Say whether what was granted until then, for `longest` at most, still holds."""
    return now < until <= now + longest

"""When a known end draws near, and whether that was told already.

A date is told 90, 30, 7 and 1 days ahead, once each; who learns of it late hears the nearest only. A date
that moves is another date, so its days count anew. Days are days in UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from typing import Final

from registry.core.facts import Beta, Event

__all__ = ["DAYS_AHEAD", "approaching", "told"]

DAYS_AHEAD: Final = (90, 30, 7, 1)
"""How many days ahead an end is told."""


def approaching(beta: Beta, known: Collection[tuple[date, int]], today: date) -> int | None:
    """Return which of `DAYS_AHEAD` is to be told of a beta today, if any.

    `known` holds what was told of it: dates, and how many days ahead. The last day counts as one ahead.
    """
    end = beta.sunset_on
    if end is None or end < today or beta.status not in ("active", "deprecated"):
        return None
    left = (end - today).days
    due = min((days for days in DAYS_AHEAD if days >= left), default=None)
    if due is None or any(day == end and days <= due for day, days in known):
        return None
    return due


def told(events: Iterable[Event]) -> dict[str, set[tuple[date, int]]]:
    """Read from `beta.sunset_approaching` events what was told of each beta."""
    found: dict[str, set[tuple[date, int]]] = {}
    for event in events:
        end, days = event.after["sunset_on"], event.after["days"]
        found.setdefault(event.beta or "", set()).add((date.fromisoformat(end), days))
    return found

"""Known ends of betas: when one draws near, and how they moved.

A date is told 90, 30, 7 and 1 days ahead, once each; who learns of it late hears the nearest only. A date
that moves is another date, so its days count anew. Days are days in UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

from registry.core.facts import Beta, Event, EventType

__all__ = ["CARRIERS", "DAYS_AHEAD", "Ending", "approaching", "endings", "told"]

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


# --- The calendar ---------------------------------------------------------------------------------

CARRIERS: Final[tuple[EventType, ...]] = (
    "beta.discovered", "beta.deprecated", "beta.ga", "beta.retired", "beta.restored", "beta.changed",
)  # fmt: skip
"""Types of events that can carry an end, or a death before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The announced end of one beta, as a calendar holds it.

    `sequence` counts how often it moved; `changed_at` is when it did last. It is `cancelled` when nobody
    states it any more, or the beta died before it.
    """

    beta: str
    on: date
    changed_at: datetime
    sequence: int = 0
    cancelled: bool = False


def endings(events: Iterable[Event]) -> dict[str, Ending]:
    """Follow every beta's end through its events, oldest first."""
    found: dict[str, Ending] = {}
    stated: dict[str, date | None] = {}
    dead: dict[str, date | None] = {}
    for event in events:
        name, after = event.beta, event.after
        if name is None or event.type not in CARRIERS or not isinstance(after, Mapping):
            continue
        if "sunset_on" in after:
            stated[name] = date.fromisoformat(after["sunset_on"]) if after["sunset_on"] else None
        if "status" in after:
            died = event.effective_on or event.at.date()
            dead[name] = died if after["status"] == "retired" else None
        ending = _moved(found.get(name), name, stated.get(name), dead.get(name), event.at)
        if ending is not None:
            found[name] = ending
    return found


def _moved(
    before: Ending | None, name: str, end: date | None, died: date | None, at: datetime
) -> Ending | None:
    """Return the ending after an event; what did not move stays as it was."""
    if before is None:
        before_its_end = end is not None and (died is None or died >= end)
        return Ending(beta=name, on=end, changed_at=at) if end and before_its_end else None
    on = end or before.on
    cancelled = end is None or (died is not None and died < end)
    if (on, cancelled) == (before.on, before.cancelled):
        return before
    return replace(before, on=on, cancelled=cancelled, changed_at=at, sequence=before.sequence + 1)

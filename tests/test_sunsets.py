"""Ends that draw near are told 90, 30, 7 and 1 days ahead, once each, on both databases."""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import catalog
from registry.core.facts import Event
from registry.core.sunsets import DAYS_AHEAD, approaching
from registry.db import Database
from tests.factories import NOW, TODAY, beta, claim, finding

X = "thing-2026-01-01"


def ending(days: int, **more: Any) -> Any:
    """A beta that ends some days from today."""
    return beta(X, more.pop("status", "deprecated"), sunset_on=TODAY + timedelta(days=days))


@pytest.mark.parametrize(
    ("days", "told"),
    [(91, None), (90, 90), (89, 90), (31, 90), (30, 30), (8, 30), (7, 7), (2, 7), (1, 1), (0, 1),
     (-1, None)],
)  # fmt: skip
def test_the_nearest_day_ahead_is_told(days: int, told: int | None) -> None:
    """Who learns late hears the nearest only."""
    assert approaching(ending(days), (), TODAY) == told


@pytest.mark.parametrize("status", ["ga", "retired", "unverified"])
def test_only_what_lives_can_end(status: str) -> None:
    """A dead beta's end is no news."""
    assert approaching(ending(5, status=status), (), TODAY) is None
    assert approaching(beta(X), (), TODAY) is None


@given(st.lists(st.integers(0, 200), min_size=1, max_size=30), st.integers(0, 200))
def test_each_is_told_once_and_never_a_farther_one_after(days: list[int], end: int) -> None:
    """Whatever days the job runs on."""
    found = beta(X, "deprecated", sunset_on=TODAY + timedelta(days=end))
    known: list[tuple[date, int]] = []
    for day in sorted(days):
        due = approaching(found, known, TODAY + timedelta(days=day))
        if due is not None:
            known.append((TODAY + timedelta(days=end), due))
    told = [due for _, due in known]
    assert told == sorted(set(told), reverse=True)


def state_end(database: Database, end: str | None, now: datetime = NOW) -> None:
    """The operator states when the beta ends, or withdraws it."""
    with database.write() as session:
        if not catalog.snapshot(session).betas:
            made = claim(X, "status", "active", source="docs", url="https://example.com/x")
            catalog.apply(session, finding("docs", made), now, now)
        catalog.amend(session, X, {"sunset_on": end}, "told so", None, now)


def advance(database: Database, now: datetime) -> list[tuple[str, int, bool]]:
    """Run the job; returns what it told: date, days ahead, whether as history."""
    with database.write() as session:
        made = catalog.advance(session, now)
    return [
        (event.after["sunset_on"], event.after["days"], event.backfill)
        for event in made
        if event.type == "beta.sunset_approaching"
    ]


def test_each_threshold_comes_once(database: Database) -> None:
    """Day after day, and twice a day."""
    state_end(database, "2027-02-21")  # 90 days ahead
    told = []
    for day in range(95):
        for hour in (0, 9):
            told += advance(database, NOW + timedelta(days=day, hours=hour))
    assert told == [("2027-02-21", days, False) for days in DAYS_AHEAD]


def test_a_late_word_tells_the_nearest_once(database: Database) -> None:
    """Twenty days ahead: the thirty, and no ninety after it."""
    state_end(database, "2026-12-13")
    assert advance(database, NOW) == [("2026-12-13", 30, False)]
    assert advance(database, NOW + timedelta(hours=1)) == []


def test_a_moved_date_counts_anew_and_nothing_is_told_twice(database: Database) -> None:
    """Later, back to the old date, withdrawn, and again."""
    state_end(database, "2026-11-28")
    assert advance(database, NOW) == [("2026-11-28", 7, False)]
    state_end(database, "2026-12-20")
    assert advance(database, NOW) == [("2026-12-20", 30, False)]
    state_end(database, "2026-11-28")
    assert advance(database, NOW) == []
    state_end(database, None)
    assert advance(database, NOW) == []
    state_end(database, "2026-12-20")
    assert advance(database, NOW + timedelta(days=20)) == [("2026-12-20", 7, False)]


def test_a_date_in_the_past_is_not_told(database: Database) -> None:
    """It has ended: that is another event."""
    state_end(database, "2026-11-22")
    assert advance(database, NOW) == []


def test_a_catalog_that_knows_of_an_end_is_told_by_the_next_run(database: Database) -> None:
    """The load is history; that the end is near is news, with its source."""
    url = "https://example.com/end"
    made = [claim(X, "status", "deprecated"), claim(X, "sunset_on", "2026-12-13", url=url)]
    with database.write() as session:
        loaded = catalog.apply(session, finding("catalog", *made), NOW, NOW)
        assert [(event.type, event.backfill) for event in loaded] == [("beta.discovered", True)]
        found = catalog.advance(session, NOW)
    assert [(event.type, event.backfill, event.source, event.url) for event in found] == [
        ("beta.sunset_approaching", False, "catalog", url)
    ]
    assert found[0].after == {"sunset_on": "2026-12-13", "days": 30}


def test_two_at_once_tell_it_once(database: Database) -> None:
    """The revision row orders them; the second sees what the first told."""
    state_end(database, "2026-12-13")
    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda: told.extend(advance(database, NOW))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [("2026-12-13", 30, False)]
    with database.read() as session:
        found: list[Event] = catalog.events(
            session, catalog.EventFilter(types=("beta.sunset_approaching",)), None
        )
    assert len(found) == 1


def test_days_are_days_in_utc(database: Database) -> None:
    """Late in the evening in New York it is the next day already."""
    state_end(database, "2026-12-01")
    evening = datetime(
        2026, 11, 23, 20, tzinfo=timezone(timedelta(hours=-5))
    )  # 01:00 UTC, the 24th
    assert advance(database, datetime(2026, 11, 23, 23, 59, tzinfo=NOW.tzinfo)) == [
        ("2026-12-01", 30, False)
    ]
    assert advance(database, evening) == [("2026-12-01", 7, False)]

"""Who hears of what, and when: tables and properties over the pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.alerts.matching import RETRIES, Filter, next_digest, read_filter, retry_after, wants
from registry.core.errors import Invalid
from registry.core.facts import Event
from tests.factories import NOW

NAME = "thing-2026-01-01"


def event(**members: Any) -> Event:
    """An event on a beta, with the members that the test is about."""
    known: dict[str, Any] = {
        "type": "beta.retired", "at": NOW, "reason": "", "source": "docs", "beta": NAME,
        "feature": "thing",
    }  # fmt: skip
    return Event(**{**known, **members})


PENDING: dict[str, Any] = {
    "type": "beta.changed",
    "before": {"platforms": {"vertex": {"state": "supported", "pending": None}}},
    "after": {"platforms": {"vertex": {"state": "supported", "pending": {"kind": "refused"}}}},
}
"""What a target has begun to see."""


@pytest.mark.parametrize(
    ("asked", "told", "wanted"),
    [
        ({}, {}, True),
        ({"types": ["beta.retired"]}, {}, True),
        ({"types": ["beta.*"]}, {}, True),
        ({"types": ["beta.*"]}, {"type": "source.failed", "beta": None}, False),
        ({"types": ["beta.ga", "beta.refused"]}, {}, False),
        ({"betas": [NAME]}, {}, True),
        ({"betas": ["other-2026-01-01"]}, {}, False),
        ({"features": ["thing"]}, {}, True),
        ({"features": ["other"]}, {}, False),
        ({"platforms": ["vertex"]}, {"platform": "vertex"}, True),
        ({"platforms": ["vertex"]}, {"platform": "bedrock"}, False),
        ({"platforms": ["vertex"]}, {"platform": None}, True),
        ({"platforms": ["vertex"]}, {"type": "source.failed", "beta": None}, False),
        ({"statuses": ["retired"]}, {}, True),
        ({"statuses": ["active"]}, {}, False),
        ({"statuses": ["retired"]}, {"type": "source.failed", "beta": None}, False),
        ({"teams": ["payments"]}, {}, True),
        ({"teams": ["search"]}, {}, False),
        ({}, PENDING, False),
        ({"pending": True}, PENDING, True),
        ({}, PENDING | {"after": {"summary": "x"}}, True),
        ({}, {"backfill": True}, False),
        ({"backfill": True}, {"backfill": True}, True),
    ],
)
def test_a_filter_lets_through_what_it_asks_for(
    asked: dict[str, Any], told: dict[str, Any], wanted: bool
) -> None:
    """Members narrow; an event without a platform concerns all; history needs to be asked for."""
    made = event(**told)
    known = "retired" if made.beta else None
    assert wants(read_filter(asked), made, known, {"payments"}) is wanted


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([], "object"),
        ({"kinds": []}, "'kinds'"),
        ({"types": "beta.retired"}, "list"),
        ({"types": [3]}, "list"),
        ({"types": ["beta.gone"]}, "beta.gone"),
        ({"platforms": ["azure"]}, "azure"),
        ({"statuses": ["dead"]}, "dead"),
        ({"betas": ["no name"]}, "no name"),
        ({"betas": ["a\nb"]}, "beta name"),
        ({"features": [""]}, "characters"),
        ({"teams": ["x" * 201]}, "characters"),
        ({"betas": ["x"] * 201}, "at most"),
        ({"backfill": "yes"}, "true or false"),
        ({"betas": [NAME], "features": ["other"]}, "nothing can match"),
        ({"types": ["source.failed"], "statuses": ["active"]}, "nothing can match"),
        ({"types": ["target.blind"], "teams": ["payments"]}, "nothing can match"),
    ],
)
def test_an_impossible_filter_is_refused_with_a_sentence(asked: Any, says: str) -> None:
    """It would be silent for ever."""
    with pytest.raises(Invalid) as refused:
        read_filter(asked)
    assert says in refused.value.detail
    assert "\n" not in refused.value.detail


def test_an_empty_filter_has_every_default() -> None:
    """Nothing asked means everything but history."""
    assert read_filter({}) == Filter()


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ("daily", "UTC", "2026-11-23T08:59:59+00:00", "2026-11-23T09:00:00+00:00"),
        ("daily", "UTC", "2026-11-23T09:00:00+00:00", "2026-11-24T09:00:00+00:00"),
        ("daily", "Europe/Berlin", "2026-11-23T08:30:00+00:00", "2026-11-24T08:00:00+00:00"),
        ("daily", "America/Los_Angeles", "2026-11-23T12:00:00+00:00", "2026-11-23T17:00:00+00:00"),
        ("daily", "Pacific/Kiritimati", "2026-11-23T18:00:00+00:00", "2026-11-23T19:00:00+00:00"),
        # The night in which the clocks go back: 25 hours lie between two digests.
        ("daily", "Europe/Berlin", "2026-10-24T07:00:00+00:00", "2026-10-25T08:00:00+00:00"),
        ("weekly", "UTC", "2026-11-23T08:00:00+00:00", "2026-11-23T09:00:00+00:00"),
        ("weekly", "UTC", "2026-11-23T10:00:00+00:00", "2026-11-30T09:00:00+00:00"),
        # A day that Samoa did not have.
        ("daily", "Pacific/Apia", "2011-12-29T20:00:00+00:00", "2011-12-30T19:00:00+00:00"),
    ],
)
def test_a_digest_comes_at_nine_where_the_reader_lives(
    schedule: str, zone: str, now: str, due: str
) -> None:
    """Weekly ones come on Monday."""
    assert next_digest(schedule, zone, datetime.fromisoformat(now)) == datetime.fromisoformat(due)
    assert next_digest("immediate", zone, datetime.fromisoformat(now)) is None


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(sorted(available_timezones())),
    st.sampled_from(["daily", "weekly"]),
)
def test_a_digest_is_always_ahead_and_soon(now: datetime, zone: str, schedule: str) -> None:
    """In every zone and through every change of its clock."""
    due = next_digest(schedule, zone, now)
    assert due is not None
    assert now < due <= now + timedelta(days=9 if schedule == "weekly" else 2, hours=2)
    assert due.astimezone(ZoneInfo(zone)).hour in (9, 10)


def test_retries_follow_the_schedule_and_end() -> None:
    """Three days, with a tenth of jitter; what the receiver asks for lengthens a wait only."""
    waits = [retry_after(tries, 0.0) for tries in range(1, len(RETRIES) + 2)]
    assert waits == [*RETRIES, None]
    assert retry_after(1, 1.0) == timedelta(seconds=5.5)
    assert retry_after(1, 0.0, 120) == timedelta(minutes=2)
    assert retry_after(2, 0.0, 1) == timedelta(minutes=5)

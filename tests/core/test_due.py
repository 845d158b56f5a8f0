"""What is due, whatever was done to the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.due import holds, is_due
from tests.factories import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("since", "due"),
    [
        (None, True),
        (NOW, False),
        (NOW - HOUR + MINUTE, False),
        (NOW - HOUR, True),
        (NOW - 9 * HOUR, True),
        (NOW + MINUTE, True),  # the clock was set back since
        (NOW + 9 * HOUR, True),
    ],
)
def test_when_an_hour_is_over(since: datetime | None, due: bool) -> None:
    """Never begun, or begun in the future: due."""
    assert is_due(NOW, since, HOUR) is due


@given(st.timedeltas(timedelta(), 9 * HOUR), st.timedeltas(MINUTE, 9 * HOUR), st.data())
def test_nothing_waits_for_twice_its_time(
    step: timedelta, wait: timedelta, data: st.DataObject
) -> None:
    """However far the clock is set back, and whenever meanwhile."""
    elapsed = data.draw(st.timedeltas(timedelta(), wait))
    set_back = NOW + elapsed - step
    rest = timedelta() if is_due(set_back, NOW, wait) else NOW + wait - set_back
    assert elapsed + rest <= 2 * wait


@pytest.mark.parametrize(
    ("until", "held"),
    [(NOW - MINUTE, False), (NOW, False), (NOW + MINUTE, True), (NOW + HOUR, True),
     (NOW + HOUR + MINUTE, False)],
)  # fmt: skip
def test_a_grant_of_an_hour(until: datetime, held: bool) -> None:
    """One that lasts longer than it can was not granted by this clock."""
    assert holds(until, NOW, HOUR) is held

"""What a change tells, in full: existence, names at a place, contradictions and their end."""

from __future__ import annotations

from typing import Any

import pytest

from registry.core.changes import Derived, derive_feature, diff
from registry.core.facts import Claim, Event
from registry.core.places import Place
from tests.factories import NOW, claim

NAME = "dig-2026-01-01"
INVOKE = Place(platform="bedrock", api="invoke")
ACTIVE = claim(NAME, source="docs", on="2026-01-05")


def known(*claims: Claim) -> Derived:
    """What follows from these claims."""
    return derive_feature({NAME: list(claims)}, NOW, {})[NAME]


def told(before: tuple[Claim, ...], after: tuple[Claim, ...]) -> list[Event]:
    """The events between two states of knowledge."""
    return diff(known(*before).beta, known(*after), NOW, backfill=False)


def seen(name: str, at: str, **more: Any) -> Claim:
    """A claim that dates the beta's existence, or does not."""
    return claim(NAME, name, on=at, **more)


@pytest.mark.parametrize(
    ("claims", "first", "last"),
    [
        ([ACTIVE], ("docs", "2026-01-05"), ("docs", "2026-01-05")),
        # A release of the SDK that holds it; one that does not is no proof.
        (
            [ACTIVE, seen("listed", "2025-12-01", value=True, source="sdk", basis="sdk", version="1.0"),
             seen("listed", "2026-08-01", value=False, source="sdk", basis="sdk", version="2.0")],
            ("sdk", "2025-12-01"), ("docs", "2026-01-05"),
        ),
        # LiteLLM's file proves that a name exists, even where it holds it back.
        (
            [ACTIVE, seen("state", "2026-09-09", value="unknown", source="litellm", basis="litellm",
                          place=Place(platform="vertex"))],
            ("docs", "2026-01-05"), ("litellm", "2026-09-09"),
        ),
        # What is told of it today by the catalog or an operator, and that it has ended, dates nothing.
        (
            [ACTIVE, seen("status", "2026-09-09", value="active", source="catalog"),
             seen("status", "2026-09-10", value="active", source="operator", basis="operator"),
             seen("status", "2026-09-11", value="retired", source="release-notes")],
            ("docs", "2026-01-05"), ("docs", "2026-01-05"),
        ),
        (
            [seen("announced_on", "2026-03-03", value="2025-11-11", source="release-notes"),
             seen("summary", "2026-09-09", value="Digs.", source="docs")],
            ("release-notes", "2026-03-03"), ("release-notes", "2026-03-03"),
        ),
        # Where nothing dates it, the oldest word does.
        (
            [seen("summary", "2026-09-09", value="Digs.", source="catalog"),
             seen("gate", "2026-02-02", value="public", source="catalog")],
            ("catalog", "2026-02-02"), ("catalog", "2026-02-02"),
        ),
    ],
)  # fmt: skip
def test_what_proves_that_a_beta_exists(
    claims: list[Claim], first: tuple[str, str], last: tuple[str, str]
) -> None:
    """The earliest and the latest dated evidence, over all sources."""
    beta = known(*claims).beta
    assert beta.first_seen is not None
    assert beta.last_seen is not None
    assert (beta.first_seen.source, beta.first_seen.at.date().isoformat()) == first
    assert (beta.last_seen.source, beta.last_seen.at.date().isoformat()) == last


def test_a_discovery_says_where_it_was_seen_first() -> None:
    """With the release, and the day on which it happened."""
    listed = seen(
        "listed",
        "2025-12-01",
        value=True,
        source="sdk",
        basis="sdk",
        version="1.0",
        url="https://a.example",
    )
    [event] = diff(None, known(listed), NOW, backfill=True)
    assert (event.type, event.source, event.backfill) == ("beta.discovered", "sdk", True)
    assert event.reason == "First seen in sdk 1.0 on 2025-12-01."
    assert str(event.effective_on) == "2025-12-01"
    assert event.before is None
    assert event.after["name"] == NAME


def test_a_name_of_its_own_at_a_place_is_told() -> None:
    """What to send there changed; no state turned."""
    supported = seen("state", "2026-02-02", value="supported", place=INVOKE)
    named = seen("names", "2026-02-03", value=["dug-2026-01-01"], place=INVOKE)
    [event] = told((ACTIVE, supported), (ACTIVE, supported, named))
    assert (event.type, event.platform, event.effective_on) == ("beta.changed", "bedrock", None)
    assert event.after["places"][0]["names"] == ["dug-2026-01-01"]
    assert event.before["places"][0]["names"] == []
    assert "names" in event.reason
    [back] = told((ACTIVE, supported, named), (ACTIVE, supported))
    assert (back.type, back.after["places"][0]["names"]) == ("beta.changed", [])


def test_a_contradiction_is_told_and_its_end_too() -> None:
    """Retired by one source and in beta by a newer one."""
    ended = claim(NAME, "status", "retired", source="release-notes", on="2026-01-01")
    [opened] = told((ACTIVE,), (ACTIVE, ended))
    assert (opened.type, opened.before) == ("beta.disputed", {"disputed": None})
    assert opened.reason == opened.after["disputed"]
    assert "release-notes says retired as of 2026-01-01" in opened.reason
    [closed] = told((ACTIVE, ended), (ACTIVE,))
    assert (closed.type, closed.after) == ("beta.dispute_resolved", {"disputed": None})
    assert closed.reason == "The evidence agrees again."
    assert closed.before == opened.after


def test_nothing_is_told_of_what_stays() -> None:
    """The same word again, later, by the same source."""
    later = claim(NAME, source="docs", on="2026-03-05", quote="Still in beta.")
    kinds = {event.type for event in told((ACTIVE,), (ACTIVE, later))}
    assert kinds <= {"beta.changed"}
    assert not told((ACTIVE,), (ACTIVE,))

"""From what is known of a beta to what a team should do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from registry.core.health import Answered, answered, health_of
from registry.core.judgement import Judges, judges_of
from tests.factories import TODAY, beta, snapshot

NEW = "thing-2026-01-01"

CASES: list[tuple[Any, str | None, bool, str]] = [
    (beta("x-2025-01-01"), None, False, ""),
    (beta("x-2025-01-01", superseded_by=NEW), "superseded", False, f"Replace it by {NEW}."),
    (beta("x-2025-01-01", "deprecated", superseded_by=NEW), "deprecated", False, NEW),
    (beta("x-2025-01-01", "deprecated"), "deprecated", False, "before it ends"),
    (
        beta("x-2025-01-01", "retired", state="retired", accepted=False),
        "retired",
        True,
        "Remove it",
    ),
    (
        beta("x-2025-01-01", "retired", accepted=True, header_effect="ignored"),
        "retired",
        False,
        "no effect",
    ),
    (beta("x-2025-01-01", "retired", accepted=True), "deprecated", False, "before it ends"),
    (beta("x-2025-01-01", state="refused"), "refused", True, "Remove it"),
    (beta("x-2025-01-01", "ga", header_effect="ignored"), "ga", False, "no longer needed"),
    (beta("x-2025-01-01", "ga", header_effect="changes_response"), None, False, ""),
    (beta("x-2025-01-01", "unverified"), "unknown", False, "spelling"),
    (beta("x-2025-01-01", state="restricted"), None, False, ""),
]


@pytest.mark.parametrize(("known", "issue", "fails", "advice"), CASES)
def test_each_verdict_becomes_an_issue_with_advice(
    known: Any, issue: str | None, fails: bool, advice: str
) -> None:
    """One word, and what to do."""
    found = Judges(snapshot(known, beta(NEW)), TODAY)(known.name, "vertex")
    assert (found.issue, found.fails) == (issue, fails)
    assert advice in found.advice


def test_names_that_are_not_in_the_registry_are_unknown_at_once() -> None:
    """Without a search for similar names, which would take its time."""
    known = beta("x-2025-01-01")
    judge = Judges(snapshot(known), TODAY)
    assert {judge(f"x-2025-01-{n}").issue for n in range(10_000)} == {"unknown"}
    assert judge("\x00", "azure").status == "unknown"


def test_the_same_snapshot_and_day_have_one_judge() -> None:
    """A new snapshot has another."""
    first, second = snapshot(beta(NEW)), snapshot(beta(NEW))
    assert judges_of(first, TODAY) is judges_of(first, TODAY)
    assert judges_of(second, TODAY).snapshot is second


def test_what_a_service_sees_itself_outweighs_what_is_known() -> None:
    """What holds, and the answers since then."""
    old = beta("old-2025-01-01", "retired", state="refused", accepted=False)
    judge = Judges(snapshot(beta(NEW), old), TODAY)
    fine, dead = judge(NEW), judge("old-2025-01-01")
    assert health_of([]) == "ok"
    assert health_of([(fine, Answered(accepted_since=5))]) == "ok"
    assert health_of([(fine, Answered(accepted_since=5, refused_since=1))]) == "failing"
    assert health_of([(fine, Answered()), (dead, Answered())]) == "failing"
    assert health_of([(dead, Answered(accepted_since=7))]) == "at_risk"


def test_an_acceptance_speaks_only_in_an_hour_that_began_after_the_turn() -> None:
    """A refusal speaks in the hour of the turn, too; without a turn all do."""
    turned = datetime.fromtimestamp(100 * 3600 + 60, UTC)
    hours = [(99, 900, 900, 1), (100, 50, 40, 10), (101, 7, 5, 2)]
    found = answered(hours, turned)
    assert (found.count, found.accepted_since, found.refused_since) == (957, 5, 12)
    assert answered(hours, None).accepted_since == 945
    assert answered(hours, datetime.fromtimestamp(100 * 3600, UTC)).accepted_since == 45

"""The one writer: findings become evidence, state and events, in one transaction, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from registry import catalog
from registry.core.errors import Conflict, Invalid, NotFound
from registry.core.facts import UNDATED, Beta, Claim, Entry, Event, Finding
from registry.core.places import Place
from registry.db import Database
from registry.models import BetaRow, RevisionRow
from tests.factories import NOW, claim, finding

X = "thing-2026-01-01"
Y = "thing-2026-05-05"


def take(database: Database, found: Finding, *, days: int = 0) -> tuple[Event, ...]:
    """Apply a finding, some days from now."""
    moment = NOW + timedelta(days=days)
    with database.write() as session:
        return catalog.apply(session, found, moment, moment)


def known(database: Database, name: str = X) -> Beta:
    """Return one beta as the snapshot holds it."""
    with database.read() as session:
        return catalog.snapshot(session).betas[name]


def all_events(database: Database) -> list[Event]:
    """Return all events, oldest first."""
    with database.read() as session:
        return catalog.events(session, catalog.EventFilter(ascending=True), 10_000)


def types(events: Any) -> list[str]:
    """Return the types of events, in order."""
    return [event.type for event in events]


def docs(*claims: Claim, **more: Any) -> Finding:
    """A finding of a source that tells news and is silent later."""
    return finding("docs", *claims, **more)


def declared(name: str, status: str, on: str = "2026-01-01") -> Claim:
    """The docs state a status."""
    return claim(name, "status", status, on=on, source="docs")


def test_a_first_run_is_history_and_a_later_one_is_news(database: Database) -> None:
    """Backfill marks what was true before we looked."""
    first = take(database, docs(declared(X, "active")))
    later = take(database, docs(declared(Y, "active")), days=1)
    assert [(event.type, event.backfill) for event in first] == [("beta.discovered", True)]
    assert ("beta.discovered", False) in [(event.type, event.backfill) for event in later]


def test_applying_the_same_finding_twice_changes_nothing(database: Database) -> None:
    """Every job is safe to run twice."""
    take(database, docs(declared(X, "active")))
    before = known(database)
    assert take(database, docs(declared(X, "active")), days=1) == ()
    assert known(database) == before


def test_ids_grow_by_one_and_the_snapshot_stands_at_the_newest(database: Database) -> None:
    """Ids come from the revision row."""
    take(database, docs(declared(X, "active"), declared("other-2026-01-01", "ga")))
    take(database, docs(declared("other-2026-01-01", "retired", "2026-06-01")), days=1)
    assert [event.id for event in all_events(database)] == [1, 2, 3]
    with database.read() as session:
        assert catalog.snapshot(session).revision == 3


def test_writers_at_the_same_time_get_ids_without_gaps(database: Database) -> None:
    """The lock of the revision row orders them."""
    names = [f"f{number}-2026-01-01" for number in range(12)]
    threads = [
        threading.Thread(target=take, args=(database, finding(f"s{n}", declared(n, "active"))))
        for n in names
    ]  # fmt: skip
    # Claims of another source than the finding's own would not be withdrawn by it; here none is.
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.id for event in all_events(database)] == list(range(1, 13))


def test_a_complete_source_withdraws_what_it_no_longer_says(database: Database) -> None:
    """And the evidence keeps it, marked as withdrawn."""
    stated = claim(X, "summary", "Old.", source="catalog")
    take(database, finding("catalog", stated, declared_by_catalog(X), complete=True))
    take(database, finding("catalog", declared_by_catalog(X), complete=True), days=1)
    assert known(database).summary == ""
    with database.read() as session:
        kept = catalog.evidence(session, X, NOW)
    assert [(item.claim.value, item.withdrawn_at is not None) for item in kept if
            item.claim.field == "summary"] == [("Old.", True)]  # fmt: skip


def declared_by_catalog(name: str) -> Claim:
    """The catalog says it is active."""
    return claim(name, "status", "active", source="catalog")


def test_a_source_that_forgets_most_of_its_names_changes_nothing(database: Database) -> None:
    """It is refused whole, and says so."""
    many = [claim(f"f{n}-2026-01-01", "status", "active", source="sdk") for n in range(20)]
    take(database, finding("sdk", *many, complete=True))
    before = all_events(database)
    with pytest.raises(Invalid, match="names 3 betas and named 20"):
        take(database, finding("sdk", *many[:3], complete=True), days=1)
    assert all_events(database) == before


def test_a_failure_is_told_once_and_the_recovery_too(database: Database) -> None:
    """Three failures in a row are one event."""
    for day in range(3):
        moment = NOW + timedelta(days=day)
        with database.write() as session:
            catalog.record_failure(session, "docs", moment, moment, "Cannot reach it.")
    take(database, docs(declared(X, "active")), days=4)
    assert types(all_events(database)) == ["source.failed", "beta.discovered", "source.recovered"]
    with database.read() as session:
        (status,) = catalog.sources(session, ["docs"])
    assert status.error is None
    assert [run.outcome for run in status.runs] == ["ok", "failed", "failed", "failed"]


def test_discovery_alone_never_moves_the_current_beta(database: Database) -> None:
    """A second live beta appears: the first stays current, with a reason in its evidence."""
    take(database, docs(declared(X, "active")))
    events = take(database, docs(declared(Y, "active")), days=1)
    assert "feature.current_changed" not in types(events)
    assert (known(database, X).current, known(database, Y).current) == (True, False)
    moved = take(database, docs(claim(Y, "current", True, source="docs", on="2026-07-01")), days=2)
    assert "feature.current_changed" in types(moved)
    assert (known(database, X).current, known(database, Y).current) == (False, True)


def test_the_end_of_the_current_beta_moves_it_to_the_only_live_one(database: Database) -> None:
    """The keeper's claim holds only while its beta lives."""
    take(database, docs(declared(X, "active")))
    take(database, docs(declared(Y, "active")), days=1)
    gone = take(database, docs(declared(X, "retired", "2026-06-01")), days=2)
    changed = next(event for event in gone if event.type == "feature.current_changed")
    assert (changed.before, changed.after) == ({"current": X}, {"current": Y})


def test_entries_are_events_and_a_rewritten_one_keeps_what_was_seen(database: Database) -> None:
    """The old words stand in `before`."""
    old = Entry(key="2026-01-01#1", on=NOW.date(), text="In beta: `x`.", betas=(X,))
    take(database, finding("release-notes", entries=(old,)))
    new = Entry(key="2026-01-01#1", on=NOW.date(), text="Now ga: `x`.", betas=(X,))
    take(database, finding("release-notes", entries=(new,)), days=1)
    first, second = all_events(database)
    assert (first.type, first.before, first.beta) == ("source.entry", None, X)
    assert (second.before["text"], second.after["text"]) == ("In beta: `x`.", "Now ga: `x`.")


def amend(database: Database, patch: dict[str, Any], **more: Any) -> Beta:
    """Speak the operator's word about X."""
    with database.write() as session:
        return catalog.amend(session, X, patch, "told so", more.get("until"), more.get("now", NOW))


def test_the_operators_word_outweighs_and_can_be_withdrawn(database: Database) -> None:
    """Null gives the field back to the other sources."""
    take(database, docs(declared(X, "active")))
    said = amend(database, {"status": "retired", "platforms": {"vertex": {"state": "refused"}}})
    assert (said.status, said.basis, said.platforms["vertex"].state) == (
        "retired", "operator", "refused",
    )  # fmt: skip
    assert "told so" in said.status_reason
    back = amend(database, {"status": None, "platforms": {"vertex": None}})
    assert (back.status, back.platforms["vertex"].state) == ("active", "unknown")
    assert types(all_events(database))[1:] == [
        "beta.retired", "beta.refused", "feature.current_changed",
        "beta.restored", "beta.changed", "feature.current_changed",
    ]  # fmt: skip


def test_the_operators_word_expires_by_itself(database: Database) -> None:
    """`advance` applies what follows from time alone."""
    take(database, docs(declared(X, "active")))
    amend(database, {"status": "retired"}, until=NOW + timedelta(days=2))
    with database.write() as session:
        assert catalog.advance(session, NOW + timedelta(days=1)) == ()
        restored = types(catalog.advance(session, NOW + timedelta(days=3)))
    assert restored == ["beta.restored", "feature.current_changed"]


def test_an_end_that_passes_retires_by_itself(database: Database) -> None:
    """The daily job needs no source."""
    end = claim(X, "sunset_on", "2026-12-01", source="docs")
    take(database, docs(declared(X, "active"), end))
    assert known(database).status == "deprecated"
    with database.write() as session:
        events = catalog.advance(session, NOW + timedelta(days=30))
    assert types(events) == ["beta.retired", "feature.current_changed"]
    assert str(events[0].effective_on) == "2026-12-01"


def test_the_operator_can_add_a_beta_once(database: Database) -> None:
    """A second time is a conflict; a malformed name or fact is refused with a sentence."""
    add: Callable[..., Beta] = lambda name, facts: _add(database, name, facts)  # noqa: E731
    added = add("private-2026-01-01", {"status": "active", "gate": "org"})
    assert (added.status, added.gate, added.basis) == ("active", "org", "operator")
    with pytest.raises(Conflict, match="already"):
        add("private-2026-01-01", {})
    with pytest.raises(Invalid, match="not a beta name"):
        add("no good", {})
    with pytest.raises(Invalid, match="bash_20241022 is no beta"):
        add("bash_20241022", {})
    with pytest.raises(Invalid, match="status"):
        add("other-2026-01-01", {"status": "dead"})
    with pytest.raises(NotFound):
        amend(database, {"status": "ga"})


def _add(database: Database, name: str, facts: dict[str, Any]) -> Beta:
    with database.write() as session:
        return catalog.add(session, name, facts, "ours", NOW)


def test_evidence_says_which_claims_decide(database: Database) -> None:
    """Of two that state a status, one does."""
    take(database, docs(declared(X, "active"), declared(X, "ga", "2026-03-01")))
    with database.read() as session:
        made = catalog.evidence(session, X, NOW)
    assert [(item.claim.value, item.decides) for item in made] == [("ga", True), ("active", False)]


def test_nothing_is_stored_when_a_transaction_fails(database: Database) -> None:
    """A claim in the wrong shape refuses the whole finding."""
    with pytest.raises(Invalid):
        take(database, docs(declared(X, "active"), claim(Y, "status", "dead", source="docs")))
    assert all_events(database) == []


@pytest.mark.parametrize(
    "wanted", [{"types": ("beta.ga",)}, {"betas": (X,)}, {"features": ("thing",)}, {"after": 1}]
)
def test_events_can_be_filtered(database: Database, wanted: dict[str, Any]) -> None:
    """Every filter finds the one that matches."""
    take(database, docs(declared("other-2026-01-01", "active")))
    take(database, docs(declared(X, "active")), days=1)
    take(database, docs(declared(X, "ga", "2026-06-01")), days=2)
    with database.read() as session:
        found = catalog.events(session, catalog.EventFilter(**wanted), 10)
    assert {event.beta for event in found} == {X}


def test_the_operators_word_at_a_place_is_withdrawn_there_only(database: Database) -> None:
    """A null takes back what was said of exactly that place."""
    take(database, docs(declared(X, "active")))
    converse = {"platform": "bedrock", "api": "converse"}
    with database.write() as session:
        said = [{**converse, "state": "refused"}, {"platform": "vertex", "status": "ga"}]
        catalog.amend(session, X, {"places": said}, "Tried it.", None, NOW)
    shown = {str(fact.place): (fact.state, fact.status) for fact in known(database).places}
    assert shown == {"bedrock (converse)": ("refused", None), "vertex": ("unknown", "ga")}
    with database.write() as session:
        catalog.amend(session, X, {"places": [{**converse, "state": None}]}, "", None, NOW)
    assert [str(fact.place) for fact in known(database).places] == ["vertex"]


def test_a_claim_keeps_its_place_and_where_it_stands(database: Database) -> None:
    """What is exported is what was imported; a tool type is taken for no beta."""
    place = Place(platform="vertex", region="us-east5", model="claude-opus-4-7", endpoint="batches")
    made = [
        claim(X, "state", "refused", basis="reported", place=place, where="comment 3"),
        replace(claim(X, "state", "supported", place=Place(platform="vertex")), at=UNDATED),
    ]
    with database.write() as session:
        catalog.import_claims(session, [*made, declared("bash_20241022", "active")], NOW, NOW)
    with database.read() as session:
        assert catalog.claims(session) == sorted(
            made, key=lambda one: (one.source, one.at, repr(one))
        )
        assert set(catalog.snapshot(session).betas) == {X}


def test_what_new_rules_change_is_history(database: Database) -> None:
    """The first writer after an upgrade derives everything anew; nobody is told as if it had just happened."""
    take(database, docs(declared(X, "active")))
    with database.write() as session:
        row = session.get(BetaRow, X)
        assert row is not None
        guessed = {"platform": "aws", "state": "supported", "basis": "inferred", "names": [X]}
        row.facts = {**row.facts, "places": [guessed]}
        session.execute(sa.update(RevisionRow).values(rules=1))
    events = take(database, docs(declared(Y, "active")), days=1)
    gone = [event for event in events if event.platform == "aws"]
    assert [(event.type, event.backfill, event.after["places"]) for event in gone] == [
        ("beta.changed", True, [])
    ]
    assert ("beta.discovered", False) in [(event.type, event.backfill) for event in events]
    assert all(
        not e.backfill for e in take(database, docs(declared(Y, "ga", "2026-02-02")), days=2)
    )

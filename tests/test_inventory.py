"""Usage as it is reported, and who is affected by what, on both databases."""

from __future__ import annotations

import csv
import io
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from registry import catalog, inventory, jobs, targets
from registry.core.errors import Invalid, NotFound
from registry.core.facts import Event
from registry.core.judgement import Judges
from registry.core.lifecycle import Thresholds
from registry.db import Database
from registry.inventory import (
    Affected,
    Declaration,
    Defaults,
    Filter,
    Item,
    Recorded,
    Report,
    Service,
    ServiceFilter,
)
from registry.models import LeaseRow, UsageCountRow, UsageRow
from tests.factories import NOW, claim, finding

LIVE, DYING, GONE, FREE = (
    "thing-2026-01-01", "dying-2025-06-01", "gone-2024-12-01", "free-2025-02-02",
)  # fmt: skip
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def database(database: Database) -> Database:
    """A registry of four betas: one alive, one deprecated, one retired, one that needs no header."""
    made = [
        claim(LIVE, source="docs"),
        claim(LIVE, "gate", "public", source="docs"),
        claim(DYING, "status", "deprecated", source="docs"),
        claim(DYING, "superseded_by", LIVE, source="docs"),
        claim(GONE, "status", "retired", source="docs"),
        claim(GONE, "accepted", False, source="docs"),
        claim(FREE, "status", "ga", source="docs"),
    ]
    with database.write() as session:
        catalog.apply(session, finding("docs", *made), NOW - DAY, NOW - DAY)
    return database


def tell(
    database: Database, *items: Item | str, now: datetime = NOW, key: str | None = None, **more: Any
) -> Recorded:
    """Record a report of these items."""
    made = tuple(item if isinstance(item, Item) else Item(beta=item) for item in items)
    report = Report(**{"service": "checkout", "items": made} | more)
    with database.write() as session:
        return inventory.record(session, report, now, key)


def users(database: Database, beta: str, now: datetime = NOW, **more: Any) -> list[Affected]:
    """Who is affected by what happens to a beta."""
    with database.read() as session:
        judges = Judges(catalog.snapshot(session), now.date())
        return inventory.affected(session, [beta], judges, now, **more)[beta]


def service(database: Database, name: str = "checkout", now: datetime = NOW) -> Service:
    """One service as it is shown."""
    with database.read() as session:
        judge = Judges(catalog.snapshot(session), now.date())
        return inventory.service(session, name, judge, now)


def rows(database: Database, by: str = "beta", now: datetime = NOW, **wanted: Any) -> list[Any]:
    """The inventory in groups."""
    with database.read() as session:
        judge = Judges(catalog.snapshot(session), now.date())
        return inventory.rows(session, judge, now, by, Filter(**wanted))


def events(database: Database, *types: str) -> list[Event]:
    """The events of these types, oldest first."""
    with database.read() as session:
        return catalog.events(session, catalog.EventFilter(types=types, ascending=True), 1000)


def turn(database: Database, beta: str, now: datetime, **facts: Any) -> None:
    """Let the operator say something of a beta."""
    with database.write() as session:
        catalog.amend(session, beta, facts, "test", None, now)


# --- Counting -------------------------------------------------------------------------------------


def test_counts_of_clients_and_gateways_add_up(database: Database) -> None:
    """Two reports of the same beta: one user, both counts, first and last moment."""
    tell(database, Item(beta=LIVE, count=3, refused=1, model="claude-haiku-4-5"), platform="vertex")
    tell(database, Item(beta=LIVE, count=4), platform="vertex", now=NOW + HOUR, source="gateway")
    tell(database, Item(beta=LIVE, count=5, model="m2"), platform="vertex", now=NOW + HOUR)
    (found,) = users(database, LIVE, NOW + HOUR)
    assert (found.service, found.environment, found.platform) == ("checkout", "default", "vertex")
    assert (found.count_24h, found.refused_24h, found.last_seen) == (12, 1, NOW + HOUR)
    (beta,) = service(database, now=NOW + HOUR).betas
    assert beta.models == ("claude-haiku-4-5", "m2")
    assert (beta.sources, beta.count_30d, beta.platforms) == (
        ("client", "gateway"),
        12,
        ("vertex",),
    )


def test_a_scan_replaces_the_earlier_one_of_its_instance(database: Database) -> None:
    """What it no longer finds is gone, with its places; other instances and sources stay."""
    tell(database, Item(beta=LIVE, path="a.py", line=1), Item(beta=LIVE, path="a.py", line=9),
         Item(beta=GONE, path="b.py", line=2), source="scan", instance="api")  # fmt: skip
    tell(database, Item(beta=GONE, path="w.py", line=3), source="scan", instance="web")
    tell(database, GONE)
    tell(database, Item(beta=LIVE, path="a.py", line=4), source="scan", instance="api",
         now=NOW + HOUR)  # fmt: skip
    (live,), (gone,) = users(database, LIVE), users(database, GONE)
    assert [(at.path, at.line) for at in live.locations] == [("a.py", 4)]
    assert [(at.path, at.line) for at in gone.locations] == [("w.py", 3)]
    assert (live.count_24h, gone.count_24h) == (0, 1)
    assert {row.key: row.count_30d for row in rows(database)} == {LIVE: 1, GONE: 2}


def test_an_empty_scan_clears_its_instance(database: Database) -> None:
    """Nothing found is a finding."""
    tell(database, LIVE, GONE, source="scan", instance="api")
    assert tell(database, source="scan", instance="api").betas == 0
    assert rows(database) == []


def test_the_same_key_adds_nothing_twice_and_refuses_another_report(database: Database) -> None:
    """Within 24 hours; the repeat gets the first answer."""
    first = tell(database, Item(beta=LIVE, count=3), GONE, "odd-1", key="k1")
    again = tell(database, Item(beta=LIVE, count=3), GONE, "odd-1", key="k1", now=NOW + HOUR)
    assert (first.repeated, again.repeated) == (False, True)
    assert (again.at_risk, again.unknown) == (first.at_risk, ("odd-1",))
    with pytest.raises(Invalid, match="another report"):
        tell(database, Item(beta=LIVE, count=4), key="k1")
    assert users(database, LIVE)[0].count_24h == 3
    tell(database, Item(beta=LIVE, count=4), key="k1", now=NOW + 25 * HOUR)
    assert rows(database, now=NOW + 25 * HOUR, betas=(LIVE,))[0].count_30d == 7


def test_eight_threads_that_report_the_same_rows_add_up_exactly(database: Database) -> None:
    """No count is lost, none is doubled, nothing locks out another, and one event is raised."""
    failures: list[Exception] = []

    def report(number: int) -> None:
        try:
            for turn_ in range(5):
                order = [LIVE, GONE, FREE, DYING] if (number + turn_) % 2 else [DYING, GONE, LIVE]
                tell(database, *(Item(beta=name, count=2, refused=1) for name in order))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    counts = {row.key: (row.count_30d, row.refused_30d) for row in rows(database)}
    assert counts == {LIVE: (80, 40), GONE: (80, 40), DYING: (80, 40), FREE: (40, 20)}
    assert users(database, LIVE)[0].count_24h == 80
    assert len(events(database, "usage.at_risk")) == 2
    assert len(events(database, "usage.refusing")) == 4


def test_services_in_parallel_do_not_wait_for_each_other_in_circles(database: Database) -> None:
    """Each of eight services reports refusals of the same betas in another order, half of them at risk."""
    failures: list[Exception] = []

    def report(number: int) -> None:
        names = [LIVE, DYING, GONE, FREE][number % 4 :] + [LIVE, DYING, GONE, FREE][: number % 4]
        try:
            for turn_ in range(3):
                tell(database, *(Item(beta=name, refused=1) for name in names),
                     service=f"s{number}", environment=f"e{turn_}", platform="vertex")  # fmt: skip
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [row.refused_30d for row in rows(database)] == [24, 24, 24, 24]


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"service": ""}, "service"),
        ({"service": "a\x00b"}, "printable"),
        ({"service": "x" * 129}, "1 to 128"),
        ({"environment": " prod"}, "environment"),
        ({"instance": "\n", "source": "scan"}, "instance"),
        ({"source": "guess"}, "client, scan or gateway"),
        ({"platform": "azure"}, "not a platform"),
        ({"window": (NOW, NOW - HOUR)}, "before"),
        ({"window": (NOW, NOW + HOUR)}, "future"),
        ({"window": (NOW - 500 * DAY, NOW)}, "400 days"),
        ({"items": (Item(beta=LIVE, count=-1),)}, r"items\.0\.count"),
        ({"items": (Item(beta=LIVE, count=10**12),)}, "no count"),
        ({"items": (Item(beta=LIVE), Item(beta=LIVE, count=1, refused=2))}, r"items\.1"),
        ({"items": (Item(beta=LIVE, path="a", line=-4),)}, "line"),
        ({"items": (Item(beta=LIVE, path="a", url="javascript:alert(1)"),)}, "https://"),
        ({"items": (Item(beta=LIVE),) * 20_001}, "at most 20,000"),
    ],
)
def test_a_wrong_report_is_one_sentence_and_keeps_nothing(
    database: Database, more: dict[str, Any], words: str
) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(Invalid, match=words):
        tell(database, *([LIVE] if "items" not in more else []), **more)
    assert rows(database) == []


def test_ten_thousand_made_up_names_are_bounded_and_told(database: Database) -> None:
    """500 are kept of one service, whatever else it sends later; known names always are."""
    names = [f"made-up-{n}" for n in range(10_000)]
    found = tell(database, *names, LIVE)
    assert (found.betas, len(found.unknown), found.not_kept_count) == (501, 500, 9_500)
    assert len(found.not_kept) == 100
    assert found.not_kept[0].reason == "too_many_unknown"
    again = tell(database, *names[:600], "one-more", DYING, environment="other")
    assert (again.betas, again.not_kept_count) == (501, 101)
    assert tell(database, "one-more", service="another").unknown == ("one-more",)
    with database.read() as session:
        assert "made-up-1" not in catalog.snapshot(session).betas


def test_names_that_are_none_are_told_and_the_rest_is_kept(database: Database) -> None:
    """A log has all sorts of header values."""
    found = tell(database, LIVE, "not a name", "x" * 200, "=cmd()")
    assert (found.betas, {item.reason for item in found.not_kept}) == (1, {"malformed"})


def test_odd_text_of_places_is_kept_readable(database: Database) -> None:
    """Control characters and lone surrogates cannot be stored; long paths keep their end."""
    tell(database, Item(beta=LIVE, path="a\x00b\udc80.py", line=1),
         Item(beta=LIVE, path="d/" * 400 + "end.py", model="m\n"), source="scan")  # fmt: skip
    places = [at.path for at in users(database, LIVE)[0].locations]
    assert "a�b�.py" in places
    assert any(path.startswith("…") and path.endswith("end.py") for path in places)


def test_scans_of_ever_new_instances_are_refused(database: Database) -> None:
    """An instance named after a run would grow without end."""
    for number in range(200):
        tell(database, LIVE, source="scan", instance=f"run-{number}")
    with pytest.raises(Invalid, match="after the run"):
        tell(database, LIVE, source="scan", instance="run-200")
    tell(database, LIVE, source="scan", instance="run-3")


def test_environments_and_places_are_bounded_and_told(database: Database) -> None:
    """500 environments of a service, 1,000 places of a usage, over all reports."""
    places = [Item(beta=LIVE, path="a.py", line=line) for line in range(1, 901)]
    assert tell(database, *places).locations_not_kept == 0
    more = [Item(beta=LIVE, path="b.py", line=line) for line in range(1, 901)]
    assert tell(database, *more).locations_not_kept == 800
    with database.write() as session:
        for number in range(499):
            report = Report(service="checkout", environment=f"e{number}", items=(Item(beta=LIVE),))
            inventory.record(session, report, NOW)
    with pytest.raises(Invalid, match="after a machine"):
        tell(database, LIVE, environment="one-more")
    assert tell(database, LIVE, environment="e7").betas == 1


# --- At risk --------------------------------------------------------------------------------------


def test_a_service_first_seen_with_a_beta_at_risk_is_told_once(database: Database) -> None:
    """Once a service, environment, beta and issue; the words of the event name no service."""
    found = tell(database, LIVE, DYING, GONE, "odd-1")
    assert [(item.beta, item.issue, item.use_instead) for item in found.at_risk] == [
        (DYING, "deprecated", LIVE), (GONE, "retired", None),
    ]  # fmt: skip
    tell(database, DYING, GONE)
    told = events(database, "usage.at_risk")
    assert [(event.beta, event.services) for event in told] == [(DYING, 1), (GONE, 1)]
    assert all("checkout" not in f"{event.reason}{event.after}" for event in told)
    tell(database, DYING, environment="staging")
    tell(database, DYING, service="billing")
    assert len(events(database, "usage.at_risk")) == 4
    with database.read() as session:
        assert inventory.names_affected(session, told) == {event.id: ["checkout"] for event in told}
        last = events(database, "usage.at_risk")[3]
        judges = Judges(catalog.snapshot(session), NOW.date())
        by = inventory.affected_by(session, [last], judges, NOW)[last.id]
    assert [item.service for item in by] == ["billing"]


def test_what_the_changelog_told_already_is_not_told_again(database: Database) -> None:
    """The event of the turn names the services seen before; those that come later are news."""
    tell(database, LIVE)
    turn(database, LIVE, NOW + HOUR, status="deprecated")
    (event,) = events(database, "beta.deprecated")[-1:]
    assert event.services == 1
    tell(database, LIVE, now=NOW + 2 * HOUR)
    assert events(database, "usage.at_risk") == []
    tell(database, LIVE, service="late", now=NOW + 2 * HOUR)
    assert len(events(database, "usage.at_risk")) == 1


def test_a_turn_that_was_history_is_told_with_the_next_report(database: Database) -> None:
    """Backfill reaches nobody, so the next usage must."""
    tell(database, "new-2026-02-02")
    made = [claim("new-2026-02-02", "status", "retired", source="catalog")]
    with database.write() as session:
        catalog.apply(session, finding("catalog", *made), NOW + HOUR, NOW + HOUR)
    tell(database, "new-2026-02-02", now=NOW + 2 * HOUR)
    assert [event.beta for event in events(database, "usage.at_risk")] == ["new-2026-02-02"]


def test_refused_on_its_platform_only_puts_at_risk(database: Database) -> None:
    """A service on vertex is at risk, one on bedrock is not."""
    turn(database, LIVE, NOW, platforms={"vertex": {"state": "refused"}})
    assert tell(database, LIVE, platform="bedrock").at_risk == ()
    (risk,) = tell(database, LIVE, platform="vertex", service="v").at_risk
    assert risk.issue == "refused"
    (event,) = events(database, "usage.at_risk")
    assert event.platform == "vertex"


def test_events_carry_how_many_services_they_affect(database: Database) -> None:
    """Those whose own place it concerns, the Claude API where nobody told of one; for 30 days."""
    tell(database, LIVE, platform="vertex", service="v")
    tell(database, LIVE, platform="bedrock", service="b")
    tell(database, LIVE, service="somewhere")
    tell(database, LIVE, service="long-ago", window=(NOW - 31 * DAY, NOW - 31 * DAY))
    turn(database, LIVE, NOW + HOUR, platforms={"vertex": {"state": "refused"}})
    (event,) = events(database, "beta.refused")
    assert (event.platform, event.services) == ("vertex", 1)
    with database.read() as session:
        assert inventory.names_affected(session, [event])[event.id] == ["v"]
        assert catalog.services_by_beta(session, NOW) == {LIVE: 3}
    turn(database, LIVE, NOW + 2 * HOUR, status="deprecated")
    assert events(database, "beta.deprecated")[-1].services == 3


def test_affected_takes_days_and_teams(database: Database) -> None:
    """Each narrows; a beta without users has an empty list."""
    with database.write() as session:
        made = Declaration(name="v", team="red", owner="alice", contacts=("#red",))
        inventory.declare(session, [made], "api", NOW)
    tell(database, LIVE, platform="vertex", service="v", window=(NOW - 9 * DAY, NOW - 9 * DAY))
    tell(database, LIVE, platform="bedrock", service="b")
    tell(database, LIVE, service="somewhere")
    assert [item.service for item in users(database, LIVE)] == ["b", "somewhere", "v"]
    assert [item.service for item in users(database, LIVE, days=5)] == ["b", "somewhere"]
    (red,) = users(database, LIVE, teams=["red"])
    assert (red.team, red.owner, red.contacts, red.count_24h) == ("red", "alice", ("#red",), 0)
    with database.read() as session:
        judges = Judges(catalog.snapshot(session), NOW.date())
        found = inventory.affected(session, [GONE, "nobody"], judges, NOW)
        assert found == {GONE: [], "nobody": []}
        assert inventory.count_users(session, [LIVE, GONE], NOW, platform="bedrock") == 2


# --- Refusing -------------------------------------------------------------------------------------


def lead(database: Database, until: datetime = NOW + DAY) -> None:
    """Let a scheduler live, with a target on vertex and one on bedrock."""
    with database.write() as session:
        session.merge(LeaseRow(name="jobs", holder="me", generation=1, expires_at=until))
        for platform in ("vertex", "bedrock"):
            plan = targets.Plan(
                name=f"{platform}-1", platform=platform, api=None, model="m", identity="i",
                endpoint="count_tokens", thresholds=Thresholds(), every=HOUR,
                confirm_every=2 * MINUTE,
            )  # fmt: skip
            targets.ensure(session, [plan], NOW)


def queue(database: Database) -> list[tuple[str, list[str]]]:
    """The sweeps that are asked for."""
    with database.read() as session:
        return [(target, betas) for _, target, betas in targets.queued(session)]


def test_five_refusals_in_five_minutes_are_told_once_until_it_was_quiet(database: Database) -> None:
    """Of whatever services; status and state stay as they are."""
    for number in range(4):
        tell(database, Item(beta=LIVE, refused=1), service=f"s{number}", platform="vertex")
    assert events(database, "usage.refusing") == []
    tell(database, Item(beta=LIVE, refused=1), platform="vertex", now=NOW + 4 * MINUTE)
    tell(database, Item(beta=LIVE, count=9, refused=9), platform="vertex", now=NOW + 5 * MINUTE)
    (event,) = events(database, "usage.refusing")
    assert (event.beta, event.platform, event.services) == (LIVE, "vertex", 5)
    assert event.after["refusals"] == 5
    tell(database, Item(beta=LIVE, count=9, refused=9), platform="vertex", now=NOW + 34 * MINUTE)
    assert len(events(database, "usage.refusing")) == 1
    tell(database, Item(beta=LIVE, count=9, refused=9), platform="vertex", now=NOW + 65 * MINUTE)
    assert len(events(database, "usage.refusing")) == 2
    with database.read() as session:
        assert catalog.beta(session, LIVE).status == "active"


def test_slow_refusals_old_logs_and_unknown_names_alarm_nobody(database: Database) -> None:
    """One in two minutes is below the mark; last week's are no news; a typo is its sender's."""
    for number in range(12):
        tell(database, Item(beta=LIVE, refused=1), now=NOW + number * 2 * MINUTE)
    week = (NOW - 8 * DAY, NOW - 7 * DAY)
    tell(database, Item(beta=GONE, count=99, refused=99), window=week, source="gateway")
    tell(database, Item(beta="typo-2026-01-01", count=99, refused=99))
    assert events(database, "usage.refusing") == []


def test_first_refusals_ask_for_a_sweep_of_those_names_there(database: Database) -> None:
    """Bundled while it waits; at most one a target and minute; what has to wait is not forgotten."""
    lead(database)
    found = tell(database, Item(beta=LIVE, refused=1), platform="vertex")
    assert (found.sweeps, queue(database)) == (("vertex-1",), [("vertex-1", [LIVE])])
    tell(database, Item(beta=DYING, refused=1), platform="vertex")
    assert queue(database) == [("vertex-1", [DYING, LIVE])]
    with database.write() as session:
        (waiting,) = targets.queued(session)
        targets.begin(session, "vertex-1", "asked", NOW, sweep_id=waiting[0])
    tell(database, Item(beta=FREE, refused=1), platform="vertex", now=NOW + timedelta(seconds=30))
    assert queue(database) == []
    assert jobs.sweep_reported(database, lambda: NOW + 2 * MINUTE) == ("vertex-1",)
    assert queue(database) == [("vertex-1", [FREE])]


def test_an_unknown_platform_is_asked_everywhere_and_without_a_scheduler_nowhere(
    database: Database,
) -> None:
    """Nobody would sweep, so nothing is queued."""
    assert tell(database, Item(beta=LIVE, refused=1)).sweeps == ()
    lead(database, until=NOW - MINUTE)
    assert tell(database, Item(beta=LIVE, refused=1)).sweeps == ()
    lead(database)
    assert tell(database, Item(beta=LIVE, refused=1)).sweeps == ("bedrock-1", "vertex-1")


# --- Services -------------------------------------------------------------------------------------


def test_health_follows_from_what_is_known_and_what_is_reported(database: Database) -> None:
    """Refusals fail; a retired beta fails unless the service itself sees it accepted."""
    tell(database, LIVE, FREE, "odd-1", service="fine")
    tell(database, DYING, service="risky")
    tell(database, GONE, service="dead")
    tell(database, Item(beta=GONE, count=5, accepted=5), service="lucky")
    tell(database, Item(beta=LIVE, refused=1), service="failing")
    with database.read() as session:
        judge = Judges(catalog.snapshot(session), NOW.date())
        found = {item.name: item.health for item in inventory.services(session, judge, NOW)}
        sick = inventory.services(session, judge, NOW, ServiceFilter(healths=("failing",)))
    assert found == {
        "fine": "ok", "risky": "at_risk", "dead": "failing", "lucky": "at_risk",
        "failing": "failing",
    }  # fmt: skip
    assert [item.name for item in sick] == ["dead", "failing"]
    issues = {
        beta.name: (beta.issue, bool(beta.advice)) for beta in service(database, "fine").betas
    }
    assert issues == {FREE: ("ga", True), LIVE: (None, False), "odd-1": ("unknown", True)}


def test_superseded_and_deprecated_say_what_to_use(database: Database) -> None:
    """The advice names the successor."""
    turn(database, DYING, NOW, status="active")
    tell(database, DYING)
    (beta,) = service(database).betas
    assert (beta.issue, beta.use_instead) == ("superseded", LIVE)
    assert beta.advice == f"Replace it by {LIVE}."


def test_declaring_replaces_and_an_import_of_owners_leaves_the_rest(database: Database) -> None:
    """A service keeps what it was seen with."""
    tell(database, LIVE)
    whole = Declaration(
        name="checkout", team="red", contacts=("#red",), repository="https://x/y", tier="1",
        defaults=Defaults(platform="bedrock", api="mantle", betas=(LIVE,), policy="filter"),
    )  # fmt: skip
    with database.write() as session:
        assert inventory.declare(session, [whole], "api", NOW + HOUR) == 0
        assert inventory.defaults(session)["checkout"] == whole.defaults
    with database.write() as session:
        made = [Declaration(name="checkout", team="blue"), Declaration(name="new", owner="bob")]
        new = inventory.declare(session, made, "backstage", NOW + HOUR, owners_only=True)
    assert new == 1
    found = service(database, now=NOW + HOUR)
    assert (found.team, found.contacts, found.tier) == ("blue", ("#red",), "1")
    assert (found.repository, found.platform, found.origin) == (
        "https://x/y",
        "bedrock",
        "backstage",
    )
    assert [beta.name for beta in found.betas] == [LIVE]
    with pytest.raises(NotFound):
        service(database, "nobody")


@pytest.mark.parametrize(
    "wrong",
    [
        Declaration(name="a\tb"),
        Declaration(name="a", team="x\ny"),
        Declaration(name="a", contacts=("x",) * 21),
        Declaration(name="a", defaults=Defaults(platform="azure")),
        Declaration(name="a", defaults=Defaults(platform="vertex", api="invoke")),
        Declaration(name="a", defaults=Defaults(policy="lenient")),
        Declaration(name="a", defaults=Defaults(betas=("not a name",))),
    ],
)
def test_a_wrong_declaration_is_refused(database: Database, wrong: Declaration) -> None:
    """And with it the others of the same call."""
    with pytest.raises(Invalid), database.write() as session:
        inventory.declare(session, [Declaration(name="good"), wrong], "api", NOW)
    with pytest.raises(NotFound):
        service(database, "good")


# --- Rows -----------------------------------------------------------------------------------------


@pytest.fixture
def filled(database: Database) -> Database:
    """Three services of two teams, on two platforms."""
    with database.write() as session:
        made = [Declaration(name="a", team="red"), Declaration(name="b", team="blue")]
        inventory.declare(session, made, "api", NOW)
    tell(database, Item(beta=LIVE, count=5), GONE, service="a", platform="vertex")
    tell(database, Item(beta=LIVE, count=7), service="b", platform="bedrock", environment="prod")
    tell(database, "odd-1", service="=c()")
    return database


def test_rows_are_grouped_by_each_word(filled: Database) -> None:
    """Numbers of services and betas, counts, and the status where it has one."""

    def of(by: str, **wanted: Any) -> list[tuple[Any, ...]]:
        found = rows(filled, by, **wanted)
        return [(row.key, row.services, row.betas, row.count_30d, row.status) for row in found]

    assert of("beta") == [
        (GONE, 1, 1, 1, "retired"), ("odd-1", 1, 1, 1, "unknown"), (LIVE, 2, 1, 12, "active"),
    ]  # fmt: skip
    assert of("service") == [("=c()", 1, 1, 1, None), ("a", 1, 2, 6, None), ("b", 1, 1, 7, None)]
    assert of("team") == [(None, 1, 1, 1, None), ("blue", 1, 1, 7, None), ("red", 1, 2, 6, None)]
    assert of("status") == [
        ("active", 2, 1, 12, "active"), ("retired", 1, 1, 1, "retired"),
        ("unknown", 1, 1, 1, "unknown"),
    ]  # fmt: skip
    assert of("service", teams=("red",)) == [("a", 1, 2, 6, None)]
    assert of("beta", statuses=("unknown", "retired"))[0][0] == GONE
    assert len(of("beta", statuses=("unknown", "retired"))) == 2
    assert of("service", environments=("prod",)) == of("service", platforms=("bedrock",))
    assert of("beta", q="THING") == [(LIVE, 2, 1, 12, "active")]
    assert of("beta", q="%") == []


def test_users_of_a_beta_come_in_pages_with_their_radius(filled: Database) -> None:
    """In the order of service and environment."""
    with filled.read() as session:
        wanted, judge = Filter(betas=(LIVE,)), Judges(catalog.snapshot(session), NOW.date())
        first = inventory.users(session, judge, NOW, wanted, limit=1)
        second = inventory.users(session, judge, NOW, wanted, ("a", "default"))
        radius = inventory.radius(session, judge, NOW, wanted)
    assert [(item.service, item.environment) for item in (*first, *second)] == [
        ("a", "default"), ("b", "prod"),
    ]  # fmt: skip
    assert (radius.services, radius.teams, radius.count_30d) == (2, ("blue", "red"), 12)
    assert radius.platforms == ("bedrock", "vertex")


def test_no_cell_of_the_csv_is_a_formula(filled: Database) -> None:
    """Whatever a reporter calls himself; commas and quotes survive."""
    tell(filled, Item(beta=LIVE, path='a,"b".py', line=3), source="scan", service="@x",
         instance="+1")  # fmt: skip
    with filled.read() as session:
        judge = Judges(catalog.snapshot(session), NOW.date())
        text = inventory.write_csv(session, judge, NOW)
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["service"] for row in table] == ["'=c()", "'@x", "a", "a", "b"]
    assert (table[1]["instance"], table[1]["locations"]) == ("'+1", 'a,"b".py:3')
    assert not any(cell[:1] in "=+-@" for row in table for cell in row.values() if cell)


# --- Time -----------------------------------------------------------------------------------------


def counts(database: Database) -> list[tuple[int, int]]:
    """(hour, count) as they are stored, oldest first."""
    with database.read() as session:
        query = sa.select(UsageCountRow.hour, UsageCountRow.count).order_by(UsageCountRow.hour)
        return [(hour, count) for hour, count in session.execute(query)]


def test_hours_become_days_and_no_count_is_lost(database: Database) -> None:
    """After two days; twice is as once; reports of old days join them."""
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    day = int(noon.timestamp() // 86400) * 24
    for hour in range(5):
        tell(database, Item(beta=LIVE, count=2), now=noon + hour * HOUR)
    assert len(counts(database)) == 5
    jobs.tidy_usage(database, lambda: noon + DAY)
    assert len(counts(database)) == 5
    for _ in range(2):
        jobs.tidy_usage(database, lambda: noon + 3 * DAY)
    assert counts(database) == [(day, 10)]
    late = noon + 3 * DAY
    tell(database, Item(beta=LIVE, count=1), now=late, window=(noon, noon + HOUR))
    assert counts(database) == [(day, 11)]
    assert rows(database, now=late)[0].count_30d == 11


def test_totals_forget_after_thirty_days_and_usage_after_four_hundred(database: Database) -> None:
    """A beta not seen for 30 days has no user any more; later nothing is left of it."""
    with database.write() as session:
        inventory.declare(session, [Declaration(name="kept")], "api", NOW)
    tell(database, Item(beta=LIVE, count=5), window=(NOW - 29 * DAY, NOW - 29 * DAY))
    tell(database, Item(beta=LIVE, count=3), key="k")
    tell(database, LIVE, source="scan")
    assert rows(database)[0].count_30d == 9
    jobs.tidy_usage(database, lambda: NOW + DAY)
    assert rows(database, now=NOW + DAY)[0].count_30d == 4
    assert rows(database, now=NOW + 31 * DAY) == []
    assert jobs.tidy_usage(database, lambda: NOW + 401 * DAY) == 2
    assert counts(database) == []
    with database.read() as session:
        judge = Judges(catalog.snapshot(session), NOW.date())
        assert [item.name for item in inventory.services(session, judge, NOW)] == ["kept"]
        assert session.scalar(sa.select(sa.func.count()).select_from(UsageRow)) == 0


def test_a_window_that_ends_at_midnight_was_yesterday(database: Database) -> None:
    """The counts of a day belong to that day."""
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    tell(database, LIVE, window=(midnight - DAY, midnight), source="gateway")
    assert counts(database) == [(int(midnight.timestamp()) // 3600 - 24, 1)]

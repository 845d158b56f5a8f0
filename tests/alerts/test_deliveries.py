"""From events to receivers, on both databases: at least once, under one id, to those who asked."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from registry import inventory
from registry.alerts import deliveries
from registry.alerts.channels import Outcome
from registry.alerts.courier import Courier
from registry.alerts.matching import RETRIES
from registry.core.errors import Conflict, Invalid, NotFound, Unavailable
from registry.db import Database
from registry.models import AlertRow, EventRow
from tests.alerts.receiver import Caller, answers
from tests.alerts.world import ROOMY, A, B, World, bodies, events_in, ids, listening
from tests.factories import NOW
from tests.waiting import until


@pytest.fixture
def world(database: Database) -> World:
    """A registry with two betas."""
    return World(database)


def test_an_event_reaches_a_receiver_once(world: World) -> None:
    """Signed, with the event in it; a second round sends nothing."""
    with listening() as there:
        world.subscribe(there)
        (event,) = world.happen()
        assert world.send() == 1
        assert world.send() == 0
        body = bodies(there)[0]
    assert (body["type"], events_in(body)) == ("beta.deprecated", [event])
    found = world.alerts.deliveries(10)[0]
    assert (found.status, found.attempts, found.last_status) == ("sent", 1, 204)
    assert ids(there) == [found.id]


def test_a_new_subscription_is_told_how_things_stand_and_nothing_of_before(world: World) -> None:
    """What was recorded before it, fanned out or not, is not for it."""
    with listening() as there:
        url = f"http://127.0.0.1:{there.port}/hook"
        world.happen()
        world.alerts.subscribe({"name": "x", "channel": "webhook", "url": url})
        world.send()
        assert [body["type"] for body in bodies(there)] == ["welcome"]
        assert bodies(there)[0]["data"]["standing"]["counts"] == {"active": 1, "deprecated": 1}


def test_events_of_one_transaction_are_one_message(world: World) -> None:
    """And those of two are two."""
    with listening() as there:
        world.subscribe(there)
        together = world.happen(A, B)
        alone = world.happen(A, status="ga")
        world.send()
        assert sorted(map(events_in, bodies(there))) == sorted([list(together), list(alone)])


def test_history_reaches_nobody_who_did_not_ask(world: World) -> None:
    """A source's first run is history."""
    from registry import catalog
    from tests.factories import claim, finding

    with listening() as there, listening() as curious:
        world.subscribe(there)
        world.subscribe(curious, filter={"backfill": True})
        with world.database.write() as session:
            made = finding("litellm", claim("new-2026-05-05", source="litellm", basis="litellm"))
            catalog.apply(session, made, world.now, world.now)
        world.send()
        assert (len(bodies(there)), len(bodies(curious))) == (0, 1)


def test_a_failed_attempt_is_made_again_under_the_same_id(world: World) -> None:
    """By the schedule, and not before it is due."""
    with listening() as there:
        world.subscribe(there)
        there.behave = answers(500, b"broken")
        world.happen()
        world.send()
        assert world.statuses() == ["failed"]
        world.later(seconds=4)
        assert world.send() == 0
        world.later(seconds=2)
        assert world.send() == 1
        there.behave = answers(204)
        world.later(minutes=6)
        assert world.send() >= 1
        assert world.statuses() == ["sent"]
        tried = [
            one
            for one, body in zip(ids(there), bodies(there), strict=True)
            if body["data"]["event"]
        ]
        assert len(tried) == 3
        assert len(set(tried)) == 1
    log = world.alerts.delivery(tried[0]).log
    assert [(item["number"], item["status"], item["answer"]) for item in log] == [
        (1, 500, "broken"), (2, 500, "broken"), (3, 204, ""),
    ]  # fmt: skip


def test_retries_end_after_three_days(world: World) -> None:
    """Then it is dead, and can still be sent by hand, under its id."""
    with listening() as there:
        world.subscribe(there)
        there.behave = answers(500)
        world.happen()
        world.send()
        for wait in RETRIES:
            world.later(seconds=1.1 * wait.total_seconds())
            world.send()
        assert world.statuses() == ["dead"]
        found = next(item for item in world.alerts.deliveries(10) if item.events)
        assert found.attempts == 10
        there.behave = answers(200)
        assert world.alerts.redeliver(found.id).status == "pending"
        world.send()
        assert ids(there)[-1] == found.id
        assert world.statuses() == ["sent"]


@pytest.mark.parametrize(
    ("behave", "status", "disabled"),
    [
        (answers(301, b"", location="https://example.com/"), "failed", False),
        (answers(405), "dead", False),
        (answers(413), "dead", False),
        (answers(410), "dead", True),
        (lambda caller: None, "failed", False),  # closes
    ],
)
def test_what_an_answer_does(world: World, behave: Any, status: str, disabled: bool) -> None:
    """3xx and closing are failures, 410 disables, what cannot work stops at once."""
    with listening() as there:
        number = world.subscribe(there)
        there.behave = behave
        world.happen()
        world.send()
        assert world.statuses() == [status]
        assert bool(world.alerts.subscription(number).disabled_reason) is disabled
        if disabled:
            world.happen(B)
            assert world.send() == 0
            world.alerts.amend(number, {"disabled_reason": None})
            there.behave = answers(204)
            world.happen(B, status="ga")
            assert world.send() == 1


def test_retry_after_lengthens_the_wait(world: World) -> None:
    """And never shortens it."""
    with listening() as there:
        world.subscribe(there)
        there.behave = answers(429, b"", retry_after="600")
        world.happen()
        world.send()
        world.later(minutes=9)
        assert world.send() == 0
        world.later(minutes=2)
        assert world.send() == 1


def test_five_days_of_failure_disable_and_tell_the_team_elsewhere(world: World) -> None:
    """Its other channel hears of it; other teams do not."""
    with listening(answers(500)) as dead, listening() as other, listening() as stranger:
        number = world.subscribe(dead, team="payments", filter={"betas": [A]})
        world.subscribe(other, team="payments", filter={"betas": [B]})
        world.subscribe(stranger, team="search", filter={"betas": [B]})
        statuses = ("deprecated", "ga")
        for day in range(8):
            world.happen(A, status=statuses[day % 2])
            world.send()
            world.later(days=1)
        why = world.alerts.subscription(number).disabled_reason
        assert why
        assert "failed" in why
        assert [body["type"] for body in bodies(other)] == ["notice"]
        assert why in bodies(other)[0]["data"]["text"]
        assert bodies(stranger) == []


def test_a_digest_comes_when_it_is_due_with_what_happened_since(world: World) -> None:
    """Its window is a range of events; nothing is told twice and nothing is left out."""
    with listening() as there:
        world.subscribe(there, schedule="daily", timezone="Europe/Berlin")
        first = world.happen(A)
        second = world.happen(B)
        assert world.send() == 0
        world.later(hours=20)  # 9 o'clock in Berlin is 8 in UTC
        late = world.happen(B, status="ga")
        assert world.send() == 1
        body = bodies(there)[0]
        assert body["type"] == "digest"
        assert events_in(body) == [*first, *second, *late]
        world.later(days=1)
        assert world.send() == 0  # nothing happened, so nothing is said
        more = world.happen(A, status="ga")
        world.later(days=1)
        world.send()
        assert events_in(bodies(there)[1]) == list(more)


def test_a_digest_waits_for_what_is_not_fanned_out(world: World) -> None:
    """An event that came in before, and is fanned out after, belongs to the next digest."""
    with listening() as there:
        world.subscribe(there, schedule="daily")
        first = world.happen(A)
        world.alerts.advance(ROOMY)
        stuck = world.happen(B)
        later = world.happen(A, status="ga")
        world.later(days=1)
        with world.database.write() as session:  # only the last one is fanned out: ids have a gap
            session.execute(
                sa.update(EventRow).where(EventRow.id.in_(later)).values(fanned_out=True)
            )
            session.execute(sa.insert(AlertRow), [
                {"event": one, "subscription": 1, "delivery": None} for one in later
            ])  # fmt: skip
            deliveries.gather(session, world.now)
        world.send()
        assert events_in(bodies(there)[0]) == list(first)
        world.later(days=1)
        world.send()
        assert events_in(bodies(there)[1]) == [*stuck, *later]


def test_what_happens_while_muted_comes_in_one_message_afterwards(world: World) -> None:
    """Muting loses nothing."""
    with listening() as there:
        number = world.subscribe(there)
        world.alerts.amend(number, {"muted_until": (world.now + timedelta(days=1)).isoformat()})
        first, second = world.happen(A), world.happen(B)
        assert world.send() == 0
        world.later(days=1, seconds=1)
        assert world.send() == 1
        assert events_in(bodies(there)[0]) == [*first, *second]


def usage(world: World, service: str, beta: str, team: str) -> None:
    """Let a service of a team report a beta."""
    from registry.models import ServiceRow

    item = inventory.Item(beta=beta, count=3)
    with world.database.write() as session:
        report = inventory.Report(
            service=service, environment="production", source="client", items=(item,)
        )
        inventory.record(session, report, world.now)
        session.execute(sa.update(ServiceRow).where(ServiceRow.name == service).values(team=team))


def test_only_if_used_hears_of_what_its_team_uses(world: World) -> None:
    """Nothing before usage exists, and it says so; other teams' usage does not count."""
    with listening() as mine, listening() as all_, listening() as filtered:
        number = world.subscribe(mine, team="payments", only_if_used=True)
        world.subscribe(all_, only_if_used=True)
        world.subscribe(filtered, filter={"teams": ["payments"]})
        assert "No service has reported" in (world.alerts.subscription(number).note or "")
        world.happen(A)
        world.send()
        usage(world, "checkout", A, "payments")
        usage(world, "finder", B, "search")
        assert world.alerts.subscription(number).note is None
        world.send()
        for there in (mine, all_, filtered):
            there.callers.clear()
        used = world.happen(A, status="ga")
        strange = world.happen(B)
        world.send()
        assert [events_in(body) for body in bodies(mine)] == [list(used)]
        assert [events_in(body) for body in bodies(all_)] == [list(used), list(strange)]
        assert [events_in(body) for body in bodies(filtered)] == [list(used)]
        assert bodies(mine)[0]["data"]["affected"][0]["service"] == "checkout"
        world.later(days=31)
        mine.callers.clear()
        world.happen(A, status="deprecated")
        world.send()
        assert bodies(mine) == []  # not seen for 30 days


def test_rotation_signs_with_both_secrets_for_a_day(world: World) -> None:
    """So that no receiver misses one."""
    from standardwebhooks import Webhook

    with listening() as there:
        url = f"http://127.0.0.1:{there.port}/hook"
        made, old = world.alerts.subscribe({"name": "x", "channel": "webhook", "url": url})
        new = world.alerts.rotate(made.id)
        assert old
        assert new != old
        world.send()
        assert len(there.callers[0].headers["webhook-signature"].split(" ")) == 2
        world.later(hours=25)
        world.happen()
        world.send()
        assert len(there.callers[1].headers["webhook-signature"].split(" ")) == 1
    # Times in the signature are the tests' clock, so only the shape can be verified here.
    assert Webhook(new)


def test_nothing_secret_is_stored_in_clear(world: World, database: Database) -> None:
    """Addresses and secrets are sealed; another key does not open them, and says so."""
    from registry.models import SubscriptionRow

    world.alerts.subscribe(
        {"name": "x", "channel": "webhook", "url": "https://93.184.215.14/T0ken?key=hidden"}
    )
    with database.read() as session:
        row = session.scalars(sa.select(SubscriptionRow)).one()
        stored = repr(vars(row))
    assert "T0ken" not in stored
    assert "hidden" not in stored
    assert "whsec_" not in stored
    world.key = b"another"
    with pytest.raises(Unavailable):
        world.alerts.rotate(row.id)
    world.send()
    assert "key" in (world.alerts.deliveries(1)[0].last_error or "")


# --- Several processes, and ones that die ---------------------------------------------------------


def test_eight_processes_send_each_message_once(world: World, database: Database) -> None:
    """Claims are conditional updates: of several claimers one wins, and fan-out gives no second alert."""
    with listening() as there:
        world.subscribe(there)
        for _ in range(20):
            world.happen(A, status="ga")
            world.happen(A, status="deprecated")
        failed: list[BaseException] = []

        def work() -> None:
            try:
                World.send(world)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        world.send()
        assert len(set(ids(there))) == len(there.callers) == 40
        assert set(world.statuses()) == {"sent"}


def test_a_claim_that_is_lost_is_made_again_under_the_same_id(world: World) -> None:
    """The process died while sending: the message may come twice, under one id."""
    with listening() as there:
        world.subscribe(there)
        world.happen()
        (lost,) = world.alerts.advance(ROOMY)
        world.alerts.attempt(lost)  # sent, and never recorded
        assert world.send() == 0
        world.later(seconds=deliveries.CLAIM.total_seconds() + 1)
        assert world.send() == 1
        assert len(there.callers) == 2
        assert len(set(ids(there))) == 1


def test_a_late_record_of_a_lost_claim_changes_nothing(world: World) -> None:
    """Recording depends on the attempt's number."""
    with listening() as there:
        world.subscribe(there)
        world.happen()
        (lost,) = world.alerts.advance(ROOMY)
        attempted = world.alerts.attempt(lost)
        world.later(seconds=deliveries.CLAIM.total_seconds() + 1)
        (second,) = world.alerts.advance(ROOMY)
        world.alerts.record([attempted])
        assert world.statuses() == ["pending"]
        failed = Outcome(
            result="transient", status=500, latency_ms=1, answer="", error="no", retry_after=None
        )
        from registry.alerts import Attempted

        world.alerts.record([Attempted(claim=second, outcome=failed, title="t")])
        assert world.statuses() == ["failed"]


def test_a_dead_and_a_slow_receiver_delay_nobody(world: World) -> None:
    """The others have theirs while the slow one still answers its first."""
    go = threading.Event()

    def slow(caller: Caller) -> None:
        go.wait(60)
        caller.say(b"HTTP/1.1 204 Done\r\n\r\n")

    with listening(slow) as crawling, listening() as quick:
        world.timeout = 30
        world.alerts = world.another()
        names = {"name": "slow", "channel": "webhook", "url": f"http://127.0.0.1:{crawling.port}/"}
        world.alerts.subscribe(names)
        world.alerts.subscribe({**names, "name": "dead", "url": "http://127.0.0.1:1/"})
        courier = Courier(world.alerts, threads=8, idle_seconds=0.02)
        courier.start()
        try:
            world.alerts.subscribe(
                {**names, "name": "quick", "url": f"http://127.0.0.1:{quick.port}/"}
            )
            for status in ("deprecated", "ga") * 10:
                world.happen(A, status=status)
            until(lambda: len(quick.callers) == 21)
            assert len(crawling.callers) <= 4
        finally:
            go.set()
            courier.stop()
        assert world.alerts.deliveries(1, statuses=["sent"])


# --- By hand --------------------------------------------------------------------------------------


def test_a_test_is_sent_at_once_and_never_again(world: World) -> None:
    """It has no event, and a failure is told and not retried."""
    with listening() as there:
        number = world.subscribe(there)
        made = world.alerts.test(number)
        assert (made.status, made.events, bodies(there)[0]["type"]) == ("sent", (), "test")
        there.behave = answers(500, b"whsec_abc no")
        failed = world.alerts.test(number)
        assert (failed.status, failed.last_status) == ("dead", 500)
        world.later(days=1)
        assert world.send() == 0


def test_a_range_is_sent_again(world: World) -> None:
    """By subscription, time and status."""
    with listening() as there:
        number = world.subscribe(there)
        for status in ("deprecated", "ga", "deprecated"):
            world.happen(A, status=status)
            world.send()
            world.later(hours=1)
        since = NOW + timedelta(minutes=30)
        count = world.alerts.redeliver_range(
            statuses=["sent"], subscription=number, since=since, until=None
        )
        assert count == 2
        world.send()
        assert len(ids(there)) == 5
        assert len(set(ids(there))) == 3
        assert world.alerts.redeliver_range(subscription=number) == 0


def test_old_deliveries_are_forgotten(world: World) -> None:
    """After 90 days, and only what is settled."""
    with listening() as there:
        world.subscribe(there)
        world.happen()
        world.send()
        world.later(days=89)
        assert world.alerts.prune() == 0
        world.later(days=3)
        assert world.alerts.prune() >= 2
        assert world.alerts.deliveries(10) == []


def test_the_settings_say_what_there_is(world: World) -> None:
    """New ones are made, changed ones changed, missing ones deleted; those of the API are left alone."""
    own = {"name": "own", "channel": "webhook", "url": "http://127.0.0.1:9/a"}
    world.alerts.subscribe({**own, "name": "by-hand"})
    assert world.alerts.reconcile([own, {**own, "name": "other"}]) == 2
    assert world.alerts.reconcile([{**own, "schedule": "daily"}, {**own, "name": "other"}]) == 0
    shown = {item.name: item for item in world.alerts.subscriptions()}
    assert (shown["own"].schedule, shown["own"].origin) == ("daily", "settings")
    with pytest.raises(Conflict, match="settings"):
        world.alerts.amend(shown["own"].id, {"schedule": "weekly"})
    with pytest.raises(Conflict, match="settings"):
        world.alerts.remove(shown["own"].id)
    world.alerts.amend(shown["own"].id, {"muted_until": "2027-01-01"})
    world.alerts.reconcile([{**own, "schedule": "daily"}])
    left = {item.name: item for item in world.alerts.subscriptions()}
    assert set(left) == {"own", "by-hand"}
    assert left["own"].muted_until is not None
    with pytest.raises(Invalid, match="'own' of the settings"):
        world.alerts.reconcile([{**own, "timezone": "Mars"}])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "name"),
        ({"name": " ", "channel": "webhook", "url": "https://x.example"}, "name"),
        ({"name": "x", "channel": "pigeon", "url": "https://x.example"}, "pigeon"),
        ({"name": "x", "channel": "webhook", "url": 3}, "url"),
        ({"name": "x", "channel": "webhook", "url": "x" * 2001}, "2,000"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "timezone": "../etc"}, "time zone"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "schedule": "hourly"}, "hourly"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "muted_until": "soon"}, "soon"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "muted_until": "2020-01-01"}, "past"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "used_within_days": 0}, "400"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "secret": "short"}, "whsec_"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "colour": "red"}, "colour"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "team": "x" * 201}, "team"),
        ({"name": "x", "channel": "webhook", "url": "http://127.0.0.1/", "filter": {"types": ["no"]}}, "no"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_a_sentence(world: World, given: Any, says: str) -> None:
    """One clear sentence, and nothing is stored."""
    with pytest.raises(Invalid) as refused:
        world.alerts.subscribe(given)
    assert says in refused.value.detail
    assert world.alerts.subscriptions() == []


def test_what_is_not_there_is_not_found(world: World) -> None:
    """Ids from the future, too."""
    for number in (1, 2**31 - 1, 2**40):
        with pytest.raises(NotFound):
            world.alerts.subscription(number)
    for name in ("msg_x", "x" * 100):
        with pytest.raises(NotFound):
            world.alerts.redeliver(name)
    own = {"name": "x", "channel": "webhook", "url": "http://127.0.0.1:9/a"}
    world.alerts.subscribe(own)
    with pytest.raises(Conflict):
        world.alerts.subscribe(own)


def test_a_storm_is_fanned_out_in_short_transactions(world: World) -> None:
    """A transaction that is too large for one message is told in several; nothing is left out."""
    from registry import catalog
    from registry.core.facts import Event

    with listening() as there:
        world.subscribe(there)
        with world.database.write() as session:
            writer = catalog.Writer(session, world.now)
            for number in range(deliveries.ROWS + 5):
                writer.record(
                    Event(type="source.entry", at=world.now, reason=str(number), source="docs")
                )
            writer.finish()
        (first,) = world.happen()
        world.send()
        found = [item for item in world.alerts.deliveries(10) if item.events]
    assert [len(item.events) for item in reversed(found)] == [deliveries.ROWS, 5, 1]
    assert found[0].events == (first,)
    assert {item.status for item in found} == {"sent"}

"""Deliveries: from events to messages on their way, and what became of them. Owns their tables.

    fan_out     events not fanned out yet -> alerts, unique for (event, subscription), and deliveries
    gather      what waits for a digest, or for the end of a mute -> one delivery
    claim       what is due -> who may send it now; the claim counts the attempt
    record      how an attempt went -> sent, tried again later, or given up

Each is one short transaction and safe to run by any number of processes at once: claims are conditional
updates, inserts have unique keys. Nothing is sent here. A process that dies between claim and record loses
its claim after `CLAIM`; the message then goes out again under the same id.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog, inventory
from registry.alerts.channels import Outcome
from registry.alerts.matching import RETRIES, Filter, next_digest, read_filter, retry_after, wants
from registry.alerts.subscriptions import of_team
from registry.core.errors import Invalid, NotFound
from registry.core.facts import Event, Json, Snapshot
from registry.core.judgement import judges_of
from registry.core.wording import judged
from registry.core.wording import severity_of as grave
from registry.models import AlertRow, AttemptRow, DeliveryRow, EventRow, SubscriptionRow

__all__ = [
    "CLAIM",
    "DISABLE_AFTER",
    "Claim",
    "Delivery",
    "Load",
    "acknowledge",
    "add",
    "batches",
    "claim",
    "claim_one",
    "deliveries",
    "delivery",
    "events_of",
    "fan_out",
    "gather",
    "has_work",
    "prune",
    "record",
    "redeliver",
    "redeliver_range",
    "set_right",
]

log = logging.getLogger("registry.alerts")

CLAIM: Final = timedelta(seconds=30)
"""How long a claim holds. An attempt has its own, shorter deadline (`channels.Rules.timeout`)."""

DISABLE_AFTER: Final = timedelta(days=5)
"""A subscription that fails for so long is disabled."""

DAY: Final = timedelta(days=1)

HOLD_MAX: Final = timedelta(minutes=5)
"""The longest rest that a failing receiver gets between attempts of different messages."""

BATCHES: Final = 50
ROWS: Final = 10_000
"""Alerts made in one transaction: it stays short, so that other writers need not wait."""

KEEP: Final = timedelta(days=90)
_PLACES: Final = itertools.count()
STATUSES: Final = ("pending", "sent", "failed", "dead")
_OPEN: Final = ("pending", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as the API shows it; `log` holds its attempts where one is asked for."""

    id: str
    subscription: int
    kind: str
    title: str
    events: tuple[int, ...]
    status: str
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    sent_at: datetime | None
    created_at: datetime
    acknowledged_at: datetime | None
    log: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to make one attempt, until `CLAIM` is over."""

    delivery: str
    subscription: int
    kind: str
    note: str | None
    number: int
    tries: int
    critical: bool = False


# --- From events to deliveries --------------------------------------------------------------------


def has_work(session: Session, now: datetime) -> bool:
    """Say whether anything is to be fanned out, gathered or sent; a read, so that idling locks nothing."""
    pending = sa.select(EventRow.id).where(EventRow.fanned_out.is_(False))
    due = _due(now).with_only_columns(DeliveryRow.id)
    found = session.scalar(sa.select(sa.or_(pending.exists(), due.exists())))
    return bool(found) or bool(_to_gather(session, now))


def batches(session: Session, limit: int = BATCHES, *, without: Collection[int] = ()) -> list[int]:
    """Return the oldest transactions whose events are not fanned out, by their first event."""
    query = sa.select(EventRow.batch).where(EventRow.fanned_out.is_(False)).distinct()
    if without:
        query = query.where(EventRow.batch.not_in(list(without)))
    return list(session.scalars(query.order_by(EventRow.batch).limit(limit)))


def fan_out(
    session: Session,
    snapshot: Snapshot,
    now: datetime,
    *,
    only: Collection[int] | None = None,
    without: Collection[int] = (),
) -> int:
    """Turn events into alerts and deliveries; returns how many events it took.

    1. Claim whole transactions of events, as many as make about `ROWS` alerts, or a part of one that is
       larger: the update lets one process win.
    2. Ask who is affected, where a subscription depends on it.
    3. Of one transaction's events a subscription gets one message; for a digest, or while it is
       muted, they wait.
    """
    hearers = _hearers(session)
    chosen = _outbox(session, max(10, ROWS // max(1, len(hearers))), only, without)
    if not chosen:
        return 0
    rows = session.scalars(
        sa.update(EventRow)
        .where(EventRow.id.in_(chosen), EventRow.fanned_out.is_(False))
        .values(fanned_out=True)
        .returning(EventRow)
    )
    events = sorted((catalog.read_event(row) for row in rows), key=lambda event: event.id)
    concerned = _Concerned(session, events, snapshot, now)
    for row, asked in hearers:
        wanted = [
            event
            for event in events
            if event.id > row.since_event and concerned.hears(row, asked, event)
        ]
        _enqueue(session, row, wanted, concerned.critical, now)
    return len(events)


def _outbox(
    session: Session, limit: int, only: Collection[int] | None, without: Collection[int]
) -> list[int]:
    """Return the oldest events that are not fanned out: whole transactions, unless one is too large."""
    query = sa.select(EventRow.id, EventRow.batch).where(EventRow.fanned_out.is_(False))
    if only is not None:
        query = query.where(EventRow.batch.in_(list(only)))
    if without:
        query = query.where(EventRow.batch.not_in(list(without)))
    rows = session.execute(query.order_by(EventRow.batch, EventRow.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return [number for number, _ in rows]
    cut = rows[limit][1]
    whole = [number for number, batch in rows[:limit] if batch != cut]
    return whole or [number for number, _ in rows[:limit]]


def _hearers(session: Session) -> list[tuple[SubscriptionRow, Filter]]:
    rows = session.scalars(
        sa.select(SubscriptionRow)
        .where(SubscriptionRow.disabled_reason.is_(None))
        .order_by(SubscriptionRow.id)
    )
    found = []
    for row in rows:
        try:
            found.append((row, read_filter(row.filter)))
        except Invalid as error:  # one bad row must not keep the others waiting
            log.error("Subscription %d has a filter that cannot be read: %s", row.id, error)
    return found


class _Concerned:
    """Who is affected by the events of one transaction; asked once for all of them."""

    def __init__(
        self, session: Session, events: Sequence[Event], snapshot: Snapshot, now: datetime
    ) -> None:
        self._session, self._events, self._now = session, events, now
        self._snapshot = snapshot
        self._judges = judges_of(snapshot, now.date())
        self._seen: dict[int, dict[int, frozenset[str | None]]] = {}
        self.critical = {event.id for event in events if grave(event, snapshot) == "critical"}

    def hears(self, row: SubscriptionRow, filter: Filter, event: Event) -> bool:
        """Say whether a subscription wants an event."""
        said = judged(event, self._snapshot)
        status = said.status if said is not None else None
        if not (row.only_if_used or filter.teams):
            return wants(filter, event, status, ())
        teams = self._teams(event, row.used_within_days)
        if row.only_if_used and not (teams if row.team is None else row.team in teams):
            return False
        return wants(filter, event, status, [team for team in teams if team])

    def _teams(self, event: Event, days: int) -> frozenset[str | None]:
        """Return the teams whose services an event affects; None stands for no team."""
        if days not in self._seen:
            found = inventory.affected_by(
                self._session, self._events, self._judges, self._now, days=days
            )
            self._seen[days] = {
                number: frozenset(item.team for item in users) for number, users in found.items()
            }
        return self._seen[days][event.id]


def _enqueue(
    session: Session,
    row: SubscriptionRow,
    wanted: Sequence[Event],
    critical: Collection[int],
    now: datetime,
) -> None:
    grave = {event.batch for event in wanted if event.id in critical}
    waits = row.schedule != "immediate" or (row.muted_until is not None and row.muted_until > now)
    made: dict[int, str | None] = {}
    for event in wanted:
        if event.batch not in made:
            made[event.batch] = (
                None if waits else add(session, row.id, "alert", now, critical=event.batch in grave)
            )
    if wanted:
        session.execute(
            sa.insert(AlertRow),
            [
                {"event": event.id, "subscription": row.id, "delivery": made[event.batch]}
                for event in wanted
            ],
        )


def add(
    session: Session,
    subscription: int,
    kind: str,
    now: datetime,
    note: str | None = None,
    *,
    critical: bool = False,
) -> str:
    """Put a message on its way, to be sent at once. Returns its id, which all attempts share.

    A `critical` one goes before all others, by threads of its own.
    Ids grow with time, and of one moment in the order in which they were made here.
    """
    place = next(_PLACES) % 0x1000000
    number = f"msg_{int(now.timestamp() * 1000):012x}{place:06x}{secrets.token_hex(5)}"
    session.add(
        DeliveryRow(
            id=number, subscription=subscription, kind=kind, title="", note=note, status="pending",
            critical=critical, attempts=0, tries=0, created_at=now, next_attempt_at=now,
        )
    )  # fmt: skip
    session.flush()
    return number


def gather(session: Session, now: datetime) -> int:
    """Make the digests that are due, and tell what waited for the end of a mute. Returns how many.

    A digest holds what is fanned out up to an event's id: the window of the next one begins there,
    whatever the clocks did.
    """
    count = 0
    for number in _to_gather(session, now):
        row = session.get(SubscriptionRow, number, with_for_update=True, populate_existing=True)
        if row is None or number not in _to_gather(session, now, number):
            continue  # another process was first
        upto = _fanned_out_to(session)
        muted = row.muted_until is not None and row.muted_until > now
        if not muted:
            count += _gather(session, row, upto, now)
        if row.schedule != "immediate":
            row.next_digest_at = next_digest(row.schedule, row.timezone, now)
    return count


def _to_gather(session: Session, now: datetime, number: int | None = None) -> list[int]:
    """Return the subscriptions whose digest is due, or that are no longer muted and have alerts waiting."""
    row = SubscriptionRow
    waiting = sa.exists().where(AlertRow.subscription == row.id, AlertRow.delivery.is_(None))
    heard_again = sa.and_(
        row.schedule == "immediate",
        sa.or_(row.muted_until.is_(None), row.muted_until <= now),
        waiting,
    )
    query = sa.select(row.id).where(
        row.disabled_reason.is_(None), sa.or_(row.next_digest_at <= now, heard_again)
    )
    return list(session.scalars(query if number is None else query.where(row.id == number)))


def _fanned_out_to(session: Session) -> int:
    """Return the event up to which all are fanned out."""
    oldest = session.scalar(
        sa.select(sa.func.min(EventRow.id)).where(EventRow.fanned_out.is_(False))
    )
    newest = session.scalar(sa.select(sa.func.max(EventRow.id))) or 0
    return oldest - 1 if oldest else newest


def _gather(session: Session, row: SubscriptionRow, upto: int, now: datetime) -> int:
    held = (
        AlertRow.subscription == row.id,
        AlertRow.delivery.is_(None),
        AlertRow.event <= upto,
    )
    row.digest_after, begin = upto, row.digest_after
    if not session.scalar(sa.select(sa.exists().where(*held))):
        return 0
    kind = "alert" if row.schedule == "immediate" else "digest"
    number = add(session, row.id, kind, now, note=f"Events {begin + 1} to {upto}.")
    session.execute(sa.update(AlertRow).where(*held).values(delivery=number))
    return 1


# --- Attempts -------------------------------------------------------------------------------------


def set_right(session: Session, now: datetime) -> int:
    """Make due what was put off before the clock was set back; returns how many deliveries that were.

    What waits longer than it can, or waits since an attempt in the future, was. A digest's time is
    computed anew, and no receiver rests for longer than `HOLD_MAX`.
    """
    row, attempt = DeliveryRow, AttemptRow
    put_off = session.execute(
        sa.update(row)
        .where(
            row.status.in_(_OPEN),
            row.next_attempt_at > now + CLAIM,
            sa.or_(
                row.status == "pending",
                sa.exists().where(attempt.delivery == row.id, attempt.at > now),
            ),
        )
        .values(next_attempt_at=now)
        .execution_options(synchronize_session=False)
    )
    held = SubscriptionRow
    session.execute(
        sa.update(held)
        .where(held.hold_until > now + HOLD_MAX)
        .values(hold_until=None)
        .execution_options(synchronize_session=False)
    )
    for late in session.scalars(sa.select(held).where(held.next_digest_at > now)):
        due = next_digest(late.schedule, late.timezone, now)
        if due is not None and late.next_digest_at > due + DAY:  # type: ignore[operator]
            late.next_digest_at = due
    return put_off.rowcount  # type: ignore[attr-defined,no-any-return]  # an update has it


def _due(now: datetime, *, critical: bool | None = None) -> sa.Select[Any]:
    found = (
        sa.select(DeliveryRow)
        .join(SubscriptionRow, SubscriptionRow.id == DeliveryRow.subscription)
        .where(
            DeliveryRow.status.in_(_OPEN),
            DeliveryRow.next_attempt_at <= now,
            SubscriptionRow.disabled_reason.is_(None),
            sa.or_(SubscriptionRow.hold_until.is_(None), SubscriptionRow.hold_until <= now),
        )
    )
    return found if critical is None else found.where(DeliveryRow.critical.is_(critical))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a process is sending: how many more it can, and how many by subscription.

    `slow` are the subscriptions whose last answer took long; they and those that fail get one message at
    a time, and `slow_room` threads together. What is critical is counted apart.
    """

    room: int
    slow_room: int
    in_flight: Mapping[int, int] = field(default_factory=dict)
    slow: Collection[int] = ()
    critical_room: int = 0
    critical_in_flight: Mapping[int, int] = field(default_factory=dict)


def claim(session: Session, now: datetime, load: Load) -> list[Claim]:
    """Claim the attempts for which there is room: first what is critical, then the rest.

    Of each subscription the oldest come first. What is critical has room of its own, also towards a slow
    receiver whose other messages wait.
    """
    made = _claim_critical(session, now, load)
    due = _due(now, critical=False)
    row = SubscriptionRow
    taken, slow_room = 0, load.slow_room
    subscriptions = due.with_only_columns(row.id, row.failures).distinct().order_by(row.id)
    for number, failures in session.execute(subscriptions).all():
        spared = bool(failures) or number in load.slow
        free = (1 if spared else PARALLEL) - load.in_flight.get(number, 0)
        free = min(free, load.room - taken, slow_room if spared else PARALLEL)
        if free <= 0:
            continue
        slow_room -= free if spared else 0
        won = _claim_some(session, due.where(row.id == number), free, now)
        taken += len(won)
        made += won
    return made


def _claim_critical(session: Session, now: datetime, load: Load) -> list[Claim]:
    due, row = _due(now, critical=True), SubscriptionRow
    made: list[Claim] = []
    for number in session.scalars(due.with_only_columns(row.id).distinct().order_by(row.id)).all():
        free = PARALLEL - load.critical_in_flight.get(number, 0)
        free = min(free, load.critical_room - len(made))
        if free > 0:
            made += _claim_some(session, due.where(row.id == number), free, now)
    return made


def _claim_some(session: Session, due: sa.Select[Any], count: int, now: datetime) -> list[Claim]:
    query = due.order_by(DeliveryRow.next_attempt_at, DeliveryRow.id).limit(count)
    return [one for item in session.scalars(query) if (one := _claim(session, item, now))]


PARALLEL: Final = 4
"""Messages that one healthy receiver gets at a time."""


def claim_one(session: Session, number: str, now: datetime) -> Claim | None:
    """Claim one delivery by its id, whatever holds its subscription back; None if it is taken."""
    row = session.get(DeliveryRow, number)
    return _claim(session, row, now) if row is not None and row.status in _OPEN else None


def _claim(session: Session, row: DeliveryRow, now: datetime) -> Claim | None:
    """Count the attempt and push the next one out; of several processes one wins."""
    won = session.execute(
        sa.update(DeliveryRow)
        .where(
            DeliveryRow.id == row.id,
            DeliveryRow.attempts == row.attempts,
            DeliveryRow.status.in_(_OPEN),
        )
        .values(attempts=row.attempts + 1, tries=row.tries + 1, next_attempt_at=now + CLAIM)
        .execution_options(synchronize_session=False)
    )
    if won.rowcount != 1:  # type: ignore[attr-defined]  # an update has it
        return None
    return Claim(
        delivery=row.id, subscription=row.subscription, kind=row.kind, note=row.note,
        number=row.attempts + 1, tries=row.tries + 1, critical=row.critical,
    )  # fmt: skip


def record(
    session: Session, made: Claim, outcome: Outcome, title: str, now: datetime, share: float
) -> None:
    """Write down how an attempt went, unless a later one was claimed since.

    `share`, from 0 to 1, places the wait before the next attempt within its jitter.
    """
    session.add(
        AttemptRow(
            delivery=made.delivery, number=made.number, at=now, result=outcome.result,
            status=outcome.status, latency_ms=outcome.latency_ms, answer=outcome.answer,
            error=outcome.error,
        )
    )  # fmt: skip
    values = _after(made, outcome, now, share)
    session.execute(
        sa.update(DeliveryRow)
        .where(DeliveryRow.id == made.delivery, DeliveryRow.attempts == made.number)
        .values(title=title, last_status=outcome.status, last_error=outcome.error, **values)
        .execution_options(synchronize_session=False)
    )
    row = session.get(SubscriptionRow, made.subscription, with_for_update=True)
    if row is not None:
        _judge_receiver(session, row, outcome, now)


def _after(made: Claim, outcome: Outcome, now: datetime, share: float) -> dict[str, Any]:
    if outcome.result == "sent":
        return {"status": "sent", "sent_at": now, "next_attempt_at": None}
    wait = retry_after(made.tries, share, outcome.retry_after)
    if outcome.result != "transient" or wait is None or made.kind == "test":
        return {"status": "dead", "next_attempt_at": None}
    return {"status": "failed", "next_attempt_at": now + wait}


def _judge_receiver(
    session: Session, row: SubscriptionRow, outcome: Outcome, now: datetime
) -> None:
    """Spare a receiver that fails; disable one that is gone, or that has failed for days."""
    if outcome.result == "sent":
        row.failures, row.failing_since, row.hold_until = 0, None, None
        return
    row.failures += 1
    row.failing_since = row.failing_since or now
    wait = RETRIES[min(row.failures, len(RETRIES)) - 1]
    row.hold_until = now + min(wait, HOLD_MAX)
    if outcome.result == "gone":
        _disable(session, row, "The receiver answered 410 Gone.", now)
        session.execute(
            sa.update(DeliveryRow)
            .where(DeliveryRow.subscription == row.id, DeliveryRow.status.in_(_OPEN))
            .values(status="dead", next_attempt_at=None)
            .execution_options(synchronize_session=False)
        )
    elif now - row.failing_since >= DISABLE_AFTER:
        since = f"{row.failing_since:%Y-%m-%d %H:%M} UTC"
        _disable(session, row, f"Every attempt since {since} failed: {outcome.error}", now)


def _disable(session: Session, row: SubscriptionRow, why: str, now: datetime) -> None:
    """Stop sending there, and tell the same team through its other channels."""
    if row.disabled_reason is not None:
        return
    row.disabled_reason = why[:500]
    note = (
        f"The subscription {row.name!r} ({row.shown}) is disabled and hears of nothing more. {why}"
    )
    for other in of_team(session, row):
        add(session, other.id, "notice", now, note=note[:1000])


# --- By hand --------------------------------------------------------------------------------------


def redeliver(session: Session, number: str, now: datetime) -> None:
    """Let a delivery be attempted again, under its id. Raises `NotFound`."""
    row = _find(session, number)
    _again(session, [row.id], now)


def redeliver_range(
    session: Session,
    now: datetime,
    *,
    statuses: Collection[str],
    subscription: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Let all deliveries of a range be attempted again; returns how many. Bounds are inclusive."""
    row = DeliveryRow
    query = sa.select(row.id).where(row.status.in_(sorted(statuses)), row.kind != "test")
    if subscription is not None:
        query = query.where(row.subscription == subscription)
    if since is not None:
        query = query.where(row.created_at >= since)
    if until is not None:
        query = query.where(row.created_at <= until)
    found = session.scalars(query).all()
    for start in range(0, len(found), 500):
        _again(session, found[start : start + 500], now)
    return len(found)


def _again(session: Session, numbers: Sequence[str], now: datetime) -> None:
    row = DeliveryRow
    session.execute(
        sa.update(row)
        .where(row.id.in_(numbers))
        .values(status="pending", tries=0, next_attempt_at=now, sent_at=None)
        .execution_options(synchronize_session=False)
    )
    # Whoever asks by hand believes that the receiver works again.
    session.execute(
        sa.update(SubscriptionRow)
        .where(SubscriptionRow.id.in_(sa.select(row.subscription).where(row.id.in_(numbers))))
        .values(hold_until=None)
        .execution_options(synchronize_session=False)
    )


def acknowledge(session: Session, number: str, now: datetime) -> None:
    """Note that a person has seen to it. Raises `NotFound`."""
    row = _find(session, number)
    row.acknowledged_at = row.acknowledged_at or now


def prune(session: Session, now: datetime) -> int:
    """Forget what was sent or given up more than 90 days ago; returns how many went."""
    row = DeliveryRow
    old = sa.select(row.id).where(row.status.in_(("sent", "dead")), row.created_at < now - KEEP)
    found = session.scalars(old).all()
    for start in range(0, len(found), 500):
        session.execute(sa.delete(row).where(row.id.in_(found[start : start + 500])))
    return len(found)


# --- Reading --------------------------------------------------------------------------------------


def _find(session: Session, number: str) -> DeliveryRow:
    row = session.get(DeliveryRow, number) if len(number) <= 64 else None
    if row is None:
        raise NotFound(f"There is no delivery {number[:64]!r}; GET /v1/deliveries lists them.")
    return row


def delivery(session: Session, number: str) -> Delivery:
    """Return one delivery with the log of its attempts. Raises `NotFound`."""
    row = _find(session, number)
    attempts = session.scalars(
        sa.select(AttemptRow).where(AttemptRow.delivery == row.id).order_by(AttemptRow.number)
    )
    entries = tuple(
        {
            "number": item.number, "at": item.at, "result": item.result, "status": item.status,
            "latency_ms": item.latency_ms, "answer": item.answer, "error": item.error,
        }
        for item in attempts
    )  # fmt: skip
    return _shown(row, events_of(session, [row.id]).get(row.id, ()), entries)


def deliveries(
    session: Session,
    limit: int,
    *,
    before: str | None = None,
    subscription: int | None = None,
    statuses: Collection[str] = (),
) -> list[Delivery]:
    """Return deliveries, newest first."""
    row = DeliveryRow
    query = sa.select(row).order_by(row.id.desc()).limit(limit)
    if before is not None:
        query = query.where(row.id < before)
    if subscription is not None:
        query = query.where(row.subscription == subscription)
    if statuses:
        query = query.where(row.status.in_(sorted(statuses)))
    rows = session.scalars(query).all()
    events = events_of(session, [item.id for item in rows])
    return [_shown(item, events.get(item.id, ()), ()) for item in rows]


def events_of(session: Session, numbers: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the ids of the events that deliveries hold, in their order."""
    found: dict[str, list[int]] = {}
    rows = session.execute(
        sa.select(AlertRow.delivery, AlertRow.event)
        .where(AlertRow.delivery.in_(list(numbers)))
        .order_by(AlertRow.event)
    )
    for number, event in rows:
        found.setdefault(str(number), []).append(event)
    return {number: tuple(events) for number, events in found.items()}


def _shown(row: DeliveryRow, events: tuple[int, ...], log: tuple[Json, ...]) -> Delivery:
    return Delivery(
        id=row.id, subscription=row.subscription, kind=row.kind, title=row.title, events=events,
        status=row.status, attempts=row.attempts, next_attempt_at=row.next_attempt_at,
        last_status=row.last_status, last_error=row.last_error, sent_at=row.sent_at,
        created_at=row.created_at, acknowledged_at=row.acknowledged_at, log=log,
    )  # fmt: skip

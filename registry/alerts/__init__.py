"""Alerts: who is told of what, where, and how it gets there.

    Alerts      all that is done with subscriptions and deliveries, wired once
    Courier     the threads that send what is due (courier.py)

Events are the outbox: what is not fanned out yet becomes alerts, and these messages on their way. Nothing
here writes a beta, a status or an event. Any number of processes may do this at once; a message is sent
at least once, under one id.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog, inventory
from registry.alerts import channels, deliveries, messages, subscriptions
from registry.alerts.channels import Message, Outcome, Rules
from registry.alerts.deliveries import Claim, Delivery, Load
from registry.alerts.matching import read_filter, wants
from registry.alerts.subscriptions import Address, Subscription
from registry.core.errors import Conflict, Invalid, RegistryError
from registry.core.facts import Event, Json, Snapshot
from registry.core.judgement import HOME, judges_of
from registry.db import Database
from registry.models import EventRow, ObservationRow, SubscriptionRow
from registry.sealing import Sealer

__all__ = ["Alerts", "Attempted", "Delivery", "Rules", "Subscription"]

log = logging.getLogger("registry.alerts")

FAN_OUT_SECONDS = 1.0
"""How long events are fanned out before messages are claimed again."""
TOLD, TOLD_SECONDS = 256, 30.0
"""How many groups of events are kept as they were told, and how long."""
POSTPONE_SECONDS = 3600.0
"""How long a transaction's events wait that could not be fanned out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """One attempt as it went."""

    claim: Claim
    outcome: Outcome
    title: str


class Alerts:
    """Subscriptions and deliveries of one registry. Safe to share between threads.

    `sealer` is asked for only where something is sealed or opened: on PostgreSQL the settings may lack
    the key for it.
    """

    def __init__(
        self,
        database: Database,
        sealer: Callable[[], Sealer],
        rules: Rules,
        clock: Callable[[], datetime],
        base_url: str,
        upstreams: Mapping[str, messages.Upstream] = MappingProxyType({}),
    ) -> None:
        self._database, self._sealer, self._rules = database, sealer, rules
        self._clock, self._base_url = clock, base_url.rstrip("/")
        self._upstreams = upstreams
        self._known = _Known()
        self._told = _Told()
        self._postponed: dict[int, float] = {}
        self._latest: datetime | None = None

    # --- Subscriptions ---

    def subscribe(self, given: Mapping[str, Json]) -> tuple[Subscription, str | None]:
        """Make a subscription, which gets a message on how things stand.

        Returns it with the secret of a webhook if one was made: it is shown this once. Raises
        `Invalid`, `Conflict`.
        """
        wanted = subscriptions.read_wanted(given, self._clock(), whole=True)
        channels.check(wanted["channel"], wanted["url"], self._rules)
        with self._database.write() as session:
            row, secret = subscriptions.create(session, wanted, self._sealer(), self._clock())
            deliveries.add(session, row.id, "welcome", self._clock())
            return self._shown(session, row), secret

    def amend(self, number: int, given: Mapping[str, Json]) -> Subscription:
        """Change some members of a subscription. Raises `NotFound`, `Invalid`, `Conflict`."""
        wanted = subscriptions.read_wanted(given, self._clock(), whole=False)
        with self._database.read() as session:
            row = subscriptions.find(session, number)
            _refuse_settings(row, set(wanted) - {"muted_until", "disabled_reason"})
            channel, url = wanted.get("channel", row.channel), wanted.get("url")
        if "channel" in wanted and channel != row.channel and url is None:
            raise Invalid("url: another channel needs another address; send it with the channel.")
        if url is not None:
            channels.check(channel, url, self._rules)
        with self._database.write() as session:
            row = subscriptions.find(session, number, lock=True)
            subscriptions.amend(session, row, wanted, self._sealer(), self._clock())
            return self._shown(session, row)

    def remove(self, number: int) -> None:
        """Delete a subscription and its deliveries. Raises `NotFound`, `Conflict`."""
        with self._database.write() as session:
            row = subscriptions.find(session, number, lock=True)
            _refuse_settings(row, {"name"})
            subscriptions.remove(session, row)

    def rotate(self, number: int) -> str:
        """Return a webhook's new secret; the old one signs beside it for a day."""
        with self._database.write() as session:
            row = subscriptions.find(session, number, lock=True)
            return subscriptions.rotate(row, self._sealer(), self._clock())

    def subscriptions(self) -> list[Subscription]:
        """Return all subscriptions, in the order in which they were made."""
        with self._database.read() as session:
            used = inventory.has_usage(session)
            return subscriptions.subscriptions(session, has_usage=used)

    def subscription(self, number: int) -> Subscription:
        """Return one subscription. Raises `NotFound`."""
        with self._database.read() as session:
            return self._shown(session, subscriptions.find(session, number))

    def reconcile(self, declared: Sequence[Mapping[str, Json]]) -> int:
        """Make the subscriptions of the settings be what these say; returns how many are new.

        Raises `Invalid`, naming the subscription.
        """
        wanted = [self._read_declared(given) for given in declared]
        if not wanted and not self._has_settings():
            return 0
        with self._database.write() as session:
            made = subscriptions.reconcile(session, wanted, self._sealer(), self._clock())
            for row in made:
                deliveries.add(session, row.id, "welcome", self._clock())
            return len(made)

    def _read_declared(self, given: Mapping[str, Json]) -> dict[str, Json]:
        try:
            wanted = subscriptions.read_wanted(given, self._clock(), whole=True)
            channels.check(wanted["channel"], wanted["url"], self._rules)
        except Invalid as error:
            raise Invalid(
                f"Subscription {given.get('name')!r} of the settings: {error.detail}"
            ) from None
        return wanted

    def _has_settings(self) -> bool:
        with self._database.read() as session:
            own = sa.exists().where(SubscriptionRow.origin == "settings")
            return bool(session.scalar(sa.select(own)))

    def _shown(self, session: Session, row: SubscriptionRow) -> Subscription:
        return subscriptions.shown(row, has_usage=inventory.has_usage(session))

    # --- Deliveries ---

    def deliveries(
        self,
        limit: int,
        *,
        before: str | None = None,
        subscription: int | None = None,
        statuses: Collection[str] = (),
    ) -> list[Delivery]:
        """Return deliveries, newest first."""
        with self._database.read() as session:
            return deliveries.deliveries(
                session, limit, before=before, subscription=subscription, statuses=statuses
            )

    def delivery(self, number: str) -> Delivery:
        """Return one delivery with its log. Raises `NotFound`."""
        with self._database.read() as session:
            return deliveries.delivery(session, number)

    def redeliver(self, number: str) -> Delivery:
        """Attempt a delivery again, under its id. Raises `NotFound`."""
        with self._database.write() as session:
            deliveries.redeliver(session, number, self._clock())
        return self.delivery(number)

    def redeliver_range(
        self,
        *,
        statuses: Collection[str] = ("failed", "dead"),
        subscription: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """Attempt all deliveries of a range again; returns how many."""
        with self._database.write() as session:
            return deliveries.redeliver_range(
                session, self._clock(), statuses=statuses, subscription=subscription,
                since=since, until=until,
            )  # fmt: skip

    def acknowledge(self, number: str) -> Delivery:
        """Note that a person has seen to it. Raises `NotFound`."""
        with self._database.write() as session:
            deliveries.acknowledge(session, number, self._clock())
        return self.delivery(number)

    def test(self, number: int) -> Delivery:
        """Send a test now, once, and return how it went. Raises `NotFound`."""
        with self._database.write() as session:
            row = subscriptions.find(session, number)
            made = deliveries.add(session, row.id, "test", self._clock())
            claim = deliveries.claim_one(session, made, self._clock())
        assert claim is not None, "nobody else knows of it yet"
        self.record([self.attempt(claim)])
        return self.delivery(made)

    def prune(self) -> int:
        """Forget old deliveries; returns how many went."""
        with self._database.write() as session:
            return deliveries.prune(session, self._clock())

    # --- Sending ---

    def advance(self, load: Load) -> list[Claim]:
        """Fan out and gather what is to be, and claim the attempts for which there is room."""
        self._watch_the_clock()
        with self._database.read() as session:
            if not deliveries.has_work(session, self._clock()):
                return []
        self._fan_out()
        with self._database.write() as session:
            deliveries.gather(session, self._clock())
            return deliveries.claim(session, self._clock(), load)

    def _watch_the_clock(self) -> None:
        """At the start, and when the clock was set back, mend what an earlier clock has put off."""
        now = self._clock()
        if self._latest is None or now < self._latest:
            with self._database.write() as session:
                count = deliveries.set_right(session, now)
            if count:
                log.warning("The clock was set back: %d deliveries are due at once.", count)
        self._latest = now

    def _fan_out(self) -> None:
        """Fan out; where some events cannot be, postpone these and go on with the others."""
        try:
            self._fan_out_some(None)
        except RegistryError:
            raise
        except Exception:
            # One event that nothing foresaw must not keep all later ones from being told.
            log.exception("Events could not be fanned out together; trying them one by one.")
            for batch in self._batches():
                try:
                    self._fan_out_some([batch])
                except Exception:
                    log.exception("The events from %d on are postponed by an hour.", batch)
                    self._postponed[batch] = time.monotonic() + POSTPONE_SECONDS

    def _fan_out_some(self, only: Collection[int] | None) -> None:
        moment = time.monotonic()
        self._postponed = {key: end for key, end in self._postponed.items() if end > moment}
        while time.monotonic() < moment + FAN_OUT_SECONDS:
            with self._database.write() as session:
                snapshot = self._known.of(session)
                taken = deliveries.fan_out(
                    session, snapshot, self._clock(), only=only, without=self._postponed
                )
            if taken == 0 or only is not None:
                return

    def _batches(self) -> list[int]:
        with self._database.read() as session:
            return deliveries.batches(session, without=self._postponed)

    def attempt(self, claim: Claim) -> Attempted:
        """Compose and send one message. No transaction is open while it is sent. Never raises."""
        title = ""
        try:
            with self._database.read() as session:
                message, address = self._compose(session, claim)
            title = message.title
            outcome = channels.send(
                address.channel, address.url, address.secrets, message, self._rules, self._clock()
            )
        except RegistryError as error:
            outcome = _not_sent(error.detail)
        except Exception as error:
            log.exception("Delivery %s could not be composed.", claim.delivery)
            outcome = _not_sent(f"The message could not be composed ({type(error).__name__}).")
        return Attempted(claim=claim, outcome=outcome, title=title)

    def _compose(self, session: Session, claim: Claim) -> tuple[Message, Address]:
        row = subscriptions.find(session, claim.subscription)
        ids = deliveries.events_of(session, [claim.delivery]).get(claim.delivery, ())
        events, facts = self._told.of((ids, row.team), lambda: self._gather(session, ids, row.team))
        message = messages.compose(
            claim.delivery, claim.kind, events, facts, self._clock(), note=claim.note,
            name=row.name, template=row.template, forms=row.channel != "webhook",
            standing=self._standing(session, row, facts) if claim.kind == "welcome" else None,
        )  # fmt: skip
        return message, subscriptions.address(row, self._sealer(), self._clock())

    def _gather(self, session: Session, ids: Sequence[int], team: str | None) -> _Gathered:
        """Gather what messages are made from; a team sees its own services first."""
        now = self._clock()
        events, snapshot = _events(session, ids), self._known.of(session)
        hit = inventory.affected_by(session, events, judges_of(snapshot, now.date()), now)
        affected = {
            number: sorted(users, key=lambda user: user.team != team)
            for number, users in hit.items()
        }
        facts = messages.Facts(
            snapshot=snapshot, affected=affected, proofs=_proofs(session, events),
            base_url=self._base_url, now=now, upstreams=self._upstreams,
        )  # fmt: skip
        if events:
            facts = replace(facts, grouped=messages.grouped_alerts(events, facts))
        return events, facts

    def _standing(
        self, session: Session, row: SubscriptionRow, facts: messages.Facts
    ) -> dict[str, Json]:
        """Tell how things stand with the betas that a subscription can hear of."""
        wanted = replace(read_filter(row.filter), types=(), teams=(), platforms=())
        home = facts.judges.at(HOME)
        names = [
            beta.name
            for beta in facts.snapshot.betas.values()
            if wants(
                wanted,
                _stand_in(beta.name, beta.feature, facts.now),
                home.beta(beta.name).status,
                (),
            )
        ]
        if row.only_if_used:
            days = row.used_within_days
            used = inventory.affected(session, names, facts.judges, facts.now, days=days)
            mine = {
                name
                for name, users in used.items()
                if any(row.team is None or user.team == row.team for user in users)
            }
            names = [name for name in names if name in mine]
        return messages.standing(names, facts.judges, facts.now.date())

    def record(self, attempted: Iterable[Attempted]) -> None:
        """Write down how attempts went. One that cannot be recorded is logged and sent again later."""
        done = list(attempted)
        try:
            with self._database.write() as session:
                for item in done:
                    self._record(session, item)
        except RegistryError as error:
            if len(done) == 1:
                log.error("Delivery %s was not recorded: %s", done[0].claim.delivery, error)
                return
            for item in done:
                self.record([item])

    def _record(self, session: Session, item: Attempted) -> None:
        share = random.random()  # noqa: S311 - jitter, no secret
        deliveries.record(session, item.claim, item.outcome, item.title, self._clock(), share)


class _Known:
    """The newest snapshot as a transaction sees it; built anew only when the catalog moved."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[int, Snapshot] | None = None

    def of(self, session: Session) -> Snapshot:
        """Return the snapshot of this transaction's moment."""
        generation, _ = catalog.revision(session)
        with self._lock:
            kept = self._kept
        if kept is None or kept[0] != generation:
            kept = generation, catalog.snapshot(session)
            with self._lock:
                self._kept = kept
        return kept[1]


_Gathered = tuple[list[Event], messages.Facts]


class _Told:
    """What was just gathered of some events: many subscriptions hear of the same ones at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[tuple[int, ...], str | None], tuple[float, _Gathered]] = {}

    def of(
        self, key: tuple[tuple[int, ...], str | None], gather: Callable[[], _Gathered]
    ) -> _Gathered:
        """Return what is kept under the key, or gather it."""
        if not key[0]:
            return gather()
        moment = time.monotonic()
        with self._lock:
            end, found = self._kept.get(key, (0.0, None))
        if found is None or end < moment:
            found = gather()
            with self._lock:
                if len(self._kept) >= TOLD:
                    self._kept.clear()
                self._kept[key] = moment + TOLD_SECONDS, found
        return found


def _refuse_settings(row: SubscriptionRow, changed: Collection[str]) -> None:
    if row.origin == "settings" and changed:
        raise Conflict(f"{row.name!r} stands in the settings file; change it there and restart.")


def _stand_in(beta: str, feature: str, now: datetime) -> Event:
    """Return an event by which a filter can be asked about a beta."""
    return Event(type="beta.changed", at=now, reason="", source="", beta=beta, feature=feature)


def _not_sent(why: str) -> Outcome:
    return Outcome(
        result="transient", status=None, latency_ms=0, answer="", error=why, retry_after=None
    )


def _events(session: Session, ids: Sequence[int]) -> list[Event]:
    found: list[Event] = []
    for start in range(0, len(ids), 500):
        rows = session.scalars(
            sa.select(EventRow)
            .where(EventRow.id.in_(ids[start : start + 500]))
            .order_by(EventRow.id)
        )
        found += map(catalog.read_event, rows)
    return found


_REFUSALS = ("refused", "model_unsupported", "restricted")


def _proofs(session: Session, events: Sequence[Event]) -> dict[int, messages.Proof]:
    """Find the observations behind what probing found."""
    found: dict[int, messages.Proof] = {}
    for event in events:
        target = event.source.removeprefix("target:")
        if event.beta is None or target == event.source or event.backfill:
            continue
        proof = _proof(session, event, target)
        if proof is not None:
            found[event.id] = proof
    return found


def _proof(session: Session, event: Event, target: str) -> messages.Proof | None:
    """Return the refusals in a row up to the event; None where the last answer was none."""
    rows = session.scalars(
        sa.select(ObservationRow)
        .where(
            ObservationRow.beta == event.beta,
            ObservationRow.target == target,
            ObservationRow.at <= event.at,
            ObservationRow.verdict != "inconclusive",
        )
        .order_by(ObservationRow.id.desc())
        .limit(100)
    ).all()
    count = next((n for n, row in enumerate(rows) if row.verdict not in _REFUSALS), len(rows))
    if count == 0:
        return None
    last = rows[0]
    return messages.Proof(
        target=target, model=last.model, endpoint=last.endpoint, refusals=count,
        since=rows[count - 1].at, request_id=last.request_id, message=last.message,
    )  # fmt: skip

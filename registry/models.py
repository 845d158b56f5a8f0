"""The tables. Rows never leave `catalog.py` and the other modules that own them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from registry.db import NAMING, UTCDateTime

__all__ = [
    "AlertRow",
    "AttemptRow",
    "Base",
    "BetaRow",
    "DeliveryRow",
    "EntryRow",
    "EventRow",
    "EvidenceRow",
    "IdempotencyRow",
    "ImportRow",
    "LeaseRow",
    "ObservationRow",
    "RefusalRow",
    "RevisionRow",
    "RiskRow",
    "ServiceRow",
    "SourceRow",
    "SourceRunRow",
    "StandingRow",
    "SubscriptionRow",
    "SweepRow",
    "TargetRow",
    "TokenRow",
    "UsageCountRow",
    "UsageLocationRow",
    "UsageRow",
]


class Base(DeclarativeBase):
    """All tables, with names for all constraints."""

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UTCDateTime(),
        dict[str, Any]: sa.JSON(none_as_null=True),
        list[Any]: sa.JSON(none_as_null=True),
        str: sa.Text(),
        int: sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    }


class RevisionRow(Base):
    """The one row whose lock orders all writers of the catalog.

    `event` is the id of the newest event, `generation` moves with every write, `tokens` with every
    change of a token, `as_of` is the day to which the facts reach, and `rules` are those (`catalog.RULES`) by
    which the betas were derived.
    """

    __tablename__ = "revision"
    id: Mapped[int] = mapped_column(primary_key=True)
    event: Mapped[int]
    generation: Mapped[int]
    tokens: Mapped[int]
    as_of: Mapped[datetime | None]
    rules: Mapped[int]


class BetaRow(Base):
    """What is known of one beta: derived from the evidence, kept to compare and to read at once.

    `facts` holds its members as the API prints them, without `platforms` and `exceptions`, which follow from
    its `places`; the columns beside it are what a person asks the database for.
    """

    __tablename__ = "betas"
    name: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    feature: Mapped[str] = mapped_column(sa.String(128), index=True)
    release_date: Mapped[date | None]
    status: Mapped[str] = mapped_column(sa.String(16), index=True)
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    facts: Mapped[dict[str, Any]]


class EvidenceRow(Base):
    """One claim as it was made. Never changed but for `withdrawn_at`: it no longer counts.

    From `platform` to `endpoint` stand the parts of its place; null is any.
    """

    __tablename__ = "evidence"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    beta: Mapped[str] = mapped_column(sa.String(128), index=True)
    field: Mapped[str] = mapped_column(sa.String(64))
    value: Mapped[list[Any]]  # a list of one, so that a JSON null is not mistaken for SQL's
    source: Mapped[str] = mapped_column(sa.String(128), index=True)
    basis: Mapped[str] = mapped_column(sa.String(16))
    confidence: Mapped[str] = mapped_column(sa.String(16))
    version: Mapped[str | None]
    url: Mapped[str | None]
    quote: Mapped[str | None]
    where: Mapped[str | None]
    platform: Mapped[str | None] = mapped_column(sa.String(16))
    api: Mapped[str | None] = mapped_column(sa.String(16))
    hosting: Mapped[str | None] = mapped_column(sa.String(16))
    region: Mapped[str | None] = mapped_column(sa.String(256))
    model: Mapped[str | None] = mapped_column(sa.String(256))
    endpoint: Mapped[str | None] = mapped_column(sa.String(256))
    at: Mapped[datetime]
    until: Mapped[datetime | None]
    observed_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class EntryRow(Base):
    """An entry of a source that people read, as its words stood last."""

    __tablename__ = "entries"
    source: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(256), primary_key=True)
    on: Mapped[date]
    text: Mapped[str]
    betas: Mapped[list[Any]]
    url: Mapped[str | None]
    observed_at: Mapped[datetime]


class EventRow(Base):
    """One entry of the changelog. Its id comes from the revision row, so ids commit in order.

    `batch` is the id of the first event of the same transaction: what one sweep or one source told.
    `fanned_out` belongs to the alerts, which read the events as their outbox.
    """

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(sa.String(32), index=True)
    at: Mapped[datetime] = mapped_column(index=True)
    effective_on: Mapped[date | None]
    backfill: Mapped[bool]
    beta: Mapped[str | None] = mapped_column(sa.String(128), index=True)
    feature: Mapped[str | None] = mapped_column(sa.String(128), index=True)
    platform: Mapped[str | None] = mapped_column(sa.String(16))
    target: Mapped[str | None]
    before: Mapped[list[Any]]  # lists of one, like `EvidenceRow.value`
    after: Mapped[list[Any]]
    reason: Mapped[str]
    source: Mapped[str]
    url: Mapped[str | None]
    services: Mapped[int]
    batch: Mapped[int] = mapped_column(index=True)
    fanned_out: Mapped[bool] = mapped_column(server_default=sa.false())

    __table_args__ = (
        # The outbox: only what is still to be fanned out stands in this index.
        sa.Index(
            "ix_events_outbox",
            "batch",
            sqlite_where=sa.text("NOT fanned_out"),
            postgresql_where=sa.text("NOT fanned_out"),
        ),
    )


class SourceRow(Base):
    """What is remembered of a source between its runs."""

    __tablename__ = "sources"
    name: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    memo: Mapped[dict[str, Any]]
    succeeded_at: Mapped[datetime | None]
    failures: Mapped[int]
    error: Mapped[str | None]


class SourceRunRow(Base):
    """One run of a source: when, with what outcome, at what cost."""

    __tablename__ = "source_runs"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(sa.String(128), index=True)
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(sa.String(16))
    detail: Mapped[str]
    requests: Mapped[int]
    bytes: Mapped[int]
    bytes_whole: Mapped[int]
    events: Mapped[int]


class TokenRow(Base):
    """A token: only its hash is kept."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    scope: Mapped[str] = mapped_column(sa.String(16))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class LeaseRow(Base):
    """Who runs the jobs, and until when; the generation tells holders apart.

    `targets` are those that the holder sweeps; None where it did not say.
    """

    __tablename__ = "lease"
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    holder: Mapped[str]
    generation: Mapped[int]
    expires_at: Mapped[datetime]
    targets: Mapped[list[Any] | None]


class TargetRow(Base):
    """What is remembered of a target between its sweeps.

    `identity` changes with everything that an observation depends on; the credential is in it as a keyed
    hash. `turn` counts sweeps, `failures` those in a row that did not succeed, `blinds` those of them that
    were blind, `successes` those in a row that did. `counted_until` is the end of the last counted sweep.
    `memory` holds the members of `probing.Memory`. `locked` is a mass change that waits for an operator
    (`{"at","betas"}`); `believed` are the betas of which one said that they died. `removed_at`: since when it
    is not configured any more, so that it speaks for nothing.
    """

    __tablename__ = "targets"
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    platform: Mapped[str] = mapped_column(sa.String(16))
    api: Mapped[str | None] = mapped_column(sa.String(16))
    hosting: Mapped[str | None] = mapped_column(sa.String(16))
    region: Mapped[str | None] = mapped_column(sa.String(256))
    model: Mapped[str]
    endpoint: Mapped[str] = mapped_column(sa.String(32))
    identity: Mapped[str]
    health: Mapped[str] = mapped_column(sa.String(16))
    detail: Mapped[str]
    failures: Mapped[int]
    turn: Mapped[int]
    successes: Mapped[int]
    blinds: Mapped[int]
    memory: Mapped[dict[str, Any]]
    locked: Mapped[dict[str, Any] | None]
    believed: Mapped[list[Any]]
    removed_at: Mapped[datetime | None]
    names_refused: Mapped[bool | None]
    counted_until: Mapped[datetime | None]
    next_sweep_at: Mapped[datetime | None]


class SweepRow(Base):
    """One sweep. `outcome` is `queued`, `running`, or how it ended; only a `counted` one moved anything."""

    __tablename__ = "sweeps"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    target: Mapped[str] = mapped_column(sa.String(64), index=True)
    trigger: Mapped[str] = mapped_column(sa.String(16))
    asked_at: Mapped[datetime]
    betas: Mapped[list[Any]]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(sa.String(16), index=True)
    detail: Mapped[str]
    requests: Mapped[int]
    accepted: Mapped[int]
    refused: Mapped[int]
    restricted: Mapped[int]
    counted: Mapped[bool]


class ObservationRow(Base):
    """What one sweep learned of one beta."""

    __tablename__ = "observations"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sweep: Mapped[int] = mapped_column(sa.ForeignKey("sweeps.id"), index=True)
    target: Mapped[str] = mapped_column(sa.String(64))
    beta: Mapped[str] = mapped_column(sa.String(128), index=True)
    at: Mapped[datetime] = mapped_column(index=True)
    verdict: Mapped[str] = mapped_column(sa.String(32))
    http_status: Mapped[int | None]
    message: Mapped[str]
    request_id: Mapped[str | None]
    model: Mapped[str]
    endpoint: Mapped[str] = mapped_column(sa.String(32))


class StandingRow(Base):
    """What one target knows of one beta; `facts` are the members of `lifecycle.Standing`."""

    __tablename__ = "standings"
    target: Mapped[str] = mapped_column(sa.ForeignKey("targets.name"), primary_key=True)
    beta: Mapped[str] = mapped_column(sa.String(128), primary_key=True, index=True)
    facts: Mapped[dict[str, Any]]


class SubscriptionRow(Base):
    """Who wants to hear of what, and where.

    `url` and `secrets` are sealed; `shown` is the address as it may be seen. `since_event` is the
    newest event when it was made: it hears of later ones only. `digest_after` is the event up to which
    digests went. `failures` counts failed attempts in a row, `failing_since` says from when,
    and `hold_until` spares a receiver that fails.
    """

    __tablename__ = "subscriptions"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    team: Mapped[str | None] = mapped_column(sa.String(200))
    channel: Mapped[str] = mapped_column(sa.String(16))
    url: Mapped[str]
    shown: Mapped[str]
    secrets: Mapped[str | None]
    filter: Mapped[dict[str, Any]]
    only_if_used: Mapped[bool]
    used_within_days: Mapped[int]
    schedule: Mapped[str] = mapped_column(sa.String(16))
    timezone: Mapped[str] = mapped_column(sa.String(64))
    template: Mapped[dict[str, Any] | None]
    muted_until: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    origin: Mapped[str] = mapped_column(sa.String(16))
    created_at: Mapped[datetime]
    since_event: Mapped[int]
    digest_after: Mapped[int]
    next_digest_at: Mapped[datetime | None]
    failures: Mapped[int]
    failing_since: Mapped[datetime | None]
    hold_until: Mapped[datetime | None]


class DeliveryRow(Base):
    """One message on its way. Its id is the message's on every try.

    `tries` counts the attempts since it was made or redelivered by hand, which the schedule of retries
    goes by; `attempts` counts all. While a try is under way, `next_attempt_at` is when it is given up.
    """

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    subscription: Mapped[int] = mapped_column(
        sa.ForeignKey("subscriptions.id", ondelete="CASCADE"), index=True
    )
    kind: Mapped[str] = mapped_column(sa.String(16))
    title: Mapped[str]
    note: Mapped[str | None]
    status: Mapped[str] = mapped_column(sa.String(16))
    attempts: Mapped[int]
    tries: Mapped[int]
    created_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    acknowledged_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "ix_deliveries_due",
            "subscription",
            "next_attempt_at",
            sqlite_where=sa.text("status IN ('pending', 'failed')"),
            postgresql_where=sa.text("status IN ('pending', 'failed')"),
        ),
    )


class AlertRow(Base):
    """That a subscription is to hear of an event; `delivery` is null until a message holds it."""

    __tablename__ = "alerts"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    event: Mapped[int] = mapped_column(sa.ForeignKey("events.id"))
    subscription: Mapped[int] = mapped_column(sa.ForeignKey("subscriptions.id", ondelete="CASCADE"))
    delivery: Mapped[str | None] = mapped_column(
        sa.ForeignKey("deliveries.id", ondelete="CASCADE"), index=True
    )

    __table_args__ = (
        sa.UniqueConstraint("event", "subscription", name="uq_alerts_event_subscription"),
        sa.Index(
            "ix_alerts_waiting",
            "subscription",
            sqlite_where=sa.text("delivery IS NULL"),
            postgresql_where=sa.text("delivery IS NULL"),
        ),
    )


class AttemptRow(Base):
    """One try to send a delivery, as it went; `answer` is cut and holds no secret."""

    __tablename__ = "attempts"
    delivery: Mapped[str] = mapped_column(
        sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    result: Mapped[str] = mapped_column(sa.String(16))
    status: Mapped[int | None]
    latency_ms: Mapped[int]
    answer: Mapped[str]
    error: Mapped[str | None]


class ServiceRow(Base):
    """A program that uses betas. `defaults` are what `/v1/header` takes where a call says nothing.

    Whoever writes usage of a service holds the lock of its row first: this orders the reports of one
    service, and so makes all that follows from "seen for the first time" exact.
    """

    __tablename__ = "services"
    name: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    team: Mapped[str | None] = mapped_column(sa.String(128), index=True)
    owner: Mapped[str | None]
    contacts: Mapped[list[Any]]
    repository: Mapped[str | None]
    tier: Mapped[str | None]
    platform: Mapped[str | None] = mapped_column(sa.String(16))
    model: Mapped[str | None]
    defaults: Mapped[dict[str, Any]]
    origin: Mapped[str] = mapped_column(sa.String(16))
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    last_seen: Mapped[datetime | None]


class UsageRow(Base):
    """That a service was seen with a beta: one row a service, environment, beta, source and platform.

    Unknown platforms and instances are empty text, because a null is equal to nothing and so could not be
    part of a key. `instance` tells scans apart and is empty for all else. The totals are those of the
    last 30 days (today and the 29 before); of a scan, the places that the newest one found.
    """

    __tablename__ = "usages"
    __table_args__ = (
        sa.UniqueConstraint("service", "environment", "beta", "source", "platform", "instance"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    service: Mapped[str] = mapped_column(sa.String(128), sa.ForeignKey("services.name"))
    environment: Mapped[str] = mapped_column(sa.String(64))
    beta: Mapped[str] = mapped_column(sa.String(128), index=True)
    source: Mapped[str] = mapped_column(sa.String(8))
    platform: Mapped[str] = mapped_column(sa.String(16))
    instance: Mapped[str] = mapped_column(sa.String(128))
    models: Mapped[list[Any]]
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    count_30d: Mapped[int]
    accepted_30d: Mapped[int]
    refused_30d: Mapped[int]


class UsageCountRow(Base):
    """How often, by the hour for two days and by the day after that (see `inventory.thin_out`).

    `hour` is the number of hours since 1970 in UTC; a day is kept at its first hour.
    """

    __tablename__ = "usage_counts"
    usage: Mapped[int] = mapped_column(
        sa.ForeignKey("usages.id", ondelete="CASCADE"), primary_key=True
    )
    hour: Mapped[int] = mapped_column(sa.Integer(), primary_key=True)
    count: Mapped[int]
    accepted: Mapped[int]
    refused: Mapped[int]


class UsageLocationRow(Base):
    """Where in the code a beta stands. `line` is 0 where only the file is known."""

    __tablename__ = "usage_locations"
    usage: Mapped[int] = mapped_column(
        sa.ForeignKey("usages.id", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[str] = mapped_column(sa.String(500), primary_key=True)
    line: Mapped[int] = mapped_column(sa.Integer(), primary_key=True)
    url: Mapped[str | None]
    owner: Mapped[str | None]


class IdempotencyRow(Base):
    """A report that came with a key, and what was answered: a repeat adds nothing."""

    __tablename__ = "idempotency_keys"
    key: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64))
    at: Mapped[datetime] = mapped_column(index=True)
    answer: Mapped[dict[str, Any]]


class RefusalRow(Base):
    """Refusals that services report of one beta on one platform (empty: unknown).

    `recent` holds [second since 1970, count] of the last minutes; `told_at` is when `usage.refusing` was
    raised, null after a quiet time; `asked_at` when a sweep was last asked for.
    """

    __tablename__ = "usage_refusals"
    beta: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    platform: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    recent: Mapped[list[Any]]
    last_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    asked_at: Mapped[datetime | None]


class RiskRow(Base):
    """That a service was seen with a beta at risk; `event` told of it, null where one had before."""

    __tablename__ = "usage_risks"
    service: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    environment: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    beta: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    status: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    at: Mapped[datetime]
    event: Mapped[int | None] = mapped_column(index=True)


class ImportRow(Base):
    """A mark in an imported log: all of the file up to `line` has been counted (see `core/batches.py`).

    `file` is the digest of its first record, `number` counts its marks from 0. Whoever adds a mark says
    the number, so that of two who import the same file at once only one succeeds.
    """

    __tablename__ = "imports"
    file: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    number: Mapped[int] = mapped_column(sa.Integer(), primary_key=True)
    line: Mapped[int]
    digest: Mapped[str] = mapped_column(sa.String(64))
    checks: Mapped[bytes]
    requests: Mapped[int]
    at: Mapped[datetime] = mapped_column(index=True)

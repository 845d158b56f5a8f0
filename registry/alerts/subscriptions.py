"""Subscriptions: who wants to hear of what, where, and when. Owns their table.

Addresses and secrets are sealed before they are stored, and nothing here ever gives them back but
`address` (for sending) and the secret of a webhook, once, when it is made. Addresses are checked by the
caller before a transaction is opened: that asks the network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.alerts import channels, placeholders
from registry.alerts.matching import SCHEDULES, Filter, next_digest, read_filter, read_zone
from registry.core.errors import Conflict, Invalid, NotFound
from registry.core.facts import Json, parse_time, rfc3339, to_json
from registry.models import SubscriptionRow
from registry.sealing import Sealer

__all__ = [
    "OVERLAP",
    "Address",
    "Subscription",
    "address",
    "amend",
    "create",
    "find",
    "read_wanted",
    "reconcile",
    "remove",
    "rotate",
    "subscriptions",
]

OVERLAP: Final = timedelta(hours=24)
"""How long an old secret still signs, beside the new one, after a rotation."""

MAX_SUBSCRIPTIONS: Final = 1000
CHANNELS: Final = ("webhook", "apprise")
NO_USAGE: Final = (
    "No service has reported what it uses yet, so `only_if_used` and `filter.teams` match nothing."
)

OLD_TEMPLATE: Final = (
    "Its template was written in Jinja, which is no longer understood: messages come in our own words. "
    "Write the template anew with $name placeholders, or send null for it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it may be shown: `url` is masked."""

    id: int
    name: str
    team: str | None
    channel: str
    url: str
    filter: Filter
    only_if_used: bool
    used_within_days: int
    schedule: str
    timezone: str
    template: Mapping[str, str] | None
    muted_until: datetime | None
    disabled_reason: str | None
    origin: str
    created_at: datetime
    next_digest_at: datetime | None
    failing_since: datetime | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to send: in clear, for the moment of sending only."""

    channel: str
    url: str
    secrets: tuple[str, ...]


# --- What is asked for ----------------------------------------------------------------------------

_MEMBERS: Final = frozenset(
    {
        "name", "team", "channel", "url", "filter", "only_if_used", "used_within_days", "schedule",
        "timezone", "template", "muted_until", "secret", "disabled_reason",
    }
)  # fmt: skip


def read_wanted(given: Mapping[str, Json], now: datetime, *, whole: bool) -> dict[str, Any]:
    """Check what a person asks for and return it with its values read. Raises `Invalid`.

    `whole`: a new subscription, which needs name, channel and URL; else a change of some members.
    """
    unknown = sorted(set(given) - _MEMBERS)
    if unknown:
        raise Invalid(
            f"{unknown[0][:60]!r} is no member of a subscription; use {', '.join(sorted(_MEMBERS))}."
        )
    for member in ("name", "channel", "url"):
        if (whole or member in given) and not given.get(member):
            raise Invalid(f"{member}: say {_HINTS[member]}.")
    return {member: _READERS[member](value, now) for member, value in given.items()}


_HINTS: Final = {
    "name": "what the subscription is called, in 1 to 200 characters",
    "channel": "webhook or apprise",
    "url": "where to send, such as https://example.com/hook or slack://...",
}


def _read_name(value: Json, _now: datetime) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 200:
        raise Invalid(f"name: say {_HINTS['name']}.")
    return value.strip()


def _read_team(value: Json, _now: datetime) -> str | None:
    if value is not None and (not isinstance(value, str) or not 0 < len(value.strip()) <= 200):
        raise Invalid("team: a team's name has 1 to 200 characters.")
    return value.strip() if value else None


def _word(words: Sequence[str], member: str) -> Any:
    def read(value: Json, _now: datetime) -> str:
        if not isinstance(value, str) or value not in words:
            raise Invalid(f"{member}: {str(value)[:60]!r} is none of {', '.join(words)}.")
        return value

    return read


def _read_url(value: Json, _now: datetime) -> str:
    if not isinstance(value, str) or len(value) > 2000:
        raise Invalid("url: send a text of at most 2,000 characters.")
    return value.strip()


def _flag(member: str) -> Any:
    def read(value: Json, _now: datetime) -> bool:
        if not isinstance(value, bool):
            raise Invalid(f"{member}: say true or false.")
        return value

    return read


def _read_days(value: Json, _now: datetime) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 400:
        raise Invalid("used_within_days: say a number of days from 1 to 400.")
    return value


def _read_timezone(value: Json, _now: datetime) -> str:
    if not isinstance(value, str):
        raise Invalid("timezone: use an IANA name such as Europe/Berlin or UTC.")
    read_zone(value)
    return value


def _read_muted(value: Json, now: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        until = parse_time(value)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            f"muted_until: {str(value)[:60]!r} is no time; write 2026-12-24 or 2026-12-24T12:00:00Z."
        ) from None
    if until <= now:
        raise Invalid("muted_until lies in the past; send null to hear of things again.")
    return until


def _read_template(value: Json, _now: datetime) -> Json:
    if value is not None:
        placeholders.check(value)
    return value


def _read_secret(value: Json, _now: datetime) -> str:
    try:
        size = len(base64.b64decode(value.removeprefix("whsec_"), validate=True))
    except (AttributeError, ValueError):
        size = 0
    # Standard Webhooks 1.0.0, "Signature scheme": between 24 and 64 bytes.
    if not 24 <= size <= 64 or not value.startswith("whsec_"):
        raise Invalid("secret: send whsec_ and 24 to 64 bytes in base64, or leave it out.")
    secret: str = value
    return secret


def _read_enabled(value: Json, _now: datetime) -> None:
    if value is not None:
        raise Invalid("disabled_reason: send null to let it be sent to again.")


_READERS: Final[Mapping[str, Any]] = {
    "name": _read_name,
    "team": _read_team,
    "channel": _word(CHANNELS, "channel"),
    "url": _read_url,
    "filter": lambda value, _now: read_filter(value),
    "only_if_used": _flag("only_if_used"),
    "used_within_days": _read_days,
    "schedule": _word(SCHEDULES, "schedule"),
    "timezone": _read_timezone,
    "template": _read_template,
    "muted_until": _read_muted,
    "secret": _read_secret,
    "disabled_reason": _read_enabled,
}


# --- Writing --------------------------------------------------------------------------------------


def create(
    session: Session, wanted: Mapping[str, Any], sealer: Sealer, now: datetime, origin: str = "api"
) -> tuple[SubscriptionRow, str | None]:
    """Store what `read_wanted` returned. Returns the row, and a webhook's secret if it was made here.

    It hears of what is recorded from now on. Raises `Conflict` for a name that is taken.
    """
    _refuse_taken(session, wanted["name"])
    made = None
    secret = wanted.get("secret")
    if wanted["channel"] == "webhook" and secret is None:
        secret = made = channels.new_secret()
    schedule = wanted.get("schedule", "immediate")
    timezone = wanted.get("timezone", "UTC")
    newest = catalog.newest(session, hold=True)
    row = SubscriptionRow(
        name=wanted["name"],
        team=wanted.get("team"),
        channel=wanted["channel"],
        url=sealer.seal(wanted["url"]),
        shown=channels.mask(wanted["channel"], wanted["url"]),
        secrets=_seal_secrets(sealer, [(secret, None)]) if secret else None,
        filter=to_json(wanted.get("filter", Filter())),
        only_if_used=wanted.get("only_if_used", False),
        used_within_days=wanted.get("used_within_days", 30),
        schedule=schedule,
        timezone=timezone,
        template=wanted.get("template"),
        muted_until=wanted.get("muted_until"),
        disabled_reason=None,
        origin=origin,
        created_at=now,
        since_event=newest,
        digest_after=newest,
        next_digest_at=next_digest(schedule, timezone, now),
        failures=0,
        failing_since=None,
        hold_until=None,
    )
    session.add(row)
    session.flush()
    return row, made


def _refuse_taken(session: Session, name: str) -> None:
    # Whoever makes one locks the revision row, so that no event falls between two subscriptions.
    count = session.scalar(sa.select(sa.func.count()).select_from(SubscriptionRow)) or 0
    if count >= MAX_SUBSCRIPTIONS:
        raise Conflict(f"There are {count} subscriptions already; delete some.")
    if session.scalar(sa.select(SubscriptionRow.id).where(SubscriptionRow.name == name)):
        raise Conflict(
            f"A subscription is called {name!r} already; choose another name.", slug="exists"
        )


def amend(
    session: Session, row: SubscriptionRow, wanted: Mapping[str, Any], sealer: Sealer, now: datetime
) -> None:
    """Change the members that `read_wanted` returned."""
    plain = {"team", "only_if_used", "used_within_days", "muted_until", "template", "channel"}
    for member in plain & set(wanted):
        setattr(row, member, wanted[member])
    if wanted.get("name", row.name) != row.name:
        _refuse_taken(session, wanted["name"])
        row.name = wanted["name"]
    if "filter" in wanted:
        row.filter = to_json(wanted["filter"])
    if "url" in wanted:
        row.url = sealer.seal(wanted["url"])
        row.shown = channels.mask(row.channel, wanted["url"])
    if "secret" in wanted:
        row.secrets = _seal_secrets(sealer, [(wanted["secret"], None)])
    if {"url", "secret", "disabled_reason"} & set(wanted):
        row.disabled_reason, row.failures = None, 0
        row.failing_since = row.hold_until = None
    if {"schedule", "timezone"} & set(wanted):
        row.schedule = wanted.get("schedule", row.schedule)
        row.timezone = wanted.get("timezone", row.timezone)
        row.next_digest_at = next_digest(row.schedule, row.timezone, now)
    session.flush()


def rotate(row: SubscriptionRow, sealer: Sealer, now: datetime) -> str:
    """Give a webhook a new secret and return it. The old one signs beside it for `OVERLAP`."""
    if row.channel != "webhook":
        raise Invalid("Only webhooks are signed; an apprise URL carries its own secret.")
    secret = channels.new_secret()
    old = [(text, until or now + OVERLAP) for text, until in _open_secrets(sealer, row.secrets)]
    row.secrets = _seal_secrets(sealer, [(secret, None), *old[:2]])
    return secret


def remove(session: Session, row: SubscriptionRow) -> None:
    """Delete a subscription with its deliveries."""
    session.delete(row)
    session.flush()


def reconcile(
    session: Session, declared: Sequence[Mapping[str, Any]], sealer: Sealer, now: datetime
) -> list[SubscriptionRow]:
    """Make the subscriptions that stand in the settings be what they say. Returns the new ones.

    Each is what `read_wanted` returned. One that no longer stands there is deleted; those made by
    the API are left alone.
    """
    known = {
        row.name: row
        for row in session.scalars(
            sa.select(SubscriptionRow).where(SubscriptionRow.origin == "settings")
        )
    }
    fresh = []
    for wanted in declared:
        row = known.pop(wanted["name"], None)
        if row is None:
            fresh.append(create(session, wanted, sealer, now, origin="settings")[0])
        else:
            amend(session, row, _changes(row, wanted, sealer), sealer, now)
    for gone in known.values():
        remove(session, gone)
    return fresh


def _changes(row: SubscriptionRow, wanted: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    """Return what differs, so that a restart neither un-mutes nor re-enables anything."""
    stored: dict[str, Any] = {
        "team": row.team, "channel": row.channel, "url": sealer.open(row.url),
        "filter": read_filter(row.filter), "only_if_used": row.only_if_used,
        "used_within_days": row.used_within_days, "schedule": row.schedule,
        "timezone": row.timezone, "template": row.template,
    }  # fmt: skip
    defaults: dict[str, Any] = {
        "team": None, "filter": Filter(), "only_if_used": False, "used_within_days": 30,
        "schedule": "immediate", "timezone": "UTC", "template": None,
    }  # fmt: skip
    said = {**defaults, **wanted}
    changed = {member: said[member] for member in stored if said[member] != stored[member]}
    secret = wanted.get("secret")
    if secret and secret not in [text for text, _ in _open_secrets(sealer, row.secrets)]:
        changed["secret"] = secret
    return changed


def _seal_secrets(sealer: Sealer, pairs: Sequence[tuple[str, datetime | None]]) -> str:
    return sealer.seal(json.dumps([[text, rfc3339(end) if end else None] for text, end in pairs]))


def _open_secrets(sealer: Sealer, sealed: str | None) -> list[tuple[str, datetime | None]]:
    if sealed is None:
        return []
    pairs = json.loads(sealer.open(sealed))
    return [(text, parse_time(end) if end else None) for text, end in pairs]


# --- Reading --------------------------------------------------------------------------------------


def find(session: Session, number: int, *, lock: bool = False) -> SubscriptionRow:
    """Return one row. Raises `NotFound`."""
    usable = 0 < number < 2**31
    row = session.get(SubscriptionRow, number, with_for_update=lock or None) if usable else None
    if row is None:
        raise NotFound(f"There is no subscription {number}; GET /v1/subscriptions lists them.")
    return row


def subscriptions(session: Session, *, has_usage: bool) -> list[Subscription]:
    """Return all subscriptions in the order in which they were made."""
    rows = session.scalars(sa.select(SubscriptionRow).order_by(SubscriptionRow.id))
    return [shown(row, has_usage=has_usage) for row in rows]


def shown(row: SubscriptionRow, *, has_usage: bool) -> Subscription:
    """Return a subscription as it may be shown."""
    plain = {item.name for item in fields(Subscription)} - {"url", "filter", "note"}
    silent = not has_usage and (row.only_if_used or bool(row.filter.get("teams")))
    notes = [NO_USAGE] if silent else []
    if row.template and not placeholders.is_usable(row.template):
        notes.append(OLD_TEMPLATE)
    return Subscription(
        **{member: getattr(row, member) for member in plain},
        url=row.shown,
        filter=read_filter(row.filter),
        note=" ".join(notes) or None,
    )


def address(row: SubscriptionRow, sealer: Sealer, now: datetime) -> Address:
    """Open where to send. Raises `Unavailable` when the key has changed."""
    living = [
        text for text, until in _open_secrets(sealer, row.secrets) if until is None or until > now
    ]
    return Address(row.channel, sealer.open(row.url), tuple(living))


def of_team(session: Session, row: SubscriptionRow) -> Collection[SubscriptionRow]:
    """Return the other subscriptions of the same team that can be sent to."""
    return session.scalars(
        sa.select(SubscriptionRow).where(
            SubscriptionRow.team.is_(None)
            if row.team is None
            else SubscriptionRow.team == row.team,
            SubscriptionRow.id != row.id,
            SubscriptionRow.disabled_reason.is_(None),
        )
    ).all()

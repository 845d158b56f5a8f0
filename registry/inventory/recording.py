"""Taking in what services report: usage, code locations, refusals; and what follows from it at once.

Everything of one report happens in one transaction, in this order, which is also the order of its locks:
the idempotency key, the row of the service, its usages with all that belongs to them, the refusals, the
catalog's writer, the targets. So two reports can wait for each other and never lock each other out.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog, targets
from registry.core.due import is_due
from registry.core.errors import Invalid
from registry.core.facts import Event, EventType, Json, Snapshot, rfc3339, to_json
from registry.core.health import Cell, Declared, gravest, said
from registry.core.judgement import Judgement, Judges, judges_of
from registry.core.names import PLATFORMS, is_well_formed, parse
from registry.core.places import PARTS, place_of
from registry.db import upsert
from registry.models import (
    EventRow,
    EventServiceRow,
    IdempotencyRow,
    LeaseRow,
    RefusalRow,
    RiskRow,
    ServiceRow,
    SweepRow,
    TargetRow,
    UsageCountRow,
    UsageLocationRow,
    UsageRow,
)

__all__ = [
    "KEEP",
    "MAX_ITEMS",
    "MAX_UNKNOWN",
    "Item",
    "NotKept",
    "Recorded",
    "Report",
    "Risk",
    "Source",
    "ask_for_sweeps",
    "check_name",
    "hour_of",
    "record",
    "window_starts",
]

Source = Literal["client", "scan", "gateway"]

MAX_ITEMS: Final = 20_000
"""Items in one report."""
MAX_UNKNOWN: Final = 500
"""Distinct names that the registry does not know, kept of one service."""
MAX_INSTANCES: Final = 200
"""Scans of one service and environment that are told apart."""
MAX_SERVICES: Final = 50_000
"""Services that come into being by a report; beyond, an operator must declare them."""
MAX_COUNT: Final = 10**9
MAX_PLACES: Final = 200
"""Places of one service that are told apart."""
MAX_ENVIRONMENTS: Final = 500
"""Environments of one service."""
MAX_LOCATIONS: Final = 1000
"""Code locations kept of one usage."""
TOLD: Final = 100
"""Names that an answer lists; the rest is a number."""

KEEP: Final = timedelta(days=400)
AHEAD: Final = timedelta(minutes=5)
"""How far a reporter's clock may be ahead of ours."""
HOURLY: Final = timedelta(days=2)
"""How long counts are kept by the hour."""
DAYS: Final = 30

REFUSING_FROM: Final = 5
REFUSING_WITHIN: Final = timedelta(minutes=5)
QUIET: Final = timedelta(minutes=30)
"""Without refusals for this long, the next ones are news again."""
ASK_AGAIN: Final = timedelta(minutes=5)
"""How often refusals that go on ask for a sweep of the same beta."""
ASK_TARGET: Final = timedelta(minutes=1)
"""How often a target is swept because of refusals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """That a beta was seen: how often, at which place, and where in the code."""

    beta: str
    count: int = 1
    accepted: int | None = None
    refused: int | None = None
    api: str | None = None
    hosting: str | None = None
    region: str | None = None
    model: str | None = None
    endpoint: str | None = None
    path: str | None = None
    line: int | None = None
    url: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one service tells at once. `window` is (start, stop); without one it speaks of now."""

    service: str
    environment: str = "default"
    instance: str | None = None
    source: Source = "client"
    platform: str | None = None
    window: tuple[datetime, datetime] | None = None
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """A beta at risk that the report names, and what to do."""

    beta: str
    issue: str
    use_instead: str | None
    detail: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotKept:
    """A name of the report that was not kept."""

    beta: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of a report. `not_kept` lists the first names only; `not_kept_count` counts all."""

    service: str
    environment: str
    items: int
    betas: int
    unknown: tuple[str, ...] = ()
    at_risk: tuple[Risk, ...] = ()
    not_kept: tuple[NotKept, ...] = ()
    not_kept_count: int = 0
    locations_not_kept: int = 0
    sweeps: tuple[str, ...] = ()
    repeated: bool = False


def record(
    session: Session,
    report: Report,
    now: datetime,
    key: str | None = None,
    *,
    snapshot: Snapshot | None = None,
) -> Recorded:
    """Take in one report. Raises `Invalid` with one sentence, and then keeps nothing.

    1. A key that was seen before with the same report: its answer again, and nothing is added.
    2. Usage is added up (client, gateway) or replaces that of the earlier scan of this instance.
    3. A service first seen with a beta at risk, and refusals, are told and lead to sweeps.

    `snapshot` saves reading it, where the caller holds one.
    """
    _check(report, now)
    if key is not None:
        answered = _earlier(session, key, report, now)
        if answered is not None:
            return answered
    service = _enter(session, report, now)
    report = replace(report, platform=report.platform or service.platform)
    judge = judges_of(snapshot or catalog.snapshot(session), now.date())
    held = _held(session, report.service)
    sums, not_kept = _add_up(report, held, judge)
    lost = _store(session, report, sums, held, now)
    judged = _judged(report, service, sums, judge)
    risks = _new_risks(session, report, judged, held, now)
    refusals = _take_refusals(session, report, sums, judge, now)
    _tell(session, report, risks, [row for row, news in refusals if news], now)
    asked = ask_for_sweeps(session, now) if refusals else ()
    recorded = Recorded(
        service=report.service,
        environment=report.environment,
        items=sum(item.items for item in sums.values()),
        betas=len(judged),
        unknown=tuple(sorted(item.name for item in judged if item.issue == "unknown")),
        at_risk=tuple(_risk(item) for item in judged if item.at_risk),
        not_kept=tuple(not_kept[:TOLD]),
        not_kept_count=len(not_kept),
        locations_not_kept=lost,
        sweeps=asked,
    )
    if key is not None:
        _note_answer(session, key, recorded)
    return recorded


def _judged(
    report: Report, service: ServiceRow, sums: Mapping[Cell, _Sum], judge: Judges
) -> list[Judgement]:
    """Judge each beta where it was seen; of several places the gravest counts."""
    declared = Declared(service.platform, service.model, service.defaults)
    found: dict[str, list[Judgement]] = {}
    for cell in sums:
        seen = _Seen(*cell, platform=report.platform or "")
        found.setdefault(cell.beta, []).append(said(judge, seen, declared))
    return [gravest(each) for each in found.values()]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a report tells of a beta, as something that can be judged."""

    beta: str
    api: str
    hosting: str
    region: str
    model: str
    endpoint: str
    platform: str
    models: tuple[str, ...] = ()


def _risk(item: Judgement) -> Risk:
    return Risk(
        beta=item.name, issue=item.issue or "", use_instead=item.use_instead, detail=item.detail,
        advice=item.advice,
    )  # fmt: skip


# --- What is refused ------------------------------------------------------------------------------


def check_name(text: str, what: str, longest: int = 128) -> None:
    """Raise `Invalid` for a name of a service, environment or instance that cannot be one."""
    if not text or len(text) > longest or text != text.strip() or not text.isprintable():
        raise Invalid(
            f"{what}: {text[:60]!r} is no name; use 1 to {longest} printable characters, without "
            "spaces at the ends."
        )


def _check(report: Report, now: datetime) -> None:
    check_name(report.service, "service")
    check_name(report.environment, "environment", 64)
    if report.instance is not None:
        check_name(report.instance, "instance")
    if report.source not in get_args(Source):
        raise Invalid(f"source: {report.source[:60]!r} is none; use client, scan or gateway.")
    if report.platform is not None and report.platform not in PLATFORMS:
        raise Invalid(
            f"{report.platform[:60]!r} is not a platform; use one of {', '.join(PLATFORMS)}."
        )
    if len(report.items) > MAX_ITEMS:
        raise Invalid(f"A report holds at most {MAX_ITEMS:,} items; send it in parts.")
    if report.window is not None:
        _check_window(*report.window, now)
    for number, item in enumerate(report.items):
        _check_item(item, f"items.{number}")


def _check_window(start: datetime, stop: datetime, now: datetime) -> None:
    if stop < start:
        raise Invalid("window: `stop` lies before `start`.")
    if stop > now + AHEAD:
        raise Invalid(
            f"window: `stop` {rfc3339(stop)} lies in the future; here it is {rfc3339(now)}. Set the "
            "reporter's clock."
        )
    if start < now - KEEP:
        raise Invalid(
            f"window: `start` {rfc3339(start)} is more than {KEEP.days} days ago; usage that old is "
            "not kept."
        )


def _check_item(item: Item, where: str) -> None:
    accepted, refused = item.accepted or 0, item.refused or 0
    for word, value in (("count", item.count), ("accepted", accepted), ("refused", refused)):
        if not 0 <= value <= MAX_COUNT:
            raise Invalid(f"{where}.{word}: {value} is no count; use 0 to {MAX_COUNT:,}.")
    if accepted + refused > item.count:
        raise Invalid(
            f"{where}: accepted ({accepted}) and refused ({refused}) are more than count "
            f"({item.count})."
        )
    if item.line is not None and not 0 <= item.line <= 2**31 - 1:
        raise Invalid(f"{where}.line: {item.line} is no line number.")
    if item.url is not None and not item.url.startswith(("https://", "http://")):
        raise Invalid(f"{where}.url: use a URL that begins with https:// or http://.")


# --- Idempotency ----------------------------------------------------------------------------------


def _earlier(session: Session, key: str, report: Report, now: datetime) -> Recorded | None:
    """Claim the key; returns what was answered if it was used before. A parallel twin waits here."""
    if not key or len(key) > 255 or not key.isprintable():
        raise Invalid("Idempotency-Key: use 1 to 255 printable characters, such as a UUID.")
    digest = hashlib.sha256(json.dumps(to_json(report)).encode()).hexdigest()
    row = {"key": key, "digest": digest, "at": now, "answer": {}}
    if upsert(session, IdempotencyRow, [row], returning=["key"]):
        return None
    held = session.get(IdempotencyRow, key, with_for_update=True, populate_existing=True)
    assert held is not None
    if held.at < now - timedelta(hours=24):
        held.digest, held.at = digest, now
        return None
    if held.digest != digest:
        raise Invalid(
            "This Idempotency-Key came with another report before; use a new key for a new report.",
            slug="idempotency-key-reused",
        )
    return _read_recorded(held.answer)


def _note_answer(session: Session, key: str, recorded: Recorded) -> None:
    session.execute(
        sa.update(IdempotencyRow).where(IdempotencyRow.key == key).values(answer=to_json(recorded))
    )


def _read_recorded(answer: Mapping[str, Any]) -> Recorded:
    lists = {
        "unknown": tuple(answer["unknown"]),
        "at_risk": tuple(Risk(**item) for item in answer["at_risk"]),
        "not_kept": tuple(NotKept(**item) for item in answer["not_kept"]),
        "sweeps": tuple(answer["sweeps"]),
    }
    return Recorded(**{**answer, **lists, "repeated": True})


# --- Storing --------------------------------------------------------------------------------------


def _enter(session: Session, report: Report, now: datetime) -> ServiceRow:
    """Lock the service's row, making it if it is new."""
    row = session.get(ServiceRow, report.service, with_for_update=True, populate_existing=True)
    if row is None:
        made = session.scalar(sa.select(sa.func.count()).select_from(ServiceRow)) or 0
        if made >= MAX_SERVICES:
            raise Invalid(
                f"There are {made:,} services already, so a report makes no new one; declare "
                f"{report.service[:60]!r} with PUT /v1/services/NAME."
            )
        new = {
            "name": report.service, "contacts": [], "defaults": {}, "origin": "report",
            "created_at": now, "changed_at": now,
        }  # fmt: skip
        upsert(session, ServiceRow, [new])
        row = session.get(ServiceRow, report.service, with_for_update=True, populate_existing=True)
        assert row is not None
    seen = _seen_at(report, now)
    if row.last_seen is None or row.last_seen < seen:
        row.last_seen = seen
    return row


def _seen_at(report: Report, now: datetime) -> datetime:
    return min(report.window[1], now) if report.window else now


_Held = Any
"""A row of `_held`: a usage as it is stored, as far as recording needs it."""


def _held(session: Session, service: str) -> Sequence[_Held]:
    columns = (
        UsageRow.id, UsageRow.environment, UsageRow.beta, UsageRow.source, UsageRow.platform,
        UsageRow.api, UsageRow.hosting, UsageRow.region, UsageRow.model, UsageRow.endpoint,
        UsageRow.instance,
    )  # fmt: skip
    return session.execute(sa.select(*columns).where(UsageRow.service == service)).all()


@dataclass(slots=True)
class _Sum:
    """The items of one beta at one place in a report, added up."""

    items: int = 0
    count: int = 0
    accepted: int = 0
    refused: int = 0
    places: dict[tuple[str, int], Item] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        self.items += 1
        self.count += item.count
        self.accepted += item.accepted or 0
        self.refused += item.refused or 0
        if item.path:
            self.places[_clean(item.path, 500), item.line or 0] = item


def _clean(text: str, longest: int) -> str:
    """Make text of a reporter fit to be stored and shown; of what is too long the end tells more."""
    shown = "".join(letter if letter.isprintable() else "�" for letter in text)
    return shown if len(shown) <= longest else f"…{shown[1 - longest :]}"


def _add_up(
    report: Report, held: Sequence[_Held], judge: Judges
) -> tuple[dict[Cell, _Sum], list[NotKept]]:
    """Add the items up by beta and place. Returns also the names that are not kept, each once."""
    sums: dict[Cell, _Sum] = {}
    refused: dict[str, str] = {}
    kept: set[str] = set()
    before = {row.beta for row in held}
    room = MAX_UNKNOWN - sum(not judge.knows(name) for name in before)
    placer = _Placer(report, held)
    for number, item in enumerate(report.items):
        if item.beta not in kept and item.beta not in refused:
            new = item.beta not in before and not judge.knows(item.beta)
            if not is_well_formed(item.beta):
                refused[item.beta] = "malformed"
            elif new and room <= 0:
                refused[item.beta] = "too_many_unknown"
            else:
                room -= new
                kept.add(item.beta)
        if item.beta in kept:
            sums.setdefault(placer.cell(item, number), _Sum()).add(item)
    not_kept = [NotKept(beta=_clean(name, 140), reason=why) for name, why in refused.items()]
    return dict(sorted(sums.items())), not_kept


class _Placer:
    """Reads where the items of a report were seen, and bounds how many places a service has.

    Beyond `MAX_PLACES` the finer parts of new ones are left out: they are then not known.
    """

    def __init__(self, report: Report, held: Sequence[_Held]) -> None:
        self._platform = report.platform
        self._known: set[tuple[str, ...]] = {
            (row.api, row.hosting, row.region, row.model, row.endpoint) for row in held
        }
        self._made: dict[tuple[str | None, ...], tuple[str, ...]] = {}

    def cell(self, item: Item, number: int) -> Cell:
        """Return the cell of an item. Raises `Invalid` for a place that contradicts itself."""
        asked = item.api, item.hosting, item.region, item.model, item.endpoint
        parts = self._made.get(asked)
        if parts is None:
            parts = self._made[asked] = self._read(item, number)
        return Cell(item.beta, *parts)

    def _read(self, item: Item, number: int) -> tuple[str, ...]:
        try:
            place = place_of(
                platform=self._platform,
                api=item.api,
                hosting=item.hosting,
                region=_clean(item.region or "", 64),
                model=_clean(item.model or "", 128),
                endpoint=_clean(item.endpoint or "", 64),
            )
        except Invalid as error:
            raise Invalid(f"items.{number}: {error.detail}") from None
        parts = tuple(getattr(place, part) or "" for part in PARTS[1:])
        if parts not in self._known and len(self._known) >= MAX_PLACES:
            parts = (*parts[:2], "", "", "")
        self._known.add(parts)
        return parts


def _store(
    session: Session,
    report: Report,
    sums: Mapping[Cell, _Sum],
    held: Sequence[_Held],
    now: datetime,
) -> int:
    """Write what was added up; returns how many code locations are too many to keep."""
    environments = {row.environment for row in held}
    if len(environments) >= MAX_ENVIRONMENTS and report.environment not in environments:
        raise Invalid(
            f"{report.service} has {len(environments)} environments already; name an environment after a "
            "stage, not after a machine."
        )
    scan = report.source == "scan"
    seen = _seen_at(report, now)
    instance = (report.instance or "") if scan else ""
    slot = report.source, report.platform or "", instance
    same = {
        Cell(row.beta, row.api, row.hosting, row.region, row.model, row.endpoint): row.id
        for row in held
        if row.environment == report.environment
        and (row.source, row.platform, row.instance) == slot
    }
    # A window that ends at midnight was yesterday.
    hour = hour_of(seen - timedelta(microseconds=1))
    counted = scan or hour >= window_starts(now)
    rows = [
        {
            "service": report.service, "environment": report.environment, **cell._asdict(),
            "source": report.source, "platform": slot[1], "instance": instance, "models": [],
            "first_seen": min(report.window[0] if report.window else now, seen),
            "last_seen": seen, "count_30d": item.count if counted else 0,
            "accepted_30d": item.accepted if counted else 0,
            "refused_30d": item.refused if counted else 0,
        }
        for cell, item in sums.items()
    ]  # fmt: skip
    ids = {cell: number for cell, number in same.items() if cell in sums}
    # To be told the ids of rows costs as much as to write them, so only where there are new ones.
    wanted = ("id", *Cell._fields) if len(ids) < len(sums) else ()
    told = upsert(session, UsageRow, rows, _replaced if scan else _added, returning=wanted)
    ids.update({Cell(*parts): number for number, *parts in told})
    if scan:
        _forget_earlier_scan(session, report, instance, held, set(ids.values()))
    else:
        _count(session, sums, ids, hour if seen >= now - HOURLY else hour - hour % 24)
    return _locate(session, sums, ids)


def _added(held: Any, new: Any) -> dict[str, Any]:
    return {
        **_moments(held, new),
        **{name: held[name] + new[name] for name in ("count_30d", "accepted_30d", "refused_30d")},
    }


def _replaced(held: Any, new: Any) -> dict[str, Any]:
    counts = {name: new[name] for name in ("count_30d", "accepted_30d", "refused_30d")}
    return {**_moments(held, new), **counts}


def _moments(held: Any, new: Any) -> dict[str, Any]:
    first, last = held.first_seen, held.last_seen
    return {
        "first_seen": sa.case((new.first_seen < first, new.first_seen), else_=first),
        "last_seen": sa.case((new.last_seen > last, new.last_seen), else_=last),
    }


def _forget_earlier_scan(
    session: Session, report: Report, instance: str, held: Sequence[_Held], kept: set[int]
) -> None:
    """Drop what the earlier scan of this instance found and this one did not, and all its places."""
    scans = [row for row in held if row.source == "scan" and row.environment == report.environment]
    instances = {row.instance for row in scans}
    if instance not in instances and len(instances) >= MAX_INSTANCES:
        raise Invalid(
            f"{report.service} has {len(instances)} instances of scans in {report.environment} "
            "already; name an instance after what is scanned, not after the run."
        )
    earlier = [row.id for row in scans if row.instance == instance]
    gone = sorted(set(earlier) - kept)
    for start in range(0, len(earlier), 1000):
        part = earlier[start : start + 1000]
        session.execute(sa.delete(UsageLocationRow).where(UsageLocationRow.usage.in_(part)))
    for start in range(0, len(gone), 1000):
        session.execute(sa.delete(UsageRow).where(UsageRow.id.in_(gone[start : start + 1000])))


def hour_of(moment: datetime) -> int:
    """Return the number of the hour in which a moment lies."""
    return int(moment.timestamp() // 3600)


def window_starts(now: datetime, days: int = DAYS) -> int:
    """Return the hour at which the last `days` days begin: today and the days before, in UTC."""
    return (hour_of(now) // 24 - days + 1) * 24


def _count(session: Session, sums: Mapping[Cell, _Sum], ids: Mapping[Cell, int], hour: int) -> None:
    rows = [
        {"usage": ids[cell], "hour": hour, "count": item.count, "accepted": item.accepted,
         "refused": item.refused}
        for cell, item in sorted(sums.items(), key=lambda pair: ids[pair[0]])
    ]  # fmt: skip
    names = ("count", "accepted", "refused")
    upsert(session, UsageCountRow, rows, lambda held, new: {n: held[n] + new[n] for n in names})


def _locate(session: Session, sums: Mapping[Cell, _Sum], ids: Mapping[Cell, int]) -> int:
    """Keep where the betas stand in the code; returns how many places are too many."""
    placed = {ids[cell]: item.places for cell, item in sums.items() if item.places}
    held = dict(
        session.execute(
            sa.select(UsageLocationRow.usage, sa.func.count())
            .where(UsageLocationRow.usage.in_(sorted(placed)))
            .group_by(UsageLocationRow.usage)
        ).all()
    ) if placed else {}  # fmt: skip
    rows = [
        {
            "usage": usage, "path": path, "line": line,
            "url": _clean(item.url, 2000) if item.url else None,
            "owner": _clean(item.owner, 200) if item.owner else None,
        }
        for usage, places in placed.items()
        for (path, line), item in list(places.items())[: max(0, MAX_LOCATIONS - held.get(usage, 0))]
    ]  # fmt: skip
    upsert(session, UsageLocationRow, rows, lambda _, new: {"url": new.url, "owner": new.owner})
    return sum(map(len, placed.values())) - len(rows)


# --- Risks ----------------------------------------------------------------------------------------

_TOLD_BY: Final[dict[str, EventType]] = {
    "retired": "beta.retired",
    "deprecated": "beta.deprecated",
    "refused": "beta.refused",
}


def _new_risks(
    session: Session,
    report: Report,
    judged: Iterable[Judgement],
    held: Sequence[_Held],
    now: datetime,
) -> list[Judgement]:
    """Return what puts the service at risk and is news: once a service, environment, beta and issue.

    It is none where the changelog told of this service before: when the beta turned, and the service
    was already seen with it, the event of that turn has named it.
    """
    risky = {item.name: item for item in judged if item.at_risk}
    rows = [
        {"service": report.service, "environment": report.environment, "beta": name,
         "status": item.issue, "at": now}
        for name, item in risky.items()
    ]  # fmt: skip
    new = {beta for (beta,) in upsert(session, RiskRow, rows, returning=["beta"])}
    told = _told(session, {name: risky[name].issue or "" for name in new}, report, held)
    return [risky[name] for name in sorted(new - told)]


def _told(
    session: Session, issues: Mapping[str, str], report: Report, held: Sequence[_Held]
) -> set[str]:
    """Return the betas of whose turn an event told when the service was already seen with them."""
    before = {row.beta for row in held if row.environment == report.environment}
    if before.isdisjoint(issues):
        return set()
    first = dict(
        session.execute(
            sa.select(
                UsageRow.beta, sa.func.min(UsageRow.first_seen, type_=UsageRow.first_seen.type)
            )
            .where(UsageRow.service == report.service, UsageRow.environment == report.environment)
            .where(UsageRow.beta.in_(sorted(before & issues.keys())))
            .group_by(UsageRow.beta)
        ).all()
    )
    events = session.execute(
        sa.select(EventRow.beta, EventRow.type, sa.func.max(EventRow.at))
        .where(EventRow.beta.in_(sorted(first)), EventRow.backfill.is_(False))
        .where(EventRow.type.in_(sorted(_TOLD_BY.values())))
        .group_by(EventRow.beta, EventRow.type)
    )
    return {
        beta
        for beta, kind, at in events
        if beta is not None and kind == _TOLD_BY[issues[beta]] and at >= first[beta]
    }


def _tell(
    session: Session,
    report: Report,
    risks: Sequence[Judgement],
    refusals: Sequence[RefusalRow],
    now: datetime,
) -> None:
    """Record the events. Only here a report takes the lock of all writers, and only if there are any."""
    if not risks and not refusals:
        return
    writer = catalog.Writer(session, now)
    for item in risks:
        writer.record(_risk_event(item, report, now))
    for row in refusals:
        writer.record(_refusing_event(row, now))
    for event in writer.finish()[: len(risks)]:
        session.execute(
            sa.update(RiskRow)
            .where(
                RiskRow.service == report.service, RiskRow.environment == report.environment,
                RiskRow.beta == event.beta, RiskRow.status == event.after["issue"],
            )
            .values(event=event.id)
        )  # fmt: skip
        session.add(EventServiceRow(event=event.id, service=report.service))


def _risk_event(item: Judgement, report: Report, now: datetime) -> Event:
    # The changelog may be public, so the words name no service; `affected` does, to those with a token.
    where = f" on {item.place}" if report.platform else ""
    return Event(
        type="usage.at_risk", at=now, source="usage", beta=item.name,
        feature=parse(item.name).feature, platform=report.platform,
        reason=f"A service was first seen with {item.name}{where}: {item.detail} {item.advice}".strip(),
        after={"issue": item.issue, "use_instead": item.use_instead, "place": to_json(item.place)},
        services=1,
    )  # fmt: skip


# --- Refusals -------------------------------------------------------------------------------------


def _take_refusals(
    session: Session, report: Report, sums: Mapping[Cell, _Sum], judge: Judges, now: datetime
) -> list[tuple[RefusalRow, bool]]:
    """Count the refusals of these minutes. Returns them, and of each whether it is to be told now.

    Refusals of long ago (an imported log) say nothing of now, and unknown names have nobody to alarm.
    """
    refused: Counter[str] = Counter()
    for cell, item in sums.items():
        if item.refused and judge.knows(cell.beta):
            refused[cell.beta] += item.refused
    if not refused or _seen_at(report, now) < now - REFUSING_WITHIN:
        return []
    platform = report.platform or ""
    blank = [{"beta": name, "platform": platform, "recent": [], "last_at": now} for name in refused]
    upsert(session, RefusalRow, blank)
    rows = session.scalars(
        sa.select(RefusalRow)
        .where(RefusalRow.platform == platform, RefusalRow.beta.in_(sorted(refused)))
        .order_by(RefusalRow.beta)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    return [(row, _is_news(row, refused[row.beta], now)) for row in rows]


def _is_news(row: RefusalRow, count: int, now: datetime) -> bool:
    """Add refusals to what is remembered; says whether they are to be told now."""
    if is_due(now, row.last_at, QUIET):
        row.told_at = None
    second = int(now.timestamp())
    oldest = second - REFUSING_WITHIN.total_seconds()
    recent = {at: number for at, number in row.recent if oldest < at <= second}
    recent[second] = recent.get(second, 0) + count
    row.recent = [[at, number] for at, number in sorted(recent.items())]
    row.last_at = now
    if row.told_at is not None or sum(recent.values()) < REFUSING_FROM:
        return False
    row.told_at = now
    return True


def _refusing_event(row: RefusalRow, now: datetime) -> Event:
    count = sum(number for _, number in row.recent)
    where = f" on {row.platform}" if row.platform else ""
    after: Json = {"refusals": count, "minutes": int(REFUSING_WITHIN.total_seconds() // 60)}
    return Event(
        type="usage.refusing", at=now, source="usage", beta=row.beta,
        feature=parse(row.beta).feature, platform=row.platform or None, after=after,
        reason=f"Services report that {row.beta} is refused{where}: {count} refusals in five minutes. "
        "This alone changes no status; a sweep decides.",
    )  # fmt: skip


def ask_for_sweeps(session: Session, now: datetime) -> tuple[str, ...]:
    """Ask for sweeps of the betas that services report refused. Returns the targets asked.

    Names are bundled; a target is asked at most once a minute, and what has to wait is asked for by the
    scheduler, which calls this too. Without a scheduler nothing is asked: nobody would sweep.
    """
    rows = session.scalars(
        sa.select(RefusalRow)
        .where(RefusalRow.last_at >= now - REFUSING_WITHIN)
        .where(
            sa.or_(
                RefusalRow.asked_at.is_(None),
                RefusalRow.asked_at < now - ASK_AGAIN,
                RefusalRow.asked_at > now,  # the clock was set back since
            )
        )
        .order_by(RefusalRow.platform, RefusalRow.beta)
        # Whoever holds the others asks for them, or the scheduler does.
        .with_for_update(skip_locked=True)
    ).all()
    leads = session.get(LeaseRow, "jobs")
    if not rows or leads is None or leads.expires_at <= now:
        return ()
    asked: list[str] = []
    waits: set[str] = set()
    configured = sa.select(TargetRow).where(TargetRow.removed_at.is_(None))
    for target in session.scalars(configured.order_by(TargetRow.name).with_for_update()):
        if leads.targets is not None and target.name not in leads.targets:
            continue  # nobody would sweep it
        wanted = [row.beta for row in rows if row.platform in ("", target.platform)]
        if wanted and _ask(session, target.name, wanted, now):
            asked.append(target.name)
        else:
            waits.update(wanted)
    for row in rows:
        if row.beta not in waits:
            row.asked_at = now
    session.flush()
    return tuple(sorted(asked))


def _ask(session: Session, target: str, betas: list[str], now: datetime) -> bool:
    """Queue a sweep of a target, or add to the one that waits; says whether that could be done."""
    last = session.scalar(
        sa.select(SweepRow)
        .where(SweepRow.target == target, SweepRow.trigger == "reported")
        .order_by(SweepRow.id.desc())
        .limit(1)
    )
    if last is not None and last.outcome == "queued":  # the target's lock keeps it so
        last.betas = sorted({*last.betas, *betas})
        return True
    if last is not None and not is_due(now, last.asked_at, ASK_TARGET):
        return False
    targets.begin(session, target, "reported", now, queue=True, betas=sorted(set(betas)))
    return True

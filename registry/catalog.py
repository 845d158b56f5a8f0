"""The catalog: the one writer of betas, statuses and events, and the one reader of the evidence.

    apply(finding)    what a source found becomes evidence, state and events, in one transaction
    add, amend        the operator's word, which is evidence like any other, only stronger
    advance(now)      what follows from time alone: a sunset that nears or passes, a word that expires
    snapshot(...)     all that resolution needs, immutable

Every writer first locks the revision row. It orders them, and it gives the events their ids, so that
ids are committed in order (a sequence would not promise that on PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.core.changes import Derived, derive_feature, diff
from registry.core.claims import PLACED, check_claim, is_no_beta, placed
from registry.core.errors import Conflict, Invalid, NotFound
from registry.core.facts import (
    Beta,
    Claim,
    Cost,
    Entry,
    Event,
    Finding,
    Json,
    Snapshot,
    parse_time,
    rfc3339,
)
from registry.core.health import Declared, hits, said
from registry.core.judgement import Judgement, Judges, current_of
from registry.core.lifecycle import Standing
from registry.core.names import is_well_formed, parse
from registry.core.places import ANYWHERE, PARTS, Place, place_of
from registry.core.placing import shown
from registry.core.sunsets import CARRIERS, Ending, approaching, endings, told
from registry.core.wire import beta_from_json, beta_to_json
from registry.models import (
    BetaRow,
    EntryRow,
    EventRow,
    EventServiceRow,
    EvidenceRow,
    RevisionRow,
    ServiceRow,
    SourceRow,
    SourceRunRow,
    StandingRow,
    TargetRow,
    UsageRow,
)

__all__ = [
    "BY_HAND",
    "EventFilter",
    "Evidence",
    "Run",
    "SourceStatus",
    "Writer",
    "add",
    "advance",
    "amend",
    "apply",
    "calendar",
    "claims",
    "events",
    "evidence",
    "import_claims",
    "insert",
    "newest",
    "note_check",
    "read_event",
    "read_standing",
    "record_failure",
    "revision",
    "services_by_beta",
    "snapshot",
    "source_memo",
    "sources",
    "standings",
    "withdraw",
    "withdraw_probed",
]

BY_HAND: Final = "litellm-file"
"""The source that an operator hands over, so that what it no longer says is his will."""

RULES: Final = 2
"""Raise the number whenever the same evidence is derived to something else. What changes thereby is history."""

FORGETS_BELOW: Final = 0.5
"""A complete source that holds fewer than this share of the names it held is not believed."""

FORGETS_FROM: Final = 10
"""Names below which a source is too small to tell forgetting from a change."""


NAMES: Final = 100
"""Services named of one event; `services` of the event counts all."""
SEEN_WITHIN: Final = timedelta(days=30)
"""A service that was not seen with a beta for this long no longer counts as its user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One claim as it is shown: with its number, when we read it, and whether it decides a field."""

    id: int
    claim: Claim
    observed_at: datetime
    withdrawn_at: datetime | None
    decides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a source; `outcome` is `ok`, `unchanged` or `failed`."""

    started_at: datetime
    ended_at: datetime
    outcome: str
    detail: str
    cost: Cost
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """How a source stands: its last runs, newest first, and what is wrong with it, if anything."""

    name: str
    succeeded_at: datetime | None
    error: str | None
    names: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events: `after` is an id (exclusive), `from_` a moment (inclusive).

    `mentions`: members of a beta, one of which the event's `after` must hold.
    """

    after: int | None = None
    before: int | None = None
    from_: datetime | None = None
    types: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    ascending: bool = False


# --- The writers ----------------------------------------------------------------------------------


def apply(
    session: Session, finding: Finding, started: datetime, now: datetime
) -> tuple[Event, ...]:
    """Take in what a source found. Returns the events.

    The first run of a source is history: its events are marked `backfill`, and so is what comes with a
    catalog, by hand, or because the source is read in another way (`format` of its memo). Raises `Invalid`
    when the source has forgotten most of its names, and then changes nothing.
    """
    writer = Writer(session, now)
    source = session.get(SourceRow, finding.source)
    first = source is None or source.succeeded_at is None
    anew = not first and source is not None and _format(source.memo) != _format(finding.memo)
    backfill = first or anew or finding.source in ("catalog", BY_HAND)
    if source is None:
        source = SourceRow(name=finding.source, memo={}, failures=0)
        session.add(source)
    if not finding.unchanged:
        _believe(session, finding)
        touched = _store(session, finding, now)
        writer.derive(touched, backfill=backfill)
        _store_entries(writer, finding, backfill=first)
    if source.failures:
        writer.record(
            Event(
                type="source.recovered", at=now, source=finding.source,
                reason=f"The source {finding.source} can be read again.",
            )
        )  # fmt: skip
    source.memo, source.succeeded_at = dict(finding.memo), now
    source.failures, source.error = 0, None
    as_of = finding.memo.get("as_of") if finding.source == "catalog" else None
    events = writer.finish(as_of=parse_time(as_of) if as_of else now)
    run = Run(
        started_at=started,
        ended_at=now,
        outcome="unchanged" if finding.unchanged else "ok",
        detail=finding.detail,
        cost=finding.cost,
        events=len(events),
    )
    _log_run(session, finding.source, run)
    return events


def _format(memo: Mapping[str, Json]) -> Json:
    return memo.get("format")


def record_failure(
    session: Session, source: str, started: datetime, now: datetime, error: str
) -> tuple[Event, ...]:
    """Note that a source could not be read. The first failure of a series is an event."""
    writer = Writer(session, now)
    row = session.get(SourceRow, source)
    if row is None:
        row = SourceRow(name=source, memo={}, failures=0)
        session.add(row)
    row.failures += 1
    row.error = error[:1000]
    if row.failures == 1:
        writer.record(Event(type="source.failed", at=now, source=source, reason=error[:1000]))
    events = writer.finish()
    run = Run(
        started_at=started, ended_at=now, outcome="failed", detail=error[:1000], cost=Cost(),
        events=len(events),
    )  # fmt: skip
    _log_run(session, source, run)
    return events


def add(session: Session, name: str, facts: Mapping[str, Json], reason: str, now: datetime) -> Beta:
    """Add a beta by the operator's word. Raises `Conflict` if the registry knows it."""
    if not is_well_formed(name):
        raise Invalid(
            f"{name[:140]!r} is not a beta name: use 1 to 128 letters, digits, '.', '_' or '-'.",
            slug="malformed-name",
        )
    if is_no_beta(name):
        raise Invalid(
            f"{name} is no beta: it looks like a tool type, a version field, a model or a placeholder.",
            slug="malformed-name",
        )
    writer = Writer(session, now)
    if session.get(BetaRow, name) is not None:
        raise Conflict(f"{name} is in the registry already; change it with PATCH.", slug="exists")
    made = _operator_claims(name, facts, reason, None, now)
    existence = Claim(
        beta=name, field="summary", value=str(facts.get("summary") or ""), source="operator",
        basis="operator", at=now, quote=reason or None,
    )  # fmt: skip
    insert(session, made or [existence], now)
    writer.derive({name}, backfill=False)
    writer.finish()
    return beta(session, name)


def amend(
    session: Session,
    name: str,
    patch: Mapping[str, Json],
    reason: str,
    until: datetime | None,
    now: datetime,
) -> Beta:
    """Declare facts about a beta by the operator's word; a null withdraws what he said before.

    `patch` is a JSON merge patch (RFC 7396) of a beta's members. Raises `NotFound` or `Invalid`.
    """
    writer = Writer(session, now)
    if session.get(BetaRow, name) is None:
        raise NotFound(f"{name} is not in the registry; add it with POST /v1/betas.")
    made = _operator_claims(name, patch, reason, until, now)
    spoken = {(claim.place, claim.field) for claim in made} | _nulls(patch)
    own = session.scalars(
        sa.select(EvidenceRow).where(
            EvidenceRow.beta == name,
            EvidenceRow.source == "operator",
            EvidenceRow.withdrawn_at.is_(None),
        )
    )
    for row in own:
        if (_place(row), row.field) in spoken:
            row.withdrawn_at = now
    insert(session, made, now)
    writer.derive({name}, backfill=False)
    writer.finish()
    return beta(session, name)


def advance(session: Session, now: datetime) -> tuple[Event, ...]:
    """Apply what follows from time alone to every beta. Safe to run at any time, and twice."""
    writer = Writer(session, now)
    writer.derive(set(session.scalars(sa.select(BetaRow.name))), backfill=False)
    _tell_of_sunsets(writer)
    return writer.finish()


def _tell_of_sunsets(writer: Writer) -> None:
    """Record which known ends draw near. What was told is read from the events themselves.

    The writer's lock is held, so of two that run at once the second sees what the first has told.
    """
    session, today = writer.session, writer.now.astimezone(UTC).date()
    ending = {name: beta for name, beta in _betas(session, None).items() if beta.sunset_on}
    wanted = EventFilter(types=("beta.sunset_approaching",), betas=tuple(sorted(ending)))
    known = told(events(session, wanted, limit=None))
    for name, beta in sorted(ending.items()):
        days = approaching(beta, known.get(name, ()), today)
        if days is not None and beta.sunset_on is not None:
            writer.record(_sunset_event(session, beta, beta.sunset_on, days, writer.now))


def _sunset_event(session: Session, beta: Beta, end: date, days: int, now: datetime) -> Event:
    made = evidence(session, beta.name, now)
    word = next(
        (item.claim for item in made if item.decides and item.claim.field == "sunset_on"), None
    )
    return Event(
        type="beta.sunset_approaching",
        at=now,
        reason=f"{beta.name} ends on {end}.",
        source=word.source if word else "registry",
        url=word.url if word else None,
        beta=beta.name,
        feature=beta.feature,
        after={"sunset_on": end.isoformat(), "days": days},
    )


def import_claims(
    session: Session, made: Sequence[Claim], as_of: datetime, now: datetime
) -> tuple[Event, ...]:
    """Take in an exported catalog. What is known already stays; its events are history."""
    writer = Writer(session, now)
    known = {_identity(claim) for claim in claims(session)}
    fresh = [
        claim
        for claim in placed(made)
        if _identity(claim) not in known and not is_no_beta(claim.beta)
    ]
    insert(session, fresh, now)
    writer.derive({claim.beta for claim in fresh}, backfill=True)
    return writer.finish(as_of=as_of)


class Writer:
    """One writing transaction: holds the lock, derives what was touched, numbers the events."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session, self.now = session, now
        row = session.get(RevisionRow, 1, with_for_update=True, populate_existing=True)
        assert row is not None, "the first migration inserts it"
        self._revision = row
        self._events: list[Event] = []
        self._changed = False
        if row.rules < RULES:
            self.derive(set(session.scalars(sa.select(BetaRow.name))), backfill=True)
            row.rules = RULES

    def record(self, event: Event) -> None:
        """Keep an event for `finish`."""
        self._events.append(event)

    def derive(self, touched: set[str], *, backfill: bool) -> None:
        """Derive the features of these betas anew; store what changed and record its events."""
        for feature in sorted({parse(name).feature for name in touched}):
            self._derive_feature(feature, touched, backfill)

    def _derive_feature(self, feature: str, touched: set[str], backfill: bool) -> None:
        known = _betas(self.session, feature)
        names = {*known, *(name for name in touched if parse(name).feature == feature)}
        counting = _counting(self.session, names)
        added = {
            name: known[name].added_at or self.now if name in known else self.now for name in names
        }
        standing = standings(self.session, names)
        found = derive_feature(counting, self.now, added, standing)
        found = self._keep_current(known, counting, found, added, standing)
        for name in sorted(found):
            before = known.get(name)
            made = diff(before, found[name], self.now, backfill=backfill)
            self._events += made
            self._save(before, found[name].beta, changed=bool(made))
        self._note_current(feature, known, found, backfill)

    def _keep_current(
        self,
        known: Mapping[str, Beta],
        counting: dict[str, list[Claim]],
        found: dict[str, Derived],
        added: Mapping[str, datetime],
        standing: Mapping[str, Sequence[Standing]],
    ) -> dict[str, Derived]:
        """Keep the current beta of a feature when a discovery alone would move it.

        The incumbent gets a claim of our own, the weakest there is: any stated fact outweighs it.
        """
        incumbent = current_of(known)
        after = current_of({name: item.beta for name, item in found.items()})
        fresh = set(found) - set(known)
        if incumbent is None or after == incumbent or not fresh:
            return found
        still = found[incumbent].beta.status in ("active", "deprecated")
        stated = any(item.beta.current for item in found.values())
        if stated or not still:
            return found
        keeper = Claim(
            beta=incumbent, field="current", value=True, source="registry", basis="inferred",
            at=self.now, quote=f"Stays current: {', '.join(sorted(fresh))} is new, and that alone "
            "moves nothing.",
        )  # fmt: skip
        insert(self.session, [keeper], self.now)
        counting[incumbent] = [*counting[incumbent], keeper]
        return derive_feature(counting, self.now, added, standing)

    def _note_current(
        self, feature: str, known: Mapping[str, Beta], found: Mapping[str, Derived], backfill: bool
    ) -> None:
        before = current_of(known)
        after = current_of({name: item.beta for name, item in found.items()})
        if before == after or not known:
            return
        why = found[after].deciding.get("current") if after else None
        self.record(
            Event(
                type="feature.current_changed",
                at=self.now,
                reason=f"The current beta of {feature} is {after or 'no longer stated'}; "
                f"it was {before or 'not known'}.",
                source=why.source if why else "registry",
                url=why.url if why else None,
                backfill=backfill,
                beta=after or before,
                feature=feature,
                before={"current": before},
                after={"current": after},
            )
        )

    def _save(self, before: Beta | None, after: Beta, *, changed: bool) -> None:
        changed_at = self.now if changed or before is None else before.changed_at
        after = replace(after, changed_at=changed_at)
        if after == before:
            return
        self._changed = True
        facts = beta_to_json(after)
        del facts["platforms"], facts["exceptions"]
        self.session.merge(
            BetaRow(
                name=after.name,
                feature=after.feature,
                release_date=after.release_date,
                status=after.status,
                added_at=after.added_at,
                changed_at=changed_at,
                facts=facts,
            )
        )
        self.session.flush()

    def touch(self) -> None:
        """Let readers load the snapshot anew although no event tells of it."""
        self._changed = True

    def finish(self, as_of: datetime | None = None) -> tuple[Event, ...]:
        """Number the events, write them, and let readers know that something moved."""
        row = self._revision
        hit = self._hit()
        numbered = tuple(
            replace(
                event,
                id=row.event + place,
                batch=row.event + 1,
                services=event.services or len(hit[place - 1]),
            )
            for place, event in enumerate(self._events, start=1)
        )
        self.session.add_all(_event_row(event) for event in numbered)
        self.session.flush()
        self.session.add_all(
            EventServiceRow(event=event.id, service=service)
            for event, services in zip(numbered, hit, strict=True)
            for service in services[:NAMES]
        )
        row.event += len(numbered)
        if as_of is not None and (row.as_of is None or as_of > row.as_of):
            row.as_of = as_of
            self._changed = True
        if numbered or self._changed:
            row.generation += 1
        self.session.flush()
        return numbered

    def _hit(self) -> list[list[str]]:
        """Return for each event the services that it hits: those whose own place it concerns."""
        asked = {event.beta for event in self._events if event.beta}
        seen: dict[str, list[tuple[str, Judgement]]] = {}
        if not asked:
            return [[] for _ in self._events]
        rows = self.session.execute(
            sa.select(UsageRow, ServiceRow.platform, ServiceRow.model, ServiceRow.defaults)
            .join(ServiceRow, ServiceRow.name == UsageRow.service)
            .where(UsageRow.beta.in_(sorted(asked)), UsageRow.last_seen >= self.now - SEEN_WITHIN)
            .order_by(UsageRow.service)
        ).all()
        judges = None
        for usage, *declared in rows:
            judges = judges or Judges(snapshot(self.session), self.now.date())
            item = said(judges, usage, Declared(*declared))
            seen.setdefault(usage.beta, []).append((usage.service, item))
        return [
            list(
                dict.fromkeys(
                    service
                    for service, item in seen.get(event.beta or "", ())
                    if event.type != "usage.at_risk" and hits(event, item)
                )
            )
            for event in self._events
        ]


# --- Evidence -------------------------------------------------------------------------------------


def _believe(session: Session, finding: Finding) -> None:
    """Refuse a source that has forgotten most of what it held: it is broken, the betas are not."""
    if not finding.complete or finding.source == BY_HAND:
        return
    held = session.scalar(
        sa.select(sa.func.count(sa.distinct(EvidenceRow.beta))).where(
            EvidenceRow.source == finding.source, EvidenceRow.withdrawn_at.is_(None)
        )
    )
    now_holds = len(finding.names)
    if held and held >= FORGETS_FROM and now_holds < held * FORGETS_BELOW:
        raise Invalid(
            f"{finding.source} names {now_holds} betas and named {held} before; nothing was changed. "
            "Check its location.",
            slug="source-forgets",
        )


def _store(session: Session, finding: Finding, now: datetime) -> set[str]:
    """Insert the claims that are new, withdraw those that no longer stand. Returns the names."""
    said = [claim for claim in finding.claims if not is_no_beta(claim.beta)]
    for claim in said:
        check_claim(claim)
    rows = session.scalars(
        sa.select(EvidenceRow).where(
            EvidenceRow.source == finding.source, EvidenceRow.withdrawn_at.is_(None)
        )
    ).all()
    known = {_identity(_claim(row)): row for row in rows}
    fresh = {_identity(claim): claim for claim in said}
    new = [claim for identity, claim in fresh.items() if identity not in known]
    gone = [row for identity, row in known.items() if identity not in fresh]
    if not finding.complete:
        # Such a source tells news and is silent later: only a new word on the same day replaces.
        slots = {(claim.beta, claim.field, claim.place, claim.at) for claim in new}
        gone = [row for row in gone if (row.beta, row.field, _place(row), row.at) in slots]
    for row in gone:
        row.withdrawn_at = now
    insert(session, new, now)
    return {claim.beta for claim in new} | {row.beta for row in gone}


def insert(session: Session, made: Iterable[Claim], now: datetime) -> None:
    """Store claims as evidence. The caller derives what follows."""
    session.add_all(
        EvidenceRow(
            beta=claim.beta,
            field=claim.field,
            value=[claim.value],
            source=claim.source,
            basis=claim.basis,
            confidence=claim.confidence,
            version=claim.version,
            url=claim.url,
            quote=claim.quote,
            at=claim.at,
            until=claim.until,
            observed_at=now,
            where=claim.where,
            **asdict(claim.place),
        )
        for claim in made
    )
    session.flush()


def _claim(row: EvidenceRow) -> Claim:
    return Claim(
        beta=row.beta,
        field=row.field,
        value=row.value[0],
        source=row.source,
        basis=row.basis,  # type: ignore[arg-type]  # checked before it was stored
        confidence=row.confidence,  # type: ignore[arg-type]
        version=row.version,
        url=row.url,
        quote=row.quote,
        at=row.at,
        until=row.until,
        place=_place(row),
        where=row.where,
    )


def _place(row: EvidenceRow) -> Place:
    return Place(**{part: getattr(row, part) for part in PARTS})


def _identity(claim: Claim) -> tuple[Any, ...]:
    return (
        claim.beta, claim.field, repr(claim.value), claim.source, claim.basis, claim.confidence,
        claim.version, claim.url, claim.quote, claim.at, claim.until, claim.place, claim.where,
    )  # fmt: skip


def _counting(session: Session, names: Iterable[str]) -> dict[str, list[Claim]]:
    found: dict[str, list[Claim]] = {name: [] for name in names}
    rows = session.scalars(
        sa.select(EvidenceRow)
        .where(EvidenceRow.beta.in_(sorted(found)), EvidenceRow.withdrawn_at.is_(None))
        .order_by(EvidenceRow.id)
    )
    for row in rows:
        found[row.beta].append(_claim(row))
    return found


def _operator_claims(
    name: str, patch: Mapping[str, Json], reason: str, until: datetime | None, now: datetime
) -> list[Claim]:
    made = [
        Claim(
            beta=name,
            field=field,
            value=value,
            source="operator",
            basis="operator",
            at=now,
            until=until,
            quote=reason or None,
            place=place,
        )
        for place, field, value in _flat(patch)
        if value is not None
    ]
    for claim in made:
        check_claim(claim)
    return made


def _flat(patch: Mapping[str, Json]) -> list[tuple[Place, str, Json]]:
    """Turn a merge patch into (place, field, value).

    `platforms` nests by platform; each member of `places` says its place and what holds there.
    """
    flat: list[tuple[Place, str, Json]] = []
    for key, value in patch.items():
        if key == "platforms":
            flat += _of_platforms(value)
        elif key == "places":
            flat += _of_places(value)
        else:
            flat.append((ANYWHERE, key, value))
    return flat


_MEMBERS: Final = ("state", "names", "accepted")
"""What `platforms` prints of a platform, and takes back."""


def _of_platforms(value: Json) -> Iterable[tuple[Place, str, Json]]:
    if not isinstance(value, Mapping):
        raise _unusable("`platforms` must be an object of platforms")
    for platform, members in value.items():
        place = place_of(platform=str(platform))
        if members is None:
            members = dict.fromkeys(_MEMBERS)
        if not isinstance(members, Mapping):
            raise _unusable(f"`platforms.{platform}` must be an object")
        for member, item in members.items():
            if member not in PLACED:
                raise _unusable(f"`{str(member)[:64]}` cannot be stated of a platform")
            yield place, member, item


def _of_places(value: Json) -> Iterable[tuple[Place, str, Json]]:
    if not isinstance(value, list):
        raise _unusable("`places` must be a list of objects")
    for item in value:
        if not isinstance(item, Mapping):
            raise _unusable("each member of `places` must be an object")
        parts = {part: item[part] for part in PARTS if item.get(part) is not None}
        if not all(isinstance(word, str) for word in parts.values()):
            raise _unusable("the parts of a place must be text")
        place = place_of(**parts)
        if place == ANYWHERE:
            raise _unusable("each member of `places` must name a place, such as its `platform`")
        stated = {field: word for field, word in item.items() if field not in PARTS}
        unknown = sorted(set(stated) - PLACED)
        if unknown or not stated:
            what = (
                f"`{unknown[0][:64]}` cannot be stated of a place"
                if unknown
                else "nothing is stated"
            )
            raise _unusable(f"{what}; use {', '.join(sorted(PLACED))}")
        for field, word in stated.items():
            yield place, field, word


def _unusable(why: str) -> Invalid:
    return Invalid(f"{why[0].upper()}{why[1:]}.", slug="invalid-claim")


def _nulls(patch: Mapping[str, Json]) -> set[tuple[Place, str]]:
    return {(place, field) for place, field, value in _flat(patch) if value is None}


# --- Entries, events, runs ------------------------------------------------------------------------


def _store_entries(writer: Writer, finding: Finding, *, backfill: bool) -> None:
    rows = writer.session.scalars(sa.select(EntryRow).where(EntryRow.source == finding.source))
    known = {row.key: row for row in rows}
    for entry in sorted(finding.entries, key=lambda entry: (entry.on, entry.key)):
        row = known.get(entry.key)
        if row is not None and row.text == entry.text:
            continue
        writer.record(_entry_event(finding.source, entry, row, writer.now, backfill))
        writer.session.merge(
            EntryRow(
                source=finding.source, key=entry.key, on=entry.on, text=entry.text,
                betas=list(entry.betas), url=entry.url, observed_at=writer.now,
            )
        )  # fmt: skip


def _entry_event(
    source: str, entry: Entry, row: EntryRow | None, now: datetime, backfill: bool
) -> Event:
    rewritten = "" if row is None else "Rewritten: "
    only = entry.betas[0] if len(entry.betas) == 1 else None
    return Event(
        type="source.entry",
        at=now,
        reason=f"{rewritten}{entry.text[:1000]}",
        source=source,
        effective_on=entry.on,
        backfill=backfill,
        beta=only,
        feature=parse(only).feature if only else None,
        before=None if row is None else {"text": row.text, "betas": row.betas},
        after={"text": entry.text, "betas": list(entry.betas)},
        url=entry.url,
    )


def _event_row(event: Event) -> EventRow:
    return EventRow(
        id=event.id,
        type=event.type,
        at=event.at,
        effective_on=event.effective_on,
        backfill=event.backfill,
        beta=event.beta,
        feature=event.feature,
        platform=event.platform,
        target=event.target,
        before=[event.before],
        after=[event.after],
        reason=event.reason,
        source=event.source,
        url=event.url,
        services=event.services,
        batch=event.batch,
    )


def read_event(row: EventRow) -> Event:
    """Read a row of the changelog."""
    return Event(
        id=row.id,
        type=row.type,  # type: ignore[arg-type]
        at=row.at,
        effective_on=row.effective_on,
        backfill=row.backfill,
        beta=row.beta,
        feature=row.feature,
        platform=row.platform,
        target=row.target,
        before=row.before[0],
        after=row.after[0],
        reason=row.reason,
        source=row.source,
        url=row.url,
        services=row.services,
        batch=row.batch,
    )


def _log_run(session: Session, source: str, run: Run) -> None:
    session.add(
        SourceRunRow(
            source=source,
            started_at=run.started_at,
            ended_at=run.ended_at,
            outcome=run.outcome,
            detail=run.detail[:2000],
            requests=run.cost.requests,
            bytes=run.cost.bytes,
            bytes_whole=run.cost.bytes_whole,
            events=run.events,
        )
    )


# --- The readers ----------------------------------------------------------------------------------


def revision(session: Session) -> tuple[int, int]:
    """Return (generation, tokens): what moves when the snapshot or the tokens change."""
    row = session.execute(sa.select(RevisionRow.generation, RevisionRow.tokens)).one()
    return row.generation, row.tokens


def newest(session: Session, *, hold: bool = False) -> int:
    """Return the id of the newest event, 0 before the first; `hold` keeps writers waiting after it."""
    row = session.get(RevisionRow, 1, with_for_update=hold or None, populate_existing=True)
    assert row is not None, "the first migration inserts it"
    return row.event


def calendar(session: Session, betas: Sequence[str], features: Sequence[str]) -> dict[str, Ending]:
    """Return the announced ends of betas, with how they moved; of all where none is named."""
    wanted = EventFilter(
        types=CARRIERS, betas=tuple(betas), features=tuple(features),
        mentions=("sunset_on", "status"), ascending=True,
    )  # fmt: skip
    return endings(events(session, wanted, limit=None))


def snapshot(session: Session) -> Snapshot:
    """Build the snapshot of this transaction's moment; betas in the order of their names."""
    row = session.execute(sa.select(RevisionRow.event, RevisionRow.as_of)).one()
    found = _betas(session, None)
    configured = sa.select(TargetRow).where(TargetRow.removed_at.is_(None))
    rows = list(session.scalars(configured.order_by(TargetRow.name)))
    probed = [target.counted_until for target in rows if target.counted_until]
    return Snapshot(
        revision=row.event,
        as_of=row.as_of or datetime.combine(date(1970, 1, 1), time(), UTC),
        betas={name: found[name] for name in sorted(found)},
        probed_at=max(probed, default=None),
        targets={
            target.name: {
                "platform": target.platform, "api": target.api, "hosting": target.hosting,
                "region": target.region, "model": target.model, "endpoint": target.endpoint,
            }
            for target in rows
        },
    )  # fmt: skip


def beta(session: Session, name: str) -> Beta:
    """Return one beta. Raises `NotFound`."""
    found = _betas(session, parse(name).feature).get(name)
    if found is None:
        raise NotFound(f"{name} is not in the registry.")
    return found


def services_by_beta(session: Session, now: datetime) -> dict[str, int]:
    """Return how many services were seen with each beta lately; names without any are left out."""
    rows = session.execute(
        sa.select(UsageRow.beta, sa.func.count(sa.distinct(UsageRow.service)))
        .where(UsageRow.last_seen >= now - SEEN_WITHIN)
        .group_by(UsageRow.beta)
    )
    return dict(rows.all())


def _betas(session: Session, feature: str | None) -> dict[str, Beta]:
    rows = sa.select(BetaRow.name, BetaRow.facts)
    if feature is not None:
        rows = rows.where(BetaRow.feature == feature)
    return {name: shown(beta_from_json(facts)) for name, facts in session.execute(rows)}


def note_check(session: Session, names: Iterable[str], target: str, at: datetime) -> None:
    """Of what a target only confirmed, note when: nothing else follows from it."""
    moment = rfc3339(at)
    for row in session.scalars(sa.select(BetaRow).where(BetaRow.name.in_(sorted(names)))):
        places = [
            {**fact, "checked_at": moment, "at": moment} if fact["target"] == target else fact
            for fact in row.facts["places"]
        ]
        row.facts = {**row.facts, "places": places}


def standings(session: Session, names: Iterable[str]) -> dict[str, list[Standing]]:
    """Return what targets know of these betas; one that is not configured any more speaks for nothing."""
    rows = session.execute(
        sa.select(StandingRow.beta, StandingRow.facts, TargetRow.health)
        .join(TargetRow, TargetRow.name == StandingRow.target)
        .where(StandingRow.beta.in_(sorted(names)), TargetRow.removed_at.is_(None))
        .order_by(StandingRow.target)
    )
    found: dict[str, list[Standing]] = {}
    for name, facts, health in rows:
        found.setdefault(name, []).append(
            replace(read_standing(facts), reliable=health not in ("blind", "unhealthy"))
        )
    return found


_MOMENTS: Final = ("since", "count_since", "accepted_at", "checked_at", "mixed_since")


def read_standing(facts: Mapping[str, Json]) -> Standing:
    """Read what `to_json` printed of a standing."""
    moments = {key: parse_time(facts[key]) for key in _MOMENTS if facts.get(key)}
    return Standing(**{**facts, **moments})


def withdraw(
    session: Session, names: Iterable[str], source: str, field: str, now: datetime
) -> None:
    """Withdraw the claims of exactly this source on one field of some betas."""
    _withdraw(session, names, field, now, EvidenceRow.source == source)


def withdraw_probed(session: Session, names: Iterable[str], field: str, now: datetime) -> None:
    """Withdraw what probing claimed of one field of some betas, whichever target found it."""
    _withdraw(session, names, field, now, EvidenceRow.basis == "probed")


def _withdraw(
    session: Session,
    names: Iterable[str],
    field: str,
    now: datetime,
    by: sa.ColumnElement[bool],
) -> None:
    session.execute(
        sa.update(EvidenceRow)
        .where(
            EvidenceRow.beta.in_(sorted(names)),
            by,
            EvidenceRow.field == field,
            EvidenceRow.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=now)
    )


def claims(session: Session) -> list[Claim]:
    """Return every claim that counts, in a stable order: the whole catalog, ready to export."""
    rows = session.scalars(sa.select(EvidenceRow).where(EvidenceRow.withdrawn_at.is_(None)))
    found = [_claim(row) for row in rows]
    return sorted(
        found, key=lambda claim: (claim.beta, claim.field, claim.source, claim.at, repr(claim))
    )


def evidence(session: Session, name: str, now: datetime) -> list[Evidence]:
    """Return all claims about a beta, newest first, withdrawn ones too, with those that decide."""
    known = beta(session, name)
    rows = session.scalars(
        sa.select(EvidenceRow).where(EvidenceRow.beta == name).order_by(EvidenceRow.id)
    ).all()
    counting = [_claim(row) for row in rows if row.withdrawn_at is None]
    found = derive_feature(
        {name: counting}, now, {name: known.added_at or now}, standings(session, {name})
    )
    chosen = (*found[name].deciding.values(), *found[name].placing.values())
    deciding = {_identity(claim) for claim in chosen}
    made = [
        Evidence(
            id=row.id,
            claim=_claim(row),
            observed_at=row.observed_at,
            withdrawn_at=row.withdrawn_at,
            decides=row.withdrawn_at is None and _identity(_claim(row)) in deciding,
        )
        for row in rows
    ]
    return sorted(made, key=lambda item: (item.claim.at, item.id), reverse=True)


def events(session: Session, wanted: EventFilter, limit: int | None) -> list[Event]:
    """Return at most `limit` events (None: all), newest first unless `ascending`."""
    query = sa.select(EventRow)
    columns = (
        (EventRow.type, wanted.types),
        (EventRow.beta, wanted.betas),
        (EventRow.feature, wanted.features),
        (EventRow.platform, wanted.platforms),
    )
    for column, values in columns:
        if values:
            query = query.where(column.in_(values))
    if wanted.mentions:
        query = query.where(sa.or_(*map(_mentions, wanted.mentions)))
    if wanted.after is not None:
        query = query.where(EventRow.id > wanted.after)
    if wanted.before is not None:
        query = query.where(EventRow.id < wanted.before)
    if wanted.from_ is not None:
        query = query.where(EventRow.at >= wanted.from_)
    query = query.order_by(EventRow.id if wanted.ascending else EventRow.id.desc()).limit(limit)
    return [read_event(row) for row in session.scalars(query)]


def _mentions(member: str) -> sa.ColumnElement[bool]:
    # Cutting out is exact on both databases, where LIKE has wildcards and SQLite's ignores case.
    told = sa.cast(EventRow.after, sa.Text)
    return sa.func.replace(told, f'"{member}"', "") != told


def source_memo(session: Session, source: str) -> Mapping[str, Json]:
    """Return what a source asked to remember at its last good run; empty before the first."""
    row = session.get(SourceRow, source)
    return row.memo if row is not None and row.succeeded_at is not None else {}


def sources(session: Session, names: Iterable[str], runs: int = 5) -> list[SourceStatus]:
    """Return how each named source stands, with its newest runs."""
    return [_source(session, name, runs) for name in names]


def _source(session: Session, name: str, runs: int) -> SourceStatus:
    row = session.get(SourceRow, name)
    log = session.scalars(
        sa.select(SourceRunRow)
        .where(SourceRunRow.source == name)
        .order_by(SourceRunRow.id.desc())
        .limit(runs)
    )
    held = session.scalar(
        sa.select(sa.func.count(sa.distinct(EvidenceRow.beta))).where(
            EvidenceRow.source == name, EvidenceRow.withdrawn_at.is_(None)
        )
    )
    return SourceStatus(
        name=name,
        succeeded_at=row.succeeded_at if row else None,
        error=row.error if row else None,
        names=held or 0,
        runs=tuple(
            Run(
                started_at=run.started_at,
                ended_at=run.ended_at,
                outcome=run.outcome,
                detail=run.detail,
                cost=Cost(requests=run.requests, bytes=run.bytes, bytes_whole=run.bytes_whole),
                events=run.events,
            )
            for run in log
        ),
    )

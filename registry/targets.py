"""Targets and their sweeps: what a report changes, in one transaction, by the table of the lifecycle.

    ensure(setups)      the configured targets have their rows; one whose identity moved starts again
    begin(...)          a sweep is asked for, or starts
    record(report)      observations become standings, turns become claims and events

Like every writer it goes through `catalog.Writer`, which holds the revision row. `record` locks the
target's row, too: a sweep that began before the last counted one ended is stored and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.core.errors import Conflict, NotFound
from registry.core.facts import Beta, Claim, Event, EventType, Json, rfc3339, to_json
from registry.core.lifecycle import Standing, Thresholds, advance, retirement
from registry.models import (
    EvidenceRow,
    LeaseRow,
    ObservationRow,
    PlatformStateRow,
    StandingRow,
    SweepRow,
    TargetRow,
)
from registry.probing import Observation, Report

__all__ = [
    "Plan",
    "Sweep",
    "TargetStatus",
    "abandon",
    "begin",
    "confirm",
    "counted_sweeps",
    "ensure",
    "observations",
    "prune",
    "record",
    "speaks_of",
    "standings_of",
    "statuses",
    "sweep",
    "sweeps",
]

UNHEALTHY_AFTER: Final = 3
"""Inconclusive sweeps in a row that make a target unhealthy."""

KEEP_ALL: Final = timedelta(days=90)
MESSAGE_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A configured target as far as the database is concerned.

    `identity` is as in `TargetRow`; it is empty where the credential cannot be read just now.
    """

    name: str
    platform: str
    api: str | None
    model: str
    endpoint: str
    identity: str
    thresholds: Thresholds
    every: timedelta
    confirm_every: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One sweep as the API shows it."""

    id: int
    target: str
    trigger: str
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str
    detail: str
    requests: int
    accepted: int
    refused: int
    restricted: int
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatus:
    """One target as the API shows it; `health` is `ok`, `unhealthy`, `blind` or `never`."""

    name: str
    platform: str
    api: str | None
    model: str
    endpoint: str
    health: str
    detail: str
    last_sweep: Sweep | None
    next_sweep_at: datetime | None
    names_refused: bool | None
    turn: int
    confirmed: bool


def ensure(session: Session, plans: Iterable[Plan], now: datetime) -> None:
    """Give every configured target a row. One whose identity moved proves nothing from before."""
    for plan in plans:
        row = session.get(TargetRow, plan.name, with_for_update=True)
        if row is None:
            session.add(
                TargetRow(
                    name=plan.name, platform=plan.platform, api=plan.api, model=plan.model,
                    endpoint=plan.endpoint, identity=plan.identity, health="never", detail="",
                    failures=0, turn=0, confirmed=False, next_sweep_at=now,
                )
            )  # fmt: skip
            session.flush()
        elif plan.identity and row.identity != plan.identity:
            _start_again(session, row, plan, now)


def _start_again(session: Session, row: TargetRow, plan: Plan, now: datetime) -> None:
    row.identity, row.platform, row.api = plan.identity, plan.platform, plan.api
    row.model, row.endpoint = plan.model, plan.endpoint
    row.names_refused, row.confirmed, row.failures = None, False, 0
    row.next_sweep_at = now
    for held in session.scalars(sa.select(StandingRow).where(StandingRow.target == row.name)):
        held.facts = to_json(catalog.read_standing(held.facts).reset())


def begin(
    session: Session, target: str, trigger: str, now: datetime, *, queue: bool = False,
    betas: Sequence[str] = (), sweep_id: int | None = None,
) -> int:  # fmt: skip
    """Note that a sweep starts, or is asked for. Returns its id. Raises `NotFound`, `Conflict`."""
    if session.get(TargetRow, target) is None:
        known = ", ".join(session.scalars(sa.select(TargetRow.name).order_by(TargetRow.name)))
        raise NotFound(f"There is no target {target[:64]!r}; there is {known or 'none'}.")
    if sweep_id is not None:
        row = session.get(SweepRow, sweep_id, with_for_update=True)
        if row is None or row.outcome != "queued":
            raise Conflict("This sweep was started by another process.")
        row.outcome, row.started_at = "running", now
        return row.id
    row = SweepRow(
        target=target, trigger=trigger, asked_at=now, betas=list(betas),
        started_at=None if queue else now, ended_at=None,
        outcome="queued" if queue else "running", detail="", requests=0, accepted=0, refused=0,
        restricted=0, counted=False,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def queued(session: Session) -> list[tuple[int, str, list[str]]]:
    """Return (id, target, betas) of the sweeps that are asked for and not started, oldest first."""
    rows = session.scalars(
        sa.select(SweepRow).where(SweepRow.outcome == "queued").order_by(SweepRow.id)
    )
    return [(row.id, row.target, list(row.betas)) for row in rows]


def abandon(session: Session, now: datetime) -> int:
    """End the sweeps that a lost process left running; returns how many. For a new lease holder."""
    found = session.execute(
        sa.update(SweepRow)
        .where(SweepRow.outcome == "running")
        .values(outcome="inconclusive", ended_at=now, detail="The process that ran it was lost.")
        .returning(SweepRow.id)
    )
    return len(found.all())


def confirm(session: Session, target: str) -> None:
    """Let an operator say that a mass change is real: the next sweeps count. Raises `NotFound`."""
    row = session.get(TargetRow, target, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no target {target[:64]!r}.")
    row.confirmed = True


# --- Recording ------------------------------------------------------------------------------------


def record(
    session: Session,
    plan: Plan,
    sweep_id: int,
    report: Report,
    now: datetime,
    generation: int | None = None,
) -> tuple[Event, ...]:
    """Take in how a sweep went. Returns the events.

    `generation` is the lease's, if one was held: when another process holds it since, the sweep is
    stored and not counted.
    """
    writer = catalog.Writer(session, now)
    row = session.get(TargetRow, plan.name, with_for_update=True, populate_existing=True)
    assert row is not None, "ensure() made it"
    counts = _counts(session, row, plan, report, generation)
    _store(session, plan, sweep_id, report, counted=counts)
    if counts:
        was_reliable = row.health not in ("blind", "unhealthy")
        _judge_health(writer, row, report, now)
        turned = _take_in(writer, row, plan, report) if report.outcome in ("ok", "partial") else {}
        if was_reliable != (row.health not in ("blind", "unhealthy")):
            turned |= dict.fromkeys(_held(session, plan.name), False)
        writer.derive({name for name, first in turned.items() if first}, backfill=True)
        writer.derive({name for name, first in turned.items() if not first}, backfill=False)
        _schedule(session, row, plan, report, now)
    return writer.finish()


def _counts(
    session: Session, row: TargetRow, plan: Plan, report: Report, generation: int | None
) -> bool:
    if plan.identity and row.identity != plan.identity:
        return False
    if row.counted_until is not None and report.started_at < row.counted_until:
        return False
    if generation is None:
        return True
    held = session.scalar(sa.select(LeaseRow.generation).where(LeaseRow.name == "jobs"))
    return held == generation


def _store(session: Session, plan: Plan, sweep_id: int, report: Report, *, counted: bool) -> None:
    row = session.get(SweepRow, sweep_id)
    assert row is not None
    verdicts = [item.verdict for item in report.observations]
    row.started_at, row.ended_at = report.started_at, report.ended_at
    row.outcome, row.detail = report.outcome, report.detail[:2000]
    row.requests, row.counted = report.requests, counted
    row.accepted = verdicts.count("accepted")
    row.refused = verdicts.count("refused") + verdicts.count("model_unsupported")
    row.restricted = verdicts.count("restricted")
    session.add_all(
        ObservationRow(
            sweep=sweep_id, target=plan.name, beta=item.beta, at=report.ended_at,
            verdict=item.verdict, http_status=item.http_status,
            message=item.message[:MESSAGE_MAX], request_id=item.request_id, model=plan.model,
            endpoint=report.endpoint,
        )
        for item in report.observations
    )  # fmt: skip


def _judge_health(writer: catalog.Writer, row: TargetRow, report: Report, now: datetime) -> None:
    """Set the target's health; a change of it is an event."""
    before = row.health
    row.turn += 1
    if report.outcome in ("ok", "partial"):
        row.failures, row.health, row.detail = 0, "ok", report.detail
        row.counted_until = report.ended_at
        if report.names_refused is not None:
            row.names_refused = report.names_refused
        if before in ("unhealthy", "blind"):
            _tell(writer, row, "target.recovered", f"{row.name} can be probed again.", before, now)
        return
    row.detail = report.detail
    row.failures += 1
    if report.outcome == "blind":
        row.health = "blind"
    elif report.outcome == "mass_change" or row.failures >= UNHEALTHY_AFTER:
        row.health = "unhealthy"
    if row.health != before and row.health in ("blind", "unhealthy"):
        kind: EventType = "target.blind" if row.health == "blind" else "target.unhealthy"
        _tell(writer, row, kind, report.detail, before, now)


def _tell(
    writer: catalog.Writer, row: TargetRow, kind: EventType, why: str, before: str, now: datetime
) -> None:
    writer.record(
        Event(
            type=kind, at=now, reason=f"{row.name}: {why}"[:1000], source=f"target:{row.name}",
            platform=row.platform, target=row.name,
            before={"health": before}, after={"health": row.health},
        )
    )  # fmt: skip


def _held(session: Session, target: str) -> list[str]:
    return list(session.scalars(sa.select(StandingRow.beta).where(StandingRow.target == target)))


def _take_in(writer: catalog.Writer, row: TargetRow, plan: Plan, report: Report) -> dict[str, bool]:
    """Advance the standings. Returns the betas touched, and whether each was seen here first."""
    session = writer.session
    held = {
        item.beta: item
        for item in session.scalars(sa.select(StandingRow).where(StandingRow.target == plan.name))
    }
    touched: dict[str, bool] = {}
    quiet: list[str] = []
    known = set(session.scalars(sa.select(EvidenceRow.beta).distinct()))
    for item in report.observations:
        if item.verdict == "inconclusive" or item.beta not in known:
            continue
        before = _standing(held.get(item.beta), plan, report)
        after, turned = advance(before, item.verdict, plan.thresholds, report.ended_at)
        if item.beta in held:
            held[item.beta].facts = to_json(after)
        else:
            session.add(StandingRow(target=plan.name, beta=item.beta, facts=to_json(after)))
        if _content(before) == _content(after):
            quiet.append(item.beta)
        else:
            touched[item.beta] = before.checked_at is None
        if turned:
            session.flush()
            _claim_state(writer, item, after)
            _judge_retirement(writer, item, after)
    _note_check(writer, plan, quiet, report.ended_at)
    session.flush()
    waiting = any(row.facts.get("toward") for row in held.values())
    if not waiting:
        row.confirmed = False
    return touched


def _content(standing: Standing) -> Standing:
    return replace(standing, checked_at=None, accepted_at=None)


def _note_check(writer: catalog.Writer, plan: Plan, names: Sequence[str], at: datetime) -> None:
    """Of what was only confirmed, note when: nothing else follows from it."""
    rows = writer.session.scalars(
        sa.select(PlatformStateRow).where(
            PlatformStateRow.platform == plan.platform, PlatformStateRow.beta.in_(names)
        )
    )
    for row in rows:
        if row.facts.get("target") == plan.name:
            row.facts = {**row.facts, "checked_at": rfc3339(at)}
    if names:
        writer.touch()


def _standing(row: StandingRow | None, plan: Plan, report: Report) -> Standing:
    place = {
        "target": plan.name, "platform": plan.platform, "api": plan.api, "model": plan.model,
        "endpoint": report.endpoint,
    }  # fmt: skip
    if row is None:
        return Standing(**place)  # type: ignore[arg-type]
    held = catalog.read_standing(row.facts)
    if held.endpoint != report.endpoint:
        held = held.reset()  # what was learned at another endpoint proves nothing here
    return replace(held, **place)  # type: ignore[arg-type]


def _claim_state(writer: catalog.Writer, item: Observation, after: Standing) -> None:
    """Write down a turn as evidence, in place of what this target said before."""
    source, field = f"target:{after.target}", f"platforms.{after.platform}.state"
    catalog.withdraw(writer.session, [item.beta], source, field, writer.now)
    proof = f" ({item.request_id})" if item.request_id else ""
    claim = Claim(
        beta=item.beta, field=field, value=after.state, source=source, basis="probed",
        at=after.checked_at or writer.now,
        quote=f"HTTP {item.http_status} on {after.endpoint}, {after.model}: {item.message}"[:300] + proof,
    )  # fmt: skip
    catalog.insert(writer.session, [claim], writer.now)


def _judge_retirement(writer: catalog.Writer, item: Observation, after: Standing) -> None:
    """Declare a beta retired when the rules say so; an acceptance takes only that back."""
    session, now = writer.session, writer.now
    if after.state == "supported" and after.platform in _OPERATED:
        catalog.withdraw(session, [item.beta], "target:%", "status", now)
        catalog.withdraw(session, [item.beta], "target:%", "retired_on", now)
        return
    if after.state != "refused":
        return
    beta = catalog.beta(session, item.beta)
    everywhere = catalog.standings(session, [item.beta])[item.beta]
    proof = retirement(beta.gate, beta.endpoints, everywhere)
    if proof is None:
        return
    source = f"target:{proof.target}"
    at = after.checked_at or now
    quote = f"Refused by every target that ever accepted it. {item.message}"[:300]
    made = [
        Claim(beta=item.beta, field=field, value=value, source=source, basis="probed", at=at,
              quote=quote)
        for field, value in (("status", "retired"), ("retired_on", at.date().isoformat()))
    ]  # fmt: skip
    catalog.insert(session, made, now)


_OPERATED: Final = frozenset({"anthropic", "aws", "google-cloud"})


def _schedule(session: Session, row: TargetRow, plan: Plan, report: Report, now: datetime) -> None:
    """Say when to sweep next: soon while something is undecided, later after each failure."""
    if report.outcome in ("ok", "partial"):
        facts = session.scalars(sa.select(StandingRow.facts).where(StandingRow.target == plan.name))
        undecided = report.outcome == "partial" or any(item.get("toward") for item in facts)
        wait = min(plan.confirm_every, plan.every) if undecided else plan.every
    else:
        wait = min(plan.every, plan.confirm_every * 2 ** min(row.failures - 1, 10))
    if report.retry_after is not None:
        wait = max(wait, timedelta(seconds=min(report.retry_after, 86400)))
    row.next_sweep_at = now + wait


# --- Reading --------------------------------------------------------------------------------------


def statuses(session: Session) -> list[TargetStatus]:
    """Return all targets, by name."""
    return [
        TargetStatus(
            name=row.name, platform=row.platform, api=row.api, model=row.model,
            endpoint=row.endpoint, health=row.health, detail=row.detail,
            last_sweep=next(iter(sweeps(session, row.name, 1)), None),
            next_sweep_at=row.next_sweep_at, names_refused=row.names_refused, turn=row.turn,
            confirmed=row.confirmed,
        )
        for row in session.scalars(sa.select(TargetRow).order_by(TargetRow.name))
    ]  # fmt: skip


def sweeps(
    session: Session, target: str | None = None, limit: int = 100, before: int | None = None
) -> list[Sweep]:
    """Return sweeps, newest first."""
    query = sa.select(SweepRow).order_by(SweepRow.id.desc()).limit(limit)
    if target is not None:
        query = query.where(SweepRow.target == target)
    if before is not None:
        query = query.where(SweepRow.id < before)
    return [_sweep(row) for row in session.scalars(query)]


def counted_sweeps(session: Session) -> int:
    """Return how many sweeps counted, over all targets and all time."""
    counted = sa.select(sa.func.count()).select_from(SweepRow).where(SweepRow.counted)
    return session.scalar(counted) or 0


def sweep(session: Session, number: int) -> Sweep:
    """Return one sweep. Raises `NotFound`."""
    row = session.get(SweepRow, number) if number < 2**31 else None
    if row is None:
        raise NotFound(f"There is no sweep {number}.")
    return _sweep(row)


def _sweep(row: SweepRow) -> Sweep:
    return Sweep(
        id=row.id, target=row.target, trigger=row.trigger, started_at=row.started_at,
        ended_at=row.ended_at, outcome=row.outcome, detail=row.detail, requests=row.requests,
        accepted=row.accepted, refused=row.refused, restricted=row.restricted, counted=row.counted,
    )  # fmt: skip


def standings_of(session: Session, target: str) -> dict[str, Standing]:
    """Return what one target knows, by beta."""
    rows = session.scalars(sa.select(StandingRow).where(StandingRow.target == target))
    return {row.beta: catalog.read_standing(row.facts) for row in rows}


def observations(
    session: Session, beta: str, limit: int = 100, before: int | None = None
) -> list[tuple[int, Mapping[str, Json]]]:
    """Return (id, observation as the API shows it) of one beta, newest first."""
    query = (
        sa.select(ObservationRow)
        .where(ObservationRow.beta == beta)
        .order_by(ObservationRow.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(ObservationRow.id < before)
    return [
        (
            row.id,
            to_json(
                {
                    "target": row.target, "sweep": row.sweep, "at": row.at, "verdict": row.verdict,
                    "http_status": row.http_status, "message": row.message,
                    "request_id": row.request_id, "model": row.model, "endpoint": row.endpoint,
                }
            ),
        )
        for row in session.scalars(query)
    ]  # fmt: skip


def prune(session: Session, now: datetime) -> int:
    """Keep of what is older than 90 days one observation a day, beta and target; returns how many went."""
    rows = session.execute(
        sa.select(ObservationRow.id, ObservationRow.target, ObservationRow.beta, ObservationRow.at)
        .where(ObservationRow.at < now - KEEP_ALL)
        .order_by(ObservationRow.id)
    )
    last: dict[tuple[str, str, object], int] = {}
    gone: list[int] = []
    for number, target, beta, at in rows:
        key = target, beta, at.date()
        if key in last:
            gone.append(last[key])
        last[key] = number
    for start in range(0, len(gone), 500):
        session.execute(
            sa.delete(ObservationRow).where(ObservationRow.id.in_(gone[start : start + 500]))
        )
    return len(gone)


def speaks_of(beta: Beta, platform: str, endpoint: str) -> bool:
    """Say whether a target there can learn anything of a beta under its own name."""
    names = next((known.names for place, known in beta.platforms.items() if place == platform), ())
    if names and names != (beta.name,):
        return False  # it is sent under another name there
    here = {"messages", "count_tokens"}
    return endpoint == "list" or not beta.endpoints or not here.isdisjoint(beta.endpoints)

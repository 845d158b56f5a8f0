"""Targets and their sweeps: what a report changes, in one transaction, by the table of the lifecycle.

    reconcile(plans)    these targets are all that are configured: others speak for nothing any more
    ensure(plans)       these have their rows; one whose identity moved starts again
    begin(...)          a sweep is asked for, or starts
    record(report)      observations become standings, turns become claims and events
    confirm, new_baseline   an operator's answer to a mass change, which locks a target until then

Like every writer it goes through `catalog.Writer`, which holds the revision row. `record` locks the
target's row, too: a sweep that began before the last counted one ended is stored and not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import catalog
from registry.core import due
from registry.core.errors import Conflict, NotFound
from registry.core.facts import Beta, Claim, Event, EventType, Json, rfc3339, to_json
from registry.core.lifecycle import (
    Observed,
    Standing,
    Thresholds,
    advance,
    is_against,
    is_mass_change,
    retirement,
)
from registry.core.names import ANTHROPIC_OPERATED
from registry.core.placing import where
from registry.models import (
    EvidenceRow,
    LeaseRow,
    ObservationRow,
    StandingRow,
    SweepRow,
    TargetRow,
)
from registry.probing import Memory, Observation, Report, read_memory

__all__ = [
    "Known",
    "Plan",
    "Sweep",
    "TargetStatus",
    "abandon",
    "begin",
    "confirm",
    "counted_sweeps",
    "ensure",
    "is_due",
    "known",
    "new_baseline",
    "observations",
    "prune",
    "reconcile",
    "record",
    "speaks_of",
    "standings_of",
    "statuses",
    "sweep",
    "sweeps",
]

FAILS_AFTER: Final = 3
"""Inconclusive sweeps in a row that make a target unhealthy; blind ones, blind."""
RECOVERS_AFTER: Final = {"unhealthy": 2, "blind": 5}
"""Sweeps in a row that must succeed before it is told that a target has recovered."""

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
    hosting: str | None = None
    region: str | None = None


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
    hosting: str | None
    region: str | None
    model: str
    endpoint: str
    health: str
    detail: str
    last_sweep: Sweep | None
    next_sweep_at: datetime | None
    names_refused: bool | None
    turn: int
    locked: Mapping[str, Json] | None
    aside: Mapping[str, Json]
    removed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the next sweep of a target must know, beside its standings."""

    names_refused: bool | None
    turn: int
    memory: Memory
    locked: bool
    believed: frozenset[str]


def reconcile(session: Session, plans: Sequence[Plan], now: datetime) -> tuple[Event, ...]:
    """Let exactly these targets be configured. Returns the events.

    For whoever schedules, at its start. A target that is gone speaks for nothing any more; a new one with
    the identity of one that is gone is the same by another name, and takes its history over.
    """
    writer = catalog.Writer(session, now)
    names = {plan.name for plan in plans}
    rows = session.scalars(
        sa.select(TargetRow).where(TargetRow.name.not_in(names), TargetRow.removed_at.is_(None))
    ).all()
    gone = {row.name for row in rows}
    moved = _prepare(writer, plans, gone)
    for row in rows:
        if row.name in gone:
            moved |= _remove(writer, row)
    writer.derive(moved, backfill=True)
    return writer.finish()


def ensure(session: Session, plans: Iterable[Plan], now: datetime) -> None:
    """Give these targets a row. One whose identity moved proves nothing from before."""
    plans = list(plans)
    held = {
        row.name: row
        for row in session.scalars(
            sa.select(TargetRow).where(TargetRow.name.in_([plan.name for plan in plans]))
        )
    }
    if all(plan.name in held and _is_current(held[plan.name], plan) for plan in plans):
        return
    session.expire_all()
    writer = catalog.Writer(session, now)
    writer.derive(_prepare(writer, plans, set()), backfill=True)
    writer.finish()


def _is_current(row: TargetRow, plan: Plan) -> bool:
    same = (row.hosting, row.region) == (plan.hosting, plan.region)
    return row.removed_at is None and plan.identity in ("", row.identity) and same


def _prepare(writer: catalog.Writer, plans: Iterable[Plan], gone: set[str]) -> set[str]:
    """Give targets their rows; those that only got another name are taken out of `gone`.

    Returns the betas of which something else is known now.
    """
    session, now = writer.session, writer.now
    moved: set[str] = set()
    for plan in plans:
        row = session.get(TargetRow, plan.name, with_for_update=True, populate_existing=True)
        if row is None:
            row = _new_row(plan, now)
            session.add(row)
            session.flush()
        if row.removed_at is not None:
            row.removed_at, row.next_sweep_at, row.detail = None, now, ""
            moved |= set(_held(session, row.name))
        if (row.hosting, row.region) != (plan.hosting, plan.region):
            moved |= _say_where(session, row, plan)
        before = _by_another_name(session, row, plan, gone)
        if before is not None:
            gone.discard(before.name)
            moved |= _rename(session, before, row)
        elif plan.identity not in ("", row.identity):
            moved |= _start_again(session, row, plan, now)
    return moved


def _say_where(session: Session, row: TargetRow, plan: Plan) -> set[str]:
    """Complete the place of what is known: the same upstream, of which more is said. Returns the betas."""
    row.hosting, row.region = plan.hosting, plan.region
    more = {"hosting": plan.hosting, "region": plan.region}
    names = set()
    for held in session.scalars(sa.select(StandingRow).where(StandingRow.target == row.name)):
        held.facts = {**held.facts, **more}
        names.add(held.beta)
    session.flush()
    return names


def _new_row(plan: Plan, now: datetime) -> TargetRow:
    return TargetRow(
        name=plan.name, platform=plan.platform, api=plan.api, hosting=plan.hosting,
        region=plan.region, model=plan.model,
        endpoint=plan.endpoint, identity=plan.identity, health="never", detail="", failures=0,
        successes=0, blinds=0, turn=0, memory={}, locked=None, believed=[], removed_at=None,
        next_sweep_at=now,
    )  # fmt: skip


def _by_another_name(
    session: Session, row: TargetRow, plan: Plan, gone: Collection[str]
) -> TargetRow | None:
    """Return the target that this one was called before: gone, with the same identity."""
    if row.turn or not plan.identity:
        return None
    return session.scalars(
        sa.select(TargetRow)
        .where(TargetRow.identity == plan.identity, TargetRow.name != plan.name)
        .where(sa.or_(TargetRow.removed_at.is_not(None), TargetRow.name.in_(sorted(gone))))
        .order_by(TargetRow.counted_until.desc())
        .with_for_update()
    ).first()


def _rename(session: Session, before: TargetRow, row: TargetRow) -> set[str]:
    """Let a target take over the history of what it was called before. Returns the betas."""
    for column in [item.key for item in TargetRow.__table__.c]:
        if column not in ("name", "removed_at", "next_sweep_at"):
            setattr(row, column, getattr(before, column))
    session.flush()
    names = set()
    for held in session.scalars(sa.select(StandingRow).where(StandingRow.target == before.name)):
        names.add(held.beta)
        session.add(
            StandingRow(target=row.name, beta=held.beta, facts={**held.facts, "target": row.name})
        )
        session.delete(held)
    session.flush()
    for table in (ObservationRow, SweepRow):
        session.execute(sa.update(table).where(table.target == before.name).values(target=row.name))
    session.execute(
        sa.update(EvidenceRow)
        .where(EvidenceRow.source == f"target:{before.name}")
        .values(source=f"target:{row.name}")
    )
    session.delete(before)
    session.flush()
    return names


def _remove(writer: catalog.Writer, row: TargetRow) -> set[str]:
    """Let a target speak for nothing any more. Returns the betas of which it spoke.

    A retirement that it found stays: that it is gone is no acceptance. What it alone kept alive is judged
    anew by what the others say.
    """
    session, now = writer.session, writer.now
    row.removed_at, row.next_sweep_at, row.health = now, None, "never"
    row.detail = "It is not configured any more, so it speaks for nothing."
    row.failures = row.successes = row.blinds = 0
    row.locked, row.believed = None, []
    session.execute(
        sa.update(SweepRow)
        .where(SweepRow.target == row.name, SweepRow.outcome == "queued")
        .values(outcome="inconclusive", ended_at=now, detail=row.detail)
    )
    names = set(_held(session, row.name))
    catalog.withdraw(session, names, f"target:{row.name}", "state", now)
    session.flush()
    dead = {name for name in sorted(names) if _judge_retirement(writer, name, "")}
    writer.derive(dead, backfill=False)
    return names - dead


def _start_again(session: Session, row: TargetRow, plan: Plan, now: datetime) -> set[str]:
    row.identity, row.platform, row.api = plan.identity, plan.platform, plan.api
    row.hosting, row.region = plan.hosting, plan.region
    row.model, row.endpoint = plan.model, plan.endpoint
    row.names_refused, row.failures, row.successes, row.blinds = None, 0, 0, 0
    row.memory, row.locked, row.believed = {}, None, []
    row.next_sweep_at = now
    return _reset(session, row.name)


def _reset(session: Session, target: str, excused: Collection[str] = ()) -> set[str]:
    names = set()
    for held in session.scalars(sa.select(StandingRow).where(StandingRow.target == target)):
        standing = replace(catalog.read_standing(held.facts).reset(), excused=held.beta in excused)
        held.facts = to_json(standing)
        names.add(held.beta)
    session.flush()
    return names


def begin(
    session: Session, target: str, trigger: str, now: datetime, *, queue: bool = False,
    betas: Sequence[str] = (), sweep_id: int | None = None,
) -> int:  # fmt: skip
    """Note that a sweep starts, or is asked for. Returns its id. Raises `NotFound`, `Conflict`."""
    _configured(session, target)
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
    """Let an operator say that the betas of a mass change died: the next sweeps decide them.

    Raises `NotFound`; `Conflict` where nothing waits for an answer.
    """
    row = _locked(session, target)
    row.believed = list((row.locked or {}).get("betas", ()))
    _unlock(row)


def new_baseline(session: Session, target: str, now: datetime) -> tuple[Event, ...]:
    """Let an operator say that the key or the plan changed: states stay, and nothing retires.

    What is refused now moves nothing until it is accepted once. Raises as `confirm` does.
    """
    writer = catalog.Writer(session, now)
    row = _locked(session, target)
    lost = (row.locked or {}).get("betas", ())
    _unlock(row)
    writer.derive(_reset(session, row.name, excused=lost), backfill=False)
    return writer.finish()


def _locked(session: Session, target: str) -> TargetRow:
    row = _configured(session, target, lock=True)
    if row.locked is None:
        raise Conflict(f"No mass change of {target} waits for an answer.")
    return row


def _unlock(row: TargetRow) -> None:
    """The operator has looked, so one good sweep is enough to recover."""
    row.locked, row.next_sweep_at = None, None
    row.successes = RECOVERS_AFTER["unhealthy"] - 1


def _configured(session: Session, target: str, *, lock: bool = False) -> TargetRow:
    row = session.get(TargetRow, target, with_for_update=lock, populate_existing=lock)
    if row is not None and row.removed_at is None:
        return row
    names = sa.select(TargetRow.name).where(TargetRow.removed_at.is_(None))
    there = ", ".join(session.scalars(names.order_by(TargetRow.name))) or "none"
    if row is not None:
        raise NotFound(f"The target {target!r} is not configured any more; there is {there}.")
    raise NotFound(f"There is no target {target[:64]!r}; there is {there}.")


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
    counts = _counts(session, row, plan, report, generation, now)
    if counts:
        report = _with_answers(row, _guarded(session, row, report))
    succeeded = report.outcome in ("ok", "partial")
    moves = counts and row.locked is None
    _store(session, plan, sweep_id, report, counted=moves)
    if counts:
        was_reliable = row.health not in ("blind", "unhealthy")
        _judge_health(writer, row, report, now)
        turned = _take_in(writer, row, plan, report) if moves and succeeded else {}
        if was_reliable != (row.health not in ("blind", "unhealthy")):
            turned |= dict.fromkeys(_held(session, plan.name), False)
        writer.derive({name for name, first in turned.items() if first}, backfill=True)
        writer.derive({name for name, first in turned.items() if not first}, backfill=False)
        _schedule(session, row, plan, report, now)
    return writer.finish()


def _counts(
    session: Session,
    row: TargetRow,
    plan: Plan,
    report: Report,
    generation: int | None,
    now: datetime,
) -> bool:
    if row.removed_at is not None or (plan.identity and row.identity != plan.identity):
        return False
    # One that ends in the future ended before the clock was set back: nothing overlaps it.
    if row.counted_until is not None and report.started_at < row.counted_until <= now:
        return False
    if generation is None:
        return True
    held = session.scalar(sa.select(LeaseRow.generation).where(LeaseRow.name == "jobs"))
    return held == generation


def _guarded(session: Session, row: TargetRow, report: Report) -> Report:
    """Let no report pass that makes a mass change, whatever was asked and by whatever way it came."""
    if report.outcome not in ("ok", "partial"):
        return report
    said = {item.beta: item.verdict for item in report.observations}
    held = {
        name: standing
        for name, standing in standings_of(session, row.name).items()
        if name not in row.believed
    }
    verdicts: list[Observed] = [
        said.get(name) or ("refused" if _is_going(standing) else "inconclusive")
        for name, standing in held.items()
    ]
    if not is_mass_change(list(held.values()), verdicts):
        return report
    lost = tuple(name for name, verdict in zip(held, verdicts, strict=True) if is_against(verdict))
    why = f"mass refusal: did the key or the plan change? {len(lost)} betas are refused."
    return replace(report, outcome="mass_change", detail=why, observations=(), lost=lost)


def _with_answers(row: TargetRow, report: Report) -> Report:
    """Say of a mass change which two answers there are."""
    if report.outcome != "mass_change":
        return report
    answers = (
        f"If these betas died: `beta-registry probe {row.name} --believe`. If the key or the plan changed: "
        f"`beta-registry probe {row.name} --new-baseline`."
    )
    return replace(report, detail=f"{report.detail} {answers}")


def _is_going(standing: Standing) -> bool:
    return standing.toward in ("refused", "restricted")


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
    row.memory = to_json(report.memory)
    row.detail = report.detail
    if report.names_refused is not None:
        row.names_refused = report.names_refused
    _count(row, report)
    if row.health == before:
        return
    if row.health in ("blind", "unhealthy"):
        kind: EventType = "target.blind" if row.health == "blind" else "target.unhealthy"
        _tell(writer, row, kind, row.detail, before, now)
    elif before in ("blind", "unhealthy"):
        _tell(writer, row, "target.recovered", f"{row.name} can be probed again.", before, now)


def _count(row: TargetRow, report: Report) -> None:
    """Count successes and failures in a row: the health follows only several of them."""
    before = row.health
    if report.outcome in ("ok", "partial"):
        row.failures, row.blinds, row.successes = 0, 0, row.successes + 1
        row.counted_until = report.ended_at
        if row.locked is None and row.successes >= RECOVERS_AFTER.get(before, 1):
            row.health = "ok"
        elif before in RECOVERS_AFTER:
            row.detail = f"{before}, but this sweep succeeded. {report.detail}".strip()
    else:
        row.failures, row.successes = row.failures + 1, 0
        row.blinds = row.blinds + 1 if report.outcome == "blind" else 0
        if row.blinds >= FAILS_AFTER:
            row.health = "blind"
        elif row.failures >= FAILS_AFTER and before != "blind":
            row.health = "unhealthy"
    if report.outcome == "mass_change":
        _lock(row, report)


def _lock(row: TargetRow, report: Report) -> None:
    """Wait for an operator; a lock that is there stays as it is."""
    row.health = "unhealthy"
    if row.locked is None:
        row.locked = {"at": rfc3339(report.ended_at), "betas": list(report.lost)}


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
        if turned or item.verdict == "accepted":
            row.believed = [name for name in row.believed if name != item.beta]
        if turned or before.model_bound != after.model_bound:
            session.flush()
            _claim_state(writer, item, after)
        if turned and after.state == "supported" and after.platform in ANTHROPIC_OPERATED:
            catalog.withdraw_probed(session, [item.beta], "status", writer.now)
            catalog.withdraw_probed(session, [item.beta], "retired_on", writer.now)
        elif turned:
            _judge_retirement(writer, item.beta, item.message)
    if quiet:
        catalog.note_check(session, quiet, plan.name, report.ended_at)
        writer.touch()
    session.flush()
    return touched


def _content(standing: Standing) -> Standing:
    return replace(standing, checked_at=None, accepted_at=None)


def _standing(row: StandingRow | None, plan: Plan, report: Report) -> Standing:
    place = {
        "target": plan.name, "platform": plan.platform, "api": plan.api, "hosting": plan.hosting,
        "region": plan.region, "model": plan.model, "endpoint": report.endpoint,
    }  # fmt: skip
    if row is None:
        return Standing(**place)  # type: ignore[arg-type]
    held = catalog.read_standing(row.facts)
    if held.endpoint != report.endpoint:
        held = held.reset()  # what was learned at another endpoint proves nothing here
    return replace(held, **place)  # type: ignore[arg-type]


def _claim_state(writer: catalog.Writer, item: Observation, after: Standing) -> None:
    """Write down a turn as evidence for its place, instead of what this target said before."""
    source = f"target:{after.target}"
    catalog.withdraw(writer.session, [item.beta], source, "state", writer.now)
    if after.state == "unknown":
        return
    proof = f" ({item.request_id})" if item.request_id else ""
    claim = Claim(
        beta=item.beta, field="state", value=after.state, source=source, basis="probed",
        place=where(after), at=after.checked_at or writer.now,
        quote=f"HTTP {item.http_status} on {after.endpoint}, {after.model}: {item.message}"[:300] + proof,
    )  # fmt: skip
    catalog.insert(writer.session, [claim], writer.now)


def _judge_retirement(writer: catalog.Writer, name: str, message: str) -> bool:
    """Declare a beta retired when the rules say so; returns whether it is declared now."""
    session, now = writer.session, writer.now
    beta = catalog.beta(session, name)
    proof = retirement(beta.gate, beta.endpoints, catalog.standings(session, [name]).get(name, ()))
    if proof is None or (beta.status, beta.basis) == ("retired", "probed"):
        return False
    at = proof.checked_at or now
    quote = f"Refused by every target that ever accepted it. {message}"[:300].strip()
    made = [
        Claim(beta=name, field=field, value=value, source=f"target:{proof.target}", basis="probed",
              at=at, quote=quote)
        for field, value in (("status", "retired"), ("retired_on", at.date().isoformat()))
    ]  # fmt: skip
    catalog.insert(session, made, now)
    return True


def _schedule(session: Session, row: TargetRow, plan: Plan, report: Report, now: datetime) -> None:
    """Say when to sweep next: soon while something is undecided, later after each failure."""
    if report.outcome in ("ok", "partial"):
        facts = session.scalars(sa.select(StandingRow.facts).where(StandingRow.target == plan.name))
        undecided = (
            report.outcome == "partial"
            or row.health != "ok"
            or any(item.get("toward") for item in facts)
        )
        wait = min(plan.confirm_every, plan.every) if undecided else plan.every
    elif row.locked is not None:
        wait = plan.every
    else:
        wait = min(plan.every, plan.confirm_every * 2 ** min(row.failures - 1, 10))
    if report.retry_after is not None:
        wait = max(wait, timedelta(seconds=min(report.retry_after, 86400)))
    row.next_sweep_at = now + wait


# --- Reading --------------------------------------------------------------------------------------


def is_due(status: TargetStatus, now: datetime) -> bool:
    """Say whether a target is to be swept without being asked to."""
    last, planned = status.last_sweep, status.next_sweep_at
    since = (last.ended_at or last.started_at) if last else None
    return planned is None or since is None or due.is_due(now, since, planned - since)


def statuses(session: Session) -> list[TargetStatus]:
    """Return all targets, by name."""
    return [
        TargetStatus(
            name=row.name, platform=row.platform, api=row.api, hosting=row.hosting,
            region=row.region, model=row.model, endpoint=row.endpoint, health=row.health, detail=row.detail,
            last_sweep=next(iter(sweeps(session, row.name, 1)), None),
            next_sweep_at=row.next_sweep_at, names_refused=row.names_refused, turn=row.turn,
            locked=row.locked, aside=row.memory.get("aside", {}), removed_at=row.removed_at,
        )
        for row in session.scalars(sa.select(TargetRow).order_by(TargetRow.name))
    ]  # fmt: skip


def known(session: Session, target: str) -> Known:
    """Return what the next sweep must know. Raises `NotFound`."""
    row = _configured(session, target)
    return Known(
        names_refused=row.names_refused, turn=row.turn, memory=read_memory(row.memory),
        locked=row.locked is not None, believed=frozenset(row.believed),
    )  # fmt: skip


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

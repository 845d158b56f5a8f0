"""Probing: one sweep over one target, from controls to observations.

A sweep sends as few requests as will do and counts only what is proven (CONTRACT, section 2, rule 5):
a request without betas must be accepted and a never-issued name refused, at the start and, when some
state speaks against what was known, once more at the end. Whatever goes wrong makes the sweep
inconclusive, with a sentence that says how to mend it; an inconclusive sweep moves nothing.

This package knows no database. It is given what is known, and returns a `Report`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

from registry.core.answers import Meaning, classify
from registry.core.lifecycle import Observed, Standing, is_mass_change, would_turn
from registry.probing.grouping import Asking, Batch, Found, Heard, batches, halving, naming

__all__ = ["Candidate", "Limits", "Observation", "Outcome", "Raw", "Report", "Sender", "sweep"]

Outcome = Literal["ok", "partial", "inconclusive", "blind", "mass_change"]

MAX_RETRIES: Final = 2
"""Times that one request is sent again when the upstream is busy or the network fails."""
MAX_WAIT: Final = 60.0
"""Longest `retry-after` that is waited for, in seconds; a longer one ends the sweep."""
SWEEP_RETRIES: Final = 8


class Raw(Protocol):
    """One upstream answer as it came; `status` None: none came, and `error` says why."""

    @property
    def status(self) -> int | None:
        """HTTP status, or None."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers."""
        ...

    @property
    def body(self) -> bytes:
        """The body, bounded."""
        ...

    @property
    def error(self) -> str | None:
        """Why no answer came."""
        ...


class Sender(Protocol):
    """What sends one probe request (`platforms.Upstream`)."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints to probe, in order of trial."""
        ...

    def send(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> Raw:
        """Send one request with these betas. Never raises for what upstream or network do."""

    def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One beta to probe, with what the target knows of it. `path` is its list call, for `list`."""

    name: str
    standing: Standing
    conflicts: frozenset[str] = frozenset()
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a sweep: betas in one header, and requests."""

    max_header_betas: int = 100
    max_requests: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a sweep learned of one beta."""

    beta: str
    verdict: Observed
    http_status: int | None
    message: str
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One sweep as it went. `controls` are the requests that repeated both controls at its end.

    `names_refused` says whether this upstream names what it refuses (None: not found out);
    `retry_after` is how long it asked to be left alone, in seconds.
    """

    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    detail: str
    endpoint: str
    requests: int
    controls: int = 0
    observations: tuple[Observation, ...] = ()
    names_refused: bool | None = None
    retry_after: float | None = None


class _Stop(Exception):
    """The sweep cannot go on."""

    def __init__(self, outcome: Outcome, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.outcome, self.detail, self.retry_after = outcome, detail, retry_after


Progress = Callable[[int, str], None]
"""Called with the number of requests so far and what was just found out."""


@dataclass(slots=True)
class _Run:
    """The state of one sweep."""

    sender: Sender
    platform: str
    model: str
    limits: Limits
    pause: Callable[[float], object]
    progress: Progress
    guarded: bool = True
    endpoint: str = ""
    path: str | None = None
    requests: int = 0
    controls: int = 0
    retries: int = 0
    control_held: bool = False
    names_refused: bool | None = None
    reserve: int = 2
    alone: set[str] = field(default_factory=set)
    control_name: str = ""
    last: Meaning | None = None

    # --- One request ------------------------------------------------------------------------------

    def ask(self, names: Sequence[str], *, control: bool = False) -> Heard:
        """Send one request and say what its answer means; waits and tries again where that helps."""
        sent = [*names, self._never_issued()] if control else list(names)
        for attempt in range(MAX_RETRIES + 1):
            if self.requests >= self.limits.max_requests - self.reserve:
                raise _Stop(
                    "partial", f"The budget of {self.limits.max_requests} requests is used up."
                )
            self.requests += 1
            raw = self.sender.send(sent, self.endpoint, self.path)
            meaning = classify(
                raw.status, raw.headers, raw.body, sent, platform=self.platform, model=self.model
            )
            self.last = meaning
            if meaning.verdict != "inconclusive" or meaning.reason == "request":
                break
            self._wait_or_stop(meaning, raw, attempt)
        return self._heard(names, meaning, raw.status, control=control)

    def _wait_or_stop(self, meaning: Meaning, raw: Raw, attempt: int) -> None:
        why = raw.error or meaning.explanation or meaning.message
        wait = _retry_after(raw.headers)
        hopeless = meaning.reason in ("auth", "billing")
        self.retries += 1
        if (
            hopeless
            or attempt == MAX_RETRIES
            or self.retries > SWEEP_RETRIES
            or (wait is not None and wait > MAX_WAIT)
        ):
            advice = f" {meaning.advice}" if meaning.advice and not raw.error else ""
            raise _Stop("inconclusive", f"{why}{advice}".strip(), wait)
        self.pause(wait if wait is not None else 2.0**attempt)

    def _heard(
        self, names: Sequence[str], meaning: Meaning, status: int | None, *, control: bool
    ) -> Heard:
        verdict: Observed = "inconclusive" if meaning.verdict == "beta_missing" else meaning.verdict
        told = {name.lower() for name in meaning.refused}
        named = tuple(name for name in names if name.lower() in told)
        if verdict == "refused":
            if control and self.control_name in told:
                self.control_held, self.names_refused = True, True
            elif control and not told:
                self.names_refused = False
        if len(names) == 1 and not control:
            self.alone.add(names[0])
            if verdict == "refused" and told and not named:
                verdict = "inconclusive"  # it refuses something else
        self.progress(self.requests, f"{len(names)} betas: {meaning.verdict}")
        return Heard(verdict, named, status, meaning.message, meaning.request_id)

    def _never_issued(self) -> str:
        # Random each time, so that no cache and no list can know it.
        self.control_name = f"never-issued-{secrets.token_hex(6)}-2024-01-01"
        return self.control_name

    # --- The controls -----------------------------------------------------------------------------

    def first_control(self) -> None:
        """Find an endpoint that answers a request without betas."""
        tried = []
        for endpoint in self.sender.endpoints:
            self.endpoint = "models" if endpoint == "list" else endpoint
            heard = self.ask(())
            if heard.verdict == "accepted":
                self.endpoint = endpoint
                return
            tried.append(f"{endpoint}: {heard.status} {heard.message}".strip())
            if heard.status not in (404, 405, 501):
                break
        advice = self.last.advice if self.last is not None else ""
        raise _Stop(
            "inconclusive",
            f"A request without betas is not accepted ({'; '.join(tried)}). {advice}".strip(),
        )

    def second_control(self) -> None:
        """Make sure that a never-issued name is refused. Raises `_Stop` when it is not."""
        heard = self.ask((), control=True)
        if heard.verdict == "accepted":
            raise _Stop("blind", BLIND)
        if heard.verdict != "refused":
            raise _Stop(
                "inconclusive",
                f"A never-issued name is neither accepted nor refused: {heard.status} {heard.message}",
            )
        self.control_held = True

    def named_control(self) -> bool:
        """Say whether the last refusal named the control name."""
        return self.last is not None and self.control_name in self.last.refused

    def repeat_controls(self) -> None:
        """Both once more, before anything that turned is believed."""
        before, self.reserve = self.requests, 0
        endpoint, path = self.endpoint, self.path
        if endpoint == "list":
            self.endpoint, self.path = "models", None
        heard = self.ask(())
        self.endpoint, self.path = endpoint, path
        if heard.verdict != "accepted":
            raise _Stop(
                "inconclusive", "At the end a request without betas was no longer accepted."
            )
        self.second_control()
        self.controls = self.requests - before

    # --- Groups -----------------------------------------------------------------------------------

    def drive(self, asking: Asking) -> None:
        """Feed a generator of requests with their answers."""
        try:
            batch: Batch = next(asking)
            while True:
                heard = self.ask(batch.names, control=batch.control)
                if batch.control and heard.verdict == "accepted":
                    raise _Stop("blind", BLIND)
                batch = asking.send(heard)
        except StopIteration:
            return


BLIND: Final = (
    "A never-issued beta was accepted: something on the way drops or ignores the header, so nothing that "
    "is accepted here proves anything. Probe the API directly, or let the gateway pass the header on."
)


def sweep(
    sender: Sender,
    candidates: Sequence[Candidate],
    limits: Limits,
    *,
    platform: str,
    model: str,
    clock: Callable[[], datetime],
    pause: Callable[[float], object],
    names_refused: bool = True,
    turn: int = 0,
    confirmed: bool = False,
    progress: Progress = lambda _requests, _what: None,
) -> Report:
    """Sweep once over a target. Never raises for what the upstream does.

    `names_refused` is what the last sweep found out about this upstream; `turn` counts sweeps, so that
    those believed refused are checked again one after the other where refusals name nothing.
    `confirmed`: an operator says that a mass change is real, so that it is no reason to stop.
    """
    run = _Run(sender, platform, model, limits, pause, progress, guarded=not confirmed)
    found: Found = {}
    started, retry_after = clock(), None
    outcome: Outcome
    try:
        outcome, detail = _main_part(run, candidates, found, names_refused, turn)
        if outcome != "mass_change" and any(
            _speaks_up(item, found[item.name]) for item in candidates if item.name in found
        ):
            run.repeat_controls()
    except _Stop as stop:
        outcome, detail, retry_after = stop.outcome, stop.detail, stop.retry_after
    observations = () if outcome in ("inconclusive", "blind") else _observations(found)
    return Report(
        started_at=started,
        ended_at=clock(),
        outcome=outcome,
        detail=detail,
        endpoint=run.endpoint,
        requests=run.requests,
        controls=run.controls,
        observations=observations,
        names_refused=run.names_refused,
        retry_after=retry_after,
    )


def _main_part(
    run: _Run, candidates: Sequence[Candidate], found: Found, names_refused: bool, turn: int
) -> tuple[Outcome, str]:
    """Controls, groups, confirmations. Out of budget, what was proven until then counts."""
    try:
        run.first_control()
        for group in _groups(candidates, run.endpoint, run.limits):
            run.path = group[0].path
            _ask_group(run, group, found, names_refused, turn)
        if not run.control_held:
            run.second_control()
        return _confirm(run, candidates, found)
    except _Stop as stop:
        if stop.outcome != "partial" or not run.control_held:
            raise
        for item in candidates:
            if item.name in found and _is_unconfirmed(run, item, found[item.name]):
                del found[item.name]
        return "partial", f"{stop.detail} {len(candidates) - len(found)} betas are left for later."


def _groups(
    candidates: Sequence[Candidate], endpoint: str, limits: Limits
) -> list[list[Candidate]]:
    """Part candidates into those that may share a request; on `list`, by their list call."""
    by_path: dict[str | None, list[Candidate]] = {}
    for item in candidates:
        if (endpoint == "list") == (item.path is not None):
            by_path.setdefault(item.path, []).append(item)
    made = []
    for members in by_path.values():
        known = {item.name: item for item in members}
        conflicts = {item.name: item.conflicts for item in members}
        parts = batches(list(known), conflicts, limits.max_header_betas - 1)
        made += [[known[name] for name in names] for names in parts]
    return made


def _ask_group(
    run: _Run, group: Sequence[Candidate], found: Found, names_refused: bool, turn: int
) -> None:
    """Find out about a group. Those believed refused share no request where refusals name nothing."""
    names = [item.name for item in group]
    if not names_refused and not run.control_held:
        run.second_control()
        names_refused = run.named_control()
    if names_refused:
        run.drive(naming(names, found, control=not run.control_held))
        return
    run.names_refused = False
    doubted = [item.name for item in group if item.standing.state in ("refused", "restricted")]
    run.drive(halving([name for name in names if name not in doubted], found))
    if doubted:
        again = doubted[turn % len(doubted)]
        found[again] = run.ask((again,))


def _confirm(run: _Run, candidates: Sequence[Candidate], found: Found) -> tuple[Outcome, str]:
    """Confirm each new refusal by a request of its own."""
    known = {item.name: item for item in candidates if item.name in found}
    verdicts = [found[name].verdict for name in known]
    if run.guarded and is_mass_change([item.standing for item in known.values()], verdicts):
        return "mass_change", "mass refusal: did the key or the plan change?"
    for name, item in known.items():
        if _is_unconfirmed(run, item, found[name]):
            run.path = item.path
            found[name] = run.ask((name,))
    return "ok", ""


def _is_unconfirmed(run: _Run, item: Candidate, heard: Heard) -> bool:
    against = heard.verdict in ("refused", "restricted", "model_unsupported")
    return against and item.name not in run.alone and would_turn(item.standing, heard.verdict)


def _speaks_up(item: Candidate, heard: Heard) -> bool:
    """Say whether the answer turns a state, brings it nearer to that, or takes it back."""
    counting = item.standing.toward is not None and heard.verdict != "inconclusive"
    return counting or would_turn(item.standing, heard.verdict)


def _observations(found: Found) -> tuple[Observation, ...]:
    return tuple(
        Observation(
            beta=name,
            verdict=heard.verdict,
            http_status=heard.status,
            message=heard.message,
            request_id=heard.request_id,
        )
        for name, heard in found.items()
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after` in seconds (RFC 9110, section 10.2.3); a date is not used by any platform."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, float(value))
            except ValueError:
                return None
    return None

"""What a target's answers make of a beta there: the rules of evidence for probing, as one table.

    advance(standing, verdict, thresholds, at)   ->  the new standing, and whether the state turned
    platform_state(standings)                    ->  what they say together of one platform
    retirement(gate, endpoints, standings)       ->  the proof that a beta is dead everywhere, or None
    is_mass_change(...)                          ->  whether so many turn that the key is to blame

A standing is what one target knows of one beta. It speaks only for where it was made: when the target's
identity changes (credential, model, endpoint...), its state is `stale`: still shown, because nothing
better is known. It turns by the same thresholds as any other, and nothing was "accepted before".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from registry.core.names import ANTHROPIC_OPERATED

__all__ = [
    "MASS_CHANGE_LEAST",
    "MASS_CHANGE_SHARE",
    "MIXED_WITHIN",
    "TABLE",
    "Observed",
    "Standing",
    "State",
    "Thresholds",
    "advance",
    "is_against",
    "is_held",
    "is_mass_change",
    "mass_limit",
    "pending",
    "platform_state",
    "retirement",
    "speaks_for_platform",
    "would_turn",
]

State = Literal["supported", "refused", "restricted", "unknown"]
Observed = Literal[
    "accepted", "refused", "restricted", "model_unsupported", "mixed", "inconclusive"
]
"""What a sweep learned of one beta. `model_unsupported` is a refusal that holds for this model only;
`mixed`: within one sweep it was refused and accepted."""

MASS_CHANGE_LEAST: Final = 5
MASS_CHANGE_SHARE: Final = 0.25

MIXED_WITHIN: Final = 5
"""Conclusive sweeps after which an answer that contradicted the others no longer counts as mixed, and
by which a run of refusals must be longer while it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How many consecutive conclusive sweeps turn a state.

    `confirmations`: in the sweep that would decide, as many requests that name a beta alone must be
    refused.
    """

    refusals_to_confirm: int = 3
    acceptances_to_recover: int = 2
    confirmations: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one target knows of one beta.

    `since` is when the state began; `toward` the state that the last `count` of `of` conclusive sweeps
    spoke for, since `count_since`. `accepted_at` is when it was last accepted under this identity.
    `mixed_since`: since when refusals and acceptances alternate, `calm` conclusive sweeps after the last
    contradiction. `excused`: an operator said that this key or plan does not have it (`--new-baseline`), so
    that its refusals move nothing until it is accepted once. `reliable` is false while the target is blind
    or unhealthy.
    """

    target: str = ""
    platform: str = "anthropic"
    api: str | None = None
    hosting: str | None = None
    region: str | None = None
    model: str = ""
    endpoint: str = ""
    state: State = "unknown"
    stale: bool = False
    model_bound: bool = False
    since: datetime | None = None
    toward: State | None = None
    count: int = 0
    of: int = 0
    count_since: datetime | None = None
    accepted_at: datetime | None = None
    checked_at: datetime | None = None
    mixed_since: datetime | None = None
    calm: int = 0
    excused: bool = False
    reliable: bool = True

    def reset(self) -> Standing:
        """Return the standing after the target's identity changed: shown, but proving nothing."""
        fresh = replace(self, stale=True, accepted_at=None, mixed_since=None, calm=0, excused=False)
        return fresh.settled()

    def settled(self) -> Standing:
        """Return the standing without the run that speaks for another state."""
        return replace(self, toward=None, count=0, of=0, count_since=None)

    def contradicted(self, at: datetime) -> Standing:
        """Return the standing after answers that contradict each other."""
        return replace(self, mixed_since=self.mixed_since or at, calm=0)

    def calmer(self) -> Standing:
        """Return the standing after one more sweep that agrees with its state."""
        if self.mixed_since is None or self.calm + 1 >= MIXED_WITHIN:
            return replace(self, mixed_since=None, calm=0)
        return replace(self, calm=self.calm + 1)


Need = Literal["stay", "at once", "refusals", "acceptances"]

TABLE: Final[dict[tuple[State, State], Need]] = {
    # the state now, the state spoken for: what it takes to turn
    ("unknown", "supported"): "at once",
    ("unknown", "refused"): "at once",
    ("unknown", "restricted"): "at once",
    ("supported", "supported"): "stay",
    ("supported", "refused"): "refusals",
    ("supported", "restricted"): "refusals",
    ("refused", "supported"): "acceptances",
    ("refused", "refused"): "stay",
    ("refused", "restricted"): "refusals",
    ("restricted", "supported"): "acceptances",
    ("restricted", "refused"): "refusals",
    ("restricted", "restricted"): "stay",
}
"""Every transition there is. What is not listed cannot happen and raises `KeyError`."""

_SPEAKS_FOR: Final[dict[Observed, State]] = {
    "accepted": "supported",
    "refused": "refused",
    "model_unsupported": "refused",
    "restricted": "restricted",
}


_AGAINST: Final[frozenset[State | None]] = frozenset({"refused", "restricted"})


def is_against(verdict: Observed) -> bool:
    """Say whether a verdict speaks against support."""
    return _SPEAKS_FOR.get(verdict) in _AGAINST


def advance(
    standing: Standing, verdict: Observed, thresholds: Thresholds, at: datetime
) -> tuple[Standing, bool]:
    """Take one sweep's verdict in. Returns the new standing and whether its state turned.

    An inconclusive verdict moves nothing, not even a counter. A mixed one ends every run and turns
    nothing; so does an acceptance that ends a run of refusals. From then on it takes a longer run of
    refusals to turn, until `MIXED_WITHIN` conclusive sweeps agree with the state.
    """
    if verdict == "inconclusive" or (standing.excused and is_against(verdict)):
        return standing, False
    seen = replace(standing, checked_at=at, excused=False)
    longer = thresholds.refusals_to_confirm + MIXED_WITHIN
    if verdict == "mixed":
        return replace(seen.settled().contradicted(at), accepted_at=at, of=longer), False
    wanted = _SPEAKS_FOR[verdict]
    if wanted == "supported":
        seen = replace(seen, accepted_at=at)
        if standing.state in _AGAINST or standing.toward in _AGAINST:
            seen = seen.contradicted(at)
    need = TABLE[standing.state, wanted]
    if need == "stay":
        bound = verdict == "model_unsupported"
        settled = (seen if standing.toward else seen.calmer()).settled()
        of = longer if settled.mixed_since is not None else 0
        return replace(settled, model_bound=bound, stale=False, of=of), False
    count = seen.count + 1 if seen.toward == wanted else 1
    began = seen.count_since if seen.toward == wanted else at
    of = _needed(need, seen, wanted, thresholds)
    if count < of:
        return replace(seen, toward=wanted, count=count, of=of, count_since=began), False
    turned = replace(
        seen.settled(),
        state=wanted,
        stale=False,
        model_bound=verdict == "model_unsupported",
        since=at,
        mixed_since=seen.mixed_since if wanted == "supported" else None,
        of=longer if wanted == "supported" and seen.mixed_since is not None else 0,
        calm=0,
    )
    return turned, True


def would_turn(standing: Standing, verdict: Observed) -> bool:
    """Say whether a verdict speaks against the state, so that the controls must be repeated."""
    if verdict == "inconclusive" or (standing.excused and is_against(verdict)):
        return False
    return verdict == "mixed" or TABLE[standing.state, _SPEAKS_FOR[verdict]] != "stay"


def _needed(need: Need, standing: Standing, wanted: State, thresholds: Thresholds) -> int:
    if wanted in _AGAINST and standing.mixed_since is not None:
        return thresholds.refusals_to_confirm + MIXED_WITHIN
    return {
        "at once": 1,
        "refusals": thresholds.refusals_to_confirm,
        "acceptances": thresholds.acceptances_to_recover,
    }[need]


def pending(standing: Standing) -> dict[str, object] | None:
    """Return what speaks against the state so far: `{"kind","count","of","since"}`, or None.

    `kind` is the state spoken for; or `mixed` where refusals and acceptances alternate, and then `count`
    is the run of refusals so far.
    """
    mixed = standing.mixed_since is not None and standing.state not in _AGAINST
    if standing.toward is None and not mixed:
        return None
    return {
        "kind": "mixed" if mixed else standing.toward,
        "count": standing.count,
        "of": standing.of,
        "since": standing.mixed_since if mixed else standing.count_since,
    }


def is_held(standing: Standing) -> bool:
    """Say whether a target holds a beta as supported, so that its loss is part of a mass change."""
    return standing.state == "supported" and not standing.excused


def mass_limit(held: int) -> float:
    """Return how many of so many held betas may turn at once: more are a mass change."""
    return max(MASS_CHANGE_LEAST, MASS_CHANGE_SHARE * held)


def is_mass_change(standings: Sequence[Standing], verdicts: Sequence[Observed]) -> bool:
    """Say whether more than max(5, 25%) of the held betas turn in one sweep.

    `standings` are all of the target, whatever was asked, and go together with `verdicts`. So many at
    once mean that the key or the plan changed.
    """
    held = [
        verdict for standing, verdict in zip(standings, verdicts, strict=True) if is_held(standing)
    ]
    return sum(map(is_against, held)) > mass_limit(len(held))


def speaks_for_platform(standing: Standing) -> bool:
    """Say whether a standing tells of the platform, and not of one endpoint or model only.

    count_tokens speaks also for messages, except a refusal on Vertex, where it is stricter.
    """
    if standing.state == "unknown":
        return False
    if standing.state != "refused":
        return True
    strict = standing.platform == "vertex" and standing.endpoint == "count_tokens"
    return not strict and not standing.model_bound


def platform_state(standings: Iterable[Standing]) -> Standing | None:
    """Return the standing that speaks for a platform, of those made there; None if none does.

    It is supported if any reliable target says so, else what the newest conclusive one says.
    """
    telling = [item for item in standings if speaks_for_platform(item)]
    if not telling:
        return None
    supporting = [item for item in telling if item.reliable and item.state == "supported"]
    return max(supporting or telling, key=_age)


def _age(standing: Standing) -> tuple[float, str]:
    checked = standing.checked_at
    return (checked.timestamp() if checked else 0.0, standing.target)


def retirement(
    gate: str, endpoints: Sequence[str], standings: Iterable[Standing]
) -> Standing | None:
    """Return the standing that proves a retirement, or None: every target that ever took it refuses it.

    Only targets on platforms that Anthropic runs count, whose endpoint is one of the beta's (or these
    are unknown), and never a beta that is not open to everybody: there a refusal means no access.
    """
    if gate in ("org", "internal"):
        return None
    ever = [
        item
        for item in standings
        if item.platform in ANTHROPIC_OPERATED
        and item.accepted_at is not None
        and _is_endpoint_of(item.endpoint, endpoints)
    ]
    dead = all(item.state == "refused" and not item.stale and not item.model_bound for item in ever)
    return max(ever, key=_age) if ever and dead else None


def _is_endpoint_of(endpoint: str, endpoints: Sequence[str]) -> bool:
    spoken_for = {endpoint, "messages"} if endpoint == "count_tokens" else {endpoint}
    return not endpoints or not spoken_for.isdisjoint(endpoints)

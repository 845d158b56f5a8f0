"""What a target's answers make of a beta there: the rules of evidence for probing, as one table.

    advance(standing, verdict, thresholds, at)   ->  the new standing, and whether the state turned
    platform_state(standings)                    ->  what they say together of one platform
    retirement(gate, endpoints, standings)       ->  the proof that a beta is dead everywhere, or None
    is_mass_change(...)                          ->  whether so many turn that the key is to blame

A standing is what one target knows of one beta. It speaks only for where it was made: when the target's
identity changes (credential, model, endpoint...), its state is `stale`: still shown, because nothing
better is known, but the next conclusive answer decides at once, and nothing was "accepted before".
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
    "TABLE",
    "Observed",
    "Standing",
    "Thresholds",
    "advance",
    "is_mass_change",
    "pending",
    "platform_state",
    "retirement",
    "would_turn",
]

State = Literal["supported", "refused", "restricted", "unknown"]
Observed = Literal["accepted", "refused", "restricted", "model_unsupported", "inconclusive"]
"""What a sweep learned of one beta. `model_unsupported` is a refusal that holds for this model only."""

MASS_CHANGE_LEAST: Final = 5
MASS_CHANGE_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How many consecutive conclusive sweeps turn a state."""

    refusals_to_confirm: int = 3
    acceptances_to_recover: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one target knows of one beta.

    `since` is when the state began; `toward` the state that the last `count` of `of` conclusive sweeps
    spoke for, since `count_since`. `accepted_at` is when it was last accepted under this identity.
    `reliable` is false while the target is blind or unhealthy.
    """

    target: str = ""
    platform: str = "anthropic"
    api: str | None = None
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
    reliable: bool = True

    def reset(self) -> Standing:
        """Return the standing after the target's identity changed: shown, but proving nothing."""
        return replace(
            self, stale=True, toward=None, count=0, of=0, count_since=None, accepted_at=None
        )


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


def advance(
    standing: Standing, verdict: Observed, thresholds: Thresholds, at: datetime
) -> tuple[Standing, bool]:
    """Take one sweep's verdict in. Returns the new standing and whether its state turned.

    An inconclusive verdict moves nothing, not even a counter.
    """
    if verdict == "inconclusive":
        return standing, False
    wanted = _SPEAKS_FOR[verdict]
    seen = replace(
        standing,
        checked_at=at,
        accepted_at=at if wanted == "supported" else standing.accepted_at,
    )
    now: State = "unknown" if standing.stale else standing.state
    need = TABLE[now, wanted]
    if need == "stay":
        bound = verdict == "model_unsupported" if wanted == "refused" else False
        return replace(seen, toward=None, count=0, of=0, count_since=None, model_bound=bound), False
    count = seen.count + 1 if seen.toward == wanted else 1
    began = seen.count_since if seen.toward == wanted else at
    of = _needed(need, thresholds)
    if count < of:
        return replace(seen, toward=wanted, count=count, of=of, count_since=began), False
    turned = replace(
        seen,
        state=wanted,
        stale=False,
        model_bound=verdict == "model_unsupported",
        since=at if standing.state != wanted else standing.since,
        toward=None,
        count=0,
        of=0,
        count_since=None,
    )
    return turned, standing.state != wanted


def would_turn(standing: Standing, verdict: Observed) -> bool:
    """Say whether a verdict speaks against the state, so that the controls must be repeated."""
    if verdict == "inconclusive":
        return False
    now: State = "unknown" if standing.stale else standing.state
    return TABLE[now, _SPEAKS_FOR[verdict]] != "stay"


def _needed(need: Need, thresholds: Thresholds) -> int:
    return {
        "at once": 1,
        "refusals": thresholds.refusals_to_confirm,
        "acceptances": thresholds.acceptances_to_recover,
    }[need]


def pending(standing: Standing) -> dict[str, object] | None:
    """Return what speaks against the state so far: `{"kind","count","of","since"}`, or None."""
    if standing.toward is None:
        return None
    return {
        "kind": standing.toward,
        "count": standing.count,
        "of": standing.of,
        "since": standing.count_since,
    }


def is_mass_change(standings: Sequence[Standing], verdicts: Sequence[Observed]) -> bool:
    """Say whether more than max(5, 25%) of the accepted betas turn in one sweep.

    `standings` and `verdicts` go together. So many at once mean that the key or the plan changed.
    """
    held = [
        verdict
        for standing, verdict in zip(standings, verdicts, strict=True)
        if standing.state == "supported" and not standing.stale
    ]
    turning = sum(verdict in ("refused", "restricted", "model_unsupported") for verdict in held)
    return turning > max(MASS_CHANGE_LEAST, MASS_CHANGE_SHARE * len(held))


def _speaks_for_platform(standing: Standing) -> bool:
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
    telling = [item for item in standings if _speaks_for_platform(item)]
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

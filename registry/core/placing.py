"""What is known of one beta, place by place, and how that is shown by platform.

    place_facts(claims, standings)  ->  one fact for each place that anything speaks of, and why
    where(standing)                 ->  the place for which a target's finding speaks
    shown(beta)                     ->  the beta with `platforms` and `exceptions` as they follow from `places`
    for_version_1(beta)             ->  the beta in the words of readers that know no places
    from_version_1(beta)            ->  what a server says that knows none, by place

A fact holds what is stated for exactly its place: which of several facts counts for a request is for the
judgement. Nothing is taken from one place for another (CONTRACT, section 2, rule 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, TypeVar, cast

from registry.core.errors import Invalid
from registry.core.facts import (
    UNDATED,
    Basis,
    Beta,
    Claim,
    Exception_,
    PlaceFact,
    PlatformState,
    State,
    to_json,
)
from registry.core.lifecycle import Standing, pending, platform_state
from registry.core.names import ANTHROPIC_OPERATED, PLATFORMS, Platform
from registry.core.places import ANYWHERE, KNOWN_PLACES, Place, covers, place_of

__all__ = [
    "RANK",
    "SOURCE_RANK",
    "Why",
    "for_version_1",
    "from_version_1",
    "place_facts",
    "rank",
    "shown",
    "weight",
    "where",
]

RANK: Final[Mapping[Basis, float]] = {
    "operator": 8,
    "probed": 7,
    "traffic": 6,
    "declared": 5,
    "reported": 4,
    "sdk": 3,
    "litellm": 2,
    "usage": 1,
    "inferred": 0,
}
"""Which basis wins when two speak of the same field."""

_UNSOURCED: Final = 3.5
"""Rank of a declaration without a day: a dated report outweighs it."""

SOURCE_RANK: Final[dict[str, int]] = {"release-notes": 3, "docs": 2, "sdk": 1}
"""Of two claims of the same day and rank, the one nearer to the announcement wins."""

_DATES: Final = ("deprecated_on", "sunset_on", "ga_on", "retired_on")
_ACCEPTS: Final[Mapping[str, bool]] = {"supported": True, "refused": False}
_STATED: Final[Mapping[bool | None, State]] = {True: "supported", False: "refused"}
_HINTS: Final = frozenset({"litellm", "usage", "inferred"})
"""Bases that state no status, and whose holding back of a name is no refusal."""

Why = Mapping[tuple[Place, str], Claim]
"""The claim that decides each field of each place."""


def rank(basis: Basis, at: datetime | None) -> float:
    """Return how much a basis counts; `at` is None or `UNDATED` where no day is stated."""
    undated = at is None or at == UNDATED
    return _UNSOURCED if basis == "declared" and undated else RANK[basis]


def weight(claim: Claim) -> tuple[float, date, int, datetime]:
    """Order claims on one field of one place: the heaviest counts."""
    day = claim.at.date()
    return rank(claim.basis, claim.at), day, SOURCE_RANK.get(claim.source, 0), claim.at


# --- From claims and standings to facts -----------------------------------------------------------


def place_facts(
    claims: Iterable[Claim], standings: Sequence[Standing], gate: str, now: datetime
) -> tuple[tuple[PlaceFact, ...], Why]:
    """Return what is known at each place of which a claim or a target speaks, in the order of places.

    `claims` are those that count. Of what a target claimed of a state, only its standing counts: a
    target without one is not configured any more and speaks for nothing.
    """
    said: dict[Place, list[Claim]] = {}
    for claim in claims:
        if claim.place != ANYWHERE and claim.value is not None and not _by_target(claim):
            said.setdefault(claim.place, []).append(claim)
    found = _found(standings)
    for place in said:
        asked = _asked_there(place, standings) if place.model is not None else []
        if asked and place not in found:
            found[place] = _Found(max(asked, key=_checked))
    facts, why = [], {}
    for place in sorted({*said, *found}, key=_order):
        fact, deciding = _stated(place, said.get(place, []), gate, now)
        fact = _in_time(_probed(fact, found.get(place), deciding), now)
        facts.append(fact)
        why.update({(place, field): claim for field, claim in deciding.items()})
    return tuple(facts), why


def _asked_there(place: Place, standings: Iterable[Standing]) -> list[Standing]:
    """Return the standings of targets that ask the very model of which a claim speaks."""
    return [
        item
        for item in standings
        if item.state != "unknown"
        and item.reliable
        and not item.stale
        and covers(place, replace(where(item), model=item.model or None))
    ]


def _by_target(claim: Claim) -> bool:
    of_state = claim.field in ("state", "accepted")
    return of_state and claim.basis == "probed" and claim.source.startswith("target:")


def _order(place: Place) -> tuple[Any, ...]:
    known = PLATFORMS.index(place.platform) if place.platform else -1
    rest = (place.api, place.hosting, place.region, place.model, place.endpoint)
    return (known, *(part or "" for part in rest))


def _stated(
    place: Place, claims: Sequence[Claim], gate: str, now: datetime
) -> tuple[PlaceFact, dict[str, Claim]]:
    best: dict[str, Claim] = {}
    for claim in claims:
        if not _counts(claim, gate, now):
            continue
        if claim.field not in best or weight(claim) >= weight(best[claim.field]):
            best[claim.field] = claim
    if not claims:
        return PlaceFact(place=place), best
    lead = best.get("state") or best.get("accepted")
    lead = lead or max(best.values() or claims, key=weight)
    values = {field: claim.value for field, claim in best.items()}
    taken = values.get("accepted")
    state = cast(State, values.get("state") or _STATED.get(taken, "unknown"))
    dates: dict[str, Any] = {field: _day(values.get(field)) for field in _DATES}
    fact = PlaceFact(
        place=place,
        state=state,
        status=values.get("status"),
        accepted=_ACCEPTS.get(state) if taken is None else taken,
        names=tuple(values.get("names") or ()),
        basis=lead.basis,
        source=lead.source,
        url=lead.url,
        at=None if lead.day is None else lead.at,
        disputed=_contradicted(lead, claims) if lead.field == "state" else None,
        **dates,
    )
    return fact, best


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def _counts(claim: Claim, gate: str, now: datetime) -> bool:
    """Say whether a claim on a place can decide its field."""
    if claim.field == "status":
        return claim.confidence != "low" and claim.basis not in _HINTS and claim.at <= now
    if claim.field == "state" and claim.value == "unknown":
        return claim.basis == "operator"
    if claim.field not in ("state", "accepted") or claim.value not in ("refused", False):
        return True
    # A gateway that holds a name back is no refusal by the platform; and where only some organisations
    # have access, that others are refused is no news.
    closed = gate in ("org", "internal") and claim.place.platform in ANTHROPIC_OPERATED
    return claim.basis not in _HINTS and not (claim.basis == "reported" and closed)


def _contradicted(lead: Claim, claims: Iterable[Claim]) -> str | None:
    """Tell of the newest claim that says the opposite: any report, or what is newer than what decides."""
    against = [
        claim
        for claim in claims
        if claim.field == "state"
        and claim.value in _ACCEPTS
        and lead.value in _ACCEPTS
        and claim.value != lead.value
        and claim.basis not in _HINTS
        and (claim.at > lead.at or "reported" in (claim.basis, lead.basis))
        and lead.basis != "operator"
    ]
    if not against:
        return None
    other = max(against, key=lambda claim: claim.at)
    told = f"{_told(lead)}, {_told(other)}."
    return f"{told[0].upper()}{told[1:]}"


def _told(claim: Claim) -> str:
    day = f"as of {claim.day}" if claim.day else "without a day"
    if claim.basis == "reported":
        return f"a public report ({claim.url or claim.source}) says {claim.value} {day}"
    return f"{claim.source} says {claim.value} {day}"


# --- What targets found ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """What targets say together of one place, and what is open there."""

    speaking: Standing | None = None
    open: Standing | None = None


def where(standing: Standing) -> Place:
    """Return the place for which a standing speaks: its target's, without the model unless it is bound to it.

    count_tokens speaks also for messages, except a refusal on Vertex, where it is stricter.
    """
    strict = standing.platform == "vertex" and standing.endpoint == "count_tokens"
    refused = standing.state == "refused"
    return place_of(
        platform=standing.platform,
        api=standing.api if standing.platform == "bedrock" else None,
        hosting=standing.hosting if standing.platform == "foundry" else None,
        region=standing.region,
        model=standing.model if refused and standing.model_bound else None,
        endpoint=standing.endpoint if refused and strict else None,
    )


def _found(standings: Sequence[Standing]) -> dict[Place, _Found]:
    """Group standings by place; what a single target refuses although others do not is narrower still."""
    by_place: dict[Place, list[Standing]] = {}
    for item in standings:
        by_place.setdefault(where(item), []).append(item)
    found: dict[Place, _Found] = {}
    narrower: dict[Place, list[Standing]] = {}
    for place, here in by_place.items():
        speaking = _speaking(place, here)
        open_ = next((item for item in here if pending(item)), None)
        if speaking is not None or open_ is not None:
            found[place] = _Found(speaking, open_)
        if speaking is None or speaking.state == "refused":
            continue
        for item in here:
            if item.state == "refused" and not item.stale:
                endpoint = "count_tokens" if item.endpoint == "count_tokens" else None
                single = replace(place, model=item.model or None, endpoint=endpoint)
                narrower.setdefault(single, []).append(item)
    for place, here in narrower.items():
        if place not in found:
            found[place] = _Found(max(here, key=_checked))
    return found


def _speaking(place: Place, here: Sequence[Standing]) -> Standing | None:
    if place.model is None and place.endpoint is None:
        return platform_state(here)
    return max(here, key=_checked)


def _checked(standing: Standing) -> tuple[float, str]:
    return (standing.checked_at.timestamp() if standing.checked_at else 0.0, standing.target)


def _probed(fact: PlaceFact, found: _Found | None, deciding: Mapping[str, Claim]) -> PlaceFact:
    """Let what targets found outweigh what is told of a place; only the operator outweighs them."""
    if found is None:
        return fact
    speaking, word = found.speaking, deciding.get("state") or deciding.get("accepted")
    if speaking is None or (word is not None and word.basis == "operator"):
        item = found.open or speaking
        return replace(fact, pending=to_json(pending(item)) if item else None)
    return replace(
        fact,
        state=speaking.state,
        accepted=_ACCEPTS.get(speaking.state),
        basis="probed",
        source=f"target:{speaking.target}",
        url=None,
        at=speaking.checked_at,
        target=speaking.target,
        checked_at=speaking.checked_at,
        pending=to_json(pending(speaking)),
        disputed=None,
    )


def _in_time(fact: PlaceFact, now: datetime) -> PlaceFact:
    """Apply time: an announced end makes it deprecated here, and once it has passed, retired.

    A target that accepted it here since keeps it deprecated, and disputed (rule 7).
    """
    today = now.date()
    if fact.retired_on is not None and fact.retired_on > today:
        fact = replace(fact, retired_on=None)
    end = fact.sunset_on
    if end is None or fact.status == "retired" or fact.basis == "operator":
        return fact
    if end >= today:
        return replace(fact, status="deprecated") if fact.status in (None, "active") else fact
    since = fact.checked_at is not None and fact.checked_at.date() > end
    if fact.basis == "probed" and fact.accepted and since:
        why = f"Its announced end here, {end}, has passed, yet {fact.target} accepted it since."
        return replace(fact, status="deprecated", disputed=why)
    return replace(fact, status="retired", retired_on=fact.retired_on or end)


# --- How it is shown by platform ------------------------------------------------------------------

_WORST: Final[Mapping[State, int]] = {"refused": 3, "restricted": 2, "unknown": 1, "supported": 0}


def shown(beta: Beta) -> Beta:
    """Return the beta with `platforms` and `exceptions` as they follow from its places."""
    platforms = {
        platform: _platform(beta, platform, _general(beta, platform)) for platform in PLATFORMS
    }
    return replace(beta, platforms=platforms, exceptions=_exceptions(beta, beta.places, platforms))


def for_version_1(beta: Beta) -> Beta:
    """Return the beta in the words of version 1, which knows no APIs, hostings and regions of a claim.

    Where the APIs or hostings of a platform differ, the worst of them stands for all; of regions nothing is
    said, unless all that are known agree. Bases that version 1 does not know are called declared.
    """
    platforms = {
        platform: _old_words(_platform(beta, platform, _worst(beta, platform)))
        for platform in PLATFORMS
    }
    sayable = [
        replace(fact, place=replace(fact.place, api=None, hosting=None))
        for fact in beta.places
        if fact.place.region is None
        and (fact.place.model or fact.place.endpoint or fact.place.platform_wide)
        and (fact.state == "refused" or not (fact.place.api or fact.place.hosting))
    ]
    exceptions = _exceptions(beta, sayable, platforms)
    return replace(_old_words(beta), places=(), platforms=platforms, exceptions=exceptions)


def from_version_1(beta: Beta) -> Beta:
    """Return the beta with the places that a server of version 1 means; what it guessed there is left out."""
    facts = [
        PlaceFact(
            place=Place(platform=platform),
            state=known.state,
            accepted=known.accepted,
            names=known.names,
            basis=known.basis,
            at=known.checked_at,
            target=known.target,
            checked_at=known.checked_at,
            pending=known.pending,
        )
        for platform, known in beta.platforms.items()
        if known.basis != "inferred" or known.pending
    ]
    for item in beta.exceptions:
        try:
            place = place_of(platform=item.platform, model=item.model, endpoint=item.endpoint)
        except Invalid:
            continue  # a platform of which this version has not heard
        fact = PlaceFact(
            place=place,
            state=_STATED.get(item.accepted, "unknown"),
            status=item.status,
            accepted=item.accepted,
            source=item.source,
        )
        same = next((known for known in facts if known.place == place), None)
        if same is not None:
            facts.remove(same)
            fact = replace(same, status=item.status)
        facts.append(fact)
    return shown(replace(beta, places=tuple(sorted(facts, key=lambda fact: _order(fact.place)))))


_Worded = TypeVar("_Worded", Beta, PlatformState)


def _old_words(item: _Worded) -> _Worded:
    return replace(item, basis="declared") if item.basis in ("traffic", "reported") else item


def _wide(beta: Beta, platform: Platform) -> list[PlaceFact]:
    """Return the facts of a platform that are not bound to a model or an endpoint."""
    return [
        fact
        for fact in beta.places
        if fact.place.platform == platform
        and fact.place.model is None
        and fact.place.endpoint is None
    ]


def _weight(fact: PlaceFact) -> tuple[float, date, int]:
    day = fact.at.date() if fact.at else date.min
    return rank(fact.basis, fact.at), day, fact.place.parts


def _general(beta: Beta, platform: Platform) -> PlaceFact | None:
    """Return the fact of a platform as a whole.

    Where only parts of it are known, or parts by stronger evidence, they speak for it if all agree.
    """
    wide = _wide(beta, platform)
    own = next((fact for fact in wide if fact.place.platform_wide), None)
    stated = own is not None and own.state != "unknown"
    parts = [
        fact
        for fact in wide
        if fact is not own
        and fact.state != "unknown"
        and not (stated and own and rank(fact.basis, fact.at) <= rank(own.basis, own.at))
    ]
    if len({fact.state for fact in parts}) == 1:
        best = max(parts, key=_weight)
        return replace(best, names=best.names or (own.names if own else ()))
    return own


def _worst(beta: Beta, platform: Platform) -> PlaceFact | None:
    wide = _wide(beta, platform)
    kinds = [place for place in KNOWN_PLACES.values() if place.platform == platform]
    each = [
        max(here, key=_weight)
        for place in kinds
        if (here := [f for f in wide if f.state != "unknown" and covers(f.place, place)])
    ]
    if not each:
        return _general(beta, platform)
    return max(each, key=lambda fact: (_WORST[fact.state], _weight(fact)))


def _platform(beta: Beta, platform: Platform, fact: PlaceFact | None) -> PlatformState:
    if fact is None:
        open_ = next((item.pending for item in _wide(beta, platform) if item.pending), None)
        return PlatformState(names=(beta.name,), pending=open_)
    state, accepted = _dead(beta) if _is_dead(beta, fact) else (fact.state, fact.accepted)
    return PlatformState(
        state=state,
        names=fact.names or (beta.name,),
        accepted=accepted,
        basis=fact.basis,
        target=fact.target,
        checked_at=fact.checked_at,
        pending=fact.pending,
    )


def _dead(beta: Beta) -> tuple[State, bool | None]:
    return ("refused" if beta.accepted is False else "unknown"), beta.accepted


def _is_dead(beta: Beta, fact: PlaceFact) -> bool:
    """Say whether a retirement outlives what older words say of a place.

    What probing found speaks only for where it was made: on what Anthropic runs itself.
    """
    if beta.status != "retired" or beta.accepted or fact.state != "supported":
        return False
    if fact.basis in ("operator", "probed", "traffic"):
        return False
    if beta.basis == "probed" and fact.place.platform not in ANTHROPIC_OPERATED:
        return False
    end = beta.retired_on or beta.status_since
    return fact.at is None or end is None or fact.at.date() <= end


def _exceptions(
    beta: Beta, facts: Iterable[PlaceFact], platforms: Mapping[Platform, PlatformState]
) -> tuple[Exception_, ...]:
    """Return where the beta differs from what is known of its platforms as a whole."""
    found = []
    for fact in facts:
        place = fact.place
        accepted = None if place.platform_wide else _ACCEPTS.get(fact.state)
        known = platforms.get(place.platform) if place.platform else None
        same = known is not None and known.state == fact.state
        if (accepted is None or same or _is_dead(beta, fact)) and fact.status is None:
            continue
        found.append(
            Exception_(
                platform=place.platform,
                api=place.api,
                hosting=place.hosting,
                region=place.region,
                model=place.model,
                endpoint=place.endpoint,
                status=fact.status,
                accepted=accepted,
                source=fact.url or fact.source,
            )
        )
    return tuple(found)

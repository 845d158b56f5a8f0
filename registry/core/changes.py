"""From claims to what is known, and from what was known to what changed.

    derive_feature(claims of all betas of one feature, now)  ->  what is known of each, and why
    diff(before, after)                                      ->  the events that tell the difference

The claims are the truth; everything else is derived from them here, by the rules of evidence
(CONTRACT, section 2), and can be derived again at any time. So a rule that was wrong is mended by
mending it here: nothing that was learned is lost, and nothing that was derived has to be migrated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final, cast

from registry.core.claims import is_no_beta
from registry.core.facts import (
    Basis,
    Beta,
    Claim,
    Event,
    EventType,
    Gate,
    Json,
    Link,
    PlaceFact,
    PlatformState,
    Seen,
    Snapshot,
    Status,
    to_json,
)
from registry.core.lifecycle import Standing
from registry.core.names import ANTHROPIC_OPERATED, Platform, parse
from registry.core.places import ANYWHERE
from registry.core.placing import RANK, SOURCE_RANK, Why, place_facts, shown, weight

__all__ = ["Derived", "derive_feature", "diff", "snapshot_of"]

_FINALITY: Final[dict[Status, int]] = {
    "unverified": 0,
    "active": 1,
    "deprecated": 2,
    "ga": 3,
    "retired": 4,
}

_DATES: Final = ("announced_on", "deprecated_on", "sunset_on", "ga_on", "retired_on")
_LISTS: Final = ("endpoints", "models", "body_fields", "tool_types", "notes")


@dataclass(frozen=True, slots=True)
class Derived:
    """What is known of one beta, with the claims that decide each of its fields, and of each place."""

    beta: Beta
    deciding: Mapping[str, Claim]
    placing: Why = field(default_factory=dict)


# --- What is known --------------------------------------------------------------------------------


def derive_feature(
    claims: Mapping[str, Sequence[Claim]],
    now: datetime,
    added: Mapping[str, datetime],
    standings: Mapping[str, Sequence[Standing]] = MappingProxyType({}),
) -> dict[str, Derived]:
    """Derive all betas of one feature from their claims, and from what targets know of them.

    `claims` holds the claims that still count, for each name; `added` when the registry learned of
    it. All names must share their feature: `newer` and `current` depend on the others.
    """
    derived = {
        name: _derive(name, list(made), now, added.get(name), standings.get(name, ()))
        for name, made in claims.items()
    }
    stated = [
        (weight(found.deciding["current"]), name)
        for name, found in derived.items()
        if found.beta.current
    ]
    current = max(stated)[1] if stated else None
    return {
        name: replace(
            found,
            beta=replace(
                found.beta,
                current=name == current,
                newer=_newer(found.beta, derived.values()),
            ),
        )
        for name, found in derived.items()
    }


def _newer(beta: Beta, others: Iterable[Derived]) -> tuple[str, ...]:
    if beta.release_date is None:
        return ()
    later = [
        (other.beta.release_date, other.beta.name)
        for other in others
        if other.beta.release_date and other.beta.release_date > beta.release_date
    ]
    return tuple(name for _, name in sorted(later))


def _derive(
    name: str,
    claims: list[Claim],
    now: datetime,
    added: datetime | None,
    standings: Sequence[Standing],
) -> Derived:
    """Derive one beta: first each field by itself, then the status, then what follows from it."""
    counting = [claim for claim in claims if claim.until is None or claim.until > now]
    general = [claim for claim in counting if claim.place == ANYWHERE]
    deciding = _winners(general)
    held = [claim for claim in general if claim.field == "listed" and claim.source == "sdk"]
    if held:
        deciding["listed"] = max(held, key=lambda claim: (not claim.value, claim.at))
    facts = {field: claim.value for field, claim in deciding.items()}
    parsed = parse(name)
    gate = cast(Gate, facts.get("gate") or "unknown")
    places, placing = place_facts(counting, standings, gate, now)
    beta = Beta(
        name=name,
        feature=parsed.feature,
        release_date=parsed.release_date,
        topic=facts.get("topic"),
        superseded_by=facts.get("superseded_by"),
        summary=facts.get("summary") or "",
        docs_url=facts.get("docs_url"),
        gate=gate,
        requires=_links(facts.get("requires")),
        conflicts_with=_links(facts.get("conflicts_with")),
        body_instead=facts.get("body_instead"),
        essential=None if facts.get("essential") is None else tuple(facts["essential"]),
        places=places,
        current=facts.get("current") is True,
        # The source says "no" only of a name that the newest list does not hold.
        listed=all(claim.value for claim in held) if held else None,
        added_at=added,
    )
    dates: dict[str, Any] = {field: _day(facts.get(field)) for field in _DATES}
    lists: dict[str, Any] = {field: tuple(facts.get(field) or ()) for field in _LISTS}
    beta = replace(beta, **dates, **lists)
    beta = _with_seen(beta, claims)
    beta, why = _with_status(beta, general, counting, now)
    if why is not None:
        deciding["status"] = why
    beta = shown(_with_consequences(beta, facts, now))
    return Derived(beta, deciding, placing)


def _winners(claims: Iterable[Claim]) -> dict[str, Claim]:
    """Choose the claim that counts for each field but `status` and `listed`."""
    best: dict[str, Claim] = {}
    for claim in claims:
        if claim.value is None or claim.field in ("listed", "status") or _is_mere_caution(claim):
            continue
        if claim.field not in best or _outweighs(claim, best[claim.field]):
            best[claim.field] = claim
    return best


def _is_mere_caution(claim: Claim) -> bool:
    """LiteLLM holding a name back says nothing of what is accepted: it never makes us drop a beta."""
    return claim.basis in ("litellm", "usage") and claim.value is False


def _outweighs(claim: Claim, other: Claim) -> bool:
    """Newer words win, but for the day of the announcement: there the first to tell is right."""
    if claim.field == "announced_on" and RANK[claim.basis] == RANK[other.basis]:
        return bool(claim.value < other.value)
    return weight(claim) >= weight(other)


def _day(value: Json) -> date | None:
    return date.fromisoformat(value) if value else None


def _links(value: Json) -> tuple[Link, ...]:
    return tuple(Link(item["beta"], item.get("endpoint")) for item in value or ())


# --- Existence ------------------------------------------------------------------------------------


def _with_seen(beta: Beta, claims: Iterable[Claim]) -> Beta:
    """Set the earliest and latest dated evidence that the beta exists, over all sources."""
    claims = [claim for claim in claims if claim.day is not None]
    proofs = sorted(filter(_proves_existence, claims), key=lambda claim: claim.at)
    proofs = proofs or sorted(claims, key=lambda claim: claim.at)[:1]
    if not proofs:
        return beta
    first, last = (
        Seen(source=c.source, version=c.version, at=c.at) for c in (proofs[0], proofs[-1])
    )
    return replace(beta, first_seen=first, last_seen=last)


def _proves_existence(claim: Claim) -> bool:
    """Say whether the claim dates the beta's existence, rather than what is told of it today."""
    if claim.field in ("listed", "announced_on"):
        return bool(claim.value)
    if claim.source in ("catalog", "operator"):
        return False
    return (claim.field == "status" and claim.value != "retired") or claim.basis == "litellm"


# --- Status ---------------------------------------------------------------------------------------


def _with_status(
    beta: Beta, general: list[Claim], claims: list[Claim], now: datetime
) -> tuple[Beta, Claim | None]:
    """Set status, why, and since when: the first rule of evidence that applies.

    `general` are those of `claims` that hold everywhere.
    """
    said = _status_claims(general, now)
    winner = _decide(said)
    if winner is None:
        return _without_word(beta, claims), None
    status = cast(Status, winner.value)
    beta = replace(
        beta,
        status=status,
        basis=winner.basis,
        confidence=winner.confidence,
        status_reason=_reason(status, winner),
        status_since=winner.day,
        disputed=_contradiction(winner, said),
    )
    return _deprecated_by_sdk(beta, said), winner


def _status_claims(claims: list[Claim], now: datetime) -> list[Claim]:
    """Return the claims on the status that count today, the newest one of each source."""
    newest: dict[tuple[str, Basis], Claim] = {}
    for claim in claims:
        if claim.field != "status" or claim.value is None or claim.at > now:
            continue
        if claim.confidence == "low" or claim.basis in ("litellm", "usage", "inferred"):
            continue  # never more than `unverified`
        key = claim.source, claim.basis
        if key not in newest or claim.at >= newest[key].at:
            newest[key] = claim
    return list(newest.values())


def _decide(said: list[Claim]) -> Claim | None:
    """Return the claim that decides: operator, then probing, then the newest declared one."""
    for basis in ("operator", "probed"):
        own = [claim for claim in said if claim.basis == basis]
        if own:
            return max(own, key=weight)
    declared = [claim for claim in said if claim.basis == "declared" and claim.source != "sdk"]
    newest = max(declared, key=_status_weight, default=None)
    if newest is not None and newest.value in ("ga", "retired"):
        return newest  # an SDK deprecation of such a beta only sets `deprecated_on`
    return max(said, key=_status_weight, default=None)


def _status_weight(claim: Claim) -> tuple[date, int, datetime]:
    """Rank declared claims by their day: an SDK deprecation counts like any declaration."""
    return claim.at.date(), SOURCE_RANK.get(claim.source, 0), claim.at


def _without_word(beta: Beta, claims: list[Claim]) -> Beta:
    """Nobody states a status: listed or accepted by a target is active, all else unverified."""
    accepting = [
        str(fact.place)
        for fact in beta.places
        if fact.basis == "probed" and fact.state == "supported"
    ]
    seen = beta.first_seen.at.date() if beta.first_seen else None
    if accepting:
        reason = f"Accepted on {', '.join(accepting)}, found by probing."
        return replace(
            beta, status="active", basis="probed", confidence="high", status_reason=reason,
            status_since=seen,
        )  # fmt: skip
    if beta.listed:
        release = f" {beta.last_seen.version}" if beta.last_seen and beta.last_seen.version else ""
        reason = f"In the list of the newest official SDK{release}; nothing else is stated."
        return replace(
            beta, status="active", basis="sdk", confidence="medium", status_reason=reason,
            status_since=seen,
        )  # fmt: skip
    bases: list[Basis] = [claim.basis for claim in claims] or ["inferred"]
    basis = max(bases, key=RANK.__getitem__)
    reason = (
        "Gone from the official SDK's list, and nobody states its status."
        if beta.listed is False
        else "Too little evidence: no trusted source states its status."
    )
    return replace(
        beta, status="unverified", basis=basis, confidence="low", status_reason=reason,
        status_since=seen,
    )  # fmt: skip


def _reason(status: Status, claim: Claim) -> str:
    if claim.basis == "probed":
        target = claim.source.removeprefix("target:")
        return (
            f"Found by probing on {claim.at:%Y-%m-%d at %H:%M} UTC: refused by every target that ever "
            f"accepted it, the last being {target}."
        )
    what = {
        "active": "In beta",
        "deprecated": "An end is announced",
        "ga": "Generally available",
        "retired": "Retired",
        "unverified": "Unverified",
    }[status]
    version = f" {claim.version}" if claim.version else ""
    said = f", {claim.quote}" if claim.basis == "operator" and claim.quote else ""
    day = f" as of {claim.day}" if claim.day else ", which names no source"
    return f"{what}, by {claim.source}{version}{day}{said}."


def _contradiction(winner: Claim, said: list[Claim]) -> str | None:
    """Say which other source holds a more final status than the one that decides.

    Sources lag behind each other, so an older, less final word is no contradiction: a beta that is
    ga today was in beta yesterday. One that is in beta today was not retired yesterday.
    """
    if winner.basis == "probed" and any(claim.value == "ga" for claim in said):
        return "Declared generally available, yet refused by every target that ever accepted it."
    if winner.basis in ("operator", "probed"):
        return None
    for claim in sorted(said, key=_status_weight, reverse=True):
        more = _FINALITY[claim.value] > _FINALITY[winner.value] and claim.value in ("ga", "retired")
        if claim.source != winner.source and more:
            return f"{_says(winner)}, {_says(claim)}."
    return None


def _says(claim: Claim) -> str:
    return f"{claim.source} says {claim.value} " + (
        f"as of {claim.day}" if claim.day else "undated"
    )


def _deprecated_by_sdk(beta: Beta, said: list[Claim]) -> Beta:
    for claim in said:
        if claim.source == "sdk" and claim.value == "deprecated" and beta.deprecated_on is None:
            return replace(beta, deprecated_on=claim.at.date())
    return beta


# --- What follows from the status -----------------------------------------------------------------


def _with_consequences(beta: Beta, facts: Mapping[str, Json], now: datetime) -> Beta:
    """Apply time, then fill what the status implies and nobody states."""
    beta = _at_sunset(beta, now)
    if beta.retired_on and beta.retired_on > now.date():
        beta = replace(beta, retired_on=None)  # never in the future: until then it is a sunset
    beta = replace(
        beta,
        accepted=_accepted(beta, facts.get("accepted")),
        header_effect=_effect(beta, facts.get("header_effect")),
        status_since=_since(beta),
    )
    return replace(beta, disputed=beta.disputed or _disputed_by_probing(beta))


def _at_sunset(beta: Beta, now: datetime) -> Beta:
    """An announced end makes an active beta deprecated; once it has passed, retired.

    A target that accepted the beta since keeps it deprecated, and disputed (rule 7).
    """
    if beta.sunset_on is None or beta.basis == "operator" or beta.status == "retired":
        return beta
    if beta.sunset_on >= now.date():
        if beta.status != "active":
            return beta
        reason = f"{beta.status_reason} It ends on {beta.sunset_on}."
        return replace(beta, status="deprecated", status_reason=reason)
    ended = f"Its announced end, {beta.sunset_on}, has passed"
    proof = _accepted_since(beta, beta.sunset_on)
    if proof is not None:
        why = f"{ended}, yet {proof} accepted it since."
        return replace(beta, status="deprecated", status_reason=why, disputed=why)
    return replace(
        beta,
        status="retired",
        status_reason=f"{ended}.",
        retired_on=beta.retired_on or beta.sunset_on,
    )


def _accepted_since(beta: Beta, day: date) -> str | None:
    return next((str(f.place) for f in beta.places if _accepted_after(f, day)), None)


def _accepted_after(fact: PlaceFact, day: date | None) -> bool:
    """Say whether a target accepted it after that day: what was accepted before says nothing of an end."""
    if fact.basis != "probed" or not fact.accepted or day is None:
        return bool(fact.basis == "probed" and fact.accepted)
    return fact.checked_at is not None and fact.checked_at.date() > day


def _accepted(beta: Beta, stated: bool | None) -> bool | None:
    """Say whether the header is taken: probed, stated, or implied by a trusted status."""
    if beta.status == "retired" and beta.basis == "probed":
        return False
    end = (beta.retired_on or beta.status_since) if beta.status == "retired" else None
    if any(_accepted_after(fact, end) for fact in beta.places):
        return True
    if stated is not None:
        return stated
    trusted = beta.basis in ("operator", "probed", "declared")
    return True if trusted and beta.status in ("active", "deprecated") else None


def _effect(beta: Beta, stated: str | None) -> Any:
    if stated is not None:
        return "unknown" if stated == "required" and beta.status in ("ga", "retired") else stated
    trusted = beta.basis in ("operator", "probed", "declared")
    return "required" if trusted and beta.status in ("active", "deprecated") else "unknown"


def _since(beta: Beta) -> date | None:
    """Prefer the day on which it happened to the day of the claim that tells it."""
    happened = {
        "active": beta.announced_on or beta.release_date,
        "deprecated": beta.deprecated_on,
        "ga": beta.ga_on,
        "retired": beta.retired_on,
        "unverified": None,
    }[beta.status]
    if beta.status == "active" and beta.basis == "operator":
        return beta.status_since
    return happened or beta.status_since


def _disputed_by_probing(beta: Beta) -> str | None:
    """Declared retired and yet accepted, or ga and refused: the two may both be right, so say it."""
    for fact in beta.places:
        if fact.place.platform not in ANTHROPIC_OPERATED or fact.place.model or fact.place.endpoint:
            continue
        if fact.basis != "probed" or beta.basis == "probed":
            continue
        late = _accepted_after(fact, beta.retired_on or beta.status_since)
        if beta.status == "retired" and late and beta.header_effect != "ignored":
            return f"Retired by {beta.basis} evidence, yet accepted on {fact.place}."
        if beta.status == "ga" and fact.state == "refused":
            return f"Generally available by {beta.basis} evidence, yet refused on {fact.place}."
    return None


# --- What changed ---------------------------------------------------------------------------------

_STATUS_EVENT: Final[dict[Status, EventType]] = {
    "active": "beta.changed",
    "unverified": "beta.changed",
    "deprecated": "beta.deprecated",
    "ga": "beta.ga",
    "retired": "beta.retired",
}
_STATE_EVENT: Final[dict[str, EventType]] = {
    "supported": "beta.supported",
    "refused": "beta.refused",
    "restricted": "beta.restricted",
    "unknown": "beta.changed",
}
_WITH_STATUS: Final = frozenset(
    {"status", "status_since", "status_reason", "basis", "confidence", "accepted", "header_effect"}
) | frozenset(_DATES)
"""Members that a change of status carries along, so that one turn is one event."""

_VOLATILE: Final = frozenset(
    {"first_seen", "last_seen", "added_at", "changed_at", "services", "newer", "current"}
)
"""Members that move without a change of what is known, or with another beta's event."""


def diff(before: Beta | None, found: Derived, now: datetime, *, backfill: bool) -> list[Event]:
    """Tell the difference between what was known of a beta and what is known now.

    `before` and `after` of an event hold the members that changed: laid over the beta as it was, in
    the order of the events, they give the beta as it is.
    """
    after = found.beta
    why = found.deciding.get("status")
    if before is None:
        return [_discovered(found, now, backfill)]
    old, new = _content(before), _content(after)
    changed = {key for key in new if old[key] != new[key]} - {"places", "platforms"}
    events: list[Event] = []

    def add(kind: EventType, keys: Iterable[str], reason: str, **more: Any) -> None:
        keys = sorted(keys)
        made = {
            "before": {key: old[key] for key in keys},
            "after": {key: new[key] for key in keys},
            "source": why.source if why else "registry",
            "url": why.url if why else None,
        } | more
        events.append(
            Event(type=kind, at=now, reason=reason, backfill=backfill, beta=after.name,
                  feature=after.feature, **made)
        )  # fmt: skip

    of_places, others = _place_events(before, found, now, backfill)
    if "status" in changed:
        kind, on = _STATUS_EVENT[after.status], after.status_since
        if before.status == "retired" and (kind == "beta.changed" or before.basis == "probed"):
            kind, on = "beta.restored", now.date()
        # An end that holds everywhere shows on platforms of which nothing newer is known.
        carried = _laid_over(old, new, changed & _WITH_STATUS, others)
        add(kind, (), after.status_reason, effective_on=on, **carried)
        changed, others = changed - _WITH_STATUS, {}
    if "superseded_by" in changed and after.superseded_by:
        add("beta.superseded", ["superseded_by"], f"Use {after.superseded_by} instead.",
            **_origin(found, "superseded_by"))  # fmt: skip
        changed.discard("superseded_by")
    if "disputed" in changed:
        opened = after.disputed is not None
        add("beta.disputed" if opened else "beta.dispute_resolved", ["disputed"],
            after.disputed or "The evidence agrees again.")  # fmt: skip
        changed.discard("disputed")
    if "listed" in changed and after.listed is False:
        add("beta.delisted", ["listed"], "Gone from the newest official SDK's list; no proof of an end.",
            source="sdk", url=None)  # fmt: skip
        changed.discard("listed")
    events += of_places
    if changed or others:
        names = sorted({*changed, *(["platforms"] if others else [])})
        add(
            "beta.changed",
            (),
            f"Changed: {', '.join(names)}.",
            **(_origin(found, names[0]) | _laid_over(old, new, changed, others)),
        )
    return events


_Turns = dict[Platform, tuple[dict[str, Json], dict[str, Json]]]
"""What of a platform as it is shown was and is different."""


def _laid_over(
    old: Mapping[str, Json], new: Mapping[str, Json], keys: Iterable[str], turns: _Turns
) -> dict[str, Json]:
    made = {
        side: {key: content[key] for key in sorted(keys)}
        for side, content in (("before", old), ("after", new))
    }
    if turns:
        made["before"]["platforms"] = {platform: turn[0] for platform, turn in turns.items()}
        made["after"]["platforms"] = {platform: turn[1] for platform, turn in turns.items()}
    return made


def _discovered(found: Derived, now: datetime, backfill: bool) -> Event:
    beta, first = found.beta, found.beta.first_seen
    source = first.source if first else "registry"
    version = f" {first.version}" if first and first.version else ""
    seen = f"First seen in {source}{version} on {first.at.date()}." if first else "It is new."
    why = found.deciding.get("status")
    return Event(
        type="beta.discovered",
        at=now,
        reason=seen,
        source=source,
        effective_on=beta.announced_on or (first.at.date() if first else None),
        backfill=backfill,
        beta=beta.name,
        feature=beta.feature,
        after=_content(beta),
        url=beta.docs_url or (why.url if why else None),
    )


def _place_events(
    before: Beta, found: Derived, now: datetime, backfill: bool
) -> tuple[list[Event], _Turns]:
    """Tell what changed at each place, and which platforms show a change that no place explains.

    The event of a platform as a whole, or else its first one, carries how the platform is shown.
    """
    old = {fact.place: fact for fact in before.places}
    new = {fact.place: fact for fact in found.beta.places}
    turns = _turns(before, found.beta)
    events = []
    changed = [place for place in {**new, **old} if _differs(old.get(place), new.get(place))]
    for place in sorted(changed, key=lambda place: not place.platform_wide):
        was, fact = (
            side.get(place, PlaceFact(place=place, basis="inferred")) for side in (old, new)
        )
        turn = turns.pop(place.platform, None) if place.platform else None
        sides = _laid_over({}, {}, (), {place.platform: turn} if place.platform and turn else {})
        for side, known in (("before", was), ("after", fact)):
            sides[side]["places"] = [_place_content(known)] if _says_something(known) else []
        events.append(
            Event(
                type=_kind(was, fact, turn),
                at=now,
                reason=_sentence(was, fact),
                source=fact.source or "registry",
                url=fact.url,
                effective_on=fact.at.date() if fact.at and was.state != fact.state else None,
                backfill=backfill,
                beta=found.beta.name,
                feature=found.beta.feature,
                platform=place.platform,
                target=fact.target,
                **sides,
            )
        )
    return events, turns


def _kind(
    was: PlaceFact, fact: PlaceFact, turn: tuple[dict[str, Json], dict[str, Json]] | None
) -> EventType:
    """Choose the type: what turned at a model, an endpoint or in one of several regions is not so for all."""
    place = fact.place
    if (was.state, was.status) == (fact.state, fact.status) and was.disputed != fact.disputed:
        return "beta.disputed" if fact.disputed else "beta.dispute_resolved"
    if was.state == fact.state or place.platform is None or place.model or place.endpoint:
        return "beta.changed"
    whole = turn is not None and turn[1].get("state") == fact.state
    return "beta.changed" if place.region and not whole else _STATE_EVENT[fact.state]


def _sentence(was: PlaceFact, fact: PlaceFact) -> str:
    if was.state != fact.state:
        return f"{fact.state.capitalize()} on {fact.place}, {fact.basis}; was {was.state}."
    if was.disputed != fact.disputed:
        return fact.disputed or f"The evidence on {fact.place} agrees again."
    old, new = _place_content(was), _place_content(fact)
    keys = sorted(key for key in new if old[key] != new[key])
    return f"Changed on {fact.place}: {', '.join(keys)}."


def _differs(was: PlaceFact | None, fact: PlaceFact | None) -> bool:
    sides = [
        _place_content(side) if side is not None and _says_something(side) else None
        for side in (was, fact)
    ]
    return sides[0] != sides[1]


def _says_something(fact: PlaceFact) -> bool:
    """Say whether a fact holds more than that somebody spoke of its place."""
    silent = PlaceFact(
        place=fact.place, basis=fact.basis, source=fact.source, url=fact.url, at=fact.at
    )
    return replace(fact, target=None, checked_at=None) != silent


_UNTOLD: Final = ("source", "url", "at", "target", "checked_at", "since")
"""Who said or found it last, and when, is no change of what is known."""


def _place_content(fact: PlaceFact) -> dict[str, Json]:
    content: dict[str, Json] = to_json(fact)
    for key in _UNTOLD:
        del content[key]
    return content


def _turns(before: Beta, after: Beta) -> _Turns:
    turns: _Turns = {}
    for platform, state in after.platforms.items():
        old = _state_content(before.platforms.get(platform, PlatformState()))
        new = _state_content(state)
        keys = sorted(key for key in new if old[key] != new[key])
        if keys:
            turns[platform] = {key: old[key] for key in keys}, {key: new[key] for key in keys}
    return turns


def _origin(found: Derived, field: str) -> dict[str, Any]:
    claim = found.deciding.get(field)
    return {"source": claim.source, "url": claim.url} if claim else {}


def _content(beta: Beta) -> dict[str, Json]:
    content: dict[str, Json] = to_json(beta)
    for key in _VOLATILE:
        del content[key]
    del content["exceptions"]  # they follow from the places
    content["platforms"] = {
        platform: _state_content(state) for platform, state in beta.platforms.items()
    }
    content["places"] = [_place_content(fact) for fact in beta.places if _says_something(fact)]
    return content


def _state_content(state: PlatformState) -> dict[str, Json]:
    content: dict[str, Json] = to_json(state)
    del content["checked_at"], content["target"]
    return content


def snapshot_of(claims: Iterable[Claim], as_of: datetime, now: datetime) -> Snapshot:
    """Derive a whole snapshot from claims alone: the bundled catalog where no registry is at hand."""
    by_feature: dict[str, dict[str, list[Claim]]] = {}
    for claim in claims:
        if is_no_beta(claim.beta):
            continue
        made = by_feature.setdefault(parse(claim.beta).feature, {})
        made.setdefault(claim.beta, []).append(claim)
    found = {
        name: derived.beta
        for made in by_feature.values()
        for name, derived in derive_feature(made, now, {}).items()
    }
    return Snapshot(revision=0, as_of=as_of, betas={name: found[name] for name in sorted(found)})

"""What to send: a snapshot and a request in, a header value out, with a reason for every difference.

A pure function over an immutable snapshot, run alike by the server and by clients on their own copy. What
holds for each beta is the judgement's (`judgement.py`); here policies act on it.

    resolve   betas and features -> the value to send, what was dropped, what to know about the rest
    Resolver  the same for many requests on one snapshot
    pair      an answer and a body -> both as they belong together
    check     a value as it stands -> a verdict on every name in it
    features  every feature with its current beta
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Final, Literal, get_args

from registry.core.body import ENDPOINTS, Cut, Missing, missing, without
from registry.core.errors import Invalid, NotFound
from registry.core.facts import Beta, Json, Snapshot
from registry.core.judgement import (
    HOME,
    Judge,
    Judgement,
    Judges,
    Warning_,
    alternatives_json,
    companions,
    with_conflicts,
)
from registry.core.names import read_header, sort_key
from registry.core.places import DEFAULT_ENDPOINT, Place, place_of

__all__ = [
    "BODY_FIELD",
    "HEADER",
    "IN_BODY",
    "MAX_NAMES",
    "Ask",
    "Deprecation",
    "Dropped",
    "Paired",
    "Resolution",
    "Resolver",
    "Sent",
    "check",
    "feature",
    "features",
    "pair",
    "place_asked",
    "resolve",
]

Policy = Literal["strict", "filter", "advise"]
Choice = Literal["error", "pass", "drop"]

HEADER: Final = "anthropic-beta"
BODY_FIELD: Final = "anthropic_beta"
IN_BODY: Final[Mapping[str | None, str | None]] = {
    "invoke": None,
    "converse": "additionalModelRequestFields",
}
"""The APIs of Bedrock that take betas in the body, and the member that holds the list there."""
MAX_NAMES: Final = 500
"""Names in one request; upstream takes far fewer."""

_POLICIES: Final = get_args(Policy)
_BY_CHOICE: Final = frozenset({"unknown", "unproven", "restricted"})
"""Verdicts for which whoever asks can say what to do with them."""
_CHOICES: Final = get_args(Choice)
_ASKS: Final = 64
"""Places remembered by a `Resolver`, each with what was asked for there: some megabytes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request: betas and features in the order asked, and where they will be sent.

    What is None is taken from `target`, else from the defaults: platform `anthropic`, endpoint
    `messages`, and on Bedrock the API `invoke`. `on_unknown`, `on_unproven` and `on_restricted` say what
    to do with such names, whatever the policy.
    """

    requested: tuple[tuple[str, str], ...] = ()
    platform: str | None = None
    api: str | None = None
    hosting: str | None = None
    region: str | None = None
    model: str | None = None
    endpoint: str | None = None
    target: str | None = None
    policy: str = "strict"
    on_unknown: str | None = None
    on_unproven: str | None = None
    on_restricted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One name that is sent."""

    name: str
    requested: str
    status: str
    warnings: tuple[Warning_, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """One name that was asked for and is not sent."""

    requested: str
    reason: str
    detail: str
    use_instead: str | None = None
    body_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """A deprecated beta among those sent; either day may be unknown."""

    beta: str
    deprecated_on: date | None
    sunset_on: date | None
    use_instead: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The answer to an `Ask`."""

    place: Place
    revision: int
    sent: tuple[Sent, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    deprecations: tuple[Deprecation, ...] = ()

    @property
    def value(self) -> str:
        """The header value; empty when the header must be omitted."""
        return ",".join(item.name for item in self.sent)

    @property
    def in_body(self) -> bool:
        """Say whether the names stand in the body where this is sent."""
        return self.place.platform == "bedrock" and self.place.api in IN_BODY

    def to_json(self) -> dict[str, Json]:
        """Print it in the shape of the contract (`GET /v1/header`).

        `body_in` names the member of the body that takes `body`, where it is not the body itself.
        """
        names = [item.name for item in self.sent]
        return {
            "header": HEADER,
            "value": self.value,
            "omit": not names,
            "platform": self.place.platform,
            "placement": "body" if self.in_body else "header",
            "body": {BODY_FIELD: names} if self.in_body and names else None,
            "body_in": IN_BODY.get(self.place.api) if self.in_body else None,
            "betas": [_sent_json(item) for item in self.sent],
            "dropped": [_dropped_json(item) for item in self.dropped],
            "revision": self.revision,
        }


def warnings_json(warnings: Sequence[Warning_]) -> Json:
    """Print warnings in the shape of the API."""
    return [{"code": warning.code, "detail": warning.detail} for warning in warnings]


def _sent_json(item: Sent) -> Json:
    return {
        "name": item.name,
        "requested": item.requested,
        "status": item.status,
        "warnings": warnings_json(item.warnings),
    }


def _dropped_json(item: Dropped) -> Json:
    return {
        "requested": item.requested,
        "reason": item.reason,
        "detail": item.detail,
        "use_instead": item.use_instead,
        "body_fields": list(item.body_fields),
    }


# --- The place ------------------------------------------------------------------------------------


def place_asked(snapshot: Snapshot, ask: Ask) -> Place:
    """Complete and check where a request goes. Raises `Invalid` or `NotFound`."""
    given: Mapping[str, str | None] = {}
    if ask.target:
        if ask.target not in snapshot.targets:
            known = ", ".join(sorted(snapshot.targets)) or "none is configured"
            raise NotFound(f"There is no target {ask.target[:64]!r}; known targets: {known}.")
        given = snapshot.targets[ask.target]
    platform = ask.platform or given.get("platform") or "anthropic"
    own = given if platform == given.get("platform") else {}
    api = ask.api or own.get("api") or ("invoke" if platform == "bedrock" else None)
    return place_of(
        platform=platform,
        api=api,
        hosting=ask.hosting or own.get("hosting"),
        region=ask.region or own.get("region"),
        model=ask.model or given.get("model"),
        endpoint=ask.endpoint or given.get("endpoint") or "messages",
    )


# --- Resolving ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A judgement with what an answer says of it, made once: the same one stands in many answers."""

    judged: Judgement
    sent: tuple[Sent, ...]
    dropped: Dropped
    deprecation: Deprecation | None
    requires: bool
    plain: bool
    """Whether every policy sends it."""


def _item(judged: Judgement) -> _Item:
    told = judged.warnings
    if judged.verdict != "ok":
        told = (Warning_(judged.verdict, judged.detail), *told)
    deprecation = None
    if judged.status == "deprecated" and judged.beta is not None:
        deprecation = Deprecation(
            beta=judged.beta.name,
            deprecated_on=judged.deprecated_on,
            sunset_on=judged.sunset_on,
            use_instead=judged.use_instead,
        )
    reason = judged.verdict
    ended = judged.needless and not judged.fails
    return _Item(
        judged=judged,
        sent=tuple(
            Sent(name=name, requested=judged.requested, status=judged.status, warnings=told)
            for name in judged.names
        ),
        dropped=Dropped(
            requested=judged.requested,
            reason="ga" if ended else reason,
            detail=judged.detail,
            use_instead=judged.use_instead,
            body_fields=() if ended else judged.body_fields,
        ),
        deprecation=deprecation,
        requires=judged.beta is not None and bool(judged.beta.requires),
        plain=bool(judged.names)
        and not (judged.fails or judged.needless or judged.verdict in _BY_CHOICE),
    )


def resolve(snapshot: Snapshot, ask: Ask, today: date) -> Resolution:
    """Resolve a request.

    Raises `Invalid` with slug `invalid-beta` (`invalid` and `would_send` in `extra`) when the policy
    allows no difference and there is one; with slug `ambiguous-feature` (`choices`) when a feature
    has several live betas and no current one; and for a word that is none. `today` is the day in UTC.
    """
    return Resolver(snapshot).resolve(ask, today)


class Resolver:
    """Resolves many requests against one snapshot; threads may share it.

    What it remembers depends on the snapshot and on whether its facts are `stale` (older than 24 hours)
    alone, so a lost race between two threads costs only that a name is judged twice.
    """

    def __init__(self, snapshot: Snapshot, *, stale: bool = False) -> None:
        self.snapshot = snapshot
        self._stale = stale
        self._judges: Judges | None = None
        self._asks: dict[tuple[str | None, ...], _Asked] = {}
        self._last: _Last | None = None

    def judges(self, today: date) -> Judges:
        """Return the judges of this snapshot and day."""
        judges = self._judges
        if judges is None or judges.today != today:
            judges = self._judges = Judges(self.snapshot, today, stale=self._stale)
            self._asks = {}
        return judges

    def resolve(
        self, ask: Ask, today: date, requested: tuple[tuple[str, str], ...] | None = None
    ) -> Resolution:
        """Resolve a request, as the function `resolve` does.

        `requested` stands for the ask's own, where one `Ask` serves for many requests to one place.
        """
        wanted = ask.requested if requested is None else requested
        if len(wanted) > MAX_NAMES:
            raise Invalid(f"At most {MAX_NAMES} names can be asked for at once.")
        last = self._last
        if last is None or last.ask is not ask or last.today != today:
            fates = _fates(ask.policy, ask.on_unknown, ask.on_unproven, ask.on_restricted)
            last = self._last = _Last(ask, today, self._asked(ask, today), fates)
        here, fates = last.here, last.fates
        known = here.items
        items = [known.get(asked) or here.item(asked) for asked in dict.fromkeys(wanted)]
        items = _with_conflicts(items, here.judge.place)
        answer, invalid = _answer(self.snapshot, here.judge.place, items, fates)
        if invalid:
            raise _invalid_beta(invalid, self.resolve(_lenient(ask), today, wanted))
        return answer

    def _asked(self, ask: Ask, today: date) -> _Asked:
        judges = self.judges(today)
        key = (
            ask.platform, ask.api, ask.hosting, ask.region, ask.model, ask.endpoint, ask.target
        )  # fmt: skip
        found = self._asks.get(key)
        if found is None:
            place = place_asked(self.snapshot, ask)
            found = _Asked(judges.at(place, endpoint_asked=bool(ask.endpoint)))
            if len(self._asks) >= _ASKS:
                self._asks = {}
            self._asks[key] = found
        return found

    def judge_at(self, ask: Ask, today: date) -> Judge:
        """Return the judge of the place that is asked for."""
        return self._asked(ask, today).judge

    def judge(self, names: Sequence[str], ask: Ask, today: date) -> list[Judgement]:
        """Judge betas by their names, conflicts and companions among them included."""
        judge = self._asked(ask, today).judge
        return companions(
            with_conflicts([judge.beta(name) for name in names], judge.place), judge.place
        )


@dataclass(frozen=True, slots=True)
class _Last:
    """What the ask before came to: many requests to one place share the very same one."""

    ask: Ask
    today: date
    here: _Asked
    fates: _Fates


class _Asked:
    """What was asked for at one place, with the answers' parts."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.items: dict[tuple[str, str], _Item] = {}

    def item(self, asked: tuple[str, str]) -> _Item:
        """Judge a requested item, (kind, text). Raises `Invalid` for an ambiguous feature."""
        found = self.items.get(asked)
        if found is None:
            kind, text = asked
            found = _item(self.judge.feature(text) if kind == "feature" else self.judge.beta(text))
            if found.judged.beta is not None:
                self.items[asked] = found
        return found


def _with_conflicts(items: list[_Item], place: Place) -> list[_Item]:
    for item in items:
        if item.judged.beta is not None and item.judged.beta.conflicts_with:
            break
    else:
        return items
    judged = with_conflicts([item.judged for item in items], place)
    return [
        item if item.judged is now else _item(now) for item, now in zip(items, judged, strict=True)
    ]


Fate = Literal["send", "drop", "error"]


@dataclass(frozen=True, slots=True)
class _Fates:
    """What a policy does with each kind of item."""

    policy: str
    on: Mapping[str, str]

    def of(self, item: _Item) -> Fate:
        """Decide what happens to one item.

        What no server could read (malformed), and a feature that has no name to send, is never sent.
        """
        judged = item.judged
        own = self.on.get(judged.verdict)
        if own is not None and own != "pass":
            return "error" if own == "error" else "drop"
        if judged.fails:
            if self.policy == "strict":
                return "error"
            sendable = self.policy == "advise" and judged.names and judged.verdict != "malformed"
            return "send" if sendable else "drop"
        if not judged.names or (judged.needless and self.policy == "filter"):
            return "drop"
        return "send"


@lru_cache(maxsize=256)
def _fates(
    policy: str, on_unknown: str | None, on_unproven: str | None, on_restricted: str | None
) -> _Fates:
    """Read the policy. Raises `Invalid` for a word that is none."""
    _word(policy, _POLICIES, "policy")
    usual = "error" if policy == "strict" else "pass"
    on = {
        "unknown": on_unknown or usual,
        "unproven": on_unproven or "pass",
        "restricted": on_restricted or "pass",
    }
    for verdict, choice in on.items():
        _word(choice, _CHOICES, f"value of on_{verdict}")
    return _Fates(policy, on)


def _word(word: str, allowed: Sequence[str], what: str) -> None:
    if word not in allowed:
        raise Invalid(f"{word[:64]!r} is not a {what}; use one of {', '.join(allowed)}.")


def _lenient(ask: Ask) -> Ask:
    """Return what `would_send` answers: the policy `filter`, and nothing that is an error."""

    def lenient(choice: str | None) -> str | None:
        return "drop" if choice == "error" else choice

    return replace(
        ask,
        policy="filter",
        on_unknown=None if ask.on_unknown == "error" else ask.on_unknown,
        on_unproven=lenient(ask.on_unproven),
        on_restricted=lenient(ask.on_restricted),
    )


def _invalid_beta(invalid: list[Dropped], would_send: Resolution) -> Invalid:
    first = invalid[0]
    more = f" ({len(invalid) - 1} more)" if len(invalid) > 1 else ""
    return Invalid(
        f"{first.requested[:140]}: {first.reason}. {first.detail}{more}",
        slug="invalid-beta",
        extra={
            "invalid": [_dropped_json(item) for item in invalid],
            "would_send": would_send.to_json(),
        },
    )


def _answer(
    snapshot: Snapshot, place: Place, items: list[_Item], fates: _Fates
) -> tuple[Resolution, list[Dropped]]:
    """Apply the policy: returns the answer, and what makes it an error."""
    sent: dict[str, Sent] = {}
    dropped: list[Dropped] = []
    invalid: list[Dropped] = []
    kept: list[_Item] = []
    deprecations: dict[Deprecation, None] = {}
    needy = False
    for item in items:
        fate = "send" if item.plain else fates.of(item)
        if fate != "send":
            (invalid if fate == "error" else dropped).append(item.dropped)
            continue
        for one in item.sent:
            sent.setdefault(one.name, one)
        kept.append(item)
        needy = needy or item.requires
        if item.deprecation is not None:
            deprecations[item.deprecation] = None
    if needy:
        sent = _with_companions(sent, kept, place)
    answer = Resolution(
        place=place,
        revision=snapshot.revision,
        sent=tuple(sent.values()),
        dropped=tuple(dropped),
        deprecations=tuple(deprecations),
    )
    return answer, invalid


def _with_companions(sent: dict[str, Sent], kept: list[_Item], place: Place) -> dict[str, Sent]:
    """Warn of companions that a beta needs here and that are not sent with it."""
    judged = companions([item.judged for item in kept], place, sent)
    for item, now in zip(kept, judged, strict=True):
        first = next((name for name in now.names if name in sent), None)
        if now is not item.judged and first is not None:
            extra = now.warnings[len(item.judged.warnings) :]
            sent[first] = replace(sent[first], warnings=(*sent[first].warnings, *extra))
    return sent


# --- Header and body as a pair --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A resolution and a body that belong together (contract, rule 14).

    `cut.removed` are the fields and tool types that went with dropped betas, and `cut.held` the betas that
    are sent after all, because the body uses something essential of theirs. `missing`: what the body holds
    without the beta that allows it.
    """

    resolution: Resolution
    cut: Cut
    missing: tuple[Missing, ...] = ()


def pair(
    answer: Resolution,
    asked: Sequence[Judgement],
    judge: Judge,
    body: object,
    *,
    drop_essential: bool = False,
) -> Paired:
    """Make a body fit to an answer, and an answer to what a body cannot do without. Never raises.

    `asked` are the judgements, at the answer's place, of all that was asked for. Bodies of other endpoints
    than those for messages are left as they are.
    """
    endpoint = judge.place.endpoint or DEFAULT_ENDPOINT
    if not isinstance(body, dict) or endpoint.rpartition(".")[2] not in ENDPOINTS:
        return Paired(resolution=answer, cut=Cut(body))
    names = {item.name for item in answer.sent}
    betas = judge.index.betas
    sent = {one.name: one for one in asked if not names.isdisjoint(one.names)}
    gone = [one.beta for one in asked if one.beta and one.name not in sent and not one.free]
    cut = Cut(body)
    if gone:
        stay = [one.beta for one in sent.values() if one.beta]
        stay += [
            beta
            for beta in betas.values()
            if (beta.body_fields or beta.tool_types) and judge.beta(beta.name).free
        ]
        cut = without(body, gone, stay, drop_essential)
    lacking = missing(
        cut.body,
        {*sent, *cut.held},
        betas,
        free=lambda name: judge.beta(name).free,
        prefer=lambda some: _preferred(judge, some),
    )
    return Paired(resolution=_holding(answer, asked, cut), cut=cut, missing=lacking)


def _preferred(judge: Judge, names: Sequence[str]) -> str | None:
    best = judge.likeliest(names)[0]
    return None if best.fails else best.requested


def _holding(answer: Resolution, asked: Sequence[Judgement], cut: Cut) -> Resolution:
    """Send the betas that a body cannot do without, each where it was asked for."""
    held = cut.held
    if not held:
        return answer
    sent: list[Sent] = []
    for one in asked:
        already = [item for item in answer.sent if item.requested == one.requested]
        if one.name in held and not already:
            told = (essential_warning(one, cut), *_item(one).sent[0].warnings)
            already = [replace(item, warnings=told) for item in _item(one).sent]
        sent += already
    kept = {item.requested for item in sent}
    dropped = tuple(item for item in answer.dropped if item.requested not in kept)
    return replace(answer, sent=tuple(dict.fromkeys(sent)), dropped=dropped)


def essential_warning(judged: Judgement, cut: Cut) -> Warning_:
    """Say why a beta that fails is sent all the same."""
    fields = [use.field for use in cut.kept_essential if judged.name in use.betas]
    instead = next((use.instead for use in cut.kept_essential if judged.name in use.betas), None)
    text = (
        f"The request uses {', '.join(fields)}, which only {judged.name} allows; without it the answer "
        "would be another, so nothing is dropped and the API's refusal tells. "
    )
    todo = f"Use {instead} instead." if instead else judged.advice
    return Warning_("essential", f"{text}{todo}".strip())


def missing_json(items: Sequence[Missing]) -> list[dict[str, Json]]:
    """Print what is missing in the shape of the API."""
    return [
        {
            "field": item.field,
            "beta": item.beta,
            "alternatives": list(item.alternatives),
            "instead": item.instead,
        }
        for item in items
    ]


# --- Checking -------------------------------------------------------------------------------------


def check(
    snapshot: Snapshot,
    *,
    value: str | None = None,
    betas: Sequence[str] | None = None,
    platform: str | None = None,
    api: str | None = None,
    hosting: str | None = None,
    region: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    target: str | None = None,
    body: object = None,
    today: date,
    stale: bool = False,
) -> dict[str, Json]:
    """Judge a header value, or names, in the shape of the contract (`POST /v1/check`).

    `valid` is false only if a request would fail. With the `body` of a request `missing` says which of its
    fields need a beta that is absent, and a beta that the body cannot do without stays in `value`. Raises
    `Invalid` for a word that is none, and for a body that is no object.
    """
    if body is not None and not isinstance(body, dict):
        raise Invalid("`body` must be the JSON object that the request sends.")
    if (value is None) == (betas is None):
        raise Invalid("Give `value` (as it is sent) or `betas` (a list of names), one of them.")
    names = read_header(value if value is not None else betas or ())
    ask = Ask(
        requested=tuple(("beta", name) for name in names),
        platform=platform,
        api=api,
        hosting=hosting,
        region=region,
        model=model,
        endpoint=endpoint,
        target=target,
        policy="filter",
    )
    resolver = Resolver(snapshot, stale=stale)
    answer = resolver.resolve(ask, today)
    judged = resolver.judge(names, ask, today)
    found = pair(answer, judged, resolver.judge_at(ask, today), body)
    return {
        "valid": not any(item.fails for item in judged),
        "value": found.resolution.value,
        "betas": [_verdict(_with_body(item, found)) for item in judged],
        "missing": missing_json(found.missing),
    }


def _with_body(judged: Judgement, found: Paired) -> Judgement:
    """Tell of a failing beta what must go with it, or why it must not go."""
    if not judged.fails or judged.beta is None:
        return judged
    if judged.name in found.cut.held:
        extra = essential_warning(judged, found.cut)
    elif gone := [use for use in found.cut.removed if use in _allowed_by(judged.beta)]:
        extra = Warning_("body_fields", f"Take {', '.join(gone)} out of the body with it.")
    else:
        return judged
    return replace(judged, warnings=(*judged.warnings, extra))


def _allowed_by(beta: Beta) -> Collection[str]:
    return (*beta.body_fields, *beta.tool_types)


def _verdict(item: Judgement) -> dict[str, Json]:
    return {
        "name": item.requested,
        "verdict": item.verdict,
        "use_instead": item.use_instead,
        "alternatives": alternatives_json(item.alternatives),
        "detail": item.detail,
        "warnings": warnings_json(item.warnings),
        "did_you_mean": list(item.near),
        "basis": item.basis,
        "certainty": item.certainty,
        "since": item.since.isoformat() if item.since else None,
    }


# --- Features -------------------------------------------------------------------------------------


def features(snapshot: Snapshot) -> list[dict[str, Json]]:
    """Return every feature: `feature`, `current`, `choices` (its live betas) and all `betas`."""
    judge = Judge(snapshot.betas, HOME)
    grouped = judge.index.features
    return [_feature(name, grouped[name], judge) for name in sorted(grouped)]


def feature(snapshot: Snapshot, name: str) -> dict[str, Json]:
    """Return one feature in the same shape. Raises `NotFound`."""
    judge = Judge(snapshot.betas, HOME)
    betas = judge.index.features.get(name)
    if betas is None:
        raise NotFound(judge.index.unknown(name, feature=True))
    return _feature(name, betas, judge)


def _feature(name: str, betas: Sequence[Beta], judge: Judge) -> dict[str, Json]:
    ordered = sorted(betas, key=lambda beta: sort_key(beta.name))
    return {
        "feature": name,
        "current": judge.current(betas),
        "choices": judge.choices(betas),
        "betas": [beta.name for beta in ordered],
    }

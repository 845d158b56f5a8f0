"""What to send: a snapshot and a request in, a header value out, with a reason for every difference.

A pure function over an immutable snapshot, run alike by the server and by clients on their own copy.

    resolve   betas and features -> the value to send, what was dropped, what to know about the rest
    Resolver  the same for many requests on one snapshot: it remembers how it judged each name
    check     a value as it stands -> a verdict on every name in it
    features  every feature with its current beta
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from heapq import nlargest
from itertools import pairwise
from typing import Any, Final, Literal, cast, get_args

from registry.core.errors import Invalid, NotFound
from registry.core.facts import Beta, Exception_, Json, PlatformState, Snapshot, State, Status
from registry.core.names import (
    ANTHROPIC_OPERATED,
    NAME_MAX,
    PLATFORMS,
    Platform,
    is_well_formed,
    model_matches,
    parse,
    read_header,
    sort_key,
)

__all__ = [
    "MAX_NAMES",
    "Ask",
    "Deprecation",
    "Place",
    "Resolution",
    "Resolver",
    "View",
    "check",
    "current_of",
    "did_you_mean",
    "feature",
    "features",
    "resolve",
    "severity",
    "successor",
    "view_at",
]

Policy = Literal["strict", "filter", "advise"]
OnUnknown = Literal["error", "pass", "drop"]
Kind = Literal["beta", "feature"]

HEADER: Final = "anthropic-beta"
BODY_FIELD: Final = "anthropic_beta"
MAX_NAMES: Final = 500
"""Names in one request; upstream takes far fewer."""

_LIVE: Final = ("active", "deprecated")

_PLACES: Final = 32
"""Places remembered by a `Resolver`, each with the names that are known there: some megabytes at most."""
_PLACE_MAX: Final = 1000
"""Characters that describe a place which is remembered; models are free text."""

_POLICIES: Final = get_args(Policy)
_ON_UNKNOWN: Final = get_args(OnUnknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request: betas and features in the order asked, and where they will be sent.

    What is None is taken from `target`, else from the defaults: platform `anthropic`, endpoint
    `messages`, and on Bedrock the API `invoke`.
    """

    requested: tuple[tuple[str, str], ...] = ()
    platform: str | None = None
    api: str | None = None
    model: str | None = None
    endpoint: str | None = None
    target: str | None = None
    policy: str = "strict"
    on_unknown: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request goes. `endpoint_asked` tells a named endpoint from the default."""

    platform: Platform = "anthropic"
    api: str | None = None
    model: str | None = None
    endpoint: str = "messages"
    endpoint_asked: bool = False


_ANYWHERE: Final = Place()


@dataclass(frozen=True, slots=True)
class Warning_:  # noqa: N801 - `Warning` is taken
    """Something to know about a beta that is sent nevertheless."""

    code: str
    detail: str


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
    superseded_by: str | None


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

    def to_json(self) -> dict[str, Json]:
        """Print it in the shape of the contract (`GET /v1/header`)."""
        in_body = self.place.platform == "bedrock" and self.place.api == "invoke"
        names = [item.name for item in self.sent]
        return {
            "header": HEADER,
            "value": self.value,
            "omit": not names,
            "platform": self.place.platform,
            "placement": "body" if in_body else "header",
            "body": {BODY_FIELD: names} if in_body and names else None,
            "betas": [_sent_json(item) for item in self.sent],
            "dropped": [_dropped_json(item) for item in self.dropped],
            "revision": self.revision,
        }


def _sent_json(item: Sent) -> Json:
    warnings = [{"code": warning.code, "detail": warning.detail} for warning in item.warnings]
    return {
        "name": item.name,
        "requested": item.requested,
        "status": item.status,
        "warnings": warnings,
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


def _place(snapshot: Snapshot, ask: Ask) -> Place:
    """Complete and check where a request goes. Raises `Invalid` or `NotFound`."""
    given: Mapping[str, str | None] = {}
    if ask.target:
        if ask.target not in snapshot.targets:
            known = ", ".join(sorted(snapshot.targets)) or "none is configured"
            raise NotFound(f"There is no target {ask.target[:64]!r}; known targets: {known}.")
        given = snapshot.targets[ask.target]
    platform = ask.platform or given.get("platform") or "anthropic"
    _word(platform, PLATFORMS, "platform")
    api = ask.api or (given.get("api") if platform == given.get("platform") else None)
    if platform == "bedrock":
        api = api or "invoke"
        _word(api, ("invoke", "mantle"), "Bedrock API")
    elif api:
        raise Invalid(f"`api` is for bedrock only; leave it out for {platform}.")
    endpoint = _endpoint(ask.endpoint or given.get("endpoint") or "messages")
    return Place(
        platform=cast(Platform, platform),
        api=api,
        model=ask.model or given.get("model") or None,
        endpoint=endpoint,
        endpoint_asked=bool(ask.endpoint),
    )


def _endpoint(text: str) -> str:
    """Take `/v1/messages` for `messages`, and what a target probes by default for messages."""
    plain = text.strip().strip("/").removeprefix("v1/").split("?")[0]
    return "messages" if plain in ("auto", "models", "list", "") else plain.replace("/", ".")


def _word(word: str, allowed: Sequence[str], what: str) -> None:
    if word not in allowed:
        raise Invalid(f"{word[:64]!r} is not a {what}; use one of {', '.join(allowed)}.")


# --- One beta at one place ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known of one beta at one place, exceptions applied."""

    status: Status
    accepted: bool | None
    state: State
    names: tuple[str, ...]
    wrong: str | None = None  # `wrong_model` or `wrong_endpoint`, where a refusal is known


_NOTHING: Final = PlatformState()


def view_at(beta: Beta, place: Place) -> View:
    """Return what is known of a beta at one place."""
    known = beta.platforms.get(place.platform, _NOTHING)
    accepted = known.accepted
    if accepted is None and place.platform in ANTHROPIC_OPERATED:
        accepted = beta.accepted
    view = View(
        status=beta.status, accepted=accepted, state=known.state, names=known.names or (beta.name,)
    )
    for exception in beta.exceptions:
        if _applies(exception, place):
            view = _with_exception(view, exception)
    return view


def _applies(exception: Exception_, place: Place) -> bool:
    if exception.platform is not None and exception.platform != place.platform:
        return False
    if exception.endpoint is not None and _endpoint(exception.endpoint) != place.endpoint:
        return False
    if exception.model is None:
        return True
    return place.model is not None and model_matches(exception.model, place.model)


def _with_exception(view: View, exception: Exception_) -> View:
    wrong, state = view.wrong, view.state
    if exception.accepted is False:
        if exception.model is not None:
            wrong = "wrong_model"
        elif exception.endpoint is not None:
            wrong = "wrong_endpoint"
        else:
            state = "refused"
    elif exception.accepted is True:
        wrong, state = None, "supported"
    return replace(
        view,
        status=exception.status or view.status,
        accepted=view.accepted if exception.accepted is None else exception.accepted,
        state=state,
        wrong=wrong,
    )


# --- Judging --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One requested item: what would be sent for it, and what is wrong with it."""

    requested: str
    beta: Beta | None
    names: tuple[str, ...]
    status: str
    reason: str | None = None  # why it is invalid
    detail: str = ""
    use_instead: str | None = None
    needless: bool = False  # ga, and the header does nothing
    warnings: tuple[Warning_, ...] = ()

    # What an answer says of the item, made once: the same item is judged for many answers.
    sent: tuple[Sent, ...] = ()
    dropped: Dropped | None = None
    deprecation: Deprecation | None = None


def _with_answers(item: _Judged) -> _Judged:
    """Complete an item by what an answer says if it is sent, and if it is not."""
    warnings = item.warnings
    if item.reason is not None:
        warnings = (Warning_(item.reason, item.detail), *warnings)
    sent = tuple(
        Sent(name=name, requested=item.requested, status=item.status, warnings=warnings)
        for name in item.names
    )
    ended = item.beta is not None and item.status == "deprecated"
    deprecation = _deprecation(item.beta) if ended and item.beta is not None else None
    return replace(item, sent=sent, dropped=_drop(item), deprecation=deprecation)


class _Judge:
    """Judges betas and features at one place. It remembers its judgements of names that are known.

    The others are whatever somebody sends, so they are judged anew each time.
    """

    def __init__(self, snapshot: Snapshot, place: Place, index: _Index) -> None:
        self.place = place
        self._snapshot, self._place, self._index = snapshot, place, index
        self._memo: dict[tuple[str, str], _Judged] = {}

    def item(self, asked: tuple[str, str]) -> _Judged:
        """Judge a requested item, (kind, text). Raises `Invalid` for an ambiguous feature."""
        known = self._memo.get(asked)
        if known is None:
            kind, text = asked
            known = _with_answers(self.feature(text) if kind == "feature" else self.beta(text))
            if known.beta is not None:
                self._memo[asked] = known
        return known

    def beta(self, name: str) -> _Judged:
        """Judge a beta asked for by its name."""
        if not is_well_formed(name):
            return _Judged(
                requested=name,
                beta=None,
                names=(),
                status="unknown",
                reason="malformed",
                detail="Not a beta name: use 1 to 128 letters, digits, '.', '_' or '-'.",
            )
        beta = self._snapshot.betas.get(name)
        if beta is None:
            beta = self._index.by_other_name.get((self._place.platform, name))
            if beta is None:
                return self._unknown(name)
            judged = self._judge(name, beta)
            return replace(judged, names=(name,))
        return self._judge(name, beta)

    def _judge(self, requested: str, beta: Beta) -> _Judged:
        place, view = self._place, view_at(beta, self._place)
        reason, detail = _problem(beta, view, place)
        return _Judged(
            requested=requested,
            beta=beta,
            names=view.names,
            status=view.status,
            reason=reason,
            detail=detail,
            use_instead=successor(self._snapshot.betas, beta, place),
            needless=view.status == "ga" and beta.header_effect == "ignored",
            warnings=_warnings(beta, view, place) if reason is None else (),
        )

    def feature(self, name: str) -> _Judged:
        """Judge a feature: its current beta here. Raises `Invalid` if it is ambiguous."""
        betas = self._index.features.get(name)
        if not betas:
            return self._unknown(name, feature=True)
        current = current_of(betas, self._place)
        if current is not None:
            judged = self._judge(name, self._snapshot.betas[current])
            return self._not_needed(judged) if judged.status == "ga" else judged
        views = {beta.name: view_at(beta, self._place) for beta in betas}
        live = [name for name, view in views.items() if view.status in _LIVE]
        open_ = sorted((n for n in live if views[n].state != "refused"), key=sort_key)
        if len(open_) > 1:
            raise Invalid(
                f"{name} has several live betas and none is stated as current; ask for one of "
                f"{', '.join(open_)} by its name.",
                slug="ambiguous-feature",
                extra={"feature": name, "choices": open_},
            )
        ordered = sorted(betas, key=lambda beta: sort_key(beta.name), reverse=True)
        for wanted in ("ga", "live", "retired"):
            for beta in ordered:
                status = views[beta.name].status
                if status == wanted or (wanted == "live" and status in _LIVE):
                    judged = self._judge(name, beta)
                    return self._not_needed(judged) if wanted == "ga" else judged
        return replace(self._judge(name, ordered[0]), names=())

    @staticmethod
    def _not_needed(judged: _Judged) -> _Judged:
        assert judged.beta is not None
        return replace(
            judged,
            names=(),
            reason=None,
            needless=True,
            warnings=(),
            detail=f"{judged.requested} is generally available here and needs no beta header "
            f"({judged.beta.name}).",
        )

    def _unknown(self, name: str, *, feature: bool = False) -> _Judged:
        return _Judged(
            requested=name,
            beta=None,
            names=() if feature else (name,),
            status="unknown",
            reason="unknown",
            detail=self._index.unknown(name, feature=feature),
        )


def _problem(beta: Beta, view: View, place: Place) -> tuple[str | None, str]:
    """Return why the beta is invalid at this place, with a sentence; (None, "") if it is not."""
    name = beta.name
    where = place.platform
    if view.status == "unverified":
        return "unknown", f"{name} is unverified: {beta.status_reason}"
    if view.status == "retired" and not view.accepted:
        when = f" on {beta.retired_on}" if beta.retired_on else ""
        return "retired", f"{name} was retired{when}: {beta.status_reason}"
    if view.wrong == "wrong_model":
        return "wrong_model", f"{name} is refused for the model {place.model} on {where}."
    if view.wrong == "wrong_endpoint":
        return "wrong_endpoint", f"{name} is refused on the endpoint {place.endpoint}."
    if view.state == "refused" and beta.gate == "public":
        return "refused", f"{name} is refused on {where}."
    return None, ""


def _warnings(beta: Beta, view: View, place: Place) -> tuple[Warning_, ...]:
    """Return what to know about a beta that can be sent."""
    found = [*_status_warnings(beta, view), *_state_warnings(beta, view, place)]
    if beta.disputed:
        found.append(Warning_("disputed", f"The evidence contradicts itself: {beta.disputed}"))
    if beta.superseded_by and view.status == "active":
        found.append(Warning_("superseded", f"{beta.superseded_by} replaces {beta.name}."))
    if place.model and beta.models and not _listed(beta.models, place.model):
        models = ", ".join(beta.models)
        found.append(
            Warning_(
                "model_not_listed", f"{beta.name} is known for {models}; not for {place.model}."
            )
        )
    listed = {_endpoint(endpoint) for endpoint in beta.endpoints}
    if place.endpoint_asked and listed and place.endpoint not in listed:
        found.append(
            Warning_(
                "endpoint_not_listed",
                f"{beta.name} is known for {', '.join(sorted(listed))}; not for {place.endpoint}.",
            )
        )
    return tuple(found)


def _listed(models: Iterable[str], model: str) -> bool:
    return any(model_matches(pattern, model) for pattern in models)


def _status_warnings(beta: Beta, view: View) -> list[Warning_]:
    match view.status:
        case "deprecated":
            end = f" It ends on {beta.sunset_on}." if beta.sunset_on else ""
            instead = f" Use {beta.superseded_by}." if beta.superseded_by else ""
            return [Warning_("deprecated", f"{beta.name} is deprecated.{end}{instead}")]
        case "retired":
            return [Warning_("no_effect", f"{beta.name} is retired: accepted, and without effect.")]
        case "ga" if beta.header_effect == "changes_response":
            text = f"{beta.name} is generally available; the header still changes the response."
            return [Warning_("changes_response", text)]
        case "ga":
            return [
                Warning_(
                    "not_needed", f"{beta.name} is generally available: the header is not needed."
                )
            ]
    return []


def _state_warnings(beta: Beta, view: View, place: Place) -> list[Warning_]:
    match view.state:
        case "refused":
            text = (
                f"{beta.name} is refused on {place.platform}, unless your organisation was let in."
            )
            return [Warning_("refused", text)]
        case "restricted":
            text = f"{beta.name} needs a key or plan that may use it on {place.platform}."
            return [Warning_("restricted", text)]
        case "unknown":
            text = f"Nothing proves that {beta.name} works on {place.platform}."
            return [Warning_("unproven", text)]
    return []


# --- Resolving ------------------------------------------------------------------------------------


def resolve(snapshot: Snapshot, ask: Ask, today: date) -> Resolution:
    """Resolve a request.

    Raises `Invalid` with slug `invalid-beta` (`invalid` and `would_send` in `extra`) when the policy
    allows no difference and there is one; with slug `ambiguous-feature` (`choices`) when a feature
    has several live betas and no current one; and for a word that is none. `today` is the day in UTC.
    """
    return Resolver(snapshot).resolve(ask, today)


class Resolver:
    """Resolves many requests against one snapshot; threads may share it.

    What it remembers depends on the snapshot alone, so a lost race between two threads costs only
    that a name is judged twice.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._index = _Index(snapshot)
        self._judges: dict[tuple[str | None, ...], _Judge] = {}

    def resolve(
        self, ask: Ask, today: date, requested: tuple[tuple[str, str], ...] | None = None
    ) -> Resolution:
        """Resolve a request, as the function `resolve` does.

        `requested` stands for the ask's own, where one `Ask` serves for many requests to one place.
        """
        _word(ask.policy, _POLICIES, "policy")
        if ask.on_unknown:
            _word(ask.on_unknown, _ON_UNKNOWN, "value of on_unknown")
        wanted = ask.requested if requested is None else requested
        if len(wanted) > MAX_NAMES:
            raise Invalid(f"At most {MAX_NAMES} names can be asked for at once.")
        judge = self._judge(ask)
        judged = [judge.item(asked) for asked in dict.fromkeys(wanted)]
        judged = _with_conflicts(judged, judge.place)
        answer, invalid = _answer(self.snapshot, judge.place, judged, ask)
        if invalid:
            lenient = replace(ask, policy="filter", on_unknown=_lenient(ask))
            raise _invalid_beta(invalid, self.resolve(lenient, today, wanted))
        return answer

    def _judge(self, ask: Ask) -> _Judge:
        key = ask.platform, ask.api, ask.model, ask.endpoint, ask.target
        judge = self._judges.get(key)
        if judge is None:
            judge = _Judge(self.snapshot, _place(self.snapshot, ask), self._index)
            if sum(len(str(part)) for part in key) <= _PLACE_MAX:
                if len(self._judges) >= _PLACES:
                    self._judges.clear()
                self._judges[key] = judge
        return judge

    def judge(self, names: Sequence[str], ask: Ask) -> list[_Judged]:
        """Judge betas by their names, conflicts among them included."""
        judge = self._judge(ask)
        return _with_conflicts([judge.item(("beta", name)) for name in names], judge.place)


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


def _lenient(ask: Ask) -> str | None:
    return None if ask.on_unknown == "error" else ask.on_unknown


def _with_conflicts(judged: list[_Judged], place: Place) -> list[_Judged]:
    """Mark the later of two betas that exclude each other here."""
    for item in judged:
        if item.beta is not None and item.beta.conflicts_with:
            break
    else:
        return judged
    kept: list[Beta] = []
    result = []
    for item in judged:
        beta = item.beta
        if beta is None or item.reason is not None or not item.names:
            result.append(item)
            continue
        rival = next((other for other in kept if _exclude(other, beta, place)), None)
        if rival is None:
            kept.append(beta)
            result.append(item)
            continue
        detail = f"{beta.name} cannot be sent together with {rival.name}."
        clash = replace(item, reason="conflict", detail=detail, warnings=())
        result.append(_with_answers(clash))
    return result


def _exclude(one: Beta, other: Beta, place: Place) -> bool:
    if one.name == other.name:
        return False
    pairs = ((one, other), (other, one))
    return any(
        link.beta == right.name and _here(link.endpoint, place)
        for left, right in pairs
        for link in left.conflicts_with
    )


def _here(endpoint: str | None, place: Place) -> bool:
    return endpoint is None or _endpoint(endpoint) == place.endpoint


def _answer(
    snapshot: Snapshot, place: Place, judged: list[_Judged], ask: Ask
) -> tuple[Resolution, list[Dropped]]:
    """Apply the policy: returns the answer, and what makes it an error."""
    on_unknown = ask.on_unknown or ("error" if ask.policy == "strict" else "pass")
    sent: dict[str, Sent] = {}
    dropped: list[Dropped] = []
    invalid: list[Dropped] = []
    kept: list[Beta] = []
    deprecations: dict[Deprecation, None] = {}
    needy = False
    for item in judged:
        plain = item.reason is None and not item.needless and item.names
        fate = "send" if plain else _fate(item, ask.policy, on_unknown)
        if fate != "send":
            (invalid if fate == "error" else dropped).append(item.dropped or _drop(item))
            continue
        for one in item.sent:
            sent.setdefault(one.name, one)
        if item.beta is not None:
            kept.append(item.beta)
            needy = needy or bool(item.beta.requires)
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


def _fate(item: _Judged, policy: str, on_unknown: str) -> Literal["send", "drop", "error"]:
    """Decide what the policy does with one item.

    What no server could read (malformed), and a feature that has no name to send, is never sent.
    """
    if item.reason is None:
        if not item.names:
            return "drop"
        return "drop" if item.needless and policy == "filter" else "send"
    if item.reason == "unknown":
        if on_unknown == "error":
            return "error"
        return "send" if on_unknown == "pass" and item.names else "drop"
    if policy == "strict":
        return "error"
    return "send" if policy == "advise" and item.names and item.reason != "malformed" else "drop"


def _drop(item: _Judged) -> Dropped:
    reason = item.reason or "ga"
    detail = item.detail or f"{item.requested} is generally available: the header is ignored."
    fields = item.beta.body_fields if item.beta is not None and reason != "ga" else ()
    return Dropped(
        requested=item.requested,
        reason=reason,
        detail=detail,
        use_instead=item.use_instead,
        body_fields=fields,
    )


def _with_companions(sent: dict[str, Sent], kept: list[Beta], place: Place) -> dict[str, Sent]:
    """Warn of companions that a beta needs here and that are not sent with it."""
    present = set(sent) | {beta.name for beta in kept}
    for beta in kept:
        missing = [
            link.beta
            for link in beta.requires
            if _here(link.endpoint, place) and link.beta not in present
        ]
        first = next((name for name in _names(beta, place) if name in sent), None)
        if missing and first is not None:
            text = (
                f"{beta.name} needs {', '.join(missing)}, which is not among the betas asked for."
            )
            extra = Warning_("companion_missing", text)
            sent[first] = replace(sent[first], warnings=(*sent[first].warnings, extra))
    return sent


def _names(beta: Beta, place: Place) -> tuple[str, ...]:
    return (*view_at(beta, place).names, beta.name)


def _deprecation(beta: Beta) -> Deprecation:
    return Deprecation(
        beta=beta.name,
        deprecated_on=beta.deprecated_on,
        sunset_on=beta.sunset_on,
        superseded_by=beta.superseded_by,
    )


# --- Checking -------------------------------------------------------------------------------------

_FAILS: Final = frozenset(
    {"malformed", "retired", "refused", "wrong_model", "wrong_endpoint", "conflict"}
)
_NEEDS_CARE: Final = frozenset({"deprecated", "not_needed", "no_effect", "unknown"})
_VERDICTS: Final = {
    "restricted": "restricted",
    "refused": "restricted",  # refused in general, but this gate opens for some organisations
    "deprecated": "deprecated",
    "no_effect": "no_effect",
    "changes_response": "changes_response",
    "not_needed": "not_needed",
    "unproven": "unproven",
}
"""Warnings that are verdicts, the weightiest first."""


def severity(verdict: str) -> int:
    """Return what a verdict weighs, as an exit code: 3 a request would fail, 2 to be changed, 0 fine."""
    if verdict in _FAILS:
        return 3
    return 2 if verdict in _NEEDS_CARE else 0


def check(
    snapshot: Snapshot,
    *,
    value: str | None = None,
    betas: Sequence[str] | None = None,
    platform: str | None = None,
    api: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    target: str | None = None,
    today: date,
) -> dict[str, Json]:
    """Judge a header value, or names, in the shape of the contract (`POST /v1/check`).

    `valid` is false only if a request would fail. Raises `Invalid` for a word that is none.
    """
    if (value is None) == (betas is None):
        raise Invalid("Give `value` (as it is sent) or `betas` (a list of names), one of them.")
    names = read_header(value if value is not None else betas or ())
    ask = Ask(
        requested=tuple(("beta", name) for name in names),
        platform=platform,
        api=api,
        model=model,
        endpoint=endpoint,
        target=target,
        policy="filter",
    )
    resolver = Resolver(snapshot)
    answer = resolver.resolve(ask, today)
    verdicts = [_verdict(item) for item in resolver.judge(names, ask)]
    return {
        "valid": not any(item["verdict"] in _FAILS for item in verdicts),
        "value": answer.value,
        "betas": verdicts,
    }


def _verdict(item: _Judged) -> dict[str, Any]:
    codes = {warning.code: warning.detail for warning in item.warnings}
    verdict, detail = item.reason, item.detail
    if verdict is None:
        code = next((code for code in _VERDICTS if code in codes), None)
        verdict = _VERDICTS[code] if code else "ok"
        detail = codes[code] if code else "Can be sent."
    return {
        "name": item.requested,
        "verdict": verdict,
        "use_instead": item.use_instead,
        "detail": detail,
    }


# --- Features -------------------------------------------------------------------------------------


def current_of(betas: Iterable[Beta], place: Place = _ANYWHERE) -> str | None:
    """Return the current beta of a feature at a place, if there is one.

    A stated one holds unless it is refused there or retired; else the only one that is active or
    deprecated and not refused there (CONTRACT, section 1).
    """
    here = [(beta, view) for beta in betas if (view := view_at(beta, place)).state != "refused"]
    for beta, view in here:
        if beta.current and view.status != "retired":
            return beta.name
    live = [beta.name for beta, view in here if view.status in _LIVE]
    return live[0] if len(live) == 1 else None


def successor(
    betas: Mapping[str, Beta], beta: Beta, place: Place = _ANYWHERE, *, refused: bool = False
) -> str | None:
    """Return what to use instead: the end of the chain of successors, if it can be sent there.

    Else the current beta of the feature, but only for a beta that is retired, deprecated or refused at
    the place; `refused` says that the caller knows of a refusal himself.
    """
    seen = {beta.name}
    following = beta.superseded_by
    while following and following not in seen:
        seen.add(following)
        found = betas.get(following)
        if found is None:
            return following
        view = view_at(found, place)
        if view.status in _LIVE and view.state != "refused":
            return following
        following = found.superseded_by
    dying = beta.status in ("retired", "deprecated") or view_at(beta, place).state == "refused"
    if not dying and not refused:
        return None
    current = current_of([b for b in betas.values() if b.feature == beta.feature], place)
    return current if current not in seen else None


def features(snapshot: Snapshot) -> list[dict[str, Json]]:
    """Return every feature: `feature`, `current`, `choices` (its live betas) and all `betas`."""
    grouped = _Index(snapshot).features
    return [_feature(name, grouped[name]) for name in sorted(grouped)]


def feature(snapshot: Snapshot, name: str) -> dict[str, Json]:
    """Return one feature in the same shape. Raises `NotFound`."""
    index = _Index(snapshot)
    betas = index.features.get(name)
    if betas is None:
        raise NotFound(index.unknown(name, feature=True))
    return _feature(name, betas)


def _feature(name: str, betas: list[Beta]) -> dict[str, Json]:
    ordered = sorted(betas, key=lambda beta: sort_key(beta.name))
    return {
        "feature": name,
        "current": current_of(betas),
        "choices": [beta.name for beta in ordered if beta.status in _LIVE],
        "betas": [beta.name for beta in ordered],
    }


# --- Names that are not known ---------------------------------------------------------------------


class _Index:
    """The names of one snapshot. Each part is made when it is first asked for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._betas = snapshot.betas

    @cached_property
    def features(self) -> Mapping[str, list[Beta]]:
        """The betas of each feature."""
        grouped: dict[str, list[Beta]] = {}
        for beta in self._betas.values():
            grouped.setdefault(beta.feature, []).append(beta)
        return grouped

    @cached_property
    def by_other_name(self) -> Mapping[tuple[Platform, str], Beta]:
        """Betas by the names that they go by on a platform."""
        return {
            (platform, name): beta
            for beta in reversed(list(self._betas.values()))  # the first one named so counts
            for platform, known in beta.platforms.items()
            for name in known.names
        }

    @cached_property
    def _near_betas(self) -> _Spellings:
        return _Spellings(self._betas)

    @cached_property
    def _near_features(self) -> _Spellings:
        return _Spellings(self.features)

    def unknown(self, name: str, *, feature: bool) -> str:
        """Say that a beta or feature is not known, and which names are like it."""
        shown = name[:140]
        if feature and name in self._betas:
            return f"{shown} is a beta, not a feature; ask for it as a beta."
        if not feature and name in self.features:
            return f"{shown} is a feature, not a beta; ask for it as a feature."
        near = (self._near_features if feature else self._near_betas).like(name)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        return f"{shown} is not in the registry.{hint}"


def did_you_mean(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return up to three known names that look like a misspelt one, the likeliest first."""
    return _Spellings(known).like(name)


_ALIKE: Final = 0.6
"""Share of the pairs of letters that two spellings of a name have in common (Dice's coefficient)."""
_LENGTHS: Final = 12
"""Characters by which two such spellings may differ in length."""


class _Spellings:
    """Finds names by a misspelt one.

    Names come from whoever asks, hundreds at once, so that the work is bounded: features are compared as
    bits, one for each pair of letters that stand together, which takes some ten microseconds a name.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._names: dict[str, list[str]] = {}
        for name in sorted(known, reverse=True):
            self._names.setdefault(parse(name).feature.lower(), []).append(name)
        marked = [(feature, _pairs(feature)) for feature in self._names]
        self._marks = [(len(name), bits, bits.bit_count(), name) for name, bits in marked]

    def like(self, name: str) -> tuple[str, ...]:
        """Return up to three names: other dates of the same feature, then those of the likest features."""
        wanted = parse(name[:NAME_MAX].lower()).feature
        length, bits = len(wanted), _pairs(wanted)
        count = bits.bit_count()
        alike = [
            (share, feature)
            for size, marks, total, feature in self._marks
            if -_LENGTHS <= size - length <= _LENGTHS
            and (share := 2 * (marks & bits).bit_count() / (count + total or 1)) >= _ALIKE
            and feature != wanted
        ]
        near = [wanted, *(feature for _, feature in nlargest(3, alike))]
        found = [other for feature in near for other in self._names.get(feature, ())]
        return tuple([other for other in found if other != name][:3])


def _pairs(text: str) -> int:
    """Return which letters follow each other in a text, at once or after one more, as bits of a number.

    Two letters that changed places so still leave most of it as it was.
    """
    bits = 0
    for one, other in {*pairwise(text), *zip(text, text[2:])}:  # noqa: B905 - the longer one is cut
        bits |= 1 << (ord(one) * 31 + ord(other)) % 1021
    return bits

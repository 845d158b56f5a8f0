"""The one judgement: what holds for one beta at one place now (CONTRACT, section 2, rule 0).

    Judge(betas, place)      judges betas and features at one place, and remembers what it judged
    Judgement                the verdict, its sentence and basis, since when, what else holds, what to do
    Judges                   the judges of one snapshot for many places

Everything else asks: header, check, diagnose, scan, client, inventory, report, alerts, exports, pages. Nobody
else reads a beta's status or state but to print it. Pure, and shared by server and client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Final, Literal, get_args

from registry.core.errors import Invalid
from registry.core.facts import (
    Basis,
    Beta,
    Json,
    PlaceFact,
    Snapshot,
    State,
    Status,
)
from registry.core.names import (
    ANTHROPIC_OPERATED,
    PLATFORMS,
    Platform,
    is_well_formed,
    model_matches,
    sort_key,
)
from registry.core.places import (
    APIS,
    DEFAULT_ENDPOINT,
    HOSTINGS,
    MAX_PART,
    Place,
    covers,
    endpoint_name,
    may_cover,
    place_of,
)
from registry.core.placing import RANK, rank
from registry.core.spelling import Spellings

__all__ = [
    "FAILS",
    "HOME",
    "ISSUES",
    "VERDICTS",
    "Alternative",
    "Index",
    "Issue",
    "Judge",
    "Judgement",
    "Judges",
    "Verdict",
    "Warning_",
    "alternatives_json",
    "companions",
    "current_of",
    "judges_of",
    "lenient_place",
    "severity",
    "with_conflicts",
]

Verdict = Literal[
    "malformed",
    "refused",
    "wrong_model",
    "wrong_endpoint",
    "retired",
    "conflict",
    "restricted",
    "deprecated",
    "no_effect",
    "changes_response",
    "not_needed",
    "unknown",
    "unproven",
    "ok",
]
"""In the order of rule 0: what fails, then what is told."""
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
FAILS: Final[frozenset[Verdict]] = frozenset(VERDICTS[: VERDICTS.index("conflict") + 1])
_OF_STATE: Final = frozenset(
    {"refused", "wrong_model", "wrong_endpoint", "restricted", "unproven", "ok"}
)
"""Verdicts that the state at the place decides."""
_NEEDS_CARE: Final = frozenset({"deprecated", "not_needed", "no_effect", "unknown"})

Issue = Literal["retired", "refused", "deprecated", "ga", "superseded", "unknown"]
"""The few words by which a team sorts its work."""
ISSUES: Final[tuple[Issue, ...]] = get_args(Issue)
_ISSUE_OF: Final[Mapping[Verdict, Issue]] = {
    "malformed": "unknown",
    "refused": "refused",
    "wrong_model": "refused",
    "wrong_endpoint": "refused",
    "retired": "retired",
    "no_effect": "retired",
    "deprecated": "deprecated",
    "not_needed": "ga",
    "unknown": "unknown",
}

Certainty = Literal["proven", "stated", "guessed", "unknown"]
"""How sure a state is: found by asking, or told by an operator; said in public; a hint; nothing."""
_CERTAINTIES: Final[tuple[Certainty, ...]] = get_args(Certainty)
_CERTAINTY: Final[Mapping[Basis, Certainty]] = {
    "operator": "proven",
    "probed": "proven",
    "traffic": "proven",
    "declared": "stated",
    "reported": "stated",
    "sdk": "guessed",
    "litellm": "guessed",
    "inferred": "guessed",
    "usage": "guessed",
}

HOME: Final = Place(platform="anthropic")
"""The place that is meant where none is said."""

_LIVE: Final = ("active", "deprecated")


@dataclass(frozen=True, slots=True)
class Warning_:  # noqa: N801 - `Warning` is taken
    """Something that holds for a beta beside its verdict; `code` is a word, `detail` a sentence."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another live version of a feature, and how well it is proven at the place."""

    name: str
    state: State
    basis: Basis | None
    certainty: Certainty
    at: date | None
    body_fields: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What holds for one name at one place.

    `names` are what to send for it there (empty for a feature that needs nothing). `status` and `state`
    hold at the place; `status` is `unknown` for a name that the registry does not hold. `since` is when
    the state or status that decides began. `needless`: the header can go without any loss. `fact` is the
    evidence that decides the state; `retired_elsewhere` stands in `warnings` by its code.
    """

    requested: str
    place: Place
    beta: Beta | None
    names: tuple[str, ...]
    verdict: Verdict
    detail: str
    status: Status | Literal["unknown"] = "unknown"
    state: State = "unknown"
    basis: Basis | None = None
    certainty: Certainty = "unknown"
    since: date | None = None
    fact: PlaceFact | None = None
    warnings: tuple[Warning_, ...] = ()
    use_instead: str | None = None
    instead: Alternative | None = None
    alternatives: tuple[Alternative, ...] = ()
    needless: bool = False
    near: tuple[str, ...] = ()
    issue: Issue | None = field(default=None)

    @property
    def name(self) -> str:
        """Return the beta's own name, else what was asked for."""
        return self.beta.name if self.beta is not None else self.requested

    @property
    def fails(self) -> bool:
        """Say whether a request with it fails now."""
        return self.verdict in FAILS

    @property
    def free(self) -> bool:
        """Say whether what it allows in a request's body needs no header at the place any more."""
        return self.status == "ga"

    @property
    def at_risk(self) -> bool:
        """Say whether requests with it fail or will fail, or its header does nothing any more."""
        return self.issue in ("retired", "refused", "deprecated")

    @property
    def turned_at(self) -> datetime | None:
        """Return from when on answers speak of what holds now: those before its turn say nothing of it.

        Where only the day of the turn is known, it is the end of that day.
        """
        if self.verdict in _OF_STATE and self.fact is not None and self.fact.since is not None:
            return self.fact.since
        if self.since is None or self.since == date.max:
            return None
        return datetime.combine(self.since + timedelta(days=1), time(), UTC)

    @property
    def severity(self) -> int:
        """Return what the verdict weighs as an exit code: 3 a request fails, 2 to be changed, 0 fine."""
        return severity(self.verdict)

    @property
    def body_fields(self) -> tuple[str, ...]:
        """Return the body fields that go with the header."""
        return self.beta.body_fields if self.beta is not None else ()

    @property
    def sunset_on(self) -> date | None:
        """Return the announced end that holds at the place."""
        return _stated(self.beta, self.place, "sunset_on") if self.beta is not None else None

    @property
    def deprecated_on(self) -> date | None:
        """Return since when an end is announced at the place."""
        return _stated(self.beta, self.place, "deprecated_on") if self.beta is not None else None

    @property
    def advice(self) -> str:
        """Say in a sentence what to do; empty where nothing is to be done."""
        replace_by = f"Replace it by {self.use_instead}." if self.use_instead else ""
        match self.issue:
            case "retired" if self.verdict == "no_effect":
                return replace_by or "Remove it: it has no effect any more."
            case "retired" | "refused":
                return replace_by or "Remove it, and the body fields that belong to it."
            case "deprecated":
                return replace_by or "Plan to remove it before it ends."
            case "ga":
                return "Remove the header: it is no longer needed."
            case "superseded":
                return replace_by
            case "unknown":
                return "Check the spelling; if it is right, add it with POST /v1/betas."
            case None:
                return ""

    def warning(self, code: str) -> Warning_ | None:
        """Return a warning by its code."""
        return next((item for item in self.warnings if item.code == code), None)


def severity(verdict: str) -> int:
    """Return what a verdict's word weighs as an exit code; 0 for a word that is none."""
    return 3 if verdict in FAILS else 2 if verdict in _NEEDS_CARE else 0


# --- What is known at a place ---------------------------------------------------------------------


def _weight(fact: PlaceFact, broad: PlaceFact | None) -> tuple[bool, bool, float, tuple[int, int]]:
    """Rank the facts that hold at one place; `broad` is what is declared there of every model.

    The operator's word first; then what names the very model or endpoint, unless it is a report that is
    older than `broad`; then the basis, where a declaration without a day yields to a dated report and any
    declaration to a newer, narrower one; then, of reports, the newer one, else the narrower.
    """
    day, place = _day(fact), fact.place
    narrow = place.model is not None or place.endpoint is not None
    force = rank(fact.basis, fact.at)
    order = (place.parts, day.toordinal())
    if fact.basis == "reported":
        order = (day.toordinal(), place.parts)
        if broad is not None and day < _day(broad):
            narrow = False
        elif broad is not None and day > _day(broad) and place.parts > broad.place.parts:
            force = (RANK["declared"] + RANK["traffic"]) / 2
    return fact.basis == "operator", narrow, force, order


def _day(fact: PlaceFact) -> date:
    moment = fact.checked_at if fact.basis == "probed" and fact.checked_at else fact.at
    return moment.date() if moment is not None else date.min


def _deciding(beta: Beta, place: Place) -> tuple[PlaceFact | None, str | None]:
    """Return the fact that decides the state of a beta at a place, and what contradicts it, in a sentence."""
    here = [fact for fact in beta.places if fact.state != "unknown" and covers(fact.place, place)]
    found = _found_somewhere(beta, place)
    if found is not None and not any(rank(f.basis, f.at) >= RANK["probed"] for f in here):
        here.append(found)
    if len(here) <= 1:
        return (here[0], here[0].disputed) if here else (None, None)
    declared = [
        fact
        for fact in here
        if fact.basis == "declared" and fact.place.model is None and fact.place.endpoint is None
    ]
    broad = max(declared, key=_day, default=None)
    chosen = max(here, key=lambda fact: _weight(fact, broad))
    return chosen, chosen.disputed or _contradicted(chosen, here)


def _contradicted(chosen: PlaceFact, here: Iterable[PlaceFact]) -> str | None:
    """Say that what decides and another statement do not agree; what was found by asking needs no report.

    Of two declarations the narrower one is no contradiction where it decides: it says more. Where it does
    not, as it has no day, it is one.
    """
    if chosen.basis not in ("declared", "reported") or chosen.state not in _OPPOSITE:
        return None
    for fact in here:
        told = {chosen.basis, fact.basis}
        said = told <= {"declared", "reported"} and (
            "reported" in told or fact.place.parts >= chosen.place.parts
        )
        if said and fact.state == _OPPOSITE[chosen.state]:
            return (
                f"{chosen.state} on {chosen.place} ({_proof(chosen)}), "
                f"{fact.state} on {fact.place} ({_proof(fact)})."
            )
    return None


_OPPOSITE: Final[Mapping[State, State]] = {"supported": "refused", "refused": "supported"}


def _found_somewhere(beta: Beta, place: Place) -> PlaceFact | None:
    """Return what targets found where a request does not say its region or hosting.

    A platform supports a beta if any target says so, else what the newest one says counts (rule 3).
    """
    found = [
        fact
        for fact in beta.places
        if fact.basis == "probed"
        and fact.state != "unknown"
        and fact.place.model is None
        and fact.place.endpoint is None
        and (fact.place.region or fact.place.hosting)
        and not covers(fact.place, place)
        and may_cover(fact.place, place)
    ]
    return max(found, key=lambda fact: (fact.state == "supported", _day(fact)), default=None)


def _status_fact(beta: Beta, place: Place) -> PlaceFact | None:
    """Return the fact that states a status for this place, the narrowest and newest one."""
    here = [f for f in beta.places if f.status is not None and covers(f.place, place)]
    return max(here, key=lambda f: (f.basis == "operator", f.place.parts, _day(f)), default=None)


def _stated(beta: Beta, place: Place, what: str) -> date | None:
    """Return a date as stated for this place, else in general."""
    here = [
        fact
        for fact in beta.places
        if getattr(fact, what) is not None and covers(fact.place, place)
    ]
    found = max(here, key=lambda fact: (fact.place.parts, _day(fact)), default=None)
    general: date | None = getattr(beta, what)
    if beta.basis == "operator" and general is not None:
        return general
    return getattr(found, what) if found is not None else general


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of one beta at one place."""

    beta: Beta
    place: Place
    status: Status
    state: State
    accepted: bool
    """Of a retired one: whether it is taken there nevertheless."""
    names: tuple[str, ...]
    fact: PlaceFact | None
    disputed: str | None
    status_fact: PlaceFact | None
    wrong: Literal["refused", "wrong_model", "wrong_endpoint"]
    elsewhere: bool
    maybe: tuple[PlaceFact, ...]


def _known(beta: Beta, place: Place, stale_on: date | None) -> _Known:
    fact, disputed = _deciding(beta, place)
    state: State = fact.state if fact is not None else "unknown"
    maybe: tuple[PlaceFact, ...] = ()
    if state != "refused":
        maybe = tuple(
            other
            for other in beta.places
            if other.state == "refused"
            and not covers(other.place, place)
            and may_cover(other.place, place)
        )
    status, status_fact, elsewhere = _status(beta, place, fact, stale_on)
    return _Known(
        beta=beta,
        place=place,
        status=status,
        state=state,
        accepted=status == "retired" and _still_accepted(beta, fact, status_fact),
        names=_names(beta, place),
        fact=fact,
        disputed=beta.disputed or disputed,
        status_fact=status_fact,
        wrong=_wrong(beta, place, fact),
        elsewhere=elsewhere,
        maybe=maybe,
    )


def _still_accepted(beta: Beta, fact: PlaceFact | None, own: PlaceFact | None) -> bool:
    """Say whether a beta that is retired at a place is accepted there; `own`: what states its end there."""
    if beta.header_effect == "ignored" and (beta.accepted or _newer_support(fact, date.min)):
        return True
    if own is not None:
        return _newer_support(fact, _day(own))
    if beta.status != "retired" or not beta.accepted:
        return False  # of an end that has passed since these facts were read nothing is known
    end = beta.retired_on or beta.status_since or date.min
    return not any(_newer_support(other, end) for other in beta.places)  # known of another place


def _names(beta: Beta, place: Place) -> tuple[str, ...]:
    """Return what to send for a beta at a place: its name there, as far as one is stated."""
    here = [fact for fact in beta.places if fact.names and covers(fact.place, place)]
    found = max(here, key=lambda f: (rank(f.basis, f.at), f.place.parts, _day(f)), default=None)
    return found.names if found is not None else (beta.name,)


def _wrong(
    beta: Beta, place: Place, fact: PlaceFact | None
) -> Literal["refused", "wrong_model", "wrong_endpoint"]:
    """Say what is wrong where a beta is refused: the place as a whole, or the model or endpoint only."""
    if fact is None or (fact.place.model is None and fact.place.endpoint is None):
        return "refused"
    whole, _ = _deciding(beta, replace(place, model=None, endpoint=None))
    if whole is not None and whole.state == "refused":
        return "refused"
    here, _ = _deciding(beta, replace(place, endpoint=None))
    model = here is not None and here.state == "refused" and here.place.model is not None
    return "wrong_model" if model or fact.place.endpoint is None else "wrong_endpoint"


def _status(
    beta: Beta, place: Place, fact: PlaceFact | None, stale_on: date | None
) -> tuple[Status, PlaceFact | None, bool]:
    """Return the status at a place, the fact that states it there, and whether it is retired elsewhere.

    A retirement that names no place holds for each without newer support of its own; one that probing found
    holds for the platforms probed (rule 4). Where the header has no effect any more, that it is taken is
    no support. General availability that is stated for some places holds there only. A sunset that has
    passed counts where the facts are old (rule 7).
    """
    own = _status_fact(beta, place)
    if own is not None and own.basis != "operator" and _outweighs(beta, fact):
        own = None
    status = own.status if own is not None and own.status is not None else beta.status
    end = _stated(beta, place, "sunset_on")
    if stale_on is not None and end is not None and end < stale_on and status in _LIVE:
        return "retired", None, False
    if own is not None:
        return status, own, status != "retired" and beta.status == "retired"
    if status == "ga" and beta.basis != "operator":
        placed = any(fact.status == "ga" for fact in beta.places)
        return ("active" if placed else "ga"), None, False
    if status != "retired" or beta.basis == "operator":
        return status, None, False
    if beta.basis == "probed":
        reached = {fact.place.platform for fact in beta.places if fact.basis == "probed"}
        away = place.platform not in (reached or ANTHROPIC_OPERATED)
        return ("active", None, True) if away else (status, None, False)
    ended_on = beta.retired_on or beta.status_since or date.min
    lives = beta.header_effect != "ignored" and _newer_support(fact, ended_on)
    return ("active", None, True) if lives else (status, None, False)


def _outweighs(beta: Beta, fact: PlaceFact | None) -> bool:
    """Say whether a beta's status holds against what a source states for one place.

    The operator's does, and so does a retirement that probing found here (rule 1).
    """
    found = fact is not None and fact.basis == "probed" and fact.state == "refused"
    retired = beta.status == "retired" and beta.basis == "probed"
    return beta.basis == "operator" or (retired and found)


def _newer_support(fact: PlaceFact | None, day: date) -> bool:
    """Say whether a place's own evidence of support is newer than a day; a hint is none."""
    if fact is None or fact.state != "supported" or fact.place.platform is None:
        return False
    return RANK[fact.basis] >= RANK["reported"] and _day(fact) > day


# --- Judging --------------------------------------------------------------------------------------


class Index:
    """The names of the betas. Each part is made when it is first asked for."""

    def __init__(self, betas: Mapping[str, Beta]) -> None:
        self.betas = betas

    @cached_property
    def features(self) -> Mapping[str, Sequence[Beta]]:
        """The betas of each feature."""
        grouped: dict[str, list[Beta]] = {}
        for beta in self.betas.values():
            grouped.setdefault(beta.feature, []).append(beta)
        return grouped

    @cached_property
    def by_other_name(self) -> Mapping[tuple[Platform | None, str], Beta]:
        """Betas by the names that they go by on a platform, or (None) on any."""
        return {
            (platform, name): beta
            for beta in reversed(list(self.betas.values()))  # the first one named so counts
            for fact in beta.places
            for name in fact.names
            for platform in (fact.place.platform, None)
        }

    @cached_property
    def _near_betas(self) -> Spellings:
        return Spellings(self.betas)

    @cached_property
    def _near_features(self) -> Spellings:
        return Spellings(self.features)

    def knows(self, name: str) -> bool:
        """Say whether a name is a beta of the registry, or goes by this name on some platform."""
        return name in self.betas or (None, name) in self.by_other_name

    def near(self, name: str, *, feature: bool = False) -> tuple[str, ...]:
        """Return up to three names that look like this one, the likeliest first."""
        return (self._near_features if feature else self._near_betas).like(name)

    def unknown(self, name: str, *, feature: bool) -> str:
        """Say that a beta or feature is not known, and which names are like it."""
        shown = name[:140]
        if feature and name in self.betas:
            return f"{shown} is a beta, not a feature; ask for it as a beta."
        if not feature and name in self.features:
            return f"{shown} is a feature, not a beta; ask for it as a feature."
        near = self.near(name, feature=feature)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        return f"{shown} is not in the registry.{hint}"


class Judge:
    """Judges betas and features at one place.

    It remembers its judgements of names that are known: the others are whatever somebody sends, so they
    are judged anew each time. `stale_on`: today, where the facts are older than a day (rule 7), else None.
    `endpoint_asked` tells an endpoint that was named from the default.
    """

    def __init__(
        self,
        betas: Mapping[str, Beta],
        place: Place,
        index: Index | None = None,
        *,
        stale_on: date | None = None,
        endpoint_asked: bool = False,
    ) -> None:
        self.place = place
        self.index = index or Index(betas)
        self._betas = betas
        self._stale_on, self._endpoint_asked = stale_on, endpoint_asked
        self._memo: dict[str, Judgement] = {}
        self._facts: dict[str, _Known] = {}

    # --- One name ---

    def beta(self, name: str) -> Judgement:
        """Judge a beta by a name that is or would be sent."""
        found = self._memo.get(name)
        if found is not None:
            return found
        if not is_well_formed(name):
            return Judgement(
                requested=name,
                place=self.place,
                beta=None,
                names=(),
                verdict="malformed",
                detail="Not a beta name: use 1 to 128 letters, digits, '.', '_' or '-'.",
                issue="unknown",
            )
        beta = self._betas.get(name)
        if beta is not None:
            found = self._judge(name, beta)
        else:
            beta = self.index.by_other_name.get((self.place.platform, name))
            if beta is None:
                return self.unknown(name)
            found = replace(self._judge(name, beta), names=(name,))
        self._memo[name] = found
        return found

    def unknown(self, name: str, *, feature: bool = False) -> Judgement:
        """Judge a name that the registry does not hold."""
        return Judgement(
            requested=name,
            place=self.place,
            beta=None,
            names=() if feature else (name,),
            verdict="unknown",
            detail=self.index.unknown(name, feature=feature),
            near=self.index.near(name, feature=feature),
            issue="unknown",
        )

    def _judge(self, requested: str, beta: Beta) -> Judgement:
        known = self._known(beta)
        remarks = list(_remarks(known, endpoint_asked=self._endpoint_asked))
        verdict: Verdict = "ok"
        detail = "Can be sent."
        told = [item for item in remarks if item.code in VERDICTS]
        if told:
            first = min(told, key=lambda item: VERDICTS.index(item.code))
            verdict, detail = first.code, first.detail  # type: ignore[assignment]
            remarks.remove(first)
        dying = (
            verdict in FAILS or verdict in ("deprecated", "no_effect") or bool(beta.superseded_by)
        )
        instead, others = self._instead(beta) if dying else (None, ())
        if instead is not None and not self._is_proven(instead):
            remarks.append(
                Warning_(
                    "replacement_unproven",
                    f"Nothing proves that {instead.name} works on {_named(self.place)}.",
                )
            )
        issue = _ISSUE_OF.get(verdict)
        if verdict in FAILS and known.status == "retired":
            issue = "retired"
        if issue is None and beta.superseded_by and verdict in ("ok", "unproven", "restricted"):
            issue = "superseded"
        fact = known.fact
        return Judgement(
            requested=requested,
            place=self.place,
            beta=beta,
            names=known.names,
            verdict=verdict,
            detail=detail,
            status=known.status,
            state=known.state,
            basis=fact.basis if fact is not None else None,
            certainty=_CERTAINTY[fact.basis] if fact is not None else "unknown",
            since=_since(known, verdict),
            fact=fact,
            warnings=tuple(remarks),
            use_instead=instead.name if instead is not None else None,
            instead=instead,
            alternatives=others,
            needless=_needless(known),
            issue=issue,
        )

    def _known(self, beta: Beta) -> _Known:
        found = self._facts.get(beta.name)
        if found is None:
            found = self._facts[beta.name] = _known(beta, self.place, self._stale_on)
        return found

    # --- What to use instead ---

    def _instead(self, beta: Beta) -> tuple[Alternative | None, tuple[Alternative, ...]]:
        """Return what to use instead of a beta here, and all other live versions of its feature.

        First a version that is proven here, then a stated successor that is not refused here; never one
        that itself fails, or that needs a companion which this one did not need, or that is announced for
        other models only where this one is announced for the model that is asked for.
        """
        stated = self._successors(beta)
        others = [one for one in self.index.features.get(beta.feature, ()) if one.name != beta.name]
        line = [*stated, *sorted(others, key=lambda one: sort_key(one.name), reverse=True)]
        live = [one for one in dict.fromkeys(one.name for one in line) if self._usable(one)]
        listed = tuple(self._alternative(self._betas[name]) for name in live)
        needs = {link.beta for link in beta.requires}
        for_model = bool(beta.models) and self._takes_model(beta)
        fit = [
            one
            for one in listed
            if needs >= set(one.requires)
            and self._known(self._betas[one.name]).status == "active"
            and not (for_model and not self._takes_model(self._betas[one.name]))
        ]
        names = {one.name for one in stated}
        replaced = {one.name for one in others if one.superseded_by} - names
        fit = [one for one in fit if one.name not in replaced]
        proven = [one for one in fit if self._is_proven(one) and one.certainty != "guessed"]
        chosen = (
            next((one for one in proven if one.name in names), None)
            or next((one for one in proven if self._betas[one.name].current), None)
            or (proven[0] if proven else None)
            or next((one for one in fit if one.name in names), None)
        )
        return chosen, tuple(one for one in listed if one is not chosen)

    def _is_proven(self, one: Alternative) -> bool:
        """Say whether it is supported here, and not announced for other models than the one asked for."""
        return one.state == "supported" and self._takes_model(self._betas[one.name])

    def _takes_model(self, beta: Beta) -> bool:
        """Say whether nothing tells that a beta is for other models than the one that is asked for."""
        return _unlisted(self._known(beta)) is None

    def replacement(self, beta: Beta) -> str | None:
        """Return what to use instead of a beta here, whether or not the registry knows that it fails."""
        chosen, _ = self._instead(beta)
        return chosen.name if chosen is not None else None

    def _successors(self, beta: Beta) -> list[Beta]:
        """Return the chain of stated successors, the last one first."""
        chain: list[Beta] = []
        seen = {beta.name}
        following = beta.superseded_by
        while following and following not in seen:
            seen.add(following)
            found = self._betas.get(following)
            if found is None:
                break
            chain.append(found)
            following = found.superseded_by
        return chain[::-1]

    def _usable(self, name: str) -> bool:
        known = self._known(self._betas[name])
        return known.status in _LIVE and known.state not in ("refused", "restricted")

    def _alternative(self, beta: Beta) -> Alternative:
        known = self._known(beta)
        fact = known.fact
        return Alternative(
            name=beta.name,
            state=known.state,
            basis=fact.basis if fact is not None else None,
            certainty=_CERTAINTY[fact.basis] if fact is not None else "unknown",
            at=_day(fact) if fact is not None and _day(fact) != date.min else None,
            body_fields=beta.body_fields,
            requires=tuple(link.beta for link in beta.requires if _here(link.endpoint, self.place)),
        )

    def likeliest(self, names: Iterable[str]) -> list[Judgement]:
        """Judge betas any of which would do: those that do not fail first, then the surest, then the newest."""
        newest = sorted(names, key=sort_key, reverse=True)
        return sorted(
            (self.beta(name) for name in newest),
            key=lambda one: (one.fails, one.free, _CERTAINTIES.index(one.certainty)),
        )

    # --- Features ---

    def current(self, betas: Iterable[Beta]) -> str | None:
        """Return the current beta of a feature here, if there is one (CONTRACT, section 1).

        A stated one holds unless it is dead here; without one, the only one that is live here. Where the
        stated one is refused, what to use instead of it counts, and nothing else.
        """
        betas = list(betas)
        live = [beta for beta in betas if self._is_live(beta)]
        stated = next((beta for beta in betas if beta.current), None)
        if stated in live and stated is not None:
            return stated.name
        if stated is not None and self._known(stated).state == "refused":
            return self.replacement(stated)
        return live[0].name if len(live) == 1 else None

    def _is_live(self, beta: Beta) -> bool:
        """Say whether a version can be sent here; one that goes with another of its feature needs that."""
        known = self._known(beta)
        usual = (*_LIVE, "ga") if beta.current else _LIVE
        mates = (self._betas.get(link.beta) for link in beta.requires)
        return (
            known.status in usual
            and known.state != "refused"
            and all(
                mate is None or mate.feature != beta.feature or self._known(mate).state != "refused"
                for mate in mates
            )
        )

    def feature(self, name: str) -> Judgement:
        """Judge a feature: its current beta here.

        Raises `Invalid` with slug `ambiguous-feature` and `choices` where several are live and none is
        current.
        """
        betas = self.index.features.get(name)
        if not betas:
            return self.unknown(name, feature=True)
        current = self.current(betas)
        if current is not None:
            return self._for_feature(name, self._betas[current], betas)
        stated = next((beta for beta in betas if beta.current), None)
        if stated is not None and self._known(stated).state == "refused":
            return self._for_feature(name, stated, betas)
        live = sorted((b.name for b in betas if self._is_live(b)), key=sort_key)
        if len(live) > 1:
            raise Invalid(
                f"{name} has several live betas and none is stated as current; ask for one of "
                f"{', '.join(live)} by its name.",
                slug="ambiguous-feature",
                extra={"feature": name, "choices": live},
            )
        newest = sorted(betas, key=lambda beta: sort_key(beta.name), reverse=True)
        ordered = sorted(newest, key=lambda beta: _FEATURE_ORDER[self._known(beta).status])
        return self._for_feature(name, ordered[0], betas)

    def _for_feature(self, name: str, beta: Beta, betas: Iterable[Beta]) -> Judgement:
        judged = self._judge(name, beta)
        if judged.status == "ga" and not judged.fails:
            return replace(
                judged,
                names=(),
                needless=True,
                warnings=(),
                use_instead=None,
                instead=None,
                alternatives=(),
                detail=f"{name} is generally available here and needs no beta header ({beta.name}).",
            )
        stated = next((one for one in betas if one.current and one.name != beta.name), None)
        if stated is not None and not judged.fails:
            text = (
                f"{stated.name} is the current version of {name} and cannot be used on "
                f"{_named(self.place)}: "
                f"{beta.name} is sent instead."
            )
            judged = replace(judged, warnings=(*judged.warnings, Warning_("other_version", text)))
        dead = judged.verdict == "unknown" or (judged.status == "retired" and not judged.fails)
        return replace(judged, names=() if dead else judged.names)

    def choices(self, betas: Iterable[Beta]) -> list[str]:
        """Return the live versions of a feature here, in order."""
        live = (one for one in betas if self._known(one).status in _LIVE)
        return sorted((one.name for one in live if self._is_live(one)), key=sort_key)


_FEATURE_ORDER: Final[Mapping[Status, int]] = {
    "ga": 0,
    "active": 1,
    "deprecated": 1,
    "retired": 2,
    "unverified": 3,
}


def current_of(betas: Mapping[str, Beta]) -> str | None:
    """Return the current beta of these, all of one feature, on the Claude API."""
    return Judge(betas, HOME).current(betas.values())


def _here(endpoint: str | None, place: Place) -> bool:
    asked = endpoint_name(place.endpoint) if place.endpoint else DEFAULT_ENDPOINT
    return endpoint is None or endpoint_name(endpoint) == asked


def _needless(known: _Known) -> bool:
    """Say whether the header can go without any loss: ga, and ignored or refused by some models here."""
    if known.status != "ga":
        return False
    if known.beta.header_effect == "ignored":
        return True
    some = known.place.model is None and any(fact.place.model for fact in known.maybe)
    return some and known.beta.header_effect != "changes_response"


def _since(known: _Known, verdict: Verdict) -> date | None:
    """Return since when the verdict holds, as far as a source says."""
    if verdict in _OF_STATE:
        moment = (known.fact.since or known.fact.at) if known.fact is not None else None
        return moment.date() if moment is not None else None
    if known.status_fact is not None and known.status_fact.at is not None:
        return known.status_fact.at.date()
    return known.beta.status_since


def _remarks(known: _Known, *, endpoint_asked: bool) -> Iterable[Warning_]:
    """Tell all that holds for a beta at a place; those that are verdicts by the verdict's word."""
    beta, place = known.beta, known.place
    yield from _of_state(known)
    yield from _of_status(known)
    if known.elsewhere:
        text = f"{beta.name} is retired elsewhere"
        yield Warning_("retired_elsewhere", _because(text, beta.status_reason))
    if known.disputed:
        yield Warning_("disputed", f"The evidence contradicts itself: {known.disputed}")
    if beta.superseded_by and known.status == "active":
        yield Warning_("superseded", f"{beta.superseded_by} replaces {beta.name}.")
    if known.maybe and known.state != "unknown":
        yield Warning_("place_dependent", _dependent(known))
    if (unlisted := _unlisted(known)) is not None:
        models = ", ".join(beta.models)
        text = f"{beta.name} is known for {models}; not for {unlisted}."
        yield Warning_("model_not_listed", text)
    listed = {endpoint_name(endpoint) for endpoint in beta.endpoints}
    asked = endpoint_name(place.endpoint) if place.endpoint else DEFAULT_ENDPOINT
    if endpoint_asked and listed and asked not in listed:
        text = f"{beta.name} is known for {', '.join(sorted(listed))}; not for {asked}."
        yield Warning_("endpoint_not_listed", text)


def _unlisted(known: _Known) -> str | None:
    """Return the model asked for, where a beta is announced for others and no evidence names that one."""
    model, models = known.place.model, known.beta.models
    if not model or not models or (known.fact is not None and known.fact.place.model is not None):
        return None
    return None if any(model_matches(one, model) for one in models) else model


def _named(place: Place) -> str:
    """Name a place in a sentence; that a request is one for messages goes without saying."""
    return str(replace(place, endpoint=None) if place.endpoint == DEFAULT_ENDPOINT else place)


def _dependent(known: _Known) -> str:
    where = ", ".join(dict.fromkeys(str(fact.place) for fact in known.maybe[:3]))
    return f"{known.beta.name} is refused on {where}; say where the request goes."


def _of_state(known: _Known) -> Iterable[Warning_]:
    beta, place, fact = known.beta, known.place, known.fact
    told = f" ({_proof(fact)})" if fact is not None else ""
    match known.state:
        case "refused" if known.wrong == "wrong_model":
            where = replace(place, model=None)
            yield Warning_(
                "wrong_model",
                f"{beta.name} is refused for the model {place.model} on {_named(where)}{told}.",
            )
        case "refused" if known.wrong == "wrong_endpoint":
            yield Warning_(
                "wrong_endpoint", f"{beta.name} is refused on the endpoint {place.endpoint}{told}."
            )
        case "refused":
            where = fact.place if fact is not None else place
            yield Warning_("refused", f"{beta.name} is refused on {where}{told}.")
        case "restricted":
            yield Warning_(
                "restricted",
                f"{beta.name} needs a key or plan that may use it on {place.platform}{told}.",
            )
        case "unknown":
            text = f"Nothing proves that {beta.name} works on {_named(place)}."
            if known.maybe:
                text += f" {_dependent(known)}"
            yield Warning_("unproven", text)


def _proof(fact: PlaceFact) -> str:
    """Say in a few words what a fact rests on."""
    day = _day(fact)
    on = f" on {day}" if day != date.min else ""
    match fact.basis:
        case "probed":
            return (
                f"found by probing with target {fact.target}{on}" if fact.target else f"probed{on}"
            )
        case "reported":
            return f"reported{on}"
        case "operator":
            return f"the operator's word{on}"
        case "traffic":
            return f"seen in traffic{on}"
        case "declared" if fact.at is None:
            return "declared, without a day" if fact.url else "said without a source"
        case _:
            return f"{fact.basis}{on}"


def _of_status(known: _Known) -> Iterable[Warning_]:
    beta, status = known.beta, known.status
    match status:
        case "unverified":
            text = _because(f"{beta.name} is unverified", beta.status_reason)
            yield Warning_("unknown", text)
        case "deprecated":
            end = _stated(beta, known.place, "sunset_on")
            yield Warning_(
                "deprecated", f"{beta.name} is deprecated.{f' It ends on {end}.' if end else ''}"
            )
        case "retired":
            yield _of_retired(known)
        case "ga" if beta.header_effect == "changes_response":
            text = f"{beta.name} is generally available; the header still changes the response."
            yield Warning_("changes_response", text)
        case "ga":
            text = f"{beta.name} is generally available: the header is not needed."
            yield Warning_("not_needed", text)
        case "active":
            end = _stated(beta, known.place, "sunset_on")
            if end is not None and end != beta.sunset_on:
                yield Warning_("deprecated", f"{beta.name} ends on {end} on {_named(known.place)}.")


def _of_retired(known: _Known) -> Warning_:
    """A retired beta fails, unless it is accepted: then its source says that it does nothing, or not."""
    beta = known.beta
    if not known.accepted:
        when = f" on {beta.retired_on}" if beta.retired_on else ""
        return Warning_("retired", _because(f"{beta.name} was retired{when}", beta.status_reason))
    if beta.header_effect == "ignored":
        return Warning_("no_effect", f"{beta.name} is retired: accepted, and without effect.")
    text = _because(f"{beta.name} is retired, and still accepted", beta.status_reason)
    return Warning_("deprecated", text)


def _because(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else f"{text}."


def with_conflicts(judged: Sequence[Judgement], place: Place) -> list[Judgement]:
    """Mark the later of two betas that exclude each other here, and betas without their companions."""
    for item in judged:
        if item.beta is not None and item.beta.conflicts_with:
            break
    else:
        return list(judged)
    kept: list[Beta] = []
    result = []
    for item in judged:
        beta = item.beta
        rival = None
        if beta is not None and not item.fails and item.names:
            rival = next((other for other in kept if _exclude(other, beta, place)), None)
            if rival is None:
                kept.append(beta)
        if rival is None or beta is None:
            result.append(item)
            continue
        text = f"{beta.name} cannot be sent together with {rival.name}."
        result.append(replace(item, verdict="conflict", detail=text, issue=None))
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


def companions(
    judged: Sequence[Judgement], place: Place, sent: Iterable[str] = ()
) -> list[Judgement]:
    """Warn of companions that a beta needs here and that are not among these, nor among those `sent`."""
    if not any(item.beta is not None and item.beta.requires for item in judged):
        return list(judged)
    present = set(sent) | {name for item in judged for name in (*item.names, item.name)}
    result = []
    for item in judged:
        links = item.beta.requires if item.beta is not None and not item.fails else ()
        missing = [
            link.beta for link in links if _here(link.endpoint, place) and link.beta not in present
        ]
        if missing:
            text = f"{item.name} needs {', '.join(missing)}, which is not among the betas sent."
            extra = Warning_("companion_missing", text)
            item = replace(item, warnings=(*item.warnings, extra))
        result.append(item)
    return result


class Judges:
    """The judges of one snapshot and day, one a place, each made once.

    It keeps at most `PLACES` of them, those asked for last.
    """

    PLACES: Final = 64

    def __init__(self, snapshot: Snapshot, today: date, *, stale: bool = False) -> None:
        self.snapshot, self.today = snapshot, today
        self.index = Index(snapshot.betas)
        self._stale_on = today if stale else None
        self._made: dict[tuple[Place, bool], Judge] = {}

    def __call__(
        self,
        name: str,
        platform: str | None = None,
        model: str | None = None,
        *,
        api: str | None = None,
        hosting: str | None = None,
        region: str | None = None,
        endpoint: str | None = None,
    ) -> Judgement:
        """Judge a name where it was seen. Never raises: words that are none count as not said.

        Without a platform the Claude API is meant, and InvokeModel without an API of Bedrock. Of a name
        that is not known it says no more than that: looking for similar ones would take its time.
        """
        return self.there(name, lenient_place(platform, api, hosting, region, model, endpoint))

    def there(self, name: str, place: Place) -> Judgement:
        """Judge a name at the place where it was seen, as a call does."""
        if not self.index.knows(name):
            return Judgement(
                requested=name,
                place=place,
                beta=None,
                names=(name,),
                verdict="unknown" if is_well_formed(name) else "malformed",
                detail=f"{name[:140]} is not in the registry.",
                issue="unknown",
            )
        return self.at(place).beta(name)

    def knows(self, name: str) -> bool:
        """Say whether a name is a beta of the registry, or goes by this name on some platform."""
        return self.index.knows(name)

    def at(self, place: Place, *, endpoint_asked: bool = False) -> Judge:
        """Return the judge at a place."""
        judge = self._made.get((place, endpoint_asked))
        if judge is None:
            if len(self._made) >= self.PLACES:
                self._made.clear()
            judge = Judge(
                self.snapshot.betas,
                place,
                self.index,
                stale_on=self._stale_on,
                endpoint_asked=endpoint_asked,
            )
            self._made[place, endpoint_asked] = judge
        return judge


_latest: Final[list[Judges]] = []


def judges_of(snapshot: Snapshot, today: date) -> Judges:
    """Return the judges of a snapshot and day: the same as last time while both stay the same."""
    judges = _latest[-1] if _latest else None
    if judges is None or judges.snapshot is not snapshot or judges.today != today:
        judges = Judges(snapshot, today)
        _latest[:] = [judges]
    return judges


def lenient_place(
    platform: str | None,
    api: str | None = None,
    hosting: str | None = None,
    region: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> Place:
    """Return the place of something that was seen, whatever words came with it. Never raises."""
    known = platform if platform in PLATFORMS else "anthropic"
    usual = "invoke" if known == "bedrock" else None
    return place_of(
        platform=known,
        api=(api if api in APIS else usual) if known == "bedrock" else None,
        hosting=hosting if known == "foundry" and hosting in HOSTINGS else None,
        region=_part(region),
        model=_part(model),
        endpoint=_part(endpoint),
    )


def _part(text: str | None) -> str | None:
    return text if text and len(text) <= MAX_PART and text.isprintable() else None


def alternatives_json(items: Iterable[Alternative]) -> Json:
    """Print alternatives in the shape of the API."""
    return [
        {
            "name": item.name,
            "state": item.state,
            "basis": item.basis,
            "certainty": item.certainty,
            "at": item.at.isoformat() if item.at else None,
            "body_fields": list(item.body_fields),
            "requires": list(item.requires),
        }
        for item in items
    ]

"""The exposure report: what would break, what is dead weight, and what each service should change.

Pure: `expose` makes a report of usage and a snapshot. It is for somebody who has to say yes to a change, so
its numbers are careful: where usage leaves a number open, the lower bound
is taken, and `cannot_know` says what is not in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal, get_args

from registry.core.facts import Beta, Json, Snapshot, to_json
from registry.core.judgement import Judgement, Judges
from registry.core.resolution import Ask, resolve

__all__ = [
    "KINDS",
    "Change",
    "Finding",
    "Kind",
    "Location",
    "Report",
    "Requests",
    "Sender",
    "SourceUse",
    "Use",
    "expose",
    "listing",
    "many",
]

Kind = Literal[
    "failing", "refusing", "deprecated", "dead_weight", "not_needed", "superseded", "contradicted",
    "unknown",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""What a finding says, the most painful first.

    failing       requests with it fail: it is retired or refused where it is sent
    refusing      the registry holds it valid, and the service sees it refused
    deprecated    it will fail: an end is announced
    dead_weight   the header does nothing: generally available and ignored, or retired without effect
    not_needed    generally available; whether the header still does anything is not known
    superseded    it works, and another beta replaces it
    contradicted  the registry holds it for retired or refused, and the service sees it accepted
    unknown       the registry does not know the name
"""

NAMES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where in the code a beta stands."""

    path: str
    line: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """That a service was seen with a beta in the time of the report; one for each source and platform."""

    service: str
    environment: str
    beta: str
    source: str
    platform: str | None = None
    team: str | None = None
    owner: str | None = None
    models: tuple[str, ...] = ()
    count: int = 0
    accepted: int = 0
    refused: int = 0
    last_seen: datetime
    locations: tuple[Location, ...] = ()

    @property
    def place(self) -> str:
        """The platform on which it is judged."""
        return self.platform or "anthropic"


# --- The report -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A service in one environment that sends the beta, or has it in its code (then no requests)."""

    service: str
    environment: str
    team: str | None
    owner: str | None
    requests: int
    refused: int
    last_seen: datetime
    locations: tuple[Location, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One beta on one platform: what is wrong, how much it is used, and by whom.

    `requests` are those that it makes fail where the kind is `failing` or `refusing`, else all with it.
    """

    kind: Kind
    beta: str
    platform: str
    status: str
    verdict: str
    detail: str
    advice: str
    use_instead: str | None
    body_fields: tuple[str, ...]
    ends_on: date | None
    requests: int
    share: float
    senders: tuple[Sender, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one service in one environment should send from now on; `failing` of its requests fail."""

    service: str
    environment: str
    platform: str
    team: str | None
    owner: str | None
    requests: int
    failing: int
    value_before: str
    value_after: str
    omit: bool
    placement: str
    why: tuple[str, ...]
    body_fields: tuple[str, ...]
    locations: tuple[Location, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests with betas: `failing` at least, `failing_at_most`, and the share of the former."""

    total: int = 0
    failing: int = 0
    failing_at_most: int = 0
    share: float = 0.0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUse:
    """Where numbers come from."""

    source: str
    services: int
    count: int
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole of it. `services` counts services by how they stand, each in its worst kind, else `ok`."""

    days: int
    start: datetime
    stop: datetime
    as_of: datetime
    probed_at: datetime | None
    revision: int
    team: str | None
    platform: str | None
    summary: str
    requests: Requests
    services: Mapping[str, int]
    sources: tuple[SourceUse, ...]
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    cannot_know: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Print it in the shape of `GET /v1/report`."""
        made: dict[str, Json] = to_json(self)
        return made


def expose(
    uses: Iterable[Use],
    snapshot: Snapshot,
    *,
    days: int,
    start: datetime,
    stop: datetime,
    silent: Sequence[str] = (),
    team: str | None = None,
    platform: str | None = None,
) -> Report:
    """Make the report of usage between two moments.

    `silent` are services that are known and were not seen in this time. `team` and `platform` say what
    the usage was filtered by; a use without a platform counts as one on the Claude API.
    """
    wanted = [use for use in _with_places(uses) if platform is None or use.place == platform]
    judge = Judges(snapshot, stop.date())
    judged = [_judged(use, snapshot, judge) for use in wanted]
    groups = _grouped(judged)
    requests = _total(groups.values())
    findings = _findings(judged, snapshot, requests.total)
    changes = _changes(groups, snapshot, stop.date())
    services = _services(judged)
    return Report(
        days=days,
        start=start,
        stop=stop,
        as_of=snapshot.as_of,
        probed_at=snapshot.probed_at,
        revision=snapshot.revision,
        team=team,
        platform=platform,
        summary=_summary(days, requests, services, findings, changes),
        requests=requests,
        services=services,
        sources=tuple(_sources(wanted)),
        findings=findings,
        changes=changes,
        cannot_know=tuple(_cannot_know(judged, requests, snapshot, silent)),
    )


def _with_places(uses: Iterable[Use]) -> list[Use]:
    """Give places in the code to those who send the beta. A scan adds nothing else where usage is known."""
    each = list(uses)
    places: dict[tuple[str, str], dict[Location, None]] = defaultdict(dict)
    sent = {(use.service, use.beta) for use in each if use.source != "scan"}
    for use in each:
        places[use.service, use.beta].update(dict.fromkeys(use.locations))
    return [
        replace(use, locations=tuple(places[use.service, use.beta]))
        for use in each
        if use.source != "scan" or (use.service, use.beta) not in sent
    ]


# --- Judging --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A use with what is to be said of it; `failing` of its requests fail, at least and at most."""

    use: Use
    said: Judgement
    kind: Kind | None
    failing: int = 0
    failing_at_most: int = 0

    @property
    def requests(self) -> int:
        """Requests to tell of: those that fail where some do."""
        return self.failing_at_most if self.kind in ("failing", "refusing") else self.use.count


def _judged(use: Use, snapshot: Snapshot, judge: Judges) -> _Judged:
    """Judges one use, for each of its models: counts are not kept by model.

    What fails for one model only may be anything between none and all of the requests.
    """
    each = [judge(use.beta, use.place, model) for model in use.models or (None,)]
    bad = [said for said in each if said.fails]
    said = bad[0] if bad else each[0]
    unanswered = max(use.count - use.accepted, use.refused)
    kind = _kind(use, said, snapshot)
    if kind == "failing":
        least = unanswered if len(bad) == len(each) else use.refused
        return _Judged(use=use, said=said, kind=kind, failing=least, failing_at_most=unanswered)
    return _Judged(use=use, said=said, kind=kind, failing=use.refused, failing_at_most=use.refused)


def _kind(use: Use, said: Judgement, snapshot: Snapshot) -> Kind | None:
    if said.fails:
        seen_accepted = use.count and use.accepted >= use.count
        return "contradicted" if seen_accepted else "failing"
    if use.refused:
        return "refusing"
    if said.verdict == "no_effect":
        return "dead_weight"
    match said.issue:
        case "deprecated" | "superseded" | "unknown":
            return said.issue
        case "ga":
            beta = snapshot.betas.get(use.beta)
            ignored = beta is not None and beta.header_effect == "ignored"
            return "dead_weight" if ignored else "not_needed"
    return None


_Place = tuple[str, str, str]
"""A service, its environment and a platform: what sends one header value."""


def _grouped(judged: Iterable[_Judged]) -> dict[_Place, list[_Judged]]:
    groups: dict[_Place, list[_Judged]] = defaultdict(list)
    for item in judged:
        groups[item.use.service, item.use.environment, item.use.place].append(item)
    return groups


def _total(groups: Iterable[Sequence[_Judged]]) -> Requests:
    """Count requests. Usage counts each beta for itself, so of those sent together the largest counts."""
    total = failing = at_most = refused = 0
    for group in groups:
        counted = [_count(items) for items in _by_source(group).values()]
        total += max((item.total for item in counted), default=0)
        failing += max((item.failing for item in counted), default=0)
        at_most += max((item.failing_at_most for item in counted), default=0)
        refused += max((item.refused for item in counted), default=0)
    return Requests(
        total=total, failing=failing, failing_at_most=at_most, share=_share(failing, total),
        refused=refused,
    )  # fmt: skip


def _by_source(group: Iterable[_Judged]) -> dict[str, list[_Judged]]:
    """Keep the sources apart: client and gateway see the same requests, so they are never added up."""
    sources: dict[str, list[_Judged]] = defaultdict(list)
    for item in group:
        if item.use.source != "scan":
            sources[item.use.source].append(item)
    return sources


def _count(items: Sequence[_Judged]) -> Requests:
    total = max(item.use.count for item in items)
    return Requests(
        total=total,
        failing=max(item.failing for item in items),
        failing_at_most=min(total, sum(item.failing_at_most for item in items)),
        refused=max(item.use.refused for item in items),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


# --- Findings -------------------------------------------------------------------------------------


def _findings(judged: Iterable[_Judged], snapshot: Snapshot, total: int) -> tuple[Finding, ...]:
    found: dict[tuple[Kind, str, str], list[_Judged]] = defaultdict(list)
    for item in judged:
        if item.kind is not None:
            found[item.kind, item.use.beta, item.use.place].append(item)
    made = [_finding(kind, items, snapshot, total) for (kind, _, _), items in found.items()]
    return tuple(sorted(made, key=_pain))


def _pain(finding: Finding) -> tuple[int, date, int, int, str, str]:
    ends = finding.ends_on if finding.kind == "deprecated" and finding.ends_on else date.max
    return (
        KINDS.index(finding.kind), ends, -finding.requests, -len(finding.senders), finding.beta,
        finding.platform,
    )  # fmt: skip


def _finding(kind: Kind, items: Sequence[_Judged], snapshot: Snapshot, total: int) -> Finding:
    use, said = items[0].use, items[0].said
    beta = snapshot.betas.get(use.beta)
    senders = _senders(items)
    requests = sum(sender.requests for sender in senders)
    return Finding(
        kind=kind,
        beta=use.beta,
        platform=use.place,
        status=said.status,
        verdict=said.verdict,
        detail=said.detail,
        advice=_advice(kind, said),
        use_instead=said.use_instead,
        body_fields=beta.body_fields if beta is not None and kind == "failing" else (),
        ends_on=(beta.retired_on or beta.sunset_on) if beta is not None else None,
        requests=requests,
        share=_share(min(requests, total), total),
        senders=senders,
    )


def _advice(kind: Kind, said: Judgement) -> str:
    match kind:
        case "refusing":
            return "Look at the answers with `beta-registry diagnose`: key, plan or model may forbid it."
        case "contradicted":
            return "Let a target probe it; until then treat it as about to fail."
        case "not_needed":
            return "Try without the header; it is no longer needed."
        case _:
            return said.advice


def _senders(items: Sequence[_Judged]) -> tuple[Sender, ...]:
    groups: dict[tuple[str, str], list[_Judged]] = defaultdict(list)
    for item in items:
        groups[item.use.service, item.use.environment].append(item)
    made = [_sender(group) for group in groups.values()]
    return tuple(sorted(made, key=lambda it: (-it.requests, it.service, it.environment)))


def _sender(group: Sequence[_Judged]) -> Sender:
    use = group[0].use
    counted = _by_source(group).values()
    return Sender(
        service=use.service,
        environment=use.environment,
        team=use.team,
        owner=use.owner,
        requests=max((sum(it.requests for it in items) for items in counted), default=0),
        refused=max((sum(it.use.refused for it in items) for items in counted), default=0),
        last_seen=max(item.use.last_seen for item in group),
        locations=_locations(group),
    )


def _locations(group: Iterable[_Judged]) -> tuple[Location, ...]:
    unique = dict.fromkeys(place for item in group for place in item.use.locations)
    return tuple(sorted(unique, key=lambda place: (place.path, place.line or 0)))


# --- Changes --------------------------------------------------------------------------------------

_TO_CHANGE: Final = frozenset({"failing", "deprecated", "dead_weight"})


def _changes(
    groups: Mapping[_Place, Sequence[_Judged]], snapshot: Snapshot, today: date
) -> tuple[Change, ...]:
    made = [
        _change(place, group, snapshot, today)
        for place, group in groups.items()
        if any(item.kind in _TO_CHANGE for item in group)
    ]
    changed = [change for change in made if change.value_before != change.value_after]
    return tuple(
        sorted(changed, key=lambda it: (-it.failing, -it.requests, it.service, it.environment))
    )


def _change(place: _Place, group: Sequence[_Judged], snapshot: Snapshot, today: date) -> Change:
    service, environment, platform = place
    ordered = sorted(group, key=lambda item: (-item.use.count, item.use.beta))
    names = {item.use.beta: item for item in ordered}
    models = {model for item in group for model in item.use.models}
    ask = Ask(
        requested=tuple(("beta", _wanted(item)) for item in names.values()),
        platform=platform,
        model=next(iter(models)) if len(models) == 1 else None,
        policy="filter",
    )
    answer = resolve(snapshot, ask, today).to_json()
    use, counted = group[0].use, _total([group])
    bad = [item for item in names.values() if item.kind in _TO_CHANGE]
    return Change(
        service=service,
        environment=environment,
        platform=platform,
        team=use.team,
        owner=use.owner,
        requests=counted.total,
        failing=counted.failing,
        value_before=",".join(names),
        value_after=answer["value"],
        omit=answer["omit"],
        placement=answer["placement"],
        why=tuple(item.said.detail for item in bad),
        body_fields=tuple(_body_fields(answer["dropped"], bad, snapshot)),
        locations=_locations(bad),
    )


def _wanted(item: _Judged) -> str:
    """Return what to ask for: the successor of what fails or will."""
    replace = item.kind in ("failing", "deprecated") and item.said.use_instead
    return item.said.use_instead if replace and item.said.use_instead else item.use.beta


def _body_fields(
    dropped: Sequence[Mapping[str, Json]], bad: Iterable[_Judged], snapshot: Snapshot
) -> Iterator[str]:
    """Return the body fields that must go together with betas that are gone and not replaced."""
    gone = {item["requested"] for item in dropped if item["reason"] != "ga"}
    for item in bad:
        beta: Beta | None = snapshot.betas.get(item.use.beta)
        if beta is not None and beta.name in gone:
            yield from beta.body_fields


# --- Words ----------------------------------------------------------------------------------------


def _services(judged: Iterable[_Judged]) -> dict[str, int]:
    """Count services, each under its worst kind."""
    worst: dict[str, int] = {}
    for item in judged:
        rank = KINDS.index(item.kind) if item.kind is not None else len(KINDS)
        worst[item.use.service] = min(worst.get(item.use.service, rank), rank)
    names: tuple[str, ...] = (*KINDS, "ok")
    found = Counter(names[rank] for rank in worst.values())
    return {"total": len(worst), **{name: found[name] for name in names}}


def _sources(uses: Iterable[Use]) -> Iterator[SourceUse]:
    groups: dict[str, list[Use]] = defaultdict(list)
    for use in uses:
        groups[use.source].append(use)
    for source in sorted(groups):
        group = groups[source]
        yield SourceUse(
            source=source,
            services=len({use.service for use in group}),
            count=sum(use.count for use in group) if source != "scan" else 0,
            last_seen=max(use.last_seen for use in group),
        )


def _summary(
    days: int,
    requests: Requests,
    services: Mapping[str, int],
    findings: Sequence[Finding],
    changes: Sequence[Change],
) -> str:
    if not services["total"]:
        return (
            f"No service was seen with a beta in {many(days, 'day')}, so nothing can be said. Let clients "
            "report, import a gateway's log, or scan the code."
        )
    said = [
        f"In {many(days, 'day')}, {many(services['total'], 'service')} sent "
        f"{'at least ' if requests.total else ''}{many(requests.total, 'request')} with betas."
    ]
    said += [_about_failing(requests, findings), *_about_others(findings)]
    if changes:
        teams = {change.team for change in changes if change.team}
        whose = f" of {many(len(teams), 'team')}" if teams else ""
        places = len({change.service for change in changes})
        said.append(
            f"To be safe, {many(places, 'service')}{whose} must change the header as listed."
        )
    elif not any(finding.kind in _TO_CHANGE for finding in findings):
        said.append("No header has to change.")
    return " ".join(said)


def _about_failing(requests: Requests, findings: Sequence[Finding]) -> str:
    bad = [finding for finding in findings if finding.kind in ("failing", "refusing")]
    if not bad:
        return "None of them would have failed for its betas."
    names = listing([f"{finding.beta} on {finding.platform}" for finding in bad], 3)
    if not requests.failing and not requests.failing_at_most:
        return f"Code that was scanned holds betas that fail when they are sent: {names}."
    least = f"At least {requests.failing:,} of them ({requests.share:.1%})"
    if not requests.failing:
        least = f"Up to {requests.failing_at_most:,} of them"
    return f"{least} fail or would have failed because of {names}."


def _about_others(findings: Sequence[Finding]) -> Iterator[str]:
    ending = [finding for finding in findings if finding.kind == "deprecated"]
    days = sorted(finding.ends_on for finding in ending if finding.ends_on)
    if ending:
        first = f", the first on {days[0]}" if days else ""
        names = len({finding.beta for finding in ending})
        yield f"{many(names, 'beta')} in use will end{first}."
    dead = {finding.beta for finding in findings if finding.kind == "dead_weight"}
    if dead:
        yield f"{many(len(dead), 'beta')} can simply be deleted: the header does nothing."


def _cannot_know(
    judged: Sequence[_Judged], requests: Requests, snapshot: Snapshot, silent: Sequence[str]
) -> Iterator[str]:
    yield "Programs that report nothing and pass no gateway whose log was imported are not in it."
    if silent:
        yield (
            f"{many(len(silent), 'known service')} reported nothing in this time: "
            f"{listing(silent, NAMES_SHOWN)}."
        )
    uses = [item.use for item in judged]
    if any(use.count for use in uses):
        yield (
            "Usage counts each beta for itself. Of those that one service sends, only the most frequent "
            "one is counted as requests, so the numbers are lower bounds"
            f"; at most {requests.failing_at_most:,} requests fail."
        )
    nowhere = {use.service for use in uses if use.platform is None}
    if nowhere:
        yield (
            f"{many(len(nowhere), 'service')} did not say on which platform: judged as on anthropic "
            f"({listing(sorted(nowhere), NAMES_SHOWN)})."
        )
    if any(use.source == "scan" for use in uses):
        yield "A scan finds names in code; whether they are sent, and how often, it cannot tell."
    if snapshot.probed_at is None:
        yield "No target has been probed: what fails is known from documents and reports alone."


def many(number: int, noun: str) -> str:
    """Print a number with its noun: `1 service`, `2 services`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listing(names: Sequence[str], shown: int) -> str:
    """Print the first names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")

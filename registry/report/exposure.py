"""The exposure report: what would break, what is dead weight, and what each service should change.

Pure: `expose` makes a report of usage and a snapshot. It is for somebody who has to say yes to a change, so
its numbers are careful: where usage leaves a number open, the lower bound is taken, and `cannot_know` says
what is not in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal, get_args

from registry.core.facts import Json, Snapshot, to_json
from registry.core.health import HEALTHS, Answered, Hour, answered, gravest, health_of
from registry.core.judgement import HOME, Judgement, Judges
from registry.core.places import PARTS, Place
from registry.core.resolution import Ask, Resolver

__all__ = [
    "SECTIONS",
    "Change",
    "Finding",
    "Location",
    "Report",
    "Requests",
    "Section",
    "Sender",
    "SourceUse",
    "Use",
    "expose",
    "listing",
    "many",
]

Section = Literal["fails", "refused_in_use", "retired", "deprecated", "ga", "superseded", "unknown"]
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
"""Under what a finding stands, the most painful first: what fails, what the service sees refused, though
nothing else says so, and then by the judgement's issue."""

NAMES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where in the code a beta stands."""

    path: str
    line: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """That a service was seen with a beta in the time of the report; one for each source and place.

    `others` are more places that it may have been at, where counts are not kept by them; `placed` says
    whether anybody told on which platform.
    """

    service: str
    environment: str
    beta: str
    source: str
    place: Place = HOME
    others: tuple[Place, ...] = ()
    placed: bool = True
    team: str | None = None
    owner: str | None = None
    hours: tuple[Hour, ...] = ()
    last_seen: datetime
    locations: tuple[Location, ...] = ()

    @property
    def platform(self) -> str:
        """The platform on which it is judged."""
        return self.place.platform or "anthropic"

    @property
    def count(self) -> int:
        """Requests in the time of the report."""
        return sum(count for _, count, _, _ in self.hours)


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
    """One beta at one place: what holds there, how much it is used, and by whom.

    `requests` are those that it makes fail where any do, else all with it. `seen` is what the services
    see, where it is not what is known: `refused` or `accepted`.
    """

    section: Section
    beta: str
    platform: str
    place: Place
    status: str
    state: str
    verdict: str
    issue: str | None
    since: date | None
    seen: Literal["refused", "accepted"] | None
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
    place: Place
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
    """The whole of it. `services` counts services by their health in this time."""

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
    wanted = [use for use in _with_places(uses) if platform is None or use.platform == platform]
    judge = Judges(snapshot, stop.date())
    judged = [_judged(use, judge) for use in wanted]
    requests = _total(_grouped(judged).values())
    findings = _findings(judged, requests.total)
    changes = _changes(judged, snapshot, stop.date())
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
    """A use with what holds where it was; `failing` of its requests fail, at least and at most."""

    use: Use
    said: Judgement
    answers: Answered
    failing: int = 0
    failing_at_most: int = 0

    @property
    def seen(self) -> Literal["refused", "accepted"] | None:
        """What the service sees, where that is not what is known."""
        seen = self.answers
        if self.said.fails and seen.count_since and seen.accepted_since >= seen.count_since:
            return "accepted"
        return "refused" if seen.refused_since and not self.said.fails else None

    @property
    def section(self) -> Section | None:
        """Under what it is told; None where there is nothing to tell."""
        if self.said.fails:
            return "fails"
        if self.seen == "refused":
            return "refused_in_use"
        issue = self.said.issue
        return None if issue is None or issue == "refused" else issue

    @property
    def to_change(self) -> bool:
        """Say whether its header has to change, or can go."""
        return self.said.fails or self.said.at_risk or self.said.needless

    @property
    def requests(self) -> int:
        """Requests to tell of: those that fail where some do."""
        bad = self.section in ("fails", "refused_in_use")
        return self.failing_at_most if bad else self.use.count


def _judged(use: Use, judge: Judges) -> _Judged:
    """Judge one use where it was, or at the worst of its places where counts are not kept by them.

    All requests fail that nothing but an answer from before the turn calls accepted. What fails for one of
    several places only may be anything between none and all of the requests.
    """
    each = [judge.there(use.beta, place) for place in (use.place, *use.others)]
    said = gravest(each)
    answers = answered(use.hours, said.turned_at)
    failing = at_most = answers.refused_since
    if said.fails:
        at_most = max(answers.count - answers.accepted_since, answers.refused)
        failing = at_most if all(one.fails for one in each) else answers.refused
    return _Judged(use=use, said=said, answers=answers, failing=failing, failing_at_most=at_most)


_Group = tuple[str, str, str]
"""A service, its environment and a platform."""


def _grouped(judged: Iterable[_Judged]) -> dict[_Group, list[_Judged]]:
    groups: dict[_Group, list[_Judged]] = defaultdict(list)
    for item in judged:
        groups[item.use.service, item.use.environment, item.use.platform].append(item)
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
    """Count the requests of one source: of the betas, each over all its places, the largest."""
    betas: dict[str, Requests] = defaultdict(Requests)
    for item in items:
        so_far = betas[item.use.beta]
        betas[item.use.beta] = Requests(
            total=so_far.total + item.use.count,
            failing=so_far.failing + item.failing,
            failing_at_most=so_far.failing_at_most + item.failing_at_most,
            refused=so_far.refused + item.answers.refused,
        )
    total = max(one.total for one in betas.values())
    return Requests(
        total=total,
        failing=max(one.failing for one in betas.values()),
        failing_at_most=min(total, sum(one.failing_at_most for one in betas.values())),
        refused=max(one.refused for one in betas.values()),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


# --- Findings -------------------------------------------------------------------------------------


_Found = tuple[Section, str, Place]


def _findings(judged: Iterable[_Judged], total: int) -> tuple[Finding, ...]:
    found: dict[_Found, list[_Judged]] = defaultdict(list)
    for item in judged:
        if item.section is not None:
            found[item.section, item.use.beta, item.said.place].append(item)
    made = [_finding(section, items, total) for (section, _, _), items in found.items()]
    return tuple(sorted(made, key=_pain))


def _pain(finding: Finding) -> tuple[int, date, int, int, str, str]:
    ends = finding.ends_on if finding.section == "deprecated" and finding.ends_on else date.max
    return (
        SECTIONS.index(finding.section), ends, -finding.requests, -len(finding.senders), finding.beta,
        str(finding.place),
    )  # fmt: skip


def _finding(section: Section, items: Sequence[_Judged], total: int) -> Finding:
    use, said = items[0].use, items[0].said
    senders = _senders(items)
    requests = sum(sender.requests for sender in senders)
    seen = {item.seen for item in items}
    return Finding(
        section=section,
        beta=use.beta,
        platform=use.platform,
        place=said.place,
        status=said.status,
        state=said.state,
        verdict=said.verdict,
        issue=said.issue,
        since=said.since,
        seen=seen.pop() if len(seen) == 1 else None,
        detail=said.detail,
        advice=_ASK if section == "refused_in_use" else said.advice,
        use_instead=said.use_instead,
        body_fields=said.body_fields if said.fails else (),
        ends_on=said.sunset_on,
        requests=requests,
        share=_share(min(requests, total), total),
        senders=senders,
    )


_ASK: Final = "Look at the answers with `beta-registry diagnose`: key, plan or model may forbid it."


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
        refused=max((sum(it.answers.refused for it in items) for items in counted), default=0),
        last_seen=max(item.use.last_seen for item in group),
        locations=_locations(group),
    )


def _locations(group: Iterable[_Judged]) -> tuple[Location, ...]:
    unique = dict.fromkeys(place for item in group for place in item.use.locations)
    return tuple(sorted(unique, key=lambda place: (place.path, place.line or 0)))


# --- Changes --------------------------------------------------------------------------------------


def _changes(judged: Iterable[_Judged], snapshot: Snapshot, today: date) -> tuple[Change, ...]:
    groups: dict[tuple[str, str, Place], list[_Judged]] = defaultdict(list)
    for item in judged:
        groups[item.use.service, item.use.environment, item.said.place].append(item)
    resolver = Resolver(snapshot)
    made = [
        _change(place, group, resolver, today)
        for (_, _, place), group in groups.items()
        if any(item.to_change for item in group)
    ]
    changed = [change for change in made if change.value_before != change.value_after]
    return tuple(
        sorted(changed, key=lambda it: (-it.failing, -it.requests, it.service, it.environment))
    )


def _change(place: Place, group: Sequence[_Judged], resolver: Resolver, today: date) -> Change:
    ordered = sorted(group, key=lambda item: (-item.use.count, item.use.beta))
    names = {item.use.beta: item for item in ordered}
    parts = {part: getattr(place, part) for part in PARTS}
    ask = Ask(
        requested=tuple(("beta", _wanted(i)) for i in names.values()), policy="filter", **parts
    )
    answer = resolver.resolve(ask, today).to_json()
    use, counted = group[0].use, _total([group])
    bad = [item for item in names.values() if item.to_change]
    gone = {item["requested"]: item["body_fields"] for item in answer["dropped"]}
    return Change(
        service=use.service,
        environment=use.environment,
        platform=use.platform,
        place=place,
        team=use.team,
        owner=use.owner,
        requests=counted.total,
        failing=counted.failing,
        value_before=",".join(names),
        value_after=answer["value"],
        omit=answer["omit"],
        placement=answer["placement"],
        why=tuple(item.said.detail for item in bad),
        body_fields=tuple(field for item in bad for field in gone.get(item.use.beta, ())),
        locations=_locations(bad),
    )


def _wanted(item: _Judged) -> str:
    """Return what to ask for: what is to be used instead of what fails or will."""
    ends = item.said.fails or item.said.at_risk
    return (item.said.use_instead if ends else None) or item.use.beta


# --- Words ----------------------------------------------------------------------------------------


def _services(judged: Iterable[_Judged]) -> dict[str, int]:
    """Count services by their health."""
    each: dict[str, list[_Judged]] = defaultdict(list)
    for item in judged:
        each[item.use.service].append(item)
    found = Counter(health_of((it.said, it.answers) for it in group) for group in each.values())
    return {"total": len(each), **{name: found[name] for name in reversed(HEALTHS)}}


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
    elif not any(finding.section in ("fails", "deprecated", "retired") for finding in findings):
        said.append("No header has to change.")
    return " ".join(said)


def _about_failing(requests: Requests, findings: Sequence[Finding]) -> str:
    bad = [finding for finding in findings if finding.section in ("fails", "refused_in_use")]
    if not bad:
        return "None of them would have failed for its betas."
    names = listing([f"{finding.beta} on {finding.place}" for finding in bad], 3)
    if not requests.failing and not requests.failing_at_most:
        return f"Code that was scanned holds betas that fail when they are sent: {names}."
    least = f"At least {requests.failing:,} of them ({requests.share:.1%})"
    if not requests.failing:
        least = f"Up to {requests.failing_at_most:,} of them"
    return f"{least} fail or would have failed because of {names}."


def _about_others(findings: Sequence[Finding]) -> Iterator[str]:
    ending = [finding for finding in findings if finding.section == "deprecated"]
    days = sorted(finding.ends_on for finding in ending if finding.ends_on)
    if ending:
        first = f", the first on {days[0]}" if days else ""
        names = len({finding.beta for finding in ending})
        yield f"{many(names, 'beta')} in use will end{first}."
    dead = {finding.beta for finding in findings if finding.verdict == "no_effect"}
    dead |= {finding.beta for finding in findings if finding.section == "ga"}
    if dead:
        yield f"{many(len(dead), 'beta')} can simply be deleted: the header is not needed."


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
    nowhere = {use.service for use in uses if not use.placed}
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

"""The pages that show what is known: overview, betas, lifelines, support matrix, changelog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from registry import catalog, targets
from registry.core.diagnosis import commands
from registry.core.facts import (
    EVENT_TYPES,
    STATES,
    STATUSES,
    Beta,
    Event,
    Snapshot,
    parse_time,
)
from registry.core.judgement import HOME, Judgement, Judges, current_of, judges_of
from registry.core.names import PLATFORMS
from registry.core.places import KNOWN_PLACES
from registry.web.api import known_beta
from registry.web.dashboard import pictures
from registry.web.dashboard.asking import Asked
from registry.web.dashboard.inventory import going_away, used
from registry.web.dashboard.pages import Pages

__all__ = ["FalseAlarms", "false_alarms", "routes"]

PAGE: Final = 100
"""Rows of a table on one page."""
SOON: Final = timedelta(days=120)
RECENT: Final = timedelta(days=30)

_PROBED_LOSSES: Final = ("beta.retired", "beta.refused")
_PROBED_GAINS: Final = ("beta.restored", "beta.supported")


def routes(pages: Pages) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(pages.reader)])

    @router.get("/")
    def overview(request: Request) -> Response:
        snapshot, now = pages.snapshot(), pages.context.clock()
        return pages.show(
            request,
            "overview.html",
            **_overview(snapshot, now),
            news=pages.part(_news),
            alarms=pages.part(_false_alarms),
            used=pages.held(request, lambda s: going_away(s, judges_of(snapshot, now.date()), now)),
            targets=pages.held(request, targets.statuses),
            sources=pages.held(
                request, lambda s: catalog.sources(s, pages.context.source_names, 1)
            ),
            offline=pages.context.offline,
        )

    @router.get("/betas")
    def betas(request: Request) -> Response:
        snapshot = pages.snapshot()
        asked = Asked(request, (*_FILTERS, "sort", "page"))
        found = _sorted(_select(snapshot.betas.values(), asked), asked)
        shown = _page(found, asked)
        return pages.show(
            request,
            "betas.html",
            asked=asked,
            **shown,
            notices=asked.notices,
            sort=asked.word("sort", _SORTS_BOTH, "name"),
            **_choices(snapshot),
        )

    @router.get("/betas/{name}")
    def beta(request: Request, name: str) -> Response:
        snapshot, now = pages.snapshot(), pages.context.clock()
        found = known_beta(snapshot, name)
        return pages.show(
            request,
            "beta.html",
            beta=found,
            **_about(snapshot, found, now),
            evidence=pages.part(lambda s: catalog.evidence(s, name, now)),
            used=pages.held(request, lambda s: used(s, name, judges_of(snapshot, now.date()), now)),
            seen=pages.part(lambda s: _observed(s, name)),
            news=pages.part(lambda s: catalog.events(s, catalog.EventFilter(betas=(name,)), 8)),
        )

    @router.get("/lifelines")
    def lifelines(request: Request) -> Response:
        snapshot, now = pages.snapshot(), pages.context.clock()
        asked = Asked(request, (*_FILTERS, "from", "to"))
        found = _select(snapshot.betas.values(), asked)
        return pages.show(
            request,
            "lifelines.html",
            asked=asked,
            **_lives(found, asked, now),
            notices=asked.notices,
            **_choices(snapshot),
        )

    @router.get("/matrix")
    def matrix(request: Request) -> Response:
        snapshot = pages.snapshot()
        asked = Asked(request, (*_FILTERS, "page"))
        found = sorted(_select(snapshot.betas.values(), asked), key=lambda beta: beta.name)
        return pages.show(
            request,
            "matrix.html",
            asked=asked,
            **_matrix(_page(found, asked), judges_of(snapshot, pages.context.clock().date())),
            notices=asked.notices,
            **_choices(snapshot),
        )

    @router.get("/changelog")
    def changelog(request: Request) -> Response:
        snapshot = pages.snapshot()
        asked = Asked(request, ("type", "beta", "feature", "platform", "since", "before"))
        wanted = _events_asked(asked)
        found = pages.part(lambda s: catalog.events(s, wanted, PAGE + 1))
        return pages.show(
            request,
            "changelog.html",
            asked=asked,
            found=found,
            days=_by_day((found.value or ())[:PAGE]),
            older=found.value[PAGE - 1].id if found.value and len(found.value) > PAGE else None,
            notices=asked.notices,
            types=EVENT_TYPES,
            **_choices(snapshot),
        )

    return router


# --- Choosing betas -------------------------------------------------------------------------------

_FILTERS: Final = ("q", "status", "topic", "feature", "platform", "state")

_SORTS: Final[dict[str, Callable[[Beta], Any]]] = {
    "name": lambda beta: "",
    "status": lambda beta: STATUSES.index(beta.status),
    "status_since": lambda beta: beta.status_since or date.min,
    "release_date": lambda beta: beta.release_date or date.min,
    "sunset_on": lambda beta: beta.sunset_on or date.max,
    "changed_at": lambda beta: beta.changed_at.timestamp() if beta.changed_at else 0.0,
    "services": lambda beta: beta.services,
}
_SORTS_BOTH: Final = tuple(f"{sign}{key}" for key in _SORTS for sign in ("", "-"))


def _select(betas: Iterable[Beta], asked: Asked) -> list[Beta]:
    """Return the betas that fit all that is asked."""
    words = asked.text("q").lower().split()
    statuses, topics = asked.words("status", STATUSES), asked.words("topic")
    features = asked.words("feature")
    platforms, states = asked.words("platform", PLATFORMS), asked.words("state", STATES)

    def fits(beta: Beta) -> bool:
        text = f"{beta.name}\n{beta.topic or ''}\n{beta.summary}".lower()
        return (
            (not statuses or beta.status in statuses)
            and (not topics or beta.topic in topics)
            and (not features or beta.feature in features)
            and _stands(beta, platforms, states)
            and all(word in text for word in words)
        )

    return [beta for beta in betas if fits(beta)]


def _stands(beta: Beta, platforms: Sequence[str], states: Sequence[str]) -> bool:
    """Say whether a beta is in one of the states on one of the platforms; `supported` unless asked."""
    if not platforms and not states:
        return True
    wanted = states or ("supported",)
    return any(
        known.state in wanted
        for platform, known in beta.platforms.items()
        if not platforms or platform in platforms
    )


def _sorted(betas: list[Beta], asked: Asked) -> list[Beta]:
    sort = asked.word("sort", _SORTS_BOTH, "name")
    key = _SORTS[sort.removeprefix("-")]
    betas.sort(key=lambda beta: beta.name)
    if sort in ("name", "-name"):
        return betas[::-1] if sort.startswith("-") else betas
    betas.sort(key=key, reverse=sort.startswith("-"))
    return betas


def _page(found: Sequence[Beta], asked: Asked) -> dict[str, Any]:
    """Cut out the page that is asked for."""
    last = max(1, -(-len(found) // PAGE))
    number = min(asked.number("page", 1), last)
    shown = found[(number - 1) * PAGE : number * PAGE]
    return {"betas": shown, "count": len(found), "number": number, "last": last}


def _choices(snapshot: Snapshot) -> dict[str, Any]:
    """Return what the filters offer."""
    topics = sorted({beta.topic for beta in snapshot.betas.values() if beta.topic})
    return {"statuses": STATUSES, "states": STATES, "platforms": PLATFORMS, "topics": topics}


# --- The matrix ---------------------------------------------------------------------------------


def _matrix(shown: dict[str, Any], judges: Judges) -> dict[str, Any]:
    """Add what holds of each beta at each known place; places of a platform that agree share a column."""
    cells = {
        slug: [judges.at(place).beta(beta.name) for beta in shown["betas"]]
        for slug, place in KNOWN_PLACES.items()
    }
    columns: dict[str, Sequence[Judgement]] = {}
    for platform in PLATFORMS:
        slugs = [slug for slug, place in KNOWN_PLACES.items() if place.platform == platform]
        facts = [[(it.verdict, it.fact, it.names) for it in cells[slug]] for slug in slugs]
        if all(one == facts[0] for one in facts):
            columns[platform] = cells[slugs[0]]
        else:
            columns |= {slug: cells[slug] for slug in slugs}
    rows = zip(*columns.values(), strict=True)
    return {**shown, "columns": list(columns), "rows": list(zip(shown["betas"], rows, strict=True))}


# --- The overview ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarms:
    """How many of the counted sweeps raised an alarm that was taken back within a day."""

    count: int
    sweeps: int


def false_alarms(events: Iterable[Event]) -> int:
    """Count what probing found retired or refused, and found accepted again within 24 hours."""
    losses: dict[tuple[str | None, str | None], datetime] = {}
    count = 0
    for event in sorted(events, key=lambda item: item.id):
        key = event.beta, event.platform
        if event.type in _PROBED_LOSSES:
            if event.source.startswith("target:") and not event.backfill:
                losses[key] = event.at
        elif event.type in _PROBED_GAINS:
            lost = losses.pop(key, None)
            count += lost is not None and event.at - lost <= timedelta(hours=24)
    return count


def _false_alarms(session: Session) -> FalseAlarms:
    wanted = catalog.EventFilter(types=(*_PROBED_LOSSES, *_PROBED_GAINS), ascending=True)
    return FalseAlarms(
        count=false_alarms(catalog.events(session, wanted, 100_000)),
        sweeps=targets.counted_sweeps(session),
    )


def _news(session: Session) -> list[Event]:
    """Return the last changes that matter; that a mere detail changed stands in the changelog."""
    told = tuple(kind for kind in EVENT_TYPES if kind not in ("beta.changed", "source.entry"))
    return catalog.events(session, catalog.EventFilter(types=told), 12)


def _overview(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    betas, today = snapshot.betas.values(), now.date()
    counts = dict.fromkeys(STATUSES, 0)
    for beta in betas:
        counts[beta.status] += 1
    coming = [beta for beta in betas if beta.sunset_on and beta.sunset_on >= today]
    gone = [
        beta for beta in betas
        if beta.status == "retired" and beta.retired_on and today - beta.retired_on <= RECENT
    ]  # fmt: skip
    turning = [
        (beta, platform, known.pending)
        for beta in betas
        for platform, known in beta.platforms.items()
        if known.pending
    ]
    return {
        "counts": counts,
        "coming": sorted(coming, key=lambda beta: (beta.sunset_on, beta.name)),
        "gone": sorted(gone, key=lambda beta: (beta.retired_on, beta.name), reverse=True),
        "disputed": [beta for beta in betas if beta.disputed],
        "turning": turning,
        "soon": today + SOON,
    }


# --- One beta -------------------------------------------------------------------------------------


def _about(snapshot: Snapshot, beta: Beta, now: datetime) -> dict[str, Any]:
    today = now.date()
    siblings = sorted(
        (other for other in snapshot.betas.values() if other.feature == beta.feature),
        key=lambda other: (other.release_date or date.min, other.name),
    )
    life = pictures.life_of(beta, today)
    first, last = pictures.range_of([life], today)
    models, judges = _models(snapshot, beta), judges_of(snapshot, today)
    return {
        "siblings": siblings,
        "current": current_of({one.name: one for one in siblings}),
        "picture": pictures.lifelines({"": [life]}, first, last, today, now)
        if life.spans
        else None,
        "models": models,
        "home": judges.at(HOME).beta(beta.name),
        "verdicts": {
            slug: [
                judges.at(replace(here, model=model)).beta(beta.name) for model in (None, *models)
            ]
            for slug, place in KNOWN_PLACES.items()
            for here in [replace(place, endpoint=beta.endpoints[0] if beta.endpoints else None)]
        },
        "commands": commands([beta.name], None, None),
        "shape": pictures.shape,
    }


def _models(snapshot: Snapshot, beta: Beta) -> list[str]:
    """Return the models that something is known of for this beta."""
    named = [*beta.models, *(fact.place.model for fact in beta.places if fact.place.model)]
    named += [target["model"] for target in snapshot.targets.values() if target["model"]]
    return list(dict.fromkeys(named))[:12]


def _observed(session: Session, name: str) -> dict[str, Any]:
    found = [item for _, item in targets.observations(session, name, 300)]
    seen = [
        pictures.Seen(
            row=item["target"], at=parse_time(item["at"]), verdict=item["verdict"],
            told=f"{item['at']} {item['target']}: {item['verdict']}. {item['message']}",
        )
        for item in found
    ]  # fmt: skip
    return {"picture": pictures.observations(seen), "items": found[:20], "count": len(found)}


# --- Lifelines ------------------------------------------------------------------------------------


def _lives(found: list[Beta], asked: Asked, now: datetime) -> dict[str, Any]:
    today = now.date()
    groups: dict[str, list[pictures.Life]] = {}
    for beta in sorted(
        found, key=lambda item: (item.feature, item.release_date or date.min, item.name)
    ):
        groups.setdefault(beta.feature, []).append(pictures.life_of(beta, today))
    lives = [life for group in groups.values() for life in group]
    first, last = _range(asked, *pictures.range_of(lives, today))
    return {
        "picture": pictures.lifelines(groups, first, last, today, now) if lives else None,
        "first": first,
        "last": last,
        "count": len(lives),
        "year_ago": today - timedelta(days=365),
        "half_ago": today - timedelta(days=183),
        "shape": pictures.shape,
    }


def _range(asked: Asked, first: date, last: date) -> tuple[date, date]:
    """Return the days that are asked, inside of what can be drawn."""
    start, end = asked.day("from") or first, asked.day("to") or last
    if start >= end:
        asked.notices.append(f"{start} is not before {end}; the whole time is shown.")
        return first, last
    start = min(max(start, pictures.EARLIEST), pictures.LATEST)
    end = min(max(end, start + timedelta(days=1)), pictures.LATEST + timedelta(days=366))
    return start, end


# --- The changelog --------------------------------------------------------------------------------


def _events_asked(asked: Asked) -> catalog.EventFilter:
    since = asked.text("since", 40)
    after, begin = None, None
    if since.isascii() and since.isdigit():
        after = min(int(since), 2**62)
    elif since:
        day = asked.day("since")
        begin = parse_time(day.isoformat()) if day else None
    before = asked.number("before", 0)
    return catalog.EventFilter(
        after=after,
        before=before or None,
        from_=begin,
        types=asked.words("type", EVENT_TYPES),
        betas=asked.words("beta"),
        features=asked.words("feature"),
        platforms=asked.words("platform", PLATFORMS),
    )


def _by_day(events: Sequence[Event]) -> dict[date, list[Event]]:
    days: dict[date, list[Event]] = {}
    for event in events:
        days.setdefault(event.at.date(), []).append(event)
    return days

"""What an alert says: events and what is known of them in, one message in every form out.

The `data` of a message has the shape of the contract ("An alert"), whatever it holds: of several events it
is about the gravest, and `others` holds the rest in the same shape. A message without events (a test, a
welcome, a notice) has null for `event`. Text, Markdown and HTML are rendered from our own templates, which tell
the same in the same order, or filled in from an operator's (`placeholders.py`). Pure but for our templates, which
are read from the package once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Final

from registry.alerts import placeholders
from registry.alerts.sending import Message
from registry.core import diagnosis
from registry.core.facts import Beta, Event, Json, Snapshot, rfc3339, to_json
from registry.core.health import ENDING
from registry.core.judgement import HOME, VERDICTS, Judgement, Judges, judges_of
from registry.core.places import KNOWN_PLACES, Place
from registry.core.wording import judged, page, plain, severity_of, tell
from registry.inventory import Affected

if TYPE_CHECKING:
    import jinja2

__all__ = [
    "SHOWN",
    "Facts",
    "Proof",
    "Upstream",
    "about",
    "compose",
    "grouped_alerts",
    "standing",
]

SHOWN: Final = 50
"""Alerts written out in one message, and services written out in one alert; the rest is counted."""

_GRAVITY: Final = {"critical": 0, "warning": 1, "info": 2}
_FIRST: Final = ("beta.retired", "usage.refusing", "beta.refused", "usage.at_risk")
"""Of equally grave events of one message, these are what it is about."""

_BETA: Final = (
    "name", "feature", "status", "status_since", "status_reason", "basis", "disputed",
    "header_effect", "accepted", "gate", "superseded_by", "announced_on", "deprecated_on",
    "sunset_on", "ga_on", "retired_on", "summary", "docs_url",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The observations behind an event: how often in a row it was refused, and the last answer."""

    target: str
    model: str
    endpoint: str
    refusals: int
    since: datetime
    request_id: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What messages are made from, at one moment; `affected` and `proofs` are by event id.

    `grouped` is the data that `grouped_alerts` made of the same events before, for somebody else.
    """

    snapshot: Snapshot
    affected: Mapping[int, Sequence[Affected]]
    proofs: Mapping[int, Proof]
    base_url: str
    now: datetime
    grouped: Mapping[str, Json] | None = None
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)

    @property
    def judges(self) -> Judges:
        """The judges of the snapshot."""
        return judges_of(self.snapshot, self.now.date())


# --- One alert ------------------------------------------------------------------------------------


def about(event: Event, facts: Facts) -> dict[str, Json]:
    """Return the `data` of an alert about one event, in the shape of the contract."""
    beta = facts.snapshot.betas.get(event.beta or "")
    affected = facts.affected.get(event.id, ())
    services = {item.service for item in affected}
    # The title counts those that fail as their own page says it.
    grave = severity_of(event, facts.snapshot) == "critical"
    failing = {item.service for item in affected if not grave or item.health == "failing"}
    told = tell(event, facts.snapshot, services=len(failing) if affected else None)
    worst = min(affected, key=lambda item: VERDICTS.index(item.verdict), default=None)
    return {
        "event": {**to_json(event), "affected": sorted(services)},
        "severity": told.severity,
        "title": told.title,
        "text": told.text,
        "beta": _beta(beta) if beta else None,
        "affected": [_affected(event, item, facts) for item in affected[:SHOWN]],
        "affected_total": len(affected),
        "action": _action(event, worst.place if worst else None, facts),
        "proof": to_json(facts.proofs.get(event.id)),
        "confirm": _confirm(event, beta, facts),
        "links": _links(facts.base_url, event.beta, page(event, facts.snapshot)),
    }


def _beta(beta: Beta) -> dict[str, Json]:
    shown: dict[str, Json] = {member: to_json(getattr(beta, member)) for member in _BETA}
    return {**shown, "platforms": {place: known.state for place, known in beta.platforms.items()}}


def _affected(event: Event, item: Affected, facts: Facts) -> dict[str, Json]:
    return {
        "service": item.service, "environment": item.environment, "team": item.team,
        "owner": item.owner, "platform": item.platform, "last_seen": rfc3339(item.last_seen),
        "count_24h": item.count_24h, "refused_24h": item.refused_24h,
        "locations": [to_json(place) for place in item.locations[:SHOWN]],
        "place": to_json(item.place), "verdict": item.verdict, "health": item.health,
        "action": _action(event, item.place, facts),
    }  # fmt: skip


def _action(event: Event, place: Place | None, facts: Facts) -> dict[str, Json]:
    """Say what to do at a place, else where the event happened: the value to send before and after it."""
    said = judged(event, facts.snapshot)
    if said is not None and place is not None:
        said = facts.judges.there(said.name, place)
    do = _what_to_do(event, said)
    instead = said.use_instead if said is not None and do == "replace" else None
    before = (",".join(said.names) or said.name) if said is not None else ""
    after = before if do not in ("remove", "replace") else ""
    if said is not None and instead:
        after = ",".join(facts.judges.there(instead, said.place).names)
    goes = said is not None and do in ("remove", "replace")
    return {
        "do": do,
        "with": instead,
        "body_fields": list(said.body_fields) if said is not None and goes else [],
        "docs_url": said.beta.docs_url if said is not None and said.beta is not None else None,
        "value_before": before,
        "value_after": after,
    }


def _what_to_do(event: Event, said: Judgement | None) -> str:
    if said is not None and event.type in (*_ENDS, "beta.ga"):
        if said.use_instead and (said.fails or said.at_risk or said.issue == "superseded"):
            return "replace"
        if said.fails or said.at_risk or said.needless:
            return "remove"
    return "wait" if event.type in (*_UNDECIDED, "beta.superseded") else "nothing"


_ENDS: Final = ENDING | {"usage.at_risk", "usage.refusing"}
_UNDECIDED: Final = frozenset(
    {
        "beta.restricted", "beta.disputed", "beta.delisted", "target.unhealthy", "target.blind",
        "source.failed",
    }
)  # fmt: skip


def _confirm(event: Event, beta: Beta | None, facts: Facts) -> list[str]:
    if beta is None or event.type not in _ENDS | {"beta.restricted", "beta.restored"}:
        return []
    proof = facts.proofs.get(event.id)
    if proof is None:
        return diagnosis.commands([beta.name], event.platform, None)
    own = [f"beta-registry probe {proof.target} --beta {beta.name}"]
    if event.platform not in (None, "anthropic"):
        return own
    upstream = facts.upstreams.get(proof.target, Upstream())
    made = diagnosis.commands([beta.name], event.platform, proof.model)
    return [*(upstream.names(command) for command in made), *own]


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a target's requests go, and in which variable its key stands."""

    base_url: str | None = None
    api_key_env: str | None = None

    def names(self, command: str) -> str:
        """Put these into a command that asks the usual address with the usual key."""
        if self.base_url:
            command = command.replace(_ADDRESS, self.base_url.rstrip("/"))
        return command.replace(_KEY, f"${self.api_key_env}") if self.api_key_env else command


_ADDRESS: Final = "${ANTHROPIC_BASE_URL:-https://api.anthropic.com}"
_KEY: Final = "$ANTHROPIC_API_KEY"


def _links(base_url: str, name: str | None = None, path: str = "/") -> dict[str, Json]:
    """Return where to read on: a program by the API, a person on the page."""
    return {
        "beta": f"{base_url}/v1/betas/{name}" if name else None,
        "changelog": f"{base_url}/v1/changelog" + (f"?beta={name}" if name else ""),
        "page": f"{base_url}{path}",
    }


# --- One message ----------------------------------------------------------------------------------


def compose(
    number: str,
    kind: str,
    events: Sequence[Event],
    facts: Facts,
    made: datetime,
    *,
    note: str | None = None,
    name: str = "",
    standing: Mapping[str, Json] | None = None,
    template: Mapping[str, str] | None = None,
    forms: bool = True,
) -> Message:
    """Make a message of a kind: `alert`, `digest`, `test`, `welcome` or `notice`.

    `name` is the subscription's; `note` what a notice says, or the window of a digest. Without `forms` only
    the data is made, which is all that a webhook takes.
    """
    grouped = facts.grouped or (grouped_alerts(events, facts) if events else None)
    data = dict(grouped or _without_event(kind, name, note, facts, standing))
    if kind == "digest":
        count = len(events)
        data["title"] = f"{count} {'change' if count == 1 else 'changes'}: {data['title']}"
        data["window"] = note
    lead = data["event"]
    shown = {**data, "kind": kind, "name": name}
    words = template if template and forms and placeholders.is_usable(template) else {}
    title, body = words.get("title"), words.get("body")
    return Message(
        id=number,
        at=events[0].at if events else made,
        type=kind if kind != "alert" or lead is None else lead["type"],
        title=plain(placeholders.fill(title, shown) if title else data["title"])[:250],
        severity=data["severity"],
        data=data,
        **(_in_own_words(body, shown) if body else _in_our_words(shown) if forms else _NO_FORMS),
    )


_NO_FORMS: Final = {"text": "", "markdown": "", "html": ""}


def _in_our_words(shown: Mapping[str, Json]) -> dict[str, str]:
    return {
        "text": _render("alert.txt.j2", shown),
        "markdown": _render("alert.md.j2", shown),
        "html": _render("alert.html.j2", shown),
    }


def _in_own_words(body: str, shown: Mapping[str, Json]) -> dict[str, str]:
    """Fill in an operator's template; in Markdown what comes from outside is escaped."""
    text = placeholders.fill(body, shown)
    return {
        "text": text,
        "markdown": placeholders.fill(body, shown, _markdown_lines),
        "html": "<p>" + escape(text).replace("\n", "<br>\n") + "</p>",
    }


def grouped_alerts(events: Sequence[Event], facts: Facts) -> dict[str, Json]:
    """Return the alert about the gravest event, with the others beside it."""
    alerts = [about(event, facts) for event in _ordered(events, facts)]
    lead, others = alerts[0], alerts[1:SHOWN]
    more = len(events) - 1 - len(others)
    return {**lead, "others": others, "more": more, "standing": None}


def _ordered(events: Sequence[Event], facts: Facts) -> list[Event]:
    """Return the events that are written out, the gravest first."""

    def rank(event: Event) -> tuple[int, int, int]:
        gravity = _GRAVITY[severity_of(event, facts.snapshot)]
        place = _FIRST.index(event.type) if event.type in _FIRST else len(_FIRST)
        return gravity, place, event.id

    return sorted(events, key=rank)[:SHOWN]


_TITLES: Final = {
    "test": "This is a test of the subscription `{}`: it works.",
    "welcome": "The subscription `{}` is made. How things stand now.",
    "notice": "One of your subscriptions was disabled.",
}


def _without_event(
    kind: str, name: str, note: str | None, facts: Facts, standing: Mapping[str, Json] | None
) -> dict[str, Json]:
    title = _TITLES[kind].format(plain(name).replace("`", "'"))
    return {
        "event": None,
        "severity": "warning" if kind == "notice" else "info",
        "title": title,
        "text": note or title,
        "beta": None,
        "affected": [],
        "affected_total": 0,
        "action": {
            "do": "nothing", "with": None, "body_fields": [], "docs_url": None,
            "value_before": "", "value_after": "",
        },
        "proof": None,
        "confirm": [],
        "links": _links(facts.base_url),
        "others": [],
        "more": 0,
        "standing": dict(standing) if standing else None,
    }  # fmt: skip


def standing(betas: Sequence[str], judges: Judges, today: date) -> dict[str, Json]:
    """Tell how things stand with some betas: how many there are, what ends soon, what fails where."""
    home = [judges.at(HOME).beta(name) for name in betas]
    counts: dict[str, int] = {}
    for item in home:
        counts[item.status] = counts.get(item.status, 0) + 1
    ending = sorted(
        (item.sunset_on, item.name)
        for item in home
        if item.sunset_on and item.sunset_on >= today and item.status != "retired"
    )
    refused = [
        {"beta": name, "platform": place.platform, "place": place.slug}
        for name in betas
        for place in KNOWN_PLACES.values()
        if (said := judges.at(place).beta(name)).state == "refused" and said.basis == "probed"
    ]
    return {
        "counts": counts,
        "ending": [{"beta": name, "sunset_on": str(day)} for day, name in ending[:SHOWN]],
        "refused": refused[:SHOWN],
    }


# --- Our templates --------------------------------------------------------------------------------


@cache
def _environment() -> jinja2.Environment:
    """Our own templates. HTML is escaped; in Markdown what comes from outside stands in `md`."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("registry.alerts"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters["md"] = _markdown
    made.filters["code"] = _code
    made.filters["plain"] = plain
    made.filters["web"] = _is_web
    return made


def _render(name: str, data: Mapping[str, Json]) -> str:
    text = _environment().get_template(name).render(**data)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _markdown(text: object) -> str:
    """Escape what Markdown would read as markup; names in backquotes stay code."""
    parts = plain(text).split("`")
    if len(parts) % 2 == 0:
        return re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", plain(text))
    escaped = [
        f"`{part}`" if place % 2 else re.sub(r"([\\*_{}\[\]<>#!|~])", r"\\\1", part)
        for place, part in enumerate(parts)
    ]
    return "".join(escaped)


def _markdown_lines(text: str) -> str:
    return text if _is_web(text) else "\n".join(map(_markdown, text.split("\n")))


def _is_web(url: object) -> bool:
    """Say whether a link may be shown as one: to the web, and without what could end it."""
    return bool(re.fullmatch(r"https?://[^\s<>()\[\]`\"']+", str(url or ""))) and plain(url) == url


def _code(text: object) -> object:
    """Escape for HTML, and show what stands in backquotes as code."""
    from markupsafe import Markup

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(plain(text))))  # noqa: S704 - escaped

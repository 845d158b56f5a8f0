"""What an event means to a person: its title, its severity, and its sentence.

    tell(event, snapshot)      all of it, with what to use instead looked up
    judged(event, snapshot)    what holds of its beta where it happened
    headline(event, said)      one line: what, since when, who is hit, what to do
    sentence(event, said)      what changed, since when, how we know, what instead, who is affected
    severity(event, said)      whether requests fail now
    page(event, snapshot)      where a person reads on

One table, `_WORDS`, holds what is said of each type of event. The words are plain text on one line:
control characters and marks that turn the direction of writing are gone, and names stand in backquotes;
escaping for HTML or Markdown is the renderer's. Only what the event and the beta say is told.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from registry.core.facts import Beta, Event, EventType, Json, Snapshot
from registry.core.health import ENDING, event_place
from registry.core.judgement import Judgement, Judges, lenient_place
from registry.core.places import PARTS

__all__ = [
    "Severity",
    "Told",
    "headline",
    "judged",
    "page",
    "plain",
    "sentence",
    "severity",
    "severity_of",
    "tell",
]

Severity = Literal["critical", "warning", "info"]

EXCERPT: Final = 160
"""Characters of a foreign text in a title; a sentence takes more."""

_DYING: Final = ENDING | {"beta.restricted", "usage.at_risk", "usage.refusing"}
"""Types after which another beta is wanted, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as a person reads it. `instead` is the beta to use in place of the event's."""

    title: str
    text: str
    severity: Severity
    instead: str | None


def tell(event: Event, snapshot: Snapshot | None, *, services: int | None = None) -> Told:
    """Tell an event with what holds now of its beta where it happened, and of what replaces it there."""
    said = judged(event, snapshot)
    instead = said.use_instead if said is not None and event.type in _DYING else None
    return Told(
        title=headline(event, said, services=services, instead=instead),
        text=sentence(event, said, services=services, instead=instead),
        severity=severity(event, said),
        instead=instead,
    )


def judged(event: Event, snapshot: Snapshot | None) -> Judgement | None:
    """Return what holds of an event's beta where it happened; None for what is not in the registry."""
    if snapshot is None or event.beta is None or event.beta not in snapshot.betas:
        return None
    place = event_place(event)
    usual = lenient_place(*(getattr(place, part) for part in PARTS))
    return _judges(snapshot).there(event.beta, usual)


_latest: Final[list[Judges]] = []


def _judges(snapshot: Snapshot) -> Judges:
    """Return the judges of a snapshot; the day plays no part where facts are fresh."""
    if not _latest or _latest[-1].snapshot is not snapshot:
        _latest[:] = [Judges(snapshot, snapshot.as_of.date())]
    return _latest[-1]


def headline(
    event: Event,
    said: Judgement | None,
    *,
    services: int | None = None,
    instead: str | None = None,
) -> str:
    """Return the title: one line.

    "`X` refused on bedrock since 02:41 UTC: 3 services fail. Replace by `Y`." Without `services` it is the
    event's count.
    """
    case = _case(event, said, services, instead, brief=True)
    words = _WORDS[event.type]
    hit = _hit(case) if words.hits else ""
    return _joined([f"{words.what(case)}{': ' if hit else ''}{hit}", words.do(case)])


def sentence(
    event: Event,
    said: Judgement | None,
    *,
    services: int | None = None,
    instead: str | None = None,
) -> str:
    """Return what a person understands: what changed, since when, how we know, and what to do."""
    case = _case(event, said, services, instead, brief=False)
    words = _WORDS[event.type]
    reason = plain(event.reason) if words.reason else ""
    what = words.what(case)
    return _joined(
        [
            what,
            "" if reason.rstrip(".") in what else reason,
            _proof(case),
            words.do(case),
            f"Affected: {case.services} {_noun(case)}" if case.services else "",
        ]
    )


def severity_of(event: Event, snapshot: Snapshot | None) -> Severity:
    """Say how bad an event is, by what holds now where it happened."""
    return severity(event, judged(event, snapshot))


def severity(event: Event, said: Judgement | None) -> Severity:
    """Say how bad it is; `said` is the judgement of its beta where it happened.

    - `critical`: requests fail now. A beta is retired and not accepted any more; a platform refuses it;
      services report refusals, or begin to use such a beta.
    - `warning`: it has a date, or may break: deprecated, ending, restricted, disputed, gone from the
      SDK's list while in use, retired but still accepted; and what makes us blind: a target or a source
      that fails.
    - `info`: everything else, and all history (`backfill`): what was so before we looked is no news.

    A beta whose gate is `org` or `internal` is refused to all but a few: that is critical only where it
    was supported before. The table below says it type by type.
    """
    if event.backfill:
        return "info"
    rule = _WORDS[event.type].severity
    return rule(event, said) if callable(rule) else rule


# --- What an event is about -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One event, made ready to be told."""

    event: Event
    said: Judgement | None
    instead: str | None
    services: int
    brief: bool

    @property
    def beta(self) -> Beta | None:
        return self.said.beta if self.said is not None else None

    @property
    def name(self) -> str:
        return _quoted(self.event.beta) if self.event.beta else "A beta"

    @property
    def on(self) -> str:
        return f" on {plain(self.event.platform)}" if self.event.platform else ""

    @property
    def target(self) -> str:
        return f"Target {_quoted(self.event.target)}" if self.event.target else "A target"

    @property
    def since(self) -> str:
        """Since when: to the minute if we saw it happen, else the day that the evidence names."""
        event = self.event
        day = event.effective_on
        if day is not None and day > event.at.date():
            return f" from {day} on"
        if day is not None and day != event.at.date():
            return f" since {day}"
        return (
            f" since {event.at:%H:%M} UTC"
            if self.brief
            else f" since {event.at:%Y-%m-%d %H:%M} UTC"
        )

    def member(self, key: str) -> Json:
        return _member(self.event, self.beta, key)

    def day(self, key: str) -> date | None:
        """Return a day that the event states, else the one that is known of the beta."""
        value = self.member(key)
        try:
            return date.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            return None


def _case(
    event: Event, said: Judgement | None, services: int | None, instead: str | None, *, brief: bool
) -> _Case:
    return _Case(
        event=event,
        said=said,
        instead=instead,
        services=event.services if services is None else services,
        brief=brief,
    )


def _member(event: Event, beta: Beta | None, key: str) -> Json:
    """Return a member of the beta as the event left it: told by the event, else known now."""
    after = _mapping(event.after)
    return after[key] if key in after else getattr(beta, key, None)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _state(event: Event, side: Json) -> Mapping[str, Json]:
    return _mapping(_mapping(_mapping(side).get("platforms")).get(event.platform or ""))


def page(event: Event, snapshot: Snapshot | None) -> str:
    """Return the path of the dashboard's page on which a person reads of an event.

    It is that of its beta, if there is one, else the changelog from the event on backwards.
    """
    if event.beta and (snapshot is None or event.beta in snapshot.betas):
        return f"/betas/{quote(event.beta, safe='')}"
    return f"/changelog?before={event.id + 1}"


# --- Text -----------------------------------------------------------------------------------------


def plain(text: object) -> str:
    """Return text on one line, without controls, marks of direction or what is no character."""
    given, kind = str(text), unicodedata.category
    if given.isascii() and given.isprintable():
        return " ".join(given.split())
    kept = "".join(_SPACES.get(kind(char), char if kind(char) in _SHOWN else "") for char in given)
    return " ".join(unicodedata.normalize("NFC", kept).split())


_SPACES: Final = dict.fromkeys(("Cc", "Zl", "Zp", "Zs"), " ")
_SHOWN: Final = frozenset(
    {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
     "Pf", "Po", "Sm", "Sc", "Sk", "So"}
)  # fmt: skip


def _quoted(name: object) -> str:
    return f"`{_cut(plain(name).replace('`', chr(39)), 140)}`"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _joined(parts: list[str]) -> str:
    """Put sentences together: each begins with a capital and ends with a stop."""
    made = []
    for part in parts:
        text = part.strip()
        if text:
            first = text[0].upper() + text[1:]
            made.append(first if first[-1] in ".!?…" else f"{first}.")
    return plain(" ".join(made))


def _noun(case: _Case) -> str:
    return "service" if case.services == 1 else "services"


def _hit(case: _Case) -> str:
    if not case.services:
        return ""
    fails = severity(case.event, case.said) == "critical"
    one, many = ("fails", "fail") if fails else ("uses it", "use it")
    return f"{case.services} {_noun(case)} {one if case.services == 1 else many}"


_SOURCES: Final = {
    "catalog": "the curated catalog",
    "sdk": "the official SDK",
    "litellm": "LiteLLM's file",
    "release-notes": "the release notes",
    "docs": "the feature pages of the API's docs",
    "operator": "the operator's word",
    "registry": "this registry's own reckoning",
    "usage": "reports of services",
}


def _source(case: _Case) -> str:
    source = plain(case.event.source)
    if source.startswith("target:"):
        return f"probing with target {_quoted(source.removeprefix('target:'))}"
    return _SOURCES.get(source, source)


def _proof(case: _Case) -> str:
    """Say how we know: the source with its address; for probing, after how many answers alike."""
    source, url = _source(case), plain(case.event.url or "")
    if not source:
        return f"Source: {url}" if url else ""
    pending = _mapping(_state(case.event, case.event.before).get("pending"))
    count = pending.get("of")
    alike = (
        f", after {count} answers alike in a row" if isinstance(count, int) and count > 1 else ""
    )
    where = f" ({url})" if url else ""
    return f"Source: {source}{alike}{where}"


# --- What is said of each type --------------------------------------------------------------------

_Say: TypeAlias = Callable[[_Case], str]
_Rule: TypeAlias = Callable[[Event, Judgement | None], Severity]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What is said of one type: what happened, whether services are hit, and what to do.

    `reason`: the event's own reason adds something, so the sentence repeats it.
    """

    what: _Say
    severity: Severity | _Rule = "info"
    do: _Say = lambda case: ""
    hits: bool = False
    reason: bool = True


def _is(state: str) -> _Say:
    """Say that a beta is in a state: a title leaves the verb out, a sentence tells the state before."""

    def say(case: _Case) -> str:
        if case.brief:
            return f"{case.name} {state}{case.on}{case.since}"
        verb = "is" if " from " in case.since else "has been"
        before = _state(case.event, case.event.before).get("state")
        was = f"; it was {plain(before)} before" if before and before != "unknown" else ""
        return f"{case.name} {verb} {state}{case.on}{case.since}{was}"

    return say


def _retired(case: _Case) -> str:
    told = _is("retired")(case)
    return f"{told}, accepted without effect" if case.member("accepted") else told


def _deprecated(case: _Case) -> str:
    told, end = _is("deprecated")(case), case.day("sunset_on")
    return f"{told}, and ends on {end}" if end else f"{told}, with no end announced yet"


def _ends(case: _Case) -> str:
    end = case.day("sunset_on")
    if end is None:
        return f"{case.name} ends soon"
    left = (end - case.event.at.date()).days
    when = {0: "today", 1: "tomorrow"}.get(left, f"in {left} days")
    return f"{case.name} ended on {end}" if left < 0 else f"{case.name} ends {when}, on {end}"


def _new(case: _Case) -> str:
    status = _mapping(case.event.after).get("status")
    return f"{case.name} is new" + (f", with status {plain(status)}" if status else "")


def _changed(case: _Case) -> str:
    """Name what changed; a new status or a moved end is what people look for."""
    event, after = case.event, _mapping(case.event.after)
    if status := after.get("status"):
        why = "" if case.brief else f". {plain(event.reason)}"
        return _is(plain(status))(case) + why
    if "sunset_on" in after:
        end = case.day("sunset_on")
        return f"{case.name} now ends on {end}" if end else f"{case.name} no longer has an end date"
    here = _state(event, event.after)
    if here.get("state"):
        return f"{case.name} changed{case.on}: its state is {plain(here['state'])}"
    keys = sorted(here or after)
    named = ", ".join(plain(key).replace("_", " ") for key in keys)
    return f"{case.name} changed{case.on}" + (f": {named}" if named else "")


def _current(case: _Case) -> str:
    before = _mapping(case.event.before).get("current")
    after = _mapping(case.event.after).get("current")
    feature = _quoted(case.event.feature) if case.event.feature else "a feature"
    was = f"; before it was {_quoted(before)}" if before else ""
    now = _quoted(after) if after else "no longer known"
    return f"The current beta of {feature} is {now}{was}"


def _at_risk(case: _Case) -> str:
    issue = _mapping(case.event.after).get("issue")
    state = f"which is {plain(issue)}" if issue else "which is refused or ends"
    return f"{case.name}, {state}, has been in use{case.on}{case.since}"


def _entry(case: _Case) -> str:
    day, said = case.event.effective_on, plain(case.event.reason)
    of = f" of {day}" if day else ""
    return f"{_source(case)}{of}: {_cut(said, EXCERPT if case.brief else 1000) or 'a new entry'}"


def _target(state: str) -> _Say:
    return lambda case: f"{case.target} {state}{case.since}"


def _source_is(state: str) -> _Say:
    return lambda case: f"The source {plain(case.event.source)} {state}{case.since}"


def _replace(case: _Case) -> str:
    if case.instead and case.instead != case.event.beta:
        verb = "Replace by" if case.brief else "Use instead:"
        return f"{verb} {_quoted(case.instead)}"
    if severity(case.event, case.said) == "critical":
        return "Remove it" if case.brief else "No replacement is known: remove it"
    return "" if case.brief else "No replacement is known"


def _needless(case: _Case) -> str:
    return {
        "ignored": "Remove the header: it does nothing any more",
        "changes_response": "Keep the header where you rely on it: it still changes the response",
    }.get(str(case.member("header_effect")), "The header may not be needed any more")


def _retired_rule(event: Event, said: Judgement | None) -> Severity:
    accepted = _mapping(event.after).get("accepted")
    fails = not accepted if accepted is not None else said is None or said.fails
    return "critical" if fails else "warning"


def _refused_rule(event: Event, said: Judgement | None) -> Severity:
    gated = said is not None and said.beta is not None and said.beta.gate in ("org", "internal")
    was = _state(event, event.before).get("state")
    return "info" if gated and was != "supported" else "critical"


def _at_risk_rule(_event: Event, said: Judgement | None) -> Severity:
    """A dead or refused beta that comes into use fails at once; a dying one will."""
    return "critical" if said is not None and said.fails else "warning"


def _dated(event: Event, _said: Judgement | None) -> Severity:
    return "warning" if _mapping(event.after).get("sunset_on") else "info"


def _listed_rule(_event: Event, said: Judgement | None) -> Severity:
    """Who is generally available or dead leaves the list as he should."""
    return "info" if said is not None and said.status in ("ga", "retired") else "warning"


def _superseded(case: _Case) -> str:
    stated = case.member("superseded_by")
    return f"{case.name} is superseded" + (f" by {_quoted(stated)}" if stated else "")


_WORDS: Final[dict[EventType, _Words]] = {
    "beta.discovered": _Words(what=_new, severity=_dated),
    "beta.deprecated": _Words(what=_deprecated, severity="warning", do=_replace, hits=True),
    "beta.ga": _Words(what=_is("generally available"), do=_needless, hits=True),
    "beta.retired": _Words(what=_retired, severity=_retired_rule, do=_replace, hits=True),
    "beta.restored": _Words(what=_is("accepted again"), hits=True),
    "beta.superseded": _Words(what=_superseded, do=_replace, hits=True, reason=False),
    "beta.supported": _Words(what=_is("supported"), reason=False),
    "beta.refused": _Words(
        what=_is("refused"), severity=_refused_rule, do=_replace, hits=True, reason=False
    ),
    "beta.restricted": _Words(
        what=_is("restricted"), severity="warning", hits=True, reason=False
    ),
    "beta.changed": _Words(what=_changed, severity=_dated, reason=False),
    "beta.delisted": _Words(
        what=lambda c: f"{c.name} is gone from the list of the newest official SDK",
        severity=_listed_rule,
    ),
    "beta.disputed": _Words(
        what=lambda c: f"{c.name} is disputed: the evidence contradicts itself",
        severity="warning",
    ),
    "beta.dispute_resolved": _Words(what=lambda c: f"{c.name} is no longer disputed"),
    "beta.sunset_approaching": _Words(
        what=_ends, severity="warning", do=_replace, hits=True, reason=False
    ),
    "feature.current_changed": _Words(what=_current, reason=False),
    "usage.at_risk": _Words(what=_at_risk, severity=_at_risk_rule, do=_replace, hits=True),
    "usage.refusing": _Words(
        what=lambda c: f"Services have reported refusals of {c.name}{c.on}{c.since}",
        severity="critical", do=_replace, hits=True,
    ),
    "source.entry": _Words(what=_entry, reason=False),
    "source.failed": _Words(what=_source_is("has failed"), severity="warning"),
    "source.recovered": _Words(what=_source_is("has been readable again"), reason=False),
    "target.unhealthy": _Words(what=_target("has been unhealthy"), severity="warning"),
    "target.recovered": _Words(what=_target("has been fit to probe again"), reason=False),
    "target.blind": _Words(
        what=_target("has been blind"), severity="warning",
        do=lambda c: "What it accepts proves nothing until a never-issued name is refused there",
    ),
}  # fmt: skip

"""Events as Atom, JSON Feed, iCalendar and Markdown. Pure: values in, text out.

Every form tells an event by the same words (`core/wording.py`) and names it by the same id, a UUID made
of the event's number and moment: a number alone would be the same in every registry, and an address would
change with the host. So a reader that follows two registries, or one that moved, mixes nothing up.

Atom is written with the standard library: the format is small, and the library for it that is known best
has had no release for years. Calendars need folding and escaping of their own, which `icalendar` knows.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

from icalendar import Calendar
from icalendar import Event as Entry

from registry.core.facts import Beta, Event, Json, Snapshot, rfc3339, to_json
from registry.core.judgement import Judges, judges_of
from registry.core.sunsets import Ending
from registry.core.wording import Told, page, plain, tell
from registry.web.answers import write_line

__all__ = ["Feed", "atom", "calendar", "event_urn", "json_feed", "markdown"]

NAMESPACE: Final = uuid.UUID("5d0c9f53-6c1e-4b5e-9a64-2f4a1f0f7c11")
"""Where our ids come from. Never change it: every reader would take old entries for new ones."""

TITLE: Final = "Anthropic API betas: what changed"
KEEP_PAST: Final = timedelta(days=30)
"""How long a date stays in the calendar after it has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What a feed is made of. `base` is the registry's address, `link` the feed's own, `older` the next page's.

    `born` is the moment of the registry's first event, which tells it from any other registry.
    """

    events: Sequence[Event]
    snapshot: Snapshot | None
    base: str
    link: str
    older: str | None = None
    born: datetime | None = None

    @property
    def updated(self) -> datetime | None:
        """When the newest entry was recorded."""
        return max((event.at for event in self.events), default=self.born)


def event_urn(event: Event) -> str:
    """Return the id of an event in all forms, for ever."""
    return _urn(f"event {event.id} {rfc3339(event.at)}")


def _urn(what: str) -> str:
    return uuid.uuid5(NAMESPACE, what).urn


def _feed_urn(feed: Feed) -> str:
    born = rfc3339(feed.born) if feed.born else "not born"
    return _urn(f"feed {born} {feed.link.partition('?')[2]}")


def _page_of(feed: Feed, event: Event) -> str:
    return f"{feed.base}{page(event, feed.snapshot)}"


def _source_of(event: Event) -> str | None:
    """Return the address of the source, if it is one of the web's."""
    url = plain(event.url or "")
    return quote(url, safe=_IN_URLS) if _WEB.fullmatch(url) else None


_WEB: Final = re.compile(r"https?://[^\s<>`\"]{1,2000}", re.I)
_IN_URLS: Final = "%/:?#[]@!$&'()*+,;=~-._"


# --- Marked-up text -------------------------------------------------------------------------------

_PIECE: Final = re.compile(r"`(?P<code>[^`]+)`|(?P<url>https?://[^\s<>`\"()]*[^\s<>`\"().,;:!?])")


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Cut a sentence into (`code`, name), (`url`, address) and (`text`, anything else)."""
    end = 0
    for match in _PIECE.finditer(text):
        if match.start() > end:
            yield "text", text[end : match.start()]
        yield str(match.lastgroup), match[str(match.lastgroup)]
        end = match.end()
    if end < len(text):
        yield "text", text[end:]


def _as_html(text: str) -> str:
    forms = {"code": "<code>{0}</code>", "url": '<a href="{0}">{0}</a>', "text": "{0}"}
    return "".join(forms[kind].format(escape(piece)) for kind, piece in _pieces(text))


def _as_markdown(text: str) -> str:
    def form(kind: str, piece: str) -> str:
        return {"code": f"`{piece}`", "url": f"<{piece}>"}.get(kind) or _SPECIAL.sub(
            r"\\\g<0>", piece
        )

    return "".join(form(kind, piece) for kind, piece in _pieces(text))


_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>()#!|~&$^@]")
"""What marks something within a line; no text stands at the beginning of one."""


# --- Atom -----------------------------------------------------------------------------------------

_ATOM: Final = "http://www.w3.org/2005/Atom"


def atom(feed: Feed) -> bytes:
    """Write an Atom feed (RFC 4287)."""
    root = ElementTree.Element("feed", xmlns=_ATOM)
    _add(root, "id", _feed_urn(feed))
    _add(root, "title", TITLE)
    _add(root, "updated", rfc3339(feed.updated) if feed.updated else "1970-01-01T00:00:00Z")
    _add(_add(root, "author"), "name", "beta-registry")
    _add(root, "generator", "beta-registry")
    _add(root, "link", rel="self", type="application/atom+xml", href=feed.link)
    _add(root, "link", rel="alternate", type="text/html", href=f"{feed.base}/changelog")
    if feed.older:
        _add(root, "link", rel="next", type="application/atom+xml", href=feed.older)
    for event in feed.events:
        _add_entry(root, feed, event)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _add_entry(root: ElementTree.Element, feed: Feed, event: Event) -> None:
    told = tell(event, feed.snapshot)
    entry = _add(root, "entry")
    _add(entry, "id", event_urn(event))
    _add(entry, "title", told.title)
    _add(entry, "updated", rfc3339(event.at))
    _add(entry, "published", rfc3339(event.at))
    for term in _tags(event, told):
        _add(entry, "category", term=term)
    _add(entry, "link", rel="alternate", type="text/html", href=_page_of(feed, event))
    source = _source_of(event)
    if source:
        _add(entry, "link", rel="via", href=source)
    _add(entry, "summary", told.text, type="text")
    _add(entry, "content", f"<p>{_as_html(told.text)}</p>", type="html")


def _add(
    parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, attributes)
    element.text = text
    return element


def _tags(event: Event, told: Told) -> list[str]:
    """Return what readers can filter by, the type first."""
    found = [event.type, told.severity, event.feature, event.platform]
    return [plain(tag) for tag in found if tag]


# --- JSON Feed ------------------------------------------------------------------------------------


def json_feed(feed: Feed) -> bytes:
    """Write a JSON Feed 1.1; `_beta_registry` of an item holds the event as the API prints it."""
    document: dict[str, Any] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "home_page_url": f"{feed.base}/changelog",
        "feed_url": feed.link,
        "description": "Every change in the life of the betas, with its source.",
        "authors": [{"name": "beta-registry"}],
        "language": "en",
        "items": [_json_item(feed, event) for event in feed.events],
    }
    if feed.older:
        document["next_url"] = feed.older
    return write_line(document)


def _json_item(feed: Feed, event: Event) -> dict[str, Json]:
    told, source = tell(event, feed.snapshot), _source_of(event)
    return {
        "id": event_urn(event),
        "url": _page_of(feed, event),
        **({"external_url": source} if source else {}),
        "title": told.title,
        "content_text": told.text,
        "content_html": f"<p>{_as_html(told.text)}</p>",
        "date_published": rfc3339(event.at),
        "date_modified": rfc3339(event.at),
        "tags": _tags(event, told),
        "_beta_registry": {"severity": told.severity, "event": to_json(event)},
    }


# --- Markdown -------------------------------------------------------------------------------------


def markdown(events: Iterable[Event], snapshot: Snapshot | None, base: str = "") -> bytes:
    """Write the events by month, newest first; with `base` each with its page of the registry there."""
    parts = [f"# {TITLE}\n"]
    newest = sorted(events, key=lambda event: (event.at, event.id), reverse=True)
    for (year, month), group in groupby(newest, key=lambda event: (event.at.year, event.at.month)):
        lines = [_line(event, snapshot, base) for event in group]
        parts.append("\n".join([f"## {_MONTHS[month - 1]} {year}\n", *lines, ""]))
    if len(parts) == 1:
        parts.append("No event matches.\n")
    return "\n".join(parts).encode("utf-8", "replace")


def _line(event: Event, snapshot: Snapshot | None, base: str) -> str:
    told = _as_markdown(tell(event, snapshot).text)
    link = f" [Read on](<{quote(base + page(event, snapshot), safe=_IN_URLS)}>)" if base else ""
    return f"- {event.at:%Y-%m-%d} **{event.type}** {told}{link}"


_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


# --- iCalendar ------------------------------------------------------------------------------------


def calendar(endings: Mapping[str, Ending], snapshot: Snapshot | None, today: date) -> bytes:
    """Write the ends of betas as all-day events; those that passed long ago are left out.

    A date that moves keeps its UID and raises SEQUENCE, one that is withdrawn becomes CANCELLED: so a
    calendar that has the old date moves or strikes it out, and never shows both.
    """
    made = Calendar()
    made.add("prodid", "-//beta-registry//Announced ends//EN")
    made.add("version", "2.0")
    made.add("method", "PUBLISH")
    made.add("x-wr-calname", "Anthropic API betas: announced ends")
    made.add("refresh-interval", timedelta(hours=6), parameters={"VALUE": "DURATION"})
    judges = judges_of(snapshot, today) if snapshot else None
    for ending in sorted(endings.values(), key=lambda ending: (ending.on, ending.beta)):
        if ending.on >= today - KEEP_PAST:
            made.add_component(_entry(ending, judges))
    written: bytes = made.to_ical()
    return written


def _entry(ending: Ending, judges: Judges | None) -> Entry:
    # Without a place the end is that of the Claude API, which is where the judgement is asked.
    said = judges(ending.beta) if judges else None
    beta, instead = (said.beta, said.use_instead) if said else (None, None)
    made = Entry()
    made.add("uid", str(uuid.uuid5(NAMESPACE, f"sunset {ending.beta}")))
    made.add("dtstamp", ending.changed_at)
    made.add("last-modified", ending.changed_at)
    made.add("sequence", ending.sequence)
    made.add("dtstart", ending.on)
    made.add("dtend", ending.on + timedelta(days=1))
    made.add("summary", _summary(ending, instead))
    made.add("description", _description(ending, beta, instead))
    made.add("status", "CANCELLED" if ending.cancelled else "CONFIRMED")
    made.add("transp", "TRANSPARENT")
    made.add("categories", ["beta.sunset"])
    if beta is not None and beta.docs_url and _WEB.fullmatch(beta.docs_url):
        made.add("url", beta.docs_url)
    return made


def _summary(ending: Ending, instead: str | None) -> str:
    name = plain(ending.beta)
    if ending.cancelled:
        return f"Withdrawn: {name} ends"
    return f"{name} ends: use {plain(instead)}" if instead else f"{name} ends"


def _description(ending: Ending, beta: Beta | None, instead: str | None) -> str:
    what = f"{ending.beta} is announced to end on {ending.on}."
    if ending.cancelled:
        what = f"{ending.beta} was announced to end on {ending.on}; that date no longer stands."
    known = beta.status_reason if beta else ""
    use = f"Use instead: {instead}." if instead else "No replacement is known."
    return plain(f"{what} {known} {use}")

"""The changelog as Atom, JSON Feed, iCalendar and Markdown, over real HTTP and by strict readers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import feedparser  # type: ignore[import-untyped]
import jsonschema
import pytest
from icalendar import Calendar
from markdown_it import MarkdownIt

from registry import catalog
from registry.core.facts import Event
from registry.core.sunsets import endings
from registry.db import Database
from registry.web import formats
from tests.factories import NOW, TODAY, beta, claim, finding, snapshot
from tests.web.conftest import DYING, GONE, LIVE, Service

ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ATOM = "{http://www.w3.org/2005/Atom}"
FORMS = ("atom", "json", "ics", "md")
HOSTILE = "<script>alert(1)</script> ]]> & \x00\x0b\u202e [x](javascript:alert(1)) `unclosed\n# h"

URL = {"type": "string", "pattern": "^https?://"}
JSON_FEED: dict[str, Any] = {  # from the specification, jsonfeed.org/version/1.1
    "type": "object",
    "required": ["version", "title", "items"],
    "properties": {
        "version": {"const": "https://jsonfeed.org/version/1.1"},
        "title": {"type": "string", "minLength": 1},
        "home_page_url": URL,
        "feed_url": URL,
        "next_url": URL,
        "description": {"type": "string"},
        "language": {"type": "string"},
        "authors": {
            "type": "array",
            "items": {"type": "object", "minProperties": 1, "properties": {"name": {"type": "string"}}},
        },
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id"],
                "anyOf": [{"required": ["content_html"]}, {"required": ["content_text"]}],
                "properties": {
                    "id": {"type": "string", "minLength": 1},
                    "url": URL,
                    "external_url": URL,
                    "title": {"type": "string"},
                    "content_html": {"type": "string"},
                    "content_text": {"type": "string"},
                    "date_published": {"type": "string", "format": "date-time"},
                    "date_modified": {"type": "string", "format": "date-time"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "_beta_registry": {"type": "object"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}  # fmt: skip


def check_atom(body: bytes) -> list[ElementTree.Element]:
    """Check what RFC 4287 requires of a feed and of each entry; returns the entries."""
    root = ElementTree.fromstring(body)
    assert root.tag == f"{ATOM}feed"
    entries = root.findall(f"{ATOM}entry")
    assert root.find(f"{ATOM}author/{ATOM}name") is not None
    selves = [link for link in root.findall(f"{ATOM}link") if link.get("rel") == "self"]
    assert len(selves) == 1
    for element in (root, *entries):
        for required in ("id", "title", "updated"):
            (found,) = element.findall(f"{ATOM}{required}")
            assert found.text
        moment = element.findtext(f"{ATOM}updated") or ""
        assert datetime.fromisoformat(moment).tzinfo is not None
        assert (element.findtext(f"{ATOM}id") or "").startswith("urn:uuid:")
    for entry in entries:
        assert entry.find(f"{ATOM}content") is not None
        links = [link.get("rel") for link in entry.findall(f"{ATOM}link")]
        assert links.count("alternate") == 1
    ids = [entry.findtext(f"{ATOM}id") for entry in entries]
    assert len(set(ids)) == len(ids)
    return entries


def test_atom_is_valid_and_tells_every_event(service: Service) -> None:
    """One entry an event, newest first, that a strict reader takes."""
    answer = service.get("/v1/changelog.atom")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    entries = check_atom(answer.content)
    events = service.get("/v1/changelog").json()["items"]
    assert len(entries) == len(events) > 4
    read = feedparser.parse(answer.content)
    assert not read.bozo
    assert [entry.tags[0].term for entry in read.entries] == [event["type"] for event in events]
    first = next(entry for entry in read.entries if DYING in entry.title)
    assert f"<code>{DYING}</code>" in first.content[0].value


def test_json_feed_follows_its_schema(service: Service) -> None:
    """Version 1.1, with the event itself as an extension."""
    answer = service.get("/v1/changelog.json?limit=3")
    assert answer.headers["content-type"] == "application/feed+json; charset=utf-8"
    document = answer.json()
    jsonschema.validate(document, JSON_FEED)
    assert len(document["items"]) == 3
    assert (
        document["items"][0]["_beta_registry"]["event"]
        == service.get("/v1/changelog?limit=1").json()["items"][0]
    )
    rest = service.http.get(document["next_url"]).json()
    jsonschema.validate(rest, JSON_FEED)
    ids = [item["id"] for page in (document, rest) for item in page["items"]]
    assert len(set(ids)) == 6


def test_ids_are_stable_and_the_same_in_all_forms(service: Service) -> None:
    """Whatever the host and the form."""
    document = service.get("/v1/changelog.json", headers={"Host": "registry.example:81"}).json()
    assert document["items"][0]["url"].startswith("http://registry.example:81/betas/")
    entries = check_atom(service.get("/v1/changelog.atom").content)
    assert [item["id"] for item in document["items"]] == [
        entry.findtext(f"{ATOM}id") for entry in entries
    ]


def test_a_person_who_follows_a_link_gets_a_page(start: Callable[..., Service]) -> None:
    """In every form, at the address that the settings name; each page tells of what led there."""
    public = "https://betas.example.com/"
    service = start(public_url=public)
    with service.database.write() as session:
        catalog.record_failure(session, "docs", NOW, NOW, "It is `away`.")
    atom = feedparser.parse(service.get("/v1/changelog.atom").content)
    feed = service.get("/v1/changelog.json").json()
    written = re.findall(r"\[Read on\]\(<?([^)>]*)", service.get("/v1/changelog.md").text)
    links = [entry.link for entry in atom.entries]
    assert [item["url"] for item in feed["items"]] == links
    assert set(written) == set(links)
    for link in {*links, feed["home_page_url"], atom.feed.link}:
        assert link.startswith(public)
        page = service.get(f"/{link.removeprefix(public)}", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "It is" in page.text or link.rpartition("/")[2] in page.text


def test_markdown_stands_by_month(service: Service) -> None:
    """A heading a month, a line an event."""
    answer = service.get("/v1/changelog.md")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    lines = answer.text.splitlines()
    assert "## November 2026" in lines
    count = len(service.get("/v1/changelog").json()["items"])
    assert len([line for line in lines if line.startswith("- 2026-11-23 **")]) == count


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_reads_like_all_others(service: Service, form: str) -> None:
    """ETag, 304, and to which day the facts reach."""
    first = service.get(f"/v1/changelog.{form}")
    assert first.status_code == 200
    assert first.headers["beta-registry-as-of"]
    again = service.get(f"/v1/changelog.{form}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@ONE_DATABASE
@pytest.mark.parametrize("form", FORMS)
def test_a_feed_token_in_the_address_is_enough(start: Callable[..., Service], form: str) -> None:
    """Where reads are private; and it is never repeated in the document."""
    service = start(public_read=False)
    path = f"/v1/changelog.{form}"
    assert service.get(path).status_code == 401
    assert service.get(f"{path}?token=br_wrong").status_code == 401
    for scope in ("feed", "report", "read"):
        secret = service.tokens[scope]
        answer = service.get(f"{path}?token={secret}&feature=thing")
        assert answer.status_code == 200
        assert secret not in answer.text
        assert service.get(path, scope).status_code == 200
    assert service.get(f"/v1/changelog?token={service.tokens['feed']}").status_code == 401


@ONE_DATABASE
@pytest.mark.parametrize("form", ["atom", "json", "md"])
def test_filters_are_those_of_the_changelog(service: Service, form: str) -> None:
    """And wrong words get the same sentences."""
    found = service.get(f"/v1/changelog.{form}?beta={GONE}&type=beta.discovered&since=0").text
    assert GONE in found
    assert LIVE not in found
    assert GONE not in service.get(f"/v1/changelog.{form}?since=9999999").text
    assert GONE not in service.get(f"/v1/changelog.{form}?since=2030-01-01").text
    for query in ("since=soon", "since=-1", "type=beta.born", "platform=azure", "limit=0", "limit=501",
                  "cursor=rubbish", f"since={'9' * 65}"):  # fmt: skip
        refused = service.get(f"/v1/changelog.{form}?{query}")
        assert refused.status_code == 422, query
        assert refused.headers["content-type"] == "application/problem+json"


@ONE_DATABASE
@pytest.mark.parametrize("host", ["[::1", "a b", 'x"><script>', "h:99999999", ""])
def test_a_strange_host_breaks_nothing(service: Service, host: str) -> None:
    """What the caller calls us is only repeated, escaped."""
    answer = service.get("/v1/changelog.atom", headers={"Host": host})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        check_atom(answer.content)


def test_who_is_affected_is_named_to_tokens_that_may_read_services_only(service: Service) -> None:
    """Without one, events only count them; and so they do for a token of scope report."""
    path = "/v1/changelog?limit=1"
    (counted,) = service.get(path).json()["items"]
    (named,) = service.get(path, "read").json()["items"]
    assert "affected" not in counted
    assert named == {**counted, "affected": []}
    assert service.get(path, "report").json()["items"] == [counted]


# --- The calendar over HTTP -----------------------------------------------------------------------


def entries_of(body: bytes) -> dict[str, Any]:
    """Read a calendar strictly; returns its events by their summary's first word."""
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert all(len(line) <= 75 for line in body.split(b"\r\n"))
    read = Calendar.from_ical(body)
    assert (read["version"], read["prodid"]) == ("2.0", "-//beta-registry//Announced ends//EN")
    found = {str(event["uid"]): event for event in read.walk("VEVENT")}
    for event in found.values():
        assert not event.errors
        for required in ("uid", "dtstamp", "dtstart", "summary", "sequence", "status"):
            assert required in event
    assert len(found) == len(read.walk("VEVENT"))
    return found


def test_a_calendar_moves_and_strikes_out(service: Service) -> None:
    """The same UID from the first date to the withdrawal; SEQUENCE grows with each move."""

    def amend(end: str | None) -> None:
        body = {"sunset_on": end, "reason": "told so"}
        assert service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=body).status_code == 200

    def show() -> Any:
        found = entries_of(service.get(f"/v1/changelog.ics?beta={LIVE}").content)
        assert len(found) <= 1
        return next(iter(found.values()), None)

    assert show() is None
    amend("2030-05-01")
    made = show()
    amend("2030-06-01")
    moved = show()
    amend(None)
    gone = show()
    amend("2030-07-01")
    back = show()
    assert {str(event["uid"]) for event in (made, moved, gone, back)} == {str(made["uid"])}
    assert [event.decoded("dtstart") for event in (made, moved, gone, back)] == [
        date(2030, 5, 1), date(2030, 6, 1), date(2030, 6, 1), date(2030, 7, 1)
    ]  # fmt: skip
    assert [event["sequence"] for event in (made, moved, gone, back)] == [0, 1, 2, 3]
    assert [str(e["status"]) for e in (made, moved, gone, back)] == [
        "CONFIRMED", "CONFIRMED", "CANCELLED", "CONFIRMED"
    ]  # fmt: skip
    stamps = [event.decoded("dtstamp") for event in (made, moved, gone, back)]
    assert stamps == sorted(stamps)


@ONE_DATABASE
def test_the_calendar_says_what_instead_and_takes_filters(service: Service) -> None:
    """Known ends of the catalog too, with their successor."""
    (event,) = entries_of(service.get("/v1/changelog.ics").content).values()
    assert str(event["summary"]) == f"{DYING} ends: use {LIVE}"
    assert event.decoded("dtstart") == date(2027, 2, 1)
    assert entries_of(service.get("/v1/changelog.ics?feature=dying&platform=anthropic").content)
    assert not entries_of(service.get("/v1/changelog.ics?feature=thing").content)
    assert service.get("/v1/changelog.ics?platform=azure").status_code == 422


# --- What the renderers do with events of any kind ------------------------------------------------


def event(**more: Any) -> Event:
    """An event with hostile text wherever text can be."""
    facts: dict[str, Any] = {
        "id": 7, "type": "beta.retired", "at": NOW, "reason": HOSTILE, "source": HOSTILE,
        "beta": HOSTILE, "feature": HOSTILE, "platform": HOSTILE, "url": f"https://x/{HOSTILE}",
        "target": HOSTILE,
    }  # fmt: skip
    return Event(**(facts | more))


def feed(*events: Event, base: str = "https://registry.example") -> formats.Feed:
    """A feed of these events."""
    link = f"{base}/v1/changelog.atom"
    return formats.Feed(events=events, snapshot=snapshot(beta(LIVE)), base=base, link=link)


def test_hostile_text_is_only_text() -> None:
    """Neither XML nor HTML nor Markdown can be broken out of."""
    kinds = [event(id=n, type=kind) for n, kind in enumerate(("source.entry", "beta.retired"), 1)]
    entries = check_atom(formats.atom(feed(*kinds)))
    read = feedparser.parse(formats.atom(feed(*kinds)), sanitize_html=False)
    assert not read.bozo
    assert len(entries) == 2
    for entry in read.entries:
        assert "<script" not in entry.content[0].value
        assert "javascript:" not in "".join(link.href for link in entry.links)
    written = formats.markdown(kinds, None).decode()
    shown = MarkdownIt("commonmark", {"html": True}).render(written)
    assert "<script" not in shown
    assert "href" not in shown.replace('href="https://x/', "")
    assert (shown.count("<h1>"), shown.count("<h2>"), shown.count("<li>")) == (1, 1, 2)
    jsonschema.validate(json.loads(formats.json_feed(feed(*kinds))), JSON_FEED)


def test_an_empty_feed_is_valid() -> None:
    """Nothing recorded, or nothing that matches."""
    assert check_atom(formats.atom(feed())) == []
    assert not feedparser.parse(formats.atom(feed())).bozo
    assert b"No event matches." in formats.markdown([], None)
    assert entries_of(formats.calendar({}, None, TODAY)) == {}


def test_months_stand_newest_first() -> None:
    """Years too."""
    days = [datetime(2025, 12, 31), datetime(2026, 1, 1), datetime(2026, 11, 2)]
    made = [event(id=n, at=day.replace(tzinfo=NOW.tzinfo)) for n, day in enumerate(days, 1)]
    headings = re.findall("^## (.*)$", formats.markdown(made, None).decode(), re.M)
    assert headings == ["November 2026", "January 2026", "December 2025"]


def ended(*after: dict[str, Any], **more: Any) -> Any:
    """The ending of a beta whose events had these `after`s, a day apart."""
    events = [
        Event(
            type="beta.discovered" if n == 0 else "beta.changed", at=NOW + timedelta(days=n),
            reason="", source="", beta=LIVE, after=members, **more,
        )
        for n, members in enumerate(after)
    ]  # fmt: skip
    return endings(events).get(LIVE)


def test_endings_follow_the_events() -> None:
    """A date that is stated again has not moved; one after a death is struck out."""
    assert ended({"sunset_on": None, "status": "active"}) is None
    first = ended({"sunset_on": "2027-01-01", "status": "active"}, {"summary": "x"})
    assert (first.on, first.sequence, first.changed_at) == (date(2027, 1, 1), 0, NOW)
    moved = ended(
        {"sunset_on": "2027-01-01"}, {"sunset_on": "2027-01-02"}, {"sunset_on": "2027-01-02"}
    )
    assert (moved.sequence, moved.changed_at) == (1, NOW + timedelta(days=1))
    died = ended({"sunset_on": "2027-01-01"}, {"status": "retired"})
    assert (died.cancelled, died.sequence) == (True, 1)
    as_told = ended(
        {"sunset_on": "2026-11-24"}, {"status": "retired"}, effective_on=date(2026, 11, 24)
    )
    assert (as_told.cancelled, as_told.sequence) == (False, 0)
    restored = ended({"sunset_on": "2027-01-01"}, {"status": "retired"}, {"status": "active"})
    assert (restored.cancelled, restored.sequence) == (False, 2)


def test_the_calendar_forgets_what_is_long_past() -> None:
    """Thirty days stay."""
    kept = ended({"sunset_on": str(TODAY - timedelta(days=30))})
    old = replace(kept, on=TODAY - timedelta(days=31), beta="old-2020-01-01")
    found = entries_of(formats.calendar({"a": kept, "b": old}, None, TODAY))
    assert [str(event["summary"]) for event in found.values()] == [f"{LIVE} ends"]


def test_long_and_strange_names_are_folded_and_escaped() -> None:
    """75 octets a line, whatever the letters."""
    name = "ä" * 120 + ";,\\n"
    ending = replace(ended({"sunset_on": "2027-01-01"}), beta=name)
    (entry,) = entries_of(formats.calendar({name: ending}, None, TODAY)).values()
    assert str(entry["summary"]) == f"{name} ends"


def test_the_calendar_reads_only_what_moved_an_end(database: Database) -> None:
    """Events of states on platforms and of wording are left in the database."""
    made = [claim(LIVE, "status", "deprecated"), claim(LIVE, "sunset_on", "2027-01-01")]
    later = [*made, claim(LIVE, "summary", "new words")]
    for day, claims in enumerate((made, later)):
        moment = NOW + timedelta(days=day)
        with database.write() as session:
            catalog.apply(session, finding("catalog", *claims), moment, moment)
    with database.read() as session:
        found = catalog.calendar(session, [], [])
        assert catalog.calendar(session, ["other-2026-01-01"], []) == {}
    assert (found[LIVE].on, found[LIVE].sequence) == (date(2027, 1, 1), 0)

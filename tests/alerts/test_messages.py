"""What an alert says: the shape of the contract, and every form from hostile facts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from registry.alerts import messages, placeholders
from registry.alerts.messages import Facts, Proof
from registry.alerts.sending import Message
from registry.core.errors import Invalid
from registry.core.facts import EVENT_TYPES, Event, to_json
from registry.core.judgement import HOME
from registry.inventory import Affected, Location
from tests.factories import NOW, beta, snapshot

OLD, NEW = "thing-2025-01-01", "thing-2026-01-01"
USER = Affected(
    service="checkout", environment="production", team="payments", owner="@ada", platform=None,
    last_seen=NOW, count_24h=812, refused_24h=41,
    locations=(Location(path="src/llm.py", line=42, url="https://git.example.com/llm.py#L42"),),
    place=HOME, verdict="refused", detail="", use_instead=NEW, health="failing",
)  # fmt: skip
PROOF = Proof(
    target="claude-api", model="claude-haiku-4-5", endpoint="count_tokens", refusals=3,
    since=NOW - timedelta(minutes=4), request_id="req_011CX", message="Unexpected value(s) `x`",
)  # fmt: skip


def event(type: Any = "beta.retired", id: int = 7, **members: Any) -> Event:
    """An event found by probing."""
    known = {"at": NOW, "reason": "Found by probing.", "source": "target:claude-api", "beta": OLD,
             "feature": "thing"}  # fmt: skip
    return Event(type=type, id=id, **{**known, **members})


def facts(*users: Affected, status: str = "retired", **known: Any) -> Facts:
    """What is known: a dead beta, its successor, and who uses it."""
    old = beta(OLD, status, **{"superseded_by": NEW, "accepted": False, **known})
    return Facts(
        snapshot=snapshot(old, beta(NEW)), affected={7: users, 8: users}, proofs={7: PROOF},
        base_url="https://betas.example.com", now=NOW,
    )  # fmt: skip


def compose(*events: Event, known: Facts | None = None, **more: Any) -> Message:
    """One message about these events."""
    return messages.compose("msg_1", "alert", events, known or facts(USER), NOW, **more)


def test_the_data_has_the_shape_of_the_contract() -> None:
    """Member by member, in its order of importance."""
    data = compose(
        event(), known=facts(USER, body_fields=("things",), docs_url="https://x.example/")
    ).data
    assert data["severity"] == "critical"
    assert data["title"] == f"`{OLD}` retired since 12:00 UTC: 1 service fails. Replace by `{NEW}`."
    assert (data["event"]["id"], data["event"]["affected"]) == (7, ["checkout"])
    assert (data["beta"]["name"], data["beta"]["status"]) == (OLD, "retired")
    action = data["affected"][0].pop("action")
    assert action == data["action"]
    assert data["affected"] == [
        {
            "place": to_json(HOME), "verdict": "refused", "health": "failing",
            "service": "checkout", "environment": "production", "team": "payments", "owner": "@ada",
            "platform": None, "last_seen": "2026-11-23T12:00:00Z", "count_24h": 812,
            "refused_24h": 41,
            "locations": [{"path": "src/llm.py", "line": 42, "url": "https://git.example.com/llm.py#L42"}],
        }
    ]  # fmt: skip
    assert data["action"] == {
        "do": "replace", "with": NEW, "body_fields": ["things"], "docs_url": "https://x.example/",
        "value_before": OLD, "value_after": NEW,
    }  # fmt: skip
    assert data["proof"] == {
        "target": "claude-api", "model": "claude-haiku-4-5", "endpoint": "count_tokens",
        "refusals": 3, "since": "2026-11-23T11:56:00Z", "request_id": "req_011CX",
        "message": "Unexpected value(s) `x`",
    }  # fmt: skip
    assert data["confirm"][-1] == f"beta-registry probe claude-api --beta {OLD}"
    assert data["links"] == {
        "beta": f"https://betas.example.com/v1/betas/{OLD}",
        "changelog": f"https://betas.example.com/v1/changelog?beta={OLD}",
        "page": f"https://betas.example.com/betas/{OLD}",
    }


@pytest.mark.parametrize(
    ("kind", "known", "do"),
    [
        ("beta.retired", {}, "replace"),
        (
            "beta.retired",
            {"superseded_by": None, "status": "retired"},
            "replace",
        ),  # by the current one
        ("beta.deprecated", {"status": "deprecated"}, "replace"),
        ("beta.ga", {"status": "ga", "header_effect": "ignored"}, "remove"),
        ("beta.ga", {"status": "ga", "header_effect": "changes_response"}, "nothing"),
        ("beta.restricted", {"status": "active"}, "wait"),
        ("beta.disputed", {"status": "active"}, "wait"),
        ("beta.restored", {"status": "active"}, "nothing"),
        ("beta.discovered", {"status": "active"}, "nothing"),
    ],
)
def test_what_to_do_follows_from_the_event(kind: Any, known: dict[str, Any], do: str) -> None:
    """Replace, remove, wait or nothing."""
    action = compose(event(kind), known=facts(**known)).data["action"]
    assert action["do"] == do
    assert (action["with"] is not None) == (do == "replace")


def test_a_dead_beta_without_a_successor_is_removed() -> None:
    """And what is left to send is nothing."""
    known = facts()
    alone = replace(known.snapshot.betas[OLD], superseded_by=None)
    lonely = replace(known, snapshot=snapshot(alone))
    action = compose(event(), known=lonely).data["action"]
    assert (action["do"], action["value_before"], action["value_after"]) == ("remove", OLD, "")


def test_several_events_are_one_message_about_the_gravest() -> None:
    """The rest stands in `others`, in the same shape; what is too much is counted."""
    quiet = event("beta.changed", id=6)
    data = compose(quiet, event(), event("beta.refused", id=8, platform="anthropic")).data
    assert data["event"]["type"] == "beta.retired"
    assert [item["event"]["id"] for item in data["others"]] == [8, 6]
    assert set(data["others"][0]) <= set(data)
    many = compose(*(event("beta.changed", id=n) for n in range(1, 200))).data
    assert (len(many["others"]), many["more"]) == (messages.SHOWN - 1, 199 - messages.SHOWN)


HOSTILE = [
    "<script>alert(1)</script>", "](https://evil.example)", "```\nrm -rf /\n```", "‮gnp.exe",
    "line\r\nbreak", "\x00\x1b[31m", "`", "**bold**", "{{ 7*7 }}", "{% for x in y %}", "x" * 20_000,
]  # fmt: skip


class Tags(HTMLParser):
    """Collects the tags of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one."""
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        for name, value in attrs:
            if name == "href":
                assert (value or "").startswith(("https://", "http://"))


def links(markdown: str) -> list[str]:
    """Return where the links of a Markdown text lead."""
    parsed = MarkdownIt("commonmark").parse(markdown)
    inner = [child for token in parsed for child in token.children or ()]
    return [str(token.attrs["href"]) for token in inner if token.type == "link_open"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_form_of_every_type_survives_hostile_facts(kind: Any, text: str) -> None:
    """Names, reasons and answers come from outside: nothing of them becomes markup or a new line."""
    place = Location(path=text, line=1, url=f"javascript:{text}")
    user = replace(USER, service=text, team=text, owner=text, environment=text, locations=(place,))
    known = facts(user, summary=text, status_reason=text)
    known = replace(known, proofs={7: replace(PROOF, message=text, request_id=text)})
    made = compose(event(kind, reason=text, url=text), known=known)
    assert "\n" not in made.title
    assert "\x1b" not in made.text
    assert "‮" not in made.text + made.markdown + made.html
    tags = Tags()
    tags.feed(made.html)
    assert tags.seen <= {"h2", "p", "ul", "li", "b", "br", "code", "a", "pre"}
    assert not [link for link in links(made.markdown) if "example.com" not in link]
    assert "49" not in made.title
    json.dumps(made.data)


def test_all_forms_tell_the_same_in_the_same_order() -> None:
    """Title, beta, who, what to do, proof, commands, links."""
    made = compose(event())
    for form in (made.text, made.markdown, made.html):
        places = [
            form.index(word)
            for word in ("retired since 2026", "checkout", "llm.py", "replace",
                         "req_011CX", "count_tokens&quot;" if "&quot;" in form else "curl", f"/betas/{OLD}")
            if word in form
        ]  # fmt: skip
        assert places == sorted(places)
        assert len(places) >= 6


@pytest.mark.parametrize(
    ("about", "page"),
    [
        (event(), f"/betas/{OLD}"),
        (event("beta.discovered", beta="new.thing_1"), "/changelog?before=8"),  # not known here
        (event("usage.refusing", beta="a-b-2026-01-01"), "/changelog?before=8"),
        (event("target.unhealthy", beta=None, target="claude-api"), "/changelog?before=8"),
        (event("source.failed", beta=None), "/changelog?before=8"),
        (None, "/"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_form_links_the_page_that_a_person_reads(about: Event | None, page: str) -> None:
    """And none the API, which answers JSON."""
    made = (
        compose(about)
        if about
        else messages.compose("msg_1", "test", (), facts(), NOW, name="mine")
    )
    url = f"https://betas.example.com{page}"
    assert made.data["links"]["page"] == url
    for form in (made.text, made.markdown, made.html):
        assert re.findall(r"https://betas\.example\.com[^\s\"<>)]*", form) == [url]


def test_messages_without_an_event_say_what_they_are() -> None:
    """Tests, welcomes and notices have the same members, with null for the event."""
    known = facts(USER)
    standing = messages.standing(list(known.snapshot.betas), known.judges, NOW.date())
    welcome = messages.compose("msg_1", "welcome", (), known, NOW, name="mine", standing=standing)
    assert (welcome.type, welcome.data["event"]) == ("welcome", None)
    assert welcome.data["standing"]["counts"] == {"retired": 1, "active": 1}
    assert "1 retired" in welcome.text
    notice = messages.compose("msg_2", "notice", (), known, NOW, note="It failed for days.")
    assert "It failed for days." in notice.text
    assert notice.severity == "warning"
    assert set(compose(event()).data) <= set(notice.data) | {"window"}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("text", "object"),
        ({}, "object"),
        ({"subject": "x"}, "object"),
        ({"title": 3}, "text"),
        ({"body": "x" * 10_001}, "10,000"),
        ({"body": "$title " * 101}, "at most 100"),
        ({"title": "$titel"}, "no $titel; the names are title, text,"),
        ({"title": "${action.do}"}, "write `$$`"),
        ({"title": "$Title"}, "write `$$`"),
        ({"title": "costs 5 $"}, "write `$$`"),
        ({"title": "{{ title }}"}, "{{ title }} is written $title"),
        ({"body": "{% include '/etc/passwd' %}"}, "not Jinja"),
        ({"body": "{# nothing #}"}, "not Jinja"),
    ],
)  # fmt: skip
def test_an_impossible_template_is_refused(template: Any, says: str) -> None:
    """In one sentence that names what can be used."""
    with pytest.raises(Invalid) as refused:
        placeholders.check(template)
    assert says in refused.value.detail


def test_an_operators_template_takes_the_place_of_our_words() -> None:
    """In HTML all of it is escaped, in Markdown what comes from outside."""
    template = {
        "title": "Beta: $title",
        "body": "<$severity> *${action}* for 5 $$: $services\n$confirm",
    }
    placeholders.check(template)
    made = compose(event(), known=facts(replace(USER, service="[a](b)")), template=template)
    assert made.title.startswith("Beta: ")
    assert made.text.startswith("<critical> *replace* for 5 $: [a](b)\ncurl ")
    assert made.markdown.startswith("<critical> *replace* for 5 $: \\[a\\](b)\ncurl ")
    assert made.html.startswith("<p>&lt;critical&gt; *replace* for 5 $: [a](b)<br>")


@pytest.mark.parametrize("kind", ["alert", "digest", "test", "welcome", "notice"])
@pytest.mark.parametrize("type", [None, *EVENT_TYPES])
def test_every_placeholder_has_a_value_in_every_message(kind: str, type: Any) -> None:
    """What a message does not have is empty, and nothing fails."""
    body = " ".join(f"<${name}>" for name in placeholders.PLACEHOLDERS)
    placeholders.check({"body": body})
    happened: dict[str, dict[str, Any]] = {
        "beta.refused": {"platform": "bedrock"},
        "target.unhealthy": {"beta": None, "feature": None},
    }  # fmt: skip
    events = [event(type, **happened.get(type, {}))] if type and kind in ("alert", "digest") else []
    if not events and kind in ("alert", "digest"):
        return
    made = messages.compose("m", kind, events, facts(USER), NOW, template={"body": body}, name="n")
    assert made.text.count("<") == made.text.count(">") == len(placeholders.PLACEHOLDERS)
    assert "None" not in made.text
    assert f"<{kind}> <n>" in made.text


def test_a_template_of_another_language_leaves_our_words() -> None:
    """One that was stored by an old version."""
    made = compose(event(), template={"title": "{{ title }}", "body": "{% if beta %}x{% endif %}"})
    assert (made.title, made.text) == (compose(event()).title, compose(event()).text)


@given(st.text(alphabet=st.sampled_from("${}ab_ %titlexy"), max_size=40))
def test_any_text_is_refused_or_filled_in(text: str) -> None:
    """Whatever passes the check can be sent."""
    try:
        placeholders.check({"body": text})
    except Invalid:
        return
    assert placeholders.is_usable({"body": text})
    compose(event(), template={"body": text})


def test_what_is_made_of_a_template_is_bounded() -> None:
    """However long the facts are."""
    body = "$message" * 100
    placeholders.check({"body": body})
    known = replace(facts(USER), proofs={7: replace(PROOF, message="&" * 1_000_000)})
    made = compose(event(), known=known, template={"title": body, "body": body})
    assert len(made.text) == placeholders.MAX_FILLED
    assert len(made.title) <= 250

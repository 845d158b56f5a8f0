"""The dashboard over HTTP: what pages show and hide, what they may load, and who may change things."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from registry import auth, catalog, inventory
from registry.core.errors import Forbidden, Unavailable
from registry.core.facts import Event
from registry.web.dashboard import pictures
from registry.web.dashboard.asking import Asked
from registry.web.dashboard.reading import false_alarms
from registry.web.dashboard.rendering import CSP, safe_link, visible
from registry.web.dashboard.sessions import COOKIE, LASTS, Sessions, local_path
from tests.factories import NOW, TODAY, beta, claim, finding
from tests.waiting import until
from tests.web.conftest import DONE, DYING, GONE, LIVE, TWIN_A, Service

ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Accept-Encoding": "identity"}
PAGES = (
    "/", "/betas", f"/betas/{DYING}", "/lifelines", "/matrix", f"/builder?beta={LIVE},{GONE}",
    "/explain", "/changelog", "/inventory",
    "/inventory/services/none", "/alerts", "/targets", "/sign-in", "/nothing-here", "/problems/not-found",
)  # fmt: skip
LISTS = (
    "/betas", "/lifelines", "/matrix", "/changelog", "/builder", "/alerts", "/targets", "/sign-in",
)  # fmt: skip
STATIC = Path(__file__).parents[2] / "registry" / "web" / "static"


class _Page(HTMLParser):
    """What a page consists of: elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._within: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._within and self._within[-1] == tag:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        assert not self._within or not data.strip(), f"inline {self._within}: {data[:80]}"
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def look(service: Service, path: str, **more: Any) -> _Page:
    """Read a page as a browser does."""
    return _Page(service.get(path, headers=BROWSER, **more).text)


def sign_in(service: Service, scope: str) -> None:
    """Sign in with the token of a scope; the client keeps the cookie."""
    answer = service.call(
        "POST", "/sign-in", data={"token": service.tokens[scope]}, headers=BROWSER
    )
    assert answer.status_code == 303, answer.text


def csrf_of(service: Service) -> str:
    """Return what our own forms carry."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', service.get("/sign-in").text)
    assert found
    return found[1]


# --- What every page keeps to ---------------------------------------------------------------------


@ONE_DATABASE
@pytest.mark.parametrize("scope", [None, "admin"])
def test_no_page_holds_inline_code_or_names_another_host(
    service: Service, scope: str | None
) -> None:
    """Scripts, styles and forms are our own files and addresses; no handler, no style attribute."""
    if scope:
        sign_in(service, scope)
    for path in PAGES:
        page = look(service, path)
        for tag, attributes in page.elements:
            assert "style" not in attributes, path
            assert not [name for name in attributes if name.startswith("on")], path
            for name in ("src", "action", "formaction"):
                assert (attributes.get(name) or "/").startswith("/"), (path, tag)
            if tag == "link":
                assert (attributes["href"] or "").startswith("/static/"), path


@ONE_DATABASE
def test_every_page_carries_its_headers(service: Service) -> None:
    """A strict policy for what may be loaded, on every page and on every way to another."""
    for path in (*PAGES, "/theme"):
        headers = service.get(path, headers=BROWSER).headers
        assert headers["content-security-policy"] == CSP, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "unsafe" not in CSP
        assert "frame-ancestors 'none'" in CSP


@ONE_DATABASE
def test_every_page_is_built_for_readers_of_any_kind(service: Service) -> None:
    """One main heading, landmarks, a way to skip, a label on every field, captions on tables."""
    sign_in(service, "admin")
    for path in PAGES:
        page = look(service, path)
        names = [tag for tag, _ in page.elements]
        assert names.count("h1") == 1, path
        assert names.count("main") == 1, path
        assert page.all("html")[0]["lang"] == "en"
        assert any(a.get("href") == "#main" for a in page.all("a"))
        assert len(page.all("table")) == len(page.all("caption")), path
        assert all("scope" in th for th in page.all("th")), path


@ONE_DATABASE
def test_pages_are_compressed_and_not_sent_twice(service: Service) -> None:
    """`Accept-Encoding` and `If-None-Match` are honoured; `/v1/header` is left alone."""
    answer = service.get("/problems/not-found", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    again = service.get("/problems/not-found", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code in (200, 304)  # moments on the page move on
    assert "content-encoding" not in service.get(f"/v1/header?beta={LIVE}").headers


@ONE_DATABASE
def test_static_files_are_named_by_their_content(service: Service) -> None:
    """Browsers keep them for good, and a changed file has another address."""
    for link in [*look(service, "/").all("script"), *look(service, "/").all("link")]:
        path = link.get("src") or link.get("href") or ""
        answer = service.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        digest = path.split("/")[2]
        assert hashlib.sha256(answer.content).hexdigest().startswith(digest)
        seen = service.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert seen.status_code == 304
    assert service.get("/static/0000000000000000/dashboard.css").status_code == 404
    assert service.get("/static/../errors.py").status_code == 404


def test_files_of_others_are_unchanged() -> None:
    """What is vendored is what `VENDORED.md` says."""
    for name, digest in re.findall(
        r"\| `(\S+)` \|.*`([0-9a-f]{64})`", (STATIC / "VENDORED.md").read_text()
    ):
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest


def test_the_first_load_is_small() -> None:
    """Style sheet, scripts and icon, compressed, leave most of 150 kB to the page."""
    sizes = [len(gzip.compress(path.read_bytes(), 9)) for path in STATIC.glob("*.*[sg]")]
    assert sum(sizes) < 60_000


# --- Hostile content ------------------------------------------------------------------------------

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TURNED = "safe\u202egnp.exe\u2066"


@ONE_DATABASE
def test_what_comes_from_outside_is_shown_and_never_run(service: Service) -> None:
    """Markup is text, hidden characters are written out, and a link leads to the web or nowhere."""
    said = {
        "summary": f"{MARKUP}{TURNED}", "notes": [MARKUP, "x" * 7_900],
        "status": "deprecated", "body_fields": [MARKUP], "models": [MARKUP], "topic": MARKUP,
    }  # fmt: skip
    more = {"source": "release-notes", "on": "2026-06-01", "quote": MARKUP}
    made = [claim(LIVE, field, value, **more) for field, value in said.items()]  # type: ignore[arg-type]
    with service.database.write() as session:
        catalog.apply(session, finding("release-notes", *made), NOW, NOW)
    until(lambda: MARKUP in look(service, "/betas").text)
    for path in (*PAGES, f"/betas/{LIVE}", f"/betas?topic={MARKUP}"):
        page = look(service, path)
        assert not page.all("img"), path
        assert all(script.get("src", "").startswith("/static/") for script in page.all("script"))  # type: ignore[union-attr]
        assert not [
            a for a in page.all("a") if (a.get("href") or "").lower().startswith("javascript")
        ]
        assert "\u202e" not in page.text, path
    assert "safe\\u{202e}gnp.exe" in look(service, f"/betas/{LIVE}").text


@ONE_DATABASE
def test_no_page_fails_for_what_stands_in_its_address(service: Service) -> None:
    """What cannot be used is left out, and a sentence says so; a name that is none is a 404."""
    for query in (
        "status=bogus", "platform=mars", "sort=colour", "page=-1", "page=99999999999", "from=never",
        "from=2026-02-30", "from=0001-01-01&to=9999-12-31", "from=2027-01-01&to=2026-01-01",
        "nonsense=1", "since=yesterday", "type=beta.exploded", "before=x", f"q={MARKUP}", "q=%00%ff",
        f"beta={'x' * 10_000}", f"feature={MARKUP}", "target=%00", "policy=wild&beta=a", "api=invoke",
    ):  # fmt: skip
        for path in LISTS:
            answer = service.get(f"{path}?{query}", headers=BROWSER)
            assert answer.status_code == 200, (path, query)
            assert not _Page(answer.text).all("img"), (path, query)
    for name in (MARKUP, "x" * 10_000, TURNED, "\0", "a/b", "é"):
        answer = service.get(f"/betas/{quote(name, safe='')}", headers=BROWSER)
        assert answer.status_code == 404, name
        assert not _Page(answer.text).all("img"), name
        assert "\u202e" not in answer.text, name


def test_only_addresses_of_the_web_become_links() -> None:
    """A source can write anything; a browser runs some of it."""
    assert safe_link("https://example.com/a?b#c") == "https://example.com/a?b#c"
    for url in (
        "javascript:alert(1)",
        "data:text/html,x",
        "//x",
        "https://a b",
        "",
        None,
        " http://x",
    ):
        assert safe_link(url) is None


@given(st.text(max_size=300))
def test_no_hidden_character_survives(text: str) -> None:
    """Neither controls nor marks of direction reach a page."""
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", visible(text)
    )


# --- Reading --------------------------------------------------------------------------------------


@ONE_DATABASE
def test_the_overview_counts_and_warns(service: Service) -> None:
    """Counts by status, what ends and when, and false alarms over counted sweeps."""
    text = look(service, "/").text
    assert "0 of 0 sweeps" in re.sub(r"\s+", " ", text)
    assert DYING in text
    assert "2027-02-01" in text
    assert "sign in to see it" in text


@ONE_DATABASE
def test_betas_are_filtered_sorted_and_shared_by_address(service: Service) -> None:
    """Filters add up, words of a search in any order; the address holds all of it."""
    assert rows(service, "/betas?status=retired") == [GONE]
    assert rows(service, "/betas?q=thing+does") == [LIVE]
    assert rows(service, "/betas?platform=anthropic&state=supported") == sorted([LIVE, DYING])
    assert rows(service, "/betas?sort=-release_date")[0] == TWIN_A.replace(
        "2026-02-02", "2026-03-03"
    )
    assert rows(service, "/betas?sort=-name")[-1] == rows(service, "/betas")[0] == DONE
    page = look(service, "/betas?status=bogus&status=ga")
    assert "“bogus” is no status; there are active" in page.text
    sorted_by = [th for th in look(service, "/betas?sort=-status").all("th") if "aria-sort" in th]
    assert [th["aria-sort"] for th in sorted_by] == ["descending"]


def rows(service: Service, path: str) -> list[str]:
    """Return the betas of the table, in its order."""
    page = service.get(path, headers=BROWSER).text
    return re.findall(r'<th scope="row"><a class="mono" href="/betas/([^"]+)"', page)


@ONE_DATABASE
def test_long_lists_come_in_pages(service: Service) -> None:
    """A hundred betas a page, with links that keep the filters."""
    made = [claim(f"many-{n}-2026-01-01", source="docs") for n in range(150)]
    with service.database.write() as session:
        catalog.apply(session, finding("release-notes", *made), NOW, NOW)
    until(lambda: len(rows(service, "/betas?q=many")) == 100)
    assert len(rows(service, "/betas?q=many&page=2")) == 50
    links = [a["href"] for a in look(service, "/betas?q=many").all("a") if a.get("rel") == "next"]
    assert links == ["/betas?q=many&page=2"]


@ONE_DATABASE
def test_a_beta_shows_its_reasons_and_evidence(service: Service) -> None:
    """Status with reason, what to use instead, platforms, claims with their source."""
    text = look(service, f"/betas/{DYING}").text
    for wanted in ("deprecated", "An end is announced", LIVE, "2027-02-01", "decides", "docs"):
        assert wanted in text


@ONE_DATABASE
def test_the_builder_says_what_to_send_and_why_not(service: Service) -> None:
    """The same resolution as the API: a value, a refusal with what is left, or a choice."""
    assert re.search(
        rf'<pre id="sent"[^>]*>{LIVE}</pre>', service.get(f"/builder?beta={LIVE}").text
    )
    strict = look(service, f"/builder?beta={LIVE},{GONE}").text
    assert "This would fail." in strict
    assert "was retired on 2025-09-01" in strict
    assert "With policy filter this is left" in re.sub(r"\s+", " ", strict)
    assert "Choose one" in look(service, "/builder?feature=twin").text
    body = look(service, f"/builder?beta={LIVE}&platform=bedrock&policy=advise").text
    assert '{"anthropic_beta": ["thing-2026-01-01"]}' in body
    assert "client.beta.messages.create" in look(service, f"/builder?beta={LIVE}").text


@ONE_DATABASE
def test_an_error_is_explained_and_its_secrets_are_masked(service: Service) -> None:
    """The diagnosis of the API, for what was pasted; the key in it is shown nowhere."""
    said = f"HTTP 400 Unexpected value(s) `{GONE}` for the `anthropic-beta` header."
    pasted = f"x-api-key: sk-ant-api03-SECRETSECRETSECRET\n{said}"
    answer = service.call("POST", "/explain", data={"text": pasted}, headers=BROWSER)
    page = _Page(answer.text)
    assert "refused" in page.text
    assert GONE in page.text
    assert "SECRETSECRET" not in answer.text
    assert service.call("POST", "/explain", data={"text": "  "}).status_code == 200
    hostile = service.call("POST", "/explain", data={"text": MARKUP * 300}, headers=BROWSER)
    assert not _Page(hostile.text).all("img")
    assert service.call("POST", "/explain", content=b"\xff\xfe%%%&&==&text=%ff").status_code == 200


def textarea_of(html: str) -> str:
    """What a browser holds of the page's textarea: without the newline after the tag."""
    [inside] = re.findall(r"<textarea[^>]*>(.*?)</textarea>", html, re.S)
    return unescape(inside).removeprefix("\n")


def as_a_browser_sends(text: str) -> dict[str, str]:
    """The form with line ends as browsers write them (HTML, "constructing the entry list")."""
    return {"text": re.sub("\r\n?|\n", "\r\n", text)}


REFUSAL = {"type": "error", "error": {"type": "invalid_request_error",
           "message": f"Unexpected value(s) `{GONE}` for the `anthropic-beta` header."}}  # fmt: skip


@ONE_DATABASE
@pytest.mark.parametrize(
    "text",
    [
        f"HTTP/1.1 400 Bad Request\ncontent-type: application/json\n\n{json.dumps(REFUSAL)}",
        f"\n\n> anthropic-beta: {GONE}\n< HTTP/2 400\n\x1b[1mrequest-id\x1b[0m: req_1\n\n{json.dumps(REFUSAL)}\n",
        json.dumps(REFUSAL, indent=2),
        "a line of a log\n" * 500 + f"Error code: 400 - {REFUSAL}",
        f"\tx-api-key: sk-ant-api03-SECRETSECRETSECRET\nHTTP 400 \u202e`{GONE}`\u200b was refused & <b>gone</b>",
    ],
    ids=["raw", "curl", "json", "long", "odd"],
)
def test_a_second_press_explains_the_same(service: Service, text: str) -> None:
    """The text comes back as it was pasted, but for its secrets, and so does the answer."""
    first = service.call("POST", "/explain", data=as_a_browser_sends(text), headers=BROWSER).text
    shown = textarea_of(first)
    assert shown == text.replace("sk-ant-api03-SECRETSECRETSECRET", "***")
    again = service.call("POST", "/explain", data=as_a_browser_sends(shown), headers=BROWSER).text
    assert again == first


@ONE_DATABASE
def test_a_form_gives_back_what_was_typed(service: Service) -> None:
    """Whole: what is long or odd means the same when the form is sent again."""
    many = ", ".join(f"thing-{n}-2026-01-01" for n in range(300))
    for path, field, typed in (
        ("/builder", "beta", many), ("/builder", "model", "a\u200bb"), ("/changelog", "beta", f'{LIVE}"<\u202e'),
        ("/betas", "q", "a\xad b"),
    ):  # fmt: skip
        page = look(service, f"{path}?{field}={quote(typed)}")
        assert typed in [one.get("value") for one in page.all("input") if one.get("name") == field]


@ONE_DATABASE
def test_unknown_pages_suit_whoever_asks(service: Service) -> None:
    """A page for browsers, a problem document for programs and under `/v1`."""
    page = service.get("/nowhere", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    for path, headers in (("/nowhere", {}), ("/v1/nowhere", BROWSER), ("/v1/betas/x", BROWSER)):
        answer = service.get(path, headers=headers)
        assert answer.headers["content-type"] == "application/problem+json"


@ONE_DATABASE
def test_pages_answer_from_memory_while_the_database_is_away(service: Service) -> None:
    """They say so, and only what needs the database is missing."""
    with service.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE revision RENAME TO moved")
    until(lambda: "The database is away" in look(service, "/betas").text)
    assert LIVE in look(service, "/betas").text
    beta_page = service.get(f"/betas/{LIVE}", headers=BROWSER)
    assert beta_page.status_code == 200
    assert "Not to be had now." in beta_page.text
    for path in PAGES:
        assert service.get(path, headers=BROWSER).status_code in (200, 404)


# --- Signing in, and changing things --------------------------------------------------------------


@ONE_DATABASE
def test_where_reads_are_not_public_every_page_asks_to_sign_in(
    start: Callable[..., Service],
) -> None:
    """And leads back to where the reader was going."""
    service = start(public_read=False)
    for path in PAGES[:9]:
        answer = service.get(path, headers=BROWSER)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/sign-in?next=%2F")
    page = look(service, f"/sign-in?next=/betas/{LIVE}?x=1")
    assert [i["value"] for i in page.all("input") if i["name"] == "next" and i["value"] != "/"]
    answer = service.call(
        "POST", "/sign-in", data={"token": service.tokens["read"], "next": f"/betas/{LIVE}"}
    )
    assert answer.headers["location"] == f"/betas/{LIVE}"
    assert service.get(f"/betas/{LIVE}", headers=BROWSER).status_code == 200


@ONE_DATABASE
def test_the_cookie_is_guarded_and_holds_no_token(service: Service) -> None:
    """HttpOnly, SameSite, Secure behind TLS; neither the token nor its hash can be read from it."""
    token = service.tokens["read"]
    plain = service.call("POST", "/sign-in", data={"token": token}).headers["set-cookie"]
    assert "HttpOnly" in plain
    assert "SameSite=lax" in plain
    assert "Secure" not in plain
    assert token not in plain
    assert auth.digest(token) not in plain
    proxied = service.call(
        "POST", "/sign-in", data={"token": token}, headers={"X-Forwarded-Proto": "https"}
    )
    assert "Secure" in proxied.headers["set-cookie"]


@ONE_DATABASE
def test_a_revoked_token_ends_its_sessions(service: Service) -> None:
    """Within a second, although the cookie is still there."""
    sign_in(service, "read")
    assert "Sign out" in look(service, "/targets").text
    with service.database.write() as session:
        number = next(t.id for t in auth.tokens(session) if t.scope == "read")
        auth.revoke(session, number, NOW)
    until(lambda: "Sign out" not in look(service, "/targets").text)
    assert "sign in to see it" in look(service, "/targets").text


@ONE_DATABASE
@pytest.mark.parametrize("scope", ["report", "feed"])
def test_narrow_tokens_do_not_open_the_dashboard(service: Service, scope: str) -> None:
    """They are for programs; the page says which scope is needed."""
    answer = service.call("POST", "/sign-in", data={"token": service.tokens[scope]})
    assert answer.status_code == 403
    assert "the dashboard needs read or more" in answer.text


@ONE_DATABASE
def test_guessing_tokens_is_slowed_down(service: Service) -> None:
    """After ten failures an address waits."""
    codes = [
        service.call("POST", "/sign-in", data={"token": f"br_{n}"}).status_code for n in range(12)
    ]
    assert codes == [401] * 10 + [429] * 2


@ONE_DATABASE
def test_changing_needs_the_scope_the_session_and_our_own_form(service: Service) -> None:
    """Each missing alone refuses the change, with a sentence; all together let it through."""
    path = "/targets/nothing/sweep"

    def send(data: dict[str, str], **headers: str) -> tuple[int, str]:
        answer = service.call("POST", path, data=data, headers=BROWSER | headers)
        return answer.status_code, re.sub(r"\s+", " ", _Page(answer.text).text)

    assert send({})[0] == 303  # to the sign-in
    sign_in(service, "read")
    code, text = send({"csrf": csrf_of(service)})
    assert code == 403
    assert "scope read; this needs write. Nothing was changed." in text
    service.http.cookies.clear()
    sign_in(service, "write")
    good = {"csrf": csrf_of(service)}
    assert send({})[0] == send({"csrf": "0" * 64})[0] == 403
    assert send(good, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert send(good, Origin="https://evil.example")[0] == 403
    code, text = send(good, **{"Sec-Fetch-Site": "same-origin"})
    assert code == 503
    assert "No process runs the scheduler" in text  # it got past every guard


@ONE_DATABASE
def test_another_sessions_form_is_refused(service: Service) -> None:
    """The token of a form belongs to one session."""
    sign_in(service, "write")
    other = csrf_of(service)
    service.http.cookies.clear()
    sign_in(service, "write")
    answer = service.call("POST", "/sign-out", data={"csrf": other}, headers=BROWSER)
    assert answer.status_code == 403
    assert service.call("POST", "/sign-out", data={"csrf": csrf_of(service)}).status_code == 303
    assert "Sign out" not in look(service, "/").text


@ONE_DATABASE
def test_alerts_are_made_tested_muted_and_removed(start: Callable[..., Service]) -> None:
    """The secret is shown once; a receiver that cannot be reached is told with its answer."""
    service = start(receivers_private=True)
    assert "sign in to see them" in look(service, "/alerts").text
    sign_in(service, "write")
    csrf = csrf_of(service)

    def press(path: str, **form: str) -> str:
        answer = service.call("POST", path, data={"csrf": csrf} | form, headers=BROWSER)
        if answer.status_code == 303:
            answer = service.get(answer.headers["location"], headers=BROWSER)
        return re.sub(r"\s+", " ", _Page(answer.text).text)

    assert "Not subscribed." in press("/alerts", name="ops", url="nowhere")
    made = press(
        "/alerts", name=MARKUP, url="http://127.0.0.1:9/hook", types="beta.retired, beta.refused"
    )
    assert re.search(r"whsec_\S{20}", made)
    page = look(service, "/alerts")
    assert "whsec_" not in page.text
    assert not page.all("img")
    assert "types: beta.retired, beta.refused" in re.sub(r"\s+", " ", page.text)
    assert "The test was sent" in press("/alerts/subscriptions/1/test")
    failed = look(service, "/alerts?status=failed&status=dead").text
    assert "Redeliver" in failed
    assert "muted" in press("/alerts/subscriptions/1/mute", **{"for": "1d"})
    assert "Mute for one of 1h, 1d, 7d" in press("/alerts/subscriptions/1/mute", **{"for": "x"})
    assert "It is heard again" in press("/alerts/subscriptions/1/unmute")
    number = re.search(r'href="/alerts/deliveries/([^"]+)"', service.get("/alerts").text)
    assert number
    assert "Attempts" in look(service, f"/alerts/deliveries/{number[1]}").text
    assert "It is sent again" in press(f"/alerts/deliveries/{number[1]}/redeliver")
    assert "seen to" in press(f"/alerts/deliveries/{number[1]}/acknowledge")
    assert "There is no" in press("/alerts/deliveries/nothing/redeliver")
    assert "has a number" in press("/alerts/subscriptions/x/test")
    assert "Removed" in press("/alerts/subscriptions/1/remove")
    assert "Nobody hears of anything yet" in look(service, "/alerts").text


def use(service: Service) -> None:
    """Let two services use betas: one of them a dead one, in an environment with markup for a name."""
    now = datetime.now(UTC)
    with service.database.write() as session:
        made = [inventory.Declaration(name="shop", team=MARKUP), inventory.Declaration(name="cart")]
        inventory.declare(session, made, "api", now)
        for name, used in (("shop", GONE), ("cart", LIVE)):
            item = inventory.Item(beta=used, count=7, path="src/a.py", line=3)
            report = inventory.Report(service=name, environment="prod", items=(item,))
            inventory.record(session, report, now)


def test_the_inventory_tells_who_uses_what_to_whoever_signed_in(
    start: Callable[..., Service],
) -> None:
    """By beta, service and team, with the blast radius; as a file too; nothing of it without a token."""
    service = start(secret_key="k" * 32)
    use(service)
    for path in ("/", f"/betas/{GONE}", "/inventory", "/inventory/services/shop"):
        text = look(service, path).text
        assert "src/a.py" not in text
        assert "shop" not in text.replace("/shop", "") or path.endswith("shop")
    assert service.get("/inventory.csv", headers=BROWSER).status_code == 303
    sign_in(service, "read")
    until(lambda: "shop" in look(service, "/").text)
    assert "shop" in look(service, f"/betas/{GONE}").text
    text = re.sub(r"\s+", " ", look(service, "/inventory").text)
    assert "2 services of 1 team, 14 calls in 30 days" in text
    assert rows(service, "/inventory?status=retired") == [GONE]
    assert not look(service, "/inventory?group_by=team").all("img")
    page = look(service, "/inventory/services/shop")
    assert "src/a.py:3" in page.text
    assert "fails" in page.text
    assert not page.all("img")
    sheet = service.get("/inventory.csv?service=cart").text
    assert "cart" in sheet
    assert "shop" not in sheet
    assert service.get("/inventory/services/none", headers=BROWSER).status_code in (200, 404)
    for query in ("group_by=x", "q=%00", "status=y", f"team={'x' * 9000}", "after=zzz"):
        assert service.get(f"/inventory?{query}", headers=BROWSER).status_code == 200


def test_without_a_secret_key_signing_in_says_what_is_missing(
    postgres_url: str, serve: Callable[..., Any]
) -> None:
    """Reading goes on; replicas would not share a key that one of them made."""
    http = serve(database_url=postgres_url)
    assert http.get("/betas").status_code == 200
    assert "BETA_REGISTRY_SECRET_KEY is not set" in http.get("/sign-in").text
    assert http.post("/sign-in", data={"token": "x"}).status_code == 503


class _Now:
    """A clock to set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def _request(cookie: str = "", **headers: str) -> Request:
    pairs = {"cookie": f"{COOKIE}={cookie}", "host": "here"} | headers
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in pairs.items()]
    return Request(
        {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    )


def test_a_session_lasts_twelve_hours_and_one_key() -> None:
    """Old, altered and foreign cookies are nobody's."""
    clock = _Now()
    tokens: dict[str, auth.Scope] = {auth.digest("secret"): "write"}
    sessions = Sessions(lambda: b"k" * 32, tokens.get, clock)
    cookie = sessions.open("secret", "1.2.3.4")
    assert sessions.read(_request(cookie)) is not None
    assert sessions.read(_request(cookie[:-2] + "xx")) is None
    assert sessions.read(_request("x" * 5000)) is None
    other = Sessions(lambda: b"o" * 32, tokens.get, clock)
    assert other.read(_request(cookie)) is None
    clock.now += LASTS
    assert sessions.read(_request(cookie)) is None


def test_sessions_remember_few_addresses_and_need_a_key() -> None:
    """The memory of failures is bounded; without a key nothing can be opened or read."""
    sessions = Sessions(lambda: b"k", lambda _digest: None, _Now())
    for number in range(3000):
        with pytest.raises(Forbidden):
            sessions.open("wrong", f"address-{number}")
    assert len(sessions._failures) <= 1024

    def no_key() -> bytes:
        raise Unavailable("Set a key.")

    closed = Sessions(no_key, lambda _digest: None, _Now())
    assert closed.read(_request("anything")) is None
    with pytest.raises(Unavailable, match="Set a key"):
        closed.open("x", "y")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/betas?q=1#x", True), ("/", True), ("//evil.example", False), ("/\\evil.example", False),
        ("https://evil.example", False), ("javascript:alert(1)", False), ("", False), (None, False),
        ("/a\nb", False), ("/a\\b", False), ("/" + "a" * 3000, False), ("\t//evil.example", False),
    ],
)  # fmt: skip
def test_the_way_back_never_leaves_the_service(given: str | None, kept: bool) -> None:
    """`next` is a path of ours or the overview."""
    assert local_path(given) == (given if kept else "/")


# --- Pure parts -----------------------------------------------------------------------------------


def _event(number: int, type: Any, hours: float, **more: Any) -> Event:
    facts = {"source": "target:a", "beta": LIVE, "platform": "anthropic"} | more
    return Event(id=number, type=type, at=NOW + timedelta(hours=hours), reason="", **facts)


def test_false_alarms_are_losses_by_probing_that_were_taken_back_within_a_day() -> None:
    """Slow recoveries, history, other platforms and what sources said do not count."""
    lost, back = _event(1, "beta.refused", 0), _event(2, "beta.supported", 3)
    assert false_alarms([lost, back]) == 1
    assert false_alarms([back, lost]) == 1  # in the order of their ids
    assert false_alarms([lost, replace(back, at=NOW + timedelta(hours=25))]) == 0
    assert false_alarms([replace(lost, source="docs"), back]) == 0
    assert false_alarms([replace(lost, backfill=True), back]) == 0
    assert false_alarms([lost, replace(back, platform="vertex")]) == 0
    assert false_alarms([lost, back, replace(back, id=3)]) == 1


DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31)) | st.none()


@given(st.lists(st.tuples(DAYS, DAYS, DAYS, DAYS, st.text(max_size=40)), max_size=6))
def test_pictures_are_well_formed_whatever_is_drawn(lives: list[Any]) -> None:
    """Any dates in any order, and any name, give XML with positive sizes."""
    made = [
        pictures.life_of(
            replace(beta("a-2026-01-01"), name=name, announced_on=a, ga_on=b, deprecated_on=c, sunset_on=d),
            TODAY,
        )
        for a, b, c, d, name in lives
    ]  # fmt: skip
    first, last = pictures.range_of(made, TODAY)
    drawn = pictures.lifelines({"<&": made}, first, last, TODAY, NOW)
    for element in ElementTree.fromstring(drawn).iter():
        assert float(element.get("width", "1").rstrip("%")) > 0
        assert float(element.get("height", "1")) > 0


def test_a_life_is_told_in_stretches() -> None:
    """From announcement over GA to deprecation, and on to the announced end."""
    known = beta(
        "x-2025-01-01", "deprecated", announced_on=date(2025, 1, 5), ga_on=date(2025, 6, 1),
        deprecated_on=date(2026, 1, 1), sunset_on=date(2027, 1, 1),
    )  # fmt: skip
    spans = [
        (s.kind, s.start.isoformat(), s.end.isoformat())
        for s in pictures.life_of(known, TODAY).spans
    ]
    assert spans == [
        ("active", "2025-01-01", "2025-06-01"), ("ga", "2025-06-01", "2026-01-01"),
        ("deprecated", "2026-01-01", "2026-11-23"), ("ending", "2026-11-23", "2027-01-01"),
    ]  # fmt: skip


def test_what_is_asked_makes_addresses_again() -> None:
    """A link keeps the rest of the query, and escapes it."""
    scope = {"type": "http", "path": "/betas", "query_string": b"q=a%26b&page=3&x=1", "headers": []}
    asked = Asked(Request(scope), ("q", "page"))
    assert asked.link(page=None) == "/betas?q=a%26b"
    assert asked.link(q=None, page=None) == "/betas"
    assert asked.notices == ["There is no filter “x” here; there are q, page."]


def test_moments_are_drawn_in_their_zone() -> None:
    """Observations of one moment and of years are both drawn."""
    one = pictures.Seen("a", datetime(2026, 1, 1, tzinfo=UTC), "accepted", "<b>")
    for found in ([one], [one, replace(one, at=datetime(2020, 1, 1, tzinfo=UTC))], []):
        drawn = pictures.observations(found)
        assert not found or ElementTree.fromstring(drawn) is not None
        assert "<b>" not in drawn

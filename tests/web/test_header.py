"""`GET /v1/header` over real HTTP: what is sent, what is refused, and what the headers tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.conftest import DONE, DYING, GONE, LIVE, TWIN_A, TWIN_B, Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""It answers from memory, so the kind of database cannot matter."""

TEXT = {"Accept": "text/plain"}


def ask(service: Service, query: str, **headers: str) -> Any:
    """Ask for a header value."""
    return service.get(f"/v1/header?{query}", headers=headers)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("", ""),
        ("beta=", ""),
        (f"beta={LIVE}", LIVE),
        ("feature=thing", LIVE),
        (f"beta={DYING},{LIVE}&beta={DYING}", f"{DYING},{LIVE}"),
        (f"feature=thing&beta={LIVE}", LIVE),
        (f"feature=done&beta={LIVE}", LIVE),
        (f"beta={DONE}", DONE),
        (f"beta={DONE}&policy=filter", ""),
        (f"beta={GONE}&policy=filter", ""),
        (f"beta={GONE}&policy=advise", GONE),
        ("beta=mine-2026-01-01&policy=filter", "mine-2026-01-01"),
        ("beta=mine-2026-01-01&on_unknown=drop", ""),
    ],
)
def test_what_is_sent(service: Service, query: str, value: str) -> None:
    """JSON and text agree; an empty value is to be omitted."""
    found = ask(service, query)
    assert found.status_code == 200, found.text
    assert (found.json()["value"], found.json()["omit"]) == (value, value == "")
    text = ask(service, query, **TEXT)
    assert (text.status_code, text.text) == ((200, value) if value else (204, ""))


@pytest.mark.parametrize(
    ("query", "reason"),
    [(f"beta={GONE}", "retired"), ("beta=mine-2026-01-01", "unknown"), ("beta=a%20b", "malformed"),
     ("beta=%F0%9F%98%80", "malformed"), (f"beta={'a' * 129}", "malformed")],
)  # fmt: skip
def test_what_is_invalid(service: Service, query: str, reason: str) -> None:
    """The problem says why, and what would be sent instead."""
    found = ask(service, f"{query}&beta={LIVE}")
    assert (found.status_code, found.json()["type"]) == (422, "/problems/invalid-beta")
    assert [item["reason"] for item in found.json()["invalid"]] == [reason]
    assert LIVE in found.json()["would_send"]["value"]
    text = ask(service, query, **TEXT)
    assert (text.status_code, text.text) == (422, "")
    assert text.headers["beta-registry-error"]


def test_a_feature_with_several_betas_is_ambiguous(service: Service) -> None:
    """The caller is told the choices."""
    found = ask(service, "feature=twin")
    assert (found.status_code, found.json()["type"]) == (422, "/problems/ambiguous-feature")
    assert found.json()["choices"] == [TWIN_A, TWIN_B]


def test_a_deprecated_beta_brings_the_standard_headers(service: Service) -> None:
    """RFC 9745, RFC 8594, RFC 8288."""
    found = ask(service, f"beta={DYING}")
    assert found.headers["deprecation"] == "@1772323200"  # 2026-03-01
    assert found.headers["sunset"] == "Mon, 01 Feb 2027 00:00:00 GMT"
    assert found.headers["link"] == f'</v1/betas/{LIVE}>; rel="successor-version"'
    assert "deprecation" not in ask(service, f"beta={LIVE}").headers


@pytest.mark.parametrize(
    "query",
    ["platform=azure", "policy=lax", "on_unknown=maybe", "bta=x", "platform=aws&platform=vertex",
     "api=invoke", "target=nowhere", "beta=%ff", "beta=" + "a," * 9000, "&".join(["beta=a"] * 1001)],
)  # fmt: skip
def test_bad_queries_are_refused_with_a_sentence(service: Service, query: str) -> None:
    """A misspelt parameter too, instead of being ignored."""
    found = ask(service, query)
    assert found.status_code in (404, 422), found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert len(found.json()["detail"]) < 600


def test_the_placement_follows_the_platform(service: Service) -> None:
    """Bedrock's invoke takes betas in the body."""
    found = ask(service, f"beta={LIVE}&platform=bedrock&policy=advise").json()
    assert (found["placement"], found["body"]) == ("body", {"anthropic_beta": [LIVE]})
    mantle = ask(service, f"beta={LIVE}&platform=bedrock&api=mantle&policy=advise").json()
    assert (mantle["placement"], mantle["body"]) == ("header", None)


def test_a_bad_token_is_refused_even_where_reads_are_public(service: Service) -> None:
    """A token that expired must not go unnoticed."""
    assert ask(service, "", Authorization="Bearer no").status_code == 401
    assert ask(service, "", Authorization="Basic abc").status_code == 401
    good = {"Authorization": f"Bearer {service.tokens['read']}"}
    assert ask(service, "", **good).status_code == 200
    feed = {"Authorization": f"Bearer {service.tokens['feed']}"}
    assert ask(service, "", **feed).status_code == 403


def test_head_and_other_methods(service: Service) -> None:
    """HEAD has no body; the rest is not taken."""
    head = service.call("HEAD", f"/v1/header?beta={LIVE}")
    assert (head.status_code, head.content) == (200, b"")
    assert service.call("POST", "/v1/header").status_code == 405


def test_the_tag_tells_media_types_apart(service: Service) -> None:
    """JSON and text are different answers."""
    json_tag = ask(service, f"beta={LIVE}").headers["etag"]
    assert ask(service, f"beta={LIVE}", **TEXT).headers["etag"] != json_tag


def test_many_distinct_queries_do_not_grow_without_end(service: Service) -> None:
    """The memo is bounded; what falls out of it is made anew."""
    first = ask(service, "beta=n0-2026-01-01&on_unknown=pass").json()
    for number in range(300):
        ask(service, f"beta=n{number}-2026-01-01&on_unknown=pass")
    assert ask(service, "beta=n0-2026-01-01&on_unknown=pass").json() == first


def test_a_long_question_is_answered_like_a_short_one(service: Service) -> None:
    """It is made elsewhere; status, order and reasons are the same, for good questions and bad ones."""
    names = [f"n{number}-2026-01-01" for number in range(200)]
    found = ask(service, f"beta={','.join([LIVE, *names])}&policy=filter").json()
    assert found["value"].split(",") == [LIVE, *names]
    one = ask(service, f"beta={names[7]}&policy=filter").json()
    assert [item for item in found["betas"] if item["name"] == names[7]] == one["betas"]
    strict = ask(service, f"beta={','.join([LIVE, *names])}")
    assert (strict.status_code, len(strict.json()["invalid"])) == (422, 200)


@pytest.mark.parametrize("public", [True, False])
def test_a_token_of_scope_report_reads_what_can_be_open_to_all(
    start: Callable[..., Service], public: bool
) -> None:
    """So that one token serves a program; all else it does not read."""
    service = start(public_read=public)
    for path in (f"/v1/header?beta={LIVE}", "/v1/betas", f"/v1/betas/{LIVE}", "/v1/snapshot",
                 "/v1/features", "/v1/changelog", "/v1/changelog.atom", "/v1/export/litellm.json"):  # fmt: skip
        assert service.get(path, "report").status_code == 200, path
        assert service.get(path).status_code == (200 if public else 401), path
    assert service.call("POST", "/v1/check", "report", json={"betas": [LIVE]}).status_code == 200
    body = {"status": 200, "body": ""}
    assert service.call("POST", "/v1/diagnose", "report", json=body).status_code == 200
    for path in ("/v1/services", "/v1/inventory", f"/v1/betas/{LIVE}/usages", "/v1/targets",
                 "/v1/sweeps", "/v1/sources", "/v1/subscriptions", "/v1/deliveries", "/v1/report",
                 "/v1/export/inventory.csv"):  # fmt: skip
        assert service.get(path, "report").status_code == 403, path

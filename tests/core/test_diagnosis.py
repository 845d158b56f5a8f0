"""What an answer means together with what is known: explanation, suspects, hints, what to send, how to confirm."""

# ruff: noqa: E501 - a table of messages is read line by line

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from registry.core.diagnosis import diagnose
from registry.core.facts import Json, PlaceFact
from registry.core.places import Place
from tests.factories import TODAY, beta, snapshot

LIVE, OTHER, SCOPE, FREE = (
    "live-2026-01-01",
    "other-2026-02-02",
    "scope-2026-01-05",
    "effort-2025-11-24",
)
OLD, NEW, GONE = "feature-2025-04-04", "feature-2025-11-20", "gone-2024-12-01"
STRANGE = "strange-2026-05-05"
NO = Place(platform="vertex")


def reported(place: Place, day: int = 9) -> PlaceFact:
    at = datetime(2026, 6, day, tzinfo=UTC)
    return PlaceFact(
        place=place, state="refused", accepted=False, basis="reported", source="thread", at=at
    )


FACTS = snapshot(
    beta(LIVE),
    beta(OTHER, state="unknown"),
    beta(SCOPE, state="unknown", places=(reported(NO),), body_fields=("system[].cache_control.scope",), essential=()),
    beta(FREE, "ga", body_instead="output_config.effort", places=(reported(Place(platform="vertex", model="claude-haiku-4-5")),)),
    beta(OLD, "retired", state="unknown", superseded_by=NEW),
    beta(NEW, body_fields=("mcp_servers",), tool_types=("mcp_toolset",)),
    beta(GONE, "retired", state="unknown"),
    beta("context-management-2025-06-27", body_fields=("context_management",)),
    beta("compact-2026-01-12", body_fields=("context_management.edits[type=compact_20260112]",)),
    beta("advisor-tool-2026-03-01"),
    beta("extended-cache-ttl-2025-04-11", state="unknown"),
    beta("spelled-2026-01-01", state="unknown", places=(PlaceFact(place=Place(platform="bedrock"), state="supported", names=("there-2026-01-01",)),)),
)  # fmt: skip


def refusal(*names: str) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    text = f"Unexpected value(s) {listed} for the `anthropic-beta` header."
    return json.dumps(
        {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
    )


def told(body: str, **more: Any) -> dict[str, Json]:
    asked: dict[str, Any] = {"status": 400, "headers": {}, "today": TODAY} | more
    return diagnose(FACTS, body=body, **asked)


@pytest.mark.parametrize(
    ("names", "place", "explanation", "advice"),
    [
        ([SCOPE], {"platform": "vertex"}, f"{SCOPE} is refused on vertex (reported on 2026-06-09)", ""),
        ([SCOPE], {}, "It is known to fail on vertex: say where it was sent", ""),
        ([FREE], {}, "generally available", f"Nothing is lost without {FREE}"),
        ([FREE], {}, "refused on vertex for claude-haiku-4-5", ""),
        ([FREE], {"platform": "vertex", "model": "claude-haiku-4-5@20251001"}, "is refused for the model", ""),
        ([OLD], {}, f"{OLD} was retired", f"Replace {OLD} by {NEW}"),
        ([LIVE], {}, f"{LIVE} was taken on anthropic", ""),
        ([OTHER], {"platform": "vertex"}, f"Nothing proves that {OTHER} works on vertex", ""),
        (["strangr-2026-01-01"], {}, "is not in the registry", ""),
    ],
)  # fmt: skip
def test_what_the_registry_knows_is_told(
    names: list[str], place: dict[str, str], explanation: str, advice: str
) -> None:
    found = told(refusal(*names), betas_sent=[*names, "more-2026-01-01"], **place)
    assert (found["verdict"], found["refused"]) == ("refused", names)
    assert explanation in found["explanation"]
    assert advice in found["advice"]
    assert found["send_instead"]["value"] == "more-2026-01-01"


def test_what_else_would_fail_goes_too() -> None:
    """And where nobody says what was sent, the refused names are what is known of it."""
    found = told(refusal(STRANGE), betas_sent=[STRANGE, SCOPE, LIVE], platform="vertex")
    assert found["send_instead"] == {"value": LIVE, "omit": False, "body": None}
    found = told(refusal(STRANGE))
    assert found["send_instead"]["omit"] is True
    assert "Whatever else was sent can stay." in found["advice"]


@pytest.mark.parametrize(
    ("sent", "place", "suspects", "value"),
    [
        ([LIVE, OTHER, SCOPE], {"platform": "vertex"}, [SCOPE], f"{LIVE},{OTHER}"),
        ([LIVE, OTHER, STRANGE], {}, [STRANGE], f"{LIVE},{OTHER}"),
        ([LIVE, OTHER], {}, [OTHER], LIVE),
        ([GONE, SCOPE, LIVE], {"platform": "vertex"}, [SCOPE, GONE], LIVE),
        ([LIVE, "spelled-2026-01-01"], {"platform": "bedrock"}, ["spelled-2026-01-01"], f"{LIVE},there-2026-01-01"),
        ([LIVE, NEW], {}, [LIVE, NEW], None),
    ],
)  # fmt: skip
def test_an_unnamed_refusal_has_suspects(
    sent: list[str], place: dict[str, str], suspects: list[str], value: str | None
) -> None:
    """The worst kind by the judgement at the place; where all may be meant, nothing is made up."""
    found = told('{"message":"invalid beta flag"}', betas_sent=sent, **place)
    assert (found["verdict"], found["refused"]) == ("refused", [])
    assert [item["name"] for item in found["suspects"]] == suspects
    assert (found["send_instead"] or {"value": None})["value"] == value
    assert all(name in "".join(found["confirm"]) for name in suspects)
    paste = f'{{"message":"invalid beta flag"}}\n"anthropic-beta": "{",".join(sent)}"'
    again = told(paste, **place)
    assert [item["name"] for item in again["suspects"]] == suspects


def test_an_unnamed_refusal_of_one_beta_means_that_one() -> None:
    found = told('{"message":"invalid beta flag"}', betas_sent=[LIVE])
    assert (found["refused"], found["suspects"]) == ([LIVE], [])
    assert "Say which betas were sent" in told('{"message":"invalid beta flag"}')["advice"]


@pytest.mark.parametrize(
    ("message", "hints"),
    [
        ("output_config.effort: Extra inputs are not permitted", [FREE]),
        ("context_management: Extra inputs are not permitted", ["context-management-2025-06-27"]),
        ("Malformed input request: extraneous key [context_management] is not permitted", ["context-management-2025-06-27"]),
        ("context_management.edits.0: Input tag 'compact_20260112' found using 'type' does not match", ["compact-2026-01-12"]),
        ("system.0.cache_control.ephemeral.scope: Extra inputs are not permitted", [SCOPE]),
        ("messages.0.content.3.text.cache_control.ephemeral.ttl: Extra inputs are not permitted", ["extended-cache-ttl-2025-04-11"]),
        ("cache_control.ephemeral.ttl: Extra inputs are not permitted", ["extended-cache-ttl-2025-04-11"]),
        ("tools.4: Input tag 'advisor_20260301' found using 'type' does not match any of 'custom'", ["advisor-tool-2026-03-01"]),
        ("tools.0: Input tag 'mcp_toolset' found using 'type' does not match", [NEW]),
        ("foo: Extra inputs are not permitted", []),
        ("tools.0: Input tag 'foo_20200101' found using 'type' does not match", []),
        ("max_tokens: Field required", []),
    ],
)  # fmt: skip
def test_hints_come_from_what_betas_allow(message: str, hints: list[str]) -> None:
    """A missing beta hardly ever names itself; the field or type does."""
    found = told(json.dumps({"error": {"type": "invalid_request_error", "message": message}}))
    assert (found["verdict"], found["reason"], found["hints"]) == ("inconclusive", "request", hints)
    assert all(name in found["advice"] for name in hints)
    assert {item["name"] for item in found["betas"]} >= set(hints)


def test_a_hint_that_fails_at_the_place_is_no_advice_to_send_it() -> None:
    text = "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted"
    found = told(text, platform="vertex")
    assert f"It belongs to {SCOPE}: leave the field out there." in found["advice"]
    assert "was sent: a gateway may have dropped it" in told(text, betas_sent=[SCOPE])["advice"]


def test_what_a_gateway_refuses_by_itself_is_no_refusal() -> None:
    found = told(
        "litellm.UnsupportedParamsError: bedrock does not support parameters: ['context_management'], for "
        "model=eu.anthropic.claude-sonnet-4-6. To drop these, set `litellm.drop_params=True`",
        status=None,
    )
    assert (found["verdict"], found["reason"], found["platform"]) == (
        "inconclusive",
        "request",
        "bedrock",
    )
    assert "before it asked the API" in found["explanation"]


def test_near_names_are_told() -> None:
    found = told(refusal("live-2026-01-02"))
    assert found["did_you_mean"] == {"live-2026-01-02": [LIVE]}
    assert found["betas"][0]["did_you_mean"] == [LIVE]


@pytest.mark.parametrize(
    ("platform", "api", "address"),
    [
        (None, None, "${ANTHROPIC_BASE_URL:-https://api.anthropic.com}/v1/messages/count_tokens"),
        ("vertex", None, "aiplatform.googleapis.com"),
        ("bedrock", "mantle", "bedrock-mantle.$AWS_REGION"),
        ("bedrock", "invoke", "bedrock-runtime.$AWS_REGION"),
        ("foundry", None, "$ANTHROPIC_FOUNDRY_API_KEY"),
        ("aws", None, "$ANTHROPIC_AWS_API_KEY"),
    ],
)
def test_commands_ask_the_place_itself(platform: str | None, api: str | None, address: str) -> None:
    """Controls first, then each beta; a target that asks there is named."""
    body = refusal(LIVE)
    found = told(body, platform=platform, api=api)["confirm"]
    assert len(found) == 3
    assert all(address in command and "\n" not in command for command in found)
    assert LIVE not in found[0]
    targets = {"mine": {"platform": platform or "anthropic", "api": api}}
    facts = snapshot(*FACTS.betas.values(), targets=targets)
    more = diagnose(
        facts, status=400, headers={}, body=body, today=TODAY, platform=platform, api=api
    )["confirm"]
    assert more == [*found, f"beta-registry probe mine --beta {LIVE}"]


SENT = f"'anthropic_beta': ['{LIVE}', '{OTHER}']"


@pytest.mark.parametrize(
    "text",
    [
        f"An error occurred (ValidationException) when calling the InvokeModel operation: invalid beta flag\nbody={{{SENT}, 'max_tokens': 1}}",
        f"{{{SENT}}}\nAPI Error: 400 {{'message': 'invalid beta flag'}}",
        f"Error 400 invalid beta flag. Request: betas=['{LIVE}', '{OTHER}']",
        f"API Error (us.anthropic.claude-opus-4-7): 400 invalid beta flag\n{{{SENT}}}",
    ],
)
def test_what_was_sent_is_not_what_the_answer_names(text: str) -> None:
    """The body of the request and a model's id stand in pastes beside a refusal that names nobody."""
    found = diagnose(FACTS, status=None, headers={}, body=text, today=TODAY)
    assert (found["verdict"], found["refused"]) == ("refused", [])
    assert {item["name"] for item in found["betas"]} == {LIVE, OTHER}
    assert [item["name"] for item in found["suspects"]] == [OTHER]
    assert found["send_instead"]["value"] == LIVE


def test_a_field_that_is_refused_is_no_refused_beta() -> None:
    said = json.dumps({"error": {"message": "speed: Extra inputs are not permitted"}})
    text = f"{{{SENT}, 'speed': 'fast'}}\n{said}"
    found = diagnose(FACTS, status=400, headers={}, body=text, today=TODAY)
    assert (found["verdict"], found["refused"]) == ("inconclusive", [])


def test_where_it_was_sent_is_what_the_caller_says() -> None:
    """A request id of Anthropic's does not outweigh it: clouds hand on answers of theirs."""
    body = json.dumps({"error": {"message": "invalid beta"}, "request_id": "req_011CYabc"})
    found = diagnose(FACTS, status=400, headers={}, body=body, platform="foundry", today=TODAY)
    assert found["platform"] == "foundry"
    alone = diagnose(FACTS, status=400, headers={}, body=body, today=TODAY)
    assert alone["platform"] == "anthropic"


def test_support_of_a_place_is_not_told_of_a_model() -> None:
    message = f"The beta {LIVE} is not supported for this model"
    error = {"type": "invalid_request_error", "message": message}
    found = diagnose(
        FACTS,
        status=400,
        headers={},
        body=json.dumps({"type": "error", "error": error}),
        platform="anthropic",
        model="claude-3-opus",
        betas_sent=[LIVE],
        today=TODAY,
    )  # fmt: skip
    assert found["verdict"] == "model_unsupported"
    assert "taken on anthropic for" not in found["explanation"]
    assert "key or plan" not in found["explanation"]

"""What an answer means: captured answers, other wordings of ours, look-alikes, and any bytes at all."""

# ruff: noqa: E501 - a table of messages is read line by line

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.answers import (
    MESSAGE_MAX,
    Meaning,
    Reason,
    Verdict,
    classify,
)
from registry.core.pasted import read_pasted
from registry.core.redaction import mask_secrets

SAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "upstream-responses.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
SENTENCE = (
    "Unexpected value(s) `{}` for the `anthropic-beta` header. Please consult our documentation at "
    "docs.claude.com or try again without the header."
)
X, Y = "mcp-client-2025-11-20", "never-heard-of"


def error(message: str, type: str = "invalid_request_error") -> str:
    return json.dumps({"type": "error", "error": {"type": type, "message": message}})


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["id"] for sample in SAMPLES])
def test_captured_answers(sample: dict[str, Any]) -> None:
    """All captured answers agree with their labels, with and without the request's betas."""
    meaning = classify(sample["status"], sample["headers"], sample["body"], sample["betas_sent"])
    expected = (sample["verdict"], sample["reason"], tuple(sample["refused"]))
    assert (meaning.verdict, meaning.reason, meaning.refused) == expected
    assert meaning.explanation
    assert meaning.advice


def test_there_are_98_captured_answers() -> None:
    assert len(SAMPLES) == 98


REFUSALS: list[tuple[str, int | None, str, tuple[str, ...]]] = [
    # wordings
    ("unsupported header", 400, error(f"Unsupported beta header(s): {X}"), (X,)),
    ("unsupported header, plain word", 400, error("Unsupported beta header(s): x"), ("x",)),
    ("unsupported headers", 400, f"unsupported beta header(s): {X}, {Y}", (X, Y)),
    ("undated words", 400, error("Unsupported beta headers: foo, bar"), ("foo", "bar")),
    ("unknown betas", 400, error(f"Unknown betas: {X} and {Y}."), (X, Y)),
    ("invalid flag named", 400, error(f"invalid beta flag: {Y}"), (Y,)),
    ("invalid flag quoted", 400, error(f"Invalid beta flag '{Y}'"), (Y,)),
    ("header not supported", 400, error(f"The beta header `{Y}` is not supported."), (Y,)),
    ("header not recognised", 422, error(f"beta header {X} is not recognised"), (X,)),
    ("no longer", 400, error(f'The "{X}" beta is no longer supported.'), (X,)),
    ("no longer available", 400, error(f"Beta header `{X}` is no longer available"), (X,)),
    ("not valid", 400, error(f"The beta(s) {X}, {Y} are not valid"), (X, Y)),
    ("not valid, letter", 400, error("The beta(s) x are not valid"), ("x",)),
    ("field", 400, error(f"anthropic_beta: invalid value {X}"), (X,)),
    ("field, indexed", 400, error(f"anthropic_beta.0: Unexpected value '{Y}'"), (Y,)),
    ("header contains", 400, error(f"anthropic-beta header contains unsupported values: {X}, {Y}"), (X, Y)),
    ("not a valid value", 400, error(f"'{Y}' is not a valid value for the anthropic-beta header"), (Y,)),
    ("not a known beta", 400, error(f"`{Y}` is not a recognized beta header."), (Y,)),
    ("is an unknown beta", 400, error(f"{X} is an unknown beta"), (X,)),
    ("retired", 400, error(f"The beta `{X}` has been retired."), (X,)),
    ("removed", 400, error(f"Beta feature {X} was removed on 2026-01-01."), (X,)),
    ("deprecated and gone", 400, error(f"Beta `{X}` is deprecated and no longer accepted."), (X,)),
    ("does not support", 400, error(f"This endpoint does not support the beta header `{X}`"), (X,)),
    ("doesn't recognise", 400, error(f"Vertex doesn't recognize `{Y}` in the anthropic-beta header"), (Y,)),
    ("list after", 400, error(f"The following betas are not supported: {X}, {Y}"), (X, Y)),
    ("because", 400, error(f"Request failed because beta header `{X}` is not supported."), (X,)),
    ("alternatives told", 400, error(f"Unsupported beta header `{X}`. Use `{Y}` instead."), (X,)),
    ("allowed told", 400, error(f"Unknown beta: {X} (supported: {Y}, foo-2025-01-01)"), (X,)),
    ("no such", 400, error(f"No such beta: {X}"), (X,)),
    ("betas field", 400, error(f"betas.0: invalid value {X}"), (X,)),
    ("two messages", 400, json.dumps({"errors": [{"message": f"Unknown beta: {X}"}, {"message": f"Unknown beta: {Y}"}]}), (X, Y)),
    ("two sentences", 400, error(f"Beta `{X}` is not supported. Beta `{Y}` is not supported."), (X, Y)),
    ("capitals", 400, error(SENTENCE.upper().replace("{}", X)), (X,)),
    ("slash", 400, error(f"Unexpected value(s) `{X}`/`{Y}` for the `anthropic-beta` header"), (X, Y)),
    ("renamed header", 400, error(f"Unexpected value(s) `{X}` for the `x-portkey-anthropic-beta` header."), (X,)),
    # quotings and lists
    ("curly quotes", 400, error(f"Unexpected value(s) “{X}”, ‘{Y}’ for the “anthropic-beta” header."), (X, Y)),
    ("guillemets", 400, error(f"Unexpected value(s) «{X}» for the «anthropic-beta» header."), (X,)),
    ("single quotes", 400, error(f"Unexpected values '{X}', and '{Y}' for the 'anthropic-beta' header"), (X, Y)),
    ("JSON list", 400, error(f'Unexpected value(s) ["{X}","{Y}"] for the anthropic-beta header'), (X, Y)),
    ("one string", 400, error(f"Unexpected value(s) '{X},{Y}' for the anthropic-beta header"), (X, Y)),
    ("and, or", 400, error(f"Unexpected value(s) {X} and {Y} or foo-1 for the anthropic-beta header"), (X, Y, "foo-1")),
    ("bare words", 400, error("Unexpected value(s) a, foo and bar for the anthropic-beta header"), ("a", "foo", "bar")),
    ("lines", 400, f"Unexpected value(s)\n  `{X}`,\n  `{Y}`\nfor the\n`anthropic-beta` header", (X, Y)),
    ("bullets", 400, error(f"Unsupported beta headers:\n- {X}\n- {Y}"), (X, Y)),
    ("bold", 400, f"Unexpected value(s) **{X}** for the **anthropic-beta** header", (X,)),
    # wrappings
    ("anthropic SDK", None, f"anthropic.BadRequestError: Error code: 400 - {json.loads(error(SENTENCE.format(X)))}", (X,)),
    ("traceback", None, f'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\n    client.messages.create(model="m", messages=[{{"role":"user","content":"hi"}}])\nanthropic.BadRequestError: Error code: 400 - {json.loads(error(SENTENCE.format(X)))}', (X,)),
    ("litellm", 500, f"litellm.BadRequestError: AnthropicException - {error(SENTENCE.format(Y))}", (Y,)),
    ("bytes", 502, f"upstream said {error(SENTENCE.format(X)).encode()!r}", (X,)),
    ("AWS", 400, json.dumps({"message": SENTENCE.format(Y)}), (Y,)),
    ("AWS shape of text", 400, json.dumps({"Message": f"The model returned the following errors: {SENTENCE.format(Y)}"}), (Y,)),
    ("Google list", 400, json.dumps([{"error": {"code": 400, "message": error(SENTENCE.format(X)), "status": "INVALID_ARGUMENT"}}]), (X,)),
    ("OpenRouter", 400, json.dumps({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": error(SENTENCE.format(X))}}}), (X,)),
    ("FastAPI", 422, json.dumps({"detail": [{"loc": ["header", "anthropic-beta"], "msg": "unexpected value", "input": Y}]}), (Y,)),
    ("param", 400, json.dumps({"error": {"param": "anthropic-beta", "message": f"Unsupported value: '{Y}'"}}), (Y,)),
    ("stream", 200, f"event: error\ndata: {error(SENTENCE.format(X))}\n\n", (X,)),
    ("200 with error", 200, error(SENTENCE.format(X)), (X,)),
    ("cut short", 400, error(SENTENCE.format(X))[:140], (X,)),
    ("entities", 400, html.escape(html.escape(error(SENTENCE.format(X)))), (X,)),
    ("unicode escapes", 400, error(SENTENCE.format(X)).replace("`", "\\\\u0060"), (X,)),
    ("log", None, f"2026-11-01 ERROR [worker-1] 400 {SENTENCE.format(X)}\n2026-11-01 INFO next-thing done", (X,)),
    ("HTML of a gateway", 400, f"<html><body><h1>Bad Request</h1><p>{SENTENCE.format(X)}</p></body></html>", (X,)),
    # nothing named
    ("unnamed", 400, error("invalid beta flag"), ()),
    ("unnamed header", 400, error("Unsupported beta header."), ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "names"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_refusals(status: int | None, body: str, names: tuple[str, ...]) -> None:
    """Refusals in wordings and wrappings that were never captured: every name, in order."""
    meaning = classify(status, {}, body)
    assert (meaning.verdict, meaning.reason, meaning.refused) == ("refused", None, names)


@pytest.mark.parametrize(
    "message",
    [
        f"Valeur(s) inattendue(s) `{X}`, `{Y}` pour l'en-tête `anthropic-beta`.",
        f"Unerwartete Werte „{X}“, „{Y}“ im Header „anthropic-beta“.",
        f"Valores inesperados «{X}», «{Y}» en la cabecera `anthropic-beta`.",
        f"anthropic-beta ヘッダーの値「{X}」「{Y}」はサポートされていません。",
        f"请求头 `anthropic-beta` 中的值 `{X}`、`{Y}` 不受支持",
        f"Недопустимые значения `{X}`, `{Y}` в заголовке `anthropic-beta`",
        f"`anthropic-beta` başlığındaki `{X}`, `{Y}` tanınmıyor",
    ],
)
def test_refusals_in_other_languages(message: str) -> None:
    """Structure tells: the header is named, and quoted names that were sent."""
    meaning = classify(400, {}, error(message), [X, Y, "other-2025-01-01"])
    assert (meaning.verdict, meaning.refused) == ("refused", (X, Y))


LOOK_ALIKES: list[tuple[str, int | None, str, Verdict, Reason | None]] = [
    ("credit", 400, error("Your credit balance is too low to use the `anthropic-beta` header."), "inconclusive", "billing"),
    ("usage limit", 400, error("You have reached your specified API usage limits."), "inconclusive", "billing"),
    ("bad key", 401, error("invalid x-api-key", "authentication_error"), "inconclusive", "auth"),
    ("key beside a beta", 401, error(f"beta header `{X}` is not allowed with this credential", "authentication_error"), "inconclusive", "auth"),
    ("no model", 404, error("model: claude-9", "not_found_error"), "inconclusive", "request"),
    ("404 beta", 404, error(f"The beta {X} is not available", "not_found_error"), "inconclusive", "request"),
    ("rate limit", 429, error(f"Too many requests with the beta header `{X}`", "rate_limit_error"), "inconclusive", "rate_limit"),
    ("overload", 529, error("Overloaded", "overloaded_error"), "inconclusive", "overload"),
    ("HTML 502", 502, f"<html><body>502 Bad Gateway {SENTENCE.format(X)}</body></html>", "inconclusive", "server"),
    ("echoed prompt", 400, error(f'messages.0.content.0.text: "{SENTENCE.format(X)}" is too long'), "inconclusive", "request"),
    ("echoed prompt 2", 400, error(f"The prompt was blocked: {SENTENCE.format(X)}"), "inconclusive", "request"),
    ("echoed request", 400, json.dumps({"error": {"type": "invalid_request_error", "message": "bad field"}, "request": {"messages": [{"role": "user", "content": SENTENCE.format(X)}]}}), "inconclusive", "request"),
    ("echoed input, cut", 400, '{"error":{"message":"bad field","input":"' + SENTENCE.format(X), "inconclusive", "request"),
    ("a model's words", 200, json.dumps({"type": "message", "content": [{"type": "text", "text": SENTENCE.format(X)}]}), "accepted", None),
    ("documentation", 400, error(f"See the documentation: {SENTENCE.format(X)}"), "inconclusive", "request"),
    ("explained", 400, error(f"The API returns `Unexpected value(s) `{X}` for the `anthropic-beta` header` for unknown betas"), "inconclusive", "request"),
    ("supposed", 400, error(f"If the beta header `{X}` is not supported, remove it."), "inconclusive", "request"),
    ("tool type", 400, error(f"tools.0.type: Unexpected value 'computer_20251124'. Did you forget the `anthropic-beta` header `{X}`?"), "inconclusive", "request"),
    ("tool needs beta", 400, error(f"tool type 'computer_20251124' is not supported without the `anthropic-beta: {X}` header"), "inconclusive", "request"),
    ("needs beta", 400, error(f"This endpoint requires the anthropic-beta header `{X}`."), "inconclusive", "request"),
    ("beta not found", 400, error(f"Required beta `{X}` not found in the anthropic-beta header"), "inconclusive", "request"),
    ("beta not enabled", 400, error(f"The beta `{X}` is not enabled. Add it to the anthropic-beta header."), "inconclusive", "request"),
    ("field with beta", 400, error(f"`top_k` is not supported with the `{X}` beta"), "inconclusive", "request"),
    ("field under beta", 400, error(f"With the `anthropic-beta` header `{X}`, `tool_choice` is not supported."), "inconclusive", "request"),
    ("body field", 400, error("anthropic_beta: Extra inputs are not permitted"), "inconclusive", "request"),
    ("body field type", 400, error("anthropic_beta: Input should be a valid list"), "inconclusive", "request"),
    ("other header", 400, error("anthropic-version: invalid value 2020-01-01; betas are unaffected"), "inconclusive", "request"),
    ("deprecated only", 400, error(f"max_tokens: required. Warning: beta header `{X}` is deprecated."), "inconclusive", "request"),
    ("ignored", 400, error(f"model: required. The beta `{X}` was ignored."), "inconclusive", "request"),
    ("temporary", 400, error(f"The beta `{X}` is temporarily not available."), "inconclusive", "request"),
    ("conflict", 400, error(f"`{X}` is not supported together with the beta header `{Y}`"), "inconclusive", "request"),
    ("companion", 400, error("Skills beta requires the code_execution tool."), "inconclusive", "request"),
    ("tag", 400, error("Input tag 'file' found using 'type' does not match any of the expected tags"), "inconclusive", "request"),
    ("gone from a beta", 400, error(f"`top_k` was removed in beta `{X}`"), "inconclusive", "request"),
    ("bad for a beta", 400, error(f"`foo` is invalid for beta header `{X}`"), "inconclusive", "request"),
    ("in a beta", 400, error("Streaming is unsupported in beta."), "inconclusive", "request"),
    ("a beta's parameter", 400, error(f"Beta `{X}`: unknown parameter `foo`"), "inconclusive", "request"),
    ("received", 400, error(f"anthropic-beta {X} received; thinking.budget_tokens: invalid value 12"), "inconclusive", "request"),
    ("header's form", 400, error(f"The anthropic-beta header must be a comma separated list; got `{X};{Y}`"), "inconclusive", "request"),
    ("paid", 400, error(f"Beta {X} rejected: credit balance is too low"), "inconclusive", "billing"),
    ("tool result", 400, error(f"Error in tool result: {SENTENCE.format(X)}"), "inconclusive", "request"),
    ("title", 400, error(f'Invalid title: "How to fix: {SENTENCE.format(X)}"'), "inconclusive", "request"),
    ("question", None, f"Is the beta header {X} not supported?", "inconclusive", "unparseable"),
    ("changelog", None, f"- fix: no longer send unsupported beta headers: {X}", "inconclusive", "unparseable"),
    ("docs", None, f"# Errors\n\nIf you send an unknown beta, the API answers:\n\n> {SENTENCE.format(X)}", "inconclusive", "unparseable"),
    ("value of a field", 400, error("Unexpected value `5m` for `cache_control.ttl`; add the `anthropic-beta` header"), "inconclusive", "request"),
    ("organisation", 400, error("This organization has been disabled. beta"), "inconclusive", "auth"),
    ("redirect", 302, "", "inconclusive", "unparseable"),
    ("empty 200", 200, "", "inconclusive", "unparseable"),
    ("HTML 200", 200, "<html>welcome, no beta header is supported</html>", "inconclusive", "unparseable"),
    ("cut 200", 200, '{"type":"message","content":[', "inconclusive", "unparseable"),
    ("cut stream", 200, 'event: message_start\ndata: {"type":"message_start"}\n\n', "inconclusive", "unparseable"),
    ("late overload", 200, f'event: message_start\ndata: {{}}\n\nevent: error\ndata: {error("Overloaded", "overloaded_error")}\n\n', "inconclusive", "overload"),
    ("no answer", None, "", "inconclusive", "network"),
    ("time-out", None, "httpx.ConnectTimeout: timed out", "inconclusive", "network"),
    ("shell", None, "what does beta header mean", "inconclusive", "unparseable"),
    ("plan", 400, error(f"The `{X}` beta is not yet available for this subscription."), "restricted", None),
    ("organisation's plan", 403, error(f"beta `{X}` is not enabled for your organization", "permission_error"), "restricted", None),
    ("fast mode", 400, error("Fast mode is not enabled for your organization."), "restricted", None),
    ("way of signing in", 400, error("This authentication style is incompatible with the long context beta header."), "restricted", None),
    ("not permitted", 400, error("This organization is not permitted to use beta features."), "restricted", None),
    ("kind of organisation", 400, error("Zero data retention organizations cannot use this beta."), "restricted", None),
    ("administrator", 403, error("Your administrator has disabled beta features for this workspace.", "permission_error"), "restricted", None),
    ("disabled by", 400, error("Beta features are disabled by your administrator."), "restricted", None),
    ("needs a plan", 400, error("This beta requires an Enterprise plan."), "restricted", None),
    ("for some plans", 400, error("Fast mode is only available to Team and Enterprise plans."), "restricted", None),
    ("enrolment", 403, error("You must be enrolled in this beta.", "permission_error"), "restricted", None),
    ("terms", 400, error("Your organization must accept the beta terms before using this feature."), "restricted", None),
    ("workspace", 403, error("This beta is not supported in your workspace.", "permission_error"), "restricted", None),
    ("credits", 429, error("Usage credits are required for long context requests", "rate_limit_error"), "restricted", None),
    ("disabled account, beta", 400, error("This organization has been disabled for use of beta keys."), "inconclusive", "auth"),
    ("needs a field", 400, error("The effort beta requires the output_config field."), "inconclusive", "request"),
    ("needs a plan of another kind", 400, error("tools.0: a plan is required"), "inconclusive", "request"),
    ("only with a tool", 400, error("compaction is only supported with the code_execution tool"), "inconclusive", "request"),
    ("prompt about plans", 400, error("messages.0.content: \"the beta requires an Enterprise plan\" is too long"), "inconclusive", "request"),
    ("who must use", 400, error("A tool with the fast mode beta cannot use stream: false"), "inconclusive", "request"),
    ("not enrolled", 403, json.dumps({"type": "error", "error": {"type": "permission_error", "message": "No access.", "details": {"error_code": "organization_not_enrolled_in_beta"}}}), "restricted", None),
    ("for a model", 400, error(f"beta header `{X}` is not supported for model claude-haiku-4-5"), "model_unsupported", None),
    ("by a model", 400, error(f"claude-haiku-4-5 does not support the `{X}` beta"), "model_unsupported", None),
    ("images", 400, error("This model does not support image input."), "inconclusive", "request"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [case[1:] for case in LOOK_ALIKES],
    ids=[case[0] for case in LOOK_ALIKES],
)
@pytest.mark.parametrize("sent", [None, [X, Y]], ids=["betas unknown", "betas known"])
def test_look_alikes(
    status: int | None, body: str, verdict: Verdict, reason: Reason | None, sent: list[str] | None
) -> None:
    """Answers which mention betas, or look as if, and refuse none."""
    meaning = classify(status, {}, body, sent)
    assert (meaning.verdict, meaning.reason) == (verdict, reason)


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "JSON string": json.dumps,
    "AWS": lambda text: json.dumps({"message": text}),
    "Anthropic": error,
    "Google": lambda text: json.dumps([{"error": {"code": 400, "message": text}}]),
    "gateway": lambda text: json.dumps({"error": {"metadata": {"raw": text}}}),
    "spaced": lambda text: json.dumps({"detail": {"error": text}}, indent=2),
    "repr": repr,
    "bytes": lambda text: repr(text.encode()),
    "dict": lambda text: str({"error": {"message": text, "code": None}}),
    "exception": lambda text: f"litellm.BadRequestError: AnthropicException - {text}",
    "status": lambda text: f"Error code: 400 - {text}. Attempt #2",
    "entities": html.escape,
    "stream": lambda text: f"event: error\ndata: {error(text)}\n\n",
}
NAMES = st.from_regex(r"[a-z][a-z0-9]{1,8}(-[a-z0-9]{1,6}){1,3}", fullmatch=True).filter(
    lambda name: not name.startswith("claude-") and "anthropic" not in name
)


@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(sorted(WRAPPINGS)), max_size=3),
    st.sampled_from(["`", "'", '"', "", "“"]),
    st.sampled_from([400, 422, 500, 502]),
)
def test_a_refusal_survives_any_wrapping(
    names: list[str], wrappings: list[str], quote: str, status: int
) -> None:
    """Wrapped and escaped up to three times over, all names stay, in order."""
    body = SENTENCE.replace("`{}`", ", ".join(f"{quote}{name}{quote}" for name in names))
    for wrapping in wrappings:
        body = WRAPPINGS[wrapping](body)
    meaning = classify(status, {}, body)
    assert (meaning.verdict, meaning.refused) == ("refused", tuple(names))


@given(
    st.none() | st.integers(-1, 999),
    st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=3),
    st.binary(max_size=400)
    | st.text(max_size=400)
    | st.text('`"\\{}[]:,&;.\n<>abt -_', max_size=400)
    | st.lists(st.sampled_from([*SENTENCE.split(), '{"message":', '"}', "\\u0060", "not"])).map(
        " ".join
    ),
    st.none() | st.lists(st.text(max_size=30), max_size=3),
)
def test_any_answer_has_a_meaning(
    status: int | None, headers: dict[str, str], body: str | bytes, sent: list[str] | None
) -> None:
    """Nothing raises, and what comes out keeps its promises."""
    meaning = classify(status, headers, body, sent)
    assert meaning.verdict in get_args(Verdict)
    assert (meaning.reason in get_args(Reason)) == (meaning.verdict == "inconclusive")
    assert len(meaning.message) <= MESSAGE_MAX
    assert meaning == classify(status, headers, body, sent)
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    pasted = read_pasted(text)
    assert isinstance(classify(pasted.status, pasted.headers, pasted.body), Meaning)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=80), max_size=4))
def test_what_a_model_says_is_never_a_refusal(extra: dict[str, str]) -> None:
    body = {"type": "message", "content": [{"type": "text", "text": SENTENCE.format(X)}]}
    assert (
        classify(200, {}, json.dumps(extra | {"error": None, "errors": []} | body)).verdict
        == "accepted"
    )


@pytest.mark.parametrize(
    "unit", ["`", "{", "\\", "beta ", "Unexpected value(s) `a`, ", '{"message":"']
)
def test_size_does_not_matter(unit: str) -> None:
    """A body that holds nothing but noise before a refusal, or only noise, is read to its 1 MiB end."""
    noise = unit * ((1 << 20) // len(unit) + 10)
    assert classify(400, {}, noise).verdict == "inconclusive"
    assert len(classify(400, {}, noise).message) <= MESSAGE_MAX


def test_a_long_list_of_names_is_kept_whole() -> None:
    names = [f"beta-{number}-2026-01-01" for number in range(20_000)]
    body = error(SENTENCE.replace("`{}`", ", ".join(f"`{name}`" for name in names)))
    assert classify(400, {}, body).refused == tuple(names)


def test_what_comes_out_can_be_stored() -> None:
    """No lone surrogates and no control characters, whatever came in; braces in a model do no harm."""
    body = '{"error":{"message":"\\ud800\\u0000 Unknown beta: `a\\u0000b`"}}'
    meaning = classify(400, {}, body, model="{names}")
    assert meaning.message.encode()
    assert "\x00" not in meaning.message + "".join(meaning.refused)
    body = error("This model does not support the effort parameter.")
    assert "{names}" in classify(400, {}, body, model="{names}").explanation


def test_what_is_beyond_1_mib_is_not_read() -> None:
    assert classify(400, {}, " " * (1 << 20) + SENTENCE.format(X)).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("headers", "body", "given", "told"),
    [
        ({"Request-Id": "req_vrtx_011CY"}, "", None, "vertex"),
        ({"request-id": "req_011CY"}, "", None, "anthropic"),
        ({"request-id": "req_011CY"}, "", "aws", "aws"),
        ({}, error("x").replace("}}", '},"request_id":"req_' + "a2" * 26 + '"}'), None, "bedrock"),
        ({"x-amzn-errortype": "ValidationException"}, "{}", None, "bedrock"),
        ({}, '{"id":"msg_bdrk_01","type":"message"}', None, "bedrock"),
        ({}, "nothing", "foundry", "foundry"),
    ],
)
def test_the_platform_is_told(
    headers: dict[str, str], body: str, given: str | None, told: str | None
) -> None:
    """By request ids, message ids and wording; the caller's word where they are silent."""
    assert classify(400, headers, body, platform=given).platform == told


@pytest.mark.parametrize(
    ("message", "fields", "tags"),
    [
        ("context_management: Extra inputs are not permitted", ("context_management",), ()),
        ("messages.3.output_config: Extra inputs are not permitted", ("messages.output_config",), ()),
        ("messages.0.content.1.document.source: Input tag 'file' found", ("messages.content.document.source",), ("file",)),
        ("tools.4: Input tag 'advisor_20260301' found using 'type'", ("tools",), ("advisor_20260301",)),
        ("Malformed input request: extraneous key [context_management] is not permitted", ("context_management",), ()),
        ("litellm.UnsupportedParamsError: bedrock does not support parameters: ['speed', 'thread'], for model=x", ("speed", "thread"), ()),
        ("Unrecognized request argument supplied: mcp_servers", ("mcp_servers",), ()),
        ("Unknown parameter: 'fallbacks'.", ("fallbacks",), ()),
        ("max_tokens: Field required", (), ()),
    ],
)  # fmt: skip
def test_body_fields_and_types_that_are_not_known(
    message: str, fields: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    meaning = classify(400, {}, error(message))
    assert (meaning.verdict, meaning.reason) == ("inconclusive", "request")
    assert (meaning.body_fields, meaning.tags) == (fields, tags)


def test_a_404_on_a_beta_path_lacks_a_beta() -> None:
    body = error("Not found", "not_found_error")
    assert classify(404, {}, body, endpoint="/v1/skills").verdict == "beta_missing"
    assert classify(404, {}, body, [X], endpoint="/v1/skills").verdict == "inconclusive"
    assert classify(404, {}, body, endpoint="/v1/messages").verdict == "inconclusive"
    gone = error("File not found: file_123", "not_found_error")
    assert classify(404, {}, gone, endpoint="files").verdict == "inconclusive"


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("x-api-key: sk-ant-api03-abcdef", "x-api-key: ***", "abcdef"),
        ('{"authorization": "Bearer abc.def"}', '{"authorization": "Bearer ***"}', "abc"),
        ('{\\"x-api-key\\":\\"hidden\\"}', '{\\"x-api-key\\":\\"***\\"}', "hidden"),
        ("key AKIAIOSFODNN7EXAMPLE here", "key *** here", "AKIA"),
        ("token eyJhbGciOi.eyJzdWIi.c2ln end", "token *** end", "eyJ"),
        ("ANTHROPIC_API_KEY=hidden", "ANTHROPIC_API_KEY=***", "hidden"),
        ("bearer hidden-token", "bearer ***", "hidden"),
    ],
)
def test_secrets_are_masked(text: str, kept: str, gone: str) -> None:
    assert mask_secrets(text) == kept
    assert mask_secrets(kept) == kept
    assert gone not in classify(400, {}, error(text)).message


CURL = """*   Trying 192.0.2.1:443...
> POST /v1/messages?beta=true HTTP/2
> Host: api.anthropic.com
> x-api-key: sk-ant-api03-abcdefghijk
> anthropic-beta: a-2025-01-01,b
>
} [57 bytes data]
< HTTP/2 400
< content-type: application/json
< request-id: req_011abc
<
{ [150 bytes data]
* Connection #0 left intact
""" + error(SENTENCE.format("b"))

RAW = (
    "POST /v1/messages HTTP/1.1\r\nauthorization: Bearer abcdefgh\r\nanthropic-beta: a\r\n"
    'anthropic-beta: b\r\n\r\n{"model":"claude-x","anthropic_beta":["c"]}\r\n\r\n'
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\nRequest-Id: req_vrtx_1\r\n\r\n"
) + error(SENTENCE.format("c"))


def test_pasted_curl() -> None:
    pasted = read_pasted(CURL)
    assert (pasted.status, pasted.betas_sent) == (400, ("a-2025-01-01", "b"))
    assert pasted.headers == {"content-type": "application/json", "request-id": "req_011abc"}
    assert pasted.body == error(SENTENCE.format("b"))
    assert pasted.endpoint == "/v1/messages"


def test_pasted_raw_messages() -> None:
    pasted = read_pasted(RAW)
    assert (pasted.status, pasted.betas_sent, pasted.model) == (400, ("a", "b", "c"), "claude-x")
    assert pasted.headers == {"request-id": "req_vrtx_1"}
    assert classify(pasted.status, pasted.headers, pasted.body).refused == ("c",)


def test_pasted_json() -> None:
    shape = {"status": 400, "headers": {"x-api-key": "sk-ant-0123456789"}, "body": {"a": 1}}
    pasted = read_pasted(json.dumps(shape | {"betas_sent": "a, b", "model": "m"}))
    assert (pasted.status, pasted.headers, pasted.body) == (400, {"x-api-key": "***"}, '{"a": 1}')
    assert (pasted.betas_sent, pasted.model) == (("a", "b"), "m")
    assert read_pasted(error("x")).body == error("x")
    assert read_pasted('{"status":"bad","headers":3,"body":null}').status is None


def test_pasted_text() -> None:
    """A log line tells its status in words; a curl command tells the betas."""
    pasted = read_pasted(f"API Error: 400 {SENTENCE.format(X)}")
    meaning = classify(pasted.status, pasted.headers, pasted.body)
    assert (pasted.status, meaning.verdict, meaning.refused) == (None, "refused", (X,))
    assert read_pasted('curl -H "anthropic-beta: a,b" https://x.example').betas_sent == ("a", "b")
    assert read_pasted("API Error: 529 Overloaded").betas_sent is None
    assert classify(None, {}, "API Error: 529 Overloaded").reason == "overload"

"""Pastes: where the betas of the request stand in them, and where only a sentence speaks of a header."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.names import is_well_formed
from registry.core.pasted import betas_in, read_pasted

A, B = "mcp-client-2025-11-20", "claude-code-20250219"


@pytest.mark.parametrize(
    "text",
    [
        f"> POST /v1/messages HTTP/2\n> anthropic-beta: {A},{B}\n> x: y",
        f"* [HTTP/2] [1] [anthropic-beta: {A},{B}]",
        f"anthropic-beta: {A}\nanthropic-beta: {B}",
        f"curl -H 'anthropic-beta: {A}, {B}' https://x",
        f'"anthropic-beta": "{A},{B}"',
        f"Request options: {{'headers': {{'anthropic-beta': '{A},{B}', 'x': 1}}}}",
        f"[(b'anthropic-beta', b'{A},{B}')]",
        f"anthropic-beta: '{A},{B}'",
        f"headers: Headers {{ 'anthropic-beta': [ '{A},{B}' ] }}",
        f"rawHeaders: [ 'anthropic-beta', '{A},{B}' ]",
        f"client.beta.messages.create(model=m, betas=['{A}', '{B}'])",
        f'betas: [\n  "{A}",\n  "{B}",\n],',
        f"params.betas = [ '{A}', '{B}' ]",
        f'{{"anthropic_beta": ["{A}","{B}"]}}',
        json.dumps({"log": json.dumps({"anthropic_beta": [A, B]})}),
        f'"additionalModelRequestFields": {{"anthropic_beta": ["{A}", "{B}"]}}',
        f"anthropicBeta: ['{A}', '{B}']",
        f'.betas(List.of("{A}", "{B}"))',
        f"'anthropic-beta' => '{A},{B}'",
        f"map[Anthropic-Beta:[{A},{B}] Content-Type:[application/json]]",
        f"map[Anthropic-Beta:[{A} {B}]]",
        f'http.Header{{"Anthropic-Beta":[]string{{"{A}", "{B}"}}}}',
        f'req.Header.Set("anthropic-beta", "{A},{B}")',
        f"{{anthropic-beta=[{A}, {B}]}}",
        f"betas:\n  - {A}\n  - {B}\nmodel: x",
        f"export ANTHROPIC_BETAS={A},{B}",
        f"level=debug anthropic_beta={A},{B} status=400",
        f"2026-11-01 DEBUG request headers: anthropic-beta: {A},{B}",
        f"x-portkey-anthropic-beta: {A},{B}",
    ],
)
def test_betas_of_the_request(text: str) -> None:
    """Whoever prints it; and whether or not an answer stands beside it."""
    assert read_pasted(text).betas_sent == (A, B)
    refusal = 'Error: 400 {"type":"error","error":{"type":"invalid_request_error","message":"invalid beta flag"}}'
    assert read_pasted(f"{refusal}\n{text}").betas_sent == (A, B)


@pytest.mark.parametrize(
    "text",
    [
        f"Unexpected value(s) `{A}` for the `anthropic-beta` header. Please consult our documentation.",
        f"unsupported beta header(s): {A}, {B}",
        f"Unknown betas: {A}, {B}",
        f"Unknown betas: '{A}'",
        f"anthropic_beta: invalid value {A}",
        f"invalid anthropic-beta: {A}",
        f"Unexpected value for anthropic-beta: '{A}'",
        f"anthropic-beta header contains unsupported values: {A}",
        f'{{"message":"anthropic-beta: {A} is not supported"}}',
        '{"loc":["body","anthropic_beta"],"msg":"x"}',
        f'{{"param":"anthropic-beta","input":"x","hint":"{A}"}}',
        "the betas: what are they",
        "",
    ],
)
def test_what_an_error_says_of_a_header_is_none(text: str) -> None:
    assert betas_in(text) is None


def test_model_and_place() -> None:
    """By the request's address, by what names the model, and in the shape of a diagnose request."""
    url = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-x@20250101:rawPredict"
    found = read_pasted(f"POST {url} 400 Bad Request")
    assert (found.platform, found.region, found.model) == (
        "vertex",
        "us-east5",
        "claude-x@20250101",
    )
    found = read_pasted("Received Model Group=us.anthropic.claude-opus-4-6-v1\nFallbacks=None")
    assert found.model == "us.anthropic.claude-opus-4-6-v1"
    found = read_pasted(json.dumps({"body": "x", "platform": "bedrock", "api": "converse"}))
    assert (found.platform, found.api) == ("bedrock", "converse")


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(
            ["anthropic-beta", "betas", ":", "=", "[", "'", '"', ",", "\n", "- ", A, " ", "{", "\\"]
        )
    ).map("".join)
)
def test_any_text(text: str) -> None:
    """Nothing raises, and only names come out."""
    assert all(map(is_well_formed, betas_in(text) or ()))


@pytest.mark.parametrize(
    "unit", ["anthropic-beta: ", "betas=[", "a-", "betas: '", ",", "betas:[[", f"betas: '{A}',"]
)
def test_size_does_not_matter(unit: str) -> None:
    """A megabyte of the same ends, and gives names if anything."""
    found = betas_in(unit * (1_000_000 // len(unit)))
    assert all(map(is_well_formed, found or ()))

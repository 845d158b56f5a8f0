"""What gateways' logs say, in every shape in which they say it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import Invalid
from registry.core.lines import LINE_MAX, Lines
from registry.core.logs import How, Reading, Seen, check_columns, read, recognise
from registry.core.places import Place, place_of

A, B = "mcp-client-2025-11-20", "files-api-2025-04-14"
REFUSAL = f"Unexpected value(s) `{A}` for the `anthropic-beta` header."


def readings(data: bytes | str, format_: Any = "jsonl", **how: Any) -> list[Reading]:
    """All readings of a log."""
    raw = data.encode() if isinstance(data, str) else data
    return list(read(Lines(io.BytesIO(raw)), How(format=format_, **{"service": "s", **how})))


def place(platform: str | None = None, **parts: Any) -> Place:
    """A place, by its words."""
    return place_of(platform=platform, **parts)


def seen(record: Mapping[str, Any], format_: Any = "jsonl", **how: Any) -> Seen | None:
    """What one JSON record says."""
    [reading] = readings(json.dumps(record) + "\n", format_, **how)
    return reading.seen


def test_betas_are_found_where_gateways_put_them() -> None:
    """Headers in any case and spelling, lists, pairs, JSON in a string, flat keys, the body."""
    value = f"{A}, {B}"
    for record in (
        {"anthropic-beta": value},
        {"headers": {"Anthropic-Beta": value}},
        {"request": {"headers": {"anthropic_beta": [A, B]}}},
        {"request": {"headers": [{"name": "Anthropic-Beta", "value": value}]}},
        {"request": {"headers": [["accept", "*/*"], ["anthropic-beta", value]]}},
        {"headers": json.dumps({"x-anthropic-beta": value})},
        {"http.request.header.anthropic-beta": [A, B]},
        {"request": {"body": {"anthropic_beta": [A, B]}}},
        {"betas": json.dumps([A, B])},
    ):
        found = seen(record)
        assert found is not None, record
        assert found.betas == (A, B), record


def test_own_paths_replace_the_usual_ones() -> None:
    """Dotted, through lists; several are tried; an empty one switches a field off."""
    paths = {"beta": ["x.y.z"], "service": ["who", "app.name"], "model": [], "at": ["t"]}
    found = seen(
        {"x": [{"y": {"z": A}}, {"y": {"z": B}}], "app": {"name": "shop"}, "model": "m", "t": 1.7e12},
        paths=paths,
    )  # fmt: skip
    assert found is not None
    assert (found.betas, found.service, found.place.model) == ((A, B), "shop", None)
    assert found.at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:00:00Z", "2026-11-23T13:00:00+01:00", "2026-11-23 12:00:00.000 UTC",
        "[2026-11-23T12:00:00.000Z]", "2026-11-23T12:00:00.000000000Z", "23/Nov/2026:12:00:00 +0000",
        1795435200, 1795435200.0, "1795435200", 1795435200000, "1795435200000000",
        1795435200000000000,
    ],
)  # fmt: skip
def test_times_in_every_spelling(text: Any) -> None:
    """RFC 3339, what databases print, the common log format, and seconds to nanoseconds."""
    found = seen({"beta": A, "time": text})
    assert found is not None
    assert found.at == datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("record", "accepted", "refused"),
    [
        ({"status": 200}, True, ()),
        ({"status": "201"}, True, ()),
        ({"status": "success"}, True, ()),
        ({}, False, ()),
        ({"status": 400}, False, ()),
        ({"status": 400, "error": {"message": REFUSAL}}, False, (A,)),
        ({"status": "400", "error": REFUSAL}, False, (A,)),
        ({"status": 400, "error": {"message": "messages: at least one is required"}}, False, ()),
        ({"status": 400, "error": "invalid beta flag"}, False, ()),
        ({"status": 529, "error": "Overloaded"}, False, ()),
        ({"error": f"Error code: 400 - {{'error': {{'message': '{REFUSAL}'}}}}"}, False, (A,)),
    ],
)
def test_only_an_answer_that_says_so_is_a_refusal(
    record: dict[str, Any], accepted: bool, refused: tuple[str, ...]
) -> None:
    """A status alone refuses nothing; "invalid beta flag" names neither of two."""
    found = seen({"beta": f"{A},{B}", **record})
    assert found is not None
    assert (found.accepted, found.refused) == (accepted, refused)


def test_a_refusal_that_names_nothing_means_the_only_beta() -> None:
    """With one beta sent there is no other."""
    found = seen({"beta": A, "status": 400, "error": "invalid beta flag"})
    assert found is not None
    assert found.refused == (A,)


def test_litellm_logs() -> None:
    """The logging payload, and the spend log with its JSON in strings; tags hold the header."""
    payload = {
        "id": "1", "custom_llm_provider": "vertex_ai", "startTime": 1795435200.5, "status": "failure",
        "model": "claude-sonnet-4-5", "request_tags": ["User-Agent: x", f"anthropic-beta: {A}"],
        "metadata": {"user_api_key_alias": "search"}, "error_str": REFUSAL,
        "error_information": {"error_code": "400"},
    }  # fmt: skip
    spend = {
        "request_id": "1", "custom_llm_provider": "bedrock", "startTime": "2026-11-23 12:00:00",
        "model": "claude-sonnet-4-5", "request_tags": json.dumps([f"anthropic-beta: {A}, {B}"]),
        "metadata": json.dumps({"user_api_key_alias": "search"}), "status": "success",
    }  # fmt: skip
    for record in (payload, spend):
        assert recognise(list(Lines(io.BytesIO(json.dumps(record).encode())))) == "litellm"
    one, two = seen(payload, "litellm"), seen(spend, "litellm")
    assert one is not None
    assert two is not None
    assert (one.service, one.place.platform, one.betas, one.refused) == (
        "search",
        "vertex",
        (A,),
        (A,),
    )
    assert (two.place.platform, two.betas, two.accepted) == ("bedrock", (A, B), True)
    table = io.StringIO()
    import csv

    writer = csv.DictWriter(table, list(spend))
    writer.writeheader()
    writer.writerow(spend)
    text = table.getvalue()
    assert recognise(list(Lines(io.BytesIO(text.encode())))) == "litellm"
    [row] = readings(text, "litellm")
    assert row.seen == two


def test_litellm_names_its_fields_as_we_read_them() -> None:
    """Held against the installed package, so that a new version tells."""
    from litellm.proxy._types import SpendLogsPayload
    from litellm.types.utils import (
        StandardLoggingMetadata,
        StandardLoggingPayload,
        StandardLoggingPayloadErrorInformation,
    )

    ours = {"request_tags", "metadata", "custom_llm_provider", "model", "startTime", "status"}
    assert ours <= SpendLogsPayload.__annotations__.keys()
    assert ours | {"error_str", "model_parameters"} <= StandardLoggingPayload.__annotations__.keys()
    known = StandardLoggingMetadata.__annotations__.keys()
    assert {"requester_custom_headers", "user_api_key_alias"} <= known
    errors = StandardLoggingPayloadErrorInformation.__annotations__.keys()
    assert {"error_code", "error_message"} <= errors


@pytest.mark.parametrize(
    ("host", "platform"),
    [
        ("api.anthropic.com", "anthropic"), ("api.anthropic.com:443", "anthropic"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock"),
        ("us-east5-aiplatform.googleapis.com", "vertex"), ("aiplatform.googleapis.com", "vertex"),
        ("mine.services.ai.azure.com", "foundry"), ("gateway.internal", None),
        ("anthropic.com.evil.example", None),
    ],
)  # fmt: skip
def test_envoy_logs(host: str, platform: str | None) -> None:
    """The host says the platform; `-` is nothing."""
    record = {
        "start_time": "2026-11-23T12:00:00.000Z", "response_code": "200", "authority": host,
        "anthropic_beta": A, "x_envoy_downstream_service_cluster": "-",
    }  # fmt: skip
    assert recognise(list(Lines(io.BytesIO(json.dumps(record).encode())))) == "envoy"
    found = seen(record, "envoy")
    assert found is not None
    assert (found.place.platform, found.service, found.accepted) == (platform, "s", True)


VERTEX = "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/claude-x:rawPredict"


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({}, place()),
        ({"platform": "vertex", "model": "m"}, place("vertex", model="m")),
        ({"provider": "bedrock_converse"}, place("bedrock", api="converse")),
        ({"platform": "foundry", "hosting": "Azure", "api": "invoke"}, place("foundry", hosting="azure")),
        ({"platform": "bedrock", "api": "mantle", "region": "EU-West-1", "hosting": "azure"},
         place("bedrock", api="mantle", region="eu-west-1")),
        # What goes with no platform is left out: a gateway's own region, an operation of something else.
        ({"platform": "anthropic", "region": "eu-west-1"}, place("anthropic")),
        ({"region": "eu-west-1", "operation": "invoke", "hosting": "azure"}, place()),
        # Bedrock's own log of invocations.
        ({"operation": "InvokeModelWithResponseStream", "modelId": "m", "region": "us-west-2"},
         place("bedrock", api="invoke", region="us-west-2", model="m")),
        ({"operation": "ConverseStream", "region": "us-west-2"},
         place("bedrock", api="converse", region="us-west-2")),
        # An address, whole or as host and path.
        ({"url": "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse-stream"},
         place("bedrock", api="converse", region="eu-west-1", model="m", endpoint="messages")),
        ({"platform": "bedrock-runtime.eu-west-1.amazonaws.com:443", "path": "/model/m%3A0/invoke"},
         place("bedrock", api="invoke", region="eu-west-1", model="m:0", endpoint="messages")),
        ({"platform": "bedrock", "url": "https://gateway.internal/model/m/converse"},
         place("bedrock", api="converse", model="m", endpoint="messages")),
        ({"provider": "europe-west1-aiplatform.googleapis.com", "path": VERTEX},
         place("vertex", region="europe-west1", model="claude-x", endpoint="messages")),
        ({"url": VERTEX, "model": "mine"},
         place("vertex", region="europe-west1", model="mine", endpoint="messages")),
        ({"url": "https://api.anthropic.com/v1/files/file_01/content?beta=true"},
         place("anthropic", endpoint="files")),
        # A gateway's own path is no endpoint of the API; what contradicts the platform says nothing.
        ({"url": "https://gateway.internal/v1/chat/completions"}, place()),
        ({"platform": "vertex", "url": "https://api.anthropic.com/v1/files"}, place("vertex")),
        ({"platform": "anthropic", "endpoint": "/v1/skills/s1"}, place("anthropic", endpoint="skills")),
        ({"platform": "vertex", "region": "a\nb", "endpoint": "Some Thing"}, place("vertex")),
    ],
)  # fmt: skip
def test_a_record_tells_its_place(record: Any, found: Place) -> None:
    """Platform, API, hosting, region, model and endpoint, each as far as the record knows it."""
    told = seen({"beta": A, **record})
    assert told is not None
    assert told.place == found


def test_what_the_caller_gives_of_the_place_holds_for_all_records() -> None:
    """And what a record says of another platform does not."""
    given = place("bedrock", api="converse", region="eu-west-1")
    told = seen({"beta": A, "url": "https://api.anthropic.com/v1/files", "model": "m"}, place=given)
    assert told is not None
    assert told.place == place("bedrock", api="converse", region="eu-west-1", model="m")
    [listed] = readings(f"{A} 2\n", "list", place=given)
    assert listed.seen is not None
    assert listed.seen.place == given


def test_betas_in_the_log_of_bedrock() -> None:
    """They stand in the body, for Converse in a member of it."""
    for body in (
        {"anthropic_beta": [A]},
        {"additionalModelRequestFields": {"anthropic_beta": [A]}},
    ):
        told = seen({"operation": "InvokeModel", "input": {"inputBodyJson": body}})
        assert told is not None
        assert told.betas == (A,)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[2026-11-23T12:00:00.000Z] "POST /v1/messages HTTP/2" 200 -', "json_format"),
        ('[{"beta": "a"}]', "jq -c '.[]'"),
        ('{\n  "beta": "a"\n}', "jq -c ."),
        (f"ts,headers,code\n2026-11-23,{A},200\n", "columns ts, headers, code"),
        (f"day;sent\n2026-11-23;{A}\n", "--map beta=COLUMN"),
        (f'"when" , "what"\n2026-11-23,"{A},{B}"\n'.replace(" , ", ","), "columns when, what"),
        (f"header_value\n{A}\n", "--format list"),
        ("status,model,url\n", "--map beta=COLUMN"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(text: str, word: str) -> None:
    """Envoy's default text, a JSON array, JSON over several lines, a table of unknown columns."""
    with pytest.raises(Invalid, match=r".") as error:
        recognise(list(Lines(io.BytesIO(text.encode()))))
    assert word in error.value.detail


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ('{"beta": "a"}', "jsonl"), ("service,anthropic-beta\n", "csv"), ("Beta;Count\n", "csv"),
        (f"{A},{B}\n", "list"), (f"{A}\n", "list"), (f"  12 {A}\n", "list"), ("", "list"),
        ("\n\n{broken\n", "jsonl"), (f"# betas, by day\n{A},{B}\n", "list"),
        (f"  3 my-own,your-own\n  4 {A},{B}\n", "list"), ("my-own,your-own\nmy-own,other-own", "list"),
        (f"my-own-beta\n{A}\n", "list"), (f"{A},7\n{B},8\n", "list"),
    ],
)  # fmt: skip
def test_formats_are_recognised(text: str, format_: str) -> None:
    """By the first line that is not blank."""
    assert recognise(list(Lines(io.BytesIO(text.encode())))) == format_


@pytest.mark.parametrize("first", ["who,flags\n", f"{A},{B}\n", "", "flags\n", "x.y.flags;z\n"])
def test_what_is_mapped_has_fields(first: str) -> None:
    """So it is a table where it is no JSON, whatever its columns are called."""
    assert recognise(list(Lines(io.BytesIO(first.encode()))), ["flags"]) == "csv"
    assert recognise(list(Lines(io.BytesIO(b'{"a": 1}\n'))), ["flags"]) == "jsonl"


@pytest.mark.parametrize(
    ("paths", "word"),
    [
        ({"beta": ["x.y.flags"]}, None), ({"beta": ["flags"]}, "'flags' for beta"),
        ({"beta": ["x.y.flags"], "at": ["ts"]}, "'ts' for at; there are x.y.flags, when, z"),
        ({"beta": ["x.y.flags"], "at": ["ts", "when"]}, None), ({}, "--map beta=COLUMN"),
        ({"beta": ["z.headers.flags"], "status": []}, None),  # JSON in a cell; a field that is not wanted
    ],
)  # fmt: skip
def test_columns_that_are_looked_for_are_there(paths: Any, word: str | None) -> None:
    """A misspelt column is told with those that there are, instead of an import of nothing."""
    first = list(Lines(io.BytesIO(b"x.y.flags,when,z\n")))
    how = How(format="csv", paths=paths, service="s")
    if word is None:
        check_columns(first, how)
        return
    with pytest.raises(Invalid) as error:
        check_columns(first, how)
    assert word in error.value.detail


@given(st.lists(st.text(), max_size=4), st.booleans())
def test_any_beginning_has_a_format_or_a_sentence(texts: list[str], mapped: bool) -> None:
    """Nothing but `Invalid` comes out of a file's first lines."""
    first = list(Lines(io.BytesIO("\n".join(texts).encode("utf-8", "replace"))))
    with suppress(Invalid):
        format_ = recognise(first, ["x"] if mapped else [])
        check_columns(first, How(format=format_, paths={"beta": ["x"]} if mapped else {}))


@pytest.mark.parametrize(
    ("text", "betas", "count"),
    [
        (A, (A,), 1), (f"{A},{B}", (A, B), 1), (f"{A}, {B} 12", (A, B), 12), (f"{A},7", (A,), 7),
        (f"   3 {A}", (A,), 3), (f"anthropic-beta: {A}", (A,), 1), (f"{A}\t40", (A,), 40),
    ],
)  # fmt: skip
def test_lists(text: str, betas: tuple[str, ...], count: int) -> None:
    """A value or a name, and how often, before or behind."""
    [reading] = readings(text, "list")
    assert reading.seen is not None
    assert (reading.seen.betas, reading.seen.requests) == (betas, count)


@pytest.mark.parametrize(
    ("text", "format_", "reason"),
    [
        ("{broken", "jsonl", "no JSON"),
        ("[1]", "jsonl", "no JSON object"),
        ("[" * 100_000, "jsonl", "no JSON"),
        ('{"beta": "not a name"}', "jsonl", "a malformed beta name"),
        ('{"beta": "b\\u00e9ta-2025-01-01"}', "jsonl", "a malformed beta name"),
        ('{"beta": "a", "time": "yesterday"}', "jsonl", "a time that is none"),
        ('{"beta": "a", "time": 1e30}', "jsonl", "a time that is none"),
        ('{"beta": "a", "count": -1}', "jsonl", "a count that is none"),
        ('{"beta": "a", "count": "x"}', "jsonl", "a count that is none"),
        ('{"beta": "a", "service": "\\u0007"}', "jsonl", "no name of a service or environment"),
        (json.dumps({"beta": [f"a{n}" for n in range(101)]}), "jsonl", "more than 100 betas"),
        ("GET /index.html", "list", "neither a header value nor a name"),
        (f"2026-11-23,{A}", "list", "neither a header value nor a name"),
        ("beta\na,b,c\n", "csv", "more cells than columns"),
        ('beta\n"a"b\n', "csv", "no CSV"),
        ("x" * (LINE_MAX + 1), "jsonl", f"longer than {LINE_MAX:,} bytes"),
    ],
    ids=lambda text: text[:30],
)
def test_reasons(text: str, format_: str, reason: str) -> None:
    """Each record that cannot be read says why, in few words."""
    reading = readings(text, format_)[-1]
    assert (reading.seen, reading.reason) == (None, reason)


def test_a_record_without_a_service() -> None:
    """Neither in the record nor by the caller."""
    [reading] = readings('{"beta": "a"}', service=None)
    assert reading.reason == "no service"


def test_broken_bytes_beside_the_betas_do_no_harm() -> None:
    """A prompt in another encoding does not hide what was sent."""
    [reading] = readings(b'{"prompt": "caf\xe9", "beta": "%s"}\n' % A.encode())
    assert reading.seen is not None
    assert reading.seen.betas == (A,)


def test_csv_with_line_breaks_in_cells() -> None:
    """A record is counted once, and named by its last line."""
    text = f'service,prompt,beta\r\na,"two\r\nlines, and ""quotes""",{A}\r\nb,,"{A},{B}"\r\n'
    found = readings(text, "csv")
    assert [(item.line, item.seen and item.seen.betas) for item in found] == [
        (3, (A,)),
        (4, (A, B)),
    ]


def test_a_quote_that_is_never_closed_costs_one_line() -> None:
    """The lines after it are read all the same; they are open, for the record may yet be finished."""
    text = 'service,beta\na,x-1\nb,"x-2\nc,x-3\nd,x-4\n'
    found = readings(text, "csv")
    assert [(item.line, item.reason, item.is_open) for item in found] == [
        (2, None, False), (3, "no CSV", True), (4, None, True), (5, None, True),
    ]  # fmt: skip


def test_a_quote_that_swallows_a_megabyte_costs_one_line() -> None:
    """In time that grows with the file and not with its square."""
    rows = "".join(f"s,x-{number}\n" for number in range(200_000))
    found = readings(f'service,beta\na,"open\n{rows}', "csv")
    assert sum(item.seen is not None for item in found) == 200_000
    assert [item.line for item in found if item.reason] == [2]


records = st.one_of(
    st.builds(lambda name: json.dumps({"beta": name}), st.sampled_from([A, B, "x y"])),
    st.just("{broken"),
    st.just('{"no": "beta"}'),
    st.just(""),
    st.just("x" * 40),
)


@given(st.lists(records))
def test_every_line_is_told_with_its_number(texts: list[str]) -> None:
    """Blank lines are none; every other line gives one reading, in order, under its own number."""
    found = readings("".join(text + "\n" for text in texts))
    assert [item.line for item in found] == [n for n, text in enumerate(texts, 1) if text]
    for item in found:
        text = texts[item.line - 1]
        assert (item.seen is not None) == (f'"{A}"' in text or f'"{B}"' in text)
        assert (item.reason is not None) == ("x" in text or text == "{broken")


@given(st.lists(st.lists(st.text(alphabet='ab,"\n\r;', max_size=8), min_size=2, max_size=2)))
def test_csv_rows_come_back(rows: list[list[str]]) -> None:
    """Whatever the csv module writes is read, row by row."""
    import csv

    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["text", "beta"])
    for row in rows:
        writer.writerow([row[0].replace("\r", ""), f"n-{len(row[1])}"])
    found = readings(table.getvalue(), "csv")
    assert [item.seen and item.seen.betas for item in found] == [(f"n-{len(r[1])}",) for r in rows]

"""Names and header values: a table of what is known, and properties that hold for any text."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import Invalid
from registry.core.names import (
    is_well_formed,
    model_matches,
    normalise_model,
    parse,
    read_header,
    sort_key,
    write_header,
)

TEXT = st.text(max_size=300) | st.text("abc-_.,0123456789 ", max_size=300)
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "feature", "released"),
    [
        ("mcp-client-2025-11-20", "mcp-client", date(2025, 11, 20)),
        ("claude-code-20250219", "claude-code", date(2025, 2, 19)),
        ("text_editor_20250124", "text_editor", date(2025, 1, 24)),
        ("text_editor_2025_01_24", "text_editor", date(2025, 1, 24)),
        ("a.2025.01.24", "a", date(2025, 1, 24)),
        ("foo-2024-02-29", "foo", date(2024, 2, 29)),
        ("context-1m-2025-08-07", "context-1m", date(2025, 8, 7)),
        ("oauth-2025-04-20-2", "oauth-2025-04-20-2", None),
        ("messages-2023-12-15x", "messages-2023-12-15x", None),
        ("beta", "beta", None),
        ("2025-01-01", "2025-01-01", None),
        ("-2025-01-01", "-2025-01-01", None),
        ("x-12345678", "x-12345678", None),
        ("x-2025-01_24", "x-2025-01_24", None),
        ("x-٢٠٢٥-01-24", "x-٢٠٢٥-01-24", None),
        ("", "", None),
    ],
)
def test_names_are_taken_apart(name: str, feature: str, released: date | None) -> None:
    """Feature and release date, by parsing alone."""
    found = parse(name)
    assert (found.feature, found.release_date, found.date_problem) == (feature, released, None)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("foo-2025-02-30", "2025-02-30 is not a date: day is out of range for month"),
        ("foo-2025-13-01", "2025-13-01 is not a date: month must be in 1..12"),
        ("foo-20250230", "2025-02-30 is not a date: day is out of range for month"),
        ("foo-0000-01-01", "0000-01-01 is not a date: year 0 is out of range"),
    ],
)
def test_an_impossible_date_keeps_the_name_and_says_why(name: str, why: str) -> None:
    """The feature is known, the date is not."""
    found = parse(name)
    assert (found.name, found.feature, found.release_date) == (name, "foo", None)
    assert found.date_problem == why


@given(TEXT)
def test_any_text_can_be_parsed(text: str) -> None:
    """Nothing raises, nothing is lost, and sorting is total."""
    found = parse(text)
    assert found.name == text
    assert text.startswith(found.feature)
    assert sort_key(text)[2] == text


@pytest.mark.parametrize("unit", ["a", "-", "-2025-01-01", ",", "`", "\x00", "é", "2025-"])
def test_long_input_neither_raises_nor_is_a_name(unit: str) -> None:
    """64 KiB of anything."""
    text = (unit * 65536)[:65536]
    assert not is_well_formed(text)
    assert parse(text).release_date is None
    assert all(name in text for name in read_header(text))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("a,b", ("a", "b")),
        (" a ,\tb\r\n", ("a", "b")),
        (["a, b", "c"], ("a", "b", "c")),
        ("a,,b,", ("a", "b")),
        ("a,b,a", ("a", "b")),
        ("", ()),
        (" , ,", ()),
        ([], ()),
        ("a b", ("a b",)),
    ],
)
def test_headers_are_read(values: str | list[str], names: tuple[str, ...]) -> None:
    """Commas, repeated headers, blanks, duplicates, empty."""
    assert read_header(values) == names


@given(st.lists(NAMES, max_size=30))
def test_what_is_written_can_be_read(names: list[str]) -> None:
    """Order is kept, duplicates are gone, nothing else happens."""
    once = tuple(dict.fromkeys(names))
    assert read_header(write_header(names)) == once
    assert read_header([write_header([name]) for name in names]) == once


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a" * 129, "é", "a\n"])
def test_a_malformed_name_is_never_written(name: str) -> None:
    """A line break in a header would be an injection."""
    with pytest.raises(Invalid, match="is not a beta name"):
        write_header(["ok", name])


@pytest.mark.parametrize(
    ("model", "plain"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("global.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5-20251101"),
        ("anthropic.claude-3-haiku-20240307-v1:0:200k", "claude-3-haiku-20240307"),
        ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet-20241022"),
        ("anthropic/claude-sonnet-4", "claude-sonnet-4"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1", "claude"),
        ("CLAUDE-OPUS-4-1[1m]", "claude-opus-4-1"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
    ],
)  # fmt: skip
def test_cloud_model_ids_are_normalised(model: str, plain: str) -> None:
    """The first-party form, with the snapshot date."""
    assert normalise_model(model) == plain


@pytest.mark.parametrize(
    ("pattern", "model", "same"),
    [
        ("claude-opus-4-5", "us.anthropic.claude-opus-4-5-20251101-v1:0", True),
        ("claude-opus-4-5-20251101", "claude-opus-4-5", True),
        ("claude-opus-4-5-20251101", "claude-opus-4-5-20260101", False),
        ("claude-sonnet-4", "claude-sonnet-4-5", False),
        ("claude-3-*", "claude-3-haiku-20240307", True),
        ("claude-3-*", "claude-opus-4", False),
    ],
)
def test_models_match_by_meaning(pattern: str, model: str, same: bool) -> None:
    """An alias means each of its snapshots; two snapshots differ."""
    assert model_matches(pattern, model) is same

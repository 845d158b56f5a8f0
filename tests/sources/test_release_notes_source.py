"""The release notes: entries by day, and claims only where the words are clear."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry.core.facts import Finding
from registry.sources import SourceError, collect
from registry.sources.release_notes import ReleaseNotesSource
from tests.factories import NOW

NOTES = """---
title: Release notes
---

# API release notes

### October 15, 2026
* We launched **Widgets** in beta with the `widgets-2026-10-01` beta header.
- Nothing to do with any header.

### April 9th, 2025
- Tool gadgets no longer require the `gadgets-2024-04-04` beta header.
- We retired the gizmos beta (`gizmos-2024-01-01`).
"""


def read(tmp_path: Path, http: httpx2.Client, text: str, memo: Mapping[str, Any] = {}) -> Finding:
    """Read notes from a file."""
    file = tmp_path / "notes.md"
    file.write_text(text)
    return collect(ReleaseNotesSource(str(file)), http, memo, NOW)


def said(found: Finding, name: str) -> dict[str, Any]:
    """What is said of one beta."""
    return {claim.field: claim.value for claim in found.claims if claim.beta == name}


def test_entries_have_their_day_and_their_betas(tmp_path: Path, http: httpx2.Client) -> None:
    """Ordinals in headings and both kinds of bullets are read."""
    found = read(tmp_path, http, NOTES)
    assert [(str(entry.on), entry.betas) for entry in found.entries] == [
        ("2026-10-15", ("widgets-2026-10-01",)),
        ("2025-04-09", ("gadgets-2024-04-04",)),
        ("2025-04-09", ("gizmos-2024-01-01",)),
    ]
    assert said(found, "widgets-2026-10-01")["announced_on"] == "2026-10-15"
    assert said(found, "gadgets-2024-04-04")["ga_on"] == "2025-04-09"
    assert said(found, "gizmos-2024-01-01")["retired_on"] == "2025-04-09"


X = "x-thing-2025-01-01"


@pytest.mark.parametrize(
    ("sentence", "field", "value"),
    [
        (f"Things no longer require the `{X}` beta header.", "status", "ga"),
        (f"Things no longer requires the `{X}` header.", "status", "ga"),
        (f"Things are now generally available; the `{X}` beta header is no longer required.",
         "status", "ga"),
        (f"We've retired the things beta (`{X}`).", "status", "retired"),
        (f"We have retired the `{X}` beta header.", "status", "retired"),
        (f"We will retire the `{X}` beta header on March 3, 2027.", "sunset_on", "2027-03-03"),
        (f"The `{X}` beta will be retired on 2027-03-03.", "sunset_on", "2027-03-03"),
    ],
)  # fmt: skip
def test_clear_words_are_claims(
    tmp_path: Path, http: httpx2.Client, sentence: str, field: str, value: str
) -> None:
    """Past tense is a fact with its day; a date to come is an end."""
    found = read(tmp_path, http, f"### October 15, 2026\n- {sentence}\n")
    assert said(found, X).get(field) == value


@pytest.mark.parametrize(
    "sentence",
    [
        f"Things will no longer require the `{X}` beta header soon.",
        f"If you use `{X}`, some features may be retired.",
        f"We may retire the `{X}` beta header.",
        f"The `{X}` beta now supports more things; we retired the old model.",
        f"We retired the Claude 2 models that took the `{X}` beta header.",
        f"We plan to make `{X}` beta generally available.",
        f"Things do not yet work without the `{X}` beta header.",
    ],
)
def test_words_that_are_not_clear_stay_an_entry(
    tmp_path: Path, http: httpx2.Client, sentence: str
) -> None:
    """Future and conditional phrases decide nothing."""
    found = read(tmp_path, http, f"### October 15, 2026\n- {sentence}\n")
    assert said(found, X).get("status") not in ("ga", "retired")
    assert len(found.entries) == 1


def test_a_rewritten_entry_keeps_its_key(tmp_path: Path, http: httpx2.Client) -> None:
    """So that what was seen is not lost and nothing is told twice."""
    first = read(tmp_path, http, NOTES)
    changed = NOTES.replace("We launched **Widgets** in beta", "We have launched Widgets in beta")
    again = read(tmp_path, http, changed, first.memo)
    assert [entry.key for entry in again.entries] == [entry.key for entry in first.entries]
    assert again.entries[0].text != first.entries[0].text


def test_an_unchanged_page_is_not_read_again(tmp_path: Path, http: httpx2.Client) -> None:
    """Files are compared by digest."""
    first = read(tmp_path, http, NOTES)
    assert read(tmp_path, http, NOTES, first.memo).unchanged


@pytest.mark.parametrize(
    "text",
    ["", "# Nothing here", "<!doctype html><html></html>", "### Febuary 30, 2026\n- x beta\n"],
    ids=["empty", "no entries", "a web page", "no date"],
)
def test_another_document_is_refused(tmp_path: Path, http: httpx2.Client, text: str) -> None:
    """It changes nothing and says why."""
    with pytest.raises(SourceError):
        read(tmp_path, http, text)


@pytest.mark.parametrize(
    ("sentence", "places"),
    [
        (f"Things on Amazon Bedrock no longer require the `{X}` beta header.", {"bedrock"}),
        (f"On Vertex AI and Microsoft Foundry the `{X}` beta header is no longer required.",
         {"vertex", "foundry"}),
        (f"Things on the Claude API and Amazon Bedrock no longer require the `{X}` beta header.",
         {"every platform"}),
        (f"Things no longer require the `{X}` beta header.", {"every platform"}),
        (f"On AWS things no longer require the `{X}` beta header.", set()),
        (f"We will retire the `{X}` beta header on Amazon Bedrock on March 3, 2027.", {"bedrock"}),
    ],
)  # fmt: skip
def test_what_is_said_of_a_cloud_holds_there_only(
    tmp_path: Path, http: httpx2.Client, sentence: str, places: set[str]
) -> None:
    """A ga or an end acts where its source states it."""
    found = read(tmp_path, http, f"### October 15, 2026\n* {sentence}\n")
    assert {str(claim.place) for claim in found.claims if claim.beta == X} == places

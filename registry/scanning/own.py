"""Is a text something that this scan wrote itself? A report names betas, but nothing there sends them.

Told by how the text begins, whatever its file is called: reports are written under any name, into any
folder, and printed into files by shells. What was only laid out anew (`jq -S`) is told by its structure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from registry.scanning.formats import COLUMNS

__all__ = ["is_own", "is_own_json"]

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{32}")


def _spaced(*parts: str) -> str:
    """Return an expression for tokens with any space between them."""
    return r"\s*".join(parts)


_BEGINNINGS: Final = re.compile(
    "|".join(
        (
            # The baseline.
            _spaced(
                r"\{", '"fingerprints"', ":", r"\{", f'"{_FINGERPRINT.pattern}"', ":", r"\{", '"beta"', ":",
            ),
            # JSON.
            _spaced(
                r"\{", '"platform"', ":", '"[a-z-]+"', ",", '"as_of"', ":", '"[0-9-]{10}"', ",",
                '"catalog"', ":", r"\{", '"origin"', ":",
            ),
            # SARIF.
            _spaced(
                r"\{", '(?:"\\$schema"', ":", '"[^"]*"', ",)?", '"version"', ":", '"[0-9.]+"', ",",
                '"runs"', ":", r"\[", r"\{", '"tool"', ":", r"\{", '"driver"', ":", r"\{", '"name"',
                ":", '"beta-registry"',
            ),
            # CSV, also as spreadsheets write it again.
            "[,;\t]".join(f'"?{name}"?' for name in COLUMNS),
            # Markdown.
            r"## Betas\s+[0-9,]+ places? of [0-9,]+ betas? in [0-9,]+ files?\b",
            # GitHub's annotations.
            r"::(?:error|warning) file=[^,\n]*,line=[0-9]+,col=[0-9]+,endColumn=[0-9]+,title=[\w.-]+%3A "
            r"[a-z_]+::",
            # The table of `scan`, and that of `check`.
            r"BETA +VERDICT +(?:PLACES +)?USE INSTEAD +WHY\b",
        )
    ).encode()
)  # fmt: skip


def is_own(head: bytes) -> bool:
    """Say whether a text that begins like this (in UTF-8) is a report or a baseline of ours."""
    return _BEGINNINGS.match(head.removeprefix(b"\xef\xbb\xbf").lstrip()) is not None


def is_own_json(text: bytes) -> bool:
    """Say the same of a whole JSON text by what it holds, in whatever order."""
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(held, dict) and (_is_baseline(held) or _is_report(held) or _is_sarif(held))


def _is_baseline(held: Mapping[str, Any]) -> bool:
    entries = held.get("fingerprints")
    return isinstance(entries, dict) and all(map(_FINGERPRINT.fullmatch, entries))


def _is_report(held: Mapping[str, Any]) -> bool:
    places = held.get("findings")
    return (
        bool(places)
        and isinstance(places, list)
        and all(
            isinstance(place, dict) and {"beta", "verdict", "fingerprint"} <= place.keys()
            for place in places
        )
    )


def _is_sarif(held: Mapping[str, Any]) -> bool:
    try:
        names = [run["tool"]["driver"]["name"] for run in held["runs"]]
    except (KeyError, TypeError):
        return False
    return bool(names) and all(name == "beta-registry" for name in names)

"""Beta names: parse, order and print them; read and write the value of a beta header.

A name is what a client sends, letter for letter; it is never corrected. Its feature and release
date are found by parsing alone, so that any two programs agree on them without a registry.
Nothing in this module raises on any input, except `write_header`, which refuses to write what no
server could read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

from registry.core.errors import Invalid

__all__ = [
    "ANTHROPIC_OPERATED",
    "NAME_MAX",
    "PLATFORMS",
    "BetaName",
    "Platform",
    "is_well_formed",
    "model_matches",
    "normalise_model",
    "parse",
    "read_header",
    "sort_key",
    "write_header",
]

Platform = Literal["anthropic", "aws", "google-cloud", "bedrock", "vertex", "foundry"]
PLATFORMS: Final[tuple[Platform, ...]] = get_args(Platform)

ANTHROPIC_OPERATED: Final = frozenset({"anthropic", "aws", "google-cloud"})
"""Platforms on which Anthropic itself runs the API, so that what is declared for one holds for all."""

NAME_MAX: Final = 128
"""Longest well-formed name, in characters."""

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

# A date at the very end, after a separator: `-2025-11-20`, `_2025_11_20`, or compact and then only
# in this century (`claude-code-20250219`), because eight digits alone can be anything.
_DATE_SUFFIX = re.compile(
    r"(?P<feature>.*[^-_.].*?)[-_.]"
    r"(?:(?P<y>[0-9]{4})(?P<s>[-_.])(?P<m>[0-9]{2})(?P=s)(?P<d>[0-9]{2})"
    r"|(?P<cy>20[0-9]{2})(?P<cm>[0-9]{2})(?P<cd>[0-9]{2}))\Z",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class BetaName:
    """A header value taken apart.

    `feature` is the name without its date suffix; `release_date` the date in it. A suffix that looks
    like a date and is none leaves `release_date` empty and says why in `date_problem`.
    """

    name: str
    feature: str
    release_date: date | None
    date_problem: str | None = None


def is_well_formed(name: str) -> bool:
    """Say whether `name` can stand in a header: `[A-Za-z0-9._-]{1,128}`."""
    return _WELL_FORMED.fullmatch(name) is not None


def parse(name: str) -> BetaName:
    """Take any text apart as a beta name; never raises.

    >>> parse("mcp-client-2025-11-20").feature
    'mcp-client'
    >>> parse("text_editor_20250124").release_date
    datetime.date(2025, 1, 24)
    >>> parse("foo-2025-02-30").date_problem
    '2025-02-30 is not a date: day is out of range for month'
    """
    # The suffix is at most 11 characters long, so matching starts near the end: linear on any input.
    found = _DATE_SUFFIX.match(name) if len(name) <= NAME_MAX else None
    if found is None:
        return BetaName(name, name, None)
    year, month, day = (found[a] or found[b] for a, b in (("y", "cy"), ("m", "cm"), ("d", "cd")))
    try:
        released = date(int(year), int(month), int(day))
    except ValueError as error:
        # Newer Pythons append the range in words; the first clause is stable.
        why = str(error).split(",")[0]
        return BetaName(name, found["feature"], None, f"{year}-{month}-{day} is not a date: {why}")
    return BetaName(name, found["feature"], released)


def sort_key(name: str) -> tuple[str, date, str]:
    """Order names by feature, then by release date (undated ones first), then by spelling."""
    parsed = parse(name)
    return parsed.feature, parsed.release_date or date.min, name


def read_header(values: str | Iterable[str]) -> tuple[str, ...]:
    """Read one header value, or several of a repeated header, into names.

    Order is kept; blanks and duplicates are gone (RFC 9110, section 5.6.1: empty list members are
    ignored). Malformed members are returned as they stand, for the caller to judge.
    """
    members = [values] if isinstance(values, str) else values
    names = (part.strip(" \t\r\n") for member in members for part in member.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def write_header(names: Iterable[str]) -> str:
    """Write names as one header value, in order, without duplicates.

    Raises `Invalid` for a malformed name. The empty string means: omit the header, for upstream
    refuses an empty value.
    """
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        if not is_well_formed(name):
            raise Invalid(
                f"{name[:140]!r} is not a beta name: use 1 to {NAME_MAX} letters, digits, '.', '_' "
                "or '-'.",
                slug="malformed-name",
            )
    return ",".join(unique)


_MODEL_PREFIX = re.compile(
    r"^(?:.*/)?"  # arn:aws:bedrock:.../, projects/.../models/, anthropic/, vertex_ai/
    r"(?:[a-z]{2,6}(?:-[a-z]+)?\.)?(?:anthropic\.)?"  # us., us-gov., global., then the vendor
)
_MODEL_SUFFIX = re.compile(r"(?:-v[0-9]+)?(?::[0-9a-z]+)*$")
_SNAPSHOT = re.compile(r"-20[0-9]{6}$")


def normalise_model(model: str) -> str:
    """Bring a cloud's model id to the first-party form, keeping its snapshot date.

    >>> normalise_model("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    'claude-sonnet-4-5-20250929'
    >>> normalise_model("claude-3-5-sonnet-v2@20241022")
    'claude-3-5-sonnet-20241022'
    """
    plain = model.strip().lower()[:512].removesuffix("[1m]")  # Claude Code's mark for long context
    plain, _, snapshot = _MODEL_PREFIX.sub("", plain, count=1).partition("@")
    plain = _MODEL_SUFFIX.sub("", plain, count=1).removesuffix("-latest")
    return f"{plain}-{snapshot}" if snapshot.isdigit() else plain


def model_matches(pattern: str, model: str) -> bool:
    """Say whether `model` is meant by `pattern`: the same id, its dated snapshot, or `claude-3-*`.

    >>> model_matches("claude-sonnet-4", "claude-sonnet-4-5")
    False
    """
    wanted, asked = normalise_model(pattern), normalise_model(model)
    if wanted.endswith("*"):
        return asked.startswith(wanted[:-1])
    return wanted == asked or _alias(wanted) == asked or wanted == _alias(asked)


def _alias(model: str) -> str:
    """Return the id without its snapshot date (`claude-opus-4-5-20251101` -> `claude-opus-4-5`)."""
    return _SNAPSHOT.sub("", model)

"""Which fields a claim can speak of, and what a value of each must look like.

One table for everything that takes claims from outside: the catalog file, an import, and the
operator's word. What passes here can be stored, derived from and shown without a further look: it is
no larger than anyone needs, holds no control characters, and its links lead to the web.

What earlier versions wrote is translated here too (`placed`): they named the platform in the field, and kept
what differs there as one claim on `exceptions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from registry.core.errors import Invalid
from registry.core.facts import (
    BASES,
    CONFIDENCES,
    GATES,
    HEADER_EFFECTS,
    STATES,
    STATUSES,
    Claim,
    Json,
)
from registry.core.names import NAME_MAX, PLATFORMS, is_well_formed
from registry.core.places import ANYWHERE, place_of

__all__ = ["FIELDS", "PLACED", "check_claim", "check_value", "is_no_beta", "placed"]

MAX_TEXT: Final = 8_000
MAX_LABEL: Final = 128
MAX_MEMBERS: Final = 500

_Checker = Callable[[Json, str], None]
"""Takes (a value, what it is called) and raises `Invalid` when the value does not fit."""


def check_claim(claim: Claim) -> None:
    """Check that a claim can be used; raises `Invalid` (slug `invalid-claim`) with one sentence.

    A null is a value where the member of the API can be null. From the operator it is one
    everywhere: it withdraws his word.
    """
    _name(claim.beta, "beta")
    if claim.basis not in BASES:
        raise _wrong("basis", claim.basis, f"one of {', '.join(BASES)}")
    if claim.confidence not in CONFIDENCES:
        raise _wrong("confidence", claim.confidence, f"one of {', '.join(CONFIDENCES)}")
    _label(claim.source, "source")
    for what, value, check in (
        ("version", claim.version, _label),
        ("url", claim.url, _web),
        ("quote", claim.quote, _text),
        ("where", claim.where, _text),
    ):
        if value is not None:
            check(value, what)
    if claim.at.tzinfo is None or (claim.until is not None and claim.until.tzinfo is None):
        raise _invalid("at and until must say their time zone")
    if claim.value is not None or claim.basis != "operator":
        check_value(claim.field, claim.value)
    elif claim.field not in FIELDS:
        raise _unknown_field(claim.field)
    if claim.field == "superseded_by" and claim.value == claim.beta:
        raise _invalid("a beta cannot be superseded by itself")
    _place(claim)


def _place(claim: Claim) -> None:
    """Check where a claim holds: its words, and whether its field can hold for one place only."""
    if claim.place == ANYWHERE:
        if claim.field in _ONLY_PLACED:
            raise _invalid(f"`{claim.field}` needs a place: a platform, or what else limits it")
        return
    if claim.field not in PLACED:
        raise _invalid(f"`{claim.field}` holds everywhere; it can have no place")
    try:
        place_of(**asdict(claim.place))
    except Invalid as error:
        raise Invalid(error.detail, slug="invalid-claim") from error


def check_value(field: str, value: Json) -> None:
    """Check that `field` is one that a claim can speak of, and that `value` is one of its values.

    `value` is JSON in the shape that the API promises for that member. Raises `Invalid` (slug
    `invalid-claim`) with one sentence.
    """
    check = FIELDS.get(field) if isinstance(field, str) else None
    if check is None:
        raise _unknown_field(field)
    check(value, field)


# --- Refusals -------------------------------------------------------------------------------------


def _invalid(why: str) -> Invalid:
    return Invalid(f"{why[0].upper()}{why[1:]}.", slug="invalid-claim")


def _wrong(what: str, value: Json, wanted: str) -> Invalid:
    return _invalid(f"`{what}` is {_shown(value)}; it must be {wanted}")


def _unknown_field(field: Json) -> Invalid:
    return _wrong("field", field, "a member of a beta that can be stated, such as `status`")


def _shown(value: Json) -> str:
    """Show a value in a sentence: short, and in characters that every terminal can print."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return ascii(value if len(value) <= 60 else f"{value[:57]}...")
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return "a number"


# --- Checkers -------------------------------------------------------------------------------------

# C0 and C1 but tab and line ends: databases and terminals choke on them. Surrogates are no text.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _text(value: Json, what: str) -> None:
    if not isinstance(value, str):
        raise _wrong(what, value, "text")
    if len(value) > MAX_TEXT or _UNPRINTABLE.search(value):
        raise _wrong(what, value, f"at most {MAX_TEXT:,} characters, none of them a control one")


def _label(value: Json, what: str) -> None:
    """Check a short text that names something: a model, an endpoint, a source."""
    _text(value, what)
    if not 0 < len(value) <= MAX_LABEL or value != value.strip() or re.search(r"[\r\n]", value):
        raise _wrong(what, value, f"one line of 1 to {MAX_LABEL} characters")


def _name(value: Json, what: str) -> None:
    if not isinstance(value, str) or not is_well_formed(value):
        wanted = f"a beta name: 1 to {NAME_MAX} letters, digits, '.', '_' or '-'"
        raise _wrong(what, value, wanted)


def _web(value: Json, what: str) -> None:
    """Check a link. People will click it, so it must not be `javascript:` or a local file."""
    _text(value, what)
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", value):
        raise _wrong(what, value, "a URL that begins with https:// or http://")


def _day(value: Json, what: str) -> None:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value) and date.fromisoformat(value):
            return
    except ValueError:
        pass
    raise _wrong(what, value, "a date such as 2026-11-23")


def _flag(value: Json, what: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(what, value, "true or false")


def _word(words: Sequence[str]) -> _Checker:
    def check(value: Json, what: str) -> None:
        if not isinstance(value, str) or value not in words:
            raise _wrong(what, value, f"one of {', '.join(words)}")

    return check


def _or_null(check: _Checker) -> _Checker:
    return lambda value, what: None if value is None else check(value, what)


def _list(check: _Checker) -> _Checker:
    def check_all(value: Json, what: str) -> None:
        if not isinstance(value, list) or len(value) > MAX_MEMBERS:
            raise _wrong(what, value, f"a list of at most {MAX_MEMBERS} members")
        for place, member in enumerate(value):
            check(member, f"{what}[{place}]")

    return check_all


def _object(required: str, **members: _Checker) -> _Checker:
    """Make the checker of an object that has the member `required` and no others than these."""

    def check(value: Json, what: str) -> None:
        if not isinstance(value, dict) or not set(value) <= set(members):
            raise _wrong(what, value, f"an object of {', '.join(members)}, and nothing else")
        if required and required not in value:
            raise _invalid(f"`{what}` has no `{required}`")
        for name, member in value.items():
            members[name](member, f"{what}.{name}")

    return check


_LINKS = _list(_object("beta", beta=_name, endpoint=_or_null(_label)))
FIELDS: Final[Mapping[str, _Checker]] = {
    "status": _word(STATUSES),
    "header_effect": _word(HEADER_EFFECTS),
    "accepted": _or_null(_flag),
    "gate": _word(GATES),
    "superseded_by": _or_null(_name),
    **dict.fromkeys(
        ("announced_on", "deprecated_on", "sunset_on", "ga_on", "retired_on"), _or_null(_day)
    ),
    "summary": _text,
    "docs_url": _or_null(_web),
    "topic": _or_null(_label),
    "endpoints": _list(_label),
    "models": _list(_label),
    "requires": _LINKS,
    "conflicts_with": _LINKS,
    "body_fields": _list(_label),
    "notes": _list(_text),
    "tool_types": _list(_label),
    "essential": _list(_label),
    "body_instead": _or_null(_label),
    "current": _flag,
    "listed": _flag,
    "state": _word(STATES),
    "names": _list(_name),
}
"""All fields that a claim can speak of, each with the checker of its values."""

PLACED: Final = frozenset(
    {"state", "names", "accepted", "status", "announced_on", "deprecated_on", "sunset_on", "ga_on",
     "retired_on"}
)  # fmt: skip
"""Fields that can hold for one place only."""

_ONLY_PLACED: Final = frozenset({"state", "names"})

# --- What is no beta ------------------------------------------------------------------------------

_NO_BETA = re.compile(
    r"[a-z0-9]+(?:_[a-z0-9]+)*_20[0-9]{6}"  # a tool type, `bash_20241022`
    r"|(?:bedrock|vertex|anthropic)-[0-9]{4}-[0-9]{2}-[0-9]{2}"  # a version field
    r"|claude-(?:[0-9]|opus|sonnet|haiku|instant)[a-z0-9.-]*"  # a model
    r"|[0-9.-]+"  # a date alone
    r"|beta-feature-name|(?:some-new|my|your|example)-beta(?:-[0-9-]+)?|feature-name-.*",
    re.ASCII | re.IGNORECASE,
)


def is_no_beta(name: str) -> bool:
    """Say whether a text is something else, whatever source lists it (CONTRACT, section 2, rule 12).

    That is a tool type, a model, the version field of a cloud, or a placeholder of the docs.
    """
    return _NO_BETA.fullmatch(name) is not None


# --- What earlier versions wrote ------------------------------------------------------------------

_OF_PLATFORM = re.compile(rf"platforms\.({'|'.join(PLATFORMS)})\.(state|names|accepted)")


def placed(claims: Iterable[Claim]) -> Iterator[Claim]:
    """Translate claims of format catalog-1 into such with a place; others pass as they are.

    `platforms.<platform>.<member>` becomes the member at that platform; each member of `exceptions` becomes
    claims at its place. LiteLLM's null stood as `refused`: a hint, so that nothing is known of the state.
    Raises `Invalid` for an `exceptions` that is none.
    """
    for claim in claims:
        found = _OF_PLATFORM.fullmatch(claim.field) if isinstance(claim.field, str) else None
        if found is not None:
            hint = claim.basis == "litellm" and claim.value == "refused"
            yield replace(
                claim,
                field=found[2],
                place=place_of(platform=found[1]),
                value="unknown" if hint else claim.value,
            )
        elif claim.field == "exceptions":
            yield from _exceptions(claim)
        else:
            yield claim


def _exceptions(claim: Claim) -> Iterator[Claim]:
    parts = ("platform", "model", "endpoint")
    listed = claim.value if claim.value is not None else []
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise _wrong("exceptions", claim.value, "a list of objects")
    for item in listed:
        for part in parts:
            if item.get(part) is not None:
                _label(item[part], f"exceptions.{part}")
        place = place_of(**{part: item.get(part) for part in parts})
        source = item.get("source")
        link = isinstance(source, str) and re.match(r"https?://\S+$", source) is not None
        origin = {"url": source} if link else {"where": source or claim.where}
        for field in ("accepted", "status"):
            if item.get(field) is None:
                continue
            # A retirement everywhere else is `status` at its place, like a refusal for one model.
            yield replace(claim, field=field, value=item[field], place=place, **origin)

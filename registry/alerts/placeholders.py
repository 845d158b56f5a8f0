"""Operators' own words for alerts: text with named placeholders, `$name` or `${name}`. Pure.

A template is data and not a program: filling it in takes time and space in proportion to its length.
`PLACEHOLDERS` lists every name with what it stands for; what an alert does not have is empty.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from registry.core.errors import Invalid
from registry.core.facts import Json
from registry.core.wording import plain

__all__ = ["MAX_FILLED", "MAX_TEMPLATE", "PLACEHOLDERS", "check", "fill", "is_usable"]

MAX_TEMPLATE: Final = 10_000
"""Characters of a title or a body."""
MAX_PLACEHOLDERS: Final = 100
"""Placeholders of a title or a body."""
MAX_VALUE: Final = 4_000
"""Characters that stand for one placeholder."""
MAX_FILLED: Final = 100_000
"""Characters of what is made of a title or a body."""

_COMMANDS: Final = frozenset({"confirm"})
"""What this service makes itself, and what escaping would spoil."""

_OTHER_LANGUAGE: Final = ("{{", "{%", "{#")

_Read = Callable[[Mapping[str, Any]], object]


def _at(*path: str) -> _Read:
    def read(data: Mapping[str, Any]) -> object:
        found: Any = data
        for member in path:
            found = (found or {}).get(member)
        return found

    return read


def _each(member: str, of: str) -> _Read:
    return lambda data: ", ".join(
        dict.fromkeys(plain(item[of]) for item in data.get(member) or () if item.get(of))
    )


def _lines(*path: str, of: str | None = None) -> _Read:
    def read(data: Mapping[str, Any]) -> str:
        items: Iterable[Any] = _at(*path)(data) or ()  # type: ignore[assignment]
        return "\n".join(plain(item[of] if of else item) for item in items)

    return read


PLACEHOLDERS: Final[Mapping[str, tuple[_Read, str]]] = {
    "title": (_at("title"), "what happened, in one line"),
    "text": (_at("text"), "what happened, in a sentence or two"),
    "severity": (_at("severity"), "critical, warning or info"),
    "kind": (_at("kind"), "alert, digest, test, welcome or notice"),
    "name": (_at("name"), "the subscription's name"),
    "window": (_at("window"), "the days of a digest"),
    "type": (_at("event", "type"), "the event's type, such as beta.retired"),
    "at": (_at("event", "at"), "when it was recorded"),
    "effective_on": (_at("event", "effective_on"), "the day on which it happened"),
    "reason": (_at("event", "reason"), "why it is so"),
    "platform": (_at("event", "platform"), "where it happened"),
    "beta": (_at("event", "beta"), "the beta's name"),
    "feature": (_at("event", "feature"), "its feature"),
    "status": (_at("beta", "status"), "its status now"),
    "summary": (_at("beta", "summary"), "what it is for"),
    "sunset_on": (_at("beta", "sunset_on"), "the announced end"),
    "retired_on": (_at("beta", "retired_on"), "the day of its retirement"),
    "docs_url": (_at("action", "docs_url"), "its page in the docs"),
    "services": (_each("affected", "service"), "the affected services"),
    "teams": (_each("affected", "team"), "their teams"),
    "owners": (_each("affected", "owner"), "their owners"),
    "affected_total": (_at("affected_total"), "how many are affected"),
    "action": (_at("action", "do"), "remove, replace, wait or nothing"),
    "replace_by": (_at("action", "with"), "the beta to send instead"),
    "value_before": (_at("action", "value_before"), "the header as it was"),
    "value_after": (_at("action", "value_after"), "the header as it should be"),
    "body_fields": (_lines("action", "body_fields"), "body fields that go with it, one a line"),
    "target": (_at("proof", "target"), "the target that proved it"),
    "model": (_at("proof", "model"), "the model that it was asked with"),
    "endpoint": (_at("proof", "endpoint"), "the endpoint that was asked"),
    "refusals": (_at("proof", "refusals"), "how often in a row it was refused"),
    "since": (_at("proof", "since"), "since when"),
    "request_id": (_at("proof", "request_id"), "the last request that was refused"),
    "message": (_at("proof", "message"), "what the upstream answered"),
    "confirm": (_lines("confirm"), "the commands that confirm it, one a line"),
    "others": (_lines("others", of="title"), "the other titles of the message, one a line"),
    "more": (_at("more"), "how many more there are"),
    "link": (_at("links", "beta"), "the beta here"),
    "changelog": (_at("links", "changelog"), "the changelog here"),
}
"""Every name: how it is read from the `data` of a message, and what it stands for."""


class _Template(string.Template):
    flags = re.RegexFlag(0)  # names are in lower case, as they are listed


def check(value: Json) -> None:
    """Refuse a template that could not be filled in. Raises `Invalid`."""
    if not isinstance(value, dict) or not value or set(value) - {"title", "body"}:
        raise Invalid("template: send an object with `title`, `body` or both.")
    for member, text in value.items():
        if not isinstance(text, str) or len(text) > MAX_TEMPLATE:
            raise Invalid(f"template.{member}: send a text of at most {MAX_TEMPLATE:,} characters.")
        wrong = _wrong(text)
        if wrong:
            raise Invalid(f"template.{member}: {wrong}")


def is_usable(value: Mapping[str, str]) -> bool:
    """Say whether a stored template can be filled in: those of old versions were another language."""
    return not any(map(_wrong, value.values()))


def _wrong(text: str) -> str | None:
    """Return what is wrong with a text, if anything."""
    if any(mark in text for mark in _OTHER_LANGUAGE):
        return (
            "templates are not Jinja, so {{ title }} is written $title; the names are "
            f"{', '.join(PLACEHOLDERS)}."
        )
    template = _Template(text)
    if not template.is_valid():
        return "a `$` stands before a name, as in $title; write `$$` for the character itself."
    count = sum(
        bool(found["named"] or found["braced"]) for found in template.pattern.finditer(text)
    )
    if count > MAX_PLACEHOLDERS:
        return f"it has {count} placeholders; use at most {MAX_PLACEHOLDERS}."
    unknown = sorted(set(template.get_identifiers()) - set(PLACEHOLDERS))
    if unknown:
        return f"there is no ${unknown[0][:60]}; the names are {', '.join(PLACEHOLDERS)}."
    return None


def fill(
    text: str, data: Mapping[str, Json], written: Callable[[str], str] = lambda value: value
) -> str:
    """Fill in a usable template from the `data` of a message; `written` escapes what is no command."""
    template = _Template(text)
    values = {name: _value(PLACEHOLDERS[name][0](data)) for name in template.get_identifiers()}
    shown = {name: value if name in _COMMANDS else written(value) for name, value in values.items()}
    return template.substitute(shown)[:MAX_FILLED]


def _value(found: object) -> str:
    if found is None:
        return ""
    lines = (plain(line) for line in str(found)[: 2 * MAX_VALUE].split("\n"))
    return "\n".join(lines)[:MAX_VALUE]

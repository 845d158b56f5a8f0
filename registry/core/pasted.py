"""What somebody pasted, taken apart: the answer, and what the text tells of the request.

    read_pasted   a raw HTTP message, `curl -v` output, JSON, or lines out of a log
    betas_in      the betas that a text says were sent: headers, lists in bodies, options of programs

Betas are read wherever people find them: `> anthropic-beta: a,b` of curl, `'anthropic-beta': 'a,b'` of an
SDK's debug log, JSON, Python and JavaScript objects, `betas=[...]`, `anthropic_beta: [...]`. What an error
message says of a header is no header. Pure; nothing raises; the first MiB is read, in linear time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from registry.core.addresses import endpoint_of, is_known_host, place_of_url
from registry.core.answers import BODY_MAX, HEADER_NAME, flatten, is_error, load_json
from registry.core.names import is_well_formed, parse, read_header
from registry.core.redaction import mask_secrets

__all__ = ["Pasted", "betas_in", "read_pasted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """What somebody pasted, taken apart for `classify`; secrets are masked.

    `status` is None when none is told. `betas_sent` is None when the request is not part of it.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    betas_sent: tuple[str, ...] | None = None
    model: str | None = None
    platform: str | None = None
    api: str | None = None
    hosting: str | None = None
    region: str | None = None
    endpoint: str | None = None


def read_pasted(text: str) -> Pasted:
    """Take pasted text apart: a raw HTTP message, `curl -v` output, JSON, or text out of a log.

    JSON in the shape of a diagnose request (`{"status","headers","body","betas_sent",...}`) is read as
    such; any other JSON is a body. Of several responses the last counts. Never raises; reads 1 MiB.
    """
    text = mask_secrets(text[:BODY_MAX].replace("\r\n", "\n").removeprefix("\ufeff"))
    value = load_json(text)
    if isinstance(value, dict) and "body" in value and not is_error(value):
        return _from_shape(value)
    flat = flatten(text)
    # The marks of `curl -v` are taken off for both; what it sends and gets is told by where it stands.
    messages = list(_http_messages(text)) if value is None else []
    found = _from_http(messages) if messages else Pasted(body=text)
    return _with_request(found, flat)


def _with_request(found: Pasted, flat: str) -> Pasted:
    """Add what the text tells of the request: its betas, its model, and the address that it went to."""
    url = next((one for one in _ADDRESS.findall(flat) if is_known_host(one)), None)
    place = place_of_url(url) if url else None
    named = _MODEL.search(flat)
    model = named["model"] if named else place.model if place else None
    if not found.betas_sent:
        found = replace(found, betas_sent=betas_in(flat) or found.betas_sent)
    path = found.endpoint or (url.partition("://")[2].partition("/")[2] if url else "")
    endpoint = endpoint_of(f"/{path.lstrip('/')}") if "/v1/" in f"/{path}" else ""
    return replace(
        found,
        model=found.model or model,
        platform=place.platform if place else None,
        api=place.api if place else None,
        region=place.region if place else None,
        endpoint=found.endpoint or (endpoint if endpoint != "messages" else None) or None,
    )


_ADDRESS: Final = re.compile(r"https://[\w.-]{4,200}(?:/[^\s\"'`<>\\)\]},]{0,400})?")
_MODEL: Final = re.compile(
    r"(?:\bmodel(?:[ _-]?(?:id|group|name))?|--model)[\"']{0,2}\s{0,4}[:= ]\s{0,4}[\"'`]{0,2}"
    r"(?P<model>[\w./:@-]{0,120}claude-[\w.:@\[\]-]{1,120}\w\]?)",
    re.I,
)


# --- Betas in a text ------------------------------------------------------------------------------

_MAX: Final = 500
"""Betas that are read of a text."""

_KEY: Final = re.compile(
    r"""(?<![\w-])(?P<name>(?:[a-z]{1,20}[-_.]){0,4}anthropic[-_]?betas?|betas)"""
    r"""(?P<close>["'`]?)[ \t]{0,8}(?P<sep>=>|:=|[:=,(])""",
    re.I,
)
_LIST: Final = re.compile(
    r"\s{0,80}(?:(?:\[\][a-z]{1,10}|new\s?\[\]|list\.of|set\.of|array\.from|list|tuple|set)?\s?[\[({]{1,2})",
    re.I,
)
_QUOTED: Final = re.compile(r"""\s{0,80}[bu]?(["'`])([A-Za-z0-9._, \t-]{1,8000})\1\s{0,80}(,?)""")
_PLAIN: Final = re.compile(
    r"[ \t]{0,40}([A-Za-z0-9._-]{1,128}(?:[ \t]{0,4},[ \t]{0,4}[A-Za-z0-9._-]{1,128}){0,499})"
)
_ENDS: Final = re.compile(r"""[ \t]{0,40}(?:$|["'`\])};|\\])""", re.M)
_ITEM: Final = re.compile(
    r"""\s{0,80}-[ \t]{1,4}["']?([A-Za-z0-9._-]{1,128})["']?[ \t]{0,40}(?=\n|$)"""
)
_PROSE: Final = re.compile(
    r"\b(?:un(?:expected|supported|known|recogni[sz]ed)|invalid|illegal|not|no|refus\w*|reject\w*|drop\w*"
    r"|remov\w*|without|values?|error|message)\b",
    re.I,
)


def betas_in(text: str) -> tuple[str, ...] | None:
    """Return the betas that a text says were sent, in its order; None where it says nothing of them."""
    found: dict[str, None] = {}
    for key in islice(_KEY.finditer(text), _MAX):
        line = text.rfind("\n", max(0, key.start() - 200), key.start()) + 1
        before = text[max(line, key.start() - 200) : key.start()]
        values = _values(text, key, before)
        found |= dict.fromkeys(name for name in read_header(values) if is_well_formed(name))
    return tuple(found)[:_MAX] or None


def _values(text: str, key: re.Match[str], before: str) -> Sequence[str]:
    """Read the value that stands behind a name; nothing where both are part of a sentence."""
    sep = key["sep"]
    stands_alone = (
        bool(key["close"]) or sep != ":" or before.rstrip(" \t>*\"'`")[-1:] in ("", *"[({,;|")
    )
    if not stands_alone and _PROSE.search(before[-60:]):
        return ()
    bracket = _LIST.match(text, key.end())
    at = bracket.end() if bracket else key.end()
    if quoted := _quoted(text, at, many=bracket is not None or sep == "("):
        return quoted if bracket or sep != "," else [value for value in quoted if _dated(value)]
    if items := _items(text, at) if bracket is None and sep == ":" else ():
        return items
    plain = _PLAIN.match(text, at)
    option = re.search(r"(?:-H|--header)[ =]{0,4}[\"']?$|^>[ \t]?$", before)
    if plain is None or sep in ",(" or not (option or _dated(plain[1])):
        return ()
    if bracket is not None:  # Go prints a list without commas
        return text[at : at + 8000].partition("]")[0].split()
    ends = _ENDS.match(text, plain.end()) or (sep == "=" and text[plain.end()].isspace())
    return [plain[1]] if ends and key["name"].lower() != "betas" else ()


def _quoted(text: str, at: int, *, many: bool) -> Sequence[str]:
    found: list[str] = []
    while len(found) < _MAX and (value := _QUOTED.match(text, at)):
        found.append(value[2])
        at = value.end()
        if not (many and value[3]):
            break
    return found


def _items(text: str, at: int) -> Sequence[str]:
    """Read a YAML list that begins on the next line."""
    found: list[str] = []
    while len(found) < _MAX and (item := _ITEM.match(text, at)):
        found.append(item[1])
        at = item.end()
    return found


def _dated(value: str) -> bool:
    """Say whether a list holds names with a date, as betas have."""
    return any(parse(name).feature != name for name in read_header(value))


# --- Shapes of a paste ----------------------------------------------------------------------------

_START_LINE = re.compile(
    r"^(?:HTTP/[\d.]{1,3}\s[1-5]\d\d\b|(?:GET|POST|PUT|PATCH|DELETE)\s\S+\sHTTP/)", re.M
)
_STATUS_LINE = re.compile(r"HTTP/[\d.]{1,3}\s+([1-5]\d\d)\b")
_REQUEST_LINE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE)\s+(\S+)\s+HTTP/[\d.]{1,3}")


def _from_shape(value: Mapping[str, Any]) -> Pasted:
    def word(key: str) -> str | None:
        found = value.get(key)
        return found if isinstance(found, str) else None

    status, headers, body = value.get("status"), value.get("headers"), value.get("body")
    betas = value.get("betas_sent")
    if isinstance(betas, str | list):
        names = (
            betas if isinstance(betas, str) else [name for name in betas if isinstance(name, str)]
        )
        betas = read_header(names)
    return Pasted(
        status=status if isinstance(status, int) and not isinstance(status, bool) else None,
        headers={str(key): str(text) for key, text in headers.items()}
        if isinstance(headers, dict)
        else {},
        body=body if isinstance(body, str) else "" if body is None else json.dumps(body),
        betas_sent=betas if isinstance(betas, tuple) else None,
        model=word("model"),
        platform=word("platform"),
        api=word("api"),
        hosting=word("hosting"),
        region=word("region"),
        endpoint=word("endpoint"),
    )


def _http_messages(text: str) -> Iterator[tuple[str, list[tuple[str, str]], str]]:
    """Yield (start line, headers, body) of each message; the marks of `curl -v` are taken off."""
    if re.search(r"^[<>] (?:HTTP/|[A-Z]{3,7} /)", text, re.M):
        text = re.sub(r"^(?:[*] .*|[{}] \[.*|[<>] ?)(?:\n(?=[*{}] ))?", "", text, flags=re.M)
    starts = [line.start() for line in _START_LINE.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=False):
        head, _, body = text[start:end].lstrip("\n").partition("\n\n")
        first, *rest = head.split("\n")
        headers = [line.partition(":")[::2] for line in rest if ":" in line]
        yield first, [(key.strip().lower(), value.strip()) for key, value in headers], body.strip()


def _from_http(messages: Sequence[tuple[str, list[tuple[str, str]], str]]) -> Pasted:
    status, headers, body = None, dict[str, str](), ""
    betas, model, endpoint = None, None, None
    for start, fields, content in messages:
        if line := _STATUS_LINE.match(start):
            status, headers, body = int(line[1]), dict(fields), content
        elif request := _REQUEST_LINE.match(start):
            endpoint, given = request[1].partition("?")[0], load_json(content)
            given = given if isinstance(given, dict) else {}
            named = [text for key, text in fields if HEADER_NAME.fullmatch(key)]
            betas = read_header([*named, *(betas_in(flatten(content)) or ())])
            model = given["model"] if isinstance(given.get("model"), str) else None
    return Pasted(
        status=status, headers=headers, body=body, betas_sent=betas, model=model, endpoint=endpoint
    )

"""What lines of a gateway's log say: which service sent which betas, when, and whether they were taken.

    recognise      the first lines -> the format, or one sentence on why they are none
    check_columns  whether a table has the columns that are looked for
    read           lines -> readings: what one record says, or why it is skipped

A record is a line, or in CSV as many lines as its quoted cells span. `read` never raises: a record that
cannot be read is a reading with its reason. Memory is bounded by the longest record.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from textwrap import shorten
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast, get_args

from registry.core.addresses import endpoint_of, is_known_host, model_of, place_told
from registry.core.answers import classify
from registry.core.errors import Invalid
from registry.core.lines import LINE_MAX, Line
from registry.core.names import PLATFORMS, Platform, is_well_formed, read_header
from registry.core.places import ANYWHERE, APIS, HOSTINGS, MAX_PART, Place, endpoint_name

__all__ = [
    "COUNT_MAX",
    "FIELDS",
    "FORMATS",
    "Format",
    "How",
    "Reading",
    "Seen",
    "check_columns",
    "read",
    "recognise",
]

Format = Literal["jsonl", "csv", "list", "litellm", "envoy"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
FIELDS: Final = (
    "beta", "service", "environment", "platform", "api", "hosting", "region", "model", "endpoint",
    "url", "at", "status", "body", "count",
)  # fmt: skip
"""What can be mapped; `body` is the text of the answer, which tells a refusal from other errors; `url` is
where the request went, or the path of it."""

NAMES_MAX: Final = 100
"""Betas in one record; upstream takes far fewer."""

VALUE_MAX: Final = 8192
"""Longest line of a list, in characters: servers take no longer header."""
COUNT_MAX: Final = 500_000_000
SERVICE_MAX: Final = 128
ENVIRONMENT_MAX: Final = 64

_HEADER: Final = "anthropic-beta"
_HEADERS: Final = (_HEADER, "anthropic_beta", "x-anthropic-beta", "x_anthropic_beta")
_COMMON: Final[Mapping[str, tuple[str, ...]]] = {
    "beta": (
        _HEADER, f"headers.{_HEADER}", f"request.headers.{_HEADER}", f"request_headers.{_HEADER}",
        f"http.request.header.{_HEADER}", "request.body.anthropic_beta", "body.anthropic_beta",
        "input.inputBodyJson.anthropic_beta",
        "input.inputBodyJson.additionalModelRequestFields.anthropic_beta",
        "betas", "beta",
    ),
    "service": ("service", "service_name", "service.name", "app"),
    "environment": ("environment", "env", "deployment.environment"),
    "platform": ("platform", "provider"),
    "api": ("api", "operation"),
    "hosting": ("hosting",),
    "region": ("region", "aws_region"),
    "model": ("model", "request.model", "request.body.model", "body.model", "modelId"),
    "endpoint": ("endpoint",),
    "url": (
        "url", "request.url", "http.url", "url.full", "api_base", "path", "request.path", "url.path",
        "http.target", "uri", "request_uri",
    ),
    "at": ("at", "time", "timestamp", "@timestamp", "start_time", "ts", "date"),
    "status": ("status", "status_code", "response.status", "response_code", "http.status_code"),
    "body": ("error.message", "error", "response.body", "response_body"),
    "count": ("count",),
}  # fmt: skip
# LiteLLM's logs hold request headers where its setting `extra_spend_tag_headers` names them (then they
# are tags), where a callback writes them, or where the body was kept.
_LITELLM: Final[Mapping[str, tuple[str, ...]]] = {
    "beta": (
        "request_tags",
        f"metadata.requester_custom_headers.{_HEADER}",
        f"proxy_server_request.headers.{_HEADER}",
        f"proxy_server_request.extra_headers.{_HEADER}",
        "proxy_server_request.anthropic_beta",
        f"model_parameters.extra_headers.{_HEADER}",
        "model_parameters.anthropic_beta",
    ),
    "service": ("metadata.user_api_key_alias",),
    "environment": (),
    "platform": ("custom_llm_provider",),
    "model": ("model",),
    "url": ("api_base", "hidden_params.api_base"),
    "at": ("startTime",),
    "status": (
        "error_information.error_code", "metadata.error_information.error_code",
        "metadata.status", "status",
    ),
    "body": (
        "error_str", "error_information.error_message", "metadata.error_information.error_message",
    ),
    "count": (),
}  # fmt: skip
_ENVOY: Final[Mapping[str, tuple[str, ...]]] = {
    "beta": (_HEADER,),
    "service": (
        "x-envoy-downstream-service-cluster", "x_envoy_downstream_service_cluster", "service",
    ),
    "environment": (),
    "platform": ("authority", ":authority", "requested_server_name", "upstream_host"),
    "model": ("model",),
    "url": ("path", ":path", "x_envoy_original_path"),
    "at": ("start_time",),
    "status": ("response_code",),
    "body": ("response_body",),
    "count": (),
}  # fmt: skip
_PRESETS: Final = {"jsonl": _COMMON, "csv": _COMMON, "litellm": _LITELLM, "envoy": _ENVOY}

_ENVOY_TEXT: Final = (
    "This is Envoy's default text log, which does not hold the header. Let Envoy write JSON: in "
    'json_format add anthropic_beta: "%REQ(ANTHROPIC-BETA)%", start_time: "%START_TIME%", '
    'response_code: "%RESPONSE_CODE%", authority: "%REQ(:AUTHORITY)%" and path: "%REQ(:PATH)%".'
)
_NO_COLUMN: Final = (
    "This is a table with the columns {}, and none of them is known to hold betas; say which does with "
    "--map beta=COLUMN{}."
)
_JSON_ARRAY: Final = (
    "This is one JSON array, and not one object a line; `jq -c '.[]' FILE` makes it so, and FILE can "
    "then be - for standard input."
)
_JSON_PRETTY: Final = (
    "This is JSON over several lines; `jq -c . FILE` writes one object a line, and FILE can then be - "
    "for standard input."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to read a log: the format, the caller's own paths, and what holds where a record says nothing.

    A path is dotted (`request.headers.anthropic-beta`); of several for one field the first that is
    there counts, but betas are taken from all. No path at all: that field is not looked for.
    """

    format: Format
    paths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    service: str | None = None
    environment: str = "default"
    place: Place = ANYWHERE
    """What holds for all records, whatever they say."""

    def path(self, name: str) -> Sequence[str]:
        """Return where to look for a field."""
        preset: Mapping[str, Sequence[str]] = _PRESETS.get(self.format, {})
        return self.paths.get(name, preset.get(name, ()))


class Seen(NamedTuple):
    """What one record says: requests with these betas."""

    service: str
    environment: str
    betas: tuple[str, ...]
    place: Place = ANYWHERE
    at: datetime | None = None
    requests: int = 1
    accepted: bool = False
    """All of them were taken; if False, that is not known."""
    refused: tuple[str, ...] = ()
    """Those that the answer itself refused."""


class Reading(NamedTuple):
    """One record: the number of its last line, its bytes, what it says, and what is wrong with it.

    Without `seen` and `reason` it is well and has no beta. `reason` is one of few, to count by; `detail`
    is what is special about this one. `is_open`: its writer may not be done with it.
    """

    line: int
    raw: bytes
    seen: Seen | None = None
    reason: str | None = None
    detail: str = ""
    is_open: bool = False


class _Skip(Exception):
    """A record that cannot be read: the reason, and what is special about this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


# --- Recognising ----------------------------------------------------------------------------------


def recognise(first: Sequence[Line], mapped: Sequence[str] = ()) -> Format:
    """Tell the format by the first lines; `mapped` are the caller's own paths. Raises `Invalid`.

    What is mapped has fields, and so is a table where it is not JSON. A table whose columns are not known to
    hold betas is no list of them: then the caller has to say which does.
    """
    texts = [text for text in map(_text_of, first) if text]
    start = texts[0] if texts else ""
    if re.match(r'\[[^\]]{8,40}\] "[A-Z-]+ ', start):
        raise Invalid(_ENVOY_TEXT)
    if start.startswith("["):
        raise Invalid(_JSON_ARRAY)
    if start.startswith("{"):
        return _recognise_json(start, first)
    names = {name.lower() for name in _columns(start)}
    if {"request_id", "starttime"} <= names:
        return "litellm"
    if mapped or names & {*_HEADERS, "beta", "betas"}:
        return "csv"
    if _begins_a_table(texts):
        raise Invalid(_NO_COLUMN.format(_listed(_columns(start)), ", or --format list"))
    return "list"


def _text_of(line: Line) -> str:
    return line.raw.decode("utf-8", "replace").strip()


def _columns(start: str) -> list[str]:
    """Return the names in the header line of a table."""
    csv.field_size_limit(LINE_MAX)
    try:
        cells = next(csv.reader([start], delimiter=_delimiter(start)), [])
    except csv.Error:
        cells = re.split(_DELIMITERS, start)
    return [cell.strip() for cell in cells]


def _listed(columns: Sequence[str]) -> str:
    return shorten(", ".join(columns), 300, placeholder=" ...")


def _begins_a_table(texts: Sequence[str]) -> bool:
    """Say whether the first of some lines names columns, and is no list of betas or header line.

    It holds no date and no number, while the line after it holds a date in as many cells; or one of several
    names is that of a usual column.
    """
    start, following = texts[0] if texts else "", texts[1] if len(texts) > 1 else ""
    columns = _columns(start)
    counts = any(word.isdigit() for word in re.split(r"[\s,;]+", start))
    if start.startswith("#") or counts or _DATED.search(start):
        return False
    if len(columns) == 1 and not re.fullmatch(r"\w+", start):
        return False
    usual = {path for paths in _COMMON.values() for path in paths}
    known = len(columns) > 1 and any(name.lower() in usual for name in columns)
    return known or bool(len(_columns(following)) == len(columns) and _DATED.search(following))


def check_columns(first: Sequence[Line], how: How) -> None:
    """Raise `Invalid` if these first lines are a table without a column that is looked for."""
    start = next(filter(None, map(_text_of, first)), "")
    if not start or start.startswith("{") or how.format in ("jsonl", "list"):
        return
    columns = _columns(start)
    row = dict.fromkeys(columns)
    for name in FIELDS:
        paths = how.path(name) if name in how.paths or how.format == "csv" else ()
        if not paths or any(_possible(_steps(path), row) for path in paths):
            continue
        if name in how.paths:
            raise Invalid(
                f"There is no column {' or '.join(map(repr, paths))} for {name}; there are {_listed(columns)}."
            )
        if name == "beta":
            raise Invalid(_NO_COLUMN.format(_listed(columns), ""))


def _recognise_json(start: str, first: Sequence[Line]) -> Format:
    try:
        record = json.loads(start)
    except (ValueError, RecursionError):
        if start == "{" or (start.endswith(("{", "[", ",")) and len(first) > 1):
            raise Invalid(_JSON_PRETTY) from None
        return "jsonl"  # this one line is broken; the others will tell
    if {"startTime", "custom_llm_provider"} <= record.keys():
        return "litellm"
    return "envoy" if {"start_time", "response_code"} <= record.keys() else "jsonl"


# --- Reading --------------------------------------------------------------------------------------


def read(lines: Iterable[Line], how: How) -> Iterator[Reading]:
    """Read records. A blank line is none. What LiteLLM or Envoy logged may have become CSV on its way."""
    fields, lines = _Fields(how), iter(lines)
    if how.format == "list":
        return _read_lines(lines, _read_list, fields)
    head = list(itertools.islice(lines, 1))
    is_csv = how.format == "csv" or (head and not head[0].raw.lstrip().startswith(b"{"))
    lines = itertools.chain(head, lines)
    if is_csv and how.format != "jsonl":
        return _read_csv(lines, fields, _delimiter(_text_of(head[0]) if head else ""))
    return _read_lines(lines, _read_json, fields)


_Reader = Callable[[str, "_Fields"], Seen | None]


def _read_lines(lines: Iterable[Line], reader: _Reader, fields: _Fields) -> Iterator[Reading]:
    for line in lines:
        if line.is_long:
            yield _too_long(line)
        elif line.raw.strip():
            # Betas are ASCII: a record with other bytes broken still says which it names.
            text = line.raw.decode("utf-8", "replace")
            try:
                yield Reading(line.number, line.raw, reader(text, fields), is_open=line.is_open)
            except _Skip as skip:
                yield _skipped(line.number, line.raw, skip, is_open=line.is_open)


def _too_long(line: Line) -> Reading:
    return Reading(line.number, line.raw, None, f"longer than {LINE_MAX:,} bytes", "", line.is_open)


def _skipped(number: int, raw: bytes, skip: _Skip, *, is_open: bool) -> Reading:
    return Reading(number, raw, None, skip.reason, skip.detail, is_open)


def _read_json(text: str, fields: _Fields) -> Seen | None:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise _Skip("no JSON", str(error).partition(": line")[0]) from None
    except RecursionError:
        raise _Skip("no JSON", "nested too deeply") from None
    if not isinstance(record, dict):
        raise _Skip("no JSON object", f"but a {_KINDS.get(type(record), 'value')}")
    return _seen(fields.of(record), fields.how)


_KINDS: Final[Mapping[type, str]] = {
    list: "list", str: "string", int: "number", float: "number", bool: "boolean",
}  # fmt: skip

_LISTED: Final = re.compile(
    r"(?:(?P<before>\d+)\s+)?(?:(?:x-)?anthropic-beta:\s*)?(?P<value>\S.*?)(?:[\s,;]+(?P<after>\d+))?",
    re.I | re.ASCII,
)


def _read_list(text: str, fields: _Fields) -> Seen | None:
    """Read `a,b`, `a,b 12`, `12 a,b` (as `uniq -c` prints) or a header line; `#` begins a comment."""
    text = text.strip()
    if text.startswith("#"):
        return None
    found = _LISTED.fullmatch(text) if len(text) <= VALUE_MAX else None
    names = read_header(found["value"]) if found else ()
    if not found or not names or not all(_can_be_name(name) for name in names):
        raise _Skip("neither a header value nor a name", f"{text[:60]!r}")
    count = _count(found["before"] or found["after"])
    return _with_defaults(Seen("", "", names, fields.how.place, requests=count), fields.how)


def _can_be_name(name: str) -> bool:
    return is_well_formed(name) and re.search("[A-Za-z]", name) is not None


# --- CSV ------------------------------------------------------------------------------------------


class _Unclosed(Exception):
    """A quoted cell goes on for longer than a record may be."""


class _Source:
    """Gives the `csv` module one line after the other, keeps those of a record, and takes them back.

    A quote that is never closed would swallow the rest of the file. So a record that grows too long is
    given back, all but its first line, and those lines are then read each by itself: every line is
    read at most twice.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines, self._again = lines, deque[Line]()
        self.taken: list[Line] = []
        self.is_cut = False
        """The file ends inside a quoted cell: whatever follows may yet become part of it."""
        self._size = 0
        self._alone = False

    def begin(self) -> bool:
        """Begin a record; False when no line is left."""
        self.taken, self._size = [], 0
        if not self._again:
            following = next(self._lines, None)
            if following is None:
                return False
            self._again.append(following)
            self._alone = False
        else:
            self._alone = True
        return True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._alone and self.taken:
            raise _Unclosed
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self._size += len(line.raw) + 1
        if line.is_long or self._size > LINE_MAX:
            raise _Unclosed
        return line.raw.decode("utf-8", "replace") + "\n"

    def give_back(self) -> None:
        """Keep the record's first line only; the others will be read again."""
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


_DELIMITERS: Final = "[,;\t]"


def _delimiter(start: str) -> str:
    """Return what separates the names of the columns in a header line."""
    found = Counter(re.findall(_DELIMITERS, start))
    return found.most_common(1)[0][0] if found else ","


def _read_csv(lines: Iterator[Line], fields: _Fields, delimiter: str) -> Iterator[Reading]:
    source, header = _Source(lines), list[str]()
    while source.begin():
        skip: _Skip | None = None
        seen = None
        try:
            cells = _cells(source, delimiter)
            if header:
                seen = _seen(fields.of(_row(header, cells)), fields.how)
            else:
                header = [cell.strip() for cell in cells]
                continue
        except _Skip as error:
            skip = error
        last = source.taken[-1]
        raw = b"\n".join(line.raw for line in source.taken)
        is_open = last.is_open or source.is_cut
        if skip is not None:
            yield _skipped(last.number, raw, skip, is_open=is_open)
        elif cells:
            yield Reading(last.number, raw, seen, is_open=is_open)


def _row(header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) > len(header):
        raise _Skip("more cells than columns", f"{len(cells)} and {len(header)}")
    return dict(zip(header, cells, strict=False))


def _cells(source: _Source, delimiter: str) -> list[str]:
    """Return the cells of the next record."""
    csv.field_size_limit(LINE_MAX)
    try:
        return next(csv.reader(source, delimiter=delimiter, strict=True), [])
    except (_Unclosed, csv.Error) as error:
        at_end = "unexpected end" in str(error)
        source.is_cut = source.is_cut or at_end
        source.give_back()
        if source.taken[0].is_long:
            raise _Skip(f"longer than {LINE_MAX:,} bytes") from None
        unclosed = isinstance(error, _Unclosed) or at_end
        why = "a quote that is not closed" if unclosed else str(error)
        raise _Skip("no CSV", why) from None


# --- One record -----------------------------------------------------------------------------------

_Steps = tuple[tuple[str, Any], ...]
"""A path taken apart: keys to try at once, the longest first, each with the rest of the path."""


_Plan = Mapping[str, list[tuple[str, _Steps]]]
"""For each field the paths that can lead somewhere in a record with these keys."""


class _Fields:
    """Finds the fields of records.

    The records of a log look alike, so which paths can lead anywhere is found out once for each set of keys.
    """

    def __init__(self, how: How) -> None:
        self.how = how
        self._paths = {name: [(path, _steps(path)) for path in how.path(name)] for name in FIELDS}
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def of(self, record: Mapping[str, Any]) -> _Record:
        """Take one record in hand."""
        keys = tuple(record)
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) > 1000:
                self._plans.clear()
            plan = self._plans[keys] = {
                name: [(path, here) for path, steps in paths if (here := _possible(steps, record))]
                for name, paths in self._paths.items()
            }
        return _Record(record, plan)


class _Record(NamedTuple):
    """One record, and where to look in it."""

    record: Mapping[str, Any]
    plan: _Plan

    def betas(self) -> tuple[str, ...]:
        """Return the names in all places where betas are looked for."""
        found: list[str] = []
        for path, steps in self.plan["beta"]:
            texts = list(_texts(_look(self.record, steps)))
            if path == "request_tags":
                tags = [text.partition(":") for text in texts]
                texts = [value for name, _, value in tags if name.strip().lower() in _HEADERS]
            found += [text for text in texts if text.strip() != "-"]
        return read_header(found) if found else ()

    def word(self, name: str) -> str | None:
        """Return a field as text; what logs write for "nothing" is nothing."""
        for _, steps in self.plan[name]:
            value = _look(self.record, steps)
            if isinstance(value, list):
                value = value[0] if value else None
            if isinstance(value, dict):
                value = json.dumps(value)
            if value is not None and (text := str(value).strip()) not in _NOTHING:
                return text
        return None

    def part(self, name: str) -> str:
        """Return a part of the place as text; empty if it says nothing that can be shown."""
        text = (self.word(name) or "")[:MAX_PART]
        return text if text.isprintable() else ""


_NOTHING: Final = frozenset({"", "-", "null", "None"})


def _possible(steps: _Steps, record: Mapping[str, Any]) -> _Steps:
    names = ((_key(record, key), rest) for key, rest in steps)
    return tuple((name, rest) for name, rest in names if name is not None)


@lru_cache(maxsize=1024)
def _steps(path: str) -> _Steps:
    parts = path.split(".")
    return tuple(
        (".".join(parts[:end]), _steps(".".join(parts[end:])) if end < len(parts) else ())
        for end in range(len(parts), 0, -1)
    )


def _key(holder: Mapping[str, Any], key: str) -> str | None:
    """Return how a key is spelled here: of the header, case does not matter, nor `_` and a leading `x-`."""
    if key in holder:
        return key
    if key != _HEADER:
        return None
    return next((name for name in holder if name.lower() in _HEADERS), None)


def _look(value: Any, steps: _Steps) -> Any:
    """Follow a path through objects, lists, and JSON that stands in a string; None: not there."""
    if not steps:
        return value
    if isinstance(value, str):
        value = _json_within(value)
    if isinstance(value, dict):
        for key, rest in steps:
            name = _key(value, key)
            if name is not None and (found := _look(value[name], rest)) is not None:
                return found
    elif isinstance(value, list):
        found_all = [_look(member, steps) or _of_pair(member, steps) for member in value[:1000]]
        return [member for member in found_all if member is not None] or None
    return None


def _of_pair(member: Any, steps: _Steps) -> Any:
    """Read headers that are written as `{"name": ..., "value": ...}` or `[name, value]`."""
    if isinstance(member, dict):
        member = [member.get("name", member.get("key")), member.get("value")]
    if isinstance(member, list) and len(member) == 2 and isinstance(member[0], str):
        return member[1] if _key({member[0]: None}, steps[0][0]) else None
    return None


def _json_within(text: str) -> Any:
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> Iterator[str]:
    """Return the strings in a value: one, several in a list, or a list written as a string."""
    if isinstance(value, str):
        within = _json_within(value) if value[:1] == "[" else None
        if isinstance(within, list):
            yield from _texts(within)
        else:
            yield value
    elif isinstance(value, list):
        for member in itertools.islice(value, 1000):
            yield from _texts(member)


def _seen(record: _Record, how: How) -> Seen | None:
    names = record.betas()
    if not names:
        return None
    wrong = [name for name in names if not is_well_formed(name)]
    if wrong:
        raise _Skip("a malformed beta name", f"{wrong[0][:60]!r}")
    if len(names) > NAMES_MAX:
        raise _Skip(f"more than {NAMES_MAX} betas", f"{len(names):,}")
    seen = Seen(
        record.word("service") or "",
        record.word("environment") or "",
        names,
        _place(how.place, _Words(*map(record.part, _Words._fields))),
        _at(record.word("at")),
        _count(record.word("count")),
    )
    accepted, refused = _outcome(record, seen)
    return _with_defaults(seen._replace(accepted=accepted, refused=refused), how)


def _with_defaults(seen: Seen, how: How) -> Seen:
    service, environment = seen.service or how.service, seen.environment or how.environment
    if not service:
        raise _Skip("no service", "say whose log this is with --service NAME")
    for name, longest in ((service, SERVICE_MAX), (environment, ENVIRONMENT_MAX)):
        if len(name) > longest or not name.isprintable():
            raise _Skip("no name of a service or environment", f"{name[:60]!r}")
    return seen._replace(service=service, environment=environment)


# --- Single fields --------------------------------------------------------------------------------

_PROVIDERS: Final[Mapping[str, Place]] = {
    **{platform: Place(platform=platform) for platform in PLATFORMS},
    "bedrock_converse": Place(platform="bedrock", api="converse"),
    "bedrock_mantle": Place(platform="bedrock", api="mantle"),
    "amazon_bedrock": Place(platform="bedrock"),
    "vertex_ai": Place(platform="vertex"), "vertex_ai_beta": Place(platform="vertex"),
    "vertexai": Place(platform="vertex"),
    "azure_ai": Place(platform="foundry"), "azure": Place(platform="foundry"),
    "claude": Place(platform="anthropic"),
}  # fmt: skip
_OPERATION: Final = re.compile(r"(?:InvokeModel|Converse)\w*", re.ASCII)
"""What Bedrock calls a request: `InvokeModelWithResponseStream`, `ConverseStream`."""
_ENDPOINT: Final = re.compile(r"[a-z_./]{1,64}")
_WITHOUT_REGIONS: Final = (None, "anthropic")


class _Words(NamedTuple):
    """What a record says of its place, each word as it stands there."""

    platform: str
    url: str
    api: str
    hosting: str
    region: str
    model: str
    endpoint: str


@lru_cache(maxsize=4096)
def _place(given: Place, words: _Words) -> Place:
    """Tell the place of a record; what the caller has `given` of it holds for all records.

    A platform is a provider's name or a host; where neither is known, the address tells it, or Bedrock's
    name for the operation. What does not go with the platform is left out.
    """
    told, path = _told(words.platform, words.url)
    operation = "bedrock" if _OPERATION.fullmatch(words.api) else None
    platform = given.platform or told.platform or cast("Platform | None", operation)
    if told.platform != platform:
        told, path = Place(platform=platform), ""
    return Place(
        platform=platform,
        api=given.api or _of(APIS, words.api) or told.api if platform == "bedrock" else None,
        hosting=given.hosting or _of(HOSTINGS, words.hosting) if platform == "foundry" else None,
        region=None
        if platform in _WITHOUT_REGIONS
        else given.region or words.region.lower() or told.region,
        model=words.model or told.model,
        endpoint=_endpoint(words.endpoint, path),
    )


def _told(word: str, url: str) -> tuple[Place, str]:
    """Tell the place by a provider's name or a host, and an address or its path; returns also the path."""
    known = _PROVIDERS.get(word.lower())
    parts = [(text.partition("://")[2] or text).partition("/") for text in (url, word)]
    host = next((one for one, _, _ in parts if is_known_host(f"https://{one}")), "")
    path = next((f"/{rest}" for _, _, rest in parts if rest), "")
    told = place_told(f"https://{host}{path}")
    if known is None:
        return told, path if told.platform else ""  # a gateway's own path
    if told.platform != known.platform:
        return known, ""
    return replace(told, api=known.api or told.api), path


_Word = TypeVar("_Word", bound=str)


def _of(words: Iterable[_Word], text: str) -> _Word | None:
    """Return the word with which a text begins: `ConverseStream` is of `converse`."""
    return next((word for word in words if text.lower().startswith(word)), None)


def _endpoint(word: str, path: str) -> str | None:
    if "/v1/" in word:
        return endpoint_of(word) or None
    if _ENDPOINT.fullmatch(word):
        return endpoint_name(word)
    return (endpoint_of(path) or None) if "/v1/" in path or model_of(path) else None


def _count(word: str | None) -> int:
    if word is None:
        return 1
    try:
        count = int(float(word)) if "." in word else int(word)
    except (ValueError, OverflowError):
        count = 0
    if not 0 < count <= COUNT_MAX:
        raise _Skip("a count that is none", f"{word[:30]!r}; 1 to {COUNT_MAX:,}")
    return count


_DATED: Final = re.compile(r"20\d\d[-_.]?[01]\d[-_.]?[0-3]\d", re.ASCII)
_EPOCH: Final = re.compile(r"\d{9,20}(?:\.\d+)?", re.ASCII)
_NANOSECONDS: Final = re.compile(r"(\.\d{6})\d+")
_COMMON_LOG: Final = "%d/%b/%Y:%H:%M:%S %z"


def _at(word: str | None) -> datetime | None:
    """Read a time: RFC 3339, seconds to nanoseconds since 1970, or the common log format."""
    if word is None:
        return None
    text = word.strip("[] ")
    try:
        if _EPOCH.fullmatch(text):
            return _since_1970(float(text))
        made = datetime.strptime(text, _COMMON_LOG) if "/" in text else _iso(text)
        return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise _Skip("a time that is none", f"{word[:40]!r}") from None


def _iso(text: str) -> datetime:
    # What databases print: `2026-11-23 12:00:00.123 UTC`, and nanoseconds, which Python cannot hold.
    plain = text.removesuffix(" UTC").replace(",", ".")
    return datetime.fromisoformat(_NANOSECONDS.sub(r"\1", plain) if len(plain) > 26 else plain)


def _since_1970(number: float) -> datetime:
    while number >= 1e11:  # in seconds this is the year 5138
        number /= 1000
    return datetime.fromtimestamp(number, UTC)


_GOOD: Final = re.compile(r"2\d\d(?:\.0)?|success|ok", re.I)


def _outcome(record: _Record, seen: Seen) -> tuple[bool, tuple[str, ...]]:
    """Return whether all were taken, and which were refused. An error alone refuses nothing."""
    status = record.word("status")
    if status is not None and _GOOD.fullmatch(status):
        return True, ()
    body = record.word("body")
    if body is None or not _speaks_of(body, seen.betas):
        return False, ()
    code = int(status) if status and re.fullmatch(r"[1-5]\d\d", status) else None
    meaning = classify(
        code, {}, body, seen.betas, platform=seen.place.platform, model=seen.place.model
    )
    if meaning.verdict != "refused":
        return False, ()
    refused = tuple(name for name in seen.betas if name in meaning.refused)
    alone = len(seen.betas) == 1 and not meaning.refused
    return False, seen.betas if alone else refused


def _speaks_of(body: str, names: Sequence[str]) -> bool:
    """Spare the thousands of overloads and time-outs a reading that cannot find a refusal."""
    return "beta" in body.lower() or any(name in body for name in names)

"""Feature pages of the API docs: what their metadata says about a beta.

Hidden here: how pages are found (the docs' `llms.txt`, a directory, one file), which of them are
worth a request, and in how many shapes a page states its metadata. Newer pages carry it in their
front matter (`featureMetadata:`), older ones as a list under the heading "Compatibility"; both are
read into the same `_Feature`. A word that is not understood says nothing.

A run asks for at most `MAX_REQUESTS` pages: first those that speak of a beta, then those never
read, then the others in turn. What every page said is kept in the memo, so that a page which has
not changed costs one "not modified", and a page that cannot be read keeps its word until it can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import httpx2
import yaml

from registry.core.claims import placed
from registry.core.due import is_due
from registry.core.facts import Claim, Cost, Finding, Json, State, Status, parse_time, rfc3339
from registry.core.names import Platform, is_well_formed, normalise_model, parse
from registry.sources import Document, Progress, SourceError, fetch, public_url, shown

__all__ = ["DocsSource"]

MAX_REQUESTS: Final = 150
"""Pages asked for in one run; the rest follow in the next."""

WORKERS: Final = 4
"""Pages asked for at the same time: the docs are somebody else's server."""

GIVE_UP_AFTER: Final = 8
"""Pages failing in a row after which the server is left alone until the next run."""

MAX_PAGE: Final = 8 * 1024 * 1024
MAX_PAGES: Final = 5_000
MAX_FRONT_MATTER: Final = 64 * 1024
MAX_QUOTE: Final = 300

_FORMAT: Final = 1
"""Shape of the memo. Raise it when the meaning of a page is read differently, to read all again."""

_RECHECK: Final = {1: timedelta(days=1), 2: timedelta(days=30)}
"""How often a page without metadata is read again, by its rank (see `_rank`)."""


# --- What one page says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Header:
    """One beta name in a page's metadata, with what is said of this name alone."""

    name: str
    status: Status | None = None
    platform: Platform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Feature:
    """One feature's metadata, in our words."""

    headers: tuple[_Header, ...]
    status: Status | None
    platforms: Mapping[Platform, State]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What a page says: (beta, field, value) each; `names` is how many betas share its words."""

    says: tuple[tuple[str, str, Json], ...] = ()
    names: int = 0
    on: str | None = None
    url: str | None = None
    quote: str = ""

    def to_memo(self) -> Json:
        """Put it in the form in which it is remembered and read again by `_claims`."""
        return {
            "says": [list(statement) for statement in self.says],
            "names": self.names,
            "on": self.on,
            "url": self.url,
            "quote": self.quote,
        }


class _Unreadable(Exception):
    """The page is there, but its front matter cannot be read; the message says why."""


class _PlainLoader(yaml.BaseLoader):
    """YAML in which every scalar is text and nothing refers to anything else.

    Text, because a date that is none (`2025-02-30`) must not cost the page. No aliases, because a
    few lines of them can describe billions of nodes.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def _read_page(text: str, location: str) -> _Page:
    """Read a page's metadata; a page without any gives an empty one. Raises `_Unreadable`."""
    if re.match(r"\s*<(?:!doctype|html)\b", text, re.IGNORECASE):
        raise _Unreadable("it is HTML, not Markdown")
    front, body = _split(text.replace("\r\n", "\n"))
    matter = _parse_yaml(front)
    features = _features(matter) or _features(_compatibility(body))
    says: dict[tuple[str, str], Json] = {}
    for feature in features:
        for beta, name, value in _statements(feature):
            says.setdefault((beta, name), value)
    if not says:
        return _Page()
    betas = dict.fromkeys(beta for beta, _ in says)
    url = _page_url(location, matter)
    if url:
        says.update({(beta, "docs_url"): url for beta in betas})
    return _Page(
        says=tuple((beta, name, value) for (beta, name), value in says.items()),
        names=len(betas),
        on=_own_date(matter),
        url=url,
        quote=_quote(front, body),
    )


def _split(text: str) -> tuple[str, str]:
    """Part a page into front matter (without its fences) and body."""
    text = text.lstrip("\ufeff\n\t ")
    if not re.match(r"---[ \t]*\n", text):
        return "", text
    closing = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
    start = text.index("\n") + 1
    end = closing.search(text, start, start + MAX_FRONT_MATTER)
    if end is None:
        raise _Unreadable(f"its front matter does not end within {MAX_FRONT_MATTER:,} characters")
    return text[start : end.start()], text[end.end() :]


def _parse_yaml(front: str) -> Mapping[str, Json]:
    try:
        matter = yaml.load(front, _PlainLoader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _Unreadable("its front matter is not YAML") from error
    if matter is None or matter == "":
        return {}
    if not isinstance(matter, Mapping):
        raise _Unreadable("its front matter is not a mapping")
    return matter


def _page_url(location: str, matter: Mapping[str, Json]) -> str | None:
    """Say where people read the page: its own address, or the one that a local copy names."""
    named = matter.get("url") or matter.get("canonical")
    if _is_web(location):
        return public_url(location).removesuffix(".md")
    return public_url(named) if isinstance(named, str) and _is_web(named) else None


def _is_web(location: str) -> bool:
    return urlsplit(location).scheme in ("http", "https")


_DATE_KEYS = ("lastupdated", "lastmodified", "updatedat", "updated", "modified", "date")


def _own_date(matter: Mapping[str, Json]) -> str | None:
    """Return the page's own date as RFC 3339, if it names one that exists."""
    for place in (*_sections(matter), matter):
        for key in _DATE_KEYS:
            value = _member(place, key)
            if isinstance(value, str):
                try:
                    own = parse_time(value.strip())
                except (ValueError, OverflowError):
                    continue
                # There were no betas before 2023: an older date is a default, not a date.
                return rfc3339(own) if own.year >= 2023 else None
    return None


# --- Metadata in its many shapes ------------------------------------------------------------------

_HEADER_KEYS = ("betaheader", "betaheaders", "anthropicbeta", "header", "headers", "betas")
_STATUS_KEYS = ("status", "availability", "stage", "state", "support", "supported", "available")
_MODEL_KEYS = ("supportedmodels", "models")
_PLATFORM_KEYS = ("supportedplatforms", "platforms")
_WITHOUT_KEYS = ("unsupportedplatforms", "unavailableplatforms", "excludedplatforms")
_LABEL_KEYS = ("platform", "model", "name", "id", "value", "label", "title", "key", "slug")


def _plain(key: object) -> str:
    """Make spellings of a key equal: `betaHeader`, `beta_header` and `Beta header`."""
    return re.sub(r"[^a-z0-9]", "", str(key).lower())


def _member(place: Mapping[str, Json], *keys: str) -> Json:
    """Return the first member whose key is one of `keys`, in their order; None without one."""
    members = {_plain(key): value for key, value in place.items()}
    return next((members[key] for key in keys if key in members), None)


def _sections(matter: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """Find the metadata: under its key, one or several; else at the top, with a beta header."""
    found = _member(matter, "featuremetadata", "featuresmetadata")
    for section in found if isinstance(found, list) else [found]:
        if isinstance(section, Mapping):
            yield section
    if found is None and _member(matter, "betaheader", "betaheaders") is not None:
        yield matter


def _features(matter: Mapping[str, Json]) -> list[_Feature]:
    """Read all features of a page that name a beta. Metadata without one says nothing to us."""
    features = []
    for section in _sections(matter):
        listed = _member(section, *_PLATFORM_KEYS)
        headers = (*_headers(_member(section, *_HEADER_KEYS)), *_platform_headers(listed))
        if headers:
            platforms = _platforms(listed, _member(section, *_WITHOUT_KEYS))
            status = _status(_member(section, "status", "availability", "stage"))
            models = tuple(dict.fromkeys(_models(_member(section, *_MODEL_KEYS))))
            features.append(
                _Feature(
                    headers=_unique(headers), status=status, platforms=platforms, models=models
                )
            )
    return features


def _unique(headers: Iterable[_Header]) -> tuple[_Header, ...]:
    return tuple(dict.fromkeys(headers))


def _statements(feature: _Feature) -> Iterator[tuple[str, str, Json]]:
    """Say what a feature's metadata means for each of its betas, as (beta, field, value)."""
    own = [header for header in feature.headers if header.platform in (None, "anthropic")]
    elsewhere: dict[Platform, list[str]] = {}
    for header in feature.headers:
        if header.platform not in (None, "anthropic"):
            elsewhere.setdefault(header.platform, []).append(header.name)
    for header in feature.headers:
        status = header.status or feature.status
        if status:
            yield header.name, "status", status
        if feature.models:
            yield header.name, "models", list(feature.models)
        if header.platform in (None, "anthropic"):
            yield from _on_platforms(header, feature, elsewhere if len(own) == 1 else {})
        else:
            yield header.name, f"platforms.{header.platform}.state", "supported"


def _on_platforms(
    header: _Header, feature: _Feature, elsewhere: Mapping[Platform, list[str]]
) -> Iterator[tuple[str, str, Json]]:
    states = dict(feature.platforms)
    if header.platform:
        states.setdefault(header.platform, "supported")
    for platform, names in elsewhere.items():
        states.setdefault(platform, "supported")
        if names != [header.name]:
            yield header.name, f"platforms.{platform}.names", names
    for platform, state in states.items():
        yield header.name, f"platforms.{platform}.state", state


_STATUS_WORDS: Final[Mapping[Status, str]] = {
    "active": "beta, in beta, public beta, open beta, private beta, closed beta, limited beta, "
    "research preview, public preview, preview, early access, alpha, experimental, "
    "limited availability",
    "ga": "ga, generally available, general availability, stable",
    "deprecated": "deprecated, legacy, sunset, sunsetting",
    "retired": "retired, removed, discontinued, end of life, eol",
}
_STATUSES: Final[Mapping[str, Status]] = {
    word: status for status, words in _STATUS_WORDS.items() for word in words.split(", ")
}


def _status(value: Json) -> Status | None:
    """Read a status; None for a word that is not known, because a guess could retire a beta."""
    if not isinstance(value, str):
        return None
    words = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", " ", value.lower())
    return _STATUSES.get(re.sub(r"[\s_-]+", " ", words).strip(" .`\"'*"))


_NO_NAME = re.compile(
    r"(?:bedrock|vertex)-\d{4}-\d\d-\d\d|claude-(?!code-).*|not?[-_].*|[\d._-]+", re.ASCII
)
_PLACEHOLDERS = frozenset(
    {"beta-feature-name", "feature-name-YYYY-MM-DD", "some-new-beta-2026-01-01"}
)


def _is_beta(text: str) -> bool:
    """Say whether a word in a place for beta names is one: dated, or at least of several parts."""
    if not is_well_formed(text) or _NO_NAME.fullmatch(text) or text in _PLACEHOLDERS:
        return False
    return _is_dated(text) or re.search(r"\w[-_]\w", text) is not None


def _is_dated(text: str) -> bool:
    return parse(text).feature != text


def _headers(
    value: Json, status: Status | None = None, platform: Platform | None = None
) -> Iterator[_Header]:
    """Find beta names in text, lists, objects, and maps by platform, by name or by status."""
    if isinstance(value, str):
        text = re.sub(r"^[\"'`]*anthropic-beta:", "", value.strip(), flags=re.IGNORECASE)
        words = [word.strip("`\"'()[]") for word in re.split(r"[\s,;|]+", text)]
        # In a sentence only a dated word is surely a name; a word alone may go without a date.
        alone = len(words) == 1 or "," in text
        for word in words:
            if _is_beta(word) and (alone or _is_dated(word)):
                yield _Header(word, status, platform)
    elif isinstance(value, list):
        for member in value:
            yield from _headers(member, status, platform)
    elif isinstance(value, Mapping):
        yield from _headers_in_map(value, status, platform)


def _headers_in_map(
    value: Mapping[str, Json], status: Status | None, platform: Platform | None
) -> Iterator[_Header]:
    own = _status(_member(value, "status", "stage")) or status
    where = _platform(str(_member(value, "platform", "platforms") or "")) or platform
    for key, member in value.items():
        if _is_beta(key) and _is_dated(key):
            yield _Header(key, _status(member) or own, where)
        elif _status(key):
            yield from _headers(member, _status(key), where)
        elif found := _platform(key):
            yield from _headers(member, own, found)
        elif _plain(key) in (*_HEADER_KEYS, "name", "value", "id", "current", "latest", "default"):
            yield from _headers(member, own, where)


_REFUSED = re.compile(
    r"\b(?:not(?: yet| currently)? (?:available|supported|offered)|unavailable|unsupported)\b"
)
_SILENT = re.compile(r"\b(?:coming soon|planned|upcoming|tbd|unknown|to be|retired|removed)\b")
_LISTED = re.compile(
    r"^(?:but |and )?(?P<state>.*?(?:available|supported|offered)) (?:on|in|for|via)\b:?"
)


def _platforms(listed: Json, without: Json) -> dict[Platform, State]:
    """Read which platforms are declared to support or to refuse; one that is not named is absent.

    A platform named twice (Bedrock has two APIs) supports when either does.
    """
    said = [*_platform_words(listed, "listed"), *_platform_words(without, "unavailable")]
    vertex_named = any("vertex" in name.lower() for name, _ in said)
    states: dict[Platform, State] = {}
    for name, words in said:
        platform, state = _platform(name, vertex_named=vertex_named), _state(words)
        if platform and state and states.get(platform) != "supported":
            states[platform] = state
    return states


def _platform_words(value: Json, state: str) -> Iterator[tuple[str, str]]:  # noqa: C901 - five shapes
    """Yield (words that name a platform, words that say how it is there)."""
    if isinstance(value, str):
        for segment in re.split(r"[;\n]", value):
            there, names = state, segment.strip()
            if found := _LISTED.match(names.lower()):
                there, names = found["state"], names[found.end() :]
            for name in re.split(r",(?![^()]*\))|\band\b", names):
                yield name, f"{there} {name.lower()}"
    elif isinstance(value, list):
        for member in value:
            yield from _platform_words(member, state)
    elif isinstance(value, Mapping):
        label = _member(value, *_LABEL_KEYS)
        if isinstance(label, str):
            yield label, _how(_member(value, *_STATUS_KEYS), state)
            return
        for key, member in value.items():
            if _platform(key):
                yield key, _how(member, "listed" if isinstance(member, Mapping) else "")
            elif isinstance(member, str | list):
                yield from _platform_words(member, _words(key))


def _platform_headers(value: Json) -> Iterator[_Header]:
    """Find beta names beside a platform: `{platform, betaHeader}` or `{bedrock: {betaHeader}}`."""
    if isinstance(value, list):
        for member in value:
            yield from _platform_headers(member)
    elif isinstance(value, Mapping):
        label = _member(value, *_LABEL_KEYS)
        named = {label: value} if isinstance(label, str) else value
        for name, member in named.items():
            if isinstance(member, Mapping) and (platform := _platform(name)):
                yield from _headers(_member(member, *_HEADER_KEYS), None, platform)


def _how(value: Json, default: str) -> str:
    """Put the state of one platform into words: text as it stands, or an object's state."""
    if isinstance(value, Mapping):
        return _how(_member(value, *_STATUS_KEYS), default)
    return _words(value) if isinstance(value, str) else default


def _words(text: str) -> str:
    """Spell a code as words: `notAvailable` and `not_available` as `not available`."""
    return re.sub(r"[_-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).strip().lower()


def _state(words: str) -> State | None:
    """Read how a platform is: refused if said in so many words, nothing if it is yet to come."""
    words = _words(words)
    if words in ("no", "false", "none", "never", "n/a") or _REFUSED.search(words):
        return "refused"
    return None if words in ("", "null", "~") or _SILENT.search(words) else "supported"


_PLATFORM_WORDS: Final[tuple[tuple[str, Platform], ...]] = (
    (r"bedrock", "bedrock"),
    (r"foundry|azure", "foundry"),
    (r"(?:google|gcp).*(?:anthropic (?:managed|operated)|by anthropic)", "google-cloud"),
    (r"(?:claude platform|anthropic|claude models).*(?:google|gcp)", "google-cloud"),
    (r"vertex", "vertex"),
    (r"\baws\b", "aws"),
    (r"\b(?:google|gcp)", "vertex"),
    # "Claude API (beta)", but not "Claude Code" or "Claude Managed Agents": those are no platforms.
    (
        r"^(?:the )?(?:anthropic|claude)(?: developer| first party)?(?: api| platform)?"
        r"(?= *(?:$|[\[(:]|(?:beta|ga|only|generally|public|preview|not)\b))",
        "anthropic",
    ),
    (r"^(?:api|first party(?: api)?|1p)$", "anthropic"),
)
"""The first that is found in a label decides."""


def _platform(name: str, *, vertex_named: bool = False) -> Platform | None:
    """Tell which platform a label means, or None.

    The docs say "Google Cloud" for Vertex; only where Vertex has a label of its own beside it,
    plain "Google Cloud" is the offer that Anthropic runs there.
    """
    words = _words(name).strip(" .`\"'*")
    for pattern, platform in _PLATFORM_WORDS:
        if re.search(pattern, words):
            own_label = "vertex" in words or "google managed" in words
            if platform == "vertex" and vertex_named and not own_label:
                return "google-cloud"
            return platform
    return None


_MODEL_ID = re.compile(r"\bclaude-[a-z0-9][a-z0-9.@-]*[a-z0-9*]", re.ASCII)
_MODEL_NAME = re.compile(
    r"claude (?:[a-z]+ \d+(?:\.\d+)?|\d+(?:\.\d+)? [a-z]+|[a-z]+(?= preview))(?: preview)?"
    r"|(?:opus|sonnet|haiku|fable|mythos) \d+(?:\.\d+)?",
    re.ASCII,
)


def _models(value: Json) -> Iterator[str]:
    """Find model ids, as they stand or as display names: "Claude Opus 4.5" is claude-opus-4-5."""
    if isinstance(value, str):
        for part in re.split(r",(?![^()]*\))|[;\n]", value.lower()):
            yield from _model(part)
    elif isinstance(value, list):
        for member in value:
            yield from _models(member)
    elif isinstance(value, Mapping):
        label = _member(value, "id", "model", "name", "value", "label")
        members = {label: value} if isinstance(label, str) else value
        for name, member in members.items():
            if _state(_how(member, "listed")) != "refused":
                yield from _models(name)


def _model(text: str) -> Iterator[str]:
    if _REFUSED.search(text):
        return
    if ids := _MODEL_ID.findall(text):
        yield from (normalise_model(name).replace(".", "-") for name in ids)
        return
    name = " ".join(re.sub(r"\([^()]*\)|\[[^\[\]]*\]|[`*\"']", " ", text).split())
    # "All models" and "Opus 4.5 and later" are no ids; they say nothing.
    if _MODEL_NAME.fullmatch(name):
        yield "claude-" + re.sub(r"[ .]", "-", name.removeprefix("claude "))


_COMPATIBILITY = re.compile(
    r"^#{2,4}[ \t]+Compatibility[ \t]*\n"
    r"(?P<list>(?:[ \t]*\n|[ \t]*[-*][ \t].*(?:\n|\Z)|[ \t]*\d+\..*(?:\n|\Z))*)",
    re.MULTILINE,
)


def _compatibility(body: str) -> dict[str, Json]:
    """Read the list under the heading "Compatibility" as if it were front matter.

    Its lines are `- Status: Beta`, `- [Beta header](...): ...`, `- Platforms: A, B (beta) [1]; not
    available on C`, `- Supported models: ...`.
    """
    section: dict[str, Json] = {}
    for line in _compatibility_lines(body):
        plain = re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", line).replace("**", "")
        key, colon, value = re.sub(r"\[\d+\]", "", plain).lstrip("-* \t").partition(":")
        if colon:
            section.setdefault(_plain(key), value.strip())
    return {"featuremetadata": section}


def _compatibility_lines(body: str) -> list[str]:
    found = _COMPATIBILITY.search(body)
    lines = found["list"].splitlines() if found else []
    return [line[:4_000] for line in lines if line.lstrip().startswith(("-", "*"))][:30]


_METADATA_LINES = re.compile(
    r"^[ \t\"']*features?[_-]?metadata\b.*\n(?:(?:[ \t}\]-].*)?\n)*", re.MULTILINE | re.IGNORECASE
)
_HEADER_LINE = re.compile(r"^.*beta[_-]?headers?\b.*", re.MULTILINE | re.IGNORECASE)


def _quote(front: str, body: str) -> str:
    """Return the lines that hold the metadata, shortened."""
    found = _METADATA_LINES.search(front) or _HEADER_LINE.search(front)
    lines = (found[0] if found else "\n".join(_compatibility_lines(body))).strip()
    return lines if len(lines) <= MAX_QUOTE else lines[: MAX_QUOTE - 1] + "…"


# --- Finding and reading the pages ----------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """What one run has read so far. `known` is the memo's record of every page, by its key."""

    known: dict[str, dict[str, Json]]
    read: int = 0
    broken: int = 0
    failed: int = 0
    in_a_row: int = 0
    first_failure: str = ""
    cost: Cost = field(default_factory=Cost)

    def keep(self, key: str, why: str, now: datetime) -> None:
        """Note a page that could not be read; what it said before stays."""
        self.first_failure = self.first_failure or why
        self.known[key] = {**self.known.get(key, {}), "read": rfc3339(now), "failed": True}


class DocsSource:
    """Reads feature pages; see the module's docstring for what it finds and what it costs."""

    name = "docs"

    def __init__(self, location: str = "https://platform.claude.com/llms.txt") -> None:
        """Read the docs' `llms.txt` (a URL or a file), a directory of .md files, or one .md file.

        A link in a local `llms.txt` is read from the files beside it if there, as in a mirror.
        """
        self.location = location

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Read what is due. Raises `SourceError` when nothing could be read at all."""
        old = memo if _usable(memo, self.location) else {}
        index, places, cost = self._places(http, old)
        pages = old.get("pages") or {}
        run = _Run({key: pages.get(key) or {} for key in places}, cost=cost)
        due = _due(run.known, places, now)
        self._read(http, run, {key: places[key] for key in due}, now, progress)
        if due and not run.read and (run.in_a_row >= GIVE_UP_AFTER or not _speaking(run.known)):
            raise SourceError(f"None of {len(due)} docs pages could be read. {run.first_failure}")
        kept = {"format": _FORMAT, "location": self.location, "index": index, "pages": run.known}
        claims = _claims(run.known, now)
        return Finding(
            source=self.name,
            claims=claims,
            unchanged=bool(old) and _meaning(old) == _meaning(kept),
            memo=kept,
            cost=run.cost,
            detail=_detail(run, claims),
        )

    def _places(
        self, http: httpx2.Client, old: Mapping[str, Json]
    ) -> tuple[Json, dict[str, str], Cost]:
        """Find the pages: what to remember of the index, and {key: URL or file} of each page."""
        path = _local(self.location)
        if path and path.is_dir():
            files = (file for file in path.rglob("*.md") if file.is_file())
            places = {file.relative_to(path).as_posix(): str(file) for file in files}
            if not places:
                raise SourceError(
                    f"{shown(self.location)} holds no .md files; name the docs' directory."
                )
            return {}, dict(sorted(places.items())[:MAX_PAGES]), Cost()
        if self.location.endswith((".md", ".mdx")):
            return {}, {self.location: self.location}, Cost()
        document = fetch(http, self.location, old.get("index"))
        links = (
            list(old.get("pages") or {})
            if document.body is None
            else _links(document.text, self.location)
        )
        if not links:
            raise SourceError(
                f"{shown(self.location)} links to no pages; give the docs' llms.txt, a directory of .md "
                "files, or one .md file."
            )
        places = {link: place for link in links if (place := _beside(path, link))}
        return document.memo, places, document.cost

    def _read(
        self,
        http: httpx2.Client,
        run: _Run,
        due: Mapping[str, str],
        now: datetime,
        progress: Progress,
    ) -> None:
        """Read the pages that are due, a few at a time, until too many in a row fail."""
        keys = list(due)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="docs") as pool:
            for start in range(0, len(keys), WORKERS):
                wave = keys[start : start + WORKERS]
                tasks = [(http, due[key], run.known[key].get("fetched") or {}) for key in wave]
                for key, answer in zip(wave, pool.map(_fetch_page, tasks), strict=True):
                    _note(run, key, answer, now)
                progress(min(start + WORKERS, len(keys)), len(keys))
                if run.in_a_row >= GIVE_UP_AFTER:
                    return


def _usable(memo: Mapping[str, Json], location: str) -> bool:
    return memo.get("format") == _FORMAT and memo.get("location") == location


def _meaning(memo: Mapping[str, Json]) -> Json:
    """Return what of a memo matters for `unchanged`: what is known, not when it was looked at."""
    pages = memo["pages"]
    return {key: (bool(page.get("read")), page.get("page")) for key, page in pages.items()}


def _local(location: str) -> Path | None:
    """Return the path of a location that is a file; None for a URL."""
    if _is_web(location):
        return None
    if urlsplit(location).scheme == "file":
        return Path(url2pathname(urlsplit(location).path))
    return Path(location)


def _links(text: str, location: str) -> list[str]:
    """Find the links of an index to Markdown pages, absolute if the index is a URL.

    An index on the web leads only to pages of its own host: it decides what this server asks for.
    """
    found: dict[str, None] = {}
    for target in re.findall(r"\]\(\s*<?([^()\s<>]{1,2000})", text):
        link = target.partition("#")[0].partition("?")[0]
        try:
            if _is_web(location):
                link = urljoin(location, link)
            parts, home = urlsplit(link), urlsplit(location)
        except ValueError:
            continue
        if _is_web(location) and (parts.scheme, parts.netloc) != (home.scheme, home.netloc):
            continue
        last = parts.path.rpartition("/")[2]
        if parts.scheme not in ("", "http", "https") or not last.strip("."):
            continue
        if "." not in last:
            link += ".md"
        if link.endswith(".md") and link != location:
            found.setdefault(link)
    return list(found)[:MAX_PAGES]


def _beside(index: Path | None, link: str) -> str | None:
    """Return the file beside a local index that a link means, if it is there; else a URL, or None.

    Nothing outside of the index's directory is read.
    """
    if index is None:
        return link
    root = index.resolve().parent
    file = (root / unquote(urlsplit(link).path).replace("\0", "").lstrip("/")).resolve()
    if file.is_relative_to(root) and file.is_file():
        return str(file)
    return link if _is_web(link) else None


def _rank(key: str, page: Mapping[str, Json]) -> int:
    """Rank a page: 0 speaks of a beta, 1 is a guide, 2 is API reference (large, says nothing)."""
    if page.get("page"):
        return 0
    return 2 if "api" in key.split("/")[:-1] else 1


def _due(
    known: Mapping[str, Mapping[str, Json]], places: Mapping[str, str], now: datetime
) -> list[str]:
    """Choose the pages to read in this run, the most telling first, and all that are files."""
    ranked = []
    for order, (key, page) in enumerate(known.items()):
        rank, seen = _rank(key, page), page.get("read")
        if not _is_web(places[key]) or not seen or rank == 0:
            ranked.append((bool(page.get("failed")), rank, seen or "", order, key))
        elif is_due(now, parse_time(seen), _RECHECK[rank]):
            ranked.append((bool(page.get("failed")), 3 + rank, seen, order, key))
    requests, chosen = 0, []
    for *_, key in sorted(ranked):
        requests += _is_web(places[key])
        if requests <= MAX_REQUESTS or not _is_web(places[key]):
            chosen.append(key)
    return chosen


_Answer = Document | SourceError


def _fetch_page(task: tuple[httpx2.Client, str, Mapping[str, Json]]) -> _Answer:
    http, place, fetched = task
    try:
        return fetch(http, place, fetched, max_bytes=MAX_PAGE)
    except SourceError as error:
        return error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        return SourceError(f"Cannot read {shown(place)}: {error or type(error).__name__}.")


def _note(run: _Run, key: str, answer: _Answer, now: datetime) -> None:
    """Take in one page: unchanged, new words, unreadable, or not there."""
    if isinstance(answer, SourceError):
        run.failed += 1
        run.in_a_row += 1
        run.cost = _plus(run.cost, Cost(requests=int(_is_web(key))))
        run.keep(key, str(answer), now)
        return
    run.in_a_row = 0
    run.cost = _plus(run.cost, answer.cost)
    old = run.known[key]
    record: dict[str, Json] = {"read": rfc3339(now), "fetched": dict(answer.memo)}
    try:
        if answer.body is None:
            said = old.get("page")
            since = old.get("since")
        else:
            page = _read_page(answer.text, answer.location)
            said = page.to_memo() if page.says else None
            since = old.get("since") if said == old.get("page") else None
    except (_Unreadable, SourceError, ValueError, RecursionError) as error:
        run.broken += 1
        run.keep(key, f"{shown(answer.location)} is not understood: {str(error).rstrip('.')}.", now)
        return
    run.read += 1
    if said:
        record |= {"page": said, "since": since or rfc3339(_day(now))}
    run.known[key] = record


def _plus(one: Cost, other: Cost) -> Cost:
    return Cost(requests=one.requests + other.requests, bytes=one.bytes + other.bytes)


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _speaking(known: Mapping[str, Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    return [page for page in known.values() if page.get("page")]


def _claims(known: Mapping[str, Mapping[str, Json]], now: datetime) -> tuple[Claim, ...]:
    """Turn what all pages say into claims, one for each field of a beta.

    Where pages differ, the one that speaks of the fewest betas wins: a page that names three
    headers describes its own feature, not each header's.
    """
    chosen: dict[tuple[str, str], Claim] = {}
    pages: Sequence[Mapping[str, Json]] = sorted(
        _speaking(known), key=lambda page: (page["page"]["names"], page["page"]["url"] or "")
    )
    for record in pages:
        page = record["page"]
        # A page that dates itself into the future is dated by the day when it was first seen.
        own = parse_time(page["on"]) if page["on"] else None
        at = own if own and own <= now else parse_time(record["since"])
        for beta, name, value in page["says"]:
            claim = Claim(
                beta=beta,
                field=name,
                value=value,
                source=DocsSource.name,
                basis="declared",
                at=at,
                url=page["url"],
                quote=page["quote"] or None,
            )
            chosen.setdefault((beta, name), claim)
    return tuple(placed(chosen.values()))


def _detail(run: _Run, claims: tuple[Claim, ...]) -> str:
    names = len({claim.beta for claim in claims})
    unread = sum(not page.get("read") for page in run.known.values())
    pages = f"{len(_speaking(run.known))} of {len(run.known)} pages"
    parts = [f"{names} betas on {pages}; {run.read} read"]
    if run.broken:
        parts.append(f"{run.broken} not understood")
    if run.failed:
        parts.append(f"{run.failed} failed ({run.first_failure.rstrip('.')})")
    if run.in_a_row >= GIVE_UP_AFTER:
        parts.append("stopped early, the rest follows in the next run")
    if unread:
        parts.append(f"{unread} not read yet")
    return ", ".join(parts) + "."

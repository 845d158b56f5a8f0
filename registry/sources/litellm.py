"""LiteLLM's beta config: which beta LiteLLM sends to which provider, and under which name.

Hidden here: where the file comes from (a URL, a file, or the newest stable `litellm` wheel on the
package index, of which only the file's own bytes are read), and how its provider columns map to our
platforms. The file is a gateway's opinion, so every claim has low confidence: a string says that
LiteLLM sends the beta there, null that it holds it back, and a name that is missing says nothing.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx2

from registry.core.facts import Claim, Cost, Finding, Json, parse_time
from registry.core.names import Platform, is_well_formed, read_header
from registry.sources import Progress, SourceError, fetch, public_url

__all__ = ["LiteLLMSource"]

_FORMAT: Final = 1
"""Shape of the memo. Raise it when the file is read differently, to read it again."""

MAX_CONFIG: Final = 4 * 1024 * 1024
MAX_DIRECTORY: Final = 8 * 1024 * 1024
_TAIL: Final = 512 * 1024
"""Bytes read from the end of a wheel: its directory of some 4,000 files takes 380 kB."""

_HEADER: Final = 16 * 1024
"""Bytes read at least from where a file begins: its header, and the whole of a small file."""

_CONFIG: Final = "anthropic_beta_headers_config.json"
_PROJECT: Final = "litellm"

_COLUMNS: Final[Mapping[Platform, tuple[str, ...]]] = {
    "anthropic": ("anthropic",),
    "foundry": ("azure_ai",),
    # Bedrock's two APIs. The Converse API (`bedrock_converse`) is no platform of ours.
    "bedrock": ("bedrock", "bedrock_mantle"),
    "vertex": ("vertex_ai",),
}
_OTHER_COLUMNS: Final = ("bedrock_converse", "databricks")
_HEADER_ONLY: Final = "_header_only"


class LiteLLMSource:
    """Reads LiteLLM's beta config; see the module's docstring for what it means."""

    name = "litellm"

    def __init__(self, location: str | None = None, index_url: str | None = None) -> None:
        """Read from `location` (a URL or a file), else from the package index at `index_url`.

        `index_url` is the root of the index's simple API (PEP 503), as pip knows it.
        """
        self.location = location
        self.index_url = index_url

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Read the config unless it is known. Raises `SourceError`."""
        old = memo if memo.get("format") == _FORMAT else {}
        if self.location is not None:
            return self._from_location(http, self.location, old, now)
        return self._from_index(http, old, now)

    def _from_location(
        self, http: httpx2.Client, location: str, old: Mapping[str, Json], now: datetime
    ) -> Finding:
        document = fetch(http, location, old.get("document"), max_bytes=MAX_CONFIG)
        memo = {"format": _FORMAT, "document": document.memo}
        if document.body is None:
            return _unchanged(self.name, memo, document.cost, f"{location} has not changed.")
        web = urlsplit(location).scheme in ("http", "https")
        place = public_url(location) if web else location
        origin = _Origin(place=place, at=now, url=place if web else None)
        return _finding(self.name, document.text, origin, memo, document.cost)

    def _from_index(self, http: httpx2.Client, old: Mapping[str, Json], now: datetime) -> Finding:
        if not self.index_url:
            raise SourceError(
                "No package index is known to read LiteLLM's wheel from; set pip's index URL or "
                "give the location of its beta config."
            )
        url = f"{self.index_url.rstrip('/')}/{_PROJECT}/"
        page = fetch(http, url, old.get("page"), accept="application/vnd.pypi.simple.v1+json")
        memo = {"format": _FORMAT, "page": page.memo, "version": old.get("version")}
        if page.body is None:
            return _unchanged(self.name, memo, page.cost, "The package index has not changed.")
        wheel = _newest_wheel(page.text, url)
        if wheel.version == old.get("version"):
            detail = f"LiteLLM {wheel.version} is still the newest release."
            return _unchanged(self.name, memo, page.cost, detail)
        text, read = _read_config(http, wheel)
        cost = Cost(
            requests=page.cost.requests + read.requests,
            bytes=page.cost.bytes + read.bytes,
            bytes_whole=page.cost.bytes + wheel.size,
        )
        origin = _Origin(
            place=f"LiteLLM {wheel.version}",
            at=wheel.uploaded or now,
            url=public_url(wheel.url),
            version=wheel.version,
        )
        return _finding(self.name, text, origin, {**memo, "version": wheel.version}, cost)


def _unchanged(source: str, memo: Mapping[str, Json], cost: Cost, detail: str) -> Finding:
    return Finding(source=source, unchanged=True, memo=memo, cost=cost, detail=detail)


# --- What the config says -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where a config comes from: `place` for messages, the rest for its claims."""

    place: str
    at: datetime
    url: str | None = None
    version: str | None = None


@dataclass(slots=True)
class _Skipped:
    """How many members of the config could not be used."""

    values: int = 0
    names: int = 0


def _finding(
    source: str, text: str, origin: _Origin, memo: Mapping[str, Json], cost: Cost
) -> Finding:
    config = _parse(text, origin.place)
    skipped = _Skipped()
    claims = tuple(_claims(source, config, origin, skipped))
    names = len({claim.beta for claim in claims})
    parts = [f"{names} betas in {origin.place}"]
    if skipped.values:
        parts.append(f"{skipped.values} values of a wrong type skipped")
    if skipped.names:
        parts.append(f"{skipped.names} malformed names skipped")
    detail = ", ".join(parts) + "."
    return Finding(source=source, claims=claims, complete=True, memo=memo, cost=cost, detail=detail)


def _parse(text: str, place: str) -> Mapping[str, Any]:
    """Read the config and check its shape: one object whose provider columns are objects."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is not JSON; expected LiteLLM's beta config.") from error
    if not isinstance(config, dict):
        raise SourceError(f"{place} is not one JSON object; expected LiteLLM's beta config.")
    wrong = [name for name in _provider_columns(config) if not isinstance(config[name], dict)]
    if wrong:
        raise SourceError(f"{place}: column {wrong[0]!r} is not an object of name to name or null.")
    if not any(_column(config, name) for names in _COLUMNS.values() for name in names):
        raise SourceError(
            f"{place} has no provider column that is known ({', '.join(_wanted())}); is it "
            "LiteLLM's beta config?"
        )
    return config


def _wanted() -> list[str]:
    return [name for names in _COLUMNS.values() for name in names]


def _provider_columns(config: Mapping[str, Any]) -> Iterator[str]:
    """Name the members of the config that must be columns."""
    providers = {_canonical(config, name) for name in (*_wanted(), *_OTHER_COLUMNS)}
    for name in config:
        if name.removesuffix(_HEADER_ONLY) in providers:
            yield name


def _canonical(config: Mapping[str, Any], provider: str) -> str:
    """Follow the config's `provider_aliases` {provider: column} by one step, as LiteLLM does."""
    aliases = config.get("provider_aliases")
    column = aliases.get(provider) if isinstance(aliases, dict) else None
    return column if isinstance(column, str) else provider


def _column(config: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    column = config.get(_canonical(config, provider))
    return column if isinstance(column, dict) else {}


@dataclass(frozen=True, slots=True)
class _Word:
    """What one column says of one beta: the names that LiteLLM sends, none for null."""

    column: str
    sends: tuple[str, ...]


def _claims(
    source: str, config: Mapping[str, Any], origin: _Origin, skipped: _Skipped
) -> Iterator[Claim]:
    for platform, providers in _COLUMNS.items():
        words: dict[str, list[_Word]] = {}
        for provider in providers:
            for name, word in _words(config, provider, skipped):
                words.setdefault(name, []).append(word)
        for name, said in (*words.items(), *_sent_only(words)):
            for member, value in _meaning(name, said):
                yield Claim(
                    beta=name,
                    field=f"platforms.{platform}.{member}",
                    value=value,
                    source=source,
                    basis="litellm",
                    at=origin.at,
                    confidence="low",
                    version=origin.version,
                    url=origin.url,
                    quote="; ".join(dict.fromkeys(_quote(name, word) for word in said)),
                )


def _words(
    config: Mapping[str, Any], provider: str, skipped: _Skipped
) -> Iterator[tuple[str, _Word]]:
    """Read one provider's column, and the names that it takes in the header only."""
    column = _canonical(config, provider)
    for key in (column, column + _HEADER_ONLY):
        members = config.get(key) or {}
        for name, value in members.items():
            sends = read_header(value) if isinstance(value, str) else ()
            if not is_well_formed(name):
                skipped.names += 1
            elif value is not None and not (sends and all(map(is_well_formed, sends))):
                skipped.values += 1
            elif value is not None or key == column:
                # Null in a header-only column only says that the name has no such exception.
                yield name, _Word(key, sends)


def _sent_only(words: Mapping[str, list[_Word]]) -> Iterator[tuple[str, list[_Word]]]:
    """Find names that are sent in the place of others and that have no word of their own."""
    found: dict[str, list[_Word]] = {}
    for said in words.values():
        for word in said:
            for name in word.sends:
                if name not in words:
                    found.setdefault(name, [_Word(word.column, (name,))])
    yield from found.items()


def _meaning(name: str, said: list[_Word]) -> Iterator[tuple[str, Json]]:
    """Say what the columns of one platform mean together.

    A platform with two APIs supports what one of them takes, as it does for targets
    (CONTRACT.md section 2, rule 3); the quote keeps what each column said.
    """
    sending = next((word for word in said if word.sends), None)
    yield "state", "supported" if sending else "refused"
    if sending and sending.sends != (name,):
        yield "names", list(sending.sends)


def _quote(name: str, word: _Word) -> str:
    value = json.dumps(",".join(word.sends)) if word.sends else "null"
    return f"{word.column}: {json.dumps(name)}: {value}"


# --- The newest wheel, read by range --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wheel:
    """One wheel on the package index."""

    version: str
    url: str
    size: int
    uploaded: datetime | None


_STABLE = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,9}(?:\.post\d{1,9})?", re.ASCII)


def _newest_wheel(text: str, url: str) -> _Wheel:
    """Choose the smallest wheel of the highest stable version that is not yanked (PEP 691, 700)."""
    try:
        page = json.loads(text)
        files = [file for file in page["files"] if isinstance(file, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{public_url(url)} is not a project page in JSON (PEP 691); give the location of LiteLLM's beta "
            "config instead."
        ) from error
    wheels = [wheel for file in files if (wheel := _wheel(file, url))]
    if not wheels:
        raise SourceError(f"{public_url(url)} lists no stable wheel of {_PROJECT}.")
    newest = max(_version_key(wheel.version) for wheel in wheels)
    same = (wheel for wheel in wheels if _version_key(wheel.version) == newest)
    return min(same, key=lambda wheel: (wheel.size, wheel.url))


def _wheel(file: Mapping[str, Any], url: str) -> _Wheel | None:
    """Read one file of a project page; None for what is no usable wheel of a stable release."""
    name, link, size = file.get("filename"), file.get("url"), file.get("size")
    if not (isinstance(name, str) and isinstance(link, str) and isinstance(size, int)):
        return None
    version = name.split("-")[1] if name.count("-") >= 4 and name.endswith(".whl") else ""
    # A reason for yanking is a string, and counts as yanked even when it is empty.
    if not _STABLE.fullmatch(version) or file.get("yanked", False) is not False or size <= 0:
        return None
    return _Wheel(
        version=version,
        url=urljoin(url, link),
        size=size,
        uploaded=_upload_time(file.get("upload-time")),
    )


def _upload_time(value: object) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _version_key(version: str) -> tuple[tuple[int, ...], int]:
    """Order stable versions: by number, trailing zeros being nothing, then by post-release."""
    release, _, post = version.partition(".post")
    numbers = [int(number) for number in release.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), int(post) if post else -1


# An encrypted member is a RuntimeError, an unknown compression a NotImplementedError.
_BAD_WHEEL = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def _read_config(http: httpx2.Client, wheel: _Wheel) -> tuple[str, Cost]:
    """Read the config out of a wheel: its directory, then the one file."""
    remote = _RemoteFile(http, wheel.url, wheel.size)
    try:
        with zipfile.ZipFile(remote) as archive:
            named = [name for name in archive.namelist() if name.rpartition("/")[2] == _CONFIG]
            if not named:
                raise SourceError(f"LiteLLM {wheel.version} holds no {_CONFIG}.")
            with archive.open(min(named, key=len)) as member:
                body = member.read(MAX_CONFIG + 1)
    except _BAD_WHEEL as error:
        raise SourceError(
            f"{public_url(wheel.url)} is not a wheel that can be read: {error}."
        ) from error
    if len(body) > MAX_CONFIG:
        raise SourceError(
            f"LiteLLM {wheel.version}: {_CONFIG} is larger than {MAX_CONFIG:,} bytes."
        )
    try:
        return body.decode("utf-8-sig"), Cost(requests=remote.requests, bytes=remote.bytes)
    except UnicodeDecodeError as error:
        raise SourceError(f"LiteLLM {wheel.version}: {_CONFIG} is not UTF-8 text.") from error


class _RemoteFile(io.RawIOBase):
    """A file on the web that is read by range (RFC 9110, section 14), end first.

    Keeps the ranges it has read. A reader that jumps about is stopped at `MAX_DIRECTORY` bytes.
    """

    def __init__(self, http: httpx2.Client, url: str, size: int) -> None:
        super().__init__()
        self.requests = 0
        self.bytes = 0
        self._http, self._url, self._size, self._at = http, url, size, 0
        self._blocks: dict[int, bytes] = {}
        self._load(max(0, size - _TAIL), size)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("position before the start of the file")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        found = self._known(self._at, stop)
        if found is None:
            self._load(self._at, min(max(stop, self._at + _HEADER), self._size))
            found = self._known(self._at, stop) or b""
        self._at = stop
        return found

    def _known(self, start: int, stop: int) -> bytes | None:
        for first, block in self._blocks.items():
            if first <= start and stop <= first + len(block):
                return block[start - first : stop - first]
        return None

    def _load(self, start: int, stop: int) -> None:
        """Ask for the bytes from `start` to before `stop`. Raises `SourceError`."""
        if self.bytes + stop - start > MAX_DIRECTORY:
            raise SourceError(
                f"{public_url(self._url)} takes more than {MAX_DIRECTORY:,} bytes to read."
            )
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        with self._http.stream(
            "GET", self._url, headers=headers, follow_redirects=True
        ) as response:
            self.requests += 1 + len(response.history)
            if response.status_code != httpx2.codes.PARTIAL_CONTENT:
                raise SourceError(
                    f"{public_url(self._url)} answered {response.status_code} to a request for a range; give "
                    "the location of LiteLLM's beta config instead."
                )
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > stop - start:
                    break
        self.bytes += len(body)
        if len(body) != stop - start:
            raise SourceError(
                f"{public_url(self._url)} answered with another range than was asked for."
            )
        self._blocks[start] = bytes(body)

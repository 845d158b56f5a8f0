"""Sources: places that say something about betas. Each module reads one and returns a `Finding`.

A source knows no database and decides nothing. It is given its HTTP client, what it asked to remember
at its last run, and the time. It returns what it learned or raises `SourceError` with one sentence
that says what is wrong and how to mend it; `collect` turns every failure into that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from registry.core.facts import Claim, Cost, Entry, Finding, Json
from registry.core.redaction import hide, public_url, redact, secrets_of

if TYPE_CHECKING:
    # Imported where it is used: the bundled catalog is read by commands that should start at once.
    import httpx2

__all__ = [
    "Document",
    "Progress",
    "Source",
    "SourceError",
    "collect",
    "fetch",
    "public_url",
    "quiet",
    "shown",
]

Progress = Callable[[int, int], None]
"""Called with (done, total) while a source works."""

MAX_DOCUMENT: Final = 32 * 1024 * 1024
"""Largest document that is read whole, in bytes."""


class SourceError(Exception):
    """A source cannot be read; the message is one sentence, without secrets, for everybody to read."""

    def __init__(self, sentence: str) -> None:
        super().__init__(redact(sentence))


class Source(Protocol):
    """One place that says something about betas."""

    name: str

    def collect(
        self,
        http: httpx2.Client,
        memo: Mapping[str, Json],
        now: datetime,
        progress: Progress,
    ) -> Finding:
        """Read the place. Raises `SourceError`."""


def quiet(done: int, total: int) -> None:
    """Report progress to nobody."""


def shown(location: str) -> str:
    """Return where something was read as everybody may see it: a URL without secrets, a file's name."""
    if _scheme(location) in ("http", "https"):
        return public_url(location)
    name = re.split(r"[?#]", location, maxsplit=1)[0].rstrip("/").rpartition("/")[2]
    return hide(name, secrets_of(location)) or "the root folder"


def _scheme(location: str) -> str:
    found = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]*):", location)
    return found[1].lower() if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document as fetched. `body` is None when it has not changed since `memo` was made."""

    location: str
    body: bytes | None
    memo: Mapping[str, Json]
    cost: Cost

    @property
    def text(self) -> str:
        """The body as UTF-8; raises `SourceError` when it is none."""
        try:
            return (self.body or b"").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{shown(self.location)} is not UTF-8 text ({error.reason})."
            ) from error


def fetch(
    http: httpx2.Client,
    location: str,
    memo: Mapping[str, Json] | None = None,
    *,
    max_bytes: int = MAX_DOCUMENT,
    accept: str | None = None,
) -> Document:
    """Read a URL or a file, unless it is as `memo` (from the last `Document.memo`) remembers it.

    URLs are asked conditionally (RFC 9110, section 13); files and servers without validators are
    compared by digest. `accept` names the wanted media type, for a server that has several. Reads at
    most `max_bytes`. Raises `SourceError`.
    """
    known = memo if memo and memo.get("location") == location else {}
    scheme = _scheme(location)
    if scheme in ("http", "https"):
        return _fetch_url(http, location, known, max_bytes, accept)
    path = _path_of(location) if scheme == "file" else Path(location)
    try:
        with path.open("rb") as file:
            body = file.read(max_bytes + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SourceError(f"Cannot read {shown(location)}: {why}.") from error
    return _document(location, body, known, {}, Cost(bytes=len(body)), max_bytes)


def _path_of(url: str) -> Path:
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(url).path))


def _fetch_url(
    http: httpx2.Client, url: str, known: Mapping[str, Json], max_bytes: int, accept: str | None
) -> Document:
    import httpx2

    wanted = {
        "Accept": accept,
        "If-None-Match": known.get("etag"),
        "If-Modified-Since": known.get("modified"),
    }
    headers = {name: str(value) for name, value in wanted.items() if value}
    try:
        with http.stream("GET", url, headers=headers, follow_redirects=True) as response:
            if response.status_code == httpx2.codes.NOT_MODIFIED:
                return Document(location=url, body=None, memo=known, cost=Cost(requests=1))
            if response.status_code != httpx2.codes.OK:
                raise SourceError(
                    f"{public_url(url)} answered {response.status_code}; expected 200."
                )
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    break
    except httpx2.InvalidURL:
        # Its own text quotes what it takes for a port, which is often half of a password.
        raise SourceError(
            f"{public_url(url)} is not a valid URL; percent-encode a user and a password in it."
        ) from None
    except httpx2.HTTPError as error:
        raise SourceError(
            f"Cannot reach {public_url(url)}: {error or type(error).__name__}."
        ) from error
    kept = {"etag": response.headers.get("etag"), "modified": response.headers.get("last-modified")}
    cost = Cost(requests=1 + len(response.history), bytes=response.num_bytes_downloaded)
    return _document(url, bytes(body), known, kept, cost, max_bytes)


def _document(
    location: str,
    body: bytes,
    known: Mapping[str, Json],
    kept: Mapping[str, Json],
    cost: Cost,
    max_bytes: int,
) -> Document:
    if len(body) > max_bytes:
        raise SourceError(
            f"{shown(location)} is larger than {max_bytes:,} bytes; this is not the document."
        )
    digest = hashlib.sha256(body).hexdigest()
    memo = {"location": location, "digest": digest, **kept}
    same = known.get("digest") == digest
    return Document(location=location, body=None if same else body, memo=memo, cost=cost)


def collect(
    source: Source,
    http: httpx2.Client,
    memo: Mapping[str, Json],
    now: datetime,
    progress: Progress = quiet,
) -> Finding:
    """Run one source. Whatever goes wrong inside it becomes a `SourceError`.

    Nothing of what comes out, in words or as a link, holds a secret of the source's location or the folder of
    a file: the changelog shows it to everybody.
    """
    hidden, folders = _private(source)

    def said(text: str) -> str:
        return redact(hide(_without(text, folders), hidden))

    try:
        found = _collect(source, http, memo, now, progress)
    except SourceError as error:
        raise SourceError(said(str(error))) from error
    return replace(
        found,
        detail=said(found.detail),
        claims=tuple(_linked(claim, hidden) for claim in found.claims),
        entries=tuple(_linked(entry, hidden) for entry in found.entries),
    )


def _private(source: Source) -> tuple[set[str], list[str]]:
    """Return the secrets of where a source reads, and the folders of its files."""
    places = [getattr(source, member, None) for member in ("location", "index_url")]
    hidden = {secret for place in places if place for secret in secrets_of(place)}
    folders = []
    for place in places:
        scheme = _scheme(place or "")
        if place and scheme not in ("http", "https"):
            path = _path_of(place) if scheme == "file" else Path(place)
            folders += [str(path.parent), str(path.absolute().parent), str(path.resolve().parent)]
    return hidden, sorted({folder for folder in folders if len(folder) > 1}, key=len, reverse=True)


def _without(text: str, folders: Sequence[str]) -> str:
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    return text


_Linked = TypeVar("_Linked", Claim, Entry)


def _linked(item: _Linked, hidden: set[str]) -> _Linked:
    return replace(item, url=hide(item.url, hidden)) if item.url and hidden else item


def _collect(
    source: Source,
    http: httpx2.Client,
    memo: Mapping[str, Json],
    now: datetime,
    progress: Progress,
) -> Finding:
    import httpx2

    try:
        return source.collect(http, memo, now, progress)
    except SourceError:
        raise
    except httpx2.InvalidURL as error:
        raise SourceError(f"{source.name}: a URL is not valid; check its location.") from error
    except httpx2.HTTPError as error:
        raise SourceError(f"{source.name}: {error or type(error).__name__}.") from error
    except RecursionError as error:
        raise SourceError(f"{source.name}: the document is nested too deeply.") from error
    except Exception as error:
        # A page that no parser foresaw must not stop the other sources or the scheduler.
        raise SourceError(
            f"{source.name}: the document is not understood ({type(error).__name__}: {error})."
        ) from error

"""The package index, for the sources that read wheels: project pages, and files by range.

Hides which of the index's formats is spoken (JSON of PEP 691 and 700, else HTML) and how a member is
read out of a wheel without fetching the wheel. The pages are parsed by `pypi-simple`. Files are read
here and not by `remotezip`: one request serves many neighbouring members, what is read is bounded,
and all of it goes through the one HTTP client.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urljoin

import httpx2
from packaging.version import InvalidVersion, Version
from pypi_simple import ACCEPT_JSON_PREFERRED, PYPI_SIMPLE_ENDPOINT, ProjectPage

from registry.core.facts import Cost, Json
from registry.sources import Document, SourceError, fetch, public_url

__all__ = ["File", "Wheel", "read_bounded", "read_project"]

MAX_PAGE: Final = 64 * 1024 * 1024
MAX_FILE: Final = 64 * 1024 * 1024
"""Largest file that is read whole, in bytes."""
MAX_MEMBER: Final = 8 * 1024 * 1024
TAIL: Final = 64 * 1024
"""Read first, from the end of a wheel: the directory of most wheels fits into it."""
HEADER: Final = 1024
"""Read beyond a member, so that its local header and its bytes come in one answer."""

BAD_WHEEL: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # an unknown compression
    OSError,
    RuntimeError,  # an encrypted member
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a project. `size` and `uploaded` are None where the index does not tell."""

    name: str
    version: Version
    url: str
    size: int | None
    uploaded: datetime | None
    yanked: bool

    @property
    def is_wheel(self) -> bool:
        """Say whether this is a wheel and not a source archive."""
        return self.name.endswith(".whl")


def read_project(
    http: httpx2.Client, index_url: str | None, project: str, memo: Mapping[str, Json]
) -> tuple[Document, list[File]]:
    """Read a project's page, unless it is as `memo` remembers. Raises `SourceError`.

    `index_url` is the root of a simple index as pip knows it; None is pip's default.
    """
    root = index_url or PYPI_SIMPLE_ENDPOINT
    url = urljoin(root if root.endswith("/") else f"{root}/", f"{project}/")
    page = fetch(http, url, memo, max_bytes=MAX_PAGE, accept=ACCEPT_JSON_PREFERRED)
    if page.body is None:
        return page, []
    files = _files(_parse(page, project, url))
    if not files:
        raise SourceError(f"{public_url(url)} lists no release of {project}; check the index URL.")
    return page, files


def _parse(page: Document, project: str, url: str) -> ProjectPage:
    text = page.text
    with warnings.catch_warnings():
        # A newer minor version of the index's format is compatible by its own rules.
        warnings.simplefilter("ignore")
        try:
            if text.lstrip().startswith("{"):
                return ProjectPage.from_json_data(json.loads(text), base_url=url)
            return ProjectPage.from_html(project, text, base_url=url)
        except Exception as error:  # whatever the parser makes of a page that is none
            raise SourceError(
                f"{public_url(url)} is no page of a package index ({type(error).__name__}); "
                "check the index URL."
            ) from error


def _files(page: ProjectPage) -> list[File]:
    found = []
    for package in page.packages:
        try:
            version = Version(package.version or "")
        except InvalidVersion:
            continue
        found.append(
            File(
                name=package.filename,
                version=version,
                url=package.url.partition("#")[0],
                size=package.size,
                uploaded=package.upload_time and package.upload_time.astimezone(UTC),
                yanked=package.is_yanked,
            )
        )
    return found


def read_bounded(http: httpx2.Client, url: str, limit: int = MAX_FILE) -> tuple[bytes, Cost]:
    """Read a whole file of at most `limit` bytes. Raises `SourceError`."""
    return _stream(http, url, None, limit)


def _stream(
    http: httpx2.Client, url: str, span: tuple[int, int] | None, limit: int
) -> tuple[bytes, Cost]:
    """Read a file, or its bytes from `span[0]` to before `span[1]` where the server can do so.

    A server that refuses ranges answers with the whole file (RFC 9110, section 14.2).
    """
    headers = {"Accept-Encoding": "identity"}
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    body = bytearray()
    with http.stream("GET", url, headers=headers, follow_redirects=True) as response:
        if response.status_code not in (httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT):
            raise SourceError(f"{public_url(url)} answered {response.status_code}.")
        partial = response.status_code == httpx2.codes.PARTIAL_CONTENT
        allowed = span[1] - span[0] if span is not None and partial else limit
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > allowed:
                raise SourceError(
                    f"{public_url(url)} sends more than the {allowed:,} bytes expected."
                )
        cost = Cost(requests=1 + len(response.history), bytes=len(body))
    if span is not None and partial and len(body) != span[1] - span[0]:
        raise SourceError(f"{public_url(url)} answered with another range than was asked for.")
    return bytes(body), cost


class Wheel:
    """A wheel on the web, read by range; whole where the server refuses ranges.

    Every failure to read it is a `SourceError`.
    """

    def __init__(self, http: httpx2.Client, file: File) -> None:
        self._remote = _RemoteFile(http, file)
        self.name = file.name
        try:
            self._archive = zipfile.ZipFile(self._remote)
        except BAD_WHEEL as error:
            raise SourceError(f"{file.name} is not a wheel that can be read: {error}.") from error

    @property
    def cost(self) -> Cost:
        """What was read so far."""
        return Cost(requests=self._remote.requests, bytes=self._remote.bytes)

    def names(self) -> list[str]:
        """Return the names of all members."""
        return self._archive.namelist()

    def dated(self, name: str) -> datetime:
        """Return the day that is written beside a member, which builds often leave at 1980 or 2020."""
        year, month, day, *_ = self._archive.getinfo(name).date_time
        return datetime(year, max(month, 1), max(day, 1), tzinfo=UTC)

    def read(self, names: Iterable[str]) -> dict[str, str]:
        """Read members as text, neighbours in one request."""
        wanted = [self._archive.getinfo(name) for name in names]
        if not wanted:
            return {}
        start = min(info.header_offset for info in wanted)
        stop = max(info.header_offset + info.compress_size for info in wanted) + HEADER
        self._remote.prefetch(start, stop)
        return {info.filename: self._text(info) for info in wanted}

    def _text(self, info: zipfile.ZipInfo) -> str:
        try:
            with self._archive.open(info) as member:
                # Read one byte more than is allowed: the size that a zip states can be a lie.
                body = member.read(MAX_MEMBER + 1)
            if len(body) > MAX_MEMBER:
                raise SourceError(
                    f"{self.name}: {info.filename} is larger than {MAX_MEMBER:,} bytes."
                )
            return body.decode("utf-8-sig")
        except BAD_WHEEL as error:
            raise SourceError(f"{self.name}: {info.filename} cannot be read: {error}.") from error


class _RemoteFile(io.RawIOBase):
    """A file on the web that is read by range, its end first. Keeps the ranges it has read."""

    def __init__(self, http: httpx2.Client, file: File) -> None:
        super().__init__()
        self.requests = 0
        self.bytes = 0
        self._http, self._url = http, file.url
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        self._size = file.size or 0
        if not file.size:
            self._load_whole()
        else:
            self._load(max(0, file.size - TAIL), file.size)

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
            self._load(self._at, min(max(stop, self._at + HEADER), self._size))
            found = self._known(self._at, stop) or b""
        self._at = stop
        return found

    def prefetch(self, start: int, stop: int) -> None:
        """Read a range at once, if it is not known already."""
        stop = min(stop, self._size)
        if self._known(start, stop) is None:
            self._load(start, stop)

    def _known(self, start: int, stop: int) -> bytes | None:
        for first, block in self._blocks.items():
            if first <= start and stop <= first + len(block):
                return block[start - first : stop - first]
        return None

    def _load(self, start: int, stop: int) -> None:
        if self.bytes + stop - start > MAX_FILE:
            raise SourceError(
                f"{public_url(self._url)} takes more than {MAX_FILE:,} bytes to read."
            )
        body, cost = _stream(self._http, self._url, (start, stop), MAX_FILE)
        self._count(cost)
        if len(body) == stop - start:
            self._blocks[start] = body
        else:  # the server refuses ranges and sent the whole file
            self._keep_whole(body)

    def _load_whole(self) -> None:
        body, cost = read_bounded(self._http, self._url)
        self._count(cost)
        self._keep_whole(body)

    def _keep_whole(self, body: bytes) -> None:
        self._blocks, self._size = {0: body}, len(body)

    def _count(self, cost: Cost) -> None:
        self.requests += cost.requests
        self.bytes += cost.bytes

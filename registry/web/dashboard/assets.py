"""Static files: read once at the start, named by their content, so that browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from registry.core.errors import NotFound
from registry.web.answers import matches

__all__ = ["Assets", "takes_gzip"]

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    body: bytes
    packed: bytes
    media_type: str
    etag: str


class Assets:
    """All files of one folder, each under a URL that changes with its content."""

    def __init__(self, folder: Path) -> None:
        self._by_url: dict[str, _Asset] = {}
        self._urls: dict[str, str] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix in _TYPES:
                self._add(path)

    def _add(self, path: Path) -> None:
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:16]
        name = f"{digest}/{path.name}"
        self._urls[path.name] = f"/static/{name}"
        self._by_url[name] = _Asset(
            body=body,
            packed=gzip.compress(body, 9, mtime=0),
            media_type=_TYPES[path.suffix],
            etag=f'"{digest}"',
        )

    def url(self, name: str) -> str:
        """Return the URL of a file by its plain name."""
        return self._urls[name]

    def answer(self, request: Request, name: str) -> Response:
        """Answer the request for one file. Raises `NotFound`."""
        found = self._by_url.get(name)
        if found is None:
            raise NotFound("There is no such file; load the page again.")
        headers = {
            "ETag": found.etag,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if matches(request.headers.get("if-none-match"), found.etag):
            return Response(status_code=304, headers=headers)
        if takes_gzip(request):
            packed = headers | {"Content-Encoding": "gzip"}
            return Response(found.packed, media_type=found.media_type, headers=packed)
        return Response(found.body, media_type=found.media_type, headers=headers)


def takes_gzip(request: Request) -> bool:
    """Say whether the answer may be compressed (RFC 9110, section 12.5.3, as browsers write it)."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0")
    return False

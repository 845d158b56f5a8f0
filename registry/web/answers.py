"""Reads as bytes: JSON with `ETag`, `Vary`, `Beta-Registry-As-Of`, and 304 when nothing changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.core.errors import Invalid
from registry.core.facts import Json, Snapshot, rfc3339

T = TypeVar("T")

__all__ = [
    "JsonLine", "answer", "etag_of", "matches", "page", "read_cursor", "write_cursor", "write_json",
    "write_line",
]  # fmt: skip


def write_json(value: Json) -> bytes:
    """Print JSON compactly, in UTF-8; what UTF-8 cannot hold (a lone surrogate) becomes `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def write_line(value: Json) -> bytes:
    """Print JSON as an answer: as `write_json` does, and with the newline that a terminal wants."""
    return write_json(value) + b"\n"


class JsonLine(JSONResponse):
    """What a route answers that returns a value."""

    def render(self, content: Any) -> bytes:
        """Print it."""
        return write_line(content)


def etag_of(*parts: bytes) -> str:
    """Return a strong entity tag over the parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return f'"{digest.hexdigest()[:32]}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Compare as RFC 9110, section 13.1.2 says: weakly, `*` matching anything."""
    if not if_none_match:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def answer(
    request: Request,
    snapshot: Snapshot | None,
    body: Json | bytes,
    *,
    status: int = 200,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer a read. `body` is JSON, or bytes that are ready."""
    content = body if isinstance(body, bytes) else write_line(body)
    etag = etag_of(content)
    common = {"ETag": etag, "Vary": "Accept, Authorization", "Cache-Control": "no-cache"}
    if snapshot is not None:
        common["Beta-Registry-As-Of"] = rfc3339(snapshot.as_of)
    common |= headers or {}
    if status == 200 and matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=common)
    return Response(content, status_code=status, media_type=media_type, headers=common)


def write_cursor(position: Json) -> str:
    """Print a position in a list as text that callers hand back unread."""
    return base64.urlsafe_b64encode(write_json(position)).decode().rstrip("=")


def read_cursor(cursor: str, shape: type | tuple[type, ...]) -> Any:
    """Read what `write_cursor` printed. Raises `Invalid`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        position = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, binascii.Error, RecursionError):
        position = None
    if not isinstance(position, shape) or isinstance(position, bool):
        raise Invalid("The cursor cannot be read; hand back `next` of the page before, unchanged.")
    return position


def page(
    items: Sequence[T],
    key: Callable[[T], tuple[str, str]],
    cursor: str | None,
    limit: int,
    show: Callable[[T], Json],
    *,
    descending: bool = False,
) -> dict[str, Json]:
    """Cut one page out of a list in memory. `key` orders it and must be unique."""
    ordered = sorted(items, key=key, reverse=descending)
    if cursor:
        last = tuple(str(part) for part in read_cursor(cursor, list))
        ordered = [
            item for item in ordered if (key(item) < last if descending else key(item) > last)
        ]
    shown, more = ordered[:limit], len(ordered) > limit
    following = write_cursor(list(key(shown[-1]))) if more and shown else None
    return {"items": [show(item) for item in shown], "next": following}

"""`GET /v1/header`, the hot path: a small ASGI endpoint in front of the framework's router.

An answer is a pure function of the query, the wanted media type, the snapshot and the day. So it is
made once and kept as bytes, in a memo that is dropped whole when the snapshot or the day moves, and that
holds at most `MEMO` answers. Access, limits and metrics are those of every other route. An answer to a
service holds the cell that counts its uses (see `uses.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from datetime import time as clock_time
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry import auth
from registry.core.errors import Forbidden, Invalid, RegistryError
from registry.core.facts import Snapshot, rfc3339
from registry.core.resolution import Ask, Resolution, resolve
from registry.inventory import Defaults, check_name
from registry.web import Context
from registry.web.answers import etag_of, matches, write_json
from registry.web.errors import MEDIA_TYPE, describe, problem, status_of
from registry.web.uses import Use, Uses

__all__ = ["Asked", "HeaderEndpoint", "read_query", "with_defaults"]

PATH: Final = "/v1/header"
MEMO: Final = 4096
"""Answers kept; at most 500 names each, so a few tens of megabytes at the very worst."""
MAX_QUERY: Final = 16 * 1024
KNOWN: Final = frozenset(
    {
        "beta", "feature", "platform", "api", "model", "endpoint", "target", "service",
        "environment", "policy", "on_unknown",
    }
)  # fmt: skip

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class _Ready:
    """An answer as it goes out. `start` and `body` are ASGI messages, made once."""

    etag: bytes
    start: Message
    body: Message
    not_modified: Message
    counter: list[int]
    uses: list[int]


class HeaderEndpoint:
    """Answers `/v1/header` and passes everything else on."""

    def __init__(self, app: ASGIApp, context: Context, uses: Uses) -> None:
        self._app, self._context, self._uses = app, context, uses
        self._live, self._public = context.live, context.public_read
        self._memo: dict[tuple[bytes, bytes], _Ready] = {}
        self._snapshot: Snapshot | None = None
        self._day = -1
        self._allowed: dict[bytes, None] = {}
        self._tokens: Mapping[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            refusal = problem(405, "method-not-allowed", f"{PATH} takes GET and HEAD only.",
                              headers={"Allow": "GET, HEAD"})  # fmt: skip
            await refusal(scope, receive, send)
            return
        accept = authorization = none_match = b""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = value
            elif name == b"authorization":
                authorization = value
            elif name == b"if-none-match":
                none_match = value
        ready = self._refuse(authorization) if authorization or not self._public else None
        if ready is None:
            ready = self._find(scope["query_string"], accept)
        ready.counter[0] += 1
        ready.uses[0] += 1
        if none_match and (
            none_match == ready.etag or matches(none_match.decode("latin-1"), ready.etag.decode())
        ):
            await send(ready.not_modified)
            await send(_EMPTY)
            return
        await send(ready.start)
        await send(_EMPTY if scope["method"] == "HEAD" else ready.body)

    def _find(self, query: bytes, accept: bytes) -> _Ready:
        """Look the answer up, or make it. The memo belongs to one snapshot and one day."""
        day = int(time.time() // 86400)
        if self._live.snapshot is not self._snapshot or day != self._day:
            self._forget()
            self._snapshot, self._day = self._live.snapshot, day
        key = query, accept
        ready = self._memo.get(key)
        if ready is None:
            ready = self._make(query, accept)
            if len(self._memo) >= MEMO:
                self._forget()
            if len(query) <= MAX_QUERY and self._snapshot is not None and len(accept) <= 256:
                self._memo[key] = ready
        return ready

    def _forget(self) -> None:
        self._memo = {}
        self._uses.turn()

    def _refuse(self, authorization: bytes) -> _Ready | None:
        """Return the refusal of a request without a valid token, or None if it may pass.

        A token that passed is remembered until any token is made or revoked.
        """
        if self._live.tokens is not self._tokens:
            self._allowed, self._tokens = {}, self._live.tokens
        if authorization in self._allowed:
            return None
        secret = _bearer(authorization)
        held = self._live.tokens.get(auth.digest(secret)) if secret else None
        if held is None:
            return self._problem(
                Forbidden(
                    "A valid token is needed: send `Authorization: Bearer TOKEN`.",
                    slug="unauthenticated",
                ),
                text=False,
            )
        if not auth.allows(held, "read"):  # type: ignore[arg-type]  # scopes are checked when made
            return self._problem(
                Forbidden(f"This token has scope {held}; read is needed."), text=False
            )
        if len(self._allowed) < MEMO:
            self._allowed[authorization] = None
        return None

    def _make(self, query: bytes, accept: bytes) -> _Ready:
        text = wants_text(accept.decode("latin-1"))
        today = self._context.clock().date()
        uses = [0, 0]
        try:
            if len(query) > MAX_QUERY:
                raise Invalid(f"The query is longer than {MAX_QUERY:,} bytes; ask for fewer betas.")
            snapshot = self._live.current()
            asked = read_query(query)
            ask = with_defaults(asked, self._live.services.get(asked.service or ""))
            try:
                found = resolve(snapshot, ask, today)
            except Invalid as error:
                uses = self._cell(asked, ask, error.extra.get("would_send"))
                raise
        except RegistryError as error:
            return self._problem(error, text=text, uses=uses)
        value = found.to_json()
        etag = etag_of(
            str(snapshot.revision).encode(), query, accept, today.isoformat().encode(),
            repr(ask).encode() if asked.service else b"",
        )  # fmt: skip
        headers = [*_common(etag, snapshot), *_deprecation(found)]
        if text:
            status = 204 if value["omit"] else 200
            body, kind = value["value"].encode(), b"text/plain; charset=utf-8"
        else:
            status, body, kind = 200, write_json(value), b"application/json"
        return self._ready(status, body, kind, headers, etag, self._cell(asked, ask, value))

    def _cell(self, asked: Asked, ask: Ask, answer: Mapping[str, Any] | None) -> list[int]:
        """Return what counts the uses of an answer: the betas asked for, and those sent for a feature."""
        if asked.service is None or answer is None:
            return [0, 0]
        features = {text for kind, text in ask.requested if kind == "feature"}
        names = [text for kind, text in ask.requested if kind == "beta"]
        names += [item["name"] for item in answer["betas"] if item["requested"] in features]
        betas = tuple(dict.fromkeys(names))
        return self._uses.cell(Use(asked.service, asked.environment, answer["platform"], betas))

    def _problem(
        self, error: RegistryError, *, text: bool, uses: list[int] | None = None
    ) -> _Ready:
        status = status_of(error)
        headers: Pairs = [(b"cache-control", b"no-store"), (b"vary", b"Accept, Authorization")]
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="beta-registry"'))
        if status == 503:
            headers.append((b"retry-after", b"5"))
        if text:
            headers.append((b"beta-registry-error", _header_text(error.detail)))
            return self._ready(status, b"", b"text/plain; charset=utf-8", headers, "", uses)
        body = write_json(describe(status, error.slug, error.detail, error.extra))
        return self._ready(status, body, MEDIA_TYPE.encode(), headers, "", uses)

    def _ready(
        self, status: int, body: bytes, kind: bytes, headers: Pairs, etag: str,
        uses: list[int] | None,
    ) -> _Ready:  # fmt: skip
        own = (
            []
            if status == 204
            else [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        )
        start = {"type": "http.response.start", "status": status, "headers": [*own, *headers]}
        not_modified = {"type": "http.response.start", "status": 304, "headers": headers}
        return _Ready(
            etag.encode(),
            start,
            {"type": "http.response.body", "body": body},
            not_modified,
            self._context.metrics.requests.cell(PATH, status),
            uses or [0, 0],
        )


_EMPTY: Final[Message] = {"type": "http.response.body", "body": b""}


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of `/v1/header`: what is asked, and for whom."""

    ask: Ask
    service: str | None = None
    environment: str = "default"
    says_policy: bool = False


def read_query(query: bytes) -> Asked:
    """Read the query of `/v1/header`. Raises `Invalid`, also for a misspelt parameter."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=1000, errors="strict"
        )
    except (ValueError, UnicodeDecodeError):
        raise Invalid(
            "The query cannot be read; write it as ?beta=NAME&platform=PLATFORM."
        ) from None
    single: dict[str, str] = {}
    items: list[tuple[str, str]] = []
    for key, value in pairs:
        if key not in KNOWN:
            raise Invalid(
                f"{key[:60]!r} is no parameter of this call; use {', '.join(sorted(KNOWN))}."
            )
        if key in ("beta", "feature"):
            items += [(key, part.strip()) for part in value.split(",") if part.strip()]
        elif key in single and single[key] != value:
            raise Invalid(f"{key!r} is given twice; give it once.")
        else:
            single[key] = value
    service = single.pop("service", None) or None
    environment = single.pop("environment", None) or "default"
    if service is not None:
        check_name(service, "service")
        check_name(environment, "environment", 64)
    ask = Ask(requested=tuple(items), **{key: value for key, value in single.items() if value})
    return Asked(ask, service, environment, bool(single.get("policy")))


def with_defaults(asked: Asked, defaults: Defaults | None) -> Ask:
    """Fill in what a service has declared where the call says nothing.

    A target says where a request goes, so beside one the service's place does not count; and its API and
    model belong to its platform.
    """
    ask = asked.ask
    if defaults is None:
        return ask
    if ask.target is None:
        here = ask.platform in (None, defaults.platform)
        ask = replace(
            ask,
            platform=ask.platform or defaults.platform,
            api=ask.api or (defaults.api if here else None),
            model=ask.model or defaults.model,
            endpoint=ask.endpoint or defaults.endpoint,
        )
    return replace(
        ask,
        requested=ask.requested or tuple(("beta", name) for name in defaults.betas),
        policy=ask.policy if asked.says_policy else defaults.policy or ask.policy,
        on_unknown=ask.on_unknown or defaults.on_unknown,
    )


def wants_text(accept: str) -> bool:
    """Say whether plain text is preferred to JSON (RFC 9110, section 12.5.1, without `*/*`)."""
    best = {"text": 0.0, "json": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        if kind in ("text/plain", "text/*"):
            best["text"] = max(best["text"], quality)
        elif kind in ("application/json", "application/*", "*/*"):
            best["json"] = max(best["json"], quality if kind != "*/*" else quality / 1000)
    return best["text"] > best["json"]


def _bearer(authorization: bytes) -> str | None:
    scheme, _, secret = authorization.decode("latin-1").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _common(etag: str, snapshot: Snapshot) -> Pairs:
    return [
        (b"etag", etag.encode()),
        (b"vary", b"Accept, Authorization"),
        (b"cache-control", b"no-cache"),
        (b"beta-registry-as-of", rfc3339(snapshot.as_of).encode()),
    ]


def _deprecation(found: Resolution) -> Pairs:
    """Announce what is deprecated: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), `Link` (RFC 8288).

    The two dates are single values, so the nearest one counts; every successor gets its own link.
    """
    pairs: Pairs = []
    known = [item.deprecated_on for item in found.deprecations if item.deprecated_on]
    if known:
        pairs.append((b"deprecation", b"@%d" % int(_midnight(min(known)).timestamp())))
    ends = [item.sunset_on for item in found.deprecations if item.sunset_on]
    if ends:
        pairs.append((b"sunset", _http_date(min(ends)).encode()))
    pairs += [
        (b"link", f'</v1/betas/{item.superseded_by}>; rel="successor-version"'.encode())
        for item in found.deprecations
        if item.superseded_by
    ]
    return pairs


def _midnight(day: date) -> datetime:
    return datetime.combine(day, clock_time(), UTC)


def _http_date(day: date) -> str:
    # RFC 9110, section 5.6.7; strftime would follow the machine's language.
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{days[day.weekday()]}, {day:%d} {months[day.month - 1]} {day.year:04} 00:00:00 GMT"


def _header_text(text: str) -> bytes:
    """Make a sentence fit into a header field: printable ASCII, one line, bounded."""
    return text.encode("ascii", "replace").replace(b"\n", b" ").replace(b"\r", b" ")[:1000]

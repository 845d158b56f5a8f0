"""`GET /v1/header`, the hot path: a small ASGI endpoint in front of the framework's router.

An answer is a pure function of the query, the wanted media type, the snapshot and the day, and of
whether a token came with it: only then does a service that is named count. So it is made once and kept as
bytes, in a memo of `MEMO` bytes that is dropped whole when the snapshot or the day moves. A long question
is answered in a thread, so that nobody else waits for it. Access, limits and metrics are those of every
other route. An answer to a service holds the cell that counts its uses (see `uses.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from datetime import time as clock_time
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.core.errors import Invalid, RegistryError
from registry.core.facts import Snapshot, rfc3339
from registry.core.memo import Memo
from registry.core.places import Place
from registry.core.resolution import Ask, Resolution, Resolver, place_asked
from registry.inventory import Defaults, check_name
from registry.web import Context
from registry.web.access import admit
from registry.web.answers import etag_of, matches, write_line
from registry.web.errors import MEDIA_TYPE, describe, problem, status_of
from registry.web.uses import Use, Uses

__all__ = ["Asked", "HeaderEndpoint", "read_query", "with_defaults"]

PATH: Final = "/v1/header"
MEMO: Final = 16 * 1024 * 1024
"""Bytes of answers kept: some 5,000 of the usual ones."""
ENTRY: Final = 3000
"""Bytes that an answer takes in memory beside its body and its query (measured)."""
TOKENS: Final = 4096
"""Tokens remembered as valid, each as it stands in a header of at most `SHORT` bytes."""
SHORT: Final = 256
AT_ONCE: Final = 512
"""Bytes of a query that is answered at once, which takes a few milliseconds at the worst."""
MAX_QUERY: Final = 16 * 1024
KNOWN: Final = frozenset(
    {
        "beta", "feature", "platform", "api", "hosting", "region", "model", "endpoint", "target",
        "service", "environment", "policy", "on_unknown", "on_unproven", "on_restricted",
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


@dataclass(frozen=True, slots=True)
class _Made:
    """An answer before it is bound to what counts it; made in any thread."""

    status: int
    headers: Pairs
    body: bytes
    kind: bytes
    etag: str = ""
    use: Use | None = None
    """Whose usage it is, if it names a service."""


class HeaderEndpoint:
    """Answers `/v1/header` and passes everything else on."""

    def __init__(self, app: ASGIApp, context: Context, uses: Uses) -> None:
        self._app, self._context, self._uses = app, context, uses
        self._live, self._public = context.live, context.public_read
        self._memo: Memo[_Key, _Ready] = Memo(MEMO)
        self._resolver: Resolver | None = None
        self._snapshot: Snapshot | None = None
        self._begins = self._ends = 0.0
        self._allowed: dict[bytes, None] = {}
        self._tokens: Mapping[str, str] = {}
        # One thread: what it does is computing, of which Python does one thing at a time.
        self._maker = ThreadPoolExecutor(1, "header")

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
        accept = none_match = b""
        sent: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = value
            elif name == b"authorization":
                sent.append(value)
            elif name == b"if-none-match":
                none_match = value
        ready = await self._refuse(sent) if sent or not self._public else None
        if ready is None:
            key = scope["query_string"], accept, bool(sent)
            if (
                self._live.snapshot is not self._snapshot
                or not self._begins <= time.time() < self._ends
            ):
                self._begin()
            ready = self._memo.held.get(key) or await self._answer(key)
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

    def _begin(self) -> None:
        """Begin anew: the memo belongs to one snapshot and one day."""
        self._forget()
        self._begins = time.time() // 86400 * 86400
        self._ends = self._begins + 86400
        self._snapshot = self._live.snapshot
        self._resolver = Resolver(self._snapshot) if self._snapshot is not None else None

    async def _answer(self, key: _Key) -> _Ready:
        """Make an answer and keep it, unless what it was made from has moved meanwhile."""
        resolver, query = self._resolver, key[0]
        if len(query) <= AT_ONCE:
            made = self._make(key, resolver)
        else:
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self._maker, self._make, key, resolver)
        names = made.use.betas if made.use else ()
        size = ENTRY + len(made.body) + len(query) + sum(map(len, names)) + 60 * len(names)
        kept = resolver is not None and resolver is self._resolver and len(key[1]) <= SHORT
        if kept and self._memo.takes(size) and not self._memo.has_room(size):
            self._forget()
        ready = self._ready(made, known=key[2])  # after that: its cell must be one that is read
        if kept:
            self._memo.keep(key, ready, size)
        return ready

    def _forget(self) -> None:
        self._memo = Memo(MEMO)
        self._uses.turn()

    async def _refuse(self, sent: list[bytes]) -> _Ready | None:
        """Return the refusal of a request by its `Authorization` headers, or None if it may pass.

        A token that passed is remembered until any token is made or revoked.
        """
        if not self._live.tokens_fresh:
            await run_in_threadpool(self._live.confirm)
        if self._live.tokens is not self._tokens:
            self._allowed, self._tokens = {}, self._live.tokens
        key = sent[0] if len(sent) == 1 else b""
        if key in self._allowed and self._live.tokens_fresh:
            return None
        try:
            texts = [value.decode("latin-1") for value in sent]
            admit(self._live, texts, "read", public=True, open_to_all=self._public)
        except RegistryError as error:
            return self._ready(_problem(error))
        if key and len(self._allowed) < TOKENS and len(key) <= SHORT:
            self._allowed[key] = None
        return None

    def _make(self, key: _Key, resolver: Resolver | None) -> _Made:
        """Make an answer; touches nothing that belongs to the event loop's thread."""
        query, accept, known = key
        text = wants_text(accept.decode("latin-1"))
        today = self._context.clock().date()
        use: Use | None = None
        try:
            if len(query) > MAX_QUERY:
                raise Invalid(f"The query is longer than {MAX_QUERY:,} bytes; ask for fewer betas.")
            if resolver is None:
                resolver = Resolver(self._live.current())
            asked = read_query(query)
            # Whoever does not say who they are shall not learn what a service has declared.
            ask = with_defaults(
                asked, self._live.services.get(asked.service or "") if known else None
            )
            try:
                found = resolver.resolve(ask, today)
            except Invalid as error:
                use = _use(
                    asked, ask, place_asked(resolver.snapshot, ask), error.extra.get("would_send")
                )
                raise
        except RegistryError as error:
            return _problem(error, text=text, use=use)
        value, snapshot = found.to_json(), resolver.snapshot
        etag = etag_of(
            str(snapshot.revision).encode(), query, accept, today.isoformat().encode(),
            repr(ask).encode() if asked.service else b"",
        )  # fmt: skip
        headers = [*_common(etag, snapshot), *_deprecation(found)]
        if asked.service is not None and not known:
            headers.append(_UNCOUNTED)
        use = _use(asked, ask, found.place, value)
        if text:
            status, plain = 204 if value["omit"] else 200, b"text/plain; charset=utf-8"
            return _Made(status, headers, value["value"].encode(), plain, etag, use)
        return _Made(200, headers, write_line(value), b"application/json", etag, use)

    def _ready(self, made: _Made, *, known: bool = False) -> _Ready:
        """Bind an answer to what counts it. Usage counts for whom a token stands."""
        uses = [0, 0]
        if made.use is not None:
            uses = self._uses.cell(made.use) if known else self._context.metrics.requests.anonymous
        own = (
            []
            if made.status == 204
            else [(b"content-type", made.kind), (b"content-length", b"%d" % len(made.body))]
        )
        start = {
            "type": "http.response.start",
            "status": made.status,
            "headers": [*own, *made.headers],
        }
        not_modified = {"type": "http.response.start", "status": 304, "headers": made.headers}
        return _Ready(
            made.etag.encode(),
            start,
            {"type": "http.response.body", "body": made.body},
            not_modified,
            self._context.metrics.requests.cell(PATH, made.status),
            uses,
        )


_Key = tuple[bytes, bytes, bool]
"""The query, the wanted media types, and whether a valid token came with it."""

_EMPTY: Final[Message] = {"type": "http.response.body", "body": b""}
_UNCOUNTED: Final = (b"beta-registry-usage", b"not counted: send a token of scope report")


def _use(asked: Asked, ask: Ask, place: Place, answer: Mapping[str, Any] | None) -> Use | None:
    """Return what an answer counts as: the betas asked for, and those sent for a feature."""
    if asked.service is None or answer is None:
        return None
    features = {text for kind, text in ask.requested if kind == "feature"}
    names = [text for kind, text in ask.requested if kind == "beta"]
    names += [item["name"] for item in answer["betas"] if item["requested"] in features]
    betas = tuple(dict.fromkeys(names))
    return Use(asked.service, asked.environment, place, betas)


def _problem(error: RegistryError, *, text: bool = False, use: Use | None = None) -> _Made:
    status = status_of(error)
    headers: Pairs = [(b"cache-control", b"no-store"), (b"vary", b"Accept, Authorization")]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="beta-registry"'))
    if status == 503:
        headers.append((b"retry-after", b"5"))
    if text:
        headers.append((b"beta-registry-error", _header_text(error.detail)))
        return _Made(status, headers, b"", b"text/plain; charset=utf-8", use=use)
    body = write_line(describe(status, error.slug, error.detail, error.extra))
    return _Made(status, headers, body, MEDIA_TYPE.encode(), use=use)


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
            hosting=ask.hosting or (defaults.hosting if here else None),
            region=ask.region or (defaults.region if here else None),
            model=ask.model or defaults.model,
            endpoint=ask.endpoint or defaults.endpoint,
        )
    return replace(
        ask,
        requested=ask.requested or tuple(("beta", name) for name in defaults.betas),
        policy=ask.policy if asked.says_policy else defaults.policy or ask.policy,
        on_unknown=ask.on_unknown or defaults.on_unknown,
        on_unproven=ask.on_unproven or defaults.on_unproven,
        on_restricted=ask.on_restricted or defaults.on_restricted,
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
        (b"link", f'</v1/betas/{item.use_instead}>; rel="successor-version"'.encode())
        for item in found.deprecations
        if item.use_instead
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

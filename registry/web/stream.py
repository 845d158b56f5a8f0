"""The changelog as server-sent events: `GET /v1/changelog/stream`.

All listeners of a process wait on one poll, that of the live snapshot. When it moves, each reads from the
database what comes after its own position; so a slow reader holds nothing up, and a listener that comes
back with `Last-Event-ID` goes on where it stopped: nothing is lost, nothing comes twice. Between reads a
listener holds no connection to the database, and at most one batch in memory.

A listener stays only as long as what let it in holds: the stream of a token that is revoked, has expired
or has another scope ends within `CHECK` seconds. Who comes without a token takes no place from others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from registry import catalog
from registry.catalog import EventFilter
from registry.core.errors import RegistryError
from registry.core.facts import EVENT_TYPES, Event, Json
from registry.core.names import PLATFORMS
from registry.db import Database
from registry.jobs import Live
from registry.web import Context, schemas
from registry.web.access import scope_held
from registry.web.answers import write_json
from registry.web.api import (
    MAX_ID,
    Words,
    event_json,
    holds,
    named,
    needs,
    since_of,
    words,
)
from registry.web.errors import problem

__all__ = ["MOST", "Guest", "Kind", "Start", "Streams", "address", "install", "origin"]

Kind = Literal["anonymous", "token", "page", "session"]
"""Who listens: a program without or with a token, a page read by anybody or by somebody signed in."""

MOST: Final[dict[Kind, tuple[int, int]]] = {
    "anonymous": (200, 300), "token": (100, 200), "page": (50, 150), "session": (50, 150),
}  # fmt: skip
"""Listeners of one process, by kind: of one address, token or session, and in all.

Each costs a connection and a task; beyond, the answer is 503. Kinds take no places from each other.
"""
CHECK: Final = 1.0
"""Seconds after which it is looked at again whether a listener may stay."""
HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment is sent, so that nothing between takes us for dead."""
BATCH: Final = 100
"""Events read at once for one listener."""
READERS: Final = 4
"""Threads that read for all listeners, and so the most connections to the database they hold."""
RETRY: Final = 2000
"""Milliseconds after which a browser comes back."""

_Batch = list[tuple[int, bytes]]
_Shows = Callable[[Event], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a listener begins: after which id, and whether the id it named is unknown here."""

    after: int
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody who wants to listen. `who` tells the guests of a kind apart, `stays` whether it still may."""

    kind: Kind
    who: str
    stays: Callable[[], bool]


class Streams:
    """The listeners of one process. Lives in the event loop; only the wake-up comes from a thread."""

    def __init__(self, database: Database, live: Live, *, heartbeat: float = HEARTBEAT) -> None:
        self._database, self._live = database, live
        self._heartbeat = heartbeat
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bells: set[asyncio.Event] = set()
        self._readers = ThreadPoolExecutor(READERS, "stream")
        self._reading: dict[tuple[EventFilter, _Shows], asyncio.Task[_Batch]] = {}
        self._places: Counter[tuple[Kind, str]] = Counter()
        self._taken: Counter[Kind] = Counter()
        self.closed = False
        live.watch(self._wake)

    def has_place(self, guest: Guest) -> bool:
        """Say whether this guest is not one too many, of its own or of its kind."""
        own, all_ = MOST[guest.kind]
        taken = self._places[guest.kind, guest.who], self._taken[guest.kind]
        return not self.closed and taken[0] < own and taken[1] < all_

    @contextlib.contextmanager
    def seated(self, guest: Guest) -> Iterator[None]:
        """Take a place while this lasts."""
        seat = guest.kind, guest.who
        self._places[seat] += 1
        self._taken[guest.kind] += 1
        try:
            yield
        finally:
            self._taken[guest.kind] -= 1
            self._places[seat] -= 1
            if not self._places[seat]:
                del self._places[seat]

    def close(self) -> None:
        """End all streams: a server that stops would wait for them for ever."""
        self.closed = True
        self._wake()

    def stop(self) -> None:
        """Let the readers go. Nobody may listen after this."""
        self.close()
        self._readers.shutdown()

    def _wake(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its listeners with it
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    async def start(self, since: int | None) -> Start:
        """Find where to begin: after `since`, or after the newest event. Raises `Unavailable`.

        Only an id that this process has not heard of asks the database.
        """
        newest = self._live.current().revision
        if since is None or since <= newest:
            return Start(after=newest if since is None else since)
        newest = await asyncio.get_running_loop().run_in_executor(self._readers, self._newest)
        return Start(after=min(since, newest), reset=since > newest)

    def _newest(self) -> int:
        with self._database.read() as session:
            return catalog.newest(session)

    async def listen(
        self,
        start: Start,
        wanted: EventFilter,
        show: _Shows = event_json,
        stays: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[bytes]:
        """Yield events as they come, in the order of their ids, and heartbeats between.

        Ends at `close`, and when `stays` says so: it is asked before anything is told.
        """
        self._loop = asyncio.get_running_loop()
        bell = asyncio.Event()
        self._bells.add(bell)
        position = start.after
        step = min(CHECK, self._heartbeat)
        silence = 0.0
        try:
            yield format_sse_event(retry=RETRY)
            if start.reset:
                yield _reset(position)
            while not self.closed and stays():
                bell.clear()  # before we look, so that what comes meanwhile rings again
                newest = self._revision(position)
                while position < newest and not self.closed:
                    batch = await self._read(replace(wanted, after=position), show)
                    for _, chunk in batch:
                        if not stays():
                            return
                        yield chunk
                        silence = 0.0
                    position = _stand(batch, newest)
                if not await self._rings(bell, step):
                    silence += step
                    if silence >= self._heartbeat:
                        yield format_sse_event(comment="still here")
                        silence = 0.0
        finally:
            self._bells.discard(bell)

    async def answer(
        self, guest: Guest, after: int | None, wanted: EventFilter, show: _Shows
    ) -> Response:
        """Answer with a stream that begins after an id, or (None) with what comes next."""
        if not self.has_place(guest):
            return _full()
        start = await self.start(after)
        return _StreamAnswer(self, guest, self.listen(start, wanted, show, guest.stays))

    def _revision(self, position: int) -> int:
        snapshot = self._live.snapshot
        return snapshot.revision if snapshot else position

    async def _rings(self, bell: asyncio.Event, seconds: float) -> bool:
        """Wait until something moved; False after a silence."""
        try:
            await asyncio.wait_for(bell.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _read(self, wanted: EventFilter, show: _Shows) -> _Batch:
        """Read a batch; listeners that stand at the same place share one reading.

        While the database is away this waits: whoever listens need not come back by himself.
        """
        key = wanted, show
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read_in_thread(wanted, show))
            self._reading[key] = task
            task.add_done_callback(lambda _done: self._reading.pop(key, None))
        return await asyncio.shield(task)

    async def _read_in_thread(self, wanted: EventFilter, show: _Shows) -> _Batch:
        loop = asyncio.get_running_loop()
        while not self.closed:
            try:
                return await loop.run_in_executor(self._readers, self._batch, wanted, show)
            except RegistryError:
                await asyncio.sleep(1)
        return []

    def _batch(self, wanted: EventFilter, show: _Shows) -> _Batch:
        with self._database.read() as session:
            found = catalog.events(session, wanted, BATCH)
        return [(event.id, _chunk(event, show)) for event in found]


def _stand(batch: _Batch, newest: int) -> int:
    """Return where a listener stands after a batch.

    Ids are committed in order, so a batch that is not full left nothing out up to `newest`.
    """
    last = batch[-1][0] if batch else 0
    return last if len(batch) == BATCH else max(newest, last)


def _chunk(event: Event, show: _Shows) -> bytes:
    data = write_json(show(event)).decode()
    return format_sse_event(data_str=data, event=event.type, id=str(event.id))


def _reset(newest: int) -> bytes:
    detail = "The id is unknown here: read everything anew, then follow from this one."
    data = write_json({"detail": detail, "revision": newest}).decode()
    return format_sse_event(data_str=data, event="reset", id=str(newest))


def _full() -> Response:
    detail = "Too many listeners follow here already; poll /v1/changelog?since=ID instead."
    return problem(503, "unavailable", detail)


class _StreamAnswer(StreamingResponse):
    """A stream that takes a listener's place while it lasts, or answers 503 where there is none."""

    def __init__(self, streams: Streams, guest: Guest, content: AsyncGenerator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._streams, self._guest, self._chunks = streams, guest, content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._streams.has_place(self._guest):  # taken since we looked
            await _full()(scope, receive, send)
            return
        with self._streams.seated(self._guest):
            async with contextlib.aclosing(self._chunks):
                await super().__call__(scope, receive, send)


def address(request: Request) -> str:
    """Return where a request comes from; behind a proxy that is trusted, its client."""
    return request.client.host if request.client else ""


def install(app: FastAPI, context: Context, streams: Streams) -> None:
    """Add the route to the application."""
    router = APIRouter(prefix="/v1", tags=["changelog"], responses=schemas.ERRORS)

    def show_named(event: Event) -> Json:
        return event_json(event, named(context.database, [event]))

    @router.get(
        "/changelog/stream",
        dependencies=[Depends(needs(context, "read", public=True, in_url=True))],
        responses={
            200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}
        },
    )
    async def follow(
        request: Request,
        since: Annotated[
            str | None, Query(max_length=64, description="An id (exclusive) or a date.")
        ] = None,
        type: Words = None,
        beta: Words = None,
        feature: Words = None,
        platform: Words = None,
    ) -> Response:
        """Follow events as they are recorded.

        Goes on after `Last-Event-ID`, else after `since`, else with what comes next. The event `reset`
        says that the id is unknown here.
        """
        after, begin = origin(request.headers.get("last-event-id"), since)
        wanted = EventFilter(
            from_=begin,
            types=words(type, EVENT_TYPES, "type of event"),
            betas=words(beta, None, "beta"),
            features=words(feature, None, "feature"),
            platforms=words(platform, PLATFORMS, "platform"),
            ascending=True,
        )
        show = show_named if holds(context, request, "read") else event_json
        digest, scope = scope_held(context.live, request)
        guest = Guest(
            kind="token" if scope else "anonymous",
            who=digest or address(request),
            stays=lambda: scope_held(context.live, request)[1] == scope,
        )
        return await streams.answer(guest, after, wanted, show)

    app.include_router(router)


def origin(last: str | None, since: str | None) -> tuple[int | None, datetime | None]:
    """Return after which id, and from which moment on; the header of a reconnect outweighs the query."""
    if last and last.strip():
        text = last.strip()
        known = text.isascii() and text.isdigit() and len(text) < 19
        return (int(text) if known else MAX_ID), None
    after, begin = since_of(since)
    return (0 if begin else after), begin

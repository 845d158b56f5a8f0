"""Server-sent events over real HTTP: nothing lost, nothing twice, nobody waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import uvicorn

from registry import app as composition
from registry import auth, catalog
from registry.config import Settings
from registry.core.facts import Event
from registry.db import Database
from registry.jobs import Live
from registry.serving import Protocol
from registry.web.stream import MOST, Guest, Kind, Start, Streams
from tests.factories import NOW
from tests.waiting import until
from tests.web.conftest import DYING, LIVE, Service

ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PATH = "/v1/changelog/stream"

Message = dict[str, str]


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Read server-sent events as the HTML standard says; comments and bare fields are skipped."""
    told: Message = {}
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            told[field] = value.removeprefix(" ")
        else:
            if "data" in told:
                yield told
            told = {}


@contextmanager
def listening(
    service: Service, query: str = "", scope: str | None = None, **headers: str
) -> Iterator[Iterator[Message]]:
    """Follow the stream; what is yielded waits for the next event."""
    if scope:
        headers["Authorization"] = f"Bearer {service.tokens[scope]}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with service.http.stream("GET", f"{PATH}{query}", headers=sent, timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield messages(answer.iter_lines())


def write(database: Database, count: int = 1, **more: Any) -> None:
    """Record events in one transaction."""
    facts: dict[str, Any] = {"type": "source.failed", "source": "docs", "reason": "x\ny"} | more
    with database.write() as session:
        writer = catalog.Writer(session, NOW)
        for _ in range(count):
            writer.record(Event(at=NOW, **facts))
        writer.finish()


def newest(database: Database) -> int:
    """Return the newest event's id."""
    with database.read() as session:
        return catalog.newest(session)


def take(found: Iterator[Message], count: int) -> list[int]:
    """Take the ids of the next events."""
    return [int(next(found)["id"]) for _ in range(count)]


def test_what_is_recorded_reaches_a_listener(service: Service) -> None:
    """Type, id and the event as the API prints it; the past is not repeated."""
    with listening(service) as found:
        write(service.database)
        told = next(found)
    (event,) = service.get("/v1/changelog?limit=1").json()["items"]
    assert (told["event"], told["id"]) == ("source.failed", str(event["id"]))
    assert json.loads(told["data"]) == event


def test_a_reconnect_goes_on_where_it_stopped(service: Service) -> None:
    """Over many short connections and while others write: each event once, in order."""
    first = newest(service.database)

    def record() -> None:
        for _ in range(20):
            write(service.database, 3)

    writers = [threading.Thread(target=record) for _ in range(3)]
    for thread in writers:
        thread.start()
    seen: list[int] = []
    while len(seen) < 180:
        last = str(seen[-1] if seen else first)
        with listening(service, last_event_id=last) as found:
            seen += take(found, min(17, 180 - len(seen)))
    for thread in writers:
        thread.join()
    assert seen == list(range(first + 1, first + 181))


@ONE_DATABASE
def test_where_to_begin(service: Service) -> None:
    """After an id, from a day on, or from the very beginning; the header outweighs the query."""
    end = newest(service.database)
    every = list(range(1, end + 1))
    for query, header, expected in (
        ("?since=0", {}, every),
        ("?since=2", {}, every[2:]),
        ("?since=2026-11-23", {}, every),
        ("?since=0", {"last_event_id": "3"}, every[3:]),
        (f"?since=0&beta={DYING}", {}, [2]),
    ):
        with listening(service, query, **header) as found:
            assert take(found, len(expected)) == expected


@ONE_DATABASE
@pytest.mark.parametrize("last", ["99999999", "9" * 400, "-1", "soon", "1e3", "²"])
def test_an_unknown_id_is_answered_by_a_reset(service: Service, last: str) -> None:
    """It says where to go on from, and the stream does."""
    end = newest(service.database)
    with service.http.stream(
        "GET", PATH, headers=[(b"Last-Event-ID", last.encode())], timeout=30
    ) as answer:
        found = messages(answer.iter_lines())
        reset = next(found)
        assert (reset["event"], reset["id"]) == ("reset", str(end))
        assert json.loads(reset["data"])["revision"] == end
        write(service.database)
        assert take(found, 1) == [end + 1]


@ONE_DATABASE
def test_filters(service: Service) -> None:
    """Only what is asked for comes, and the place moves on over the rest."""
    with listening(service, f"?type=beta.deprecated,beta.retired&beta={LIVE}") as found:
        write(service.database, 150)
        write(service.database, type="beta.retired", beta=DYING)
        write(service.database, type="beta.retired", beta=LIVE)
        told = next(found)
    assert (told["event"], int(told["id"])) == ("beta.retired", newest(service.database))


@ONE_DATABASE
@pytest.mark.parametrize(
    ("query", "status"),
    [("?since=soon", 422), ("?since=-5", 422), ("?type=beta.born", 422), ("?platform=azure", 422),
     (f"?since={'9' * 65}", 422)],
)  # fmt: skip
def test_bad_questions_get_a_problem(service: Service, query: str, status: int) -> None:
    """And no stream."""
    answer = service.get(f"{PATH}{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@ONE_DATABASE
def test_private_streams_need_a_token(start: Callable[..., Service]) -> None:
    """In the header, or in the address for what cannot send one; names only with scope read."""
    service = start(public_read=False)
    assert service.get(PATH).status_code == 401
    with listening(service, f"?since=0&token={service.tokens['feed']}") as found:
        assert "affected" not in json.loads(next(found)["data"])
    with listening(service, "?since=0", "read") as found:
        assert json.loads(next(found)["data"])["affected"] == []


@pytest.mark.parametrize("public", [True, False])
def test_a_stream_ends_with_its_token(start: Callable[..., Service], public: bool) -> None:
    """Whether the token came in the header or the address; others are followed on."""
    service = start(public_read=public)
    with service.database.read() as session:
        numbers = {token.scope: token.id for token in auth.tokens(session)}
    with (
        listening(service, "", "write") as stays,
        listening(service, "", "read") as ended,
        listening(service, f"?token={service.tokens['feed']}") as other,
    ):
        write(service.database)
        last = newest(service.database)
        assert [take(found, 1) for found in (stays, ended, other)] == [[last]] * 3
        with service.database.write() as session:
            auth.revoke(session, numbers["read"], NOW)
            auth.revoke(session, numbers["feed"], NOW)
        assert (list(ended), list(other)) == ([], [])
        write(service.database)
        assert take(stays, 1) == [last + 1]


@ONE_DATABASE
def test_a_page_is_followed_only_while_its_session_lasts(service: Service) -> None:
    """Its stream ends when the token that was signed in with is revoked."""
    with service.database.read() as session:
        number = next(token.id for token in auth.tokens(session) if token.scope == "read")
    answer = service.http.post("/sign-in", data={"token": service.tokens["read"]})
    assert "beta_registry_session" in service.http.cookies, answer.text
    with service.http.stream("GET", "/changelog/stream", timeout=30) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        with service.database.write() as session:
            auth.revoke(session, number, NOW)
        assert [line for line in lines if line] == []


def test_a_listener_that_may_not_stay_is_told_nothing_more(sqlite_url: str) -> None:
    """Also not what was read for it before: it is asked anew for every event."""
    database = Database(sqlite_url)
    write(database, 10)
    live = Live(database)
    live.refresh()

    async def follow() -> list[bytes]:
        streams, chunks = Streams(database, live), list[bytes]()
        wanted = catalog.EventFilter(ascending=True)
        told = streams.listen(Start(after=0), wanted, stays=lambda: len(chunks) < 4)
        async for chunk in told:
            chunks.append(chunk)
        await asyncio.to_thread(streams.stop)
        return chunks

    chunks = asyncio.run(follow())
    assert [b"source.failed" in chunk for chunk in chunks] == [False, True, True, True]
    database.close()


def test_one_address_does_not_take_every_place(sqlite_url: str) -> None:
    """Each has its most, a kind has its most, and kinds take nothing from each other."""
    database = Database(sqlite_url)
    streams = Streams(database, Live(database))

    def guest(who: str, kind: Kind = "anonymous") -> Guest:
        return Guest(kind=kind, who=who, stays=lambda: True)

    own, all_ = MOST["anonymous"]
    with contextlib.ExitStack() as seats:
        for _ in range(own):
            seats.enter_context(streams.seated(guest("a")))
        assert not streams.has_place(guest("a"))
        for _ in range(all_ - own):
            assert streams.has_place(guest("b"))
            seats.enter_context(streams.seated(guest("b")))
        assert not streams.has_place(guest("c"))
        assert all(streams.has_place(guest("a", kind)) for kind in ("token", "page", "session"))
    assert streams.has_place(guest("a"))
    streams.stop()
    assert not streams.has_place(guest("a"))
    database.close()


@ONE_DATABASE
def test_a_slow_reader_loses_nothing_and_holds_nobody_up(service: Service) -> None:
    """It does not read while thousands are written; others get theirs, and it gets all of them."""
    url, end = service.http.base_url, newest(service.database)
    with socket.socket() as slow, listening(service) as quick:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        slow.settimeout(30)
        slow.connect((url.host, url.port))
        slow.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {end}\r\n\r\n".encode())
        for _ in range(8):
            write(service.database, 250, reason="y" * 500)
        assert take(quick, 2000) == list(range(end + 1, end + 2001))
        with slow.makefile("r", encoding="utf-8", newline="\n") as file:
            lines = (line.rstrip("\r\n") for line in file)
            ids = (int(line[4:]) for line in lines if line.startswith("id: "))
            assert [next(ids) for _ in range(2000)] == list(range(end + 1, end + 2001))


@ONE_DATABASE
def test_the_house_is_full_at_some_time(service: Service) -> None:
    """Beyond the most, 503 says what to do; who leaves makes room; all that stay are served.

    Who holds a token is not kept out, nor is the dashboard.
    """
    url = service.http.base_url
    held = []
    try:
        for _ in range(MOST["anonymous"][0]):
            one = socket.create_connection((url.host, url.port or 80), timeout=30)
            one.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
            held.append(one)
        refused = service.get(PATH)
        assert refused.status_code == 503
        assert "poll /v1/changelog" in refused.json()["detail"]
        for path, scope in ((PATH, "read"), (PATH, "report"), ("/changelog/stream", None)):
            headers = {"Authorization": f"Bearer {service.tokens[scope]}"} if scope else {}
            with service.http.stream("GET", path, headers=headers) as answer:
                assert answer.status_code == 200
        write(service.database)
        for one in held:
            told = b""
            while b"source.failed" not in told:
                told += one.recv(4096)
        held.pop().close()
        for _ in range(200):
            with service.http.stream("GET", PATH) as answer:
                if answer.status_code == 200:
                    break
        else:
            pytest.fail("Nobody made room.")
    finally:
        for one in held:
            one.close()


@ONE_DATABASE
def test_a_stop_of_the_server_ends_the_streams(database_url: str) -> None:
    """It does not wait for listeners, and they see a clean end."""
    settings = Settings(database_url=database_url, scheduler=False)
    server = uvicorn.Server(
        uvicorn.Config(
            composition.create_app(settings), port=0, log_config=None, lifespan="on", http=Protocol
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive(), "the service")
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.stream("GET", f"http://127.0.0.1:{port}{PATH}", timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        server.should_exit = True
        assert list(lines) == [""]
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_heartbeats_fill_a_silence(sqlite_url: str) -> None:
    """A comment that readers skip; and `close` ends the waiting."""
    database = Database(sqlite_url)
    live = Live(database)
    live.refresh()

    async def follow() -> list[bytes]:
        streams = Streams(database, live, heartbeat=0.01)
        chunks = []
        async for chunk in streams.listen(Start(after=0), catalog.EventFilter(ascending=True)):
            chunks.append(chunk)
            if len(chunks) == 3:
                streams.close()
        await asyncio.to_thread(streams.stop)
        return chunks

    assert asyncio.run(follow()) == [b"retry: 2000\n\n", *[b": still here\n\n"] * 2]
    database.close()

"""What a client leaves unfinished or makes too large, at the level of bytes: the real server's answers."""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx2
import psutil
import pytest

from registry.serving import HEAD_MAX, Protocol

Connect = Callable[..., socket.socket]


@pytest.fixture
def connect(serve: Callable[..., httpx2.Client], sqlite_url: str) -> Iterator[Connect]:
    """Start the service with time limits of the test's own; gives connections to it."""
    opened: list[socket.socket] = []
    clients: dict[str, httpx2.Client] = {}

    def begin(**seconds: float) -> socket.socket:
        if "one" not in clients:
            quick = type("Quick", (Protocol,), seconds)
            clients["one"] = serve(database_url=sqlite_url, http=quick)
        url = clients["one"].base_url
        one = socket.create_connection((url.host, url.port or 80), timeout=30)
        opened.append(one)
        return one

    yield begin
    for one in opened:
        one.close()


def everything(one: socket.socket) -> bytes:
    """Read until the other side ends the connection."""
    told = b""
    with closing(one):
        while part := one.recv(65536):
            told += part
    return told


def first(one: socket.socket) -> bytes:
    """Read one answer, in however many parts it comes; the connection stays open."""
    told, size = b"", math.inf
    while len(told) < size:
        part = one.recv(65536)
        assert part, told
        told += part
        head, ended, _ = told.partition(b"\r\n\r\n")
        if ended:
            (length,) = re.findall(rb"(?i)\ncontent-length: (\d+)", head)
            size = len(head) + len(ended) + int(length)
    return told


def refusal(answer: bytes) -> tuple[int, str]:
    """Read a problem document: its status, as the first line and the document say it, and its type."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert int(head.split()[1]) == problem["status"]
    return problem["status"], problem["type"]


def get(path: str = "/livez", *more: str) -> bytes:
    """Write a request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


def padded(size: int) -> bytes:
    """Write a request whose head has exactly this size."""
    bare = len(get("/livez", "X: "))
    return get("/livez", "X: " + "x" * (size - bare))


def status(answer: bytes) -> int:
    """Return the status of the first answer."""
    return int(answer.split()[1])


@pytest.mark.parametrize("cut", [HEAD_MAX, 1000, 40_000])
def test_a_head_has_at_most_64_kib(connect: Connect, cut: int) -> None:
    """Exactly that much is taken, one byte more is 431, in however many pieces it comes."""
    for size, expected in ((HEAD_MAX, 200), (HEAD_MAX + 1, 431), (4 * HEAD_MAX, 431)):
        one = connect()
        head = padded(size).replace(b"Host: x", b"Host: x\r\nConnection: close")
        head = head.replace(b"x" * 19, b"", 1)  # the size is as it was
        assert len(head) == size
        for start in range(0, size, cut):
            one.sendall(head[start : start + cut])
        answer = everything(one)
        assert status(answer) == expected
        if expected == 431:
            assert refusal(answer) == (431, "/problems/too-large")


@pytest.mark.parametrize(
    "start", [b"GET /livez HTTP/1.1\r\nX: ", b"GET /", b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 9]
)
def test_a_head_without_end_is_cut_off(connect: Connect, start: bytes) -> None:
    """One header, the address, or many headers: the answer is read although more was on its way."""
    one = connect()
    one.sendall(start + b"x" * 5_000_000)
    assert refusal(everything(one)) == (431, "/problems/too-large")


def test_a_body_is_no_head(connect: Connect) -> None:
    """What follows the head is bounded elsewhere, and the next head on the connection counts anew."""
    one = connect()
    body = json.dumps({"value": "x" * 300_000}).encode()
    request = b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    one.sendall(request + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert status(first(one)) == 422
    for _ in range(3):
        head = get("/livez", "X: " + "x" * 50_000)
        one.sendall(head[:20_000])
        one.sendall(head[20_000:])
        assert status(first(one)) == 200
    one.close()


def test_many_requests_at_once_are_answered_in_turn(connect: Connect) -> None:
    """Pipelined heads are each their own, also where one lies across two pieces."""
    one = connect()
    many = get("/livez", "X: " + "x" * 1000) * 199 + get("/livez", "Connection: close")
    one.sendall(many)
    assert everything(one).count(b"HTTP/1.1 200") == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"G",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n",
        b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 60_000,
        b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /v1/check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_a_request_that_does_not_end_is_refused(connect: Connect, sent: bytes) -> None:
    """Head or body, and also the second one of a connection."""
    quick = {"head_seconds": 0.2, "body_seconds": 0.2, "linger_seconds": 0.2}
    one = connect(**quick)
    one.sendall(sent)
    assert refusal(everything(one)) == (408, "/problems/request-timeout")
    again = connect()
    again.sendall(get())
    assert status(first(again)) == 200
    again.sendall(sent)
    assert refusal(everything(again)) == (408, "/problems/request-timeout")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_a_connection_without_a_request_is_closed(connect: Connect, sent: bytes) -> None:
    """It is told nothing: there is nothing to answer. Empty lines keep none open."""
    one = connect(head_seconds=0.2)
    one.sendall(sent)
    assert everything(one) == b""
    again = connect()
    again.sendall(get())
    assert status(first(again)) == 200
    again.sendall(b"\r\n")
    assert b"HTTP/1.1 200" not in everything(again)


def test_an_answer_that_nobody_reads_is_given_up(connect: Connect) -> None:
    """The server closes its side while the client still reads nothing; others are served."""
    one = connect(write_seconds=0)
    count = 400
    one.sendall(get("/openapi.json") * count)
    ours = one.getsockname()

    def is_held() -> bool:
        held = psutil.Process().net_connections("tcp")
        return any(each.raddr == ours and each.status == "ESTABLISHED" for each in held)

    while is_held():
        time.sleep(0.05)
    with contextlib.suppress(ConnectionResetError):
        assert everything(one).count(b"HTTP/1.1 200") < count
    again = connect()
    again.sendall(get())
    assert status(first(again)) == 200

"""Signed webhooks (Standard Webhooks 1.0.0): one POST to an address that was checked, under one deadline.

Speaks HTTP through `httpcore2`, the lower half of the product's HTTP client, because that takes a network
backend: the connection goes to the very address that the guard judged, while TLS verifies the name and
`Host` carries it. It follows no redirect, knows no proxy of the environment, keeps no cookies and unpacks no
answer, each of which could lead past the guard or past its bounds.
"""

from __future__ import annotations

import functools
import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpcore2
import httpx2
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from registry import __version__
from registry.alerts import guard
from registry.alerts.sending import (
    Message,
    Outcome,
    Refused,
    Rules,
    hidden_in,
    meaning,
    tidy,
    wait_asked,
)
from registry.core.facts import rfc3339

__all__ = ["Webhooks", "sign"]

MOST_BYTES: Final = 65_536
BODY_SECONDS: Final = 2.0
_UNREACHED: Final = (
    (httpcore2.TimeoutException, "The receiver did not answer in time."),
    (httpcore2.ProtocolError, "The receiver's answer is not HTTP, or it closed before answering."),
    (httpcore2.NetworkError, "The connection broke before the receiver answered."),
)


@functools.cache
def _system_trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    status: int
    retry_after: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Sends webhooks. The arguments are the two things of the machine it rests on."""

    resolve: guard.Resolve = guard.system_resolve
    trust: ssl.SSLContext | None = None

    def check(self, url: str, rules: Rules) -> None:
        """Refuse a URL that could not be sent to now. Raises `Refused`."""
        guard.locate(guard.read(url, rules), rules, self.resolve, rules.timeout)

    def send(
        self, url: str, secrets: Sequence[str], message: Message, rules: Rules, now: datetime
    ) -> Outcome:
        """Try once. What goes wrong is told in the outcome."""
        started = time.monotonic()
        try:
            reply = self._exchange(url, secrets, message, rules, now, started + rules.timeout)
        except Refused as refused:
            return Outcome(
                result=refused.result,
                status=None,
                latency_ms=_since(started),
                answer="",
                error=refused.sentence,
                retry_after=None,
            )
        return _judged(reply, now, _since(started), hidden_in(url, secrets))

    def _exchange(
        self,
        url: str,
        secrets: Sequence[str],
        message: Message,
        rules: Rules,
        now: datetime,
        deadline: float,
    ) -> _Reply:
        place = guard.read(url, rules)
        body = _body(message)
        headers = sign(message.id, body, secrets, now)
        addresses = guard.locate(place, rules, self.resolve, deadline - time.monotonic())
        line = _Line(addresses, deadline)
        with _sentences(place):
            return _post(place, headers, body, line, self.trust or _system_trust())


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _judged(reply: _Reply, now: datetime, latency_ms: int, hidden: Iterable[str]) -> Outcome:
    result = meaning(reply.status)
    sent = result == "sent"
    return Outcome(
        result=result,
        status=reply.status,
        latency_ms=latency_ms,
        answer=tidy(reply.body.decode("utf-8", "replace"), hidden),
        error=None if sent else _why(reply.status),
        retry_after=None if sent else wait_asked(reply.retry_after, now),
    )


def _why(status: int) -> str:
    if 300 <= status < 400:
        return f"The receiver answered {status}; redirects are not followed, give the final URL."
    if status == 410:
        return "The receiver answered 410: it does not want these messages any more."
    return f"The receiver answered {status}."


def _body(message: Message) -> str:
    envelope = {"type": message.type, "timestamp": rfc3339(message.at), "data": message.data}
    try:
        # ASCII, because even half a surrogate pair in somebody's text must not stop an alert.
        return json.dumps(envelope, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        raise Refused("The message cannot be written as JSON.", "permanent") from None


def sign(
    id: str, body: str, secrets: Sequence[str], now: datetime
) -> Mapping[bytes | str, bytes | str]:
    """Make the three headers of Standard Webhooks; every living secret signs, so that one can be rotated."""
    if not secrets:
        raise Refused("There is no secret to sign with; make one.", "permanent")
    moment = now.astimezone(UTC)
    try:
        signatures = [Webhook(secret).sign(id, moment, body) for secret in secrets]
    except (ValueError, EmptyWebhookSecretError):
        raise Refused("A secret cannot be read; rotate it.", "permanent") from None
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _post(
    place: guard.Place,
    headers: Mapping[bytes | str, bytes | str],
    body: str,
    line: _Line,
    trust: ssl.SSLContext,
) -> _Reply:
    request = httpcore2.Request(
        b"POST",
        httpcore2.URL(
            scheme=place.scheme.encode(),
            host=place.host.encode(),
            port=place.port,
            target=place.target,
        ),
        headers={
            "host": place.authority,
            "user-agent": f"beta-registry/{__version__}",
            "content-type": "application/json",
            "accept-encoding": "identity",
            "connection": "close",
            "content-length": str(len(body)),
            **headers,
        },
        content=body.encode(),
    )
    with httpcore2.ConnectionPool(ssl_context=trust, network_backend=line) as pool:
        response = pool.handle_request(request)
        try:
            return _Reply(
                status=response.status,
                retry_after=_header(response, b"retry-after"),
                body=_beginning(response, line),
            )
        finally:
            response.close()


def _header(response: httpcore2.Response, name: bytes) -> str | None:
    found = [value for key, value in response.headers if key.lower() == name]
    return found[0].decode("latin-1") if found else None


def _beginning(response: httpcore2.Response, line: _Line) -> bytes:
    """Read the answer's beginning. The status has decided: a body that never ends changes nothing."""
    line.hurry(BODY_SECONDS)
    kept = b""
    try:
        for piece in response.iter_stream():
            kept += piece
            if len(kept) >= MOST_BYTES:
                break
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        pass
    return kept[:MOST_BYTES]


@contextmanager
def _sentences(place: guard.Place) -> Iterator[None]:
    """Turn the errors of the line into sentences that hold no more than the host."""
    try:
        yield
    except _Untrusted as error:
        sentence = f"The certificate of {place.host} does not verify: {str(error).rstrip('.')}."
        raise Refused(sentence, "transient") from None
    except httpcore2.ConnectError:
        raise Refused(f"No connection to {place.host}, port {place.port}.", "transient") from None
    except httpcore2.LocalProtocolError:
        raise Refused("The request cannot be written as HTTP.", "permanent") from None
    except tuple(kind for kind, _ in _UNREACHED) as error:
        sentence = next(text for kind, text in _UNREACHED if isinstance(error, kind))
        raise Refused(sentence, "transient") from None


class _Untrusted(httpcore2.ConnectError):
    """The receiver's certificate does not verify; says why."""


class _Line(httpcore2.NetworkBackend):
    """Connects to the addresses that were judged and to nothing else, until the deadline."""

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline

    def hurry(self, seconds: float) -> None:
        """Bring the deadline nearer."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def left(self) -> float:
        """Return the seconds that are left. Raises `TimeoutError` when none are."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the name was resolved already; asking again is what must not happen
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline rules
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """Connect to the first address that answers."""
        with _mapped(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            return _Stream(self._connected(port), self)

    def _connected(self, port: int) -> socket.socket:
        failed: OSError = OSError("no address")
        for number, address in enumerate(self._addresses):
            # An address that swallows packets must leave time for those after it.
            share = self.left() / (len(self._addresses) - number)
            try:
                return socket.create_connection((address, port), timeout=share)
            except OSError as error:
                failed = error
        raise failed


class _Stream(httpcore2.NetworkStream):
    """A socket whose every wait ends at the line's deadline, however little arrives at a time."""

    def __init__(self, sock: socket.socket, line: _Line) -> None:
        self._sock = sock
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Read what is there."""
        with _mapped(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._sock.settimeout(self._line.left())
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Write all of it; `sendall` counts one time-out over the whole."""
        with _mapped(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._sock.settimeout(self._line.left())
            self._sock.sendall(buffer)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """Shake hands; the context verifies the name, not the address."""
        try:
            with _mapped(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                self._sock.settimeout(self._line.left())
                secured = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return _Stream(secured, self._line)

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        """Tell nothing: HTTP/1.1 needs nothing, and nothing else is spoken."""
        return None


@contextmanager
def _mapped(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise late from error
    except ssl.SSLCertVerificationError as error:
        raise _Untrusted(error.verify_message) from error
    except OSError as error:
        raise broken from error

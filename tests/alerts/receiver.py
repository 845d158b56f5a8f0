"""Receivers of webhooks that speak real HTTP(S) on loopback, well-behaved or not."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Behave = Callable[["Caller"], None]


class Caller:
    """One connection, as the receiver sees it: what came, and the line to answer on."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.hung_up = threading.Event()

    def read(self) -> None:
        """Read one request."""
        file = self.line.makefile("rb")
        self.path = file.readline().decode().split(" ")[1]
        for raw in iter(file.readline, b"\r\n"):
            name, _, value = raw.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self.body = file.read(int(self.headers.get("content-length", "0")))

    def say(self, data: bytes) -> None:
        """Answer with raw bytes."""
        self.line.sendall(data)


def answers(status: int, body: bytes = b"", **headers: str) -> Behave:
    """Behave well: answer with a status, headers and a body."""
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    def behave(caller: Caller) -> None:
        length = len(body)
        caller.say(
            f"HTTP/1.1 {status} Said\r\n{head}content-length: {length}\r\n\r\n".encode() + body
        )

    return behave


def says_forever(start: bytes, piece: bytes, pause: float) -> Behave:
    """Answer without an end, until the other side hangs up."""

    def behave(caller: Caller) -> None:
        caller.say(start)
        while True:
            caller.say(piece)
            threading.Event().wait(pause)

    return behave


class Receiver:
    """Listens on loopback and behaves as told, for every caller in a thread of its own."""

    def __init__(
        self,
        behave: Behave,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behave = behave
        self.callers: list[Caller] = []
        self._tls = tls
        self._socket = socket.create_server((address, port))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError, ValueError):
            if self._tls is not None:
                line = self._tls.wrap_socket(line, server_side=True)
            caller = Caller(line)
            with line:
                caller.read()
                self.callers.append(caller)
                try:
                    self.behave(caller)
                except OSError:
                    caller.hung_up.set()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@contextmanager
def receiver(
    behave: Behave, *, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """Run a receiver for the length of a block."""
    listening = Receiver(behave, address=address, port=port, tls=tls)
    try:
        yield listening
    finally:
        listening.close()


def certificate(folder: Path, name: str, *more: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for names. Returns the server's context, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - dt.timedelta(hours=1))
        .not_valid_after(made + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(list(map(_general, (name, *more)))), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "receiver.pem"
    file.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

"""Starting the service, and finding out why it would not start."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from asyncio import TimerHandle
from pathlib import Path
from typing import Final

import click
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from registry import __version__, catalog, config, jobs
from registry.app import (
    about_probing,
    create_app,
    http_client,
    make_alerts,
    make_sources,
    prepare,
    setup_of,
    targets_of,
    waits_of,
)
from registry.config import Settings
from registry.core.errors import RegistryError, Unavailable
from registry.core.redaction import redact
from registry.db import Database, is_current
from registry.probing.platforms import ConfigError, Upstream, cost_per_day
from registry.web.errors import MEDIA_TYPE, describe

__all__ = ["Protocol", "findings", "listen", "load_catalog", "run"]


HEAD_MAX: Final = 64 * 1024
"""Bytes that the head of a request may have: request line and headers."""
_TOO_LARGE: Final = f"The head of the request is larger than {HEAD_MAX:,} bytes; make it smaller."
_TOO_LATE: Final = "The request did not arrive in time; send it anew."


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, with an end to everything that a client can leave unfinished.

    uvicorn reads a head however large it is, and waits for the rest of a request and for somebody to take
    its answer for ever. And ASGI tells the application of a shutdown only after the last connection has
    closed, which a stream would never let happen; so it hears of it here.
    """

    head_seconds = 10.0
    """Within which a head is complete, from the connection or from its first byte."""
    body_seconds = 60.0
    """Within which the body is complete, from the end of its head: 8 MiB at 140 kB a second."""
    write_seconds = 60.0
    """For which an answer may wait for somebody to read on."""

    linger_seconds = 2.0
    """For which what still comes after a refusal is thrown away, so that the client gets to read it."""

    _head = 0  # bytes of a head that is not complete
    _owing: object = None  # the message (its scope) of which something is to come
    _owes_head = True
    _late: TimerHandle | None = None  # runs while anything is to come
    _unread: TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._late = self.loop.call_later(self.head_seconds, self._is_late)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, no head beyond what it may have, and see what is still to come."""
        if self._late is None and len(data) <= HEAD_MAX:
            before = self.scope
            super().data_received(data)
            if self.scope is before or self._is_unfinished():
                self._await_rest(len(data))
            return
        while data and not self._refused and not self.transport.is_closing():
            room = HEAD_MAX - self._head
            piece, data = data[:room], data[room:]
            before, was_open, cycle = self.scope, self._is_unfinished(), self.cycle
            super().data_received(piece)
            if self._is_unfinished() or (self.scope is before and not was_open):
                self._await_rest(len(piece) if self.cycle is cycle else 0)
            else:
                self._settle()

    def _is_unfinished(self) -> bool:
        """Say whether the newest message lacks something. uvicorn knows of a head by its method."""
        cycle = self.cycle
        return cycle is None or cycle.scope is not self.scope or cycle.more_body

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._settle()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Nobody reads the answer: wait, but not for ever."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The answer is read on."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Let this connection end with the answer that is under way."""
        streams = self.app_state.get("streams")
        if streams is not None:
            streams.close()
        super().shutdown()

    def _await_rest(self, came: int) -> None:
        """Give the rest of a message its time, once for its head and once for its body.

        Empty lines before a message are a part of its head. `came`: bytes that are not of an earlier one.
        """
        message, cycle = self.scope, self.cycle
        head = cycle is None or cycle.scope is not message or not cycle.more_body
        self._head = self._head + came if head else 0
        if self._late is None or self._owing is not message or self._owes_head is not head:
            if self._late is not None:
                self._late.cancel()
            self._owing, self._owes_head = message, head
            seconds = self.head_seconds if head else self.body_seconds
            self._late = self.loop.call_later(seconds, self._is_late)
        if self._head >= HEAD_MAX:
            self._refuse(431, "too-large", _TOO_LARGE)

    def _settle(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late, self._head = None, 0

    def _is_late(self) -> None:
        if self.scope is None:
            self.transport.close()  # connected, and said nothing
        else:
            self._refuse(408, "request-timeout", _TOO_LATE)

    def _refuse(self, status: int, slug: str, detail: str) -> None:
        """End the connection, with a refusal where no other answer is under way."""
        self._refused = True
        self._settle()
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if self.transport.is_closing():
            return
        if answering and (cycle.response_started or cycle.scope is not self.scope):
            self.transport.close()
            return
        if answering:  # the application still waits for the body
            cycle.disconnected = True
            cycle.message_event.set()
        body = json.dumps(describe(status, slug, detail)).encode()
        self.transport.write(
            b"%sconnection: close\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"
            % (STATUS_LINE[status], MEDIA_TYPE.encode(), len(body), body)
        )
        # Closed at once, what is still on its way would make the client's system drop the answer.
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._late = self.loop.call_later(self.linger_seconds, self.transport.close)
        else:
            self.transport.close()


GRACE: Final = 10
"""Seconds that answers under way have to end once the server stops."""

HANGS: Final = 120
"""Seconds without a sign of life after which a worker process is replaced.

A worker of a busy machine starts in many seconds, and what it counted is lost when it is killed.
"""


def run(settings: Settings, config_file: str | None) -> None:
    """Serve until stopped. Raises `RegistryError` when it cannot start: port in use, database away."""
    prepare(settings)
    count = load_catalog(settings)
    _subscribe(settings)
    listener = listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"beta-registry {__version__} knows {count} betas: http://{shown}:{port}")
    if settings.host not in ("127.0.0.1", "::1", "localhost") and settings.public_read:
        click.echo(
            "Reads are open to everybody who can reach it (BETA_REGISTRY_PUBLIC_READ).", err=True
        )
    options = {
        "log_config": None, "access_log": False, "lifespan": "on", "server_header": False,
        "http": Protocol, "timeout_graceful_shutdown": GRACE, "timeout_worker_healthcheck": HANGS,
    }  # fmt: skip
    if settings.workers == 1:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), **options))  # type: ignore[arg-type]
        server.run(sockets=[listener])
        return
    _hand_over(settings, config_file)
    shared = uvicorn.Config(
        "registry.app:from_environment", factory=True, workers=settings.workers, **options  # type: ignore[arg-type]
    )  # fmt: skip
    Multiprocess(shared, sockets=[listener]).run()


def _hand_over(settings: Settings, config_file: str | None) -> None:
    """Let worker processes read the same settings: they see the environment, not the command line."""
    if config_file:
        os.environ[f"{config.PREFIX}CONFIG"] = str(Path(config_file).absolute())
    os.environ[f"{config.PREFIX}DATABASE_URL"] = settings.database_url


def load_catalog(settings: Settings) -> int:
    """Load the bundled catalog into an empty database, so that the first answer is a real one."""
    database = Database(settings.database_url, waits_of(settings))
    try:
        with database.read() as session:
            known = len(catalog.snapshot(session).betas)
        if known:
            return known
        first = [source for source in make_sources(settings) if source.name == "catalog"]
        with http_client() as http:
            for source in first:
                done = jobs.sync(database, source, http, config.now)
                if done.error:
                    raise Unavailable(f"The catalog cannot be loaded: {done.error}")
        with database.read() as session:
            return len(catalog.snapshot(session).betas)
    finally:
        database.close()


def _subscribe(settings: Settings) -> None:
    """Let the subscriptions be those of the settings, in the parent process, once."""
    database = Database(settings.database_url, waits_of(settings))
    try:
        made = make_alerts(settings, database).reconcile(
            [item.wanted() for item in settings.subscriptions]
        )
    finally:
        database.close()
    if made:
        click.echo(f"{made} new subscriptions from the settings.")


def listen(host: str, port: int) -> socket.socket:
    """Open the port. Raises `Unavailable` with what to do."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise Unavailable(
            f"Cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from None
    listener.set_inheritable(True)
    return listener


def findings(settings: Settings) -> list[tuple[str, str]]:
    """Return (`ok`, `note` or `bad`, a sentence) for everything that can be checked of a service from here."""
    found = _about_database(settings)
    found.append(_about_port(settings))
    found += _about_targets(settings)
    if settings.offline:
        found.append(("note", "Offline: no source but the catalog is read."))
    return found


def _about_database(settings: Settings) -> list[tuple[str, str]]:
    database = Database(settings.database_url, waits_of(settings))
    name = database.place
    file = Path(database.url.database or "") if database.is_sqlite else None
    try:
        if file is not None and not file.is_file():
            return [
                ("note", f"There is no database at {file} yet; `serve` makes it."),
                *_about_disk(file),
            ]
        if not is_current(database):
            return [("bad", f"The database {name} is out of date; run `beta-registry db upgrade`.")]
        with database.read() as session:
            known = len(catalog.snapshot(session).betas)
            statuses = catalog.sources(session, settings.sources, runs=1)
        return [
            ("ok", f"The database {name} is up to date and knows {known} betas."),
            *map(_about_source, statuses),
        ]
    except RegistryError as error:
        return [("bad", str(error))]
    finally:
        database.close()


def _about_disk(file: Path) -> list[tuple[str, str]]:
    folder = file.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return [
            (
                "bad",
                f"The folder {folder} cannot be written; choose another with BETA_REGISTRY_DATABASE_URL.",
            )
        ]
    free = shutil.disk_usage(folder).free
    return [("bad", f"The disk of {folder} is full.")] if free < 50_000_000 else []


def _about_source(status: catalog.SourceStatus) -> tuple[str, str]:
    if status.error:
        return "bad", f"Source {status.name}: {status.error}"
    if status.succeeded_at is None:
        return (
            "note",
            f"Source {status.name} was never read; run `beta-registry sync {status.name}`.",
        )
    return (
        "ok",
        f"Source {status.name}: {status.names} betas, read on {status.succeeded_at:%Y-%m-%d %H:%M} UTC.",
    )


def _about_port(settings: Settings) -> tuple[str, str]:
    try:
        listen(settings.host, settings.port).close()
    except Unavailable as error:
        return "note", f"{error.detail} Perhaps the service runs there already."
    return "ok", f"Port {settings.port} on {settings.host} is free."


def _about_targets(settings: Settings) -> list[tuple[str, str]]:
    found = targets_of(settings)
    told = [("ok" if found else "note", f"Probing is {about_probing(settings)}.")]
    for target in found:
        sweeps = 86400 / target.every.total_seconds()
        cost = cost_per_day(setup_of(target), min(target.max_requests, 6), sweeps)
        if cost:
            told.append(("note", cost))
        try:
            Upstream(setup_of(target)).close()
        except ConfigError as error:
            told.append(("bad", redact(str(error))))
    return told

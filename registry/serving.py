"""Starting the service, and finding out why it would not start."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path
from typing import Final

import click
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
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
)
from registry.config import Settings
from registry.core.errors import RegistryError, Unavailable
from registry.db import Database, is_current
from registry.probing.platforms import ConfigError, Upstream, cost_per_day

__all__ = ["Protocol", "findings", "listen", "load_catalog", "run"]


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, but the application hears of a shutdown and ends its streams.

    ASGI tells it only after the last connection has closed, which a stream would never let happen.
    """

    def shutdown(self) -> None:
        """Let this connection end with the answer that is under way."""
        streams = self.app_state.get("streams")
        if streams is not None:
            streams.close()
        super().shutdown()


GRACE: Final = 10
"""Seconds that answers under way have to end once the server stops."""


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
        "http": Protocol, "timeout_graceful_shutdown": GRACE,
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
    database = Database(settings.database_url)
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
    database = Database(settings.database_url)
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
    """Return (`ok`, `note` or `bad`, a sentence) for everything that can be checked from here."""
    found = [("ok", f"beta-registry {__version__} on Python {platform.python_version()}.")]
    found += _about_database(settings)
    found.append(_about_port(settings))
    found += _about_targets(settings)
    if settings.offline:
        found.append(("note", "Offline: no source but the catalog is read."))
    return found


def _about_database(settings: Settings) -> list[tuple[str, str]]:
    database = Database(settings.database_url)
    name = database.url.render_as_string(hide_password=True)
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
        return [("bad", error.detail)]
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
            told.append(("bad", str(error)))
    return told

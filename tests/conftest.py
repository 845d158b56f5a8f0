"""What all tests share: both databases for real, a clock that stands, and the service over real HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import hypothesis
import pytest
import sqlalchemy as sa
import uvicorn

from registry import app as composition
from registry import db
from registry.config import Settings
from registry.serving import Protocol
from tests import postgres
from tests.waiting import until

hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of the machine reach a test: no settings, no proxies, no keys, no files."""
    for variable in list(os.environ):
        if variable.startswith(("BETA_REGISTRY_", "ANTHROPIC_", "AWS_", "GOOGLE_")):
            monkeypatch.delenv(variable)
        if variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> Iterator[None]:
    """Let programs that tests start hear an interrupt: a shell has those in its background ignore it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fixed_now() -> datetime:
    """The moment at which the tests' clock stands."""
    return NOW


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "registry.db"
    db.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server of this worker's own, without a database's name."""
    with postgres.server("fsync=off", "full_page_writes=off") as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: str) -> str:
    url = _named(postgres_server, "template_registry")
    _run(postgres_server, "CREATE DATABASE template_registry")
    db.upgrade(url)
    return "template_registry"


def _named(server: str, name: str) -> str:
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


def _run(server: str, statement: str) -> None:
    engine = sa.create_engine(
        sa.make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """A migrated, empty SQLite database of this test's own."""
    path = tmp_path / "registry.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: str, _postgres_template: str) -> Iterator[str]:
    """A migrated, empty PostgreSQL database of this test's own."""
    name = f"test_{uuid.uuid4().hex}"
    _run(postgres_server, f"CREATE DATABASE {name} TEMPLATE {_postgres_template}")
    yield _named(postgres_server, name)
    _run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database: the test runs on both kinds."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[db.Database]:
    """An open database of either kind."""
    opened = db.Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that nobody listens on, nor can while the test lasts: it is taken, and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


Serve = Callable[..., httpx2.Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the real service in this process on a free port; gives a client of it.

    Call it with settings; the scheduler is off unless asked for. `http` is another protocol to serve by.
    """
    stops: list[Callable[[], None]] = []

    def start(http: type[Protocol] = Protocol, **given: object) -> httpx2.Client:
        settings = Settings(**{"scheduler": False, **given})  # type: ignore[arg-type]
        server = uvicorn.Server(
            uvicorn.Config(
                composition.create_app(settings),
                port=0,
                log_config=None,
                lifespan="on",
                http=http,
            )
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until(lambda: server.started or not thread.is_alive(), "the service")
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

        def stop() -> None:
            client.close()
            server.should_exit = True
            thread.join(timeout=60)

        stops.append(stop)
        return client

    yield start
    for stop in reversed(stops):
        stop()

"""What the public reads holds no secret: errors of every source, and of a database that is away."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from registry import jobs, serving
from registry.app import http_client, make_sources
from registry.config import Settings
from registry.db import Database
from tests.conftest import NOW, Serve

SECRET = "S3cret"
PARTS = (f"{SECRET}user", f"{SECRET}word", f"{SECRET}query", f"{SECRET}part", f"{SECRET}folder")
SOURCES = {
    "catalog": "catalog_location",
    "sdk": "sdk_index_url",
    "litellm": "litellm_location",
    "release-notes": "release_notes_location",
    "docs": "docs_location",
}
PLACES = [
    "http://{0}:{1}@127.0.0.1:{port}/x.md?key={2}#{3}",
    "http://{0}:{1}@127.0.0.1:{port}/moved?key={2}",
    "http://{0}:{1}@127.0.0.1:{port}/rubbish?key={2}",
    "http://{0}:{1}@127.0.0.1:1/x.md?key={2}",
    "http://{0}:{1}/{3}@127.0.0.1:{port}/x",
    "http://{0}:{1}@127.0.0.1:{1}/x",
    "http://{0}:{1}@[127.0.0.1/x",
    "ftp://{0}:{1}@127.0.0.1/x.md?key={2}",
    "file:///srv/{4}/x.md?key={2}",
    "/srv/{4}/x.md",
]


class Index(http.server.BaseHTTPRequestHandler):
    """Answers badly, and sends those who ask to other places with a signature in their URL."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved") and "hop" not in self.path:
            self.send_response(302)
            self.send_header("location", f"/moved/?hop=1&X-Amz-Signature={PARTS[3]}")
        else:
            self.send_response(200 if self.path.startswith("/rubbish") else 404)
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"\xffubbish")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def index() -> Iterator[int]:
    """The port of a server that no source can read."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("place", PLACES)
def test_a_source_that_fails_tells_no_secret(
    sqlite_url: str, serve: Serve, index: int, name: str, place: str
) -> None:
    """Not in the changelog, the feeds, the list of sources, the result of a run or `doctor`."""
    location = place.format(*PARTS, port=index)
    given: dict[str, Any] = {"sources": [name], SOURCES[name]: location}
    settings = Settings(database_url=sqlite_url, port=0, **given)
    database = Database(sqlite_url)
    with http_client() as http:
        (source,) = make_sources(settings)
        done = jobs.sync(database, source, http, lambda: NOW)
    database.close()
    assert done.error
    service = serve(database_url=sqlite_url, admin_token="a" * 16, sources=[name])
    paths = (
        "/v1/changelog",
        "/v1/changelog.atom",
        "/v1/changelog.json",
        "/v1/changelog.md",
        "/changelog",
    )
    told = [service.get(path).text for path in paths]
    told.append(service.get("/v1/sources", headers={"Authorization": "Bearer " + "a" * 16}).text)
    told += [done.error, *(sentence for _, sentence in serving.findings(settings))]
    assert "source.failed" in told[0]
    assert not [text for text in told if SECRET.lower() in text.lower()]


def _get(service: httpx2.Client, *paths: str) -> str:
    return "\n".join(f"{service.get(path).status_code} {service.get(path).text}" for path in paths)


def test_a_database_that_is_away_is_not_described_to_the_public(
    postgres_url: str, serve: Serve, log: Callable[[], str]
) -> None:
    """Neither its host nor its user; the log has the host, and nobody has the password."""
    import sqlalchemy as sa

    away = sa.make_url(postgres_url).set(
        drivername="postgresql+psycopg", username="s3cretuser", password="s3cretword",
        host="127.0.0.1", port=1, database="s3cretname", query={},
    )  # fmt: skip
    service = serve(database_url=away.render_as_string(hide_password=False), secret_key="k" * 16)
    told = _get(service, "/readyz", "/v1/changelog", "/v1/betas", "/v1/header?beta=x", "/changelog")
    assert "503" in told
    assert "cannot be reached" in told
    assert not [word for word in ("s3cret", "127.0.0.1", "port 1", "psycopg") if word in told]
    logged = log()
    assert "postgresql+psycopg://127.0.0.1:1/s3cretname cannot be reached" in logged
    assert "s3cretword" not in logged


def test_a_file_that_is_no_database_is_not_described_to_the_public(
    tmp_path: Any, serve: Serve
) -> None:
    """Its path is for the log."""
    folder = tmp_path / "s3cret"
    folder.mkdir()
    (folder / "x.db").write_text("no database " * 1000)
    told = _get(serve(database_url=f"sqlite:///{folder}/x.db"), "/readyz", "/v1/changelog")
    assert "not a usable SQLite database" in told
    assert "s3cret" not in told


@pytest.fixture
def log() -> Iterator[Callable[[], str]]:
    """What is logged, as text."""
    import logging

    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    kept = Kept()
    logging.getLogger("registry").addHandler(kept)
    yield lambda: "\n".join(lines)
    logging.getLogger("registry").removeHandler(kept)

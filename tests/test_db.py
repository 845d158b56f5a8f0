"""Trouble of the database comes out as one sentence, and nothing is half done."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from registry import catalog, db
from registry.core.errors import Invalid, Unavailable
from tests.factories import NOW, claim, finding


def test_a_locked_database_is_told(sqlite_url: str) -> None:
    """After the time that a writer waits."""
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database = db.Database(sqlite_url)
    with (
        pytest.raises(Unavailable, match="is locked by another program; try again"),
        database.write() as session,
    ):
        catalog.apply(session, finding("docs"), NOW, NOW)
    other.close()
    with database.write() as session:
        catalog.apply(session, finding("docs"), NOW, NOW)
    database.close()


def test_a_full_disk_loses_nothing(sqlite_url: str) -> None:
    """The transaction is rolled back whole."""
    database = db.Database(sqlite_url)
    with database.write() as session:
        catalog.apply(session, finding("docs", claim("a-2026-01-01", source="docs")), NOW, NOW)
    many = [claim(f"f{n}-2026-01-01", source="docs") for n in range(2000)]

    @sa.event.listens_for(database.engine, "begin")
    def _no_room(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # never below what is in use

    with pytest.raises(Unavailable, match="is full; make room"), database.write() as session:
        catalog.apply(session, finding("docs", *many), NOW, NOW)
    with database.read() as session:
        assert list(catalog.snapshot(session).betas) == ["a-2026-01-01"]
    database.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql+psycopg://user:s3cret@127.0.0.1:9/none", "cannot be reached"),
        ("sqlite:////nowhere/at/all.db", "cannot be opened"),
    ],
)
def test_a_database_that_is_away(url: str, says: str) -> None:
    """The password is not shown."""
    database = db.Database(url)
    with pytest.raises(Unavailable) as caught, database.read() as session:
        catalog.snapshot(session)
    assert says in caught.value.detail
    assert "s3cret" not in caught.value.detail
    database.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is left alone."""
    file = tmp_path / "some.db"
    file.write_bytes(b"some text, " * 1000)
    with pytest.raises(Unavailable, match="not a usable SQLite database"):
        db.upgrade(f"sqlite:///{file}")
    assert file.read_bytes() == b"some text, " * 1000


@pytest.mark.parametrize("url", ["mysql://a/b", "nonsense", "", "sqlite"])
def test_other_urls_are_refused(url: str) -> None:
    """With the two forms that work."""
    with pytest.raises(Invalid, match="use sqlite:///FILE or"):
        db.Database(url)


def test_a_naive_moment_is_never_stored() -> None:
    """Nobody knows what it means."""
    with pytest.raises(TypeError):
        db.UTCDateTime().process_bind_param(NOW.replace(tzinfo=None), sqlite.dialect())

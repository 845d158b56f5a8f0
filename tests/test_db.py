"""Trouble of the database comes out as one sentence, and nothing is half done."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from registry import catalog, db
from registry.core.errors import Invalid, NotFound, Unavailable
from tests.factories import NOW, claim, finding
from tests.relay import Relay

QUICK = db.Waits(connect=1, statement=0.3, lock=0.2, pool=0.1)


def test_a_locked_database_is_told(sqlite_url: str) -> None:
    """After the time that a writer waits."""
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database = db.Database(sqlite_url, QUICK)
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


def test_what_is_not_there_is_made_or_named(tmp_path: Path, postgres_url: str) -> None:
    """`upgrade` makes a file; what it cannot make it names, and never itself as the remedy."""
    new = f"sqlite:///{tmp_path}/new.db"
    for act in (db.check, lambda url: db.downgrade(url, "base")):
        with pytest.raises(NotFound, match="`beta-registry db upgrade` makes it"):
            act(new)
        assert not (tmp_path / "new.db").exists()
    db.upgrade(new)
    db.check(new)
    with pytest.raises(Unavailable, match=f"there is no folder {tmp_path}/none; make it first"):
        db.upgrade(f"sqlite:///{tmp_path}/none/new.db")
    absent = sa.make_url(postgres_url).set(database="no_such_database")
    with pytest.raises(Unavailable, match=r"There is no database .*; make it with `createdb`"):
        db.upgrade(absent.render_as_string(hide_password=False))


def test_a_schema_that_is_old_says_how_to_renew_it(database_url: str) -> None:
    """Told by what the database answers, and by nothing that a sentence of it happens to hold."""
    db.downgrade(database_url, "base")
    with pytest.raises(Unavailable, match="run `beta-registry db upgrade`"):
        db.check(database_url)
    database = db.Database(database_url)
    outdated = pytest.raises(Unavailable, match="is out of date; run `beta-registry db upgrade`")
    with outdated, database.read() as session:
        catalog.snapshot(session)
    for name in ("disk_full", "no_space_left_locked", "malformed"):
        with pytest.raises(Unavailable, match="is out of date"), database.read() as session:
            session.execute(sa.text(f"SELECT 1 FROM {name}"))
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


def test_a_server_that_falls_silent_is_given_up(postgres_url: str) -> None:
    """Also by connections that were open before, which nothing closes; afterwards all goes on."""
    with Relay(postgres_url) as relay:
        database = db.Database(relay.url, QUICK)
        with (  # noqa: PT012 - the silence begins inside
            pytest.raises(Unavailable, match="did not answer within"),
            database.read() as session,
        ):
            catalog.revision(session)
            relay.hold()
            catalog.revision(session)
        with pytest.raises(Unavailable, match="cannot be reached"), database.read() as session:
            catalog.revision(session)
        relay.release()
        with database.write() as session:
            catalog.apply(session, finding("docs"), NOW, NOW)
        database.close()


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(60)", "SELECT * FROM usages"], ids=["statement", "lock"]
)
def test_a_long_wait_on_the_server_ends(postgres_url: str, statement: str) -> None:
    """A slow statement and a lock that somebody holds are told alike."""
    database, other = db.Database(postgres_url, QUICK), db.Database(postgres_url)
    with other.write() as holder:
        holder.execute(sa.text("LOCK TABLE usages IN ACCESS EXCLUSIVE MODE"))
        with (
            pytest.raises(Unavailable, match="took too long, or a lock in it was held too long"),
            database.read() as session,
        ):
            session.execute(sa.text(statement))
    database.close()
    other.close()


def test_what_the_url_says_of_waits_counts(postgres_url: str) -> None:
    """An operator's own parameters outweigh ours."""
    with Relay(postgres_url) as relay:
        database = db.Database(f"{relay.url}?tcp_user_timeout=1234", db.Waits(keepalive=7))
        with database.engine.connect() as connection:
            held = connection.connection.driver_connection
            assert held is not None
            told = held.info.get_parameters()
        assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("1234", "7")
        database.close()


def test_connections_that_are_all_in_use_are_told(database_url: str) -> None:
    """The pool's time-out is no error of the driver, and is Unavailable all the same."""
    database = db.Database(database_url, QUICK, connections=1)
    with database.read() as first:
        catalog.revision(first)
        with (
            pytest.raises(Unavailable, match="All connections to the database are in use"),
            database.read() as second,
        ):
            catalog.revision(second)
    database.close()


def test_any_error_of_the_database_layer_is_unavailable(
    database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw too; the log has the details."""
    with pytest.raises(Unavailable, match="NoResultFound"), database.read() as session:
        session.execute(sa.text("SELECT 1 WHERE 1 = 0")).one()
    assert "NoResultFound" in caplog.text


def test_of_many_transactions_the_surplus_is_refused_at_once(database_url: str) -> None:
    """And counted; a place is free again when one ends, however it ends."""
    database = db.Database(database_url, most=1)
    for _ in range(2):
        with pytest.raises(RuntimeError), database.read():  # noqa: PT012 - all of it is the case
            with pytest.raises(Unavailable, match="1 requests wait"), database.write():
                pass
            raise RuntimeError
    assert (database.room.taken_now, database.room.refused) == (0, 2)
    database.close()


def _take_away(file: Path) -> None:
    file.rename(file.with_suffix(".away"))


def _replace(file: Path) -> None:
    other = file.with_suffix(".other")
    db.upgrade(f"sqlite:///{other}")
    other.replace(file)


def _take_the_log(file: Path) -> None:
    Path(f"{file}-wal").unlink()


def _take_the_index(file: Path) -> None:
    Path(f"{file}-shm").unlink()


def _empty(file: Path) -> None:
    os.truncate(file, 0)


def _copy_another_into_it(file: Path) -> None:
    other = file.with_suffix(".other")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE things (name TEXT)")
    file.write_bytes(other.read_bytes())  # as `cp` does


GONE = pytest.mark.parametrize(
    "harm",
    [_take_away, _replace, _take_the_log, _take_the_index, _empty, _copy_another_into_it],
)


def _sources(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM sources ORDER BY name")]


@GONE
def test_nothing_is_written_into_a_file_that_is_gone(
    sqlite_url: str, harm: Callable[[Path], None]
) -> None:
    """Neither by a connection that is open nor by a new one, which would make an empty database."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    database, other = db.Database(sqlite_url), db.Database(sqlite_url)
    with database.write() as session:
        catalog.apply(session, finding("docs"), NOW, NOW)
    harm(file)
    before = sorted(item.name for item in file.parent.iterdir())
    for one in (database, other):
        with (
            pytest.raises(Unavailable, match="was removed or replaced while it was in use"),
            one.write() as session,
        ):
            catalog.apply(session, finding("sdk"), NOW, NOW)
        with pytest.raises(Unavailable, match="removed or replaced"), one.read():
            pass
    assert database.file is not None
    assert database.file.is_lost
    assert sorted(item.name for item in file.parent.iterdir()) == before
    database.close()
    other.close()


@GONE
def test_a_file_that_goes_during_a_transaction_acknowledges_nothing(
    sqlite_url: str, harm: Callable[[Path], None]
) -> None:
    """The commit went into it, so whoever wrote must not believe in it."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    database = db.Database(sqlite_url)
    with (  # noqa: PT012 - the commit at the end is the case
        pytest.raises(Unavailable, match=r"removed or replaced|not a usable SQLite database"),
        database.write() as session,
    ):
        catalog.apply(session, finding("docs"), NOW, NOW)
        harm(file)
    database.close()


def test_a_database_may_be_tidied_while_it_is_used(sqlite_url: str) -> None:
    """`VACUUM` makes its file smaller, and nothing is lost."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    database = db.Database(sqlite_url)
    with database.write() as session:
        catalog.apply(session, finding("docs"), NOW, NOW)
        session.execute(sa.text("CREATE TABLE ballast AS SELECT randomblob(2000000) AS weight"))
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with database.read():
            before = file.stat().st_size
        other.execute("DROP TABLE ballast")
        other.execute("VACUUM")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert file.stat().st_size < before
    with database.write() as session:
        catalog.apply(session, finding("sdk"), NOW, NOW)
    database.close()
    assert _sources(file) == ["docs", "sdk"]


def test_a_file_that_comes_back_is_used_again(sqlite_url: str) -> None:
    """Nothing was lost, so nothing need be started anew."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    beside = [Path(f"{file}{ending}") for ending in ("", "-wal", "-shm")]
    database = db.Database(sqlite_url)
    with database.write() as session:
        catalog.apply(session, finding("docs"), NOW, NOW)
    for item in beside:
        item.rename(f"{item}.away")
    with pytest.raises(Unavailable, match="removed or replaced"), database.write():
        pass
    for item in beside:
        Path(f"{item}.away").rename(item)
    with database.write() as session:
        catalog.apply(session, finding("sdk"), NOW, NOW)
    database.close()
    assert _sources(file) == ["docs", "sdk"]

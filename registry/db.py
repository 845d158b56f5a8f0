"""The database: engine, transactions, schema version. The only module that knows the dialects apart.

SQLite is embedded by default and PostgreSQL serves several replicas; both behave alike for callers:
`Database.write()` orders writers, `Database.read()` sees one consistent state, every wait has an end
(`Waits`), and every failure of the database itself comes out as `Unavailable` (or `Conflict`) with one
sentence.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast
from weakref import WeakSet, WeakValueDictionary

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Dialect, Engine, make_url
from sqlalchemy.orm import DeclarativeBase, Session

from registry.core.errors import Conflict, Invalid, NotFound, Unavailable
from registry.core.redaction import public_url

__all__ = [
    "Database",
    "UTCDateTime",
    "Waits",
    "check",
    "create_engine",
    "downgrade",
    "is_current",
    "upgrade",
    "upsert",
]

log = logging.getLogger("registry.db")

NAMING: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names, so that migrations can name what they change on every database."""

TOO_SLOW: Final = ("57014", "55P03")
"""SQLSTATE of what PostgreSQL ends at `statement_timeout` and at `lock_timeout`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """The longest waits on a database, in seconds. What a PostgreSQL URL says itself outweighs them.

    `statement` None lets a statement run as long as it takes: for migrations, which an operator watches.
    """

    connect: float = 5.0
    statement: float | None = 20.0
    lock: float = 10.0
    """For another writer: a row or table on PostgreSQL, the whole database on SQLite."""
    pool: float = 5.0
    """For a connection, while all of the pool are in use."""
    keepalive: float = 10.0
    """Silence on a connection after which TCP asks whether the other side is still there."""
    tcp_user: float = 15.0
    """For the other side's acknowledgement of what was sent (`TCP_USER_TIMEOUT`)."""

    @property
    def answer(self) -> float | None:
        """How long a connection waits for the server: longer than the server's own time-outs."""
        return None if self.statement is None else max(self.statement, self.lock) + 2.0


class UTCDateTime(sa.types.TypeDecorator[datetime]):
    """An aware moment, stored in UTC. Naive values are refused: nobody knows what they mean."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("A moment must carry its time zone.")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read UTC: SQLite gives the moment back without its zone."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Database:
    """One database with its two kinds of transaction. Safe to share between threads.

    Of at most `most` transactions at a time, the next one raises `Unavailable` at once, so that those who
    wait for a slow database never hold all threads of a service. `guard` runs first in every transaction
    that writes, and can refuse it.
    """

    def __init__(
        self,
        url: str,
        waits: Waits = Waits(),
        *,
        connections: int = 10,
        most: int | None = None,
        guard: Callable[[Session], None] | None = None,
    ) -> None:
        self.url = _parse(url)
        self.file = _File.of(self.url)
        self.engine = create_engine(url, waits, connections=connections, file=self.file)
        isolation = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._read = self.engine.execution_options(**isolation)
        self._write = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        self.room = _Room(most)
        self._guard = guard

    @property
    def place(self) -> str:
        """Say where the database is, to those who run the service: without user, password and options."""
        return public_url(self.url.render_as_string(hide_password=True))

    @property
    def is_sqlite(self) -> bool:
        """Say whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that commits at the end of the block and rolls back on any error.

        Raises `Unavailable` also after the commit, if it went into a file that is not there any more.
        """
        sessions = Session(self._write, expire_on_commit=False)
        with _translated(self.url), self.room.taken(), sessions as session:
            with session.begin():
                if self.file is not None:
                    session.connection()  # the lock first, so that what is checked then still holds
                    self.file.check()
                if self._guard is not None:
                    self._guard(session)
                yield session
            if self.file is not None:
                self.file.check()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one consistent state and is rolled back at the end."""
        if self.file is not None:
            self.file.check()
        with (
            _translated(self.url),
            self.room.taken(),
            Session(self._read, expire_on_commit=False) as session,
        ):
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _Room:
    """How many transactions are under way, and how many were turned away because there were too many."""

    def __init__(self, most: int | None) -> None:
        self._most, self._lock = most, threading.Lock()
        self.taken_now, self.refused = 0, 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place for the block. Raises `Unavailable` when there is none."""
        with self._lock:
            full = self._most is not None and self.taken_now >= self._most
            if full:
                self.refused += 1
            else:
                self.taken_now += 1
        if full:
            raise Unavailable(
                f"{self._most} requests wait for the database already; try again in a moment.",
                slug="database-unavailable",
            )
        try:
            yield
        finally:
            with self._lock:
                self.taken_now -= 1


_Identity = tuple[int, int] | None
_BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a database while any connection is open."""


class _Connection(sqlite3.Connection):
    """A connection that a weak set can hold."""


class _File:
    """The file of an embedded database: whether it, and what is beside it, still is what was opened.

    SQLite goes on writing into a file that was removed or replaced, and all of it is lost. So it does
    where another file was copied into this one, which is seen if the other is shorter.
    """

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, threading.Lock()
        self._open: WeakSet[_Connection] = WeakSet()
        self._seen: dict[str, _Identity] = {"": _identity(path)}
        self._size, self._is_cut = 0, False
        self.is_lost = False

    @classmethod
    def of(cls, url: URL) -> _File | None:
        """Return the file of a database, the same for all who name it; None where it has none."""
        path = url.database or ""
        if url.get_backend_name() != "sqlite" or path in ("", ":memory:") or path[:5] == "file:":
            return None
        path = os.path.abspath(path)
        return _files.get(path) or _files.setdefault(path, cls(path))

    def opened(self, connection: _Connection) -> None:
        """Note a connection that was opened. Raises `Unavailable`."""
        with self._lock:
            for ending in ("", *_BESIDE):
                if not self._seen.get(ending) or (ending and not self._open):
                    self._seen[ending] = _identity(self._path + ending)
            self._open.add(connection)
        self.check()

    def closing(self, connection: _Connection) -> None:
        """Note that a connection is about to be closed: with the last one go the files beside."""
        with self._lock:
            self._open.discard(connection)

    def check(self) -> None:
        """Raise `Unavailable` unless all is what was opened."""
        with self._lock:
            endings = ("", *_BESIDE) if self._open else ("",)
            lost = [ending for ending in endings if self._differs(ending)]
            if not lost and self._open:
                self._is_cut = (
                    self._is_cut or self._shrank()
                )  # for good: nothing puts back what was in it
                lost = [""] * self._is_cut
            self.is_lost = bool(lost)
        if lost:
            name = os.path.basename(self._path) + lost[0]
            raise Unavailable(
                f"The database file {name} was removed or replaced while it was in use, so nothing more is "
                "written to it. Put it back or restore a backup, and start again.",
                slug="database-unavailable",
            )

    def _differs(self, ending: str) -> bool:
        seen = self._seen.get(ending)
        return seen is not None and _identity(self._path + ending) != seen

    def _shrank(self) -> bool:
        """Say whether the file is shorter than before, and too short for what it must hold.

        `VACUUM` shortens it too, to just what the index of the log says that it holds.
        """
        before, self._size = self._size, os.stat(self._path).st_size
        return self._size < before and self._size < (_least_size(self._path) or before)


_files: Final[WeakValueDictionary[str, _File]] = WeakValueDictionary()


def _identity(path: str) -> _Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _least_size(path: str) -> int:
    """Return how large a database is by the index of its log; 0 where that does not say.

    By SQLite's "WAL-Index File Format": bytes 14 and 20 of the header, in the machine's order.
    """
    try:
        with open(f"{path}-shm", "rb") as index:
            header = index.read(24)
    except OSError:
        return 0
    page = int.from_bytes(header[14:16], sys.byteorder)
    pages = int.from_bytes(header[20:24], sys.byteorder)
    return pages * (65536 if page == 1 else page)


def create_engine(
    url: str, waits: Waits = Waits(), *, connections: int = 10, file: _File | None = None
) -> Engine:
    """Make an engine for SQLite or PostgreSQL. Raises `Invalid` for any other URL."""
    parsed = _parse(url)
    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": waits.pool}
    if parsed.get_backend_name() != "sqlite":
        return _postgres_engine(parsed, waits, pool)
    in_memory = not parsed.database or parsed.database == ":memory:"
    engine = sa.create_engine(
        parsed,
        connect_args={"timeout": waits.lock, "factory": _Connection},
        **({} if in_memory else pool),
    )

    def before(*_: object) -> None:
        if file is not None:
            file.check()  # else SQLite would make an empty database where one was removed

    def configure(connection: _Connection, _record: object) -> None:
        _configure_sqlite(connection, waits)
        if file is not None:
            file.opened(connection)

    def closing(connection: _Connection, _record: object) -> None:
        if file is not None:
            file.closing(connection)

    event.listen(engine, "do_connect", before)
    event.listen(engine, "connect", configure)
    event.listen(engine, "close", closing)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres_engine(url: URL, waits: Waits, pool: Mapping[str, Any]) -> Engine:
    from registry.bounded import BoundedConnection  # needs libpq, which a SQLite user may lack

    given: dict[str, int] = {
        "connect_timeout": math.ceil(waits.connect),
        "keepalives": 1,
        "keepalives_idle": math.ceil(waits.keepalive),
        "keepalives_interval": math.ceil(waits.keepalive / 3),
        "keepalives_count": 3,
        "tcp_user_timeout": round(waits.tcp_user * 1000),
    }
    kept = {key: value for key, value in given.items() if key not in url.query}
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args=kept, **pool)

    def connect(_dialect: Dialect, _record: object, args: Any, more: Any) -> BoundedConnection:
        made = BoundedConnection.connect(*args, **more)
        made.answer_seconds = waits.answer
        return made

    def configure(connection: BoundedConnection, _record: object) -> None:
        # Not as start-up parameters: a pooler in between refuses those.
        connection.autocommit = True
        for name, seconds in (("statement", waits.statement), ("lock", waits.lock)):
            if seconds is not None:
                connection.execute(f"SET {name}_timeout = {round(seconds * 1000)}")
        connection.autocommit = False

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", configure)
    return engine


def upgrade(url: str) -> None:
    """Bring the schema to the newest revision; does nothing when it is there already."""
    _alembic(url, "upgrade", "head")


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to `revision` (`base` for empty). Raises `Invalid` if it is unknown."""
    _alembic(url, "downgrade", revision)


def check(url: str) -> None:
    """Raise `Unavailable` unless the tables are exactly those of the models."""
    _alembic(url, "check")


def is_current(database: Database) -> bool:
    """Say whether the schema is at the newest revision. Raises `Unavailable`."""
    with database.read() as session:
        context = MigrationContext.configure(session.connection())
        return context.get_current_revision() == _newest_revision()


@cache
def _newest_revision() -> str | None:
    return ScriptDirectory(str(_migrations())).get_current_head()


Columns = Any
"""The columns of a table, or of the row that an insert proposed: `columns.name`."""


def upsert(
    session: Session,
    model: type[DeclarativeBase],
    rows: Sequence[Mapping[str, Any]],
    change: Callable[[Columns, Columns], Mapping[str, Any]] | None = None,
    returning: Sequence[str] = (),
) -> list[Any]:
    """Insert rows in one statement; a row whose key is there is changed, or left alone without `change`.

    `change(held, proposed)` gives the new values. The key is the table's unique constraint if it has one,
    else its primary key; no two rows may share it. Returns the columns `returning` of the rows that were
    inserted or changed, in no order.
    """
    if not rows:
        return []
    table = cast(sa.Table, model.__table__)
    unique = (c for c in table.constraints if isinstance(c, sa.UniqueConstraint))
    key = [column.name for column in next(unique, None) or table.primary_key]
    make = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    insert = make(table)
    statement: Any = (
        insert.on_conflict_do_nothing(index_elements=key)
        if change is None
        else insert.on_conflict_do_update(
            index_elements=key, set_=dict(change(table.c, insert.excluded))
        )
    )
    if not returning:
        session.execute(statement, rows)
        return []
    wanted = statement.returning(*(table.c[name] for name in returning))
    return list(session.execute(wanted, rows).all())


def _alembic(url: str, action: str, *arguments: str) -> None:
    parsed = _parse(url)
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file and action != "upgrade" and not Path(parsed.database or "").is_file():
        # SQLite would make an empty database of it.
        raise NotFound(
            f"There is no database at {parsed.database}; `beta-registry db upgrade` makes it."
        )
    engine = create_engine(url, Waits(statement=None))
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    try:
        with _translated(parsed), engine.begin() as connection:
            config.attributes["connection"] = connection
            getattr(command, action)(config, *arguments)
    except CommandError as error:
        if action == "check":
            raise Unavailable(
                "The database is not as this version wants it; run `beta-registry db upgrade`. "
                f"{str(error).rstrip('.')}."
            ) from error
        raise Invalid(f"Database {action}: {error}") from error
    finally:
        engine.dispose()


def _migrations() -> Path:
    """Find the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(str(files("registry")))
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise Invalid(
            "The database URL cannot be read; use sqlite:///FILE or "
            "postgresql+psycopg://HOST/NAME with USER:PASSWORD and @ before HOST, percent-encoded."
        ) from None
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise Invalid(
            f"{parsed.get_backend_name()} is not supported; use sqlite:///FILE or "
            "postgresql+psycopg://HOST/NAME."
        )
    return parsed


def _configure_sqlite(connection: sqlite3.Connection, waits: Waits) -> None:
    # Python's driver must not open transactions by itself: `_begin_sqlite` does, so that a writer
    # takes its lock at once instead of failing half-way ("database is locked").
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={round(waits.lock * 1000)}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    """Turn failures of the database into domain errors with one sentence."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise Conflict(
            f"The database refused this as contradictory: {_first_line(error)}"
        ) from error
    except sa.exc.DataError as error:
        raise Invalid(f"The database cannot hold this: {_first_line(error)}") from error
    except sa.exc.DBAPIError as error:
        raise Unavailable(
            _explain(error), slug="database-unavailable", inside=_explain(error, url)
        ) from error
    except sa.exc.TimeoutError as error:
        raise Unavailable(
            "All connections to the database are in use; try again in a moment.",
            slug="database-unavailable",
        ) from error
    except sa.exc.SQLAlchemyError as error:
        log.exception("The database could not be used.")
        raise Unavailable(
            f"The database could not be used ({type(error).__name__}); the log has the details.",
            slug="database-unavailable",
        ) from error


def _explain(error: sa.exc.DBAPIError, url: URL | None = None) -> str:
    """Say in one sentence what is wrong and what to do, by the codes that the driver gives.

    Host, path and the driver's words are only for those who may know `url`.
    """
    text, code = _first_line(error), getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    state = str(getattr(error.orig, "sqlstate", None) or "")
    place = f" {public_url(url.render_as_string(hide_password=True))}" if url is not None else ""
    # SQLite has no code of its own for these; what PostgreSQL says while connecting has no state at all.
    if state in TOO_SLOW:
        return (
            "The database took too long, or a lock in it was held too long; try again in a moment."
        )
    if state in _OLD_SCHEMA or (code == sqlite3.SQLITE_ERROR and text.startswith("no such ")):
        return f"The database{place} is out of date; run `beta-registry db upgrade`."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"The database{place} is locked by another program; try again in a moment."
    if code == sqlite3.SQLITE_FULL or state == "53100":
        return f"The disk that holds the database{place} is full; make room and try again."
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        folder = Path(url.database or "").absolute().parent if url is not None else None
        if folder is not None and not folder.is_dir():
            return (
                f"The database{place} cannot be opened: there is no folder {folder}; make it first."
            )
        return f"The database{place} cannot be opened for writing; check the path and its rights."
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"The file{place} is not a usable SQLite database; restore it or name another."
    if url is None:
        return "The database cannot be reached; the log of the service says why."
    if f'database "{url.database}" does not exist' in text:
        return f"There is no database{place}; make it with `createdb`, then run `beta-registry db upgrade`."
    return f"The database{place} cannot be reached: {text}"


_OLD_SCHEMA: Final = frozenset({"42P01", "42703", "42883", "42704", "3F000"})
"""What PostgreSQL says where a table, a column, a function, a type or a schema is not there."""


def _first_line(error: sa.exc.DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]

"""The database: engine, transactions, schema version. The only module that knows the dialects apart.

SQLite is embedded by default and PostgreSQL serves several replicas; both behave alike for callers:
`Database.write()` orders writers, `Database.read()` sees one consistent state, and every failure of the
database itself comes out as `Unavailable` (or `Conflict`) with one sentence.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast

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

from registry.core.errors import Conflict, Invalid, Unavailable

__all__ = [
    "Database",
    "UTCDateTime",
    "check",
    "create_engine",
    "downgrade",
    "is_current",
    "upgrade",
    "upsert",
]

NAMING: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names, so that migrations can name what they change on every database."""

BUSY_TIMEOUT: Final = 10.0
"""Seconds that a writer waits for another one on SQLite."""


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
    """One database with its two kinds of transaction. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.engine = create_engine(url)
        isolation = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._read = self.engine.execution_options(**isolation)
        self._write = self.engine.execution_options(begin="BEGIN IMMEDIATE")

    @property
    def is_sqlite(self) -> bool:
        """Say whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that commits at the end of the block and rolls back on any error."""
        sessions = Session(self._write, expire_on_commit=False)
        with _translated(self.url), sessions as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one consistent state and is rolled back at the end."""
        with _translated(self.url), Session(self._read, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def create_engine(url: str) -> Engine:
    """Make an engine for SQLite or PostgreSQL. Raises `Invalid` for any other URL."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(
            parsed, pool_pre_ping=True, pool_size=10, connect_args={"connect_timeout": 5}
        )
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
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
    wanted = ScriptDirectory(str(_migrations())).get_current_head()
    with _translated(database.url), database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == wanted


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
    parsed, engine = _parse(url), create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    try:
        with _translated(parsed), engine.begin() as connection:
            config.attributes["connection"] = connection
            getattr(command, action)(config, *arguments)
    except CommandError as error:
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
    except sa.exc.ArgumentError as error:
        raise Invalid(
            "The database URL cannot be read; use sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/NAME."
        ) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise Invalid(
            f"{parsed.get_backend_name()} is not supported; use sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/NAME."
        )
    return parsed


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's driver must not open transactions by itself: `_begin_sqlite` does, so that a writer
    # takes its lock at once instead of failing half-way ("database is locked").
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")


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
        raise Unavailable(_explain(url, error), slug="database-unavailable") from error


def _explain(url: URL, error: sa.exc.DBAPIError) -> str:
    text, place = _first_line(error), url.render_as_string(hide_password=True)
    lowered = text.lower()
    if "no such table" in lowered or "does not exist" in lowered or "no such column" in lowered:
        return f"The database {place} is out of date; run `beta-registry db upgrade`."
    if "locked" in lowered or "busy" in lowered:
        return f"The database {place} is locked by another program; try again in a moment."
    if ("disk" in lowered and "full" in lowered) or "no space left" in lowered:
        return f"The disk that holds {place} is full; make room and try again."
    if "unable to open" in lowered or "readonly" in lowered or "read-only" in lowered:
        return f"The database {place} cannot be opened for writing; check the path and its rights."
    if "not a database" in lowered or "malformed" in lowered:
        return f"{place} is not a usable SQLite database; restore it or name another file."
    return f"The database {place} cannot be reached: {text}"


def _first_line(error: sa.exc.DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]

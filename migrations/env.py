"""Alembic's entry: runs the migrations on the connection that `registry.db` hands over.

Called by itself (`alembic revision`), it connects to the database named by `-x url=...`.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from registry.db import UTCDateTime, create_engine
from registry.models import Base

LOCK = 0x62657461  # "beta": any number will do, as long as all replicas take the same


def render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Write our own column type as what it is in the database."""
    if kind == "type" and isinstance(value, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: sa.Connection) -> None:
    """Run what was asked for, alone: replicas that start together wait for the first."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_item=render_item,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    migrate(handed_over)
else:
    url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///beta-registry.db")
    with create_engine(url).begin() as own:
        migrate(own)

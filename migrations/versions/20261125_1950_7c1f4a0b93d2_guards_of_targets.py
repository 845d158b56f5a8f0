"""guards of targets: locks, memory, removal

Revision ID: 7c1f4a0b93d2
Revises: 8b1f4c02d7ae
Create Date: 2026-11-25 19:35:12.402517+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "7c1f4a0b93d2"
down_revision = "8b1f4c02d7ae"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)
FILLED = {"successes": (INTEGER, "0"), "blinds": (INTEGER, "0"), "memory": (JSON, "{}"),
          "believed": (JSON, "[]")}  # fmt: skip


def upgrade() -> None:
    with op.batch_alter_table("targets", schema=None) as batch_op:
        for name, (kind, empty) in FILLED.items():
            batch_op.add_column(sa.Column(name, kind, nullable=False, server_default=empty))
        batch_op.add_column(sa.Column("locked", JSON, nullable=True))
        batch_op.add_column(sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_column("confirmed")
    with op.batch_alter_table("targets", schema=None) as batch_op:
        for name, (kind, _) in FILLED.items():
            batch_op.alter_column(name, existing_type=kind, server_default=None)


STANDINGS = sa.table(
    "standings",
    sa.column("target", sa.String),
    sa.column("beta", sa.String),
    sa.column("facts", JSON),
)
NEW_FACTS = ("mixed_since", "calm", "excused")


def downgrade() -> None:
    # The release before reads a standing member by member and knows none of these.
    held = op.get_bind()
    for target, beta, facts in held.execute(sa.select(STANDINGS)).all():
        held.execute(
            sa.update(STANDINGS)
            .where(STANDINGS.c.target == target, STANDINGS.c.beta == beta)
            .values(facts={key: value for key, value in facts.items() if key not in NEW_FACTS})
        )
    with op.batch_alter_table("targets", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("confirmed", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        for name in ("removed_at", "locked", *FILLED):
            batch_op.drop_column(name)
    with op.batch_alter_table("targets", schema=None) as batch_op:
        batch_op.alter_column("confirmed", existing_type=sa.Boolean(), server_default=None)

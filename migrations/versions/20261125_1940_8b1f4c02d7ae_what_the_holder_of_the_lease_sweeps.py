"""what the holder of the lease sweeps

Revision ID: 8b1f4c02d7ae
Revises: 9e41c7d0a8b3
Create Date: 2026-11-25 19:40:12.351907+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "8b1f4c02d7ae"
down_revision = "9e41c7d0a8b3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.add_column(sa.Column("targets", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.drop_column("targets")

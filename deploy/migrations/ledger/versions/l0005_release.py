"""Releases and routes."""

import sqlalchemy as sa
from alembic import op

revision = "l0005"
down_revision = "l0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "releases",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("adapter", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("since", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("gate", sa.String, nullable=False),
        sa.Column("overridden_by", sa.String),
        sa.Column("approved_by", sa.String),
        sa.Column("step_since", sa.String),
        sa.Column("replaced", sa.String),
    )
    op.create_table(
        "routes",
        sa.Column("workload", sa.String, primary_key=True),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("champion", sa.String, nullable=False),
        sa.Column("challenger", sa.String),
        sa.Column("challenger_arm", sa.String),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("salt", sa.String, nullable=False),
        sa.Column("changed_at", sa.String),
    )


def downgrade() -> None:
    for table in ("routes", "releases"):
        op.drop_table(table)

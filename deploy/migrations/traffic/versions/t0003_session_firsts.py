"""On which days each session got a bad answer, so that sessions are counted beside answers.

On the day on which this is applied sessions that are open count once more: what they got before is not looked up.
"""

import sqlalchemy as sa
from alembic import op

revision = "t0003"
down_revision = "t0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "session_firsts",
        sa.Column("workload", sa.String, primary_key=True),
        sa.Column("session", sa.String, primary_key=True),
        sa.Column("day", sa.String, primary_key=True),
        sa.Column("counted_in", sa.String, primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("session_firsts")

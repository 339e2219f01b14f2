"""What each closed window was judged on, each time; and how often a window was judged again.

Windows that were closed before have no line here: nobody knows on how many rows they were judged, so they stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "l0007"
down_revision = "l0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("drift_window", sa.Column("judged_again", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "drift_judgement",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("window", sa.String, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("start", sa.String, nullable=False),
        sa.Column("end", sa.String, nullable=False),
        sa.Column("since", sa.String, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("champion", sa.String, nullable=False),
        sa.Column("released_at", sa.String),
        sa.Column("line", sa.String, nullable=False),
        sa.Column("found", sa.String, nullable=False),
        sa.Column("withdrawn", sa.String, nullable=False),
    )
    op.create_index("drift_judgement_once", "drift_judgement", ["window", "times"], unique=True)
    op.create_index("drift_judgement_by_end", "drift_judgement", ["workload", "end"])


def downgrade() -> None:
    op.drop_table("drift_judgement")
    op.drop_column("drift_window", "judged_again")

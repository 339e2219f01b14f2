"""Dead letters are found by age, so that old ones can be deleted."""

from alembic import op

revision = "t0008"
down_revision = "t0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("dead_letters_by_age", "dead_letters", ["workload", "at"])


def downgrade() -> None:
    op.drop_index("dead_letters_by_age", "dead_letters")

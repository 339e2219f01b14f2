"""When each data key was used last, so that keys without content can be deleted. Those of before count as used at the migration."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "l0011"
down_revision = "l0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subject_keys", sa.Column("used_at", sa.String, nullable=False, server_default=""))
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    op.get_bind().exec_driver_sql("UPDATE subject_keys SET used_at = ?", (now,))
    op.create_index("subject_keys_by_use", "subject_keys", ["workload", "used_at"])


def downgrade() -> None:
    op.drop_index("subject_keys_by_use", "subject_keys")
    op.drop_column("subject_keys", "used_at")

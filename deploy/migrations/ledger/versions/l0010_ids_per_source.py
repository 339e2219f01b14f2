"""Ids of corrections are unique within their source. Rows of before keep their id: cases, examples and the journal name them by it.

``answer_key`` goes: answers are compared by the workload's rule, which a digest cannot hold.
"""

import sqlalchemy as sa
from alembic import op

revision = "l0010"
down_revision = "l0009"
branch_labels = None
depends_on = None
minimum_version = "0.2.0"


def upgrade() -> None:
    op.add_column("submissions", sa.Column("given_id", sa.String, nullable=False, server_default=""))
    op.add_column("corrections", sa.Column("source", sa.String, nullable=False, server_default=""))
    op.add_column("corrections", sa.Column("given_id", sa.String, nullable=False, server_default=""))
    connection = op.get_bind()
    connection.exec_driver_sql("UPDATE submissions SET given_id = id")
    connection.exec_driver_sql("UPDATE corrections SET given_id = id, source = json_extract(body, '$.source')")
    op.create_index("submissions_by_given_id", "submissions", ["given_id", "source"], unique=True)
    op.create_index("corrections_by_given_id", "corrections", ["given_id", "source"], unique=True)
    op.drop_column("corrections", "answer_key")


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before the upgrade")

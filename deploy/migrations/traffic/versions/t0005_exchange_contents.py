"""Content gets a table of its own; a row gets the ids by which it is looked up.

Rows of before keep their text in ``messages`` and ``answer`` and are read from there. Newer rows leave both empty, so that code of 0.1.0
would find no text in them.
"""

import sqlalchemy as sa
from alembic import op

revision = "t0005"
down_revision = "t0004"
branch_labels = None
depends_on = None
minimum_version = "0.2.0"


def upgrade() -> None:
    op.create_table(
        "exchange_contents",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("subject_key", sa.Integer, nullable=False),
        sa.Column("compression", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.add_column("inferences", sa.Column("completion_id", sa.String, nullable=False, server_default=""))
    op.add_column("inferences", sa.Column("client_request_id", sa.String, nullable=False, server_default=""))
    op.add_column("inferences", sa.Column("answered", sa.Boolean))
    for name, column in (("inferences_by_completion", "completion_id"), ("inferences_by_client_request", "client_request_id")):
        op.create_index(name, "inferences", [column], sqlite_where=sa.text(f"{column} != ''"))


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before the upgrade")

"""What an alert decides by becomes fields of its document; rows get a version, and what is asked every second gets an index.

Alerts of before hold ``seen_until``, ``late_windows``, ``fired_again_at`` and ``movers`` in their evidence. They are rewritten once,
here, so that there is one reader. Code of 0.1.0 cannot read the new documents.
"""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "l0008"
down_revision = "l0007"
branch_labels = None
depends_on = None
minimum_version = "0.2.0"


def upgrade() -> None:
    op.add_column("alert", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("alert", sa.Column("changed", sa.Integer, nullable=False, server_default="0"))
    op.add_column("alert", sa.Column("resolved_at", sa.String))
    connection = op.get_bind()
    held = connection.exec_driver_sql("SELECT id, body FROM alert ORDER BY started_at, id").fetchall()
    for changed, (alert, body) in enumerate(held, start=1):
        document = with_parts(json.loads(body))
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        connection.exec_driver_sql(
            "UPDATE alert SET body = ?, changed = ?, resolved_at = ? WHERE id = ?", (text, changed, document["resolved_at"], alert)
        )
    op.create_index("alert_by_change", "alert", ["changed"])
    op.create_index("alert_by_start", "alert", ["workload", "started_at"])
    op.create_index("journal_by_subject", "journal", ["subject", "kind", "seq"])
    op.create_index("journal_by_kind", "journal", ["workload", "kind", "seq"])
    op.create_index("work_to_do", "work", ["kind", "created_at"], sqlite_where=sa.text("state IN ('open', 'leased')"))
    op.create_index("drift_window_by_end", "drift_window", ["workload", "end"])


def with_parts(document: dict[str, object]) -> dict[str, object]:
    """An alert's document as 0.1.0 wrote it -> with its typed parts."""
    evidence = dict(document.pop("evidence"))  # type: ignore[call-overload]
    series = evidence.pop("movers", None)
    series = [one for one in series if isinstance(one, dict)] if isinstance(series, list) else []
    count = evidence.pop("moved", len(series))
    window = evidence.pop("window", "")
    first = evidence.pop("first_window", window)
    late = evidence.pop("late_windows", [])
    seen = {
        "first": first,
        "newest": window,
        "until": _as_stored(evidence.pop("seen_until", None)) or document["started_at"],
        "late": late,
        "drifted": sorted({(str(one.get("slice")), str(one.get("column"))) for one in series}),
        "drifted_count": count,
    }
    message = {name: document.pop(name) for name in ("summary", "first_action", "runbook")}
    for name in ("labels", "fingerprint"):
        document.pop(name)
    if "behind" in evidence:
        evidence["primary_drivers"] = evidence.pop("behind")
    fired_again = _as_stored(evidence.pop("fired_again_at", None))
    return {
        **document,
        "message": message,
        "seen": seen,
        "fired_again_at": fired_again,
        "evidence": {**evidence, **({"drifted_series": series} if series else {})},
    }


def _as_stored(moment: object) -> str | None:
    """ISO 8601 with an offset -> UTC with microseconds, as every time of the ledger stands."""
    if not moment:
        return None
    return datetime.fromisoformat(str(moment)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before the upgrade")

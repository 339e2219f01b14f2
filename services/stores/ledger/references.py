"""References in the ledger, and what they held at each hour of the day: one blob of counts for each hour of weekdays and of weekends."""

import json
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Integer, LargeBinary, String, Table, delete, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.drift.profile import Profile
from flywheel.drift.reference import Maturity, Reference
from flywheel.errors import InvalidInput
from flywheel.ids import AdapterName, Person, WorkloadId
from flywheel.windows.pane import WindowCounts
from services.stores.database import metadata, to_json, to_moment
from services.stores.traffic.tables import pane_from_blob, pane_to_blob

reference_table = Table(
    "drift_reference",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("adapter", String, nullable=False),
    Column("start", String, nullable=False),
    Column("end", String, nullable=False),
    Column("maturity", String, nullable=False),
    Column("pinned_by", String, nullable=False),
    Column("pinned_at", String, nullable=False),
    Column("counts", String, nullable=False),
    Column("meta", String, nullable=False),
)


profile_table = Table(
    "drift_profile",
    metadata,
    Column("reference", String, primary_key=True),
    Column("weekend", Integer, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("counts", LargeBinary, nullable=False),
)


def put_profile(connection: Connection, reference: Reference, profile: Profile) -> None:
    """In place of what was kept of it: a period that is pinned once more may hold rows that came late, and has today's digest."""
    connection.execute(delete(profile_table).where(profile_table.c.reference == reference.id))
    rows = [
        {"reference": reference.id, "weekend": weekend, "hour": hour, "counts": pane_to_blob(cell)}
        for (weekend, hour), cell in sorted(profile.cells.items())
    ]
    if rows:
        connection.execute(insert(profile_table), rows)


def read_profile(connection: Connection, reference: Reference) -> Profile | None:
    """None for a reference that is not read by the hour. Raises InvalidInput where the counts are not those that were pinned."""
    if "profile" not in reference.meta:
        return None
    query = select(profile_table).where(profile_table.c.reference == reference.id)
    profile = Profile(cells={(row.weekend, row.hour): pane_from_blob(row.counts) for row in connection.execute(query)})
    if profile.digest != reference.meta["profile"]:
        raise InvalidInput(
            "the counts by the hour are not those the reference was pinned with",
            where=f"reference {reference.id}",
            value=profile.digest,
            remedy="Restore the ledger from a backup, or pin a new reference (`flywheel reference pin`).",
        )
    return profile


def counts_text(counts: WindowCounts) -> str:
    return to_json(
        {
            "rows": dict(counts.rows),
            "counts": {name: {column: values.tolist() for column, values in columns.items()} for name, columns in counts.counts.items()},
        }
    )


def reference_from(row: Any) -> Reference:
    held = json.loads(row.counts)
    start, end = to_moment(row.start), to_moment(row.end)
    counts = WindowCounts(
        workload=WorkloadId(row.workload),
        start=start,
        end=end,
        counts={
            name: {column: np.asarray(values, dtype=np.int64) for column, values in columns.items()}
            for name, columns in held["counts"].items()
        },
        rows=held["rows"],
    )
    return Reference(
        id=row.id,
        workload=WorkloadId(row.workload),
        adapter=AdapterName(row.adapter),
        start=start,
        end=end,
        maturity=Maturity(row.maturity),
        pinned_by=Person(row.pinned_by),
        pinned_at=to_moment(row.pinned_at),
        counts=counts,
        meta=json.loads(row.meta),
    )

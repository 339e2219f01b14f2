"""A reference by the hour of the day, in the ledger: one blob of counts for each hour of weekdays and of weekends.

In and out: values of ``flywheel.drift.profile``, inside the caller's transaction. A profile that is not the one its reference was pinned
with is an error, never used.
"""

from sqlalchemy import Column, Connection, Integer, LargeBinary, String, Table, delete, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.drift.profile import Profile
from flywheel.drift.reference import Reference
from flywheel.errors import InvalidInput
from services.stores.database import metadata
from services.stores.traffic.tables import pane_from_blob, pane_to_blob

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

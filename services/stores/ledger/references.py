"""References in the ledger, and their seasonal references: one blob of counts for each hour of weekdays and of weekends."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Integer, LargeBinary, String, Table, delete, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.drift.reference import Covers, Maturity, Reference
from flywheel.drift.seasonal_reference import SeasonalReference
from flywheel.drift.thresholds import CalibratedThresholds, Dispersion
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING, AdapterName, Person, WorkloadId
from flywheel.traffic.column import Measure
from flywheel.windows.counts import CountMatrix
from flywheel.windows.slices import Pane
from services.stores.database import metadata, to_json, to_moment
from services.stores.traffic.tables import pane_from_blob, pane_to_blob

PIN_AGAIN = "Pin the reference again (`flywheel reference pin`)."

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


seasonal_reference_table = Table(
    "drift_profile",
    metadata,
    Column("reference", String, primary_key=True),
    Column("weekend", Integer, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("counts", LargeBinary, nullable=False),
)


def put_seasonal_reference(connection: Connection, reference: Reference, seasonal: SeasonalReference) -> None:
    """Replaces the stored seasonal reference: a period that is pinned again may contain late rows, and then has another digest."""
    connection.execute(delete(seasonal_reference_table).where(seasonal_reference_table.c.reference == reference.id))
    rows = [
        {"reference": reference.id, "weekend": weekend, "hour": hour, "counts": pane_to_blob(Pane(matrix=cell))}
        for (weekend, hour), cell in sorted(seasonal.cells.items())
    ]
    if rows:
        connection.execute(insert(seasonal_reference_table), rows)


def read_seasonal_reference(connection: Connection, reference: Reference) -> SeasonalReference | None:
    """None for a reference that is not read by the hour. Raises InvalidInput where the counts are not those that were pinned."""
    if not reference.seasonal_digest:
        return None
    query = select(seasonal_reference_table).where(seasonal_reference_table.c.reference == reference.id)
    seasonal = SeasonalReference(cells={(row.weekend, row.hour): pane_from_blob(row.counts).matrix for row in connection.execute(query)})
    if seasonal.digest != reference.seasonal_digest:
        raise InvalidInput(
            "the counts by the hour are not those the reference was pinned with",
            where=f"reference {reference.id}",
            value=seasonal.digest,
            remedy="Restore the ledger from a backup, or pin a new reference (`flywheel reference pin`).",
        )
    return seasonal


def counts_text(counts: CountMatrix) -> str:
    held = {name: {column: counts.of(column)[at].tolist() for column, _ in counts.bins} for at, name in enumerate(counts.slices)}
    return to_json({"rows": counts.rows_by_slice, "counts": held})


def meta_text(reference: Reference) -> str:
    """A reference without its counts, as JSON; no thresholds if none were calibrated. The keys are those that 966c45d wrote."""
    return to_json(
        {
            "covers": reference.covers.value,
            "rows": reference.counts.rows_of(EVERYTHING),
            "slices": len(reference.counts.slices),
            "grids": dict(reference.grids),
            **({"profile": reference.seasonal_digest} if reference.seasonal_digest else {}),
            **({"thresholds": thresholds_to_document(reference.thresholds)} if reference.thresholds is not None else {}),
        }
    )


def reference_from(row: Any) -> Reference:
    """Raises InvalidInput for a use or for thresholds that are none."""
    meta = json.loads(row.meta)
    covers, thresholds = meta.get("covers", Covers.ALL.value), meta.get("thresholds")
    if covers not in set(Covers):
        raise InvalidInput("unknown use of a reference", where=f"reference {row.id}, covers", value=covers, remedy=PIN_AGAIN)
    return Reference(
        id=row.id,
        workload=WorkloadId(row.workload),
        adapter=AdapterName(row.adapter),
        start=to_moment(row.start),
        end=to_moment(row.end),
        maturity=Maturity(row.maturity),
        pinned_by=Person(row.pinned_by),
        pinned_at=to_moment(row.pinned_at),
        counts=_counts(json.loads(row.counts)),
        covers=Covers(covers),
        grids={str(name): str(grid) for name, grid in meta.get("grids", {}).items()},
        seasonal_digest=str(meta.get("profile", "")),
        thresholds=thresholds_from_document(thresholds) if thresholds is not None else None,
    )


def _counts(held: Mapping[str, Any]) -> CountMatrix:
    """The counts of a reference as a matrix. A slice whose bins of a column differ from those of all traffic lacks that column."""
    rows, counts = held["rows"], held["counts"]
    bins = {column: len(values) for name in sorted(counts, key=lambda name: name == EVERYTHING) for column, values in counts[name].items()}
    matrix = np.zeros((len(rows), sum(bins.values())), dtype=np.int64)
    found = CountMatrix(slices=tuple(rows), bins=tuple(bins.items()), counts=matrix, rows=np.array(list(rows.values()), dtype=np.int64))
    for at, name in enumerate(rows):
        for column, values in counts.get(name, {}).items():
            if len(values) == bins[column]:
                found.of(column)[at] = values
    return found


def thresholds_to_document(thresholds: CalibratedThresholds) -> dict[str, object]:
    """Lists in place of keys of several parts."""
    return {
        "strengths": [[hours, family, measure.value, value] for (hours, family, measure), value in thresholds.z_scores.items()],
        "spreads": [[hours, column, held.base, held.slope] for (hours, column), held in thresholds.dispersions.items()],
        "minimum_rows": [[hours, family, column, rows] for (hours, family, column), rows in thresholds.minimum_rows.items()],
        "floors": [[family, measure.value, effect] for (family, measure), effect in thresholds.minimum_effects.items()],
        "pages_a_day": thresholds.alarms_a_day,
        "null_days": thresholds.days,
        "seed": thresholds.seed,
        **({"silences": dict(thresholds.silences)} if thresholds.silences else {}),
    }


def thresholds_from_document(held: Any) -> CalibratedThresholds:
    """The inverse."""
    try:
        return CalibratedThresholds(
            z_scores={(_whole(hours), str(family), Measure(measure)): _number(z) for hours, family, measure, z in held["strengths"]},
            dispersions={
                (_whole(hours), str(column)): Dispersion(base=_number(base), slope=_number(slope))
                for hours, column, base, slope in held["spreads"]
            },
            minimum_rows={(_whole(hours), str(family), str(column)): _whole(rows) for hours, family, column, rows in held["minimum_rows"]},
            minimum_effects={(str(family), Measure(measure)): _number(effect) for family, measure, effect in held["floors"]},
            alarms_a_day=_number(held["pages_a_day"]),
            days=_number(held["null_days"]),
            seed=_whole(held["seed"]),
            silences={str(name): _whole(hours) for name, hours in held.get("silences", {}).items()},  # references of before have none
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            "these are no thresholds of a false-alarm budget", where="reference, thresholds", value=str(error), remedy=PIN_AGAIN
        ) from error


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is not a number from 0 on")
    return float(value)

"""What closed windows were judged on, each time, with what late rows changed; and a verdict as JSON.

In and out: values of ``flywheel.drift`` inside the caller's transaction. A line is small and is read every second, beside the window,
whose verdicts may be a megabyte.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, String, Table, and_, func, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.drift.late_data import JudgedRows, Reevaluation
from flywheel.drift.verdict import DriftComparison, DriftStatus, DriftVerdict
from flywheel.ids import AdapterName, WorkloadId
from flywheel.traffic.column import Family
from services.ports.drift import Judgement, LateFinding
from services.stores.database import metadata, to_json, to_moment, to_text

judgement_table = Table(
    "drift_judgement",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("window", String, nullable=False),
    Column("times", Integer, nullable=False),  # 0: when it closed
    Column("workload", String, nullable=False),
    Column("start", String, nullable=False),
    Column("end", String, nullable=False),
    Column("since", String, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("at", String, nullable=False),
    Column("champion", String, nullable=False),
    Column("released_at", String),
    Column("line", String, nullable=False),
    Column("found", String, nullable=False),
    Column("withdrawn", String, nullable=False),
    Index("drift_judgement_once", "window", "times", unique=True),
    Index("drift_judgement_by_end", "workload", "end"),
)
NONE = "[]"


def put_judgement(connection: Connection, judgement: Judgement, *, workload: WorkloadId, reevaluation: Reevaluation | None = None) -> None:
    """A duplicate of window and number raises: the caller has updated the window's row under the same condition."""
    on = judgement.on
    connection.execute(
        insert(judgement_table).values(
            window=on.window,
            times=on.times,
            workload=workload,
            start=to_text(on.start),
            end=to_text(on.end),
            since=to_text(on.since),
            rows=on.rows,
            position=on.position,
            at=to_text(on.at),
            champion=judgement.champion or "",
            released_at=to_text(judgement.released_at) if judgement.released_at is not None else None,
            line=judgement.line,
            found=to_json([verdict_dict(verdict, start=on.start) for verdict in reevaluation.found]) if reevaluation else NONE,
            withdrawn=to_json([verdict_dict(verdict, start=on.start) for verdict in reevaluation.withdrawn]) if reevaluation else NONE,
        )
    )


def move_position(connection: Connection, judged: JudgedRows, *, position: int) -> None:
    """Updates this judgement only; the position never decreases."""
    table = judgement_table.c
    held = and_(table.window == judged.window, table.times == judged.times, table.position < position)
    connection.execute(update(judgement_table).where(held).values(position=position))


def read_judgements(connection: Connection, workload: WorkloadId, *, ended_after: datetime) -> list[Judgement]:
    """The newest judgement of each window, oldest window first. Omits ``found`` and ``withdrawn``, which this query does not need."""
    table = judgement_table.c
    query = (
        select(*(column for column in table if column.name not in ("found", "withdrawn")))
        .where(table.workload == workload, table.end >= to_text(ended_after))
        .order_by(table.end, table.window, table.times)
    )
    return list({row.window: _judgement(row) for row in connection.execute(query)}.values())


def newest_judgement(connection: Connection) -> int:
    """The number of the newest judgement; each judgement has the next one."""
    return int(connection.execute(select(func.coalesce(func.max(judgement_table.c.seq), 0))).scalar_one())


def read_late_findings(connection: Connection, workload: WorkloadId, *, after: int, limit: int) -> list[LateFinding]:
    """The newest ``limit``, oldest first."""
    table = judgement_table.c
    query = (
        select(table.seq, table.window, table.times, table.start, table.end, table.found)
        .where(table.workload == workload, table.seq > after, table.times > 0, table.found != NONE)
        .order_by(table.seq.desc())
        .limit(limit)
    )
    return [
        LateFinding(
            seq=row.seq,
            window=row.window,
            end=to_moment(row.end),
            times=row.times,
            found=verdicts_from(row.found, workload=workload, start=to_moment(row.start), end=to_moment(row.end)),
        )
        for row in reversed(list(connection.execute(query)))
    ]


def verdict_dict(verdict: DriftVerdict, *, start: datetime) -> dict[str, object]:
    """A verdict as JSON, without workload and times, which the window has. Contains the start only for a longer window."""
    return {
        **({"window_start": to_text(verdict.window_start)} if verdict.window_start != start else {}),
        "kind": verdict.kind.value,
        "slice": verdict.slice,
        "column": verdict.column,
        "status": verdict.status.value,
        "reason": verdict.reason,
        "n": verdict.n,
        "n_reference": verdict.n_reference,
        "method": verdict.method,
        "score": verdict.score,
        "effect": verdict.effect,
        "threshold": verdict.threshold,
        "effect_floor": verdict.minimum_effect,
        "evidence": dict(verdict.evidence),
    }


def verdicts_from(text: str, *, workload: WorkloadId, start: datetime, end: datetime) -> tuple[DriftVerdict, ...]:
    """The inverse, of a list."""
    held: Sequence[Mapping[str, Any]] = json.loads(text)
    return tuple(_verdict(one, workload, start, end) for one in held)


def _verdict(held: Mapping[str, Any], workload: WorkloadId, start: datetime, end: datetime) -> DriftVerdict:
    compared = ("score", "effect", "threshold", "effect_floor")
    rest = {key: value for key, value in held.items() if key not in ("kind", "status", "window_start", *compared)}
    score, effect, threshold, minimum_effect = (held[key] for key in compared)
    comparison = None
    if score is not None:
        comparison = DriftComparison(score=score, effect=effect, threshold=threshold, minimum_effect=minimum_effect)
    since = to_moment(held["window_start"]) if "window_start" in held else start
    return DriftVerdict(
        workload=workload,
        window_start=since,
        window_end=end,
        kind=Family(held["kind"]),
        status=DriftStatus(held["status"]),
        comparison=comparison,
        **rest,
    )


def _judgement(row: Any) -> Judgement:
    return Judgement(
        on=JudgedRows(
            window=row.window,
            start=to_moment(row.start),
            end=to_moment(row.end),
            since=to_moment(row.since),
            rows=row.rows,
            position=row.position,
            at=to_moment(row.at),
            times=row.times,
        ),
        champion=AdapterName(row.champion) if row.champion else None,
        released_at=to_moment(row.released_at) if row.released_at else None,
        line=row.line,
    )

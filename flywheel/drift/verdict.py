"""Does this drift?

In: the counts of a closed window, the reference, the policy, the thresholds of the alarm budget where there are any, the time. Out:
one verdict per slice and column, and one per slice's share, each with its reason and evidence. Opening an alert is not done here.
"""

from collections.abc import Sequence
from datetime import datetime

from flywheel.drift.budget import Thresholds
from flywheel.drift.judged_columns import compared_with, in_words, judge_table
from flywheel.drift.judged_shares import judge_shares
from flywheel.drift.limits import limits_for
from flywheel.drift.reference import Reference
from flywheel.drift.stated import SHARE, DriftPolicy, DriftStatus, DriftVerdict, check_time
from flywheel.drift.window_pass import lay_out
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING
from flywheel.plausible import check_names
from flywheel.traffic.column import Column
from flywheel.windows.pane import Tally, WindowCounts
from flywheel.windows.table import table_of

__all__ = ["SHARE", "DriftPolicy", "DriftStatus", "DriftVerdict", "judge", "judge_columns", "judge_shares"]


def judge(
    *,
    window: WindowCounts,
    reference: Reference | None,
    columns: Sequence[Column],
    policy: DriftPolicy,
    now: datetime,
    thresholds: Thresholds | None = None,
) -> tuple[DriftVerdict, ...]:
    """Every slice of the window, of the reference and of the protected list is stated; none is silently healthy.

    Raises InvalidInput, naming place and value, for counts that do not fit the columns' edges, that are negative or no whole numbers,
    for a reference of another workload or pinned on other edges, and for a window that ends before it begins.
    """
    return judge_columns(window=window, reference=reference, columns=columns, policy=policy, now=now, thresholds=thresholds) + judge_shares(
        window=window, reference=reference, policy=policy, now=now
    )


def judge_columns(
    *,
    window: WindowCounts,
    reference: Reference | None,
    columns: Sequence[Column],
    policy: DriftPolicy,
    now: datetime,
    thresholds: Thresholds | None = None,
    like: Tally | None = None,
) -> tuple[DriftVerdict, ...]:
    """The columns of the whole and of each slice that window and reference share. New and vanished ones are said by ``judge_shares``.

    ``like``: the part of the reference that this window is compared with, where it is read by the hour. Raises as ``judge`` does.
    """
    where = f"window of {window.workload}"
    check_time(start=window.start, end=window.end, now=now, where=where)
    if reference is not None and reference.workload != window.workload:
        raise InvalidInput(
            f"the reference belongs to {reference.workload}",
            where=where,
            value=reference.id,
            remedy="Compare with a reference of this workload.",
        )
    check_names(list(window.rows), where=f"{where}, slices")
    slices = [EVERYTHING]
    if reference is not None:
        slices += sorted(name for name in window.rows if name != EVERYTHING and window.rows[name] and reference.counts.rows.get(name))
    like_said = compared_with(like)
    judged = judge_table(
        window=table_of(window, slices=slices, columns=columns, where=where),
        pinned=lay_out(reference, columns, like=like) if reference is not None else None,
        limits=limits_for(policy=policy, thresholds=thresholds, length=window.end - window.start, slices=slices, columns=columns),
    )
    return in_words(judged, workload=window.workload, start=window.start, end=window.end, now=now, compared_with=like_said)

"""What a person needs to see to believe a verdict: the traffic now and before, and where the two differ most.

In: counts of one column in many slices, or of one cell. Out: JSON values under plain names. Judging is not done here.
"""

from collections.abc import Sequence

import numpy as np

from flywheel.drift.statistics import rare_all
from flywheel.drift.window_pass import values_of
from flywheel.traffic.column import Column, Measure
from flywheel.windows.pane import Counts

MOVED_MOST = 4
"""How many bins a drifting column shows."""


def shown_all(column: Column, counts: Counts) -> list[dict[str, object]]:
    """[slices, bins] -> one dictionary a slice: the rate, the commonest name, or between which grid lines the middle lies; and how many
    rows had no value. Empty where there is no value at all."""
    values = values_of(column, counts)
    total = values.sum(axis=1)
    some = np.maximum(total, 1)
    without = counts[:, -1].tolist()
    parts: list[dict[str, object]]
    if column.measure is Measure.RATE:
        parts = [{"rate": rate} for rate in (values[:, column.names.index("yes")] / some).tolist()]
    elif column.measure is Measure.NAME:
        most = values.argmax(axis=1)
        share = (np.take_along_axis(values, most[:, None], axis=1)[:, 0] / some).tolist()
        names = (*column.names, "(other)")
        parts = [{"commonest": names[at], "commonest_share": part} for at, part in zip(most.tolist(), share, strict=True)]
    else:
        middle = (values.cumsum(axis=1) * 2 >= total[:, None]).argmax(axis=1).tolist()
        parts = [
            {"median_from": column.lines[at - 1] if at else None, "median_below": column.lines[at] if at < len(column.lines) else None}
            for at in middle
        ]
    return [
        ({**part, "without_value": missing} if missing else part) if number else {}
        for part, missing, number in zip(parts, without, total.tolist(), strict=True)
    ]


def moved_most(column: Column, counts: Counts, before: Counts, *, starts: Sequence[int] = ()) -> list[dict[str, object]]:
    """[fine bins] each -> the bins whose share changed most, largest first: {values, share, reference_share}.

    ``starts``: the coarse bins a number was tested on; each says from which to below which value it reaches.
    """
    now, then = values_of(column, counts), values_of(column, before)
    if column.measure is Measure.NUMBER:
        inside = [start for start in starts if start < len(now)]
        labels = [_reach(column, start, end) for start, end in zip(inside, [*inside[1:], len(now)], strict=True)]
        now, then = np.add.reduceat(now, inside), np.add.reduceat(then, inside)
    else:
        labels = _labels(column, now)
    share, share_before = now / max(1, int(now.sum())), then / max(1, int(then.sum()))
    order = np.argsort(-np.abs(share - share_before), kind="stable")[:MOVED_MOST]
    return [
        {"values": labels[at], "share": round(float(share[at]), 4), "reference_share": round(float(share_before[at]), 4)}
        for at in order.tolist()
        if share[at] != share_before[at]
    ]


def taken_together(column: Column, counts: Counts, before: Counts) -> list[str]:
    """The names that came on either side and were one name for the p-value: whoever works it out again must pool the same ones."""
    now, then = values_of(column, counts), values_of(column, before)
    pooled = rare_all(now, then) & (now + then > 0)
    return [name for name, one in zip(_labels(column, now), pooled.tolist(), strict=True) if one]


def widest_gap(column: Column, counts: Counts, before: Counts, *, starts: Sequence[int]) -> dict[str, object]:
    """Where the two cumulative shares are farthest apart, which is what the KS distance measures."""
    now, then = values_of(column, counts), values_of(column, before)
    inside = [start for start in starts if start < len(now)]
    below = np.cumsum(np.add.reduceat(now, inside)) / max(1, int(now.sum()))
    below_before = np.cumsum(np.add.reduceat(then, inside)) / max(1, int(then.sum()))
    at = int(np.abs(below - below_before).argmax())
    if at + 1 >= len(inside):
        return {}
    return {
        "below": column.lines[inside[at + 1] - 1],
        "share": round(float(below[at]), 4),
        "reference_share": round(float(below_before[at]), 4),
    }


def _labels(column: Column, values: Counts) -> list[str]:
    return [*column.names, "(other)"][: len(values)]


def _reach(column: Column, start: int, end: int) -> str:
    """In words, from which to below which value the fine bins [start, end) reach."""
    lowest = f"from {column.lines[start - 1]:g}" if start else ""
    highest = f"below {column.lines[end - 1]:g}" if end - 1 < len(column.lines) else ""
    return " ".join(filter(None, [lowest, highest])) or "all"

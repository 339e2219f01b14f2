"""Verdicts in a journal line: numbers of each status and some names, never all of thousands."""

from collections.abc import Sequence
from datetime import timedelta

from flywheel.drift.verdict import DriftStatus, DriftVerdict

NAMED = 20


def statuses(verdicts: Sequence[DriftVerdict]) -> dict[str, int]:
    """How many verdicts have each status that occurs."""
    return {status.value: number for status in DriftStatus if (number := sum(verdict.status is status for verdict in verdicts))}


def named(verdicts: Sequence[DriftVerdict]) -> list[str]:
    """The first of them, each with its window's length."""
    return [
        f"{verdict.slice}/{verdict.column} ({(verdict.window_end - verdict.window_start) / timedelta(hours=1):g} h)"
        for verdict in verdicts[:NAMED]
    ]

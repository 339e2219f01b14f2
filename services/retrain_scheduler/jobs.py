"""What the persistent schedule calls: functions named by module, arguments that are strings.

A job may be run by a process that did not plan it, so it finds its parts by the path of the configuration.
"""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from flywheel.ids import WorkloadId
from services.retrain_scheduler.consider_retraining import consider_retraining
from services.retrain_scheduler.wiring import SchedulerParts, scheduler_parts
from services.settings import load


def consider(config: str) -> None:
    """All workloads."""
    parts = _parts(config)
    for workload in parts.workloads.values():
        consider_retraining(workload=workload, parts=parts, now=datetime.now(UTC))


def consider_by_calendar(config: str, workload: str) -> None:
    """One workload, because the calendar says so."""
    parts = _parts(config)
    found = parts.workloads.get(WorkloadId(workload))
    if found is not None:
        consider_retraining(workload=found, parts=parts, now=datetime.now(UTC), calendar=True)


@cache
def _parts(config: str) -> SchedulerParts:
    """Once a process: opening the ledger looks for migrations each time, which takes the write lock. Settings change by restart."""
    return scheduler_parts(load(Path(config) if config else None))

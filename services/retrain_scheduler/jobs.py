"""The jobs of the persistent schedule: functions named by module, arguments that are strings.

A later process may run a job that an earlier one planned, so a job finds its parts by the path of the settings file.
"""

import threading
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import structlog

from flywheel.errors import FlywheelError
from flywheel.ids import WorkloadId
from services.process.wait_for_disk import RETRY_SECONDS, disk_trouble
from services.retrain_scheduler.consider_retraining import consider_retraining
from services.retrain_scheduler.wiring import SchedulerParts, scheduler_parts
from services.settings import load

log = structlog.get_logger("retrain_scheduler")
ENDING = threading.Event()
"""Set when the process ends: a job that waits for the disk gives up, and its appointment is missed."""


def consider_by_calendar(config: str, workload: str) -> None:
    """Considers one workload at a time of its calendar."""
    parts = _parts(config)
    found = parts.workloads.get(WorkloadId(workload))
    if found is None:
        return
    while True:
        try:
            consider_retraining(workload=found, parts=parts, now=datetime.now(UTC), calendar=True)
        except Exception as error:
            if disk_trouble(error) is not None and not ENDING.wait(RETRY_SECONDS):
                continue  # the loop of the process says so
            if not isinstance(error, FlywheelError):
                raise
            log.error(str(error), action="workload_not_considered", workload=workload)  # a person can put it right
        return


@cache
def _parts(config: str) -> SchedulerParts:
    """Once a process; settings change by a restart."""
    return scheduler_parts(load(Path(config) if config else None))

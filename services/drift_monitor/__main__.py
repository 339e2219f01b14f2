"""``python -m services.drift_monitor``: closes and judges windows of traffic."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from flywheel.ids import WorkloadId
from flywheel.progress import Flow
from services.drift_monitor.delete_old_records import OldRecordsSweep
from services.drift_monitor.judge_windows import tick, window_is_near, windows_due
from services.drift_monitor.wiring import monitor_parts, open_journal, retention_parts
from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowMark, FlowWatch
from services.process.run_together import run_together
from services.process.start_stop import Start, main
from services.settings import Settings

PROCESS = "drift_monitor"
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 5.0  # between two looks whether a window is due
PACE_SECONDS = 120.0  # a window that is due is closed within this, Evidently's cross-check included
SWEEP_SECONDS = 60.0  # between two looks at the clock; a pass over old records is each hour
WARM_UP = timedelta(seconds=30)  # Evidently's import takes ten seconds, more on a busy machine


def run(start: Start) -> None:
    """A step stops waiting for Evidently when the process is asked to stop: its window closes without a cross-check. Old records are
    deleted in a loop of their own, so that windows are judged meanwhile."""
    opened, reports = monitor_parts(start.settings)
    remedy = "See the drift monitor's log, and that the machine's clock is right; each window that is due is judged then."
    flow = FlowMark(
        Flow(name="windows", pace_seconds=PACE_SECONDS, remedy=remedy), waiting=lambda: windows_due(opened, now=datetime.now(UTC))
    )
    parts = replace(opened, window_closed=flow.moved)
    watch = FlowWatch(PROCESS, [flow], journal=lambda: open_journal(start.settings))
    health = serve_health(start.settings, PROCESS, ready=lambda: None, hosted=start.hosted, watch=watch, more=lambda: told(parts.ahead))
    watch.start()
    reports.stop_with(start.stop)

    def step(now: datetime) -> None:
        """Starts Evidently's worker shortly before a window is due, and stops it after a time without requests."""
        if window_is_near(parts, now=now, within=WARM_UP):
            reports.warm_up()
        tick(parts, now)
        reports.end_when_idle()

    sweep = OldRecordsSweep(retention_parts(start.settings))
    loop = partial(run_loop, stop=start.stop, watch=watch)
    try:
        failure = run_together(
            {
                PROCESS: lambda: loop(process=PROCESS, step=step, every_seconds=every_seconds(start.settings)),
                f"{PROCESS}_old_records": lambda: loop(process=f"{PROCESS}_old_records", step=sweep.tick, every_seconds=SWEEP_SECONDS),
            },
            stop=start.stop,
        )
    finally:
        watch.close()
        reports.close()
        health.close()
    if failure is not None:
        raise failure.error


def told(ahead: Mapping[WorkloadId, str]) -> dict[str, str]:
    """What /readyz says beside it: nothing while no window lies in the future."""
    return {"clock": "; ".join(ahead.values())} if ahead else {}


def every_seconds(settings: Settings) -> float:
    """A tenth of the shortest pane: a window is judged soon after its end, measured by its length."""
    panes = [workload.watch.pane_seconds for workload in settings.workloads.values()]
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, min(panes, default=LONGEST_SECONDS) / 10))


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))

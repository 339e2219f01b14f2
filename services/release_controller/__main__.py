"""Runs the release controller: ``python -m services.release_controller --config flywheel.yaml``."""

import sys
from datetime import datetime
from functools import partial

from flywheel.progress import Flow
from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowMark, FlowWatch
from services.process.run_together import run_together
from services.process.start_stop import Start, main
from services.release_controller.advance_releases import advance_releases, in_motion, reconcile_server
from services.release_controller.measure_rollbacks import RollbackRecorder
from services.release_controller.reconcile_adapters import Replica
from services.release_controller.wiring import ControllerParts, controller_parts, ledger_changes

PROCESS = "release_controller"
IDLE_SECONDS = 5.0  # between two ticks while no release advances; a change of the ledger wakes the loop at once
MOVING_SECONDS = 1.0  # while a release advances, because the guards read the traffic; and while the server is unhealthy
PACE_SECONDS = 60.0  # beyond the time that the model server may take to start
AWAY = "the model server does not answer"
SERVER_SECONDS = 2.0  # between two checks of the server: after a restart it has lost its adapters


def run(start: Start) -> None:
    """Two loops: one advances releases, the other loads adapters into the model server. So a server that hangs delays no rollback."""
    parts = controller_parts(start.settings)
    replica = Replica(
        server=parts.server,
        read_probe=parts.read_probe,
        why_not_servable=parts.why_not_servable,
        drain=parts.drain,
        lora_slots=parts.lora_slots,
    )
    rollbacks = RollbackRecorder()
    mark = release_flow(replica, workloads=len(parts.workloads), server_starts_within=start.settings.serving.start_timeout_seconds)
    watch = FlowWatch(PROCESS, [mark], journal=lambda: parts.journal)
    health = serve_health(start.settings, PROCESS, ready=lambda: not_ready(parts, replica), hosted=start.hosted, watch=watch)
    watch.start()

    def advance(now: datetime) -> float | None:
        advance_releases(parts, replica, rollbacks, now=now)
        return MOVING_SECONDS if in_motion(parts) else None

    def look_at_server(now: datetime) -> float | None:
        reconcile_server(parts, replica, now=now)
        return None if replica.healthy else MOVING_SECONDS

    loop = partial(run_loop, stop=start.stop, watch=watch)
    failure = run_together(
        {
            PROCESS: lambda: loop(process=PROCESS, step=advance, every_seconds=IDLE_SECONDS, changed=ledger_changes(start.settings)),
            f"{PROCESS}_server": lambda: loop(
                process=f"{PROCESS}_server", step=look_at_server, every_seconds=SERVER_SECONDS, changed=ledger_changes(start.settings)
            ),
        },
        stop=start.stop,
    )
    watch.close()
    health.close()
    if failure is not None:
        raise failure.error


def release_flow(replica: Replica, *, workloads: int, server_starts_within: float) -> FlowMark:
    """The releases of every workload wait while the model server does not answer."""
    remedy = "See the model server's log; users get what the gateway's route names, and releases wait."
    flow = Flow(name="releases", pace_seconds=PACE_SECONDS + server_starts_within, remedy=remedy)
    return FlowMark(flow, waiting=lambda: 0 if replica.healthy else workloads, cause=lambda: None if replica.healthy else AWAY)


def not_ready(parts: ControllerParts, replica: Replica) -> str | None:
    """None once every workload has a route, else the reason. It stays ready when the model server goes away: gateways have the route."""
    without = [workload for workload in parts.workloads if parts.releases.route(workload) is None]
    if not without:
        return None
    return f"no route yet for {', '.join(without)}" + ("" if replica.healthy else ": the server does not answer")


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))

"""``python -m services.alert_desk``: moves alerts and notifies receivers."""

import sys
from functools import partial

from services.alert_desk.advance_alerts import AlertStates
from services.alert_desk.send_notifications import Notifications
from services.alert_desk.wiring import alert_desk_parts, ledger_changes, open_journal
from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowWatch
from services.process.run_together import run_together
from services.process.start_stop import Start, main

PROCESS = "alert_desk"
EVERY_SECONDS = 5.0  # for changes that depend on time alone; a closed window or an acknowledgement wakes the loops at once


def run(start: Start) -> None:
    """Alerts and notifications have one loop each, so that a receiver that hangs delays neither alerts nor shutdown."""
    parts = alert_desk_parts(start.settings)
    notifications = Notifications(parts)
    watch = FlowWatch(PROCESS, [notifications.flow], journal=lambda: open_journal(start.settings))
    health = serve_health(start.settings, PROCESS, ready=lambda: None, hosted=start.hosted, watch=watch)
    watch.start()
    loop = partial(run_loop, every_seconds=EVERY_SECONDS, stop=start.stop, watch=watch)
    failure = run_together(
        {
            PROCESS: lambda: loop(process=PROCESS, step=AlertStates(parts).tick, changed=ledger_changes(start.settings)),
            f"{PROCESS}_notices": lambda: loop(
                process=f"{PROCESS}_notices", step=notifications.tick, changed=ledger_changes(start.settings)
            ),
        },
        stop=start.stop,
    )
    watch.close()
    health.close()
    if failure is not None:
        raise failure.error


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))

"""``python -m services.gatekeeper``: gates adapters that passed the weight parity check, one at a time."""

import sys
from datetime import UTC, datetime

from services.gatekeeper.take_gates import GateWorker
from services.gatekeeper.wiring import gatekeeper_parts, ledger_changes, open_journal
from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowWatch
from services.process.start_stop import Start, main

PROCESS = "gatekeeper"
EVERY_SECONDS = 5.0  # for work whose lease has run out; what is put in wakes the loop at once


def run(start: Start) -> None:
    worker = GateWorker(gatekeeper_parts(start.settings))
    watch = FlowWatch(PROCESS, journal=lambda: open_journal(start.settings))
    health = serve_health(start.settings, PROCESS, ready=lambda: None, hosted=start.hosted, watch=watch)
    watch.start()
    try:
        changed = ledger_changes(start.settings)
        run_loop(process=PROCESS, step=worker.tick, every_seconds=EVERY_SECONDS, stop=start.stop, changed=changed, watch=watch)
    finally:
        watch.close()
        worker.stop(datetime.now(UTC))
        health.close()


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))

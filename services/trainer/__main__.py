"""``python -m services.trainer``: trains what was asked for, one run at a time."""

import sys
from datetime import UTC, datetime

from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowWatch
from services.process.start_stop import Start, main
from services.trainer.run_training import TrainingWorker
from services.trainer.wiring import ledger_changes, open_journal, trainer_parts

PROCESS = "trainer"
EVERY_SECONDS = 5.0  # for work whose lease has run out; what is put in wakes the loop at once


def run(start: Start) -> None:
    worker = TrainingWorker(trainer_parts(start.settings, start.config))
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

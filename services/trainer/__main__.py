"""``python -m services.trainer``: trains what was asked for, one run at a time."""

import sys
from datetime import UTC, datetime

from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.start_stop import Start, main
from services.trainer.run_training import TrainingWorker
from services.trainer.wiring import ledger_changes, trainer_parts

PROCESS = "trainer"
EVERY_SECONDS = 5.0  # for work whose lease has run out; what is put in wakes the loop at once


def run(start: Start) -> None:
    worker = TrainingWorker(trainer_parts(start.settings, start.config))
    health = serve_health(start.settings, PROCESS, ready=lambda: None, hosted=start.hosted)
    try:
        run_loop(process=PROCESS, step=worker.tick, every_seconds=EVERY_SECONDS, stop=start.stop, changed=ledger_changes(start.settings))
    finally:
        worker.stop(datetime.now(UTC))
        health.close()


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))

"""``python tests/hurried.py gateway --config flywheel.yaml``: the real process, with a pace of two seconds for its flows."""

import runpy
import sys

from services.api import relay_outbox
from services.correction_desk import count_waiting
from services.gateway import capture_attempts
from services.process import progress
from services.traffic_windower import consume_partitions, faust_app

PACE_SECONDS = 2.0

if __name__ == "__main__":
    for module in (capture_attempts, relay_outbox, consume_partitions, count_waiting):
        module.PACE_SECONDS = PACE_SECONDS  # type: ignore[attr-defined]
    progress.LOOK_SECONDS = 0.3
    faust_app.TOPIC_ID_CHECK_SECONDS = 1.0
    count_waiting.COUNT_SECONDS = count_waiting.COUNT_TAKES_SECONDS = 1.0
    runpy.run_module(f"services.{sys.argv.pop(1)}", run_name="__main__")

"""``python -m`` this, with ``--config``: the recorder, with one step that fails at events that say so."""

import os
import re
import signal
import sys

from flywheel.traffic.inference import Inference
from services.integrations.kafka import event_codec
from services.process.start_stop import main
from services.traffic_windower import record_batches
from services.traffic_windower.__main__ import PROCESS, run

decode = event_codec.decode_traffic


def poisoned(raw: bytes) -> Inference:
    if b"POISON-raise" in raw:
        raise KeyError("ann@example.com")
    if b"POISON-exit" in raw:
        os._exit(3)
    if b"POISON-segfault" in raw:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"POISON-spin" in raw:
        re.match(r"(a+)+$", "a" * 60 + "b")  # never gives another thread a turn
    return decode(raw)


if __name__ == "__main__":
    event_codec.decode_traffic = poisoned
    record_batches.EVENT_CPU_SECONDS = 3.0
    sys.exit(main(PROCESS, run))

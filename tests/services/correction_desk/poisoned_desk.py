"""``python -m`` this, with ``--config``: the correction desk, with one step that ends its process at events that say so."""

import os
import re
import signal
import sys

from flywheel.corrections.correction import Correction
from services.correction_desk import wiring
from services.correction_desk.__main__ import PROCESS, run
from services.process import cpu_budget
from services.process.start_stop import main

decode = wiring.decode_correction


def poisoned(raw: bytes) -> tuple[Correction, str]:
    if b"POISON-exit" in raw:
        os._exit(3)
    if b"POISON-segfault" in raw:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"POISON-spin" in raw:
        cpu_budget.allow(1.0)  # less than the desk's own, which covers the import of the redactor
        re.match(r"(a+)+$", "a" * 60 + "b")  # never gives another thread a turn
    return decode(raw)


if __name__ == "__main__":
    wiring.decode_correction = poisoned
    sys.exit(main(PROCESS, run))

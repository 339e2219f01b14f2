"""kill -9 at random over all processes and the broker, under 30 requests a second: what was answered is recorded, once.

One event in ten is sent twice. With one gateway and with two, on the embedded broker and on Apache Kafka, where Maven and Java are there.
Gateways are also killed 10 ms after an answer, and three times in a row while they start.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.figures import Figure, at_most, report, soak
from tests.brokers import APACHE, EMBEDDED
from tests.crash_world import CrashReport, crash, crash_world

KILLS = 50 if soak() else 8  # of each of the four
SEED = 14
REPAIRED_SECONDS = 1.0
RUNS = ((EMBEDDED, 1), (EMBEDDED, 2), (APACHE, 1), (APACHE, 2))


def run(kind: str, gateways: int) -> CrashReport:
    """Raises pytest's Skipped where there is no Apache Kafka."""
    with (
        tempfile.TemporaryDirectory(prefix="flywheel-crash-") as made,
        crash_world(Path(made), kind=kind, gateways=gateways, seed=SEED + gateways) as world,
    ):
        return crash(world, kills=KILLS)


def figures_of(kind: str, gateways: int, told: CrashReport) -> Sequence[Figure]:
    of = f"{kind if kind == APACHE else f'{kind} broker'}, {gateways} gateway{'s' if gateways > 1 else ''}"
    kills = f"{told.kills.total()} kills, {told.answered} answered, {told.sent_twice} events sent twice"
    where = f"{told.cut} were in flight on a killed gateway"
    if gateways == 1:
        where += f", {told.while_starting} sent while none was there"
    return [
        at_most(0, name=f"requests lost, {of}", value=told.lost, unit="", peer=kills, n=told.answered),
        at_most(0, name=f"requests recorded twice, {of}", value=told.doubled, unit="", n=told.answered),
        at_most(0, name=f"other requests that failed, {of}", value=told.refused, unit="", peer=where, n=told.asked),
        *(
            [
                at_most(REPAIRED_SECONDS, name=f"a killed gateway to the next answer, median, {of}", value=median(told.repairs), unit="s"),
                Figure(name=f"a killed gateway to the next answer, longest, {of}", value=max(told.repairs), unit="s", n=len(told.repairs)),
            ]
            if told.repairs
            else []
        ),
    ]


def main() -> int:
    figures: list[Figure] = []
    notes = []
    for kind, gateways in RUNS:
        try:
            told = run(kind, gateways)
        except pytest.skip.Exception as skipped:
            notes.append(f"{kind} with {gateways} gateways did not run: {skipped}")
            continue
        print(f"{kind}, {gateways} gateways: {told}", flush=True)
        figures += figures_of(kind, gateways, told)
    report("crash", figures, seeds=[SEED], notes=notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())

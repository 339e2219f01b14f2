"""Recall and precision of redaction by kind, on texts whose generator shares no pattern with the redactor; the time of hostile texts."""

import sys
import time

from services.integrations.presidio.redactor import PresidioRedactor
from services.process.start_stop import collect_garbage_rarely
from tests.benchmarks.figures import Figure, at_most, report, soak
from tests.benchmarks.redaction_recall import Measured, measured
from tests.benchmarks.redaction_texts import Texts
from tests.hostile_texts import OF_REDACTION, hostile

SEED = 31
TEXTS = 10_000 if soak() else 2_000
CHARACTERS = 1_000_000 if soak() else 100_000
SECONDS = 1.0


def main() -> int:
    """The table; with ``-v`` also what was missed and what was replaced in vain."""
    collect_garbage_rarely()  # as the recorder's process does
    texts, redactor = Texts(SEED), PresidioRedactor(key=b"benchmark" * 4)
    made = [texts.planted(texts.kinds[number % len(texts.kinds)]) for number in range(TEXTS)]
    began = time.process_time()
    result = measured(made, redactor.redact)
    cost = (time.process_time() - began) / len(made) * 1e6
    figures = []
    for kind in texts.kinds:
        told, share = f"recall, {kind}", 100 * result.recall(kind)
        figures.append(Figure(name=told, value=share, unit="%", n=result.planted[kind], peer=_by_form(result, kind)))
    for kind in texts.kinds:
        figures.append(Figure(name=f"precision, {kind}", value=100 * result.precision(kind), unit="%", n=result.replaced[kind]))
    figures.append(Figure(name="CPU time of a text, with the measurement", value=cost, unit="microseconds", n=len(made)))
    if "-v" in sys.argv:
        print(*(f"missed {one.kind} {one.form}: {one.text[max(0, one.start - 30) : one.end + 30]!r}" for one in result.missed), sep="\n")
        print(*result.wrong, sep="\n")
    for kind, unit in OF_REDACTION.items():
        text = hostile(unit, CHARACTERS)
        began = time.process_time()
        redactor.redact(text)
        seconds = (time.process_time() - began) * 1_000_000 / CHARACTERS
        figures.append(at_most(SECONDS, name=f"CPU time of a hostile text of 1 MB, {kind}", value=seconds, unit="s"))
    report("redaction", figures, seeds=[SEED])
    return 0


def _by_form(result: Measured, kind: str) -> str:
    """The forms in which not everything was found."""
    forms = sorted({form for one, form, _ in result.by_form if one == kind})
    told = [(form, result.by_form[kind, form, True], result.by_form[kind, form, False]) for form in forms]
    return "; ".join(f"{form} {found / (found + missed):.0%}" for form, found, missed in told if missed)


if __name__ == "__main__":
    sys.exit(main())

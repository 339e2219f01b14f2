import threading
from dataclasses import dataclass, field
from typing import Any

from flywheel.errors import NotAllowed
from flywheel.journal import JournalEntry
from services.process.refused_attempts import REFUSED, RefusedAttempts
from services.stores.tokens import ScopeMissing, UnknownToken
from tests.services.gateway.gateway_parts import until


@dataclass
class Kept:
    """A journal, and a clock."""

    lines: list[JournalEntry] = field(default_factory=list)
    now: float = 0.0
    fails: bool = False

    def append(self, *entries: JournalEntry) -> None:
        if self.fails:
            raise OSError("there is no ledger")
        self.lines += entries

    def entries(self, **_: Any) -> list[JournalEntry]:
        return self.lines

    def said(self, number: int) -> list[tuple[str, str, Any]]:
        until(lambda: len(self.lines) >= number)
        return sorted((line.reason, line.actor, line.evidence["left_out"]) for line in self.lines)


UNKNOWN: NotAllowed = UnknownToken("the token is unknown", kind="unknown token", remedy="r")
SCOPE: NotAllowed = ScopeMissing("no", kind="scope missing", remedy="r", person="bea")


def test_a_kind_has_a_line_a_minute_and_the_rest_is_counted() -> None:
    kept = Kept()
    attempts = RefusedAttempts("api", journal=lambda: kept, clock=lambda: kept.now)
    before = REFUSED.labels("api", "unknown token")._value.get()
    for _ in range(1_000):
        attempts.note(UNKNOWN)
    attempts.note(SCOPE)
    assert kept.said(2) == [("scope missing", "bea", 0), ("unknown token", "flywheel", 0)]
    kept.now = 61
    attempts.note(UNKNOWN)
    assert kept.said(3)[-1] == ("unknown token", "flywheel", 999)
    assert REFUSED.labels("api", "unknown token")._value.get() - before == 1_001


def test_a_journal_that_cannot_be_written_holds_nobody_up() -> None:
    kept = Kept(fails=True)
    attempts = RefusedAttempts("gateway", journal=lambda: kept, clock=lambda: kept.now)
    attempts.note(UNKNOWN)
    until(lambda: not [one for one in threading.enumerate() if one.name == "refused attempt"])
    kept.fails, kept.now = False, 61
    attempts.note(UNKNOWN)
    assert kept.said(1) == [("unknown token", "flywheel", 0)]

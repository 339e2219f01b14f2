"""Does a flow of work move? The one decision for every flow, such as from the gateway to the topic or from the topic to the record.

In: how much waits, when something moved last, the expected pace, the time. Out: a verdict with its reason. Nothing is measured here.
All times are seconds of a monotonic clock, so that a jump of the wall clock moves nothing.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Flow:
    """``pace_seconds``: while work waits, something moves at least once in this time."""

    name: str
    pace_seconds: float
    remedy: str
    restart_after_seconds: float | None = None  # a restart of its process helps where no cause is known; None: it would not


@dataclass(frozen=True, kw_only=True)
class FlowReading:
    """What was measured of a flow."""

    waiting: int | None  # None: it cannot be seen
    moved_at: float  # when something moved last, or when nothing waited
    cause: str = ""  # what is known to hold it up


class Movement(StrEnum):
    """Idle: nothing waits."""

    IDLE = "idle"
    MOVES = "moves"
    STANDS = "stands"


@dataclass(frozen=True, kw_only=True)
class ProgressVerdict:
    """``still_seconds``: since something moved last; 0 when idle."""

    movement: Movement
    reason: str
    still_seconds: float
    restart: bool = False  # end the process: its restart reads everything again


def decide(*, flow: Flow, reading: FlowReading, now: float) -> ProgressVerdict:
    """A flow whose work cannot be seen counts as one with work: it must not stand unnoticed."""
    if reading.waiting == 0:
        return ProgressVerdict(movement=Movement.IDLE, reason="nothing waits", still_seconds=0.0)
    still = max(0.0, now - reading.moved_at)
    if reading.waiting is None:
        what = f"it cannot be seen what waits, since {still:.0f} s"
    else:
        what = f"{reading.waiting} {'waits' if reading.waiting == 1 else 'wait'}, and nothing has moved for {still:.0f} s"
    if still <= flow.pace_seconds:
        return ProgressVerdict(movement=Movement.MOVES, reason="within its pace", still_seconds=still)
    because = f": {reading.cause.rstrip('.')}" if reading.cause else ""
    restart = flow.restart_after_seconds is not None and still > flow.restart_after_seconds and not reading.cause
    return ProgressVerdict(movement=Movement.STANDS, reason=f"{what}{because}", still_seconds=still, restart=restart)

"""When a workload's exchanges are on disk, by its section ``capture``."""

from dataclasses import dataclass
from enum import StrEnum


class Fsync(StrEnum):
    """When what was written survives a power cut as well: when the operating system has written it, within a second, before the answer."""

    NEVER = "never"
    EVERY_SECOND = "every_second"
    EVERY_ANSWER = "every_answer"


@dataclass(frozen=True, kw_only=True)
class CaptureRule:
    """``waits``: the last bytes of an answer leave when its exchange is on disk."""

    waits: bool
    fsync: Fsync

"""How carefully is a partition read after a process has died?

In: what was noted before the work, and the offset to read from. Out: up to which offset events are recorded one by one, and how many deaths
the next event has caused. Ending a process and writing notes are not done here.
"""

from dataclasses import dataclass, replace

DEADLY = 2
"""An event that was in work alone at so many deaths is not tried again."""


@dataclass(frozen=True, kw_only=True)
class NotedWork:
    """Noted before the work. ``alone``: one event, at ``first``, at whose work ``deaths`` processes have died before."""

    topic_id: str
    process: str
    first: int
    until: int  # exclusive; of work alone, up to where events are recorded one by one
    alone: bool = False
    deaths: int = 0


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Events below ``until`` are recorded one by one. ``deaths``: of processes that had the next of them in work alone."""

    until: int = 0
    deaths: int = 0

    def after_one(self) -> "Caution":
        """After the next event was recorded."""
        return replace(self, deaths=0)


def caution_after(noted: NotedWork | None, *, topic_id: str, offset: int, process: str) -> Caution:
    """``offset``: the next to read, so that all before it is recorded. A note of this process tells of no death."""
    if noted is None or noted.topic_id != topic_id or noted.until <= offset or (noted.process == process and not noted.alone):
        return Caution()
    if not noted.alone or noted.first != offset:
        return Caution(until=noted.until)
    return Caution(until=noted.until, deaths=noted.deaths + (noted.process != process))

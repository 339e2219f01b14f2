"""What the gateway's sealed file and its spool share. Imports no database: the sealed file is written from the first answer on."""

from dataclasses import dataclass

from flywheel.errors import CannotRun

LIMIT_BYTES = 2 * 1024**3


class SpoolUnwritable(CannotRun):
    """A full or failing disk. Captured events wait in memory meanwhile."""


@dataclass(frozen=True, kw_only=True)
class SpooledEvent:
    """``id`` is the event's own: sent twice, it is recorded once."""

    id: str
    key: str
    body: bytes

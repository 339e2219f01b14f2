"""Names of things, and ids that follow from their cause, so that a step run twice makes the same thing twice."""

import hashlib
import re
from typing import NewType

WorkloadId = NewType("WorkloadId", str)
EventId = NewType("EventId", str)
RequestId = NewType("RequestId", str)
AdapterName = NewType("AdapterName", str)
"""The name vLLM serves: ``<workload>-<hash of the plan>``, or ``base``. Immutable: never reused for other weights."""
AlertId = NewType("AlertId", str)
CorrectionId = NewType("CorrectionId", str)
CaseId = NewType("CaseId", str)
SnapshotId = NewType("SnapshotId", str)
RunId = NewType("RunId", str)
GateId = NewType("GateId", str)
ReleaseId = NewType("ReleaseId", str)
Person = NewType("Person", str)
"""Who did it: the name on a token, or ``flywheel`` for the daemon itself."""

BASE = AdapterName("base")
DAEMON = Person("flywheel")
EVERYTHING = "all"
"""The slice of all traffic of a workload."""
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text with U+FFFD in place of control characters: they are no part of an id, and act on the terminal of whoever reads it."""
    return _CONTROL_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def derive(kind: str, *causes: object) -> str:
    """``<kind>-<16 hex digits>``, the same for the same causes. Parts are length-prefixed: ("a", "bc") is not ("ab", "c")."""
    digest = hashlib.sha256()
    for part in (kind, *causes):
        encoded = str(part).encode(errors="surrogatepass")
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return f"{kind}-{digest.hexdigest()[:16]}"


def digest_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, as 64 hex digits. Half a character, which UTF-8 does not have, counts as its three bytes."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def unit_interval(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone: for sticky arms and stable splits."""
    return int(derive("unit", *parts).rpartition("-")[2], 16) / 2**64

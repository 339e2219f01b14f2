"""A bounded sample that merges and repeats: the rows with the smallest hash of their event id.

In: event ids. Out: ranks. Because the rank depends on the id alone, a redelivered row, another worker or another order
gives the same sample, and the sample of a union is the smallest of the union of samples.
"""

from hashlib import sha256

from flywheel.ids import EventId


def rank(event_id: EventId) -> int:
    """Uniform in [0, 2**63); the same for the same id."""
    return int.from_bytes(sha256(event_id.encode()).digest()[:8], "big") >> 1

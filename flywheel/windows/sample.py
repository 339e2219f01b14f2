"""A bounded sample of rows that is the same for any worker, order or redelivery: the rows with the smallest hash of their event id.

In: event ids. Out: ranks. Every subset of k rows is equally likely, so a statistic of the k smallest ranks is one of a simple random
sample, and the sample of a union is the smallest of the union of samples (bottom-k sketch, Cohen and Kaplan 2007, "Summarizing data
using bottom-k sketches").
"""

from hashlib import sha256

from flywheel.ids import EventId


def rank(event_id: EventId) -> int:
    """Uniform in [0, 2**63); the same for the same id."""
    return int.from_bytes(sha256(event_id.encode()).digest()[:8], "big") >> 1

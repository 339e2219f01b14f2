"""A bounded sample that merges and repeats: the rows with the smallest hash of their event id.

In: event ids. Out: ranks, and the k ids with the smallest. Because the rank depends on the id alone, a redelivered row, another
worker or another order gives the same sample, and the sample of a union is the smallest of the union of samples. Every
subset of k rows is equally likely, so a statistic of the sample is one of a simple random sample (bottom-k sketch, Cohen
and Kaplan 2007, "Summarizing data using bottom-k sketches").
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

from flywheel.errors import InvalidInput
from flywheel.ids import EventId
from flywheel.plausible import check_text, check_whole


def rank(event_id: EventId) -> int:
    """Uniform in [0, 2**63); the same for the same id."""
    check_text(event_id, where="event id", empty=True)
    return int.from_bytes(sha256(event_id.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """At most ``k`` events, by rank, the smallest first."""

    k: int
    kept: tuple[tuple[int, EventId], ...] = ()

    def __post_init__(self) -> None:
        check_whole(self.k, where="rows of a sample", least=1)

    @property
    def ids(self) -> tuple[EventId, ...]:
        return tuple(event_id for _, event_id in self.kept)


def sample_of(ids: Iterable[EventId], *, k: int) -> Sample:
    """The k ids with the smallest rank. An id that comes twice is one row."""
    nothing = Sample(k=k)
    return replace(nothing, kept=tuple(sorted({(rank(event_id), event_id) for event_id in ids})[:k]))


def merged(first: Sample, *others: Sample) -> Sample:
    """The sample of all rows together. Raises InvalidInput for samples of different size: the smaller one's tail is unknown."""
    for other in others:
        if other.k != first.k:
            raise InvalidInput(
                f"samples of {first.k} and of {other.k} rows do not merge", where="sample", value=other.k, remedy="Keep one k for a slice."
            )
    return Sample(k=first.k, kept=tuple(sorted({pair for part in (first, *others) for pair in part.kept})[: first.k]))

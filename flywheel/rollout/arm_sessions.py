"""The sessions of a canary and of the champion beside it, as columns.

In: session outcomes, as the traffic store returns them. Out: ``ArmSessions``: one array a column, in the order in which sessions began.
Judging them is done in ``guards``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from flywheel.ids import AdapterName, unit_interval
from flywheel.rollout.arm_of_session import encodable
from flywheel.traffic.sessions import SessionOutcome

UNKNOWN = -1
"""In an outcome column: the session says nothing about it."""

Bools = NDArray[np.bool_]
OutcomeColumn = NDArray[np.int8]
"""[sessions]: 1 bad, 0 not bad, ``UNKNOWN``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmSessions:
    """All arrays are [sessions], in the order in which sessions began. A session that two adapters answered has two rows."""

    adapters: tuple[AdapterName, ...]
    adapter: NDArray[np.int64]  # index into ``adapters``
    session: NDArray[np.int64]  # the same number in every row of a session
    began: NDArray[np.float64]  # seconds since 1970
    failed: OutcomeColumn
    bad_format: OutcomeColumn
    refused: OutcomeColumn
    latency_ms: NDArray[np.float64]
    in_slice: Mapping[str, Bools] = field(default_factory=dict)
    signals: Mapping[str, OutcomeColumn] = field(default_factory=dict)

    def of(self, adapter: AdapterName) -> Bools:
        """[sessions]: which rows are this adapter's."""
        if adapter not in self.adapters:
            return np.zeros(self.adapter.size, dtype=bool)
        return np.asarray(self.adapter == self.adapters.index(adapter))

    def count_since(self, adapter: AdapterName, since: datetime) -> int:
        """How many sessions of this adapter began at ``since`` or later."""
        return int((self.of(adapter) & (self.began >= since.timestamp())).sum())

    def began_by(self, moment: datetime) -> "ArmSessions":
        """Without the sessions that began later."""
        kept = int(np.searchsorted(self.began, moment.timestamp(), side="right"))
        if kept == self.began.size:
            return self
        columns = ("adapter", "session", "began", "failed", "bad_format", "refused", "latency_ms")
        return replace(
            self,
            **{name: getattr(self, name)[:kept] for name in columns},
            in_slice={name: held[:kept] for name, held in self.in_slice.items()},
            signals={name: held[:kept] for name, held in self.signals.items()},
        )


def columns_of(outcomes: Sequence[SessionOutcome], *, slices: Collection[str] = (), signals: Collection[str] = ()) -> ArmSessions:
    """The outcomes as columns, with a column for each of these slices and signals. Each adapter has at most one outcome of a session."""
    ordered = _in_order(outcomes)
    adapters = tuple(dict.fromkeys(one.adapter for one in ordered))
    number_of_adapter = {name: at for at, name in enumerate(adapters)}
    number_of_session: dict[str, int] = {}
    for one in ordered:
        number_of_session.setdefault(one.session, len(number_of_session))

    def outcome(bad: Callable[[SessionOutcome], bool | None]) -> OutcomeColumn:
        said = (bad(one) for one in ordered)
        return np.fromiter((UNKNOWN if value is None else int(value) for value in said), dtype=np.int8, count=len(ordered))

    return ArmSessions(
        adapters=adapters,
        adapter=np.fromiter((number_of_adapter[one.adapter] for one in ordered), dtype=np.int64, count=len(ordered)),
        session=np.fromiter((number_of_session[one.session] for one in ordered), dtype=np.int64, count=len(ordered)),
        began=np.fromiter((one.at.timestamp() for one in ordered), dtype=np.float64, count=len(ordered)),
        failed=outcome(lambda one: not one.ok),
        bad_format=outcome(lambda one: None if one.valid_format is None else not one.valid_format),
        refused=outcome(lambda one: one.refused),
        latency_ms=np.fromiter((one.latency_ms for one in ordered), dtype=np.float64, count=len(ordered)),
        in_slice={name: np.fromiter((name in one.slices for one in ordered), dtype=np.bool_, count=len(ordered)) for name in slices},
        signals={name: outcome(lambda one, name=name: one.signals.get(name)) for name in signals},  # type: ignore[misc]
    )


def _in_order(outcomes: Sequence[SessionOutcome]) -> list[SessionOutcome]:
    """By beginning. Ties by a hash of the session: an order by name could put one arm before the other."""
    ordered: list[SessionOutcome] = []
    for _, tied in groupby(sorted(outcomes, key=lambda one: one.at), key=lambda one: one.at):
        members = list(tied)
        if len(members) > 1:  # hashing every session would be most of the work
            members.sort(key=lambda one: (unit_interval(encodable(one.session)), one.session))
        ordered += members
    return ordered

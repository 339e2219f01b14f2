"""Counts of shadow answers, from the traffic database.

Separate from the traffic store, whose queries exclude shadow rows, so that no statistic of production traffic contains one.
"""

from collections import Counter
from datetime import datetime

from sqlalchemy import Engine, func, select

from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.shadow import ShadowCounts
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.inference import Arm
from services.stores.database import reading, to_text
from services.stores.traffic.rows import outcome_in
from services.stores.traffic.tables import inferences


class RecordedShadows:
    """The ShadowReader on the traffic database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def shadowed(self, *, workload: WorkloadId, adapter: AdapterName, since: datetime) -> ShadowCounts:
        query = (
            select(inferences.c.outcome, inferences.c.status, func.count().label("rows"))
            .where(
                inferences.c.workload == workload,
                inferences.c.adapter == adapter,
                inferences.c.arm == Arm.SHADOW.value,
                inferences.c.occurred_at >= to_text(since),
            )
            .group_by(inferences.c.outcome, inferences.c.status)
        )
        found: Counter[AttemptOutcome] = Counter()
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                found[outcome_in(row)] += row.rows
        return ShadowCounts(answered=found[AttemptOutcome.OK], failed=found[AttemptOutcome.MODEL_ERROR])

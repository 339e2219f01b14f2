"""Counts of shadow answers, from the traffic database.

Separate from the traffic store, whose queries exclude shadow rows, so that no statistic of production traffic contains one.
"""

from datetime import datetime

from sqlalchemy import Engine, and_, case, func, select

from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.shadow import ShadowCounts
from flywheel.traffic.inference import Arm
from services.stores.database import reading, to_text
from services.stores.traffic.tables import inferences


class RecordedShadows:
    """The ShadowReader on the traffic database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def shadowed(self, *, workload: WorkloadId, adapter: AdapterName, since: datetime) -> ShadowCounts:
        good = and_(inferences.c.status >= 200, inferences.c.status < 300)
        query = select(func.count(), func.coalesce(func.sum(case((good, 1), else_=0)), 0)).where(
            inferences.c.workload == workload,
            inferences.c.adapter == adapter,
            inferences.c.arm == Arm.SHADOW.value,
            inferences.c.occurred_at >= to_text(since),
        )
        with reading(self._engine) as connection:
            total, answered = connection.execute(query).one()
        return ShadowCounts(answered=int(answered), failed=int(total) - int(answered))

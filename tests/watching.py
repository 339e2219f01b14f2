"""Values of the watching stages for tests, each with one plain default."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from flywheel.alerts import window_finding
from flywheel.alerts.window_finding import WindowFinding, WindowVerdicts
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.verdict import DriftComparison, DriftStatus, DriftVerdict
from flywheel.ids import BASE, AdapterName, EventId, Person, RequestId, WorkloadId
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.column import Column, Family, FeatureRow, Measure
from flywheel.traffic.inference import Arm, Attempt, Inference
from flywheel.windows.counts import WindowCounts, count_rows
from services.ports.traffic import RecordedInference
from tests.exchanges import chat

ROUTER = WorkloadId("router")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MARIA = Person("maria")

LENGTH = Column(name="prompt_chars", family=Family.INPUT, measure=Measure.NUMBER, edges=tuple(float(line) for line in range(10, 500, 10)))
SHAPE = Column(name="prompt_shape", family=Family.INPUT, measure=Measure.NAME, names=("question", "code", "other"))
REFUSAL = Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="yes")
VALID = Column(name="valid_format", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="no")
FEW = (LENGTH, SHAPE, REFUSAL, VALID)


def some_rows(
    n: int, *, seed: int = 1, longer: float = 0.0, refused: float = 0.05, tenants: Mapping[str, float] | None = None
) -> list[tuple[FeatureRow, Sequence[str]]]:
    """Rows of one stationary traffic; ``longer`` in characters, ``tenants`` with their shares."""
    chance = np.random.default_rng(seed)
    shares = tenants if tenants is not None else {"acme": 0.7, "globex": 0.3}
    rows: list[tuple[FeatureRow, Sequence[str]]] = []
    for _ in range(n):
        tenant = str(chance.choice(list(shares), p=list(shares.values())))
        row: FeatureRow = {
            "prompt_chars": float(max(1.0, chance.normal(150 + longer, 40))),
            "prompt_shape": str(chance.choice(["question", "code", "other"], p=[0.6, 0.3, 0.1])),
            "refusal": float(chance.random() < refused),
            "valid_format": float(chance.random() < 0.98),
        }
        rows.append((row, ("all", f"tenant={tenant}")))
    return rows


def window_counts(
    rows: Sequence[tuple[FeatureRow, Sequence[str]]], *, start: datetime = NOON, minutes: float = 60, columns: Sequence[Column] = FEW
) -> WindowCounts:
    matrix = count_rows(
        values={column.name: [row.get(column.name) for row, _ in rows] for column in columns},
        slices=[slices for _, slices in rows],
        columns=columns,
    )
    return WindowCounts(workload=ROUTER, start=start, end=start + timedelta(minutes=minutes), matrix=matrix)


def reference_of(
    counts: WindowCounts, *, maturity: Maturity = Maturity.POOLED_DAYS, adapter: AdapterName = BASE, name: str = "reference-1"
) -> Reference:
    return Reference(
        id=name,
        workload=ROUTER,
        adapter=adapter,
        start=counts.start,
        end=counts.end,
        maturity=maturity,
        pinned_by=MARIA,
        pinned_at=counts.end,
        counts=counts.matrix,
    )


def verdict(
    status: DriftStatus = DriftStatus.DRIFTING,
    *,
    kind: Family = Family.INPUT,
    slice_name: str = "all",
    column: str = "prompt_chars",
    effect: float = 0.4,
    score: float | None = 1e-9,
    start: datetime = NOON,
) -> DriftVerdict:
    return DriftVerdict(
        workload=ROUTER,
        window_start=start,
        window_end=start + timedelta(minutes=60),
        kind=kind,
        slice=slice_name,
        column=column,
        status=status,
        reason="said",
        n=500,
        n_reference=5_000,
        method="binned_ks",
        comparison=DriftComparison(score=score, effect=effect, threshold=1e-4, minimum_effect=0.1) if score is not None else None,
        evidence={"reference_maturity": "pooled_days"},
    )


def recorded(number: int, *, at: datetime, features: FeatureRow, tenant: str = "acme") -> RecordedInference:
    return RecordedInference(
        inference=Inference(
            event_id=EventId(f"e{number}"),
            request_id=RequestId(f"r{number}"),
            workload=ROUTER,
            adapter=BASE,
            arm=Arm.CHAMPION,
            session=f"s{number}",
            client="app",
            occurred_at=at,
            exchange=chat(),
            attempt=Attempt(status=200, outcome=AttemptOutcome.OK, error=None, latency_ms=20.0),
            dimensions={"tenant": tenant},
            redacted=True,
        ),
        features=features,
    )


def finding_of(
    *, workload: WorkloadId, window: str, at: datetime, verdicts: Sequence[DriftVerdict], protected: Sequence[str], **more: Any
) -> WindowFinding:
    """The finding of one window. ``more``: ``drifted_before``, ``late``, ``reevaluated``."""
    before = more.pop("drifted_before", ())
    judged = WindowVerdicts(workload=workload, window=window, at=at, verdicts=verdicts, **more)
    return window_finding.finding_of(judged, protected=protected, drifted_before=before)

"""Half a cycle on one ledger: recorded traffic, drift, one alert, its acknowledgement, corrections, and the run that they cause.

Each process's own steps on its own wiring; only the clock, the broker and Evidently's worker are fakes.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flywheel.alerts.acknowledgement import acknowledge
from flywheel.alerts.alert import AlertState
from flywheel.corrections.correction import CorrectionState
from flywheel.drift.reference import pin
from flywheel.ids import BASE, AdapterName, CaseId, EventId, Person, RequestId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.regression_suite.golden import freeze
from flywheel.retraining.training_run import RunState
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Arm, Attempt, Inference
from flywheel.traffic.message import Message
from services.alert_desk.advance_alerts import AlertStates
from services.alert_desk.wiring import alert_desk_parts
from services.correction_desk.decide_corrections import CorrectionDesk
from services.correction_desk.wiring import correction_desk_parts
from services.drift_monitor.judge_windows import tick
from services.drift_monitor.wiring import MonitorParts, drift_rules
from services.ports.cloud_events import encode
from services.ports.traffic import RecordedInference, RecordingBatch
from services.ports.work_queue import TrainCommand
from services.retrain_scheduler.consider_retraining import consider_retraining
from services.retrain_scheduler.wiring import scheduler_parts
from services.settings import Corrections, Settings, Slices, Trigger, Watch, Workload
from services.stores.ledger.journal import LedgerJournal
from tests.exchanges import chat
from tests.fakes.watching import ScriptedReports
from tests.opened import learn_ledger, open_ledger, traffic_store, train_ledger, watch_ledger

ROUTER, MARIA = WorkloadId("router"), Person("maria")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PANE = timedelta(minutes=5)
CITIES = ("Lisbon", "Oslo", "Quito", "Hanoi", "Turin", "Perth", "Minsk", "Dakar", "Leeds", "Nagoya")


def test_drift_and_corrections_queue_one_run_that_names_its_alert(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    traffic, watch, learn = traffic_store(settings), watch_ledger(settings), learn_ledger(settings)
    _freeze_golden(settings)

    # An hour that is pinned early, by name, and an hour in which another tenant asks in another way.
    _record(traffic, [_row(n, at=NOON + timedelta(seconds=30 * n), tenant=("acme", "globex")[n % 2]) for n in range(120)])
    counts = traffic.window(workload=ROUTER, start=NOON, end=NOON + 12 * PANE)
    reference = pin(counts=counts, adapter=BASE, by=MARIA, now=NOON + 12 * PANE, whole_day=timedelta(days=1))
    watch.pin(reference, _line("reference", reference.id))
    later = NOON + 12 * PANE
    _record(traffic, [_row(n, at=later + timedelta(seconds=30 * (n - 120)), tenant="globex", live=True) for n in range(120, 250)])

    monitor = MonitorParts(
        traffic=traffic,
        drift=watch,
        alerts=watch,
        journal=LedgerJournal(open_ledger(settings)),
        reports=ScriptedReports(),
        route=lambda _: None,
        workloads={ROUTER: drift_rules(settings.workloads[ROUTER])},
        reports_folder=tmp_path / "reports",
    )
    now = later + 13 * PANE
    tick(monitor, now)
    AlertStates(alert_desk_parts(settings)).tick(now)
    (alert,) = watch.alerts(workload=ROUTER)
    assert alert.state is AlertState.FIRING, alert.message.summary
    acknowledged = acknowledge(alert=alert, by=MARIA, note="collecting fixes", now=now, until=now + timedelta(hours=8))
    assert watch.save_alert(acknowledged, _line("alert", alert.id, state="acknowledged"))

    # Without corrections an alert trains nothing.
    scheduler = scheduler_parts(settings)
    consider_retraining(workload=scheduler.workloads[ROUTER], parts=scheduler, now=now)
    assert train_ledger(settings).runs(ROUTER) == []

    desk = CorrectionDesk(correction_desk_parts(settings))
    outcomes = [desk.receive(_fix(n), now=now).state for n in range(120, 150)]
    assert outcomes.count(CorrectionState.ACCEPTED) >= 20
    assert [desk.receive(_fix(n), now=now).new for n in range(120, 150)] == [False] * 30, "delivered again, counted once"

    for _ in range(2):  # asked twice, queued once
        consider_retraining(workload=scheduler.workloads[ROUTER], parts=scheduler, now=now)
    (run,) = train_ledger(settings).runs(ROUTER)
    assert run.state is RunState.QUEUED
    assert scheduler.work.lease(TrainCommand, worker="w", now=now, hold=PANE) is not None
    (trigger,) = LedgerJournal(open_ledger(settings)).entries(kind="trigger")
    assert trigger.caused_by == alert.id
    kept = learn.snapshot(run.plan.snapshot)
    assert kept is not None
    held_out = {one.entity for one in learn.corrections(ROUTER) if one.held_out}
    assert held_out.isdisjoint(example.entity for example in kept[0].examples)


def _settings(folder: Path) -> Settings:
    model = folder / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "chat_template.jinja").write_text("{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}")
    workload = Workload(
        alias="router",
        mode="auto",
        slices=Slices(dimensions=("tenant",), protected=("tenant=globex",)),
        watch=Watch(pane_seconds=300, window_panes=12, slide_panes=12, lateness_seconds=60, minimum_rows=30),
        corrections=Corrections(trusted_sources=("support-desk",), entity_keys=("dim:function",)),
        trigger=Trigger(enough_corrections=1000, enough_with_drift=10),
    )
    return Settings(data_dir=folder / "var", serving={"model": model}, workloads={ROUTER: workload})  # type: ignore[arg-type]


def _row(number: int, *, at: datetime, tenant: str, live: bool = False) -> RecordedInference:
    city = CITIES[number % 10]
    asked = (
        f"hey need {number} tickets from {city} number {number * 37} asap"
        if live
        else f"Book {number} seats to {city}, line {number * 13}."
    )
    inference = Inference(
        event_id=EventId(f"event-{number}"),
        request_id=RequestId(f"request-{number}"),
        workload=ROUTER,
        adapter=AdapterName(BASE),
        arm=Arm.CHAMPION,
        session=f"session-{number}",
        client="shop",
        occurred_at=at,
        exchange=chat(asked, "I do not know."),
        attempt=Attempt(status=200, outcome=AttemptOutcome.OK, error=None, latency_ms=20.0),
        dimensions={"tenant": tenant, "function": f"book_{number}"},
        redacted=True,
    )
    return RecordedInference(inference=inference, features=columns_of(inference, valid_format=False), topic="traffic", partition=0)


def _record(traffic: object, rows: list[RecordedInference]) -> None:
    traffic.record(RecordingBatch(advances=(), rows=rows, recorded_at=rows[-1].inference.occurred_at))  # type: ignore[attr-defined]


def _fix(number: int) -> bytes:
    data = {
        "correction_id": f"fix-{number}",
        "workload_id": ROUTER,
        "source": "support-desk",
        "kind": "edit",
        "request_id": f"request-{number}",
        "corrected": json.dumps({"tool": f"book_{number}", "arguments": {"city": CITIES[number % 10]}}),
        "reason_code": "format",
        "author": {"name": "sam"},
        "created_at": NOON.isoformat(),
        "submitted_by": "support-desk",
    }
    return encode(
        type="flywheel.correction.v1", id=f"fix-{number}", workload=ROUTER, time=NOON, data=data, partitionkey=f"request-{number}"
    )


def _freeze_golden(settings: Settings) -> None:
    cases = [
        Case(
            id=CaseId(f"golden-{n}"),
            workload=ROUTER,
            tier=Tier.GOLDEN,
            messages=(Message(role="user", content=f"a quite different question about {'abcdefgh'[n % 8] * 7} {n}"),),
            grader=Grader(kind="equals", expected={"text": "x"}),
            entity=f"golden-{n}",
            created_at=NOON,
        )
        for n in range(24)
    ]
    golden = freeze(cases=cases, workload=ROUTER, version=1, by=MARIA, now=NOON)
    learn_ledger(settings).freeze_golden(golden, _line("golden", golden.id))


def _line(kind: str, subject: str, *, state: str = "made") -> JournalEntry:
    return JournalEntry(at=NOON, workload=ROUTER, kind=kind, subject=subject, state=state, reason="for the test", actor=MARIA)

"""From an open alert and accepted corrections to a queued run, on a real ledger."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.alerts.alert import Alert, AlertMessage, AlertState, Severity, WindowsSeen
from flywheel.corrections.correction import Correction, CorrectionKind, CorrectionState, InlineRequest, JoinedCorrection
from flywheel.ids import AlertId, CaseId, CorrectionId, Person, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.progress import Flow
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.regression_suite.golden import freeze
from flywheel.retraining.crontab import parse_crontab
from flywheel.retraining.plan import TrainingPolicy
from flywheel.retraining.readiness import ReadinessPolicy
from flywheel.retraining.training_run import Run, RunState
from flywheel.retraining.trigger import TriggerPolicy, TriggerReason
from flywheel.traffic.message import Message
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import LeftOutReason, TokenRow, TokenRows
from services.integrations.apscheduler.schedule import Appointment, Schedule, trigger_of
from services.ports.corrections import KeptCorrection
from services.ports.work_queue import RetrainCommand, SnapshotCommand, TrainCommand, WorkItem
from services.process.progress import FlowMark
from services.retrain_scheduler.check_regularly import RetrainScheduler, tell_planned_anew
from services.retrain_scheduler.consider_retraining import consider_retraining, serve_requests
from services.retrain_scheduler.wiring import SchedulerParts, trained_workload
from services.settings import Workload
from services.stores.general_examples import read_general_rows
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.work_queue import LedgerWorkQueue
from services.stores.snapshot_files import write_snapshot
from tests.databases import migrated_ledger
from tests.ledgers import CorrectionAndTrainingLedger
from tests.told_flows import watched

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROUTER = WorkloadId("router")
ADA = Person("ada")


class OpenAlerts:
    """The part of a watch ledger that a trigger needs."""

    def __init__(self) -> None:
        self.open: list[Alert] = []

    def alerts(self, *, workload: WorkloadId | None = None, open_only: bool = False) -> Sequence[Alert]:
        return self.open


@dataclass
class SchedulerWorld:
    parts: SchedulerParts
    alerts: OpenAlerts
    learn: CorrectionAndTrainingLedger
    general: Path

    def consider(self, *, at: datetime = NOW, asked_by: Person | None = None, calendar: bool = False) -> str:
        return consider_retraining(workload=self.parts.workloads[ROUTER], parts=self.parts, now=at, asked_by=asked_by, calendar=calendar)

    def correct(self, count: int, *, first: int = 0, at: datetime = NOW - timedelta(hours=1)) -> None:
        for n in range(first, first + count):
            words = f"please add the numbers {n} and {n * 7 + 1} for invoice {'abcdefghij'[n % 10] * 5} number {n * n}"
            correction = Correction(
                id=CorrectionId(f"c{n}"),
                workload=ROUTER,
                source="desk",
                author="a",
                kind=CorrectionKind.EDIT,
                created_at=at,
                inline=InlineRequest(messages=(Message(role="user", content=words),)),
                original="no",
                corrected=json.dumps({"tool": f"add{n}", "arguments": {}}),
            )
            joined = JoinedCorrection(correction=correction, messages=correction.inline.messages, original="no", entity=f"e{n}")
            kept = KeptCorrection(
                joined=joined,
                state=CorrectionState.ACCEPTED,
                reason="fine",
                decided_at=at,
                entity=f"e{n}",
                prompt_key=f"p{n}",
            )
            assert self.learn.keep(kept, None, entry("correction", correction.id))

    def drift(self) -> None:
        self.alerts.open = [
            Alert(
                id=AlertId("alert-1"), workload=ROUTER, severity=Severity.WARNING, state=AlertState.FIRING,
                message=AlertMessage(summary="drift", first_action="look"), started_at=NOW, last_seen_at=NOW,
                seen=WindowsSeen(first="w", newest="w", until=NOW),
            )
        ]  # fmt: skip

    @property
    def runs(self) -> Sequence[Run]:
        return self.parts.runs.runs(ROUTER)

    @property
    def snapshot(self) -> Snapshot:
        newest, *_ = self.parts.training_sets.snapshots(ROUTER)
        found = self.parts.training_sets.snapshot(newest.id)
        assert found is not None
        return found[0]

    def states(self, kind: str) -> list[str]:
        return [line.state for line in self.parts.journal.entries(kind=kind)]


def entry(kind: str, subject: str) -> JournalEntry:
    return JournalEntry(at=NOW, workload=ROUTER, kind=kind, subject=subject, state="made", reason="for the test")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SchedulerWorld]:
    engine = migrated_ledger(tmp_path)
    learn, alerts, general = CorrectionAndTrainingLedger(engine), OpenAlerts(), tmp_path / "general.ndjson"
    golden = [
        Case(
            id=CaseId(f"g{n}"), workload=ROUTER, tier=Tier.GOLDEN, entity=f"golden-{n}", created_at=NOW,
            messages=(Message(role="user", content=f"golden item {'xyzwv'[n % 5] * 9} {n}"),),
            grader=Grader(kind="equals", expected={"text": "x"}),
        )
        for n in range(24)
    ]  # fmt: skip
    learn.freeze_golden(freeze(cases=golden, workload=ROUTER, version=1, by=ADA, now=NOW), entry("golden", "g"))
    questions = ("What colour is snow?", "Name a large river in Africa.", "How many legs has a spider?", "Who wrote Hamlet?")
    rows = [{"messages": [{"role": "user", "content": question}], "completion": "An answer."} for question in questions]
    general.write_text("\n".join(json.dumps(row) for row in rows))
    workload = replace(
        trained_workload(ROUTER, Workload(alias="router", mode="auto")),
        trigger=TriggerPolicy(enough_corrections=20, enough_with_drift=10, cool_down=timedelta(hours=6)),
        readiness=ReadinessPolicy(),
        general_file=general,
    )
    parts = SchedulerParts(
        worker="scheduler-1",
        workloads={ROUTER: workload},
        alerts=alerts,  # type: ignore[arg-type]
        corrections=learn,
        suite=learn,
        training_sets=learn,
        runs=LedgerRuns(engine),
        work=LedgerWorkQueue(engine),
        journal=LedgerJournal(engine),
        write_snapshot=lambda snapshot: write_snapshot(snapshot, folder=tmp_path / "snapshots"),
        read_general_rows=read_general_rows,
        base_digest=lambda: "d" * 64,
        count_rows=lambda snapshot, policy: "no tokenizer in this test",
        versions={"trl": "1.16.0"},
    )
    yield SchedulerWorld(parts=parts, alerts=alerts, learn=learn, general=general)
    engine.dispose()


def test_drift_with_corrections_queues_a_run_with_its_whole_cause(world: SchedulerWorld) -> None:
    world.drift()
    world.correct(12)
    assert "queued" in world.consider()
    (run,) = world.runs
    assert (run.state, run.adapter, run.plan.method) == (RunState.QUEUED, run.adapter, "qlora-sft")
    item = world.parts.work.lease(TrainCommand, worker="trainer", now=NOW, hold=timedelta(seconds=1))
    assert item is not None
    assert item.command == TrainCommand(run=run.id)
    (asked,) = world.parts.journal.entries(kind="trigger")
    assert (asked.reason, asked.caused_by) == (TriggerReason.DRIFT, "alert-1")
    assert world.states("readiness") == ["green"]
    assert world.states("snapshot") == ["built"]
    found = world.learn.snapshot(run.plan.snapshot)
    assert found is not None
    assert found[0].counts["general"] == 2
    assert Path(found[1]).is_file()


def test_considering_again_while_a_run_is_queued_changes_nothing(world: SchedulerWorld) -> None:
    world.correct(25)
    world.consider()
    assert world.consider(at=NOW + timedelta(minutes=1)) == TriggerReason.IN_PROGRESS
    assert len(world.runs) == 1


def test_a_run_without_work_is_given_its_work_again(world: SchedulerWorld) -> None:
    world.correct(25)
    world.consider()
    engineless = world.runs[0]
    lost = replace(engineless, id=type(engineless.id)("run-lost"))
    world.parts.runs.save_run(lost, entry("run", lost.id))
    world.consider(at=NOW + timedelta(minutes=1))
    leased = [world.parts.work.lease(TrainCommand, worker="t", now=NOW + timedelta(minutes=2), hold=timedelta(hours=1)) for _ in range(3)]
    assert {item.command.run for item in leased if item} == {engineless.id, "run-lost"}


def test_corrections_count_from_the_last_run_that_trained(world: SchedulerWorld) -> None:
    world.correct(25)
    world.consider()
    done = replace(world.runs[0], state=RunState.TRAINED, ended_at=NOW)
    world.parts.runs.save_run(done, entry("run", done.id))
    assert world.consider(at=NOW + timedelta(hours=1)) == TriggerReason.COOLING_DOWN
    assert world.consider(at=NOW + timedelta(hours=7)) == TriggerReason.NOTHING_NEW
    world.correct(20, first=100, at=NOW + timedelta(hours=7))
    assert "queued" in world.consider(at=NOW + timedelta(hours=8))
    assert len({run.adapter for run in world.runs}) == 2


def test_red_readiness_refuses_and_says_so_once(world: SchedulerWorld) -> None:
    world.parts = replace(world.parts, base_digest=lambda: None)
    world.correct(25)
    for minute in range(3):
        assert "serving.model" in world.consider(at=NOW + timedelta(minutes=minute))
    assert world.runs == []
    assert world.states("readiness") == ["red"]
    assert world.states("trigger") == ["asked"]


def test_a_person_s_request_is_served_with_name_and_reason(world: SchedulerWorld) -> None:
    world.correct(9)
    item = WorkItem(id="w1", workload=ROUTER, command=RetrainCommand(asked_by=ADA, reason="new release"), caused_by="api")
    world.parts.work.put(item, now=NOW)
    serve_requests(world.parts, NOW)
    (asked,) = world.parts.journal.entries(kind="trigger")
    assert (asked.actor, asked.subject) == ("ada", "w1")
    assert "new release" in asked.reason
    assert world.parts.work.state("w1") == "done"
    assert len(world.runs) == 1


def test_a_person_s_data_set_is_built_without_a_run(world: SchedulerWorld) -> None:
    world.correct(5)
    item = WorkItem(id="w2", workload=ROUTER, command=SnapshotCommand(asked_by=ADA, reason="look"), caused_by="api")
    world.parts.work.put(item, now=NOW)
    serve_requests(world.parts, NOW)
    assert len(world.learn.snapshots(ROUTER)) == 1
    assert world.runs == []


def test_observe_never_trains_not_even_on_request(world: SchedulerWorld) -> None:
    world.correct(25)
    watched = replace(world.parts.workloads[ROUTER], mode="observe")
    world.parts = replace(world.parts, workloads={ROUTER: watched})
    assert world.consider(asked_by=ADA) == TriggerReason.OBSERVE_ONLY
    assert world.runs == []


def counted(left_out: int) -> Callable[[Snapshot, TrainingPolicy], TokenRows]:
    """The first rows are too long for the policy."""

    def count(snapshot: Snapshot, policy: TrainingPolicy) -> TokenRows:
        rows = tuple(TokenRow(example=one.id, source=one.source, prompt_ids=(1,), answer_ids=(2,)) for one in snapshot.examples[left_out:])
        details = {LeftOutReason.TOO_LONG: f"600 tokens, at most {policy.max_length}"}
        return TokenRows(rows=rows, left_out={LeftOutReason.TOO_LONG: left_out} if left_out else {}, details=details)

    return count


def test_more_than_a_tenth_of_rows_that_do_not_fit_refuses_the_run_before_it_starts(world: SchedulerWorld) -> None:
    world.correct(20)
    world.parts = replace(world.parts, count_rows=counted(5))
    said = world.consider(asked_by=ADA)
    total = len(world.snapshot.examples)
    assert said == (
        f"not ready: 5 of {total} rows cannot be trained on, at most 10% may be left out: "
        "5 too long (600 tokens, at most 512). Raise training.max_length."
    )
    assert world.runs == []
    red = world.parts.journal.entries(kind="readiness")[-1]
    assert (red.state, red.evidence["left_out"]) == ("red", {"too_long": 5})


def test_a_tenth_of_rows_that_do_not_fit_is_a_warning_that_anybody_sees(world: SchedulerWorld) -> None:
    world.correct(20)
    world.parts = replace(world.parts, count_rows=counted(2))
    assert "queued" in world.consider(asked_by=ADA)
    (built,) = [line for line in world.parts.journal.entries(kind="snapshot") if line.state == "built"]
    warning = f"2 of {len(world.snapshot.examples)} rows will not be trained on: 2 too long (600 tokens, at most 512)"
    assert warning in built.evidence["warnings"]
    assert warning in world.snapshot.warnings


def test_rows_that_cannot_be_counted_here_are_a_warning(world: SchedulerWorld) -> None:
    world.correct(20)
    assert "queued" in world.consider(asked_by=ADA)
    assert "the rows were not counted in tokens: no tokenizer in this test" in world.snapshot.warnings


def test_a_general_file_that_does_not_fit_is_told_with_its_line(world: SchedulerWorld) -> None:
    world.general.write_text('{"messages": [{"role": "user", "content": "a"}], "completion": "b"}\n{"prompt": "c"}\n')
    world.correct(9)
    world.parts.work.put(WorkItem(id="w3", workload=ROUTER, command=RetrainCommand(asked_by=ADA, reason=""), caused_by="api"), now=NOW)
    serve_requests(world.parts, NOW)
    assert world.parts.work.state("w3") == "failed"


def test_a_general_file_that_does_not_fit_stops_no_other_workload(world: SchedulerWorld) -> None:
    world.general.write_text('{"prompt": "c"}\n')
    other = WorkloadId("other")
    world.parts = replace(
        world.parts, workloads={ROUTER: world.parts.workloads[ROUTER], other: replace(world.parts.workloads[ROUTER], id=other)}
    )
    world.correct(20)
    considered: list[WorkloadId] = []
    world.parts = replace(world.parts, corrections=Noted(world.learn, considered))  # type: ignore[arg-type]
    RetrainScheduler(world.parts, check_every=timedelta(minutes=1)).tick(NOW)
    assert other in considered
    (refused,) = [line for line in world.parts.journal.entries(kind="snapshot") if line.state == "refused"]
    assert f"{world.general}:1: messages" in refused.reason


class Noted:
    """Notes whose corrections are read."""

    def __init__(self, learn: CorrectionAndTrainingLedger, considered: list[WorkloadId]) -> None:
        self._learn, self._considered = learn, considered

    def trainable(self, workload: WorkloadId, *, since: datetime | None = None) -> int:
        self._considered.append(workload)
        return self._learn.trainable(workload, since=since)

    def corrections(self, workload: WorkloadId, *, state: CorrectionState | None = None) -> Sequence[KeptCorrection]:
        return self._learn.corrections(workload, state=state)

    def state_counts(self, workload: WorkloadId) -> Mapping[CorrectionState, int]:
        return self._learn.state_counts(workload)


def never(argument: str) -> None:
    """What the stored job names; its time does not come in this test."""
    raise AssertionError(argument)


def test_an_appointment_keeps_its_time_through_a_restart(tmp_path: Path) -> None:
    first, second = (
        Appointment(id=f"calendar-{name}", function=f"{__name__}:never", arguments=("x",), crontab=crontab)
        for name, crontab in (("a", "0 3 1 1 *"), ("b", "0 3 1 1 mon"))  # the second fires by day or by weekday: two triggers in one
    )
    errors: list[BaseException] = []
    times = []
    for appointments in ([first, second], [first, second], [first]):
        schedule = Schedule(tmp_path / "schedule.db", appointments, on_error=errors.append)
        times.append({job.id: job.next_run_time for job in schedule._scheduler.get_jobs()})
        schedule.stop()
    assert times[0] == times[1]
    assert set(times[0]) == {"calendar-a", "calendar-b"}
    assert times[2] == {"calendar-a": times[0]["calendar-a"]}
    assert errors == []


def test_a_stored_job_whose_function_is_gone_is_dropped_without_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As 966c45d stored it: the short interval was an appointment too."""
    stored = Appointment(id="consider", function=f"{__name__}:soon_gone", arguments=("x",), crontab="0 3 1 1 *")
    globals()["soon_gone"] = never
    Schedule(tmp_path / "schedule.db", [stored], on_error=lambda error: None).stop()
    del globals()["soon_gone"]
    Schedule(tmp_path / "schedule.db", [], on_error=lambda error: None).stop()
    assert caplog.records == []


@pytest.mark.parametrize("damaged", [0, 5_000], ids=["the header", "a page"])
def test_a_damaged_schedule_is_laid_aside_and_made_anew(tmp_path: Path, damaged: int) -> None:
    kept = Appointment(id="calendar-a", function=f"{__name__}:never", arguments=("a",), crontab="0 3 1 1 *")
    store = tmp_path / "schedule.db"
    Schedule(store, [kept], on_error=lambda error: None).stop()
    content = bytearray(store.read_bytes())
    content[damaged : damaged + 3_000] = b"x" * 3_000
    store.write_bytes(content)
    schedule = Schedule(store, [kept], on_error=lambda error: None)
    assert [job.id for job in schedule._scheduler.get_jobs()] == ["calendar-a"]
    schedule.stop()
    assert store.with_suffix(".unreadable").read_bytes() == content


class CountedCorrections:
    """Counts how often corrections are counted, once for each look."""

    def __init__(self, learn: CorrectionAndTrainingLedger) -> None:
        self._learn, self.reads = learn, 0

    def trainable(self, workload: WorkloadId, *, since: datetime | None = None) -> int:
        self.reads += 1
        return self._learn.trainable(workload, since=since)


def test_an_unchanged_ledger_is_considered_every_tenth_check_only(world: SchedulerWorld) -> None:
    counted = CountedCorrections(world.learn)
    parts = replace(world.parts, corrections=counted)  # type: ignore[arg-type]
    scheduler = RetrainScheduler(parts, check_every=timedelta(minutes=1))
    for second in range(0, 600, 10):
        scheduler.tick(NOW + timedelta(seconds=second))
    assert counted.reads == 1
    scheduler.tick(NOW + timedelta(minutes=10))
    assert counted.reads == 2


def test_a_new_correction_is_considered_at_the_next_check(world: SchedulerWorld) -> None:
    scheduler = RetrainScheduler(world.parts, check_every=timedelta(minutes=1))
    scheduler.tick(NOW)
    world.correct(25)
    scheduler.tick(NOW + timedelta(seconds=30))
    assert world.runs == []
    scheduler.tick(NOW + timedelta(seconds=60))
    assert len(world.runs) == 1


def test_only_the_newest_line_of_a_subject_decides_what_is_news(world: SchedulerWorld) -> None:
    world.correct(25)
    world.parts = replace(world.parts, base_digest=lambda: None)
    world.consider()
    (red,) = world.parts.journal.entries(kind="readiness")
    world.parts.journal.append(replace(red, at=NOW + timedelta(minutes=1), state="green", reason="fine"))
    world.consider(at=NOW + timedelta(minutes=2))
    world.consider(at=NOW + timedelta(minutes=3))
    assert world.states("readiness") == ["red", "green", "red"]


JUMPS = (timedelta(hours=1), timedelta(days=1), timedelta(days=365))


@pytest.mark.parametrize("ahead", JUMPS)
def test_checks_go_on_when_a_clock_that_ran_ahead_is_right_again(world: SchedulerWorld, ahead: timedelta) -> None:
    scheduler = RetrainScheduler(world.parts, check_every=timedelta(minutes=1))
    scheduler.tick(NOW + ahead)
    world.correct(25)
    scheduler.tick(NOW)
    assert len(world.runs) == 1


def test_a_year_of_missed_appointments_counts_as_one() -> None:
    """A clock that jumps forward by a year misses half a million minutes; going through them took minutes of CPU time."""
    every_minute, either_day = (trigger_of(parse_crontab(line)) for line in ("* * * * *", "0 3 1 1 mon"))
    now = datetime(2027, 1, 1, 12, 0, 30, tzinfo=UTC)
    long_ago = now - timedelta(days=365)
    assert every_minute.get_next_fire_time(long_ago, now) == now + timedelta(seconds=30)
    assert every_minute.get_next_fire_time(None, long_ago) == long_ago + timedelta(seconds=30)
    on_time = now.replace(second=0)
    assert every_minute.get_next_fire_time(on_time, on_time) == on_time + timedelta(minutes=1), "the same one never twice"
    assert either_day.get_next_fire_time(long_ago, now) == datetime(2027, 1, 4, 3, tzinfo=UTC)


@pytest.mark.parametrize("ahead", JUMPS)
def test_an_appointment_that_a_clock_ahead_has_put_off_is_planned_anew_and_told_once(
    world: SchedulerWorld, tmp_path: Path, ahead: timedelta
) -> None:
    right = datetime(2040, 1, 1, 12, 0, 30, tzinfo=UTC)  # after the time of this machine: nothing is due while the test runs
    appointment = Appointment(id="calendar-a", function=f"{__name__}:never", arguments=("x",), crontab="*/5 * * * *")
    errors: list[BaseException] = []
    schedule = Schedule(tmp_path / "schedule.db", [appointment], on_error=errors.append)
    try:
        schedule._scheduler.get_job("calendar-a").modify(next_run_time=right + ahead)
        found = schedule.follow_clock(lambda: right)
        assert [(one.stored, one.planned) for one in found] == [(right + ahead, right + timedelta(minutes=4, seconds=30))]
        assert schedule.follow_clock(lambda: right) == []
        schedule._scheduler.get_job("calendar-a").modify(next_run_time=right - timedelta(hours=1))
        assert schedule.follow_clock(lambda: right) == [], "one that was missed keeps its time"
    finally:
        schedule.stop()
    tell_planned_anew(world.parts, found, now=NOW)
    (line,) = world.parts.journal.entries(subject="calendar-a")
    assert line.state == "planned_anew"
    assert errors == []


def ran(argument: str) -> None:
    RAN.append(argument)


RAN: list[str] = []


def test_an_appointment_that_does_not_begin_is_told_to_stand(tmp_path: Path) -> None:
    kept = Appointment(id="calendar-a", function=f"{__name__}:ran", arguments=("a",), crontab="0 3 1 1 *")
    schedule = Schedule(tmp_path / "schedule.db", [kept], on_error=lambda error: None)
    mark = FlowMark(Flow(name="schedule", pace_seconds=120.0, remedy="x"), waiting=schedule.overdue)
    with watched(tmp_path / "told", "retrain_scheduler", mark) as seen:
        seen.watch.look()
        assert mark.waiting == 0
        schedule._scheduler.pause()
        schedule._scheduler.modify_job("calendar-a", next_run_time=datetime.now(UTC))
        seen.is_told_to_stand("schedule")
        schedule._scheduler.resume()
        seen.is_told_to_move("schedule")
    schedule.stop()
    assert RAN == ["a"]

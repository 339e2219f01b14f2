"""Runs, adapters, gates and cached answers as any ledger must keep them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from flywheel.errors import Conflict
from flywheel.gate.axes import AxisPolicy, GateVerdict, Role
from flywheel.gate.axis_verdict import judge
from flywheel.gate.decide import decide
from flywheel.ids import BASE, AdapterName, GateId, RunId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import AdapterBundle, Run, RunState
from services.ports.gate import Answer, GateRecord
from services.stores.database import metadata, open_database
from services.stores.ledger.gates import LedgerGates, answers_table, gates_table
from services.stores.ledger.journal import LedgerJournal, journal_table
from services.stores.ledger.runs import LedgerRuns, adapters_table, runs_table

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WORKLOAD = WorkloadId("router")
PLAN = TrainingPlan(
    workload=WORKLOAD,
    base="base",
    base_digest="d" * 64,
    snapshot=SnapshotId("snapshot-1"),
    method="qlora-sft",
    policy=TrainingPolicy(target_modules=("q_proj", "v_proj")),
    versions={"trl": "1.16.0"},
)
RUN = Run(id=RunId("run-1"), workload=WORKLOAD, plan=PLAN, adapter=AdapterName("router-1"), state=RunState.QUEUED, requested_at=NOW)
BUNDLE = AdapterBundle(
    name=AdapterName("router-1"), workload=WORKLOAD, run=RUN.id, path="/a/router-1", digest="a" * 64, base_digest="d" * 64, made_at=NOW
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    metadata.create_all(opened, tables=[journal_table, runs_table, adapters_table, gates_table, answers_table])
    yield opened
    opened.dispose()


def entry(subject: str, state: str) -> JournalEntry:
    return JournalEntry(at=NOW, workload=WORKLOAD, kind="run", subject=subject, state=state, reason="because")


def a_gate(gate_id: str, *, at: datetime = NOW) -> GateRecord:
    axis = judge(
        policy=AxisPolicy(name="golden", role=Role.SUPERIORITY, margin=0.05, alpha=0.025),
        baselines={"base": [False] * 9},
        challenger=[True] * 9,
    )
    return GateRecord(
        id=GateId(gate_id), workload=WORKLOAD, adapter=BUNDLE.name, champion=BASE, golden_version=1, decision=decide(axes=[axis]), at=at
    )


def test_a_run_comes_back_as_it_was_saved_in_its_newest_state(engine: Engine) -> None:
    ledger = LedgerRuns(engine)
    ledger.save_run(RUN, entry(RUN.id, "queued"))
    trained = replace(RUN, state=RunState.TRAINED, ended_at=NOW, steps=60, seconds=12.5, reason="done", metrics={"loss_last": 0.1})
    ledger.save_run(trained, entry(RUN.id, "trained"))
    assert ledger.run(RUN.id) == trained
    assert [line.state for line in LedgerJournal(engine).entries(subject=RUN.id)] == ["queued", "trained"]


def test_runs_come_newest_first_and_of_their_workload_only(engine: Engine) -> None:
    ledger = LedgerRuns(engine)
    later = replace(RUN, id=RunId("run-2"), requested_at=NOW + timedelta(hours=1))
    for run in (RUN, later, replace(RUN, id=RunId("run-3"), workload=WorkloadId("other"))):
        ledger.save_run(run, entry(run.id, "queued"))
    assert [run.id for run in ledger.runs(WORKLOAD)] == ["run-2", "run-1"]
    assert ledger.run(RunId("unknown")) is None


def test_an_adapter_is_registered_once_and_its_name_never_stands_for_other_bytes(engine: Engine) -> None:
    ledger = LedgerRuns(engine)
    ledger.register_adapter(BUNDLE, entry(BUNDLE.name, "registered"))
    ledger.register_adapter(replace(BUNDLE, made_at=NOW + timedelta(hours=1)), entry(BUNDLE.name, "registered again"))
    assert ledger.adapter(BUNDLE.name) == BUNDLE
    assert len(LedgerJournal(engine).entries(subject=BUNDLE.name)) == 1
    with pytest.raises(Conflict, match="other weights"):
        ledger.register_adapter(replace(BUNDLE, digest="b" * 64), entry(BUNDLE.name, "registered"))
    assert ledger.adapters(WORKLOAD) == [BUNDLE]


def test_a_gate_comes_back_with_every_axis(engine: Engine) -> None:
    ledger = LedgerGates(engine)
    gate = a_gate("gate-1")
    ledger.save_gate(gate, entry("gate-1", "pass"))
    assert ledger.gate(gate.id) == gate
    assert gate.decision.verdict is GateVerdict.PASS


def test_a_gate_is_kept_as_it_was_first_decided(engine: Engine) -> None:
    ledger = LedgerGates(engine)
    ledger.save_gate(a_gate("gate-1"), entry("gate-1", "pass"))
    ledger.save_gate(replace(a_gate("gate-1"), golden_version=9), entry("gate-1", "pass"))
    kept = ledger.gate(GateId("gate-1"))
    assert kept is not None
    assert kept.golden_version == 1


def test_gates_come_newest_first(engine: Engine) -> None:
    ledger = LedgerGates(engine)
    ledger.save_gate(a_gate("gate-1"), entry("gate-1", "pass"))
    ledger.save_gate(a_gate("gate-2", at=NOW + timedelta(hours=1)), entry("gate-2", "pass"))
    assert [gate.id for gate in ledger.gates(WORKLOAD, adapter=BUNDLE.name)] == ["gate-2", "gate-1"]
    assert ledger.gates(WORKLOAD, adapter=AdapterName("another")) == []


def test_answers_are_found_by_their_key_also_when_there_are_many(engine: Engine) -> None:
    ledger = LedgerGates(engine)
    answers = {f"key-{n}": Answer(text=f"answer {n}", finish_reason="stop", status=200) for n in range(1200)}
    ledger.cache_answers(answers)
    ledger.cache_answers({"key-0": Answer(text="another", finish_reason="stop", status=200)})
    assert ledger.cached_answers([*answers, "unknown"]) == answers

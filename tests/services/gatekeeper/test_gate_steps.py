"""A gate on a real ledger and a scripted server: who is asked, in which order, and what comes of it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from sqlalchemy import select, update

from flywheel.comparison import ComparisonPolicy
from flywheel.errors import CannotRun, NotFound
from flywheel.gate.attempts import count_attempts
from flywheel.gate.axes import AxisVerdict, GateVerdict
from flywheel.gate.axis_order import GatePolicy
from flywheel.ids import BASE, AdapterName, CaseId, Person, ReleaseId, RunId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.regression_suite.golden import freeze
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import AdapterBundle, Run, RunState
from flywheel.rollout.release import Release, ReleaseState, Route
from flywheel.traffic.message import Message
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot, id_of
from services.gatekeeper import run_gate as steps
from services.gatekeeper.take_gates import GateWorker
from services.gatekeeper.wiring import GatedWorkload, GatekeeperParts
from services.integrations.openai.answers import OpenAiAnswers
from services.ports.work_queue import GateCommand, WorkItem
from services.stores.ledger.gates import LedgerGates, gates_table
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.work_queue import LedgerWorkQueue
from services.stores.snapshot_files import write_snapshot
from tests.databases import migrated_ledger
from tests.fakes.vllm_server import FakeVllm
from tests.ledgers import CorrectionAndTrainingLedger

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROUTER = WorkloadId("router")
GOOD, CHAMPION = AdapterName("router-good"), AdapterName("router-champion")
ITEMS = 20
WIDE = dict.fromkeys(("format", "recurrence", "general", "safety"), (0.25, "small sets"))
ITEM = WorkItem(id="work-gate-1", workload=ROUTER, command=GateCommand(adapter=GOOD, asked_by=Person("ada")), caused_by="release-1")


def entry(kind: str, subject: str, state: str = "made") -> JournalEntry:
    return JournalEntry(at=NOW, workload=ROUTER, kind=kind, subject=subject, state=state, reason="for the test")


def call(n: int) -> str:
    return json.dumps({"tool": "add", "arguments": {"a": n}})


def case(tier: Tier, n: int, *, slice_name: str = "all") -> Case:
    number = n + 1000 * list(Tier).index(tier)
    grader = Grader(kind="tool_call", expected={"tool": "add", "arguments": {"a": [number]}})
    if tier is Tier.SAFETY:
        grader = Grader(kind="refuses", expected={})
    elif tier is Tier.GENERAL:
        grader = Grader(kind="contains", expected={"any": [str(number)]})
    messages = (Message(role="user", content=f"{tier}: add {number}"),)
    return Case(
        id=CaseId(f"{tier}-{n}"),
        workload=ROUTER,
        tier=tier,
        messages=messages,
        grader=grader,
        entity=f"{tier}-{n}",
        slice=slice_name,
        created_at=NOW,
    )


def right_answer(prompt: str) -> str:
    number = int(prompt.rsplit(" ", 1)[1])
    if prompt.startswith("safety"):
        return "I'm sorry, I can't help with that."
    return f"It is {number}." if prompt.startswith("general") else call(number)


Script = Callable[[str, str, int], str]
"""(model, prompt, number of messages) -> answer"""


def by_model(script: Script) -> Callable[[str, Sequence[Mapping[str, Any]]], str]:
    return lambda model, messages: script(model, str(messages[-1]["content"]), len(messages))


def usual(model: str, prompt: str, length: int) -> str:
    """The base knows general and safe things and nothing of tools; shots teach it the form; adapters are right."""
    if model == BASE and not prompt.startswith(("general", "safety")):
        return json.dumps({"tool": "none", "arguments": {}}) if length > 1 else "I would add them."
    return right_answer(prompt)


@dataclass
class House:
    parts: GatekeeperParts
    journal: LedgerJournal
    vllm: FakeVllm

    def gate(self, item: WorkItem[GateCommand] = ITEM) -> Mapping[str, AxisVerdict]:
        self.record = steps.gate(item, self.parts, NOW)
        return {axis.name: axis for axis in self.record.decision.axes}

    def asked(self, model: str, start: str) -> int:
        return sum(body["model"] == model and body["messages"][-1]["content"].startswith(start) for body in self.vllm.requests)

    def with_champion(self) -> None:
        route = Route(workload=ROUTER, alias="router", version=1, champion=CHAMPION, changed_at=NOW)
        assert self.parts.releases.save_route(route, entry("route", "router", "changed"))

    def protecting(self, slice_name: str, **margins: tuple[float, str]) -> None:
        workload = self.parts.workloads[ROUTER]
        policy = replace(workload.policy, margins={**workload.policy.margins, **margins})
        self.parts = replace(self.parts, workloads={ROUTER: replace(workload, protected=(slice_name,), policy=policy)})


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    engine = migrated_ledger(tmp_path)
    learn, train, gates = CorrectionAndTrainingLedger(engine), LedgerRuns(engine), LedgerGates(engine)
    golden = [case(Tier.GOLDEN, n, slice_name="tenant=globex" if n % 2 == 0 else "all") for n in range(ITEMS)]
    learn.freeze_golden(freeze(cases=golden, workload=ROUTER, version=1, by=Person("ada"), now=NOW), entry("golden", "g"))
    others = [case(tier, n) for tier in (Tier.RECURRENCE, Tier.HELD_OUT, Tier.GENERAL, Tier.SAFETY) for n in range(ITEMS)]
    learn.add_cases(others, entry("cases", "c"))
    examples = tuple(
        Example(id=f"x{n}", messages=(Message(role="user", content=f"old {n}"),), completion=call(n), entity=f"x{n}", source="correction")
        for n in range(5)
    )
    snapshot = Snapshot(id=id_of(workload=ROUTER, examples=examples), workload=ROUTER, cut_off=NOW, examples=examples)
    learn.keep_snapshot(snapshot, path=str(write_snapshot(snapshot, folder=tmp_path / "snapshots")), entry=entry("snapshot", snapshot.id))
    keep_adapter(train, GOOD, snapshot.id)
    with FakeVllm(answers=by_model(usual), adapters={GOOD: "/a", CHAMPION: "/c"}) as vllm:
        parts = GatekeeperParts(
            worker="gatekeeper-1",
            workloads={
                ROUTER: GatedWorkload(
                    id=ROUTER, policy=GatePolicy(margins=WIDE, few_shot=2), protected=(), max_tokens=64, comparison=ComparisonPolicy()
                )
            },
            gates=gates,
            releases=LedgerReleases(engine, topic="flywheel.releases.v1"),
            suite=learn,
            training_sets=learn,
            runs=train,
            work=LedgerWorkQueue(engine),
            answers=OpenAiAnswers(vllm.url, cache=gates, base_identity=lambda: "d" * 64),
            concurrency=8,
            base_digest=lambda: "d" * 64,
        )
        yield House(parts=parts, journal=LedgerJournal(engine), vllm=vllm)
    engine.dispose()


def keep_adapter(train: LedgerRuns, name: AdapterName, snapshot: SnapshotId, *, base_digest: str = "d" * 64) -> None:
    plan = TrainingPlan(
        workload=ROUTER, base="base", base_digest=base_digest, snapshot=snapshot, method="qlora-sft", policy=TrainingPolicy()
    )
    run = Run(id=RunId(f"run-{name}"), workload=ROUTER, plan=plan, adapter=name, state=RunState.TRAINED, requested_at=NOW)
    train.save_run(run, entry("run", run.id))
    bundle = AdapterBundle(name=name, workload=ROUTER, run=run.id, path="/a", digest="a" * 64, base_digest=base_digest, made_at=NOW)
    train.register_adapter(bundle, entry("adapter", name))


def test_a_better_adapter_passes_every_axis_in_order(house: House) -> None:
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.PASS, house.record.decision.reason
    assert list(axes) == ["format", "golden", "recurrence", "held_out", "general", "safety"]
    assert (axes["golden"].wins, axes["golden"].losses, axes["golden"].n) == (ITEMS, 0, ITEMS)
    assert axes["format"].baseline_arm == "few_shot"
    assert house.record.decision.not_judged == ()


def test_the_journal_holds_every_axis_and_who_asked(house: House) -> None:
    house.gate()
    (line,) = house.journal.entries(kind="gate")
    assert (line.state, line.actor, line.caused_by) == ("pass", "ada", "release-1")
    axes = line.evidence["axes"]
    assert isinstance(axes, list)
    assert {axis["name"]: axis["verdict"] for axis in axes}["golden"] == "pass"
    assert all({"margin", "standard_margin", "p", "low", "high", "wins", "losses"} <= set(axis) for axis in axes)


def test_the_ledger_and_the_journal_hold_the_other_arms_too(house: House) -> None:
    axes = house.gate()
    others = axes["format"].others
    assert set(others) == {"base"}
    assert (others["base"].n, others["base"].wins) == (ITEMS, ITEMS)
    assert house.parts.gates.gate(house.record.id) == house.record
    (line,) = house.journal.entries(kind="gate")
    assert line.evidence["axes"][0]["others"] == {"base": {"both": 0, "wins": ITEMS, "losses": 0, "neither": 0}}  # type: ignore[index]


def test_a_gate_of_an_older_ledger_is_still_read(house: House, tmp_path: Path) -> None:
    house.gate()
    engine = migrated_ledger(tmp_path)
    with engine.begin() as connection:
        kept = json.loads(connection.execute(select(gates_table.c.decision)).scalar_one())
        for axis in kept["axes"]:
            for name in ("others", "entity_size", "design_effect", "likeness_is", "least_wins"):
                del axis[name]
        del kept["not_judged"]
        connection.execute(update(gates_table).values(decision=json.dumps(kept)))
    engine.dispose()
    read = house.parts.gates.gate(house.record.id)
    assert read is not None
    assert [axis.wins for axis in read.decision.axes] == [axis.wins for axis in house.record.decision.axes]
    assert all((axis.others, axis.clusters, axis.required.least_wins) == ({}, None, None) for axis in read.decision.axes)
    assert read.decision.not_judged == ()


def test_a_damaged_adapter_is_refused_on_format_and_nothing_more_is_asked(house: House) -> None:
    house.with_champion()
    house.vllm.answers = by_model(lambda model, prompt, length: "}}}}" if model == GOOD else usual(model, prompt, length))
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.REFUSE
    assert list(axes) == ["format"]
    assert axes["format"].others == {}  # format meets a champion alone
    assert house.asked(GOOD, "general") == house.asked(CHAMPION, "general") == 0
    not_judged = ("golden", "recurrence", "held_out", "general", "safety")
    kept = house.parts.gates.gate(house.record.id)
    assert kept is not None
    assert kept.decision.not_judged == house.record.decision.not_judged == not_judged
    (line,) = house.journal.entries(kind="gate")
    assert line.evidence["not_judged"] == list(not_judged)


def test_an_adapter_that_only_equals_the_champion_is_not_better(house: House) -> None:
    house.with_champion()
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.REFUSE
    assert axes["golden"].baseline_arm == "champion"
    assert house.record.champion == CHAMPION


def test_what_a_prompt_alone_can_do_is_no_improvement(house: House) -> None:
    house.vllm.answers = by_model(
        lambda model, prompt, length: right_answer(prompt) if model == BASE and length > 1 else usual(model, prompt, length)
    )
    axes = house.gate()
    assert (axes["golden"].baseline_arm, axes["golden"].verdict) == ("few_shot", GateVerdict.REFUSE)


def test_forgetting_is_refused_though_the_target_improved(house: House) -> None:
    house.vllm.answers = by_model(
        lambda model, prompt, length: call(0) if model == GOOD and prompt.startswith("general") else usual(model, prompt, length)
    )
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.REFUSE
    assert axes["general"].verdict is GateVerdict.REFUSE
    assert "safety" not in axes


def test_a_captured_failure_that_comes_back_is_refused(house: House) -> None:
    house.with_champion()
    house.vllm.answers = by_model(
        lambda model, prompt, length: (
            call(0)
            if (model == GOOD and prompt.startswith("recurrence")) or (model == CHAMPION and prompt.startswith("golden"))
            else usual(model, prompt, length)
        )
    )
    assert house.gate()["recurrence"].verdict is GateVerdict.REFUSE


def test_without_wider_margins_small_axes_cannot_tell(house: House) -> None:
    workload = house.parts.workloads[ROUTER]
    house.parts = replace(house.parts, workloads={ROUTER: replace(workload, policy=GatePolicy())})
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.CANNOT_TELL
    assert axes["general"].required.at_these_shares == 103


def test_a_protected_slice_has_its_own_axis_against_who_serves_now(house: House) -> None:
    house.protecting("tenant=globex")
    axis = house.gate()["golden[tenant=globex]"]
    assert (axis.n, axis.wins, axis.verdict, axis.baseline_arm) == (10, 10, GateVerdict.PASS, "base")


def test_a_gate_asked_twice_is_decided_once_and_asks_nothing_again(house: House) -> None:
    house.gate()
    first, asked = house.record, len(house.vllm.requests)
    house.gate()
    assert (house.record, len(house.vllm.requests)) == (first, asked)


def test_the_next_gate_takes_the_baseline_answers_from_the_record(house: House) -> None:
    house.gate()
    asked = house.asked(BASE, "")
    house.gate(replace(ITEM, id="work-gate-2"))
    assert house.asked(BASE, "") == asked


def test_every_item_is_asked_once_of_each_arm(house: House) -> None:
    house.gate()
    assert house.asked(GOOD, "golden") == ITEMS
    assert house.asked(BASE, "golden") == 2 * ITEMS  # as prompted, and with shots


def test_a_server_that_does_not_answer_is_no_verdict(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.integrations.openai.answers.FIRST_WAIT_SECONDS", 0.0)
    house.vllm.failing = {GOOD: (500, "out of memory")}
    with pytest.raises(CannotRun, match="challenger arm does not answer"):
        house.gate()
    assert house.parts.gates.gates(ROUTER) == []


def test_a_request_that_every_arm_is_refused_counts_on_no_axis(house: House) -> None:
    house.vllm.too_long = case(Tier.GOLDEN, 7).messages[0].text
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.PASS, house.record.decision.reason
    assert house.record.decision.unanswerable == ("golden-7",)
    assert (axes["format"].n, axes["golden"].n, axes["golden"].losses) == (ITEMS - 1, ITEMS - 1, 0)
    assert house.parts.gates.gate(house.record.id) == house.record
    (line,) = house.journal.entries(kind="gate")
    assert line.evidence["unanswerable"] == ["golden-7"]


def test_what_the_challenger_gets_wrong_is_named_with_the_score_of_each_argument(house: House) -> None:
    missed = case(Tier.GOLDEN, 3).messages[0].text
    house.vllm.answers = by_model(
        lambda model, prompt, length: (
            json.dumps({"tool": "add", "arguments": {"b": 3}}) if (model, prompt) == (GOOD, missed) else usual(model, prompt, length)
        )
    )
    house.gate()
    (found,) = house.record.decision.incorrect
    assert (found.case, found.reason, found.arguments) == ("golden-3", "argument b is not expected", {"a": 0.0, "b": 0.0})
    assert house.parts.gates.gate(house.record.id) == house.record
    (line,) = house.journal.entries(kind="gate")
    assert line.evidence["incorrect"] == [{"case": "golden-3", "reason": found.reason, "arguments": {"a": 0.0, "b": 0.0}}]


def test_a_refusal_of_the_challenger_alone_is_its_failure(house: House) -> None:
    house.vllm.failing = {GOOD: (400, "bad request")}
    axes = house.gate()
    assert house.record.decision.verdict is GateVerdict.REFUSE
    assert (axes["format"].challenger, axes["format"].n) == (0.0, ITEMS)
    assert house.record.decision.unanswerable == ()


def test_a_refusal_of_the_base_alone_is_its_failure(house: House) -> None:
    house.vllm.failing = {BASE: (422, "bad request")}
    axes = house.gate()
    assert (axes["golden"].wins, axes["golden"].n) == (ITEMS, ITEMS)
    assert house.record.decision.unanswerable == ()


def test_shots_that_do_not_fit_are_left_out_of_the_prompt(house: House) -> None:
    house.vllm.answers = by_model(lambda model, prompt, length: right_answer(prompt))
    house.vllm.too_long = "old "  # in the shots alone
    axes = house.gate()
    assert (axes["format"].baseline_arm, axes["format"].baseline) == ("few_shot", 1.0)
    assert house.record.decision.unanswerable == ()


def test_a_suite_that_nobody_can_be_asked_cannot_tell(house: House) -> None:
    house.vllm.too_long = "safety: "
    axes = house.gate()
    assert (axes["safety"].n, axes["safety"].verdict) == (0, GateVerdict.CANNOT_TELL)
    assert house.record.decision.verdict is GateVerdict.CANNOT_TELL
    assert len(house.record.decision.unanswerable) == ITEMS


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_the_gates_key_or_of_a_missing_adapter_is_no_verdict(house: House, status: int) -> None:
    house.vllm.failing = {GOOD: (status, "no")}
    with pytest.raises(CannotRun, match="challenger arm does not answer"):
        house.gate()


def test_another_base_than_the_one_trained_on_is_refused_without_asking(house: House) -> None:
    house.parts = replace(house.parts, base_digest=lambda: "e" * 64)
    house.gate()
    assert house.record.decision.verdict is GateVerdict.REFUSE
    assert house.vllm.requests == []


def test_an_unknown_adapter_is_told_by_name(house: House) -> None:
    with pytest.raises(NotFound, match="router-unknown"):
        house.gate(replace(ITEM, command=GateCommand(adapter=AdapterName("router-unknown"), asked_by=Person("ada"))))


def test_the_desk_gates_a_release_that_was_proven_applied(house: House) -> None:
    release = Release(
        id=ReleaseId("release-1"),
        workload=ROUTER,
        adapter=GOOD,
        state=ReleaseState.PROBED,
        since=NOW,
        reason="applied",
        actor=Person("flywheel"),
    )
    assert house.parts.releases.save_release(release, entry("release", release.id, "probed"), expected=None)
    desk = GateWorker(house.parts)
    for second in range(2000):
        under_way = desk.tick(NOW + timedelta(seconds=0.01 * second))
        if house.parts.gates.gates(ROUTER, adapter=GOOD) and under_way is None:
            break
        sleep(0.01)
    assert len(house.parts.gates.gates(ROUTER, adapter=GOOD)) == 1
    desk.tick(NOW + timedelta(minutes=5))
    assert len(house.parts.gates.gates(ROUTER, adapter=GOOD)) == 1


def test_the_journal_holds_predicted_power_and_attempts(house: House) -> None:
    house.gate()
    (line,) = house.journal.entries(kind="gate")
    assert line.evidence["attempts"] == {"challengers": 1, "gates": 1, "planned_challengers": 1}
    foretold = line.evidence["foretold"]
    assert isinstance(foretold, dict)
    assert 0 < foretold["chance"] < 1
    assert {axis["name"] for axis in foretold["axes"]} == {"format", "golden", "recurrence", "general", "safety"}
    assert all(axis["n"] == ITEMS for axis in foretold["axes"])


def test_the_second_challenger_of_a_champion_is_judged_twice_as_strictly(house: House) -> None:
    house.gate()
    second = AdapterName("router-second")
    run = house.parts.runs.run(RunId(f"run-{GOOD}"))
    assert run is not None
    assert isinstance(house.parts.runs, LedgerRuns)
    keep_adapter(house.parts.runs, second, run.plan.snapshot)
    house.vllm.adapters[second] = "/b"
    axes = house.gate(replace(ITEM, id="work-gate-2", command=GateCommand(adapter=second, asked_by=Person("ada"))))
    assert (axes["golden"].test.divided_by, axes["golden"].test.alpha) == (2, pytest.approx(0.0125))
    assert axes["general"].test.alpha == 0.01
    again = house.gate(replace(ITEM, id="work-gate-3", command=GateCommand(adapter=second, asked_by=Person("ada"))))
    assert again["golden"].test.divided_by == 4


def test_a_gate_that_ended_before_its_golden_items_was_no_attempt(house: House) -> None:
    house.with_champion()
    house.vllm.answers = by_model(lambda model, prompt, length: "}}}}" if model == GOOD else usual(model, prompt, length))
    house.gate()
    house.vllm.answers = by_model(usual)
    tried = house.parts.gates.gates(ROUTER)
    found = count_attempts(tried, adapter=AdapterName("router-second"), champion=CHAMPION, golden_version=1, planned_challengers=1)
    assert (found.challengers, found.gates) == (1, 1)


def test_golden_items_of_one_entity_are_not_counted_as_several(house: House) -> None:
    learn = house.parts.suite
    assert isinstance(learn, CorrectionAndTrainingLedger)
    cases = [replace(case(Tier.GOLDEN, n), entity=f"customer-{n // 5}") for n in range(ITEMS)]
    learn.freeze_golden(freeze(cases=cases, workload=ROUTER, version=2, by=Person("ada"), now=NOW), entry("golden", "g2"))
    golden = house.gate()["golden"]
    assert golden.clusters is not None
    assert (golden.n, golden.clusters.entities, golden.test.p) == (ITEMS, ITEMS // 5, pytest.approx(0.5 ** (ITEMS // 5)))
    assert (golden.verdict, golden.required.at_these_shares) == (GateVerdict.CANNOT_TELL, 30)

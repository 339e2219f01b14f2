"""A release controller with everything real but vLLM, the gateway and the clock."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flywheel.gate.axes import GateDecision, GateVerdict
from flywheel.ids import BASE, AdapterName, EventId, GateId, Person, RequestId, RunId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.training_run import AdapterBundle
from flywheel.rollout.release import Release, ReleaseState, Route, release_id
from flywheel.traffic.attempt_outcome import outcome_of
from flywheel.traffic.inference import Arm, Attempt, Inference
from services.integrations.gateway.admin import GatewayAdmin
from services.integrations.vllm.adapter_server import VllmAdapters
from services.ports.gate import GateRecord
from services.ports.traffic import RecordedInference, RecordingBatch
from services.release_controller.advance_releases import advance_releases, reconcile_server
from services.release_controller.measure_rollbacks import RollbackRecorder
from services.release_controller.reconcile_adapters import Replica
from services.release_controller.wiring import ControllerParts, controller_parts
from services.settings import Format, ReleaseSettings, Settings, Workload
from tests.databases import empty_databases
from tests.exchanges import chat
from tests.fakes.gateway_server import FakeGateway
from tests.fakes.vllm_server import FakeVllm
from tests.opened import traffic_store
from tests.served_vllm import random_adapter
from tests.traffic_stores import BothSides

ROUTER = WorkloadId("router")
GOOD, BAD = AdapterName("router-good"), AdapterName("router-bad")
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TRAINED = {"base": -1.0, GOOD: -0.2, BAD: -0.4}
"""Log-probability of every probed token, by what serves."""


@dataclass
class World:
    """``now`` moves only by ``pass_time``."""

    parts: ControllerParts
    vllm: FakeVllm
    gateway: FakeGateway
    folder: Path
    traffic: BothSides
    now: datetime = START
    asked: int = 0

    def __post_init__(self) -> None:
        self.restart_controller()

    def restart_controller(self) -> None:
        """What kill -9 and a new start leave: nothing that was only remembered."""
        self.replica = Replica(
            server=self.parts.server,
            read_probe=self.parts.read_probe,
            why_not_servable=self.parts.why_not_servable,
            drain=self.parts.drain,
            lora_slots=self.parts.lora_slots,
        )
        self.rollbacks = RollbackRecorder()

    def tick(self, *, times: int = 1) -> None:
        for _ in range(times):
            self.pass_time(seconds=1)
            reconcile_server(self.parts, self.replica, now=self.now)
            advance_releases(self.parts, self.replica, self.rollbacks, now=self.now)

    def pass_time(self, *, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def train(self, adapter: AdapterName, *, replay: float | None = None) -> None:
        """An adapter lies on disk and in the ledger, as a run leaves it."""
        path = random_adapter(self.folder / adapter, layers=1, width=4, rank=2)
        known = TRAINED[adapter] if replay is None else replay
        item = {"prompt_ids": [1, 2, 3], "answer_ids": [4, 5], "replay": [known, known]}
        (path / "probe.json").write_text(json.dumps({"items": [item]}))
        bundle = AdapterBundle(
            name=adapter,
            workload=ROUTER,
            run=RunId(f"run-{adapter}"),
            path=str(path),
            digest=adapter,
            base_digest="base",
            made_at=self.now,
        )
        entry = JournalEntry(at=self.now, workload=ROUTER, kind="adapter", subject=adapter, state="registered", reason="trained")
        self.parts.runs.register_adapter(bundle, entry)

    def gate(self, adapter: AdapterName, verdict: GateVerdict, *, champion: AdapterName = BASE, name: str = "") -> None:
        record = GateRecord(
            id=GateId(name or f"gate-{adapter}-{champion}"),
            workload=ROUTER,
            adapter=adapter,
            champion=champion,
            golden_version=1,
            decision=GateDecision(verdict=verdict, reason=f"the gate says {verdict.value}", axes=()),
            at=self.now,
        )
        entry = JournalEntry(at=self.now, workload=ROUTER, kind="gate", subject=record.id, state=verdict.value, reason="asked")
        self.parts.gates.save_gate(record, entry)

    def ask(self, adapter: AdapterName, arm: Arm, count: int, **changes: Any) -> None:
        """Recorded traffic: ``count`` sessions of one request each."""
        rows = [self._row(adapter, arm, **changes) for _ in range(count)]
        self.traffic.record(RecordingBatch(advances=(), rows=rows, recorded_at=self.now))

    def _row(self, adapter: AdapterName, arm: Arm, *, status: int = 200, valid: bool = True, request: str = "", attempt: int = 1) -> Any:
        self.asked += 1
        inference = Inference(
            event_id=EventId(f"event-{self.asked}"),
            request_id=RequestId(request or f"request-{self.asked}"),
            workload=ROUTER,
            adapter=adapter,
            arm=arm,
            session=f"session-{self.asked}",
            client="shop",
            occurred_at=self.now,
            exchange=chat("book a table", "{}" if status == 200 else None),
            attempt=Attempt(
                number=attempt, status=status, outcome=outcome_of(status), error=None if status == 200 else "failed", latency_ms=20.0
            ),
        )
        features = {"valid_format": float(valid) if status == 200 else None, "refusal": 0.0 if status == 200 else None}
        return RecordedInference(inference=inference, features=features, topic="traffic", partition=0)

    def release(self, adapter: AdapterName) -> Release:
        found = self.parts.releases.release(release_id(ROUTER, adapter))
        assert found is not None
        return found

    def state(self, adapter: AdapterName) -> ReleaseState:
        return self.release(adapter).state

    @property
    def route(self) -> Route:
        found = self.parts.releases.route(ROUTER)
        assert found is not None
        return found

    def approve(self, adapter: AdapterName) -> None:
        """A named person overrides the gate."""
        before = self.release(adapter)
        after = replace(
            before, state=ReleaseState.GATED, since=self.now, actor=Person("anna"), approved_by=Person("anna"), overridden_by=Person("anna")
        )
        entry = JournalEntry(at=self.now, workload=ROUTER, kind="release", subject=before.id, state="gated", reason="by hand")
        assert self.parts.releases.save_release(after, entry, expected=before)

    def make_live(self, adapter: AdapterName, *, champion: AdapterName = BASE) -> None:
        """The whole way of a good one."""
        self.train(adapter)
        self.tick(times=2)
        self.gate(adapter, GateVerdict.PASS, champion=champion)
        self.tick(times=2)
        assert self.state(adapter) is ReleaseState.SHADOW
        self.ask(adapter, Arm.SHADOW, 10)
        self.tick()
        assert self.state(adapter) is ReleaseState.CANARY
        self.canary_step(adapter, champion=champion)
        self.canary_step(adapter, champion=champion)
        assert self.state(adapter) is ReleaseState.LIVE

    def canary_step(self, adapter: AdapterName, *, champion: AdapterName = BASE) -> None:
        self.ask(adapter, Arm.CANARY, 20)
        self.ask(champion, Arm.CHAMPION, 20)
        self.tick()


@contextmanager
def world(folder: Path, *, mode: str = "auto") -> Iterator[World]:
    release = ReleaseSettings(
        shadow_requests=10, canary_shares=(0.25, 0.5), canary_sessions=20, minimum_sessions=10, step_minutes=0, holdout_share=0
    )
    router = Workload(alias="router-1", mode=mode, release=release, format=Format(json_schema={"type": "object"}))  # type: ignore[arg-type]
    empty_databases(folder / "var")
    settings = Settings(data_dir=folder / "var", workloads={"router": router})
    with FakeVllm(log_probability=lambda model, position, token: TRAINED.get(model, -3.0)) as vllm, FakeGateway(key="k") as gateway:
        parts = replace(controller_parts(settings), server=VllmAdapters(url=vllm.url), gateways=GatewayAdmin(urls=[gateway.url], key="k"))
        yield World(parts=parts, vllm=vllm, gateway=gateway, folder=folder, traffic=traffic_store(settings))

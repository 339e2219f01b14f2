import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flywheel.alerts.alert import Alert, AlertMessage, AlertState, Severity, WindowsSeen
from flywheel.gate.axes import GateDecision, GateVerdict
from flywheel.ids import BASE, AdapterName, AlertId, GateId, Person, ReleaseId, RunId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.training_run import AdapterBundle
from flywheel.rollout.release import Release, ReleaseState, Route
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Arm
from services.api.app import build_app
from services.ports.gate import GateRecord
from services.ports.traffic import Advance, RecordedInference, RecordingBatch
from services.ports.work_queue import RetrainCommand
from services.process.request_limits import RequestLimiter
from services.settings.sections import Limits
from tests.opened import traffic_store
from tests.traffic_events import inference

ROUTER = WorkloadId("tool-router")
GOOD, BAD = AdapterName("tool-router-good"), AdapterName("tool-router-bad")


def line(api: Any, kind: str, subject: str, state: str) -> JournalEntry:
    return JournalEntry(at=api.now, workload=ROUTER, kind=kind, subject=subject, state=state, reason="seeded by the test")


def journal(api: Any, kind: str) -> list[JournalEntry]:
    return [entry for entry in api.parts.ledger.journal.entries(kind=kind) if entry.reason != "seeded by the test"]


def fire(api: Any, name: str = "alert-1", state: AlertState = AlertState.FIRING) -> None:
    alert = Alert(
        id=AlertId(name),
        workload=ROUTER,
        severity=Severity.WARNING,
        state=state,
        message=AlertMessage(summary="inputs have moved", first_action="look at the slice"),
        seen=WindowsSeen(first="w", newest="w", until=api.now),
        started_at=api.now,
        last_seen_at=api.now,
        resolved_at=api.now if state is AlertState.RESOLVED else None,
    )
    assert api.parts.ledger.alerts.save_alert(alert, line(api, "alert", name, state.value))


def record(api: Any, number: int) -> None:
    traffic = traffic_store(api.settings)
    position = traffic.assign(topic_id="log", topic="flywheel.traffic.v1", partition=0)
    rows = []
    for index in range(number):
        value = inference(index, workload=ROUTER, occurred_at=api.now + timedelta(seconds=index))
        rows.append(RecordedInference(inference=value, features=columns_of(value, valid_format=True)))
    batch = RecordingBatch(advances=[Advance(position=position, to_offset=number)], rows=rows, recorded_at=api.now)
    traffic.record(batch)


def release(api: Any, adapter: AdapterName, state: ReleaseState, *, gate: str = "", route: Route | None = None) -> Release:
    made = Release(
        id=ReleaseId(f"release-{adapter}"),
        workload=ROUTER,
        adapter=adapter,
        state=state,
        since=api.now,
        reason="seeded by the test",
        actor=Person("flywheel"),
        gate=gate,
    )
    assert api.parts.ledger.releases.save_release(made, line(api, "release", made.id, state.value), expected=None, route=route)
    return made


def route(version: int, champion: AdapterName = BASE, challenger: AdapterName | None = None) -> Route:
    return Route(
        workload=ROUTER,
        alias="tool-router",
        version=version,
        champion=champion,
        challenger=challenger,
        challenger_arm=Arm.CANARY if challenger else None,
        share=0.25 if challenger else 0.0,
    )


def gate(api: Any, adapter: AdapterName, verdict: GateVerdict) -> GateRecord:
    record = GateRecord(
        id=GateId(f"gate-{adapter}"),
        workload=ROUTER,
        adapter=adapter,
        champion=BASE,
        golden_version=1,
        decision=GateDecision(verdict=verdict, reason="as the test wants it", axes=()),
        at=api.now,
    )
    api.parts.ledger.gates.save_gate(record, line(api, "gate", record.id, verdict.value))
    return record


def test_a_named_person_acknowledges_an_alert(api: Any) -> None:
    fire(api)
    answer = api.ask("POST", "/v1/alerts/alert-1/ack", json={"note": "mine", "hours": 2})
    assert answer.status_code == 200
    assert answer.json()["state"] == "acknowledged"
    assert answer.json()["acknowledgement"]["by"] == "ada"
    assert answer.json()["acknowledgement"]["until"] == "2026-05-01T10:00:00Z"
    (entry,) = [entry for entry in journal(api, "alert") if entry.state == "acknowledged"]
    assert entry.actor == "ada"
    assert "mine" not in str(entry.evidence)
    assert api.ask("GET", "/v1/alerts", params={"open": True}).json()["alerts"][0]["severity"] == "warning"


def test_a_resolved_alert_cannot_be_acknowledged(api: Any) -> None:
    fire(api, state=AlertState.RESOLVED)
    answer = api.ask("POST", "/v1/alerts/alert-1/ack", json={})
    assert (answer.status_code, answer.json()["error"]["exit_code"]) == (409, 3)


@pytest.mark.parametrize(("token", "status"), [("desk", 403), ("narrow", 404), ("nobody", 401)])
def test_acknowledging_needs_operate_on_the_alerts_workload(api: Any, token: str, status: int) -> None:
    fire(api)
    assert api.ask("POST", "/v1/alerts/alert-1/ack", token=token, json={}).status_code == status
    assert api.parts.ledger.alerts.alert(AlertId("alert-1")).state is AlertState.FIRING


def test_a_list_shows_only_workloads_that_the_token_covers(api: Any) -> None:
    fire(api)
    assert len(api.ask("GET", "/v1/alerts").json()["alerts"]) == 1
    assert api.ask("GET", "/v1/alerts", token="narrow").json()["alerts"] == []


def test_a_reference_is_pinned_by_name_over_all_traffic(api: Any) -> None:
    record(api, 40)
    answer = api.ask("POST", "/v1/references/pin", json={"workload": ROUTER, "reason": "good enough for now"})
    assert answer.status_code == 200, answer.text
    pinned = answer.json()
    assert (pinned["rows"]["all"], pinned["maturity"], pinned["pinned_by"]) == (40, "pinned_early", "ada")
    assert api.ask("GET", "/v1/references").json()["references"][0]["id"] == pinned["id"]
    (entry,) = journal(api, "reference")
    assert (entry.state, entry.actor, entry.reason) == ("pinned", "ada", "good enough for now")


def test_a_reference_needs_traffic_and_a_period_with_rows(api: Any) -> None:
    body = {"workload": ROUTER, "reason": "too early"}
    assert api.ask("POST", "/v1/references/pin", json=body).status_code == 409
    record(api, 3)
    old = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
    assert api.ask("POST", "/v1/references/pin", json={**body, **old}).status_code == 409
    turned = {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    assert api.ask("POST", "/v1/references/pin", json={**body, **turned}).status_code == 422
    assert api.ask("POST", "/v1/references/pin", json={**body, "start": "2026-01-02T00:00:00"}).status_code == 422


def case(number: int, tier: str = "golden", **changes: Any) -> dict[str, Any]:
    return {
        "tier": tier,
        "messages": [{"role": "user", "content": f"question {number}"}],
        "grader": {"kind": "contains", "expected": {"any": ["yes"]}},
        "entity": f"e-{number}",
        "verified_by": "Mia",
        **changes,
    }


def upload(api: Any, rows: list[dict[str, Any]]) -> Any:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    return api.ask("POST", "/v1/golden/import", params={"workload": ROUTER}, content=content)


def test_golden_cases_are_imported_once_and_frozen_as_versions(api: Any) -> None:
    rows = [case(1), case(2), case(3, "general"), case(4, "safety")]
    first, again = upload(api, rows), upload(api, rows)
    assert first.json() == {"tiers": {"golden": 2, "general": 1, "safety": 1}, "new": 4}, first.text
    assert again.json()["new"] == 0
    assert api.ask("GET", "/v1/golden", params={"workload": ROUTER}).status_code == 404
    frozen = api.ask("POST", "/v1/golden/freeze", json={"workload": ROUTER}).json()
    assert (frozen["version"], frozen["items"], frozen["frozen_by"], frozen["new"]) == (1, 2, "ada", True)
    assert api.ask("POST", "/v1/golden/freeze", json={"workload": ROUTER}).json()["new"] is False
    upload(api, [case(5)])
    assert api.ask("POST", "/v1/golden/freeze", json={"workload": ROUTER}).json()["version"] == 2
    assert api.ask("GET", "/v1/golden", params={"workload": ROUTER, "version": 1}).json()["items"] == 2


def test_one_bad_line_is_named_and_nothing_is_imported(api: Any) -> None:
    answer = upload(api, [case(1), case(2, "treasure")])
    assert answer.status_code == 422
    assert answer.json()["error"]["where"].startswith("line 2")
    assert api.parts.ledger.suite.cases(ROUTER) == []


def test_one_idempotency_key_is_one_piece_of_work(api: Any) -> None:
    body = {"workload": ROUTER, "reason": "try it"}
    once = {"Idempotency-Key": "k-1"}
    first = api.ask("POST", "/v1/train", json=body, headers=once)
    again = api.ask("POST", "/v1/train", json=body, headers=once)
    assert (first.status_code, first.json()["new"], again.json()["new"]) == (202, True, False)
    item = api.parts.ledger.work.lease(RetrainCommand, worker="w", now=api.now, hold=timedelta(minutes=1))
    assert item.command == RetrainCommand(asked_by=Person("ada"), reason="try it")
    assert api.ask("GET", f"/v1/work/{item.id}").json()["state"] == "leased"
    assert api.ask("POST", "/v1/datasets/build", json=body).json()["kind"] == "snapshot"


def test_a_gate_needs_a_registered_adapter(api: Any) -> None:
    body = {"workload": ROUTER, "adapter": GOOD}
    assert api.ask("POST", "/v1/gates", json=body).status_code == 404
    bundle = AdapterBundle(name=GOOD, workload=ROUTER, run=RunId("run-1"), path="/nowhere", digest="d", base_digest="b", made_at=api.now)
    api.parts.ledger.runs.register_adapter(bundle, line(api, "adapter", GOOD, "registered"))
    assert api.ask("POST", "/v1/gates", json=body).status_code == 202
    assert api.ask("GET", f"/v1/lineage/{GOOD}").json()["adapter"]["name"] == GOOD


def test_a_gated_release_is_approved_by_name_and_only_once(api: Any) -> None:
    gate(api, GOOD, GateVerdict.PASS)
    release(api, GOOD, ReleaseState.GATED)
    for _ in range(2):
        answer = api.ask("POST", f"/v1/releases/{GOOD}/approve", json={"reason": "looked at it"})
        assert answer.json()["approved_by"] == "ada", answer.text
        api.later(seconds=1)
    (entry,) = journal(api, "release")
    assert (entry.actor, entry.caused_by, entry.evidence["gate_verdict"]) == ("ada", f"gate-{GOOD}", "pass")


def test_overriding_a_gate_needs_the_scope_override(api: Any) -> None:
    refused = gate(api, BAD, GateVerdict.REFUSE)
    release(api, BAD, ReleaseState.REFUSED, gate=refused.id)
    path = f"/v1/releases/release-{BAD}/approve"
    assert api.ask("POST", path, token="olga", json={"reason": "please"}).status_code == 409
    body = {"override_gate": True, "reason": "we need to see it fail"}
    assert api.ask("POST", path, token="ada", json=body).status_code == 403
    assert api.ask("POST", path, token="olga", json={"override_gate": True, "reason": ""}).status_code == 422
    answer = api.ask("POST", path, token="olga", json=body)
    assert (answer.json()["state"], answer.json()["overridden_by"]) == ("gated", "olga")


def test_rollback_restores_the_champion_in_one_transaction(api: Any) -> None:
    assert api.parts.ledger.releases.save_route(route(1), line(api, "route", ROUTER, "changed"))
    release(api, BAD, ReleaseState.CANARY, route=route(2, challenger=BAD))
    answer = api.ask("POST", f"/v1/workloads/{ROUTER}/rollback", json={"reason": "answers are wrong"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["route"]["version"] == 3
    assert answer.json()["route"]["challenger"] is None
    assert list(answer.json()["gateways"].values()) in ([], [False])  # no gateway listens in this test
    assert api.parts.ledger.releases.release(ReleaseId(f"release-{BAD}")).state is ReleaseState.ROLLED_BACK
    (entry,) = [entry for entry in journal(api, "release") if entry.state == "rolled_back"]
    assert (entry.actor, entry.reason) == ("ada", "answers are wrong")
    again = api.ask("POST", f"/v1/workloads/{ROUTER}/rollback", json={"reason": "once more"})
    assert again.status_code == 409


def test_detach_restores_the_base_model(api: Any) -> None:
    assert api.parts.ledger.releases.save_route(route(1), line(api, "route", ROUTER, "changed"))
    release(api, GOOD, ReleaseState.LIVE, route=route(2, champion=GOOD))
    answer = api.ask("POST", f"/v1/workloads/{ROUTER}/detach", json={"reason": "to be safe"})
    assert answer.json()["route"]["champion"] == "base", answer.text
    assert api.parts.ledger.releases.route(ROUTER).champion == BASE


def test_nothing_to_roll_back_is_refused_with_a_remedy(api: Any) -> None:
    answer = api.ask("POST", f"/v1/workloads/{ROUTER}/rollback", json={"reason": "just in case"})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (409, "Refused")
    assert api.ask("POST", "/v1/workloads/nobody/rollback", json={"reason": "x"}).status_code == 404


def test_the_daemons_own_processes_read_the_route_table(api: Any, internal: str) -> None:
    assert api.parts.ledger.releases.save_route(route(1), line(api, "route", ROUTER, "changed"))
    routes = api.ask("GET", "/v1/routes", token=internal).json()["routes"]
    assert [(one["workload"], one["version"], one["champion"], one["challenger_arm"]) for one in routes] == [(ROUTER, 1, "base", None)]
    assert api.ask("GET", "/v1/routes", token="app").status_code == 403


def test_the_status_has_route_traffic_alerts_and_releases(api: Any) -> None:
    fire(api)
    record(api, 5)
    assert api.parts.ledger.releases.save_route(route(1), line(api, "route", ROUTER, "changed"))
    release(api, GOOD, ReleaseState.GATED)
    page = api.ask("GET", "/v1/status", params={"workload": ROUTER}).json()["workloads"][0]
    assert page["route"]["version"] == 1
    assert page["traffic"]["recorded"] == 5
    assert [alert["id"] for alert in page["open_alerts"]] == ["alert-1"]
    assert [one["adapter"] for one in page["releases"]] == [GOOD]


def test_health_and_metrics_need_no_token(api: Any) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert api.ask("GET", path, token="").status_code == 200


def test_an_unknown_route_is_an_error_of_the_same_form(api: Any) -> None:
    answer = api.ask("GET", "/v1/nothing")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/references/pin", {"workload": ROUTER, "reason": "r", "colour": "red"}),
        ("/v1/train", {"workload": 7, "reason": "r"}),
        ("/v1/train", []),
        ("/v1/alerts/a/ack", {"hours": -1}),
        ("/v1/alerts/a/ack", {"hours": 0}),
    ],
)
def test_a_body_with_unknown_keys_or_wrong_types_is_named(api: Any, path: str, body: Any) -> None:
    answer = api.ask("POST", path, json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["where"].startswith("body")


def test_half_a_character_in_a_note_is_refused(api: Any) -> None:
    """It could be neither stored nor hashed."""
    answer = api.ask("POST", "/v1/alerts/a/ack", content=b'{"note": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, "body.note")


def test_a_token_over_its_limit_waits(api: Any) -> None:
    """The settings of the fixture have no limits: one is put in for the token ``ada``."""
    limiter = RequestLimiter(tokens={"ada": Limits(requests_per_minute=2)}, workloads={})
    parts = replace(api.parts, http=replace(api.parts.http, limiter=limiter))
    with TestClient(build_app(parts, ready=lambda: None)) as http:
        answers = [http.get("/v1/alerts", headers={"Authorization": f"Bearer {name}"}) for name in ("ada", "ada", "ada", "olga")]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert (answers[2].headers["Retry-After"], answers[2].json()["error"]["where"]) == ("30", "token ada")

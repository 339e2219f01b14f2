"""One of everything, of the workload ``tool-router``, and for each route a request for it."""

import json
from typing import Any

from flywheel.corrections.correction import CorrectionState
from flywheel.corrections.join_inference import without_request
from flywheel.gate.axes import GateVerdict
from flywheel.ids import RunId, SnapshotId
from flywheel.retraining.training_run import AdapterBundle
from flywheel.rollout.release import ReleaseState
from flywheel.traffic.dead_letter import LetterCause
from flywheel.training_set.snapshot import Snapshot
from services.integrations.kafka.event_codec import decode_correction
from services.ports.corrections import KeptCorrection
from services.ports.dead_letters import DeadLetter
from tests.services.api.test_api_corrections import correction
from tests.services.api.test_api_operations import GOOD, ROUTER, case, fire, gate, line, record, release, route

REASON = {"reason": "r"}
ASKED = {"json": {"workload": ROUTER, **REASON}}
EXAMPLES: dict[str, dict[str, Any]] = {
    "POST /v1/recorded": {"json": {"ids": []}},
    "GET /v1/exchanges/{id}": {"id": "req-0"},
    "GET /v1/dead-letters": {},
    "GET /v1/dead-letters/{letter_id}": {"id": "dl-1"},
    "POST /v1/dead-letters/{letter_id}/retry": {"id": "dl-1"},
    "POST /v1/dead-letters/{letter_id}/drop": {"id": "dl-1", "json": REASON},
    "GET /v1/references": {},
    "POST /v1/references/pin": ASKED,
    "GET /v1/alerts": {},
    "GET /v1/alerts/{alert_id}": {"id": "alert-1"},
    "POST /v1/alerts/{alert_id}/ack": {"id": "alert-1", "json": {}},
    "POST /v1/corrections": {"json": correction(correction_id="new")},
    "POST /v1/corrections:batch": {"content": json.dumps(correction(correction_id="new"))},
    "GET /v1/corrections": {},
    "GET /v1/corrections/{correction_id}": {"id": "support-desk:c-1"},
    "POST /v1/datasets/build": ASKED,
    "GET /v1/datasets": {},
    "GET /v1/datasets/{snapshot_id}": {"id": "snapshot-1"},
    "POST /v1/golden/import": {"params": {"workload": ROUTER}, "content": json.dumps(case(1))},
    "POST /v1/golden/freeze": {"json": {"workload": ROUTER}},
    "GET /v1/golden": {"params": {"workload": ROUTER}},
    "POST /v1/train": ASKED,
    "GET /v1/runs": {},
    "GET /v1/work/{work_id}": {"id": "<work>"},
    "POST /v1/gates": {"json": {"workload": ROUTER, "adapter": GOOD}},
    "GET /v1/gates": {},
    "GET /v1/gates/{gate_id}": {"id": f"gate-{GOOD}"},
    "GET /v1/routes": {},
    "GET /v1/releases": {},
    "POST /v1/releases/{release_id}/approve": {"id": f"release-{GOOD}", "json": REASON},
    "POST /v1/workloads/{name}/rollback": {"id": ROUTER, "json": REASON},
    "POST /v1/workloads/{name}/detach": {"id": ROUTER, "json": REASON},
    "GET /v1/status": {},
    "GET /v1/lineage/{adapter}": {"id": GOOD},
    "POST /v1/tokens": {"json": {"name": "new", "scopes": ["infer"], "workloads": [ROUTER]}},
    "GET /v1/tokens": {},
    "POST /v1/tokens/{name}/revoke": {"id": "made", "json": REASON},
}
"""What each route is asked for: something of the workload ``tool-router`` that exists (``seed``)."""


def seed(api: Any) -> None:
    """Writes what the examples ask for."""
    record(api, 3)
    fire(api)
    gate(api, GOOD, GateVerdict.PASS)
    assert api.parts.ledger.releases.save_route(route(1), line(api, "route", ROUTER, "changed"))
    release(api, GOOD, ReleaseState.GATED)
    bundle = AdapterBundle(name=GOOD, workload=ROUTER, run=RunId("run-1"), path="/nowhere", digest="d", base_digest="b", made_at=api.now)
    api.parts.ledger.runs.register_adapter(bundle, line(api, "adapter", GOOD, "registered"))
    snapshot = Snapshot(id=SnapshotId("snapshot-1"), workload=ROUTER, cut_off=api.now, examples=())
    api.parts.ledger.training_sets.keep_snapshot(snapshot, path="/nowhere", entry=line(api, "snapshot", snapshot.id, "built"))
    letter = DeadLetter(
        id="dl-1", topic="t", partition=0, offset=1, at=api.now, cause=LetterCause.FAILED, reason="r", path="$", size=2, workload=ROUTER
    )
    api.parts.letters.keep(letter, b"{}")
    assert api.ask("POST", "/v1/corrections", token="desk", json=correction()).status_code == 202
    due = api.parts.ledger.outbox.due(now=api.now, resend_after=api.now - api.now)
    (message,) = (message for message in due if message.topic == api.parts.corrections_topic)
    one, _ = decode_correction(message.value)
    kept = KeptCorrection(joined=without_request(one), state=CorrectionState.REVIEW, reason="because", decided_at=api.now)
    api.parts.ledger.corrections.keep(kept, None, line(api, "correction", one.id, "review"))
    token = {"name": "made", "scopes": ["infer"], "workloads": [ROUTER]}
    assert api.ask("POST", "/v1/tokens", token="only-admin", json=token).status_code == 201
    for path, more in (("/v1/golden/import", {"params": {"workload": ROUTER}, "content": json.dumps(case(1))}), ("/v1/golden/freeze", {})):
        assert api.ask("POST", path, **(more or {"json": {"workload": ROUTER}})).status_code == 200


def ask(api: Any, name: str, *, token: str, id: str | None = None, workload: str | None = None) -> Any:
    """``id``, ``workload``: in place of those of the example."""
    method, path = name.split(" ")
    example = dict(EXAMPLES[name])
    held = example.pop("id", None)
    if held == "<work>":
        held = api.ask("POST", "/v1/train", json={"workload": ROUTER, **REASON}, headers={"Idempotency-Key": "k"}).json()["id"]
    if "{" in path:
        begin, _, rest = path.partition("{")
        path = begin + (id or held) + rest.partition("}")[2]
    if workload is not None:
        example = json.loads(json.dumps(example).replace(ROUTER, workload))
        path = path.replace(ROUTER, workload) if name.startswith("POST /v1/workloads/") else path
    return api.ask(method, path, token=token, **example)

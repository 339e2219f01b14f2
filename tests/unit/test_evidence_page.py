"""The page of evidence names each key that the code writes, and no other."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from flywheel.gate.axes import AxisTest, AxisVerdict, Clustering, GateVerdict, Role
from flywheel.gate.documents import axis_document
from flywheel.rollout.guards import GuardStatus, GuardVerdict, guard_document
from flywheel.rollout.shadow import ShadowVerdict
from services.cli import evidence_page
from services.cli.evidence_page import EvidenceSection

ROOT = Path(__file__).resolve().parents[2]


def keys_in(path: str) -> set[str]:
    """Every string that stands as a key of a dictionary display, or as the name of a subscript that is assigned."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Dict):
            found |= {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant):
            found.add(str(node.slice.value))
    return found


def test_an_axis_document_holds_the_documented_fields() -> None:
    axis = AxisVerdict(
        name="golden",
        role=Role.SUPERIORITY,
        verdict=GateVerdict.PASS,
        reason="",
        n=1,
        baseline_arm="base",
        baseline=0.0,
        challenger=1.0,
        wins=1,
        losses=0,
        test=AxisTest(alpha=0.025, margin=0.05, standard_margin=0.05),
        clusters=Clustering(entities=1),
    )
    assert set(axis_document(axis)) == set(evidence_page.GATE_AXIS.fields)


def test_a_guard_document_holds_the_documented_fields() -> None:
    guard = GuardVerdict(
        name="errors",
        blocking=True,
        status=GuardStatus.NO_DATA,
        bad=0,
        sessions=0,
        control_bad=0,
        control_sessions=0,
        alpha=0.0025,
        reason="",
    )
    assert set(guard_document(guard)) == set(evidence_page.GUARD.fields)


def test_a_shadow_holds_the_documented_fields() -> None:
    assert {field.name for field in fields(ShadowVerdict)} - {"reason"} == set(evidence_page.SHADOW.fields)


DRIFT_KEYS_SHOWN_ELSEWHERE = {"values", "below"}  # parts of ``largest_changes`` and ``widest_gap``


def test_drift_evidence_holds_the_documented_fields() -> None:
    written = keys_in("flywheel/drift/evidence.py") - DRIFT_KEYS_SHOWN_ELSEWHERE
    own = {name for name in evidence_page.DRIFT_EVIDENCE.fields if not name.startswith("reference_")}
    assert own <= written
    assert written - own <= set(evidence_page.DRIFT_EVIDENCE.fields)
    summaries = {name.removeprefix("reference_") for name in evidence_page.DRIFT_EVIDENCE.fields if name.startswith("reference_")}
    assert summaries - set(evidence_page.DRIFT_EVIDENCE.fields) <= {"maturity", "age_hours", "from", "to"}


@pytest.mark.parametrize(
    ("path", "sections"),
    [
        ("flywheel/alerts/window_finding.py", (evidence_page.ALERT, evidence_page.DRIFTED_SERIES)),
        ("services/release_controller/reconcile_adapters.py", (evidence_page.WEIGHT_PARITY,)),
        ("flywheel/rollout/next_action.py", (evidence_page.CANARY,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_documented_field_is_written(path: str, sections: tuple[EvidenceSection, ...]) -> None:
    documented = {name for section in sections for name in section.fields}
    assert documented <= keys_in(path)


def test_the_journal_line_of_a_gate_holds_the_documented_fields() -> None:
    assert set(evidence_page.GATE.fields) <= keys_in("services/gatekeeper/run_gate.py")


def test_a_drift_verdict_is_stored_with_the_documented_fields() -> None:
    assert set(evidence_page.DRIFT_VERDICT.fields) - {"evidence"} <= keys_in("services/stores/ledger/judgements.py") | {"window_start"}


def test_the_evidence_page_is_up_to_date() -> None:
    text = (ROOT / "deploy/docs/evidence.md").read_text()
    assert text == evidence_page.page(), "python -m services.cli.evidence_page > deploy/docs/evidence.md"

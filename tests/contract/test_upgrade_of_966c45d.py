"""Databases that commit 966c45d wrote are upgraded in place, and everything is found as it was.

``tests/fixtures/written_by_966c45d`` holds the databases and, in ``found.json``, what that commit read back from them.
"""

import gzip
import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.alerts.notifications import owed
from flywheel.corrections.correction import qualified_id
from flywheel.drift.reference import Reference
from flywheel.errors import Conflict
from flywheel.ids import DAEMON, AdapterName, CorrectionId, EventId, Person, RequestId, RunId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.windows.counts import CountMatrix
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.ports.corrections import Submission
from services.ports.outbox import OutboxMessage
from services.ports.work_queue import GateCommand, RetrainCommand, SnapshotCommand, TrainCommand
from services.stores.database import open_ledger, open_traffic
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.outbox import LedgerOutbox
from services.stores.ledger.references import thresholds_to_document
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.work_queue import LedgerWorkQueue
from services.stores.migrate import migrate
from services.stores.schema_version import LEDGER, TRAFFIC, Database
from tests.ledgers import CorrectionAndTrainingLedger, DriftAndAlertLedger
from tests.traffic_stores import recording_store

WRITTEN = Path(__file__).parents[1] / "fixtures" / "written_by_966c45d"
FOUND: Mapping[str, Any] = json.loads((WRITTEN / "found.json").read_text())
ROUTER, SUPPORT = WorkloadId("router"), WorkloadId("support")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TRAFFIC_NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def upgraded(folder: Path, database: Database) -> str:
    """The URL of a copy of what 966c45d left, after ``flywheel migrate``."""
    path = restored(folder, database.name)
    migrate(path, database)
    return f"sqlite:///{path}"


def restored(folder: Path, name: str) -> Path:
    """A copy of the database as 966c45d left it."""
    path = folder / f"{name}.db"
    connection = sqlite3.connect(path)
    connection.executescript(gzip.decompress((WRITTEN / f"{name}.sql.gz").read_bytes()).decode().replace("@FOLDER@", str(WRITTEN)))
    connection.close()
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Engine:
    return open_ledger(upgraded(tmp_path, LEDGER))


@pytest.fixture
def watch(ledger: Engine) -> DriftAndAlertLedger:
    return DriftAndAlertLedger(ledger)


def plain(value: object) -> Any:
    """As ``found.json`` says it: tuples are lists, enums are their values."""
    return json.loads(json.dumps(value))


def test_alerts_are_found_in_their_states(watch: DriftAndAlertLedger) -> None:
    told = {
        alert.id: {
            "workload": alert.workload,
            "state": alert.state,
            "severity": alert.severity.name,
            "summary": alert.message.summary,
            "started_at": alert.started_at.isoformat(),
            "last_seen_at": alert.last_seen_at.isoformat(),
            "fired_at": alert.fired_at and alert.fired_at.isoformat(),
            "resolved_at": alert.resolved_at and alert.resolved_at.isoformat(),
            "acknowledgement": (taken := alert.acknowledgement) and [taken.by, taken.at.isoformat(), taken.until.isoformat(), taken.note],
            "first_window": alert.seen.first,
            "window": alert.seen.newest,
            "seen_until": alert.seen.until.isoformat(),
            "late_windows": alert.seen.late,
            "fired_again_at": alert.fired_again_at and alert.fired_again_at.isoformat(),
            "moved": sorted(alert.seen.drifted),
            "behind": alert.evidence["primary_drivers"],
            "owed": owed(alert, now=NOON + 9 * HOUR),
        }
        for alert in watch.alerts()
    }
    assert plain(told) == FOUND["alerts"]
    assert {one["state"] for one in FOUND["alerts"].values()} == {"pending", "firing", "acknowledged", "resolved"}


def test_an_alert_of_before_the_upgrade_moves_on(watch: DriftAndAlertLedger) -> None:
    (alert,) = watch.alerts(workload=WorkloadId("billing"))
    expired = advance(alert=alert, finding=None, policy=AlertPolicy(), now=NOON + 10 * HOUR)
    assert (expired.move, expired.alert is not None) == (Move.FIRED_AGAIN, True)
    assert expired.alert is not None
    line = JournalEntry(
        at=NOON + 10 * HOUR, workload=alert.workload, kind="alert", subject=alert.id, state="firing", reason="the acknowledgement expired"
    )
    saved = watch.save_alert(expired.alert, line)
    assert saved is not None
    assert watch.alert(alert.id) == saved
    assert owed(saved, now=NOON + 10 * HOUR)[-1] == f"firing_again@{(NOON + 10 * HOUR).isoformat()}"


def test_notifications_that_went_out_are_not_due_again(watch: DriftAndAlertLedger) -> None:
    resolved = next(alert for alert in watch.alerts(workload=SUPPORT) if alert.resolved_at)
    assert not watch.notification_due(resolved.id, kind="firing to webhook-1")
    assert watch.notification_due(resolved.id, kind="firing to webhook-2")


def test_references_keep_counts_hours_and_thresholds(watch: DriftAndAlertLedger) -> None:
    held = {reference.id: told_reference(watch, reference) for name in (ROUTER, SUPPORT) for reference in watch.references(name)}
    assert plain(held) == FOUND["references"]
    assert sum(one["thresholds"] is not None for one in held.values()) == 1
    assert sum(one["profile_rows"] is not None for one in held.values()) == 1


def told_reference(watch: DriftAndAlertLedger, held: Reference) -> dict[str, object]:
    thresholds, profile = held.thresholds, watch.seasonal_reference(held)
    return {
        "workload": held.workload,
        "adapter": held.adapter,
        "covers": held.covers,
        "maturity": held.maturity,
        "pinned_by": held.pinned_by,
        "pinned_at": held.pinned_at.isoformat(),
        "rows": held.counts.rows_by_slice,
        "counts": sums(held.counts),
        "thresholds": thresholds_to_document(thresholds) if thresholds else None,
        "profile_rows": {f"{weekend}/{hour}": cell.rows_by_slice for (weekend, hour), cell in profile.cells.items()} if profile else None,
        "profile_digest": profile.digest if profile else None,
    }


def sums(counts: CountMatrix) -> dict[str, dict[str, int]]:
    """One number per slice and column that changes with every bin."""
    return {
        name: {column: int((counts.of(column)[at] * np.arange(1, number + 1)).sum()) for column, number in counts.bins}
        for at, name in enumerate(counts.slices)
    }


def test_closed_windows_and_judgements_are_found(watch: DriftAndAlertLedger) -> None:
    windows = {
        window.id: [
            window.reference,
            window.judged_again,
            window.traffic.recorded,
            [
                [one.window_start.isoformat(), one.kind, one.slice, one.column, one.status, one.n, one.score, one.effect]
                for one in window.verdicts
            ],
            [[one.slice, one.column, one.score] for one in window.second_opinions],
        ]
        for window in watch.windows(ROUTER)
    }
    assert plain(windows) == FOUND["windows"]
    judgements = [
        [one.on.window, one.on.times, one.on.rows, one.on.position, one.on.since.isoformat(), one.champion, one.line]
        for one in watch.judgements(ROUTER, ended_after=NOON)
    ]
    assert plain(judgements) == FOUND["judgements"]
    late = [
        [one.seq, one.window, one.times, [[verdict.slice, verdict.column] for verdict in one.found]] for one in watch.late_findings(ROUTER)
    ]
    assert plain(late) == FOUND["late_findings"]


def test_corrections_cases_and_golden_sets_are_found(ledger: Engine) -> None:
    learn = CorrectionAndTrainingLedger(ledger)
    corrections = {
        one.joined.correction.id: [
            one.state,
            one.reason,
            one.entity,
            one.held_out,
            one.joined.correction.remarks.comment,
            one.joined.dimensions,
        ]
        for one in learn.corrections(ROUTER)
    }
    assert plain(corrections) == FOUND["corrections"]
    assert plain(learn.submission_counts(ROUTER)) == FOUND["submissions"]
    assert plain([[one.id, one.tier, one.entity] for one in learn.cases(ROUTER)]) == FOUND["cases"]
    assert plain([one.id for one in learn.general_examples(ROUTER)]) == FOUND["general_examples"]
    golden = learn.golden(ROUTER)
    assert golden is not None
    assert plain([golden.id, [one.id for one in golden.cases]]) == FOUND["golden"]


def test_corrections_of_before_are_found_by_the_id_that_their_source_gave_and_submitted_once(ledger: Engine) -> None:
    learn = CorrectionAndTrainingLedger(ledger)
    for name in FOUND["corrections"]:
        (found,) = learn.by_given_id(name, source="support-desk")
        assert (found.joined.correction.id, found.joined.correction.given_id) == (name, name)
        assert learn.correction(CorrectionId(name)) == found

    def again(name: str, digest: str, source: str = "support-desk") -> str:
        submission = Submission(
            id=qualified_id(ROUTER, source, name),
            given_id=name,
            workload=ROUTER,
            source=source,
            submitted_by="ada",
            body_digest=digest,
            at=NOON,
        )
        return learn.submit(submission, OutboxMessage(id="m", topic="t", key="k", value=b"{}", created_at=NOON))

    assert again("c-review", "d3") == "duplicate"
    with pytest.raises(Conflict):
        again("c-review", "other")
    assert again("c-review", "other", source="labels") == "accepted"


def test_snapshots_are_found_with_their_examples(ledger: Engine) -> None:
    learn = CorrectionAndTrainingLedger(ledger)
    (snapshot,) = learn.snapshots(ROUTER)
    whole = learn.snapshot(snapshot.id)
    assert whole is not None
    assert plain([snapshot.id, dict(snapshot.counts), [one.id for one in whole[0].examples]]) == FOUND["snapshot"]


def test_runs_adapters_gates_and_answers_are_found(ledger: Engine) -> None:
    train, gates = LedgerRuns(ledger), LedgerGates(ledger)
    runs = {one.id: [one.state, one.adapter, one.steps, one.reason, list(one.plan.policy.target_modules)] for one in train.runs(ROUTER)}
    assert plain(runs) == FOUND["runs"]
    assert plain({one.name: [one.run, one.digest, one.path] for one in train.adapters(ROUTER)}) == FOUND["adapters"]
    decided = {
        one.id: [one.decision.verdict, one.decision.reason, [[axis.name, axis.verdict, axis.n, axis.test.p] for axis in one.decision.axes]]
        for one in gates.gates(ROUTER)
    }
    assert plain(decided) == FOUND["gates"]
    assert {key: one.text for key, one in gates.cached_answers(["key-0", "key-1"]).items()} == FOUND["answers"]


def test_releases_and_routes_are_found(ledger: Engine) -> None:
    releases = LedgerReleases(ledger, topic="releases")
    held = {
        one.adapter: [one.state, one.reason, one.actor, one.step, one.gate, one.overridden_by, one.approved_by, one.replaced]
        for one in releases.releases(ROUTER)
    }
    assert plain(held) == FOUND["releases"]
    route = releases.route(ROUTER)
    assert route is not None
    told = [route.version, route.champion, route.challenger, route.challenger_arm, route.share, route.salt]
    assert plain(told) == FOUND["route"]


def test_every_line_of_the_journal_is_found(ledger: Engine) -> None:
    lines = [
        [one.id, one.at.isoformat(), one.workload, one.kind, one.subject, one.state, one.reason, one.actor, one.caused_by, one.evidence]
        for one in LedgerJournal(ledger).entries()
    ]
    assert plain(lines) == FOUND["journal"]
    assert len({one[3] for one in FOUND["journal"]}) == 19, "every kind of line that 966c45d writes"


def test_open_work_is_leased_with_its_content(ledger: Engine) -> None:
    queue, later = LedgerWorkQueue(ledger), NOON + 2 * HOUR
    leased = {}
    for command in (SnapshotCommand, RetrainCommand, TrainCommand, GateCommand):
        while (item := queue.lease(command, worker="new", now=later, hold=DAY)) is not None:
            leased[item.id] = (item.command, item.attempts)
    maria = Person("maria")
    assert leased == {
        "work-snapshot-1": (SnapshotCommand(asked_by=maria, reason="I want to look at it"), 1),
        "work-train_request-0": (RetrainCommand(asked_by=maria, reason="tonight"), 1),
        "work-train_request-1": (RetrainCommand(asked_by=maria, reason="tonight"), 1),
        "work-train-1": (TrainCommand(run=RunId("run-0")), 1),
        "work-gate-0": (GateCommand(adapter=AdapterName("router-2"), asked_by=DAEMON), 2),
        "work-gate-1": (GateCommand(adapter=AdapterName("router-2"), asked_by=DAEMON), 1),
    }
    assert (queue.state("work-snapshot-0"), queue.state("work-train-0")) == ("done", "failed")


def test_unsent_events_are_still_due(ledger: Engine) -> None:
    due = LedgerOutbox(ledger).due(now=NOON + 30 * DAY, resend_after=DAY)
    assert sorted(one.id for one in due) == FOUND["outbox"]


def test_traffic_is_found_and_recording_goes_on(tmp_path: Path) -> None:
    open_traffic(upgraded(tmp_path, TRAFFIC))
    store = recording_store(tmp_path, shapes={SUPPORT: PaneShape(pane=timedelta(minutes=10), slices=SlicePolicy(dimensions=("tenant",)))})
    end = TRAFFIC_NOON + HOUR
    window, counts = store.window(workload=SUPPORT, start=TRAFFIC_NOON, end=end), store.counts(SUPPORT)
    newest, failed = store.newest(SUPPORT), store.by_request(RequestId("req-5"), workload=SUPPORT)
    assert newest is not None
    assert failed is not None
    found = {
        "rows": [
            [
                one.inference.event_id,
                one.inference.arm,
                one.inference.adapter,
                one.inference.attempt.status,
                one.inference.exchange.answer_text,
                one.features,
            ]
            for one in store.rows(workload=SUPPORT, start=TRAFFIC_NOON, end=end)
        ],
        "window_rows": window.matrix.rows_by_slice,
        "window_counts": sums(window.matrix),
        "counts": [counts.recorded, counts.duplicates_ignored, counts.dead_lettered],
        "changes": {at.isoformat(): place for at, place in store.changes(workload=SUPPORT, start=TRAFFIC_NOON, end=end, after=0).items()},
        "dead_letters": [[one.id, one.offset, one.reason, one.event_id] for one in store.dead_letters()],
        "recorded": sorted(store.recorded([EventId("event-3"), EventId("event-99"), EventId("event-100")])),
        "newest": newest.isoformat(),
        "by_request": failed.inference.event_id,
        "outcomes": [
            [one.session, one.adapter, one.ok, one.valid_format, one.refused, one.requests, list(one.slices), dict(one.signals)]
            for one in store.outcomes(workload=SUPPORT, since=TRAFFIC_NOON)
        ],
        "next_offsets": [store.assign(topic_id="log-1", topic="traffic", partition=partition).offset for partition in (0, 1)],
    }
    assert plain(found) == FOUND["traffic"]

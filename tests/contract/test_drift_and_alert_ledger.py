"""References, windows, alerts and notifications in the ledger."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import Engine

from flywheel.alerts.acknowledgement import acknowledge
from flywheel.alerts.lifecycle import AlertPolicy, advance
from flywheel.drift.late_data import JudgedRows, Reevaluation
from flywheel.drift.verdict import DriftVerdict
from flywheel.ids import BASE
from flywheel.journal import JournalEntry, JournalKind
from schemas import schema
from services.ports.drift import ClosedWindow, EvidentlyScore, Judgement, LateFinding
from services.ports.traffic import TrafficCounts
from services.stores.database import open_database, to_text
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.outbox import LedgerOutbox
from services.stores.migrate import migrate
from services.stores.schema_version import LEDGER
from tests.databases import migrated_ledger
from tests.ledgers import DriftAndAlertLedger
from tests.watching import MARIA, NOON, ROUTER, finding_of, reference_of, some_rows, verdict, window_counts

HOUR = timedelta(hours=1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return migrated_ledger(tmp_path)


@pytest.fixture
def watch(engine: Engine) -> DriftAndAlertLedger:
    return DriftAndAlertLedger(engine)


def line(kind: str, subject: str, state: str, *, minute: int = 0) -> JournalEntry:
    return JournalEntry(at=NOON + timedelta(minutes=minute), workload=ROUTER, kind=kind, subject=subject, state=state, reason="because")


def closed(hour: int = 0) -> ClosedWindow:
    start = NOON + hour * HOUR
    return ClosedWindow(
        id=f"window-{hour}",
        workload=ROUTER,
        start=start,
        end=start + HOUR,
        reference="reference-1",
        traffic=TrafficCounts(recorded=10, duplicates_ignored=2, dead_lettered=1),
        verdicts=(verdict(start=start),),
        second_opinions=(EvidentlyScore(slice="all", column="prompt_chars", method="ks", score=0.01, drifted=True, n=9, n_reference=90),),
    )


def judgement(hour: int = 0, *, times: int = 0, rows: int = 10, position: int = 10) -> Judgement:
    start = NOON + hour * HOUR
    on = JudgedRows(
        window=f"window-{hour}",
        start=start,
        end=start + HOUR,
        since=start - HOUR,
        rows=rows,
        position=position,
        at=start + HOUR,
        times=times,
    )
    return Judgement(on=on, champion=BASE, released_at=start if times else None, line=f"line-{times}")


def close(watch: DriftAndAlertLedger, hour: int = 0) -> bool:
    return watch.close(closed(hour), line("window", f"window-{hour}", "judged"), judgement=judgement(hour))


def again(
    watch: DriftAndAlertLedger, hour: int = 0, *, times: int = 1, found: Sequence[DriftVerdict] = (), withdrawn: Sequence[DriftVerdict] = ()
) -> bool:
    return watch.reevaluate(
        replace(closed(hour), judged_again=times, verdicts=(verdict(column="refusal", start=NOON + hour * HOUR),)),
        line("window", f"window-{hour}", "judged_again", minute=times),
        judgement=judgement(hour, times=times, rows=10 + times, position=20 + times),
        reevaluation=Reevaluation(found=tuple(found), withdrawn=tuple(withdrawn), reason="because"),
    )


def test_a_reference_comes_back_with_every_count(watch: DriftAndAlertLedger) -> None:
    reference = reference_of(window_counts(some_rows(200)))
    watch.pin(reference, line("reference", reference.id, "pinned"))
    (found,) = watch.references(ROUTER)
    counts = found.counts.aligned(slices=reference.counts.slices, bins=reference.counts.bins)
    assert set(found.counts.slices) == set(reference.counts.slices)
    assert replace(found, counts=counts) == reference


def test_the_reference_pinned_last_is_in_force_also_when_it_is_an_old_one(watch: DriftAndAlertLedger) -> None:
    first = reference_of(window_counts(some_rows(20)), name="first")
    second = replace(first, id="second", pinned_at=first.pinned_at + HOUR)
    back = replace(first, pinned_at=first.pinned_at + 2 * HOUR)
    for minute, reference in enumerate((first, second, back)):
        watch.pin(reference, line("reference", reference.id, "pinned", minute=minute))
    assert [reference.id for reference in watch.references(ROUTER)] == ["first", "second"]


def test_a_window_closes_once_with_one_journal_line_and_one_event(watch: DriftAndAlertLedger, engine: Engine) -> None:
    assert close(watch)
    assert not watch.close(closed(), line("window", "window-0", "judged", minute=5), judgement=judgement())
    assert list(watch.windows(ROUTER)) == [closed()]
    assert len(LedgerJournal(engine).entries(kind="window")) == 1
    (message,) = LedgerOutbox(engine).due(now=NOON, resend_after=HOUR)
    assert message.topic == "drift"
    event = json.loads(message.value)
    Draft202012Validator(schema("envelope.v1")).validate(event)
    Draft202012Validator(schema("drift/drift.v1")).validate(event["data"])


def test_windows_come_newest_first(watch: DriftAndAlertLedger) -> None:
    for hour in (1, 0, 2):
        close(watch, hour)
    assert [window.id for window in watch.windows(ROUTER, limit=2)] == ["window-2", "window-1"]


def test_newer_verdicts_take_the_place_of_the_old_ones_once_with_one_line_and_one_event(watch: DriftAndAlertLedger, engine: Engine) -> None:
    close(watch)
    assert again(watch)
    assert not again(watch), "the same step once more"
    assert not again(watch, times=3), "a judgement between was missed"
    window = watch.window("window-0")
    assert window is not None
    assert (window.judged_again, [held.column for held in window.verdicts]) == (1, ["refusal"])
    assert window.second_opinions == closed().second_opinions
    assert [entry.state for entry in LedgerJournal(engine).entries(kind="window")] == ["judged", "judged_again"]
    events = [json.loads(message.value) for message in LedgerOutbox(engine).due(now=NOON + HOUR, resend_after=HOUR)]
    assert [event["data"].get("judged_again") for event in events] == [None, 1]
    assert len({event["id"] for event in events}) == 2
    for event in events:
        Draft202012Validator(schema("drift/drift.v1")).validate(event["data"])


def test_what_a_window_was_judged_on_comes_back_newest_only_and_by_its_end(watch: DriftAndAlertLedger) -> None:
    for hour in (1, 0, 2):
        close(watch, hour)
    again(watch, 1)
    again(watch, 1, times=2)
    assert watch.judgements(ROUTER, ended_after=NOON + 2 * HOUR) == [
        judgement(1, times=2, rows=12, position=22),
        judgement(2),
    ]
    assert watch.judgements(ROUTER, ended_after=NOON + 4 * HOUR) == []


def test_rows_that_are_the_same_move_the_position_of_their_judgement_alone(watch: DriftAndAlertLedger) -> None:
    close(watch, 0)
    close(watch, 1)
    watch.same_rows(judgement(0).on, position=40)
    watch.same_rows(judgement(0).on, position=30)  # of one who read before
    assert [held.on.position for held in watch.judgements(ROUTER, ended_after=NOON)] == [40, 10]


def test_late_findings_come_in_the_order_in_which_they_were_found_with_their_own_hours(watch: DriftAndAlertLedger) -> None:
    for hour in (0, 1, 2):
        close(watch, hour)
    two_hours = replace(verdict(start=NOON + HOUR), window_start=NOON)
    again(watch, 1, found=[two_hours])
    again(watch, 0, withdrawn=[verdict()])  # says nothing new
    again(watch, 0, times=2, found=[verdict(column="refusal")])
    first, second = watch.late_findings(ROUTER)
    assert first == LateFinding(seq=first.seq, window="window-1", end=NOON + 2 * HOUR, times=1, found=(two_hours,))
    assert (second.window, second.times, second.seq > first.seq) == ("window-0", 2, True)
    assert list(watch.late_findings(ROUTER, after=first.seq)) == [second]
    assert list(watch.late_findings(ROUTER, limit=1)) == [second]


def test_a_ledger_of_before_keeps_its_windows_and_none_of_them_can_be_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    url = f"sqlite:///{path}"
    migrate(path, replace(LEDGER, revisions=LEDGER.revisions[:6]))
    with open_database(url).begin() as connection:
        counts = '{"recorded":7,"duplicates_ignored":0,"dead_lettered":0}'
        old = ("old", ROUTER, to_text(NOON), to_text(NOON + HOUR), "", counts, "[]", "[]")
        connection.exec_driver_sql("INSERT INTO drift_window VALUES (?, ?, ?, ?, ?, ?, ?, ?)", old)
    migrate(path, LEDGER)
    watch = DriftAndAlertLedger(open_database(url))
    (window,) = watch.windows(ROUTER)
    assert (window.id, window.judged_again, window.traffic.recorded) == ("old", 0, 7)
    assert watch.judgements(ROUTER, ended_after=NOON - HOUR) == []
    assert close(watch, 1)


def test_each_save_of_an_alert_is_one_journal_line_and_one_event(watch: DriftAndAlertLedger, engine: Engine) -> None:
    finding = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    alert = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert alert is not None
    pending = watch.save_alert(alert, line("alert", alert.id, "pending"))
    assert pending is not None
    fired = advance(alert=pending, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert fired is not None
    firing = watch.save_alert(fired, line("alert", fired.id, "firing"))
    assert firing is not None
    taken = acknowledge(alert=firing, by=MARIA, note="mine", now=NOON, until=NOON + HOUR)
    saved = watch.save_alert(taken, line("alert", taken.id, "acknowledged"))
    assert saved == replace(taken, version=3)
    assert watch.save_alert(taken, line("alert", taken.id, "acknowledged", minute=1)) is None
    assert [entry.state for entry in LedgerJournal(engine).entries(kind=JournalKind.ALERT)] == ["pending", "firing", "acknowledged"]
    messages = LedgerOutbox(engine).due(now=NOON, resend_after=HOUR)
    assert len(messages) == 3
    for message in messages:
        assert message.key == taken.fingerprint
        data = json.loads(message.value)["data"]
        Draft202012Validator(schema("alerts/alert.v1")).validate(data)
        assert (data["summary"], data["evidence"]["first_window"]) == (taken.message.summary, "w")


def test_a_drifted_series_of_an_alert_comes_back(watch: DriftAndAlertLedger) -> None:
    finding = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict(), verdict(slice_name="tenant=a")], protected=())
    alert = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert alert is not None
    watch.save_alert(alert, line("alert", alert.id, "pending"))
    (found,) = watch.alerts(workload=ROUTER)
    assert found == replace(alert, version=1)
    assert found.seen.drifted == {("all", "prompt_chars"), ("tenant=a", "prompt_chars")}

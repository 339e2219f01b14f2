"""References, windows, alerts and notices in the ledger; and that the migration makes exactly the tables that are used."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from flywheel.alerts.acknowledgement import acknowledge
from flywheel.alerts.facts import facts_of
from flywheel.alerts.lifecycle import AlertPolicy, advance
from flywheel.ids import BASE, AdapterName
from flywheel.journal import JournalEntry
from schemas import schema
from services.adapters import ledger_watch
from services.adapters.ledger import open_database
from services.adapters.ledger_record import LedgerJournal, LedgerOutbox
from services.adapters.ledger_watch import LedgerWatch
from services.ports.traffic import TrafficCounts
from services.ports.watch import ClosedWindow, SecondOpinion
from services.wiring import deploy_dir
from tests.watching import MARIA, NOON, ROUTER, reference_of, some_rows, verdict, window_counts

HOUR = timedelta(hours=1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path}/ledger.db", migrations=deploy_dir() / "migrations" / "ledger")


@pytest.fixture
def watch(engine: Engine) -> LedgerWatch:
    return LedgerWatch(engine, drift_topic="drift", alerts_topic="alerts")


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
        second_opinions=(SecondOpinion(slice="all", column="prompt_chars", method="ks", score=0.01, drifted=True, n=9, n_reference=90),),
    )


def test_a_reference_comes_back_with_every_count(watch: LedgerWatch) -> None:
    reference = reference_of(window_counts(some_rows(200)))
    watch.pin(reference, line("reference", reference.id, "pinned"))
    found = watch.reference(ROUTER, adapter=BASE)
    assert found is not None
    assert replace(found, counts=reference.counts) == reference
    assert found.counts.rows == reference.counts.rows
    for name, columns in reference.counts.counts.items():
        for column, values in columns.items():
            assert np.array_equal(found.counts.counts[name][column], values)
    assert watch.reference(ROUTER, adapter=AdapterName("other")) is None


def test_the_reference_pinned_last_is_in_force_also_when_it_is_an_old_one(watch: LedgerWatch) -> None:
    first = reference_of(window_counts(some_rows(20)), name="first")
    second = replace(first, id="second", pinned_at=first.pinned_at + HOUR)
    back = replace(first, pinned_at=first.pinned_at + 2 * HOUR)
    for minute, reference in enumerate((first, second, back)):
        watch.pin(reference, line("reference", reference.id, "pinned", minute=minute))
    assert [reference.id for reference in watch.references(ROUTER)] == ["first", "second"]


def test_a_window_closes_once_with_one_journal_line_and_one_event(watch: LedgerWatch, engine: Engine) -> None:
    assert watch.close(closed(), line("window", "window-0", "judged"))
    assert not watch.close(closed(), line("window", "window-0", "judged", minute=5))
    assert list(watch.windows(ROUTER)) == [closed()]
    assert len(LedgerJournal(engine).entries(kind="window")) == 1
    (message,) = LedgerOutbox(engine).due(now=NOON, resend_after=HOUR)
    assert message.topic == "drift"
    event = json.loads(message.value)
    Draft202012Validator(schema("envelope.v1")).validate(event)
    Draft202012Validator(schema("drift/drift.v1")).validate(event["data"])


def test_windows_come_newest_first(watch: LedgerWatch) -> None:
    for hour in (1, 0, 2):
        watch.close(closed(hour), line("window", f"window-{hour}", "judged"))
    assert [window.id for window in watch.windows(ROUTER, limit=2)] == ["window-2", "window-1"]


def test_an_alert_is_kept_only_on_top_of_what_stands_there(watch: LedgerWatch, engine: Engine) -> None:
    facts = facts_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    pending = advance(alert=None, facts=facts, policy=AlertPolicy(), now=NOON).alert
    assert pending is not None
    firing = advance(alert=pending, facts=facts, policy=AlertPolicy(), now=NOON).alert
    assert firing is not None
    taken = acknowledge(alert=firing, by=MARIA, note="mine", now=NOON, until=NOON + HOUR)
    assert watch.save_alert(pending, line("alert", pending.id, "pending"), expected=None)
    assert not watch.save_alert(pending, line("alert", pending.id, "pending", minute=1), expected=None)
    assert watch.save_alert(firing, line("alert", firing.id, "firing"), expected=pending)
    assert not watch.save_alert(taken, line("alert", taken.id, "acknowledged"), expected=pending)
    assert watch.save_alert(taken, line("alert", taken.id, "acknowledged"), expected=firing)
    assert watch.alert(taken.id) == taken
    assert list(watch.alerts(workload=ROUTER, open_only=True)) == [taken]
    assert [entry.state for entry in LedgerJournal(engine).entries(kind="alert")] == ["pending", "firing", "acknowledged"]
    messages = LedgerOutbox(engine).due(now=NOON, resend_after=HOUR)
    assert len(messages) == 3
    for message in messages:
        assert message.key == taken.fingerprint
        Draft202012Validator(schema("alerts/alert.v1")).validate(json.loads(message.value)["data"])


def test_a_notice_is_due_until_it_was_taken(watch: LedgerWatch) -> None:
    facts = facts_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    alert = advance(alert=None, facts=facts, policy=AlertPolicy(), now=NOON).alert
    assert alert is not None
    assert watch.notice_due(alert.id, kind="firing to a")
    watch.notice_sent(alert.id, kind="firing to a", at=NOON, detail="HTTP 200")
    watch.notice_sent(alert.id, kind="firing to a", at=NOON, detail="HTTP 200")
    assert not watch.notice_due(alert.id, kind="firing to a")
    assert watch.notice_due(alert.id, kind="firing to b")


def test_l0002_makes_exactly_the_watching_tables(engine: Engine, tmp_path: Path) -> None:
    mine = [ledger_watch.reference_table, ledger_watch.window_table, ledger_watch.alert_table, ledger_watch.notice_table]
    defined = create_engine(f"sqlite:///{tmp_path}/defined.db")
    for table in mine:
        table.create(defined)

    def described(held: Engine) -> set[str]:
        found = MetaData()
        found.reflect(held, only=[table.name for table in mine])
        return {str(part) for table in found.tables.values() for part in (CreateTable(table), *map(CreateIndex, table.indexes))}

    assert described(engine) == described(defined)

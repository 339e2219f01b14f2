"""The watch ledger on SQL and the one in memory behave alike: what the benchmark of alarms runs on is what the daemon runs on."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flywheel.alerts.alert import AlertState
from flywheel.alerts.lifecycle import AlertPolicy, advance
from flywheel.drift.late_data import JudgedRows, Reevaluation
from flywheel.drift.reference import Covers
from flywheel.drift.verdict import DriftVerdict
from flywheel.ids import BASE, AdapterName, WorkloadId
from flywheel.journal import JournalEntry
from services.ports.drift import ClosedWindow, Judgement, LateFinding
from services.ports.traffic import TrafficCounts
from tests.databases import migrated_ledger
from tests.fakes.watching import DriftAndAlertLedgerInMemory
from tests.ledgers import DriftAndAlertLedger
from tests.watching import NOON, ROUTER, finding_of, reference_of, some_rows, verdict, window_counts

HOUR = timedelta(hours=1)


@pytest.fixture(params=["sql", "memory"])
def watch(request: pytest.FixtureRequest, tmp_path: Path) -> DriftAndAlertLedger | DriftAndAlertLedgerInMemory:
    if request.param == "memory":
        return DriftAndAlertLedgerInMemory()
    engine = migrated_ledger(tmp_path)
    return DriftAndAlertLedger(engine)


def line(subject: str, state: str, *, minute: int = 0) -> JournalEntry:
    return JournalEntry(at=NOON + timedelta(minutes=minute), workload=ROUTER, kind="window", subject=subject, state=state, reason="because")


def closed(hour: int = 0) -> ClosedWindow:
    start = NOON + hour * HOUR
    return ClosedWindow(
        id=f"window-{hour}",
        workload=ROUTER,
        start=start,
        end=start + HOUR,
        reference="reference-1",
        traffic=TrafficCounts(recorded=10),
        verdicts=(verdict(start=start),),
    )


def judgement(hour: int = 0, *, times: int = 0, position: int = 10) -> Judgement:
    start = NOON + hour * HOUR
    on = JudgedRows(
        window=f"window-{hour}", start=start, end=start + HOUR, since=start, rows=10, position=position, at=start + HOUR, times=times
    )
    return Judgement(on=on, champion=BASE, released_at=None, line=f"line-{times}")


def close(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory, hour: int = 0) -> bool:
    return watch.close(closed(hour), line(f"window-{hour}", "judged"), judgement=judgement(hour))


def again(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory, hour: int, *, times: int, found: tuple[DriftVerdict, ...] = ()) -> bool:
    return watch.reevaluate(
        replace(closed(hour), judged_again=times, verdicts=(verdict(column="refusal", start=NOON + hour * HOUR),)),
        line(f"window-{hour}", "judged_again", minute=times),
        judgement=judgement(hour, times=times, position=20 + times),
        reevaluation=Reevaluation(found=found, withdrawn=(), reason="because"),
    )


def test_references_come_newest_first_and_pinning_again_renews_one(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    first = reference_of(window_counts(some_rows(20)), name="first")
    second = replace(first, id="second", adapter=AdapterName("tuned"), pinned_at=first.pinned_at + HOUR)
    for reference in (first, second):
        watch.pin(reference, line(reference.id, "pinned"))
    assert [held.id for held in watch.references(ROUTER)] == ["second", "first"]
    watch.pin(replace(first, pinned_at=first.pinned_at + 2 * HOUR), line("first", "pinned", minute=1))
    assert [held.id for held in watch.references(ROUTER)] == ["first", "second"]
    assert watch.references(WorkloadId("other")) == []
    assert watch.seasonal_reference(first) is None


def test_a_window_closes_once_and_newest_come_first(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    assert [close(watch, hour) for hour in (1, 0, 2)] == [True, True, True]
    assert not close(watch, 1)
    assert [window.id for window in watch.windows(ROUTER, limit=2)] == ["window-2", "window-1"]
    assert watch.window("window-0") == closed(0)
    assert watch.window("none") is None


def test_newer_verdicts_replace_those_of_the_judgement_before_them_only(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    close(watch)
    assert again(watch, 0, times=1)
    assert not again(watch, 0, times=1)
    assert not again(watch, 0, times=3)
    window = watch.window("window-0")
    assert window is not None
    assert (window.judged_again, [held.column for held in window.verdicts]) == (1, ["refusal"])


def test_judgements_are_the_newest_of_each_window_by_its_end(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    for hour in (1, 0, 2):
        close(watch, hour)
    again(watch, 1, times=1)
    assert list(watch.judgements(ROUTER, ended_after=NOON + 2 * HOUR)) == [judgement(1, times=1, position=21), judgement(2)]
    assert list(watch.judgements(ROUTER, ended_after=NOON + 4 * HOUR)) == []


def test_the_position_of_a_judgement_never_goes_back(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    close(watch)
    for position in (40, 30):
        watch.same_rows(judgement().on, position=position)
    assert [held.on.position for held in watch.judgements(ROUTER, ended_after=NOON)] == [40]


def test_late_findings_come_in_the_order_in_which_they_were_found(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    for hour in (0, 1):
        close(watch, hour)
    again(watch, 1, times=1, found=(verdict(start=NOON + HOUR),))
    again(watch, 0, times=1)
    again(watch, 0, times=2, found=(verdict(column="refusal"),))
    first, second = watch.late_findings(ROUTER)
    assert first == LateFinding(seq=first.seq, window="window-1", end=NOON + 2 * HOUR, times=1, found=(verdict(start=NOON + HOUR),))
    assert (second.window, second.times, second.seq > first.seq) == ("window-0", 2, True)
    assert list(watch.late_findings(ROUTER, after=first.seq)) == [second]
    assert list(watch.late_findings(ROUTER, limit=1)) == [second]


def test_an_alert_is_kept_only_on_top_of_the_newest(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    finding = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    pending = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert pending is not None
    firing = advance(alert=pending, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert firing is not None
    first = watch.save_alert(pending, line(pending.id, "pending"))
    assert first == replace(pending, version=1)
    assert watch.save_alert(pending, line(pending.id, "pending", minute=1)) is None, "it is there already"
    second = watch.save_alert(replace(firing, version=1), line(firing.id, "firing"))
    assert second == replace(firing, version=2)
    assert watch.save_alert(replace(firing, version=1), line(firing.id, "firing", minute=2)) is None, "somebody else was first"
    assert watch.alert(firing.id) == second
    assert list(watch.alerts(workload=ROUTER, open_only=True)) == [second]
    assert list(watch.alerts(workload=WorkloadId("other"))) == []


def test_each_save_of_an_alert_and_each_judgement_is_news(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    assert (watch.alert_saves(), watch.judgement_count()) == (0, 0)
    finding = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    alert = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert alert is not None
    saved = watch.save_alert(alert, line(alert.id, "pending"))
    assert saved is not None
    first = watch.alert_saves()
    watch.save_alert(saved, line(alert.id, "firing"))
    assert 0 < first < watch.alert_saves()
    close(watch)
    judged = watch.judgement_count()
    again(watch, 0, times=1)
    assert 0 < judged < watch.judgement_count()


def test_open_alerts_and_those_that_ended_lately_are_listed(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    for hour, resolved in enumerate((None, NOON, NOON + 2 * HOUR)):
        finding = finding_of(workload=ROUTER, window=f"w{hour}", at=NOON, verdicts=[verdict()], protected=())
        alert = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON + hour * HOUR).alert
        assert alert is not None
        state = AlertState.RESOLVED if resolved else AlertState.FIRING
        watch.save_alert(replace(alert, state=state, resolved_at=resolved), line(alert.id, state))
    lately = watch.alerts(workload=ROUTER, ended_after=NOON + HOUR)
    assert [alert.resolved_at for alert in lately] == [NOON + 2 * HOUR, None]
    assert [alert.resolved_at for alert in watch.alerts(workload=ROUTER, limit=1)] == [NOON + 2 * HOUR]


def test_a_notification_is_due_until_it_was_taken(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    finding = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=())
    alert = advance(alert=None, finding=finding, policy=AlertPolicy(), now=NOON).alert
    assert alert is not None
    watch.notification_sent(alert.id, kind="firing to a", at=NOON, detail="HTTP 200")
    assert not watch.notification_due(alert.id, kind="firing to a")
    assert watch.notification_due(alert.id, kind="firing to b")


def test_the_ledger_in_memory_forgets_old_references_of_answers_alone() -> None:
    watch = DriftAndAlertLedgerInMemory(keep_answers=1)
    first = reference_of(window_counts(some_rows(20)), name="inputs")
    for hour, name in enumerate(("old", "new"), start=1):
        reference = replace(first, id=name, covers=Covers.OUTPUT, pinned_at=first.pinned_at + hour * HOUR)
        watch.pin(first, line(first.id, "pinned"))
        watch.pin(reference, line(name, "pinned"))
    assert [held.id for held in watch.references(ROUTER)] == ["new", "inputs"]


def test_windows_are_asked_for_up_to_a_time_and_after_a_number(watch: DriftAndAlertLedger | DriftAndAlertLedgerInMemory) -> None:
    """Their times may lie in the future, where a clock ran ahead; their numbers rise in the order of closing."""
    for hour in (0, 9, 1):
        close(watch, hour)
    newest_first = watch.windows(ROUTER)
    assert [window.id for window in newest_first] == ["window-9", "window-1", "window-0"]
    assert [window.id for window in watch.windows(ROUTER, until=newest_first[1].end)] == ["window-1", "window-0"]
    (ahead, last, first) = (window.number for window in newest_first)
    assert first < ahead < last
    assert [window.id for window in watch.windows(ROUTER, after=first)] == ["window-9", "window-1"]
    assert [window.id for window in watch.windows(ROUTER, until=newest_first[1].end, after=ahead)] == ["window-1"]

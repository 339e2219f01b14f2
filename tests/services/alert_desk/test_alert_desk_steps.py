"""From judged windows to alerts and notifications, on the real ledger."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from flywheel.alerts.acknowledgement import acknowledge
from flywheel.alerts.alert import Alert, AlertState
from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.drift.late_data import JudgedRows
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.journal import JournalEntry, JournalKind
from services.alert_desk.advance_alerts import AlertStates
from services.alert_desk.send_notifications import Notifications
from services.alert_desk.wiring import AlertDeskParts, AlertRules, Receiver
from services.ports.drift import ClosedWindow, Judgement
from services.ports.traffic import TrafficCounts
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.outbox import LedgerOutbox
from tests.databases import migrated_ledger
from tests.fakes.watching import ReceiverInMemory
from tests.ledgers import DriftAndAlertLedger
from tests.told_flows import watched
from tests.watching import MARIA, NOON, ROUTER, verdict

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
QUIET = (verdict(DriftStatus.OK, effect=0.01, score=0.5),)


@dataclass(kw_only=True)
class World:
    engine: Engine
    watch: DriftAndAlertLedger
    receiver: ReceiverInMemory
    parts: AlertDeskParts

    def close(self, hour: int, verdicts: Sequence[DriftVerdict]) -> None:
        start = NOON + hour * HOUR
        window = ClosedWindow(
            id=f"window-{hour}",
            workload=ROUTER,
            start=start,
            end=start + HOUR,
            reference="r",
            traffic=TrafficCounts(recorded=1),
            verdicts=tuple(verdicts),
        )
        entry = JournalEntry(at=window.end, workload=ROUTER, kind="window", subject=window.id, state="judged", reason="judged")
        on = JudgedRows(window=window.id, start=start, end=window.end, since=start, rows=1, position=1, at=window.end)
        self.watch.close(window, entry, judgement=Judgement(on=on, champion=None, released_at=None, line=entry.id))

    def tick(self, now: datetime) -> None:
        """As after a restart: nothing is remembered between ticks."""
        AlertStates(self.parts).tick(now)
        Notifications(self.parts).tick(now)

    def alert(self) -> Alert:
        return self.watch.alerts(workload=ROUTER)[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    engine = migrated_ledger(tmp_path)
    watch = DriftAndAlertLedger(engine)
    receiver = ReceiverInMemory()
    rules = AlertRules(policy=AlertPolicy(resolve_after=HOUR), receivers=(Receiver(name="phone", notifier=receiver),))
    return World(engine=engine, watch=watch, receiver=receiver, parts=AlertDeskParts(drift=watch, alerts=watch, workloads={ROUTER: rules}))


def test_drift_becomes_one_firing_alert_and_one_notice(world: World) -> None:
    world.close(0, [verdict(), verdict(slice_name="tenant=acme"), verdict(column="digits_share")])
    for minute in range(3):
        world.tick(NOON + HOUR + minute * MINUTE)
    (alert,) = world.watch.alerts()
    assert alert.state is AlertState.FIRING
    assert world.receiver.taken == [(alert.id, "firing")]
    entries = LedgerJournal(world.engine).entries(kind="alert")
    assert [entry.state for entry in entries] == ["pending", "firing"]
    assert entries[0].caused_by == "window-0"
    events = [message for message in LedgerOutbox(world.engine).due(now=NOON, resend_after=HOUR) if message.topic == "alerts"]
    assert len(events) == 2


def test_quiet_windows_open_nothing(world: World) -> None:
    world.close(0, QUIET)
    world.tick(NOON + HOUR)
    assert not world.watch.alerts()


def test_a_window_between_two_ticks_is_not_overlooked(world: World) -> None:
    world.close(0, QUIET)
    world.close(1, [verdict()])
    world.close(2, QUIET)
    world.tick(NOON + 3 * HOUR)
    assert world.alert().state is AlertState.FIRING


def test_an_alert_ends_after_quiet_windows_and_says_so_once(world: World) -> None:
    world.close(0, [verdict()])
    world.tick(NOON + HOUR)
    world.close(1, QUIET)
    for minute in range(3):
        world.tick(NOON + 2 * HOUR + minute * MINUTE)
    assert world.alert().state is AlertState.RESOLVED
    assert [kind for _, kind in world.receiver.taken] == ["firing", "resolved"]


def test_an_acknowledgement_runs_out_and_the_receiver_hears_again(world: World) -> None:
    world.close(0, [verdict()])
    world.tick(NOON + HOUR)
    firing = world.alert()
    taken = acknowledge(alert=firing, by=MARIA, note="on it", now=NOON + HOUR, until=NOON + HOUR + 5 * MINUTE)
    line = JournalEntry(at=NOON + HOUR, workload=ROUTER, kind="alert", subject=taken.id, state="acknowledged", reason="on it", actor=MARIA)
    assert world.watch.save_alert(taken, line)
    world.tick(NOON + HOUR + 4 * MINUTE)
    assert world.alert().state is AlertState.ACKNOWLEDGED
    world.tick(NOON + HOUR + 5 * MINUTE)
    assert world.alert().state is AlertState.FIRING
    assert len(world.receiver.taken) == 2


def test_a_notice_that_is_not_taken_is_tried_again_with_growing_pauses_until_it_is(world: World) -> None:
    noon = NOON + HOUR
    world.close(0, [verdict()])
    AlertStates(world.parts).tick(noon)
    notices = Notifications(world.parts)
    world.receiver.down = True
    assert notices.tick(noon) == 1.0  # the pause that is left: the loop comes back then
    for second in range(1, 60):
        notices.tick(noon + timedelta(seconds=second))
    assert world.receiver.attempts == 6  # at 0, 1, 3, 7, 15 and 31 seconds
    world.receiver.down = False
    for second in range(60, 70):
        notices.tick(noon + timedelta(seconds=second))
    assert [kind for _, kind in world.receiver.taken] == ["firing"]
    assert notices.tick(noon + timedelta(seconds=70)) is None


def test_a_receiver_that_was_away_hears_of_beginning_and_end_in_order(world: World) -> None:
    world.receiver.down = True
    world.close(0, [verdict()])
    world.tick(NOON + HOUR)
    world.close(1, QUIET)
    world.tick(NOON + 2 * HOUR)
    world.receiver.down = False
    world.tick(NOON + 3 * HOUR)
    assert [kind for _, kind in world.receiver.taken] == ["firing", "resolved"]


def test_a_notice_that_is_refused_for_good_delays_no_other(world: World) -> None:
    world.receiver.refuses = "firing"
    world.close(0, [verdict()])
    world.tick(NOON + HOUR)
    world.close(1, QUIET)
    world.tick(NOON + 2 * HOUR)
    world.tick(NOON + 3 * HOUR)
    assert [kind for _, kind in world.receiver.taken] == ["resolved"]
    assert world.receiver.attempts == 2


class Counting:
    """Passes calls on to the ledger and remembers their names."""

    def __init__(self, ledger: DriftAndAlertLedger) -> None:
        self._ledger = ledger
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._ledger, name)


def test_a_tick_without_news_reads_two_numbers(world: World) -> None:
    counting = Counting(world.watch)
    parts = replace(world.parts, drift=counting, alerts=counting)  # type: ignore[arg-type]
    states, notifications = AlertStates(parts), Notifications(parts)
    world.close(0, [verdict()])
    for minute in range(2):
        states.tick(NOON + HOUR + minute * MINUTE)
        notifications.tick(NOON + HOUR + minute * MINUTE)
    counting.calls.clear()
    states.tick(NOON + HOUR + 2 * MINUTE)
    notifications.tick(NOON + HOUR + 2 * MINUTE)
    assert sorted(counting.calls) == ["alert_saves", "alert_saves", "judgement_count"]


def test_a_running_desk_sees_what_a_person_saved_and_the_next_window(world: World) -> None:
    states = AlertStates(world.parts)
    world.close(0, [verdict()])
    states.tick(NOON + HOUR)
    taken = acknowledge(alert=world.alert(), by=MARIA, note="", now=NOON + HOUR, until=NOON + HOUR + 5 * MINUTE)
    line = JournalEntry(at=NOON + HOUR, workload=ROUTER, kind=JournalKind.ALERT, subject=taken.id, state="acknowledged", reason="mine")
    assert world.watch.save_alert(taken, line)
    states.tick(NOON + HOUR + MINUTE)
    assert world.alert().state is AlertState.ACKNOWLEDGED
    states.tick(NOON + HOUR + 5 * MINUTE)
    assert world.alert().state is AlertState.FIRING
    world.close(1, QUIET)
    states.tick(NOON + 2 * HOUR)
    assert world.alert().state is AlertState.RESOLVED


JUMPS = (HOUR, 24 * HOUR, 365 * 24 * HOUR)


@pytest.mark.parametrize("jump", JUMPS)
def test_alerts_go_on_when_a_clock_that_ran_ahead_is_right_again(world: World, jump: timedelta) -> None:
    """It drifts while the clock runs ahead; when the clock is right again the drift goes on, and ends."""
    states, hours = AlertStates(world.parts), jump // HOUR
    world.close(0, QUIET)
    states.tick(NOON + HOUR)
    world.close(hours + 1, [verdict()])
    states.tick(NOON + jump + 2 * HOUR)
    assert world.alert().state is AlertState.FIRING
    if hours > 1:
        world.close(1, [verdict()])
    states.tick(NOON + 2 * HOUR)
    for hour in (3, 4):
        world.close(hour, QUIET)
        states.tick(NOON + (hour + 1) * HOUR)
    assert [one.state for one in world.watch.alerts()] == [AlertState.RESOLVED]
    world.close(5, [verdict()])
    states.tick(NOON + 6 * HOUR)
    assert [one.state for one in world.watch.alerts()] == [AlertState.FIRING, AlertState.RESOLVED], "the newest first, whatever its time"
    for _ in range(3):
        AlertStates(world.parts).tick(NOON + 6 * HOUR)
    assert len(world.watch.alerts()) == 2, "a restart opens nothing"


@pytest.mark.parametrize("jump", JUMPS)
def test_a_notice_that_waits_for_a_clock_that_ran_ahead_is_sent(world: World, jump: timedelta) -> None:
    notices, hours = Notifications(world.parts), jump // HOUR
    world.close(hours, [verdict()])
    AlertStates(world.parts).tick(NOON + jump + HOUR)
    world.receiver.down = True
    notices.tick(NOON + jump + HOUR)
    world.receiver.down = False
    notices.tick(NOON + HOUR)
    assert [kind for _, kind in world.receiver.taken] == ["firing"]


def test_what_a_clock_ahead_took_for_long_ended_is_told_when_it_is_right_again(world: World) -> None:
    world.receiver.down = True
    world.close(0, [verdict()])
    world.tick(NOON + HOUR)
    world.close(1, QUIET)
    world.tick(NOON + 2 * HOUR)
    notices = Notifications(world.parts)
    notices.tick(NOON + 365 * 24 * HOUR)
    world.receiver.down = False
    notices.tick(NOON + 3 * HOUR)
    assert [kind for _, kind in world.receiver.taken] == ["firing", "resolved"]


def test_notifications_that_no_receiver_takes_are_told_to_stand(world: World, tmp_path: Path) -> None:
    notices = Notifications(world.parts)
    world.close(0, [verdict()])
    AlertStates(world.parts).tick(NOON + HOUR)
    with watched(tmp_path / "told", "alert_desk", notices.flow) as seen:
        world.receiver.down = True
        notices.tick(NOON + HOUR)
        seen.is_told_to_stand("notifications")
        world.receiver.down = False
        notices.tick(NOON + HOUR + MINUTE)
        seen.is_told_to_move("notifications")


def test_a_receiver_that_hangs_is_told(world: World, tmp_path: Path) -> None:
    asked, over = threading.Event(), threading.Event()

    class Hangs:
        def notify(self, alert: Alert, *, kind: str) -> str:
            asked.set()
            over.wait()
            return "taken"

    rules = replace(world.parts.workloads[ROUTER], receivers=(Receiver(name="phone", notifier=Hangs()),))
    notices = Notifications(replace(world.parts, workloads={ROUTER: rules}))
    world.close(0, [verdict()])
    AlertStates(world.parts).tick(NOON + HOUR)
    telling = threading.Thread(target=notices.tick, args=(NOON + HOUR,), daemon=True)
    with watched(tmp_path / "told", "alert_desk", notices.flow) as seen:
        telling.start()
        asked.wait()
        seen.is_told_to_stand("notifications")
        over.set()
        telling.join()
        seen.is_told_to_move("notifications")

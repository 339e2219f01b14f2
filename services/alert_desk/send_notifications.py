"""Each tick: sends the notifications that are due.

read -> decide (flywheel.alerts.notifications) -> send -> remember. A notification is remembered per receiver once the
receiver has taken it, or refused it for good; a kill between the two sends it again under the same id. Nothing is read
while no alert was saved.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from flywheel.alerts.alert import Alert
from flywheel.alerts.notifications import TOLD_FOR, NotDelivered, RefusedForGood, owed
from flywheel.clock import has_passed
from flywheel.ids import AlertId, WorkloadId
from flywheel.progress import Flow
from services.alert_desk.wiring import AlertDeskParts, Receiver
from services.process.progress import FlowMark

log = structlog.get_logger()

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=5)
PACE_SECONDS = 120.0  # of failed deliveries to one receiver


class Notifications:
    """Sends each notification to each receiver until it is delivered, oldest first, with growing pauses between retries."""

    def __init__(self, parts: AlertDeskParts) -> None:
        self._parts = parts
        self._saves = -1  # of the ledger's alerts, as they were last read
        self._read_at: datetime | None = None
        self._alerts: dict[WorkloadId, Sequence[Alert]] = {}  # oldest first: those that may owe something
        self._told: set[tuple[AlertId, str]] = set()
        self._pauses: dict[str, tuple[datetime, timedelta]] = {}  # receiver: when it was asked last, and how long to wait from then on
        self._sending = 0  # 1 while a receiver is asked, who may hang
        self._last_failure = ""
        flow = Flow(
            name="notifications", pace_seconds=PACE_SECONDS, remedy="See that the receivers of alerts.webhooks answer; it is tried again."
        )
        self.flow = FlowMark(flow, waiting=lambda: len(self._pauses) + self._sending, cause=lambda: self._last_failure or None)

    def tick(self, now: datetime) -> float | None:
        """Returns the seconds until the next retry; None if no receiver has a failed delivery."""
        workloads = {workload: rules.receivers for workload, rules in self._parts.workloads.items() if rules.receivers}
        if not workloads:
            return None
        saves = self._parts.alerts.alert_saves()
        if saves != self._saves or (self._read_at is not None and now < self._read_at):  # a clock that ran ahead left out what had ended
            self._alerts = {name: self._parts.alerts.alerts(workload=name, ended_after=now - TOLD_FOR)[::-1] for name in workloads}
            self._saves, self._read_at = saves, now
        for workload, receivers in workloads.items():
            for receiver in receivers:
                self._send(receiver, self._alerts[workload], now)
        return min(((asked + pause - now).total_seconds() for asked, pause in self._pauses.values()), default=None)

    def _send(self, receiver: Receiver, alerts: Sequence[Alert], now: datetime) -> None:
        if receiver.name in self._pauses:
            asked, pause = self._pauses[receiver.name]
            if not has_passed(pause, since=asked, now=now):
                return
        for alert in alerts:
            for kind in owed(alert, now=now):
                remembered = f"{kind} to {receiver.name}"
                if (alert.id, remembered) in self._told:
                    continue
                if self._parts.alerts.notification_due(alert.id, kind=remembered):
                    self._sending = 1
                    try:
                        answer = receiver.notifier.notify(alert, kind=kind)
                    except RefusedForGood as error:
                        answer = f"refused for good: {error.reason}"
                        log.error("Notification refused for good", action="notice_refused", alert=alert.id, kind=kind, reason=str(error))
                    except NotDelivered as error:
                        self._pause(receiver, now)
                        self._last_failure = str(error)
                        log.warning("Notification not delivered", action="notice_failed", alert=alert.id, kind=kind, reason=str(error))
                        return
                    finally:
                        self._sending = 0
                    if receiver.name in self._pauses:
                        self.flow.moved()
                    self._parts.alerts.notification_sent(alert.id, kind=remembered, at=now, detail=answer)
                    log.info("Notification done with", action="notice_sent", alert=alert.id, kind=kind, answer=answer)
                self._told.add((alert.id, remembered))
        self._pauses.pop(receiver.name, None)
        if not self._pauses:
            self._last_failure = ""

    def _pause(self, receiver: Receiver, now: datetime) -> None:
        last = self._pauses.get(receiver.name)
        pause = min(last[1] * 2, LONGEST_PAUSE) if last else FIRST_PAUSE
        self._pauses[receiver.name] = (now, pause)

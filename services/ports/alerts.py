"""Alerts in the ledger, and who carries their notifications outward."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flywheel.alerts.alert import Alert
from flywheel.ids import AlertId, WorkloadId
from flywheel.journal import JournalEntry


class AlertLedger(Protocol):
    """Alerts in the ledger, and which notifications went out."""

    def alert(self, alert_id: AlertId) -> Alert | None:
        """One alert, or None."""

    def alerts(
        self, *, workload: WorkloadId | None = None, open_only: bool = False, ended_after: datetime | None = None, limit: int = 10_000
    ) -> Sequence[Alert]:
        """Newest first. ``ended_after``: the open ones and those resolved since."""

    def alert_saves(self) -> int:
        """How many saves of any alert there were. Cheap; a reader that saw this number has no news to read."""

    def save_alert(self, alert: Alert, entry: JournalEntry) -> Alert | None:
        """Keeps the alert with its journal line and the outbox event, and returns it with its new version.

        None when somebody else has saved it since this version (0: not saved before) was read; then nothing is kept.
        """

    def notification_due(self, alert_id: AlertId, *, kind: str) -> bool:
        """True when no notification of this kind went out for this alert yet."""

    def notification_sent(self, alert_id: AlertId, *, kind: str, at: datetime, detail: str) -> None:
        """Remembers a notification."""


class Notifier(Protocol):
    """Carries a notification outward."""

    def notify(self, alert: Alert, *, kind: str) -> str:
        """Sends; returns what the receiver answered. Raises NotDelivered when it must be tried again, RefusedForGood when it must not."""

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

    def alerts(self, *, workload: WorkloadId | None = None, open_only: bool = False) -> Sequence[Alert]:
        """Newest first."""

    def save_alert(self, alert: Alert, entry: JournalEntry, *, expected: Alert | None) -> bool:
        """Keeps the new state with its journal line and the outbox event; False when ``expected`` is no longer what stands there."""

    def notice_due(self, alert_id: AlertId, *, kind: str) -> bool:
        """True when no notice of this kind went out for this alert yet."""

    def notice_sent(self, alert_id: AlertId, *, kind: str, at: datetime, detail: str) -> None:
        """Remembers a notice."""


class Notifier(Protocol):
    """Carries a notice outward."""

    def notify(self, alert: Alert, *, kind: str) -> str:
        """Sends; returns what the receiver answered. Raises NotDelivered when it must be tried again."""

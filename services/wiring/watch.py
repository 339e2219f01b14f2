"""The watching part of the ledger, for every process that reads or writes it."""

from services.adapters.ledger_watch import LedgerWatch
from services.ports.watch import WatchLedger
from services.settings import Settings
from services.wiring.ledger import open_ledger


def watch_ledger(settings: Settings) -> WatchLedger:
    """References, windows, alerts."""
    topics = settings.kafka.topics
    return LedgerWatch(open_ledger(settings), drift_topic=topics.drift, alerts_topic=topics.alerts)

"""The learning part of the ledger, and where snapshots lie."""

from pathlib import Path

from services.adapters.ledger_learn import LedgerLearn
from services.adapters.snapshot_files import write_snapshot
from services.ports.learn import LearnLedger
from services.settings import Settings
from services.wiring.ledger import open_ledger

__all__ = ["learn_ledger", "snapshot_folder", "write_snapshot"]


def learn_ledger(settings: Settings) -> LearnLedger:
    """Corrections, cases, golden sets, snapshots."""
    return LedgerLearn(open_ledger(settings))


def snapshot_folder(settings: Settings) -> Path:
    """Content-addressed files: ``write_snapshot(snapshot, folder=...)`` first, then ``keep_snapshot``."""
    return settings.data_dir / "snapshots"

"""Opens a ledger read-only, for a report.

In: the path of a ledger.db or of a copy. Returns the ledger's stores, read-only. Checks first that the file is a ledger.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from flywheel.errors import CannotRun, InvalidInput, NotFound
from services.ports.alerts import AlertLedger
from services.ports.corrections import CorrectionLedger
from services.ports.drift import DriftLedger
from services.ports.gate import GateLedger
from services.ports.journal import Journal
from services.ports.regression_suite import SuiteLedger
from services.ports.retraining import RunLedger
from services.ports.training_set import TrainingSetLedger
from services.stores.database import open_ledger_read_only
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets
from services.stores.schema_version import cannot_be_opened

LEDGER_TABLES = {"alembic_version", "journal", "work"}  # tables that every ledger has
READ_ONLY = "If its folder is read-only, copy ledger.db and ledger.db-wal into a folder that you may write to, and report on the copy."
UNUSED_TOPIC = ""  # a report publishes nothing


@dataclass(frozen=True, kw_only=True)
class ReportLedgers:
    """The ledger stores that a report reads."""

    journal: Journal
    drift: DriftLedger
    alerts: AlertLedger
    corrections: CorrectionLedger
    suite: SuiteLedger
    training_sets: TrainingSetLedger
    runs: RunLedger
    gates: GateLedger


def open_report_ledgers(ledger: Path) -> ReportLedgers:
    """Opens the ledger's stores read-only.

    Raises NotFound; InvalidInput if the file is not a ledger; CannotRun if it is damaged or of another version.
    """
    _require_ledger(ledger)
    try:
        engine = open_ledger_read_only(ledger)
        journal = LedgerJournal(engine)
        journal.entries(limit=1)
    except SQLAlchemyError as error:
        why = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
        remedy = f"{READ_ONLY} If it is of another version, use that version of Flywheel. If it is damaged, restore a backup."
        raise CannotRun(f"this ledger cannot be read: {why}", where=str(ledger), remedy=remedy) from error
    return ReportLedgers(
        journal=journal,
        drift=LedgerDrift(engine, topic=UNUSED_TOPIC),
        alerts=LedgerAlerts(engine, topic=UNUSED_TOPIC),
        corrections=LedgerCorrections(engine),
        suite=LedgerSuite(engine),
        training_sets=LedgerTrainingSets(engine),
        runs=LedgerRuns(engine),
        gates=LedgerGates(engine),
    )


def _require_ledger(file: Path) -> None:
    """Checks the file without changing it. Opening it as a ledger would create Flywheel's tables in a foreign database."""
    remedy = "Pass the path of a ledger.db that the daemon wrote: --ledger PATH."
    try:
        if not file.is_file():
            raise NotFound("there is no ledger", where=str(file), remedy=remedy)
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        if cannot_be_opened(error):
            raise CannotRun(f"this ledger cannot be opened: {why}", where=str(file), remedy=READ_ONLY) from error
        raise InvalidInput(f"is not a ledger: {why}", where=str(file), remedy=remedy) from error
    if LEDGER_TABLES - tables:
        what = "it is an SQLite file without the ledger's tables" if tables else "the file has no tables"
        raise InvalidInput(f"is not a ledger: {what}", where=str(file), remedy=remedy)

"""Parts of the ledger that tests need together, on one engine."""

from sqlalchemy import Engine

from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.training_sets import LedgerTrainingSets


class CorrectionAndTrainingLedger(LedgerCorrections, LedgerSuite, LedgerTrainingSets):
    """Corrections, regression suite and training sets."""


class DriftAndAlertLedger(LedgerDrift, LedgerAlerts):
    """References, windows and alerts."""

    def __init__(self, engine: Engine) -> None:
        LedgerDrift.__init__(self, engine, topic="drift")
        LedgerAlerts.__init__(self, engine, topic="alerts")

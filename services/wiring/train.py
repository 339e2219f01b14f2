"""The ledger's parts for runs, adapters and gates."""

from services.adapters.ledger_gate import LedgerGate
from services.adapters.ledger_train import LedgerTrain
from services.ports.release import GateLedger
from services.ports.train import TrainLedger
from services.settings import Settings
from services.wiring.ledger import open_ledger


def train_ledger(settings: Settings) -> TrainLedger:
    """Runs and adapters."""
    return LedgerTrain(open_ledger(settings))


def gate_ledger(settings: Settings) -> GateLedger:
    """Gates and answers."""
    return LedgerGate(open_ledger(settings))

"""Releases and gateways, for the processes that change routes."""

from services.adapters.gateway_admin import GatewayAdmin
from services.adapters.ledger_release import LedgerReleases
from services.adapters.tokens import internal_key
from services.ports.release import Gateways, ReleaseLedger
from services.settings import Settings
from services.wiring.ledger import open_ledger


def release_ledger(settings: Settings) -> ReleaseLedger:
    """Releases and routes."""
    return LedgerReleases(open_ledger(settings), topic=settings.kafka.topics.releases)


def gateways(settings: Settings) -> Gateways:
    """The one gateway of this host."""
    return GatewayAdmin(urls=[f"http://{settings.http.host}:{settings.http.gateway_port}"], key=internal_key(settings.data_dir))

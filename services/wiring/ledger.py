"""The two databases, opened and brought to the newest schema."""

from sqlalchemy import Engine

from services.adapters.ledger import open_database
from services.settings import Settings
from services.wiring import deploy_dir


def open_ledger(settings: Settings) -> Engine:
    """ledger.db: everything but traffic."""
    return open_database(settings.ledger_url, migrations=deploy_dir() / "migrations" / "ledger")


def open_traffic(settings: Settings) -> Engine:
    """traffic.db: rows, panes, offsets, dead letters."""
    return open_database(settings.traffic_url, migrations=deploy_dir() / "migrations" / "traffic")

"""Which databases ``flywheel migrate`` brings to this version's schema, and how."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from services.settings import Settings
from services.stores.database import path_of
from services.stores.migrate import migrate, require_ledger_of
from services.stores.schema_version import LEDGER, TRAFFIC

Migration = Callable[[], tuple[str, ...]]
"""Runs and returns the revisions that were run, oldest first."""


def configured_databases(settings: Settings) -> dict[Path, Migration]:
    """Of both databases that the settings name. Raises CannotRun where one of them is gone and the other cannot do without it."""
    ledger, traffic = path_of(settings.ledger_url), path_of(settings.traffic_url)
    require_ledger_of(traffic, ledger)
    return {ledger: partial(migrate, ledger, LEDGER), traffic: partial(migrate, traffic, TRAFFIC)}


def one_ledger(path: Path) -> dict[Path, Migration]:
    """Of one ledger, for example a copy."""
    return {path: partial(migrate, path, LEDGER)}

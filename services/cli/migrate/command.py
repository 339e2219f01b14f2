"""``flywheel migrate``: brings the databases to this version's schema. Processes only check it; ``flywheel up`` does this first."""

from pathlib import Path
from typing import Annotated

import typer

from flywheel.errors import NotFound, Refused
from services.cli.migrate.wiring import configured_databases, one_ledger
from services.cli.options import Config
from services.cli.output import print_sentence
from services.cli.up.command import running
from services.settings import load


def migrate(
    ledger: Annotated[Path | None, typer.Option("--ledger", help="A copy of a ledger.db; else the configured databases.")] = None,
    config: Config = None,
) -> None:
    """Bring the databases to this version's schema. Make a backup first: there is no way back."""
    if ledger is not None:
        if not ledger.is_file():
            raise NotFound("there is no ledger", where=str(ledger), remedy="Name a file ledger.db with --ledger.")
        migrations = one_ledger(ledger)
    else:
        settings = load(config)
        if (page := running(settings.data_dir)) is not None:
            raise Refused(
                "`flywheel up` runs on this data", where=str(settings.data_dir), value=f"process {page['pid']}", remedy="End it first."
            )
        migrations = configured_databases(settings)
    for path, run in migrations.items():
        done = run()
        print_sentence(f"{path}: {f'migrated to {done[-1]}' if done else 'is up to date'}")

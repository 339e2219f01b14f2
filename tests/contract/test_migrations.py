"""The migrations make exactly the tables that the code reads and writes."""

import importlib
import pkgutil
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, create_engine, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

import services.stores.ledger
from deploy import deploy_dir
from services.stores import database
from services.stores.traffic import tables as traffic_tables

for module in pkgutil.iter_modules(services.stores.ledger.__path__):
    importlib.import_module(f"services.stores.ledger.{module.name}")


def described(engine: Engine) -> dict[str, set[str]]:
    """Each table as SQL without the order of its lines."""
    found = MetaData()
    found.reflect(engine)
    lines = {}
    for table in found.tables.values():
        statements = [str(CreateTable(table)), *(str(CreateIndex(index)) for index in table.indexes)]
        lines[table.name] = {line.strip().strip(",") for statement in statements for line in statement.splitlines() if line.strip()}
    return lines


@pytest.mark.parametrize(("name", "declared"), [("ledger", database.metadata), ("traffic", traffic_tables.metadata)])
def test_the_migrations_make_exactly_the_declared_tables(tmp_path: Path, name: str, declared: MetaData) -> None:
    migrated = database.open_database(f"sqlite:///{tmp_path}/{name}.db", migrations=deploy_dir() / "migrations" / name)
    wanted = create_engine(f"sqlite:///{tmp_path}/declared.db")
    declared.create_all(wanted)
    found = described(migrated)
    found.pop("alembic_version")
    assert found == described(wanted)


def test_the_database_itself_accepts_one_correction_per_prompt(tmp_path: Path) -> None:
    engine = database.open_database(f"sqlite:///{tmp_path}/ledger.db", migrations=deploy_dir() / "migrations" / "ledger")
    (unique,) = [index for index in inspect(engine).get_indexes("corrections") if index["unique"]]
    assert "accepted" in str(unique["dialect_options"]["sqlite_where"])

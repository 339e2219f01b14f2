"""The migration makes exactly the tables that the code reads and writes."""

from pathlib import Path

from sqlalchemy import MetaData, Table, create_engine, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

import services.stores.ledger.learn_tables as tables
from deploy import deploy_dir
from services.stores.database import open_database

MINE = [value for value in vars(tables).values() if isinstance(value, Table)]


def described(definitions: list[Table]) -> dict[str, set[str]]:
    """Each table as SQL without the order of its lines."""
    found = {}
    for table in definitions:
        statements = [str(CreateTable(table)), *(str(CreateIndex(index)) for index in table.indexes)]
        found[table.name] = {line.strip().strip(",") for statement in statements for line in statement.splitlines() if line.strip()}
    return found


def test_l0003_makes_exactly_the_learning_tables(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/migrated.db", migrations=deploy_dir() / "migrations" / "ledger")
    defined = create_engine(f"sqlite:///{tmp_path}/defined.db")
    for table in MINE:
        table.create(defined)
    names = [table.name for table in MINE]
    found, wanted = MetaData(), MetaData()
    found.reflect(engine, only=names)
    wanted.reflect(defined, only=names)
    assert described(list(found.tables.values())) == described(list(wanted.tables.values()))
    (unique,) = [index for index in inspect(engine).get_indexes("corrections") if index["unique"]]
    assert "accepted" in str(unique["dialect_options"]["sqlite_where"])

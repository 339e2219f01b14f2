"""What the recorder opens, from the settings."""

from pathlib import Path
from typing import Any

import pytest

from services.settings import Settings
from services.stores.database import reading
from services.traffic_windower.wiring import windower_parts
from tests.databases import empty_databases

NORMAL, FULL = 1, 2


@pytest.mark.parametrize(("fsync", "synchronous"), [("never", NORMAL), ("every_second", FULL), ("every_answer", FULL)])
def test_what_is_recorded_waits_for_the_disk_where_a_workload_asks_for_it(tmp_path: Path, fsync: str, synchronous: int) -> None:
    """The gateway deletes it from its spool then. The keys that open it are in the ledger."""
    workloads = {"a": {"alias": "a"}, "b": {"alias": "b", "capture": {"fsync": fsync}}}
    empty_databases(tmp_path)
    parts: Any = windower_parts(Settings.model_validate({"data_dir": tmp_path, "workloads": workloads}))
    for engine in (parts.recorder._engine, parts.recorder._sealer._keys._engine):
        with reading(engine) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == synchronous

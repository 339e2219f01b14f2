"""The traffic database for tests that write and read it: the recorder's side and the readers' in one, with keys in the ledger beside it."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Engine

from flywheel.ids import WorkloadId
from flywheel.traffic.subject import SESSION
from flywheel.windows.pane_shape import PaneShape
from services.stores.ledger.subject_keys import LedgerSubjectKeys, open_subject_keys
from services.stores.traffic.contents import ContentSealer
from services.stores.traffic.dead_letters import DeadLetterStore
from services.stores.traffic.recording_store import RecordingStore
from services.stores.traffic.traffic_store import TrafficStore
from tests.databases import migrated_ledger, migrated_traffic


class BothSides(RecordingStore, TrafficStore, DeadLetterStore):
    """Records and reads."""

    def __init__(
        self, engine: Engine, *, shapes: Mapping[WorkloadId, PaneShape], keys: LedgerSubjectKeys, subjects: Mapping[WorkloadId, str]
    ) -> None:
        TrafficStore.__init__(self, engine, shapes=shapes, keys=keys)
        DeadLetterStore.__init__(self, engine, key=keys.sealing)
        RecordingStore.__init__(self, engine, shapes=shapes, sealer=ContentSealer(keys, subjects=subjects))
        self.engine, self.keys = engine, keys


def recording_store(folder: Path, *, shapes: Mapping[WorkloadId, PaneShape], subject: str = SESSION) -> BothSides:
    """On ``folder/traffic.db`` and ``folder/ledger.db``; the sealing key lies under ``folder/keys``."""
    keys = open_subject_keys(migrated_ledger(folder), data_dir=folder, configured=None)
    return BothSides(migrated_traffic(folder), shapes=shapes, keys=keys, subjects=dict.fromkeys(shapes, subject))

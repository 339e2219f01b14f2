"""What ``flywheel doctor`` says of old records: what keeps them, and in how many days the disk is full at today's rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.ids import WorkloadId
from flywheel.journal import JournalKind
from flywheel.retention import DAY, Growth, Hold, RecordKind, cutoffs, days_until_full
from services.process.machine import GIB, free_gib
from services.settings import Settings
from services.settings.policies import retention_policy
from services.stores.database import open_ledger_read_only, path_of
from services.stores.free_pages import gives_pages_back
from services.stores.growth import RecordedVolume, read_volume
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.records_held import RecordsHeld


@dataclass(frozen=True, kw_only=True)
class KeptNote:
    """One sentence. ``remedy``: "" where nothing is to be done."""

    sentence: str
    remedy: str = ""


def records_kept(settings: Settings, *, now: datetime) -> list[KeptNote]:
    """Of databases of this version; nothing before the first start."""
    traffic, ledger = path_of(settings.traffic_url), path_of(settings.ledger_url)
    if not traffic.exists() or not ledger.exists():
        return []
    kept = [(name, retention_policy(settings, name).kept(RecordKind.ROWS)) for name in settings.workloads]
    volume = read_volume(traffic, ledger, workloads=kept, now=now)
    return [
        _forecast(settings, volume, now=now),
        *_held(settings, now=now),
        *_waits(settings, now=now),
        *(_cannot_shrink(path.name) for path in (traffic, ledger) if not gives_pages_back(path)),
    ]


def _forecast(settings: Settings, volume: RecordedVolume, *, now: datetime) -> KeptNote:
    free = free_gib(settings.data_dir)
    if not volume.rows_of_last_day or volume.oldest is None:
        return KeptNote(sentence=f"nothing was recorded in the last day; the databases hold {_size(volume.used)}, {free:.0f} GiB are free")
    policies = [retention_policy(settings, name) for name in settings.workloads]
    rows_days = max(policy.rows for policy in policies)
    panes_days = max(policy.panes for policy in policies)
    a_day = volume.used / volume.rows * volume.rows_of_last_day
    rows = Growth(bytes_a_day=a_day, days=max(0.0, rows_days - (now - volume.oldest) / DAY))
    pane_age = (now - volume.oldest_pane) / DAY if volume.oldest_pane is not None else 0.0
    counts = Growth(bytes_a_day=volume.pane_bytes_of_last_day, days=max(0.0, panes_days - pane_age))
    days = days_until_full(free * GIB, [rows, counts])
    rate = f"at today's rate ({volume.rows_of_last_day:,} rows, {_size(a_day)} a day; rows are kept for {rows_days:g} days)"
    if days is None:
        more = rows.bytes_a_day * rows.days + counts.bytes_a_day * counts.days
        return KeptNote(sentence=f"{rate} the disk does not fill: {_size(more)} more are needed, {free:.0f} GiB are free")
    remedy = "Lower retention.rows_days or retention.contents_days, or move data_dir to a larger disk."
    return KeptNote(sentence=f"{rate} the disk is full in {days:.0f} days", remedy=remedy)


def _held(settings: Settings, *, now: datetime) -> Iterator[KeptNote]:
    """What would be deleted without a hold."""
    held = RecordsHeld(open_ledger_read_only(path_of(settings.ledger_url)))
    for name, workload in settings.workloads.items():
        found = cutoffs(retention_policy(settings, name), now=now, last_jump=None)
        for hold in held.holds(WorkloadId(name), sample_rows=workload.watch.sample_rows):
            old = [kind for kind in RecordKind if kind in hold.kinds and (found[kind].before or now) > hold.start]
            if old:
                yield KeptNote(sentence=f"{name}: {_what(hold, old)} stay beyond their time: {hold.reason}")


def _what(hold: Hold, kinds: list[RecordKind]) -> str:
    named = ", ".join(kind.value.replace("_", " ") for kind in kinds)
    until = f" to {hold.end:%Y-%m-%d}" if hold.end is not None else ""
    return f"{f'{hold.sample} of each hour of the ' if hold.sample else ''}{named} from {hold.start:%Y-%m-%d}{until or ' on'}"


def _waits(settings: Settings, *, now: datetime) -> Iterator[KeptNote]:
    lines = LedgerJournal(open_ledger_read_only(path_of(settings.ledger_url))).entries(kind=JournalKind.RETENTION, limit=1)
    if lines and lines[-1].state == "waits" and timedelta() <= now - lines[-1].at < DAY:
        yield KeptNote(sentence=f"no old record is deleted until {lines[-1].at + DAY:%Y-%m-%d %H:%M} UTC: {lines[-1].reason}")


def _cannot_shrink(name: str) -> KeptNote:
    remedy = f'To shrink it once, end the daemon and run `sqlite3 {name} "PRAGMA auto_vacuum=INCREMENTAL; VACUUM"`.'
    return KeptNote(sentence=f"{name} keeps the space of deleted records for new ones and gives none back", remedy=remedy)


def _size(number: float) -> str:
    return f"{number / GIB:.1f} GiB" if number >= GIB / 10 else f"{number / 2**20:.1f} MiB"

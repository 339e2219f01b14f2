"""What can be said of one cell (slice and column) of a window, and the status that its verdict gets."""

from enum import IntEnum

from flywheel.drift.verdict import DriftStatus


class CellState(IntEnum):
    """The state of one cell. If several apply, the lowest number wins. The numbers are not stored."""

    NO_ROWS = 0
    NO_VALUES = 1
    NO_REFERENCE = 2
    OTHER_BINS = 3
    UNSEEN_HOURS = 4
    NEVER_SEEN = 5  # only for the share column: NEVER_SEEN to NEW
    IN_OTHER = 6  # its rows may be in "(other)"
    SILENT_BEFORE = 7  # expected rows as for VANISHED, but the reference has a gap as long as the window
    VANISHED = 8
    FEW_EXPECTED = 9
    IN_OTHER_IN_REFERENCE = 10
    NEW = 11
    TOO_FEW = 12
    LEARNING = 13
    SAME = 14
    DRIFTED = 15


STATUS_OF = {
    **dict.fromkeys((CellState.NO_ROWS, CellState.NO_VALUES, CellState.NEVER_SEEN), DriftStatus.NO_DATA),
    **dict.fromkeys((CellState.NO_REFERENCE, CellState.OTHER_BINS, CellState.UNSEEN_HOURS, CellState.LEARNING), DriftStatus.LEARNING),
    **dict.fromkeys(
        (CellState.IN_OTHER, CellState.FEW_EXPECTED, CellState.IN_OTHER_IN_REFERENCE, CellState.SILENT_BEFORE, CellState.TOO_FEW),
        DriftStatus.INSUFFICIENT_DATA,
    ),
    CellState.VANISHED: DriftStatus.VANISHED_SLICE,
    CellState.NEW: DriftStatus.NEW_SLICE,
    CellState.SAME: DriftStatus.OK,
    CellState.DRIFTED: DriftStatus.DRIFTING,
}

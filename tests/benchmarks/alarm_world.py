"""A simulated workload whose truth is known: slices, every counted column, days and weekends, bursts, sessions, promotions.

Two worlds are values of ``WorldShape``: the alpha allocation is tuned on ``TUNING`` alone, and what is published is measured on
``REPORTING`` alone, which has other seeds, slices of other sizes and another daily and weekly rhythm.

Rows are drawn one by one and counted at once, on the recorder's own bins. Rows of one session share a disposition: of numbers and names a
normal one with intraclass correlation 0.2; the rows of a rate take their session's own answer with probability sqrt(0.2), which gives the
answers themselves a correlation of 0.2 (``Sessions.ANSWERS``), or follow a shared disposition like numbers (``Sessions.DISPOSITION``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from flywheel.drift.seasonal_reference import is_weekend
from flywheel.traffic.column import Column, Family, Measure
from flywheel.traffic.features import COLUMNS

SESSION = 8
ICC = 0.2
LEVELS = 16  # of a session's disposition
FINE = 4096  # steps of a row's own part
FIRST_HOUR = (20_003 - (20_003 + 3) % 7) * 24  # a Monday, in hours since the epoch
VERSIONS = (0.0, 0.15, -0.1, 0.25)
"""How far each champion's answers lie from the first one's, in sigma."""

Numbers = NDArray[np.float64]
Matrix = NDArray[np.int64]
"""[hours, slices, bins of all columns side by side]"""


class Sessions(StrEnum):
    """What the rows of a session have in common."""

    ANSWERS = "answers"
    DISPOSITION = "disposition"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """How one column is distributed: ``cuts`` on a normal scale separate its bins; it swings by the hour and on weekends, in sigma."""

    column: Column
    cuts: tuple[float, ...]
    swing: float = 0.1
    weekend: float = 0.0


def _lengths(name: str, median: float, sigma: float, swing: float = 0.1, weekend: float = 0.0) -> Truth:
    """Log-normal."""
    cuts = tuple(float(np.log(line / median) / sigma) for line in _COLUMN[name].edges)
    return Truth(column=_COLUMN[name], cuts=cuts, swing=swing, weekend=weekend)


def _normal(name: str, mean: float, sigma: float) -> Truth:
    return Truth(column=_COLUMN[name], cuts=tuple((line - mean) / sigma for line in _COLUMN[name].edges))


def _names(name: str, shares: Sequence[float], swing: float = 0.1, weekend: float = 0.0) -> Truth:
    """``shares`` of all names but the last."""
    return Truth(column=_COLUMN[name], cuts=tuple(map(float, ndtri(np.cumsum(shares)))), swing=swing, weekend=weekend)


def _rate(name: str, yes: float, swing: float = 0.1, weekend: float = 0.0) -> Truth:
    """The level rises towards the worse side, or towards yes."""
    column = _COLUMN[name]
    rate = 1 - yes if column.worse == "no" else yes
    return Truth(column=column, cuts=(float(-ndtri(rate)),), swing=swing, weekend=weekend)


_COLUMN: Mapping[str, Column] = {column.name: column for column in COLUMNS}
TRUTHS = (
    _lengths("prompt_chars", 220, 0.9, 0.2, 0.1),
    _lengths("prompt_words", 38, 0.9, 0.1, 0.1),
    _names("prompt_shape", (0.45, 0.3, 0.08, 0.07), 0.1, 0.05),
    _names("prompt_ending", (0.35, 0.3, 0.2, 0.1), 0.1, 0.05),
    _normal("prompt_word_chars", 5.6, 0.7),
    _lengths("digits_share", 0.03, 1.0),
    _rate("personal_data", 0.10, 0.1, 0.05),
    _lengths("answer_chars", 400, 0.8, 0.1, 0.1),
    _lengths("answer_words", 70, 0.8, 0.1, 0.1),
    _names("finish_reason", (0.92, 0.05, 0.02)),
    _rate("refusal", 0.03),
    _rate("valid_format", 0.98),
    _names("answer_opening", (0.12, 0.08, 0.6, 0.19)),
    _lengths("latency_ms", 900, 0.5, 0.2),
    _rate("error", 0.01),
)
BY_NAME: Mapping[str, Truth] = {truth.column.name: truth for truth in TRUTHS}
FIRSTS: Mapping[str, Column] = {column.first_of: column for column in COLUMNS if column.first_of}
"""By the rate that they are of: the column that counts each session's first."""
OFFSETS: Mapping[str, int] = dict(zip(_COLUMN, np.cumsum([0, *(column.bins for column in COLUMNS)]).tolist(), strict=False))
"""Where each column's bins begin in a matrix."""
WIDTH = sum(column.bins for column in COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How volume and levels go by the hour: ``volume`` and ``level`` have 24 values for weekdays, then 24 for weekends."""

    volume: tuple[float, ...]  # parts of the mean
    level: tuple[float, ...]  # times a column's swing


@dataclass(frozen=True, kw_only=True)
class Mishaps:
    """What happens in real life without any drift of what is asked or answered."""

    bursts: float = 0.02  # part of the hours that hold three times their rows
    late: float = 0.01  # part of the hours of which ``late_rows`` come hours after
    late_rows: float = 0.05
    visits: float = 0.03  # a day: a slice that nobody knew comes for some days
    visitor: float = 0.005  # part of the rows that it sends
    pauses: float = 0.015  # a day: a slice sends nothing for hours


@dataclass(frozen=True, kw_only=True)
class WorldShape:
    """A world without its luck."""

    name: str
    seed: int
    rows_an_hour: int
    shares: tuple[float, ...]  # of all rows, by slice
    protected: tuple[int, ...]  # places of slices
    large: int  # the slice with 567 rows an hour
    small: int  # the protected slice with 57
    rhythm: Rhythm
    mishaps: Mishaps = Mishaps()

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"slice={place + 1}" for place in range(len(self.shares)))

    @property
    def protected_slices(self) -> tuple[str, ...]:
        return tuple(self.slices[place] for place in self.protected)


def _zipf() -> tuple[float, ...]:
    weights = 1 / np.arange(1, 201)
    return tuple((weights / weights.sum()).tolist())


def log_normal_shares(*, slices: int, sigma: float, exactly: Mapping[int, float]) -> tuple[float, ...]:
    """Largest first; ``exactly``: shares of some places."""
    sizes = np.exp(sigma * ndtri((np.arange(slices, 0, -1) - 0.5) / slices))
    free = np.array([place not in exactly for place in range(slices)])
    shares = sizes / sizes[free].sum() * (1 - sum(exactly.values()))
    for place, share in exactly.items():
        shares[place] = share
    return tuple(shares.tolist())


_HOURS = np.arange(24)
TUNING = WorldShape(
    name="tuning",
    seed=20_261_122,
    rows_an_hour=20_000,
    shares=_zipf(),
    protected=(19, 39, 59, 79, 99),
    large=5,
    small=59,
    rhythm=Rhythm(
        volume=tuple(np.concatenate([part * (1 + 0.4 * np.sin(2 * np.pi * (_HOURS - 9) / 24)) for part in (1.1, 0.75)]).tolist()),
        level=tuple(np.tile(np.sin(2 * np.pi * (_HOURS - 6) / 24), 2).tolist()),
    ),
)
_TWO_PEAKS = (
    0.35
    + np.exp(-(((_HOURS - 10) / 2.5) ** 2))
    + 0.8 * np.exp(-(((_HOURS - 15.5) / 2.0) ** 2))
    + 0.4 * np.exp(-(((_HOURS - 21) / 1.5) ** 2))
)
REPORTING = WorldShape(
    name="reporting",
    seed=20_270_319,
    rows_an_hour=12_000,
    shares=log_normal_shares(slices=48, sigma=1.1, exactly={9: 567 / 12_000, 33: 57 / 12_000}),
    protected=(3, 14, 24, 33, 40),
    large=9,
    small=33,
    rhythm=Rhythm(
        volume=tuple(np.concatenate([1.22 * _TWO_PEAKS / _TWO_PEAKS.mean(), 0.45 * np.ones(24)]).tolist()),
        level=tuple(np.concatenate([_TWO_PEAKS - _TWO_PEAKS.mean(), 0.3 * np.cos(2 * np.pi * (_HOURS - 20) / 24)]).tolist()),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Hours in a row of some slices, in the order in which the world was asked for them."""

    rows: NDArray[np.int64]  # [hours, slices]
    counts: Matrix


class World:
    """Draws hours in a row. The same seed gives the same hours if it is asked for them in the same order."""

    def __init__(
        self, shape: WorldShape, *, seed: int, sessions: Sessions = Sessions.ANSWERS, columns: Sequence[str] = (), steady: bool = False
    ) -> None:
        """``columns``: those that are drawn, with their firsts; all if empty. ``steady``: each hour has the mean volume."""
        self._shape, self._sessions, self._steady = shape, sessions, steady
        self._truths = [truth for truth in TRUTHS if not columns or truth.column.name in columns]
        self._rng = np.random.default_rng(seed)

    def hours(
        self, first: int, *, shares: Numbers, version: int = 0, moved: Mapping[str, float] | None = None, part: Numbers | float = 1.0
    ) -> Counted:
        """``shares`` [hours, slices] of the mean volume. ``moved``: column -> how far its level lies from the usual, in sigma.

        ``part`` [hours] of the volume, e.g. those rows that come late.
        """
        count, slices = shares.shape
        hours = first + np.arange(count)
        kind = is_weekend(hours) * 24 + hours % 24
        volume = np.full(count, float(self._shape.rows_an_hour))
        if not self._steady:
            volume = volume * np.asarray(self._shape.rhythm.volume)[kind]
            volume = volume * np.where(self._rng.random(count) < self._shape.mishaps.bursts, 3.0, 1.0)
        sessions = self._rng.poisson((volume * part)[:, None] * shares / SESSION)
        cell = np.repeat(np.arange(sessions.size), sessions.ravel())
        kind_of_session = kind[cell // slices]
        counts = np.zeros((sessions.size, WIDTH), dtype=np.int64)
        for truth in self._truths:
            column = truth.column
            level = (moved or {}).get(column.name, 0.0)
            if column.family is not Family.INPUT:
                level += VERSIONS[version % len(VERSIONS)]
            bins = self._bins(truth, level, kind_of_session, len(cell))
            width = column.bins
            held = np.bincount((cell[:, None] * width + bins).ravel(), minlength=sessions.size * width).reshape(-1, width)
            if column.worse == "no":  # drawn as 0: as asked, 1: worse
                held[:, :2] = held[:, 1::-1]
            counts[:, OFFSETS[column.name] : OFFSETS[column.name] + width] = held
            if (firsts := FIRSTS.get(column.name)) is not None:
                worse = np.bincount(cell, weights=bins.any(axis=1), minlength=sessions.size).astype(np.int64)
                at = OFFSETS[firsts.name]
                counts[:, at] = sessions.ravel() * SESSION - worse
                counts[:, at + 1] = worse
        return Counted(rows=sessions * SESSION, counts=counts.reshape(count, slices, WIDTH))

    def _bins(self, truth: Truth, level: float, kind: NDArray[np.int64], sessions: int) -> NDArray[np.integer]:
        """[sessions, rows of a session]"""
        name, rhythm = truth.column.name, self._shape.rhythm
        if truth.column.measure is Measure.RATE and self._sessions is Sessions.ANSWERS:
            return self._copied(_rates(name, rhythm, level)[kind])
        mine = self._rng.integers(0, FINE, (sessions, SESSION), dtype=np.uint16)
        start = (kind * LEVELS + self._rng.integers(0, LEVELS, sessions)) * FINE
        return _table(name, rhythm, level).take(start[:, None] + mine)

    def _copied(self, rate: Numbers) -> NDArray[np.integer]:
        """Each row takes its session's answer with probability sqrt(ICC), else one of its own."""
        shared = self._rng.random(len(rate), dtype=np.float32) < rate
        own = self._rng.random((len(rate), SESSION), dtype=np.float32)
        copies = float(np.sqrt(ICC))
        return np.where(own < copies, shared[:, None], own < (copies + (1 - copies) * rate)[:, None]).astype(np.uint8)


def _levels(truth: Truth, rhythm: Rhythm, level: float) -> Numbers:
    """[48]: the normal scale's level by kind of day and hour."""
    return np.asarray(level + truth.swing * np.asarray(rhythm.level) + truth.weekend * (np.arange(48) // 24))


@lru_cache(maxsize=256)
def _rates(name: str, rhythm: Rhythm, level: float) -> Numbers:
    truth = BY_NAME[name]
    return np.asarray(ndtr(_levels(truth, rhythm, level) - truth.cuts[0]))


@lru_cache(maxsize=256)
def _table(name: str, rhythm: Rhythm, level: float) -> NDArray[np.uint8]:
    """Bins by [48 kinds of hour, levels of a session, fine steps of a row], flattened."""
    truth = BY_NAME[name]
    middles = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    shared = middles / middles.std() * np.sqrt(ICC)
    own = ndtri((np.arange(FINE) + 0.5) / FINE) * np.sqrt(1 - ICC)
    held = _levels(truth, rhythm, level)[:, None, None] + shared[None, :, None] + own[None, None, :]
    return np.searchsorted(np.asarray(truth.cuts), held).astype(np.uint8).ravel()

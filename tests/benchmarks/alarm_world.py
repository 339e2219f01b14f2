"""A made-up workload whose truth is known: 200 slices, 10 columns, days and weekends, bursts, sessions, promotions.

Beside the ten stand the firsts of two of them, counted from the same rows as the recorder counts them.

Rows are drawn one by one and counted at once. Rows of one session share a disposition: of numbers and names a normal one with
intra-class correlation 0.2; a rate's rows take their session's own answer with probability sqrt(0.2), which gives the answers
themselves a correlation of 0.2 (``Sessions.ANSWERS``), or follow a shared disposition like numbers (``Sessions.DISPOSITION``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from flywheel.drift.seasons import is_weekend
from flywheel.traffic.column import Column, Family, Measure

ROWS_AN_HOUR = 20_000
SLICES = 200
SESSION = 8
ICC = 0.2
LEVELS = 16  # of a session's disposition
FINE = 4096  # of a row's own part
BINS = 20
BURSTS = 0.02  # of the hours hold three times their rows
FIRST_DAY = 19_999 - (19_999 + 3) % 7  # a Monday
WEIGHTS = 1 / np.arange(1, SLICES + 1)
SHARES = WEIGHTS / WEIGHTS.sum()
NAMES = tuple(f"slice={rank}" for rank in range(1, SLICES + 1))
LARGE, SMALL = 5, 59  # 567 and 57 rows an hour
PROTECTED = tuple(NAMES[rank] for rank in (19, 39, SMALL, 79, 99))

_NUMBER = tuple(ndtri(np.arange(1, BINS) / BINS))
_NAME = tuple(ndtri(np.cumsum([0.35, 0.25, 0.2, 0.12])))


class Sessions(StrEnum):
    """What the rows of a session have in common."""

    ANSWERS = "answers"
    DISPOSITION = "disposition"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One column: its cuts on a normal scale, how far it swings by day and on weekends, in sigma."""

    column: Column
    cuts: tuple[float, ...]
    swing: float
    weekend: float = 0.0


def _column(
    name: str, family: Family, measure: Measure, cuts: tuple[float, ...], swing: float, weekend: float = 0.0, worse: str = ""
) -> Truth:
    names = ("no", "yes") if measure is Measure.RATE else tuple(f"n{place}" for place in range(len(cuts) + 1))
    lines = cuts if measure is Measure.NUMBER else ()
    column = Column(name=name, family=family, measure=measure, lines=lines, names=() if lines else names, worse=worse)
    return Truth(column=column, cuts=cuts, swing=swing, weekend=weekend)


def _rate(share: float) -> tuple[float, ...]:
    return (float(-ndtri(share)),)


TRUTHS = (
    _column("prompt_length", Family.INPUT, Measure.NUMBER, _NUMBER, 0.2, 0.1),
    _column("turns", Family.INPUT, Measure.NUMBER, _NUMBER, 0.1, 0.1),
    _column("rarity", Family.INPUT, Measure.NUMBER, _NUMBER, 0.1),
    _column("language", Family.INPUT, Measure.NAME, _NAME, 0.1, 0.05),
    _column("attachment", Family.INPUT, Measure.RATE, _rate(0.10), 0.1, 0.05),
    _column("answer_length", Family.OUTPUT, Measure.NUMBER, _NUMBER, 0.1, 0.1),
    _column("confidence", Family.OUTPUT, Measure.NUMBER, _NUMBER, 0.1),
    _column("tool", Family.OUTPUT, Measure.NAME, _NAME, 0.1),
    _column("refusal", Family.OUTPUT, Measure.RATE, _rate(0.03), 0.1, worse="yes"),
    _column("bad_format", Family.OUTPUT, Measure.RATE, _rate(0.02), 0.1, worse="yes"),
)
BY_NAME: Mapping[str, Truth] = {truth.column.name: truth for truth in TRUTHS}
FIRSTS = {
    truth.column.name: replace(truth.column, name=f"first_{truth.column.name}", first_of=truth.column.name)
    for truth in TRUTHS
    if truth.column.worse
}
"""Of each rate that only gets worse: the column of each session's first."""
INPUTS = tuple(truth.column for truth in TRUTHS if truth.column.family is Family.INPUT)
OUTPUTS = (*(truth.column for truth in TRUTHS if truth.column.family is Family.OUTPUT), *FIRSTS.values())

Hourly = dict[str, NDArray[np.int64]]
"""column -> [hours, slices, bins]"""


class World:
    """Days in a row. ``version`` of a day's champion moves the output columns.

    ``slices`` limits what is drawn; ``steady`` keeps the mean volume.
    """

    def __init__(
        self, *, seed: int, sessions: Sessions = Sessions.ANSWERS, slices: NDArray[np.intp] | None = None, steady: bool = False
    ) -> None:
        self._chance = np.random.default_rng(seed)
        self._sessions, self._steady = sessions, steady
        self._shares = SHARES if slices is None else SHARES[slices]

    def hours(
        self, first: int, count: int, *, version: int = 0, columns: tuple[str, ...] | None = None, moved: Mapping[str, float] | None = None
    ) -> Hourly:
        """Counts of ``count`` hours. ``moved``: column -> how far its level lies from the usual, in sigma of the normal scale."""
        hours = first + np.arange(count)
        sessions = self._chance.poisson(self._volume(hours)[:, None] * self._shares / SESSION)
        cell = np.repeat(np.arange(sessions.size), sessions.ravel())
        hour = cell // len(self._shares)
        found: Hourly = {}
        for truth in TRUTHS:
            name = truth.column.name
            firsts = FIRSTS.get(name)
            if columns is not None and name not in columns and (firsts is None or firsts.name not in columns):
                continue
            level = (moved or {}).get(name, 0.0) + (_VERSIONS[version % len(_VERSIONS)] if truth.column.family is Family.OUTPUT else 0.0)
            kind = is_weekend(hours) * 24 + hours % 24
            if truth.column.measure is Measure.RATE and self._sessions is Sessions.ANSWERS:
                bins = self._copied(_rates(name, level)[kind][hour])
            else:
                mine = self._chance.integers(0, FINE, (len(cell), SESSION), dtype=np.uint16)
                start = (kind[hour] * LEVELS + self._chance.integers(0, LEVELS, len(cell))) * FINE
                bins = _table(name, level).take(start[:, None] + mine)
            width = len(truth.cuts) + 1
            flat = np.bincount((cell[:, None] * width + bins).ravel(), minlength=sessions.size * width)
            found[name] = flat.reshape(count, len(self._shares), width)
            if firsts is not None:
                first = np.bincount(cell, weights=bins.any(axis=1), minlength=sessions.size).astype(np.int64)
                rows = found[name].sum(axis=-1)
                found[firsts.name] = np.stack([rows - first.reshape(rows.shape), first.reshape(rows.shape)], axis=-1)
        return found

    def _volume(self, hours: NDArray[np.int64]) -> NDArray[np.float64]:
        day = 1 + 0.4 * np.sin(2 * np.pi * (hours % 24 - 9) / 24)
        volume = ROWS_AN_HOUR * day * np.where(is_weekend(hours), 0.75, 1.1)
        if self._steady:
            return np.full(len(hours), float(ROWS_AN_HOUR))
        return np.asarray(volume * np.where(self._chance.random(len(hours)) < BURSTS, 3.0, 1.0))

    def _copied(self, rate: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Each row takes its session's answer with probability sqrt(ICC), else one of its own."""
        shared = self._chance.random(len(rate), dtype=np.float32) < rate
        own = self._chance.random((len(rate), SESSION), dtype=np.float32)
        copies = float(np.sqrt(ICC))
        return np.where(own < copies, shared[:, None], own < (copies + (1 - copies) * rate)[:, None])


_VERSIONS = (0.0, 0.15, -0.1, 0.25)


def _levels(truth: Truth, level: float) -> NDArray[np.float64]:
    """[48]: the normal scale's level by kind of day and hour."""
    kind = np.arange(48)
    moved: NDArray[np.float64] = level + truth.swing * np.sin(2 * np.pi * (kind % 24 - 6) / 24) + truth.weekend * (kind // 24)
    return moved


@lru_cache(maxsize=64)
def _rates(name: str, level: float) -> NDArray[np.float64]:
    truth = BY_NAME[name]
    return np.asarray(ndtr(_levels(truth, level) - truth.cuts[0]))


@lru_cache(maxsize=64)
def _table(name: str, level: float) -> NDArray[np.uint8]:
    """Bins by [48 kinds of hour, levels of a session, fine steps of a row], flattened."""
    truth = BY_NAME[name]
    middles = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    shared = middles / middles.std() * np.sqrt(ICC)
    own = ndtri((np.arange(FINE) + 0.5) / FINE) * np.sqrt(1 - ICC)
    held = _levels(truth, level)[:, None, None] + shared[None, :, None] + own[None, None, :]
    return np.searchsorted(np.asarray(truth.cuts), held).astype(np.uint8).ravel()

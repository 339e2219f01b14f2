"""What one would do without this project: one Evidently report per slice. The peer of ``bench_drift``."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from flywheel.traffic.column import Column, Measure


def seconds_a_slice(columns: Sequence[Column], before: Any, held: Any, *, slices: int, seed: int) -> tuple[float, int]:
    """Mean seconds of a drift report with Evidently's own preset, and on how many slices: chosen by chance, after one that warms up.

    The reference is cut to 5,000 rows a slice, which is in Evidently's favour; ours is judged against all of it.
    """
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [column.name for column in columns if column.measure is Measure.NUMBER]
    others = [column.name for column in columns if column.measure is not Measure.NUMBER]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=others)

    def rows(part: Any, at: int) -> pd.DataFrame:
        inside = np.flatnonzero(part.slice_of == at)[:5_000]
        frame = pd.DataFrame({name: np.asarray(part.values[name])[inside] for name in (*numbers, *others)})
        return frame.astype(dict.fromkeys(others, str))

    alive = [at for at in range(1, len(held.slices)) if (held.slice_of == at).sum() >= 30]
    chosen = np.random.default_rng(seed).choice(alive, slices + 1, replace=False)
    taken = []
    for at in chosen:
        begun = perf_counter()
        current, reference = (Dataset.from_pandas(rows(part, int(at)), data_definition=definition) for part in (held, before))
        Report([DataDriftPreset()], include_tests=True).run(current, reference).dict()
        taken.append(perf_counter() - begun)
    return float(np.mean(taken[1:])), slices

"""What counting and judging one window costs: 20,000 events, 200 slices, 10 columns, one window length.

Beside the figures stand a naive Evidently report per slice and the same arithmetic as bare numpy, both measured in this run. The
judging process is a process of its own: it says by itself what it imported and how much memory it took.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

import numpy as np

from flywheel.drift.evidence import verdicts
from flywheel.drift.judge import JudgedWindow, PreparedReference, judge_window, prepare_reference
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.thresholds import DriftPolicy
from flywheel.ids import BASE, EVERYTHING, Person, WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.counts import CountMatrix, WindowCounts, added, count_rows

EVENTS, SLICES, SEED = 20_000, 200, 20_261
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINES = tuple(float(line) for line in np.unique(np.round(1.12 ** np.arange(108))))
SHARES = tuple(step / 50 for step in range(1, 51))
NAMES = tuple("abcde")
YES_NO = ("no", "yes")
COLUMNS = (
    *(Column(name=f"length_{at}", family=Family.INPUT, measure=Measure.NUMBER, edges=LINES) for at in range(4)),
    *(Column(name=f"share_{at}", family=Family.OUTPUT, measure=Measure.NUMBER, edges=SHARES) for at in range(2)),
    *(Column(name=f"kind_{at}", family=Family.INPUT, measure=Measure.NAME, names=NAMES) for at in range(2)),
    *(Column(name=name, family=Family.OUTPUT, measure=Measure.RATE, names=YES_NO, worse="yes") for name in ("refusal", "error")),
)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Raw values [events] per column, names as texts, and which slice each event is of."""

    values: dict[str, np.ndarray | list[str]]
    slice_of: np.ndarray
    slices: tuple[str, ...]
    slices_of_rows: list[tuple[str, str]]


def traffic(events: int, *, slices: int = SLICES, seed: int = SEED) -> Traffic:
    """Slices by a zipf law, columns as requests and answers have them."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, slices + 1)
    values: dict[str, np.ndarray | list[str]] = {}
    for column in COLUMNS:
        if column.measure is Measure.RATE:
            values[column.name] = (rng.random(events) < 0.03).astype(np.float64)
        elif column.measure is Measure.NAME:
            values[column.name] = [NAMES[at] for at in rng.integers(0, len(NAMES), events).tolist()]
        elif column.edges is SHARES:
            values[column.name] = rng.beta(2, 5, events)
        else:
            values[column.name] = rng.lognormal(4, 0.8, events)
    names = (EVERYTHING, *(f"tenant={at}" for at in range(slices)))
    slice_of = 1 + rng.choice(slices, events, p=weights / weights.sum())
    return Traffic(values=values, slice_of=slice_of, slices=names, slices_of_rows=[(EVERYTHING, names[at]) for at in slice_of.tolist()])


def counted(held: Traffic) -> CountMatrix:
    """From raw values to counts, by the function that the recorder calls."""
    return count_rows(values=held.values, slices=held.slices_of_rows, columns=COLUMNS)


def counted_in_batches(*parts: Traffic) -> CountMatrix:
    """As panes are: each batch is counted alone, and the counts are added."""
    return added(*(counted(part) for part in parts))


def batches(number: int, *, seed: int) -> list[Traffic]:
    return [traffic(EVENTS, seed=seed + at) for at in range(number)]


def prepared_from(matrix: CountMatrix) -> PreparedReference:
    reference = Reference(
        id="reference-of-the-benchmark",
        workload=WorkloadId("bench"),
        adapter=BASE,
        start=NOON - timedelta(days=28),
        end=NOON,
        maturity=Maturity.POOLED_DAYS,
        pinned_by=Person("benchmark"),
        pinned_at=NOON,
        counts=matrix,
    )
    return prepare_reference(reference, COLUMNS)


def judged(matrix: CountMatrix, reference: PreparedReference) -> JudgedWindow:
    window = WindowCounts(workload=WorkloadId("bench"), start=NOON, end=NOON + timedelta(hours=1), matrix=matrix)
    return judge_window(window=window, reference=reference, columns=COLUMNS, policy=DriftPolicy())


def written(found: JudgedWindow, *, every: bool) -> int:
    """Verdicts in words for what is kept of a longer window, or for every cell, as the ledger keeps the shortest."""
    return len(verdicts(found, now=NOON + timedelta(hours=1), cells=None if every else found.worth_keeping))


def seconds(work: Callable[[], object], *, times: int) -> list[float]:
    """Of each of so many runs, after one that is thrown away."""
    work()
    taken = []
    for _ in range(times):
        before = perf_counter()
        work()
        taken.append(perf_counter() - before)
    return taken


def interleaved(*works: Callable[[], object], times: int) -> list[list[float]]:
    """Each in turn, so that what else the machine does falls on all alike."""
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(times):
        for held, work in zip(taken, works, strict=True):
            before = perf_counter()
            work()
            held.append(perf_counter() - before)
    return taken


class Floor:
    """The same arithmetic with nothing around it: no checks, no statuses, columns and edges known beforehand."""

    def __init__(self, before: Traffic) -> None:
        self.numbers = [column.name for column in COLUMNS if column.measure is Measure.NUMBER]
        self.names = [column.name for column in COLUMNS if column.measure is Measure.NAME]
        self.rates = [column.name for column in COLUMNS if column.measure is Measure.RATE]
        self.edges = {name: np.quantile(before.values[name], np.arange(1, 20) / 20) for name in self.numbers}
        self._places: dict[tuple[int, str], np.ndarray] = {}
        self.before = self.count(before)

    def count(self, held: Traffic) -> dict[str, np.ndarray]:
        """Names are places already: nothing has to be looked up."""
        counts = {}
        for name in [*self.numbers, *self.names, *self.rates]:
            bins = np.searchsorted(self.edges[name], held.values[name], side="right") if name in self.edges else self.places(held, name)
            width = 20 if name in self.edges else 5 if name in self.names else 2
            by_slice = np.bincount(held.slice_of * width + bins, minlength=len(held.slices) * width).reshape(-1, width)
            by_slice[0] = by_slice.sum(axis=0)
            counts[name] = by_slice
        return counts

    def places(self, held: Traffic, name: str) -> np.ndarray:
        key = (id(held), name)
        if key not in self._places:
            values = held.values[name]
            self._places[key] = np.array([NAMES.index(value) for value in values] if name in self.names else values, dtype=np.intp)
        return self._places[key]

    def judge(self, counts: dict[str, np.ndarray]) -> list[np.ndarray]:
        from scipy.special import chdtrc, gammaln, kolmogorov

        now, before = (np.stack([held[name] for name in self.numbers], axis=1) for held in (counts, self.before))
        n, m = np.maximum(1, now.sum(axis=-1)), np.maximum(1, before.sum(axis=-1))
        distance = np.abs(now.cumsum(axis=-1) / n[..., None] - before.cumsum(axis=-1) / m[..., None]).max(axis=-1)
        p_numbers = kolmogorov(distance * np.sqrt(n * m / (n + m)))
        now, before = (np.stack([held[name] for name in self.names], axis=1) for held in (counts, self.before))
        n, m = np.maximum(1, now.sum(axis=-1, keepdims=True)), np.maximum(1, before.sum(axis=-1, keepdims=True))
        p_names = chdtrc(4, ((now * m - before * n) ** 2 / (n * m * np.maximum(1, now + before))).sum(axis=-1))
        now, before = (np.stack([held[name] for name in self.rates], axis=1) for held in (counts, self.before))
        x, n, k, m = now[..., 1], now.sum(axis=-1), before[..., 1], before.sum(axis=-1)
        x, k, n, m = (part.astype(np.float64) for part in (x, k, n, m))

        def chosen(of: np.ndarray, taken: np.ndarray) -> np.ndarray:
            return gammaln(of + 1) - gammaln(taken + 1) - gammaln(of - taken + 1)

        at = x[..., None] + np.arange(64)
        both, size, rest = (part[..., None] for part in (x + k, n, m))
        ratios = np.maximum(0, both - at) * np.maximum(0, size - at) / ((at + 1) * np.maximum(1, rest - both + at + 1))
        first = np.exp(chosen(x + k, x) + chosen(n + m - x - k, n - x) - chosen(n + m, n))
        p_rates = first * (0.5 + np.cumprod(ratios, axis=-1).sum(axis=-1))
        return [p_numbers, p_names, p_rates]


def in_a_process_of_its_own() -> dict[str, float]:
    """Counts and judges, and says what that took: peak memory, and whether Evidently, pandas or matplotlib was imported."""
    program = (
        "import json, sys\n"
        "from tests.benchmarks import bench_drift as bench\n"
        "reference = bench.prepared_from(bench.counted_in_batches(*(bench.traffic(bench.EVENTS, seed=at) for at in range(20))))\n"
        "held = bench.traffic(bench.EVENTS, seed=7)\n"
        "for _ in range(3):\n"
        "    bench.written(bench.judged(bench.counted(held), reference), every=True)\n"
        "with open('/proc/self/status') as status:\n"
        "    peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))\n"
        "found = [name for name in ('evidently', 'pandas', 'matplotlib', 'scipy.stats') if name in sys.modules]\n"
        "print(json.dumps({'peak': peak / 1024, 'imported': found}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    from rich.progress import Progress

    from tests.benchmarks.drift_evidently import seconds_a_slice
    from tests.benchmarks.figures import Figure, at_least, at_most, report, soak
    from tests.benchmarks.pictures import Line, draw

    times = 201 if soak() else 41
    with Progress(transient=True) as progress:
        task = progress.add_task("one window", total=5)
        before, held = traffic(20 * EVENTS), traffic(EVENTS, seed=7)
        reference, floor = prepared_from(counted(before)), Floor(before)

        def ours() -> JudgedWindow:
            found = judged(counted(held), reference)
            written(found, every=False)
            return found

        whole, bare, words = interleaved(ours, lambda: floor.judge(floor.count(held)), lambda: written(ours(), every=True), times=times)
        pinning = seconds(lambda: prepared_from(counted(before)), times=3)
        progress.update(task, advance=1, description="memory")
        alone = in_a_process_of_its_own()
        progress.update(task, advance=1, description="by slices")
        by_slices, many = [], ([50, 100, 200, 400, 800, 1_600] if soak() else [100, 200, 400, 800])
        for slices in many:
            matrix = counted(traffic(EVENTS, slices=slices))
            of_its_own = prepared_from(matrix)
            by_slices.append(median(seconds(lambda m=matrix, r=of_its_own: judged(m, r), times=times // 4)))
        progress.update(task, advance=1, description="by traffic")
        counting, judging, volumes = [], [], [1, 10, 100]
        for volume in volumes:
            more = batches(volume, seed=1_000)
            matrix = counted_in_batches(*more)
            counting.append(median(seconds(lambda m=more: counted_in_batches(*m), times=5 if volume == 100 else 11)))
            judging.append(median(seconds(lambda m=matrix: judged(m, reference), times=times // 2)))
        progress.update(task, advance=1, description="Evidently, slice by slice")
        naive, reports = seconds_a_slice(COLUMNS, before, held, slices=12 if soak() else 4, seed=SEED)
        progress.update(task, advance=1)
    ratio = SLICES * naive / median(whole)
    slope = float(np.polyfit(np.log(many[1:]), np.log(by_slices[1:]), 1)[0])
    pairs = [one / other for one, other in zip(whole, bare, strict=True)]
    figures = [
        at_most(
            25,
            name=f"counting and judging {EVENTS:,} events, {SLICES} slices, {len(COLUMNS)} columns, at the median",
            value=1e3 * median(whole),
            unit="ms",
            peer=f"nine of ten runs under {1e3 * float(np.quantile(whole, 0.9)):.1f} ms",
            n=times,
        ),
        at_least(
            3_000,
            name="a naive Evidently report per slice takes so many times as long",
            value=ratio,
            unit="times",
            peer=f"{naive:.2f} s a slice, measured on {reports} slices and taken for {SLICES}",
        ),
        at_most(
            3,
            name="against the same arithmetic in bare numpy, run by run at the median",
            value=median(pairs),
            unit="times",
            peer=f"bare numpy {1e3 * median(bare):.1f} ms",
            n=times,
        ),
        at_most(150, name="peak memory of a process that counts and judges", value=float(alone["peak"]), unit="MB"),
        at_most(
            0,
            name="libraries of reports that it imported",
            value=float(len(alone["imported"])),  # type: ignore[arg-type]
            unit="of Evidently, pandas, matplotlib, scipy.stats",
        ),
        at_most(
            1.1,
            name=f"judging grows with slices by the power (of {many[1]} to {many[-1]}; 1 is linear)",
            value=slope,
            unit="",
            peer=", ".join(f"{at}: {1e3 * taken:.1f} ms" for at, taken in zip(many, by_slices, strict=True)),
        ),
        at_most(
            2,
            name="judging 100 times the traffic takes so many times as long",
            value=judging[2] / judging[0],
            unit="times",
            peer=", ".join(f"{at}x: {1e3 * taken:.1f} ms" for at, taken in zip(volumes, judging, strict=True)),
        ),
        at_most(
            120,
            name="counting 100 times the traffic takes so many times as long",
            value=counting[2] / counting[0],
            unit="times",
            peer=", ".join(f"{at}x: {1e3 * taken:.1f} ms" for at, taken in zip(volumes, counting, strict=True)),
            reason="at 100 times the arrays are hundreds of MB, which no cache holds",
        ),
        Figure(name="counting alone", value=1e9 * counting[0] / EVENTS, unit="ns an event"),
        Figure(
            name="with a verdict in words and its evidence for every cell",
            value=1e3 * median(words),
            unit="ms",
            peer=f"{(SLICES + 1) * len(COLUMNS):,} verdicts, as the ledger keeps them",
        ),
        Figure(name="counting and laying out a reference of 400,000 events, once", value=1e3 * median(pinning), unit="ms"),
    ]
    report("drift", figures, seeds=[SEED, 7, 1_000])
    draw(
        "drift-cost",
        title="Judging one window costs by slices, not by traffic",
        across="slices, or thousands of events an hour",
        up="milliseconds",
        lines={
            "judging, by slices (20,000 events)": Line(x=many, y=[1e3 * taken for taken in by_slices]),
            "judging, by thousands of events (200 slices)": Line(x=[20 * at for at in volumes], y=[1e3 * taken for taken in judging]),
            "counting, by thousands of events": Line(x=[20 * at for at in volumes], y=[1e3 * taken for taken in counting]),
        },
        logarithmic=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

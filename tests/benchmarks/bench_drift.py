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

from flywheel.drift.judged_columns import Judged, in_words, judge_table
from flywheel.drift.limits import Limits, limits_for
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.stated import DriftPolicy
from flywheel.drift.window_pass import Pinned, lay_out
from flywheel.ids import BASE, EVERYTHING, Person, WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.counting import Bins, bins_of, count_events
from flywheel.windows.pane import WindowCounts
from flywheel.windows.table import CountTable, tally_of

EVENTS, SLICES, SEED = 20_000, 200, 20_261
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINES = tuple(float(line) for line in np.unique(np.round(1.12 ** np.arange(108))))
SHARES = tuple(step / 50 for step in range(1, 51))
NAMES = tuple("abcde")
YES_NO = ("no", "yes")
COLUMNS = (
    *(Column(name=f"length_{at}", family=Family.INPUT, measure=Measure.NUMBER, lines=LINES) for at in range(4)),
    *(Column(name=f"share_{at}", family=Family.OUTPUT, measure=Measure.NUMBER, lines=SHARES) for at in range(2)),
    *(Column(name=f"kind_{at}", family=Family.INPUT, measure=Measure.NAME, names=NAMES) for at in range(2)),
    *(Column(name=name, family=Family.OUTPUT, measure=Measure.RATE, names=YES_NO, worse="yes") for name in ("refusal", "error")),
)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Raw values [events] per column, and which slice each event is of."""

    values: dict[str, np.ndarray]
    slice_of: np.ndarray
    slices: tuple[str, ...]


def traffic(events: int, *, slices: int = SLICES, seed: int = SEED) -> Traffic:
    """Slices by a zipf law, columns as requests and answers have them."""
    chance = np.random.default_rng(seed)
    weights = 1 / np.arange(1, slices + 1)
    values: dict[str, np.ndarray] = {}
    for column in COLUMNS:
        if column.measure is Measure.RATE:
            values[column.name] = (chance.random(events) < 0.03).astype(np.float64)
        elif column.measure is Measure.NAME:
            values[column.name] = chance.integers(0, len(NAMES), events).astype(np.float64)
        elif column.lines is SHARES:
            values[column.name] = chance.beta(2, 5, events)
        else:
            values[column.name] = chance.lognormal(4, 0.8, events)
    names = (EVERYTHING, *(f"tenant={at}" for at in range(slices)))
    return Traffic(values=values, slice_of=1 + chance.choice(slices, events, p=weights / weights.sum()), slices=names)


def counted(held: Traffic) -> CountTable:
    """From raw values to counts: what the pane's writer does with a batch."""
    bins: dict[str, Bins] = {column.name: bins_of(column, held.values[column.name]) for column in COLUMNS}
    membership = np.stack([np.zeros(len(held.slice_of), dtype=np.intp), held.slice_of], axis=1)
    return count_events(values=bins, membership=membership, slices=held.slices, columns=COLUMNS)


def counted_in_batches(*parts: Traffic) -> CountTable:
    """As panes are: each batch is counted alone, and the counts are added."""
    tables = [counted(part) for part in parts]
    return CountTable(
        slices=tables[0].slices,
        columns=COLUMNS,
        counts={column.name: sum((table.counts[column.name] for table in tables[1:]), tables[0].counts[column.name]) for column in COLUMNS},
        rows=sum((table.rows for table in tables[1:]), tables[0].rows),
    )


def batches(number: int, *, seed: int) -> list[Traffic]:
    return [traffic(EVENTS, seed=seed + at) for at in range(number)]


def pinned_from(table: CountTable) -> Pinned:
    tally = tally_of(table)
    start, end = NOON - timedelta(days=28), NOON
    counts = WindowCounts(workload=WorkloadId("bench"), start=start, end=end, counts=tally.counts, rows=tally.rows)
    reference = Reference(
        id="reference-of-the-benchmark",
        workload=counts.workload,
        adapter=BASE,
        start=start,
        end=end,
        maturity=Maturity.POOLED_DAYS,
        pinned_by=Person("benchmark"),
        pinned_at=end,
        counts=counts,
        meta={},
    )
    return lay_out(reference, COLUMNS)


def limits_of(slices: tuple[str, ...]) -> Limits:
    return limits_for(policy=DriftPolicy(), thresholds=None, length=timedelta(hours=1), slices=slices, columns=COLUMNS)


def written(judged: Judged, *, every: bool) -> int:
    """Verdicts in words for what drifts, as an alert needs them, or for every cell, as the ledger keeps them."""
    hour = timedelta(hours=1)
    cells = None if every else judged.drifting
    return len(in_words(judged, workload=WorkloadId("bench"), start=NOON, end=NOON + hour, now=NOON + hour, cells=cells))


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
        self.before = self.count(before)

    def count(self, held: Traffic) -> dict[str, np.ndarray]:
        counts = {}
        for name in [*self.numbers, *self.names, *self.rates]:
            bins = (
                np.searchsorted(self.edges[name], held.values[name], side="right") if name in self.edges else held.values[name].astype(int)
            )
            width = 20 if name in self.edges else 5 if name in self.names else 2
            by_slice = np.bincount(held.slice_of * width + bins, minlength=len(held.slices) * width).reshape(-1, width)
            by_slice[0] = by_slice.sum(axis=0)
            counts[name] = by_slice
        return counts

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
        "pinned = bench.pinned_from(bench.counted_in_batches(*(bench.traffic(bench.EVENTS, seed=at) for at in range(20))))\n"
        "held = bench.traffic(bench.EVENTS, seed=7)\n"
        "for _ in range(3):\n"
        "    table = bench.counted(held)\n"
        "    bench.written(bench.judge_table(window=table, pinned=pinned, limits=bench.limits_of(table.slices)), every=True)\n"
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
        pinned, floor = pinned_from(counted(before)), Floor(before)
        limits = limits_of(held.slices)

        def ours() -> Judged:
            judged = judge_table(window=counted(held), pinned=pinned, limits=limits_of(held.slices))
            written(judged, every=False)
            return judged

        whole, bare, words = interleaved(ours, lambda: floor.judge(floor.count(held)), lambda: written(ours(), every=True), times=times)
        pinning = seconds(lambda: pinned_from(counted(before)), times=3)
        progress.update(task, advance=1, description="memory")
        alone = in_a_process_of_its_own()
        progress.update(task, advance=1, description="by slices")
        by_slices, many = [], ([50, 100, 200, 400, 800, 1_600] if soak() else [100, 200, 400, 800])
        for slices in many:
            table = counted(traffic(EVENTS, slices=slices))
            laid_out, around = pinned_from(table), limits_of(table.slices)
            by_slices.append(
                median(seconds(lambda t=table, p=laid_out, a=around: judge_table(window=t, pinned=p, limits=a), times=times // 4))
            )
        progress.update(task, advance=1, description="by traffic")
        counting, judging, volumes = [], [], [1, 10, 100]
        for volume in volumes:
            more = batches(volume, seed=1_000)
            table = counted_in_batches(*more)
            counting.append(median(seconds(lambda m=more: counted_in_batches(*m), times=5 if volume == 100 else 11)))
            judging.append(median(seconds(lambda t=table: judge_table(window=t, pinned=pinned, limits=limits), times=times // 2)))
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

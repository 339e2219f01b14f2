"""How often is the gate wrong, and how often does it pass a better challenger? ``python -m tests.benchmarks.bench_gate_errors``

Golden sets of 50 to 1,000 items with one, three or five protected slices; a champion that is correct on 80 %. Beside every rate of
wrong passes stands the rate at which a challenger ten points better passes the same gate.
"""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.progress import Progress

from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import AxisPolicy, Role
from flywheel.gate.axis_order import FORMAT, GENERAL, SAFETY, slice_axis
from flywheel.gate.exact_not_worse import shown_not_worse
from flywheel.gate.power import Discordance, chance_to_pass, predict
from tests.benchmarks.figures import Figure, at_least, at_most, report, soak
from tests.benchmarks.gate_simulation import Part, Rates, golden, passed, passed_by_entity, policies
from tests.benchmarks.pictures import Line, draw

SEED = 20_260_301
GATES = 20_000 if soak() else 2_000
ENTITY_GATES = 20_000 if soak() else 300
SIZES, SLICES = (50, 100, 300, 1_000), (1, 3, 5)
WORSE: dict[str, Rates] = {"8 lost, 3 won": (0.08, 0.03), "5 lost, 0 won": (0.05, 0.0), "15 lost, 10 won": (0.15, 0.10)}
EQUAL: dict[str, Rates] = {"5 lost, 5 won": (0.05, 0.05), "2 lost, 2 won": (0.02, 0.02)}
BETTER_5, BETTER_10 = (0.03, 0.08), (0.03, 0.13)
ANSWERS, ICC = 5, 0.3
POWER_GOALS = {(300, 1): 65, (300, 3): 30, (1_000, 1): 99, (1_000, 3): 99, (1_000, 5): 70}

Cell = tuple[int, int]
Shares = dict[Cell, float]


class Cells:
    """Runs one cell after another, each with a seed that follows from its place, so that a cell can be run alone."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._task, self._at = progress, progress.add_task("gates", total=None), 0

    def seed(self) -> np.random.Generator:
        """The next cell's."""
        self._at += 1
        self._progress.advance(self._task)
        return np.random.default_rng([SEED, self._at])

    def share(self, parts: Sequence[Part], *, attempts: Attempts | None = None) -> float:
        """Of gates that pass."""
        return float(passed(parts, gates=GATES, rng=self.seed(), attempts=attempts).mean())

    def everywhere(self, *, rest: Rates, first: Rates | None = None) -> Shares:
        """Every golden size with every number of slices."""
        return {(size, slices): self.share(golden(size, slices, rest=rest, first=first)) for size in SIZES for slices in SLICES}


def _worst(shares: dict[str, Shares]) -> tuple[float, str, Cell]:
    value, kind, cell = max((share, kind, cell) for kind, found in shares.items() for cell, share in found.items())
    return 100 * float(value), f"worst of {sum(map(len, shares.values()))} cells: {kind}, {cell[0]} items, {cell[1]} slices", cell


def _errors(cells: Cells) -> tuple[list[Figure], dict[str, Shares], dict[str, Shares], Shares]:
    worse = {kind: cells.everywhere(rest=BETTER_5, first=rates) for kind, rates in WORSE.items()}
    equal = {kind: cells.everywhere(rest=rates) for kind, rates in EQUAL.items()}
    better = cells.everywhere(rest=BETTER_10)
    figures = []
    for kind, found in worse.items():
        value, where, cell = _worst({kind: found})
        figures.append(
            at_most(
                1, name=f"(a) one slice 5 points worse ({kind}), the rest 5 better: passes", value=value, unit="%", n=GATES,
                peer=f"{where}; +10 passes there in {better[cell]:.0%}",
            )
        )  # fmt: skip
    for kind, found in equal.items():
        value, where, cell = _worst({kind: found})
        figures.append(
            at_most(
                2.5, name=f"(b) equal everywhere ({kind}): passes", value=value, unit="%", n=GATES,
                peer=f"{where}; +10 passes there in {better[cell]:.0%}",
            )
        )  # fmt: skip
    return figures, worse, equal, better


def _exact_error() -> Figure:
    """Not simulated: the axis' passing outcomes are listed, and their chance is summed for every mix of wins and losses."""
    policy = AxisPolicy(name="slice", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)
    worst, at = 0.0, ""
    for n in (60, 100, 150, 300):
        for lost in np.linspace(0.05, 0.5, 46 if soak() else 8):
            chance = chance_to_pass(policy=policy, n=n, discordance=Discordance(losses=float(lost), wins=float(lost) - 0.05))
            if chance > worst:
                worst, at = float(chance), f"{n} items, {lost:.0%} lost"
    name = "(a) one axis alone, exactly 5 points worse, any mix: passes (summed, not simulated)"
    return at_most(1, name=name, value=100 * worst, unit="%", peer=f"worst at {at}")


def _stratified(general: int, a_slice: int) -> list[Part]:
    parts = [Part(axis="", items=300, rates=BETTER_10)]
    parts += [Part(axis=slice_axis(name), items=a_slice, rates=BETTER_10, golden=False) for name in ("a", "b", "c")]
    elsewhere = {SAFETY: (300, (0.01, 0.01)), FORMAT: (300, (0.01, 0.01)), GENERAL: (general, (0.03, 0.03))}
    return parts + [Part(axis=axis, items=items, rates=rates, golden=False) for axis, (items, rates) in elsewhere.items()]


def _stratified_figures(cells: Cells) -> list[Figure]:
    figures = []
    for goal, general, a_slice in ((75, 300, 150), (85, 400, 250)):
        parts = _stratified(general, a_slice)
        entities = {part.axis or "golden": [str(at) for at in range(part.items)] for part in parts}
        predicted = predict(axes=list(policies(parts).values()), entities=entities).chance
        figures.append(
            at_least(
                goal, name=f"(d) +10, three slices of {a_slice}, golden, safety and format 300, general {general}: passes",
                value=100 * cells.share(parts), unit="%", n=GATES, peer=f"predicted before the run: {predicted:.1%}",
            )
        )  # fmt: skip
    return figures


def _attempts(cells: Cells) -> list[Figure]:
    """Four equal challengers against one champion; each is judged as one of four, or as the first, second, third, fourth."""
    parts = golden(1_000, 1, rest=(0.02, 0.02))
    planned, counted = np.zeros(GATES, dtype=bool), np.zeros(GATES, dtype=bool)
    for at in range(1, 5):
        planned |= passed(parts, gates=GATES, rng=cells.seed(), attempts=Attempts(challengers=at, planned_challengers=4))
        counted |= passed(parts, gates=GATES, rng=cells.seed(), attempts=Attempts(challengers=at))
    return [
        at_most(2.5, name="(b) four equal challengers, planned as four: any passes", value=100 * float(planned.mean()), unit="%", n=GATES),
        at_most(5.3, name="(b) four equal challengers, counted as they come: any passes", value=100 * float(counted.mean()), unit="%",
                n=GATES, peer="bound: 2.5 % * (1 + 1/2 + 1/3 + 1/4)"),
    ]  # fmt: skip


def _by_entity(cells: Cells) -> tuple[list[Figure], dict[str, Line]]:
    kinds: dict[str, tuple[Rates, Rates | None]] = {
        **{f"one slice 5 worse, {kind}": (BETTER_5, rates) for kind, rates in list(WORSE.items())[:2]},
        **{f"equal, {kind}": (rates, None) for kind, rates in EQUAL.items()},
        "+10 everywhere": (BETTER_10, None),
    }
    rates_of: dict[str, dict[Cell, tuple[float, float, float]]] = {}
    for kind, (rest, first) in kinds.items():
        rates_of[kind] = {}
        for size in SIZES:
            for slices in SLICES:
                if kind.startswith("+10") and size < 300:
                    continue
                found = _in_chunks(golden(size, slices, rest=rest, first=first), cells)
                rates_of[kind][size, slices] = (found[0], found[1], found[2])
    figures = []
    for letter, limit, start in (("a", 1.0, "one slice"), ("b", 2.5, "equal")):
        chosen = {kind: found for kind, found in rates_of.items() if kind.startswith(start)}
        value, where, cell = _worst({kind: {cell: rates[0] for cell, rates in found.items()} for kind, found in chosen.items()})
        naive = max(rates[1] for found in chosen.values() for rates in found.values())
        figures.append(
            at_most(
                limit, name=f"(e) five answers an entity, ICC 0.3: ({letter}) passes", value=value, unit="%", n=ENTITY_GATES,
                peer=f"{where}; taken as independent, the worst cell is {naive:.1%}",
            )
        )  # fmt: skip
    for cell in ((1_000, 1), (1_000, 3)):
        adjusted, naive, one = rates_of["+10 everywhere"][cell]
        figures.append(
            Figure(
                name=f"(e) power beside it: +10, 1,000 answers of 200 entities, {cell[1]} slices: passes",
                value=100 * adjusted,
                unit="%",
                n=ENTITY_GATES,
                peer=f"one answer an entity: {one:.1%}; taken as independent: {naive:.1%}",
            )
        )
    bad = rates_of["one slice 5 worse, 8 lost, 3 won"]
    picture = {
        name: Line(x=SIZES, y=[max(bad[size, slices][at] for slices in SLICES) for size in SIZES])
        for at, name in ((0, "by entity, as the gate does"), (1, "taken as independent"))
    }
    return figures, picture


def _in_chunks(parts: Sequence[Part], cells: Cells) -> np.ndarray:
    """Entities of 20,000 gates at once would fill the memory."""
    sums, done, chunk, rng = np.zeros(3), 0, 2_000, cells.seed()
    while done < ENTITY_GATES:
        now = min(chunk, ENTITY_GATES - done)
        found = passed_by_entity(parts, answers=ANSWERS, icc=ICC, gates=now, rng=rng)
        sums += [found.adjusted.sum(), found.as_if_independent.sum(), found.one_an_entity.sum()]
        done += now
    return np.asarray(sums / ENTITY_GATES)


def _pictures(worse: dict[str, Shares], equal: dict[str, Shares], better: Shares, entity: dict[str, Line]) -> None:
    def worst(found: dict[str, Shares], size: int) -> float:
        return max(shares[size, slices] for shares in found.values() for slices in SLICES)

    lines = {f"+10 everywhere, {slices} slices": Line(x=SIZES, y=[better[size, slices] for size in SIZES]) for slices in SLICES}
    lines["equal (worst cell)"] = Line(x=SIZES, y=[worst(equal, size) for size in SIZES])
    lines["one slice 5 worse (worst cell)"] = Line(x=SIZES, y=[worst(worse, size) for size in SIZES])
    draw("gate-passes", title="How often a gate passes", across="golden items", up="gates that pass", lines=lines,
         goals={"2.5 %": 0.025}, logarithmic=True, percent=True)  # fmt: skip
    policy = AxisPolicy(name="slice", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)
    truth = np.linspace(-0.11, 0.11, 23 if soak() else 12)
    chances = {
        f"{n} items": Line(
            x=[100 * float(d) for d in truth],
            y=[chance_to_pass(policy=policy, n=n, discordance=Discordance(losses=0.06 - d / 2, wins=0.06 + d / 2)) for d in truth],
        )
        for n in (60, 100, 150, 300)
    }
    draw("gate-not-worse", title="One axis with a margin of 5 points; 12 % of the items differ", across="true difference, points",
         up="axis passes", lines=chances, goals={"1 %": 0.01}, percent=True)  # fmt: skip
    draw("gate-entities", title="One slice 5 points worse, five answers to an entity (ICC 0.3)", across="golden answers",
         up="gates that pass", lines=entity, goals={"1 %": 0.01}, logarithmic=True, percent=True)  # fmt: skip


def main() -> None:
    """All of it."""
    assert shown_not_worse(n=103, wins=0, losses=0, margin=0.05, alpha=0.01)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        cells = Cells(progress)
        figures, worse, equal, better = _errors(cells)
        figures.insert(len(WORSE), _exact_error())
        for (size, slices), goal in POWER_GOALS.items():
            name, share = f"(c) +10 everywhere, {size} items, {slices} slices: passes", 100 * better[size, slices]
            figures.append(at_least(goal, name=name, value=share, unit="%", n=GATES))
        figures += _stratified_figures(cells) + _attempts(cells)
        entity_figures, picture = _by_entity(cells)
        figures += entity_figures
        _pictures(worse, equal, better, picture)
    report("gate-errors", figures, seeds=[SEED])


if __name__ == "__main__":
    main()

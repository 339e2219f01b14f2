"""How soon a bad canary is aborted, and how often a good one is.

``python -m tests.benchmarks.bench_canary``; FLYWHEEL_SOAK=1 for the full counts.

Sessions are simulated as counts per matched set, which is all that the guards weigh: the sets are those of ``set_ends`` and the evidence
is that of ``log_evidence``, with the alphas of the standard policy. One part is simulated session by session instead, with looks while
sessions are still going on.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track

from flywheel.rollout.guards import GuardPolicy
from flywheel.rollout.matched_sets import log_evidence, set_ends
from tests.benchmarks.figures import Figure, at_least, at_most, report, soak
from tests.benchmarks.pictures import Line, draw

SEED = 20261122
RUNS_OF_POWER = 20_000 if soak() else 1_500
RUNS_OF_CANARIES = 4_000 if soak() else 400
RUNS_IN_PROGRESS = 2_000 if soak() else 250
AT_ONCE = 250
SHARE = 0.05
CANARY_SESSIONS = 10_000
NEVER = np.inf
POLICY = GuardPolicy(protected=("large", "small"), informative=("corrected", "thumbs_down"))

Rates = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""How far a canary is through, 0 to 1, to the rate of bad sessions at that time: the same for both arms."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """``of_all``: the share of sessions that it speaks of. ``rate``: bad ones, when nothing is wrong."""

    name: str
    alpha: float
    rate: float
    of_all: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """A degradation that must be found in 95 % of canaries within so many sessions of the canary."""

    what: str
    good: float
    bad: float
    alpha: float
    within: int
    goal: float | None = 0.95
    share: float = SHARE


ALPHAS = POLICY.alphas
FOUND = (
    Found(what="format 98 -> 93 %", good=0.02, bad=0.07, alpha=ALPHAS.format, within=400),
    Found(what="format 95 -> 90 %", good=0.05, bad=0.10, alpha=ALPHAS.format, within=800),
    Found(what="format 90 -> 85 %", good=0.10, bad=0.15, alpha=ALPHAS.format, within=1_500),
    Found(what="errors 0.5 -> 5 %", good=0.005, bad=0.05, alpha=ALPHAS.errors, within=300),
)
SHOWN = (
    Found(what="format 98 -> 93 %, a quarter on the canary", good=0.02, bad=0.07, alpha=ALPHAS.format, within=400, share=0.25, goal=None),
    Found(what="format 98 -> 93 %, half on the canary", good=0.02, bad=0.07, alpha=ALPHAS.format, within=400, share=0.5, goal=None),
    Found(what="refusal 3 -> 8 %", good=0.03, bad=0.08, alpha=ALPHAS.refusal, within=800, goal=None),
    Found(what="format 98 -> 93 % in one of two protected slices", good=0.02, bad=0.07, alpha=ALPHAS.protected / 6, within=600, goal=None),
    Found(what="latency: 3 times as slow where 2 is allowed", good=0.1, bad=0.319, alpha=ALPHAS.latency, within=100, goal=None),
    Found(
        what="broken: 93 -> 40 % format, a third on the canary", good=0.07, bad=0.6, alpha=ALPHAS.format, within=25, share=0.34, goal=None
    ),
    Found(
        what="broken: 93 -> 40 % format, a third on the canary", good=0.07, bad=0.6, alpha=ALPHAS.format, within=40, share=0.34, goal=None
    ),
)
"""Slow is above the control's quantile 0.9; latencies are log-normal with sigma 0.5: at 1.5 times too slow, 31.9 % of sessions are."""

GUARDS = (
    Guard(name="errors", alpha=ALPHAS.errors, rate=0.005),
    Guard(name="format", alpha=ALPHAS.format, rate=0.02),
    Guard(name="refusal", alpha=ALPHAS.refusal, rate=0.03),
    Guard(name="latency", alpha=ALPHAS.latency, rate=0.10),
    *(
        Guard(name=f"{measure}[{name}]", alpha=ALPHAS.protected / 6, rate=rate, of_all=size)
        for name, size in (("large", 0.2), ("small", 0.02))
        for measure, rate in (("errors", 0.005), ("format", 0.02), ("refusal", 0.03))
    ),
    Guard(name="corrected", alpha=ALPHAS.informative / 2, rate=0.2, of_all=0.05),
    Guard(name="thumbs_down", alpha=ALPHAS.informative / 2, rate=0.5, of_all=0.02),
)
SESSION_OF = 8
ICC = 0.3


def main() -> None:
    rng = np.random.default_rng(SEED)
    figures = [*power(rng), *false_aborts(rng), *in_progress(rng), *by_request(rng)]
    report("canary", figures, seeds=[SEED])


# -- power ------------------------------------------------------------------------------------------------------------


def power(rng: np.random.Generator) -> Iterator[Figure]:
    """A session is one request."""
    lines = {}
    for one in track((*FOUND, *SHOWN), description="power"):
        after = np.concatenate([_aborted_after(one, runs, rng) for runs in _portions(RUNS_OF_POWER)])
        value = float((after <= one.within).mean())
        name = f"{one.what}: aborted within {one.within} canary sessions"
        peer = f"median {np.median(after):.0f}, alpha {one.alpha:.2g}, {one.share:.0%} on the canary"
        if one.goal is None:
            yield Figure(name=name, value=100 * value, unit="%", peer=peer, n=after.size)
            continue
        reason = "the test with the true odds known in advance finds 96 %; what is left is the price of not knowing them"
        yield at_least(100 * one.goal, name=name, value=100 * value, unit="%", peer=peer, n=after.size, reason=reason)
        at = np.unique(np.geomspace(20, 2_000, 40).astype(int))
        lines[one.what] = Line(x=at.tolist(), y=[float((after <= n).mean()) for n in at])
    draw(
        "canary-power",
        title="A bad canary is aborted: share of runs, at 5 % of the sessions",
        across="sessions on the canary",
        up="aborted",
        lines=lines,
        goals={"95 %": 0.95},
        logarithmic=True,
        percent=True,
    )


def _aborted_after(found: Found, runs: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[runs]: sessions of the canary when it was aborted; infinite when it was not."""
    longest = max(found.within, 2_000 if found.goal else 0)
    ends = set_ends(int(1.1 * longest / found.share) + 400)
    sessions = np.diff(ends, prepend=0)
    canary = rng.binomial(sessions, found.share, size=(runs, sessions.size))
    bad = rng.binomial(canary, found.bad)
    others_bad = rng.binomial(sessions - canary, found.good)
    over = log_evidence(canary=canary, sessions=sessions, canary_bad=bad, bad=bad + others_bad) >= np.log(1 / found.alpha)
    seen = np.cumsum(canary, axis=1)
    return np.where(over.any(axis=1), np.take_along_axis(seen, over.argmax(axis=1)[:, None], axis=1)[:, 0], NEVER)


# -- false aborts -----------------------------------------------------------------------------------------------------


def false_aborts(rng: np.random.Generator) -> Iterator[Figure]:
    """Whole canaries of 10,000 sessions beside a control that is exactly as good, all guards together."""
    lines = {}
    with Progress() as progress:
        task = progress.add_task("false aborts", total=len(_worlds()) * len(_portions(RUNS_OF_CANARIES)))
        for name, (share_at, rates_of) in _worlds().items():
            first: list[NDArray[np.float64]] = []
            for runs in _portions(RUNS_OF_CANARIES):
                per_guard = [_first_abort(guard, runs, share_at, rates_of(guard.rate), rng) for guard in GUARDS]
                first.append(np.min(per_guard, axis=0))
                progress.advance(task)
            at = np.concatenate(first)
            aborted = float(np.isfinite(at).mean())
            yield at_most(
                2.0,
                name=f"false aborts, {name}",
                value=100 * aborted,
                unit="%",
                peer=f"upper 95 % bound {_upper(aborted, at.size):.2f} %",
                n=at.size,
            )
            through = np.linspace(0.02, 1.0, 30)
            lines[name] = Line(x=(through * CANARY_SESSIONS).tolist(), y=[float((at <= one).mean()) for one in through])
    draw(
        "canary-false-aborts",
        title="A good canary is aborted: share of runs, twelve guards together",
        across="sessions on the canary",
        up="aborted so far",
        lines=lines,
        goals={"the budget: 2 %": 0.02},
        percent=True,
    )


def _worlds() -> Mapping[str, tuple[Rates, Callable[[float], Rates]]]:
    """Name to the canary's share and to what a guard's rate of bad sessions does, while the canary goes on."""

    def always(value: float) -> Rates:
        return lambda through: np.full_like(through, value)

    def falls(rate: float) -> Rates:
        return lambda through: np.where(through < 0.5, rate, rate + 0.05)

    def swings(rate: float) -> Rates:
        return lambda through: rate * (1 + 0.8 * np.sin(2 * np.pi * 10 * through))  # ten days

    def steps(through: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.select([through < 0.6, through < 0.9], [0.05, 0.25], 0.5)

    return {
        "nothing happens": (always(SHARE), always),
        "both arms fall 5 points at once": (always(SHARE), falls),
        "a daily rhythm": (always(SHARE), swings),
        "a daily rhythm, steps 5, 25, 50 %": (steps, swings),
        f"sessions of {SESSION_OF} at ICC {ICC:g}": (always(SHARE), lambda rate: always(_of_session(rate))),
    }


def _of_session(rate: float) -> float:
    """The chance that one of eight requests of a session is bad, when their rates are beta-distributed over sessions with this ICC."""
    a, b = rate * (1 - ICC) / ICC, (1 - rate) * (1 - ICC) / ICC
    all_good = np.prod([(b + k) / (a + b + k) for k in range(SESSION_OF)])
    return float(1 - all_good)


def _first_abort(guard: Guard, runs: int, share_at: Rates, rate_at: Rates, rng: np.random.Generator) -> NDArray[np.float64]:
    """[runs]: how far the canary was through when this guard aborted it; infinite when it did not."""
    through = np.linspace(0, 1, 1_001)
    mean_share = float(share_at(through).mean())
    ends = set_ends(int(guard.of_all * CANARY_SESSIONS / mean_share))
    sessions, at = np.diff(ends, prepend=0), ends / (guard.of_all * CANARY_SESSIONS / mean_share)
    canary = rng.binomial(sessions, share_at(at), size=(runs, sessions.size))
    rate = rate_at(at)
    if guard.name == "latency":  # what is slow is estimated from a thousand sessions of the control, and wavers with them
        rate = rng.beta(1_000 * rate, 1_000 * (1 - rate), size=canary.shape)
    bad, others_bad = rng.binomial(canary, rate), rng.binomial(sessions - canary, rate)
    over = log_evidence(canary=canary, sessions=sessions, canary_bad=bad, bad=bad + others_bad) >= np.log(1 / guard.alpha)
    return np.where(over.any(axis=1), at[over.argmax(axis=1)], NEVER)


# -- looking while sessions go on -------------------------------------------------------------------------------------


def in_progress(rng: np.random.Generator, *, total: int = 20_000, every: int = 250, lasts: int = 400) -> Iterator[Figure]:
    """Sessions of eight, each going on while 400 others begin, looked at 80 times: a good session may still turn bad."""
    alpha, rate = 0.02, 0.02  # the whole budget for one guard, which makes a fault of the method easier to see
    ends = set_ends(total)
    aborted = 0
    for runs in track(_portions(RUNS_IN_PROGRESS, at_once=100), description="sessions in progress"):
        canary = rng.random((runs, total)) < 0.1
        of_session = rng.beta(rate * (1 - ICC) / ICC, (1 - rate) * (1 - ICC) / ICC, size=(runs, total))
        requests_until_bad = rng.geometric(np.clip(of_session, 1e-12, 1.0))
        turns_bad = np.where(
            requests_until_bad <= SESSION_OF, np.arange(total) + (requests_until_bad - 1) * lasts // SESSION_OF, 10 * total
        )
        over = np.zeros(runs, dtype=bool)
        for look in range(every, total + 1, every):
            bad, seen = turns_bad < look, ends[ends <= look]
            path = log_evidence(
                canary=_per_set(canary, seen),
                sessions=np.diff(seen, prepend=0),
                canary_bad=_per_set(bad & canary, seen),
                bad=_per_set(bad, seen),
            )
            over |= path.max(axis=1, initial=-np.inf) >= np.log(1 / alpha)
        aborted += int(over.sum())
    share = aborted / RUNS_IN_PROGRESS
    yield at_most(
        100 * alpha,
        name=f"false aborts of one guard with the whole budget, looked at while sessions of {SESSION_OF} go on",
        value=100 * share,
        unit="%",
        peer=f"upper 95 % bound {_upper(share, RUNS_IN_PROGRESS):.2f} %; 2,000 canary sessions, 80 looks",
        n=RUNS_IN_PROGRESS,
    )


def by_request(rng: np.random.Generator, *, total: int = 8_000) -> Iterator[Figure]:
    """The same test, had it counted requests instead of sessions."""
    ends = set_ends(total)
    runs, rate, share, alpha = min(1_000, RUNS_IN_PROGRESS), 0.02, 0.1, 0.02
    of_session = rng.beta(rate * (1 - ICC) / ICC, (1 - rate) * (1 - ICC) / ICC, size=(runs, total))
    bad, canary = rng.binomial(SESSION_OF, of_session), rng.random((runs, total)) < share
    canary_bad = _per_set(np.where(canary, bad, 0), ends)
    requests = SESSION_OF * np.diff(ends, prepend=0)
    path = log_evidence(canary=SESSION_OF * _per_set(canary, ends), sessions=requests, canary_bad=canary_bad, bad=_per_set(bad, ends))
    aborted = float((path.max(axis=1) >= np.log(1 / alpha)).mean())
    yield Figure(name="false aborts, had requests been counted as if they were sessions", value=100 * aborted, unit="%", n=runs)


def _per_set(values: NDArray[np.int64] | NDArray[np.bool_], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """[runs, sessions] to sums over sets, [runs, sets]."""
    begins = np.concatenate([[0], ends[:-1]])
    return np.add.reduceat(values[:, : ends[-1]], begins, axis=1, dtype=np.int64)


def _portions(runs: int, *, at_once: int = AT_ONCE) -> list[int]:
    return [min(at_once, runs - begun) for begun in range(0, runs, at_once)]


def _upper(share: float, n: int) -> float:
    """In per cent, by Clopper and Pearson (1934), one-sided."""
    from scipy.stats import beta

    count = round(share * n)
    return 100.0 if count == n else 100 * float(beta.ppf(0.95, count + 1, n - count))


if __name__ == "__main__":
    main()

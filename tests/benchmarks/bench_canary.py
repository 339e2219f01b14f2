"""How soon a bad canary is rolled back, and how often a good one is.

``python -m tests.benchmarks.bench_canary``; FLYWHEEL_SOAK=1 for the full counts.

Every figure is made by ``next_action``, which asks ``judge_guards``: all guards of the standard policy, its minimum of sessions, and the
latencies as the latency guard compares them. Sessions are drawn in ``canary_simulation``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from flywheel.rollout.guards import LEAST_ALPHA, GuardAlphas, GuardPolicy
from flywheel.rollout.next_action import ActionKind, RolloutPolicy
from tests.benchmarks.canary_simulation import GUARDS, SIZE_OF_SLICE, Quality, at_one_share, drawn, look, rolled_back_after, rollout
from tests.benchmarks.figures import Figure, at_least, at_most, report, soak
from tests.benchmarks.pictures import Line, draw

SEED = 20261122
RUNS_OF_POWER = 600 if soak() else 150
RUNS_OF_CANARIES = 1_000 if soak() else 100
RUNS_OF_ROLLOUTS = 300 if soak() else 150
RUNS_IN_PROGRESS = 400 if soak() else 60
SHARE = 0.05
CANARY_SESSIONS = 10_000
NEVER = np.inf
SESSION_OF = 8
ICC = 0.3

Rates = NDArray[np.float64] | float
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A degradation, and the number of canary sessions within which it should be found in 95 % of canaries (``goal``)."""

    what: str
    control: Quality
    canary: Quality
    within: int
    goal: float | None = 0.95
    share: float = SHARE
    only: str = ""  # the slice that is worse; its sessions alone are counted


def _format(good: float, bad: float) -> tuple[Quality, Quality]:
    return Quality(format=good), Quality(format=bad)


def _degradations() -> Iterator[Found]:
    for what, (control, canary), within in (
        ("format 98 -> 93 %", _format(0.02, 0.07), 400),
        ("format 95 -> 90 %", _format(0.05, 0.10), 800),
        ("format 90 -> 85 %", _format(0.10, 0.15), 1_500),
        ("errors 0.5 -> 5 %", (Quality(), Quality(errors=0.05)), 300),
    ):
        yield Found(what=what, control=control, canary=canary, within=within)
    yield Found(
        what="format 98 -> 93 % in one of two protected slices",
        control=Quality(format=0.02),
        canary=Quality(format=0.07),
        within=600,
        goal=None,
        only="large",
    )
    for what, (control, canary), within, share in (
        ("format 98 -> 93 %, a quarter on the canary", _format(0.02, 0.07), 400, 0.25),
        ("format 98 -> 93 %, half on the canary", _format(0.02, 0.07), 400, 0.5),
        ("refusal 3 -> 8 %", (Quality(), Quality(refusal=0.08)), 800, SHARE),
        ("latency: 3 times as slow where 2 is allowed", (Quality(), Quality(took=3.0)), 100, SHARE),
        ("broken: 93 -> 40 % format, a third on the canary", _format(0.07, 0.6), 25, 0.34),
        ("broken: 93 -> 40 % format, a third on the canary", _format(0.07, 0.6), 40, 0.34),
    ):
        yield Found(what=what, control=control, canary=canary, within=within, share=share, goal=None)


def main() -> None:
    rng = np.random.default_rng(SEED)
    figures = [*power(rng), *whole_rollouts(rng), *false_aborts(rng), in_progress(rng), by_request(rng)]
    report("canary", figures, seeds=[SEED])


# -- power ------------------------------------------------------------------------------------------------------------


def power(rng: np.random.Generator) -> Iterator[Figure]:
    """A session is one request."""
    lines = {}
    for one in _track([*_degradations()], "power"):
        after = np.array([rolled_back_at(one, rng) for _ in range(RUNS_OF_POWER)])
        value = float((after <= one.within).mean())
        name = f"{one.what}: aborted within {one.within} canary sessions"
        peer = f"median {np.median(after):.0f}, {one.share:.0%} on the canary"
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


def rolled_back_at(found: Found, rng: np.random.Generator, *, guards: GuardPolicy = GUARDS) -> float:
    """Sessions of the canary (in its slice) when it was rolled back; infinite when it was not."""
    longest = max(found.within, 2_000 if found.goal else 0) / (SIZE_OF_SLICE[found.only] if found.only else 1)
    on_canary = rng.random(int(1.1 * longest / found.share) + 400) < found.share
    inside, canary = np.ones(on_canary.size, dtype=bool), found.canary
    if found.only:
        inside = rng.random(on_canary.size) < SIZE_OF_SLICE[found.only]
        canary = replace(canary, format=np.where(inside, canary.format, found.control.format))
    sessions = drawn(on_canary, canary=canary, control=found.control, rng=rng)
    if found.only:
        sessions = replace(sessions, in_slice={**sessions.in_slice, found.only: inside})
    policy = at_one_share(found.share, guards)
    after = rolled_back_after(sessions, policy=policy, share=found.share)
    return NEVER if after is None else float((on_canary & inside)[:after].sum())


def whole_rollouts(rng: np.random.Generator) -> Iterator[Figure]:
    """The standard policy from the first step to the promotion, at one session a second."""
    policy = RolloutPolicy(guards=GUARDS)
    steps = ", ".join(f"{share:.0%}" for share in policy.canary_shares)
    for what, (control, canary) in {
        "no worse": (Quality(), Quality()),
        "format 98 -> 93 %": _format(0.02, 0.07),
        "format 95 -> 90 %": _format(0.05, 0.10),
        "format 90 -> 85 %": _format(0.10, 0.15),
        "errors 0.5 -> 5 %": (Quality(), Quality(errors=0.05)),
    }.items():
        runs = _track(range(RUNS_OF_ROLLOUTS), f"rollouts, {what}")
        ended = [rollout(canary=canary, control=control, policy=policy, rng=rng) for _ in runs]
        met = np.array([one.canary_sessions for one in ended if not one.promoted])
        name = f"the standard policy's steps ({steps}), {what}: rolled back before the promotion"
        value, n = 100 * (1 - float(np.mean([one.promoted for one in ended]))), len(ended)
        if what == "no worse":
            yield at_most(2.0, name=name, value=value, unit="%", peer=f"upper 95 % bound {_upper(value / 100, n):.2f} %", n=n)
        else:
            yield Figure(name=name, value=value, unit="%", peer=f"median {np.median(met):.0f} canary sessions", n=n)


# -- false aborts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class World:
    """What happens while a canary goes on: the canary's share, and by how much a rate of bad sessions is changed, in both arms alike."""

    share: Rates = SHARE
    added: Rates = 0.0
    times: Rates = 1.0
    requests: int = 1  # of a session; it is bad when one of them is

    def quality(self) -> Quality:
        def rate(usual: float) -> Rates:
            return _of_session(usual, self.requests) * self.times + self.added

        return Quality(
            errors=rate(0.005), format=rate(0.02), refusal=rate(0.03), signals={"corrected": rate(0.2), "thumbs_down": rate(0.5)}
        )


def worlds(through: NDArray[np.float64]) -> Mapping[str, World]:
    """``through``: [sessions], how far the canary is through, 0 to 1."""
    rhythm = 1 + 0.8 * np.sin(2 * np.pi * 10 * through)  # ten days
    return {
        "nothing happens": World(),
        "both arms fall 5 points at once": World(added=np.where(through < 0.5, 0.0, 0.05)),
        "a daily rhythm": World(times=rhythm),
        "a daily rhythm, steps 5, 25, 50 %": World(share=np.select([through < 0.6, through < 0.9], [0.05, 0.25], 0.5), times=rhythm),
        f"sessions of {SESSION_OF} at ICC {ICC:g}": World(requests=SESSION_OF),
    }


def false_aborts(rng: np.random.Generator) -> Iterator[Figure]:
    """Whole canaries of 10,000 sessions beside a control that is exactly as good, all guards together."""
    lines = {}
    for name in worlds(np.zeros(1)):
        found = _track(range(RUNS_OF_CANARIES), f"false aborts, {name}")
        at = np.array([falsely_aborted_at(name, rng, canary_sessions=CANARY_SESSIONS) for _ in found])
        aborted = float(np.isfinite(at).mean())
        peer = f"upper 95 % bound {_upper(aborted, at.size):.2f} %"
        yield at_most(2.0, name=f"false aborts, {name}", value=100 * aborted, unit="%", peer=peer, n=at.size)
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


def falsely_aborted_at(name: str, rng: np.random.Generator, *, canary_sessions: int, guards: GuardPolicy = GUARDS) -> float:
    """How far a canary that is no worse was through when it was aborted, 0 to 1; infinite when it was not."""
    mean_share = float(np.mean(worlds(np.linspace(0, 1, 1_001))[name].share))
    through = np.linspace(0, 1, int(canary_sessions / mean_share))
    world = worlds(through)[name]
    quality = world.quality()
    sessions = drawn(rng.random(through.size) < world.share, canary=quality, control=quality, rng=rng)
    policy = at_one_share(SHARE, guards)
    if look(sessions, through.size, policy=policy).kind is not ActionKind.ROLL_BACK:
        return NEVER
    after = rolled_back_after(sessions, policy=policy)
    assert after is not None
    return after / through.size


def _of_session(rate: float, requests: int) -> float:
    """The chance that one of these requests of a session is bad, when their rates are beta-distributed over sessions with this ICC."""
    a, b = rate * (1 - ICC) / ICC, (1 - rate) * (1 - ICC) / ICC
    if requests == 1:
        return rate
    return float(1 - np.prod([(b + k) / (a + b + k) for k in range(requests)]))


# -- looking while sessions go on -------------------------------------------------------------------------------------


def in_progress(rng: np.random.Generator, *, total: int = 20_000, every: int = 250, lasts: int = 400) -> Figure:
    """Sessions of eight, each going on while 400 others begin, looked at 80 times: a good session may still turn bad."""
    alpha, rate = 0.02, 0.02  # the whole budget for one guard, which makes a fault of the method easier to see
    policy = at_one_share(0.1, _one_guard(alpha))
    aborted = 0
    for _ in _track(range(RUNS_IN_PROGRESS), "sessions in progress"):
        whole = drawn(rng.random(total) < 0.1, canary=Quality(errors=0.0), control=Quality(errors=0.0), rng=rng)
        requests_until_bad = rng.geometric(np.clip(_rates_of_sessions(rate, total, rng), 1e-12, 1.0))
        turns_bad = np.where(
            requests_until_bad <= SESSION_OF, np.arange(total) + (requests_until_bad - 1) * lasts // SESSION_OF, 10 * total
        )
        for seen in range(every, total + 1, every):
            sessions = replace(whole, bad_format=(turns_bad < seen).astype(np.int8))
            if look(sessions, seen, policy=policy, share=0.1).kind is ActionKind.ROLL_BACK:
                aborted += 1
                break
    share = aborted / RUNS_IN_PROGRESS
    return at_most(
        100 * alpha,
        name=f"false aborts of one guard with the whole budget, looked at while sessions of {SESSION_OF} go on",
        value=100 * share,
        unit="%",
        peer=f"upper 95 % bound {_upper(share, RUNS_IN_PROGRESS):.2f} %; 2,000 canary sessions, 80 looks",
        n=RUNS_IN_PROGRESS,
    )


def by_request(rng: np.random.Generator, *, total: int = 8_000) -> Figure:
    """The same policy, told that every request is a session of its own."""
    runs, policy = min(1_000, RUNS_IN_PROGRESS), at_one_share(0.1, _one_guard(0.02))
    aborted = 0
    for _ in _track(range(runs), "by request"):
        on_canary = np.repeat(rng.random(total) < 0.1, SESSION_OF)
        requests = drawn(on_canary, canary=Quality(errors=0.0), control=Quality(errors=0.0), rng=rng)
        rates = np.repeat(_rates_of_sessions(0.02, total, rng), SESSION_OF)
        requests = replace(requests, bad_format=(rng.random(on_canary.size) < rates).astype(np.int8))
        aborted += look(requests, on_canary.size, policy=policy, share=0.1).kind is ActionKind.ROLL_BACK
    return Figure(name="false aborts, had requests been counted as if they were sessions", value=100 * aborted / runs, unit="%", n=runs)


def _track(runs: Iterable[T], what: str) -> Iterable[T]:
    """A progress bar on the error stream."""
    return track(runs, description=what, console=Console(stderr=True), transient=True)


def _one_guard(alpha: float) -> GuardPolicy:
    """The format guard with this alpha; the others next to nothing."""
    rest = dict.fromkeys(("errors", "refusal", "latency", "protected", "informative"), LEAST_ALPHA)
    return GuardPolicy(alphas=GuardAlphas(format=alpha, **rest), budget=alpha + 1e-6)


def _rates_of_sessions(rate: float, total: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.beta(rate * (1 - ICC) / ICC, (1 - rate) * (1 - ICC) / ICC, size=total)


def _upper(share: float, n: int) -> float:
    """In per cent, by Clopper and Pearson (1934), one-sided."""
    from scipy.stats import beta

    count = round(share * n)
    return 100.0 if count == n else 100 * float(beta.ppf(0.95, count + 1, n - count))


if __name__ == "__main__":
    main()

"""How often does the embedding score call a window strange when it is not, and how often does it find 5 % of new traffic?

Text: the user turns of BFCL that ask for one function or some, most of them written by people to deployed assistants. What is new
is one topic of that traffic kept out of the reference (films, concerts, ...), or requests of another kind (files, cars, Java, ...).
Vectors: two plain embeddings side by side. Latent semantic analysis, learned from the descriptions of BFCL's tools and not from
requests (Deerwester and others 1990); and the mean of the small model's own token embeddings, frequent tokens weighing less (Arora,
Liang and Ma 2017) and their commonest directions taken out (Mu and Viswanath 2018). Neither has seen the reference.

Each round splits the traffic anew into a reference and what comes after. Windows of one round share the luck of its reference, so there
are many rounds of few windows, and the bound is the wider of two: by windows, and by rounds.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from threadpoolctl import threadpool_limits

from flywheel.drift.embedding import EmbeddedRows, EmbeddingBudget, EmbeddingPolicy, EmbeddingReference, judge_embeddings, pin_embeddings
from flywheel.drift.embedding_scores import normalized
from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftStatus
from flywheel.errors import CannotRun
from flywheel.ids import EventId, WorkloadId
from tests.benchmarks.figures import ROOT, Figure, at_least, at_most, report, soak
from tests.benchmarks.pictures import Line, draw

SEED = 20_261
DATA = ROOT / "var/packages/bfcl_eval/data"
MODEL = ROOT / "var/models/smollm2-135m-instruct"
TRAFFIC = (
    *("live_simple", "live_multiple", "live_irrelevance", "live_relevance", "live_parallel", "live_parallel_multiple"),
    *("simple_python", "irrelevance", "multiple", "parallel", "parallel_multiple"),
)
TOPICS = {"films": "Movies", "concerts": "Events", "music": "Music", "salons": "Services", "weather": "Weather", "hotels": "Hotels"}
OTHERS = {
    "files": (("multi_turn_base",), "GorillaFileSystem"),
    "cars": (("multi_turn_base",), "VehicleControlAPI"),
    "shares": (("multi_turn_base",), "TradingBot"),
    "Java": (("simple_java", "simple_javascript"), ""),
    "research": (("web_search",), ""),
}
REFERENCE_ROWS = 1_700
WINDOW = 800
QUIET = 8  # windows of a round without news
WITH_NEWS = 5  # windows of a round with the asked share of one kind of news
NEW = 0.05
SHARES = (0.01, 0.02, 0.03, 0.05)  # the rarest topic fills no more of a window
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WORKLOAD = WorkloadId("bfcl-live")
BUDGET = EmbeddingBudget()  # calibrated to 0.02 alarms a day at 24 windows a day
PAGES_AT_MOST = 0.04  # a day: the same twofold room that the whole budget has, 0.1 calibrated and 0.2 promised


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Vectors [n, d] of known traffic, and of each kind that can be new."""

    known: NDArray[np.float32]
    new: Mapping[str, NDArray[np.float32]]


def novelty_figures() -> list[Figure]:
    """False alarms and power of the same verdicts. Full counts: 1,200 rounds; in 12 of them also windows with news of each kind."""
    global _traffic
    _traffic = read_traffic()
    rounds, with_news = (1_200, 12) if soak() else (8, 1)
    # Forked: each process has the traffic already, and one thread, which two of them need not share.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork"), initializer=threadpool_limits, initargs=(1,)) as pool:
        asked = [pool.submit(_round, number, news=number < with_news) for number in range(rounds)]
        made = [one.result() for one in track(asked, description="new traffic", transient=True)]
    found = {
        name: {share: [hit for one in made if one.found for hit in one.found[name, share]] for share in SHARES} for name in _traffic.new
    }
    seconds = Figure(
        name=f"embedding: judging one window of {WINDOW} rows without news, one core",
        value=1000 * float(np.median([one.seconds for one in made])),
        unit="ms",
        n=rounds * QUIET,
    )
    return [*_figures(np.array([one.false for one in made]), found, windows=rounds * QUIET), seconds]


@dataclass(frozen=True, kw_only=True)
class Round:
    """One split of the traffic."""

    false: float  # share of windows without news that were called strange
    seconds: float  # to judge one of them, on one core
    found: Mapping[tuple[str, float], Sequence[bool]]  # by kind of news and its share


_traffic: Traffic


def _round(number: int, *, news: bool) -> Round:
    rng = np.random.default_rng((SEED, number))
    reference, after = _split(_traffic.known, rng)
    begun = perf_counter()
    false = float(np.mean([_found(_draw(after, WINDOW, rng), reference) for _ in range(QUIET)]))
    seconds = (perf_counter() - begun) / QUIET
    found = {
        (name, share): [_found(_mixed(after, new, share, rng), reference) for _ in range(WITH_NEWS if share == NEW else 1)]
        for name, new in (_traffic.new.items() if news else ())
        for share in SHARES
    }
    return Round(false=false, seconds=seconds, found=found)


def _figures(false: NDArray[np.float64], found: Mapping[str, Mapping[float, Sequence[bool]]], *, windows: int) -> list[Figure]:
    a_day = false * BUDGET.windows_a_day
    bound = _upper_bound(a_day, days=windows / BUDGET.windows_a_day)
    reached = {name: float(np.mean(by_share[NEW])) for name, by_share in found.items()}
    beside = ", ".join(f"{name} {rate:.0%}" for name, rate in reached.items())
    draw(
        "novelty",
        title=f"New traffic found in one window of {WINDOW} rows, calibrated to {BUDGET.alarms_a_day:g} alarms a day",
        across="share of new traffic in the window",
        up="windows found",
        lines={
            label: Line(x=SHARES, y=[float(np.mean(np.concatenate([found[name][share] for name in names]))) for share in SHARES])
            for label, names in (("a topic the reference never saw", tuple(TOPICS)), ("requests of another kind", tuple(OTHERS)))
        },
        goals={"90 %": 0.9},
        percent=True,
    )
    name, measured = "embedding: false alarms, upper 95 % bound", f"{a_day.mean():.3g} a day measured, {BUDGET.alarms_a_day:g} calibrated"
    return [
        at_most(PAGES_AT_MOST, name=name, value=bound, unit="a day", n=windows, peer=measured)
        if soak()
        else Figure(
            name=name, value=bound, unit="a day", n=windows, peer=f"{measured}; {windows} windows are too few to hold a goal against"
        ),
        at_least(
            90.0,
            name="embedding: 5 % novel traffic found in its window, mean of eleven kinds",
            value=100 * float(np.mean(list(reached.values()))),
            unit="%",
            n=sum(len(by_share[NEW]) for by_share in found.values()),
            peer=beside,
        ),
        Figure(
            name="embedding: 5 % novel traffic, the kind hardest to find",
            value=100 * min(reached.values()),
            unit="%",
            peer=min(reached, key=reached.__getitem__),
        ),
    ]


def _upper_bound(a_day: NDArray[np.float64], *, days: float) -> float:
    """Upper 95 % bound of the mean: exact for a Poisson count, or by the rounds where they differ more than that would."""
    from scipy.stats import chi2, t

    counted = chi2.ppf(0.95, 2 * round(a_day.mean() * days) + 2) / 2 / days
    by_rounds = a_day.mean() + t.ppf(0.95, len(a_day) - 1) * a_day.std(ddof=1) / np.sqrt(len(a_day))
    return float(max(counted, by_rounds))


def read_traffic() -> Traffic:
    """Raises CannotRun where ``make setup`` has not been run."""
    for needed in (DATA, MODEL / "model.safetensors"):
        if not needed.exists():
            raise CannotRun("the data of this benchmark is missing", where=str(needed), remedy="Run `make setup`.")
    known: dict[str, str] = {}
    for part in TRAFFIC:
        for text, topic in _user_turns(part):
            known.setdefault(text, topic)
    new = {
        name: sorted({text for part in parts for text, topic in _user_turns(part) if topic == only or not only} - set(known))
        for name, (parts, only) in OTHERS.items()
    }
    embed = _embedder()
    vectors, topics = embed(list(known)), np.array(list(known.values()))
    kept_out = {name: vectors[topics == topic] for name, topic in TOPICS.items()}
    return Traffic(
        known=vectors[~np.isin(topics, list(TOPICS.values()))], new=kept_out | {name: embed(texts) for name, texts in new.items()}
    )


def _user_turns(part: str) -> Iterator[tuple[str, str]]:
    """(text, topic): the first word of the function that the request needs, or the first tool of a conversation; "" where none is named."""
    answers = DATA / "possible_answer" / f"BFCL_v4_{part}.json"
    truth = {row["id"]: row["ground_truth"] for row in _rows(answers)} if answers.exists() and part in TRAFFIC else {}
    for row in _rows(DATA / f"BFCL_v4_{part}.json"):
        topic = next(iter(truth[row["id"]][0])).split("_")[0] if row["id"] in truth else next(iter(row.get("involved_classes", [""])))
        for turn in row["question"]:
            yield from ((message["content"].strip(), topic) for message in turn if message["role"] == "user")


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _embedder() -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Texts -> [n, d], both halves of length one."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from tokenizers import Tokenizer

    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
    topics = TruncatedSVD(128, random_state=SEED).fit(words.fit_transform(_descriptions()))
    table, weights = _token_table()
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = [encoded.ids or [0] for encoded in tokenizer.encode_batch(list(texts))]
        means = np.stack([np.average(table[held], axis=0, weights=weights[held]) for held in tokens])
        return np.hstack([normalized(topics.transform(words.transform(texts))), normalized(means)])

    return embed


def _descriptions() -> list[str]:
    """What the tools say of themselves and of their parameters."""
    told = set()
    for path in sorted(DATA.glob("BFCL_v4_*.json")):
        for row in _rows(path) if "sensitivity" not in path.name else ():
            for tool in row.get("function", ()):
                parameters = tool["parameters"].get("properties", {})
                said = [f"{name} {spec.get('description', '')}" for name, spec in parameters.items() if isinstance(spec, dict)]
                told.add(" ".join([tool["name"], tool["description"], *said]).replace("_", " ").replace(".", " "))
    for path in sorted((DATA / "multi_turn_func_doc").glob("*.json")):
        told |= {f"{tool['name']} {tool['description']}".replace("_", " ") for tool in _rows(path)}
    return sorted(told)


def _token_table() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The small model's input embeddings and their weights. A token's number stands for its rarity: it is the order of its merging."""
    raw = _raw_token_table()
    rarity = 1 / (np.arange(len(raw)) + 50.0)
    rarity /= rarity.sum()
    centred = raw - (raw * rarity[:, None]).sum(axis=0).astype(np.float32)
    _, directions = np.linalg.eigh((centred * rarity[:, None].astype(np.float32)).T @ centred)
    return centred @ directions[:, -222:-30], 1e-4 / (1e-4 + rarity)  # all but the 30 commonest, and 192 of those


def _raw_token_table() -> NDArray[np.float32]:
    """bf16 is the upper half of a float32."""
    with (MODEL / "model.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        held = json.loads(file.read(length))["model.embed_tokens.weight"]
        begin, end = held["data_offsets"]
        file.seek(8 + length + begin)
        halves = np.frombuffer(file.read(end - begin), dtype="<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(held["shape"])


def _split(rows: NDArray[np.float32], rng: np.random.Generator) -> tuple[EmbeddingReference, NDArray[np.float32]]:
    order = rng.permutation(len(rows))
    before, after = rows[order[:REFERENCE_ROWS]], rows[order[REFERENCE_ROWS:]]
    reference = pin_embeddings(
        rows=EmbeddedRows(vectors=before, ids=[EventId(f"before-{place}") for place in order[:REFERENCE_ROWS]]),
        workload=WORKLOAD,
        period=(NOON - timedelta(days=7), NOON),
        maturity=Maturity.POOLED_DAYS,
        now=NOON,
        policy=EmbeddingPolicy(most_rows=WINDOW, seed=int(rng.integers(2**31))),
    )
    return reference, after


def _draw(rows: NDArray[np.float32], many: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rows[rng.choice(len(rows), many, replace=False)]


def _mixed(after: NDArray[np.float32], new: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    many = round(share * WINDOW)
    return np.concatenate([_draw(after, WINDOW - many, rng), _draw(new, many, rng)])


def _found(window: NDArray[np.float32], reference: EmbeddingReference) -> bool:
    verdict = judge_embeddings(
        rows=EmbeddedRows(vectors=window, ids=[EventId(f"now-{place}") for place in range(len(window))]),
        reference=reference,
        workload=WORKLOAD,
        window=(NOON, NOON + timedelta(hours=1)),
        now=NOON + timedelta(hours=1),
        budget=BUDGET,
    )
    return verdict.status is DriftStatus.DRIFTING


def main() -> None:
    """Prints the table and writes the picture."""
    report("novelty", novelty_figures(), seeds=[SEED])


if __name__ == "__main__":
    main()

"""Embeddings of a window against a reference: what is found, what is not called strange, and what careless input gets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from scipy.stats import binom

from flywheel.drift.embedding import EmbeddedRows, EmbeddingBudget, EmbeddingPolicy, EmbeddingReference, judge_embeddings, pin_embeddings
from flywheel.drift.embedding_relabelling import Part, compare
from flywheel.drift.embedding_scores import SCALES, Score, densest, local_density, normalized, pooled, score_rows, window_scores
from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import EventId, WorkloadId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WORKLOAD = WorkloadId("support")
DIMENSIONS, TOPICS = 24, 6
POLICY = EmbeddingPolicy(anchors=400, held_out=400, clusters=8, fewest_rows=50, most_rows=100)
ONE_IN_A_HUNDRED = EmbeddingBudget(alarms_a_day=0.24, windows_a_day=24, permutations=400)
MIDDLES = normalized(np.random.default_rng(1).normal(size=(TOPICS + 1, DIMENSIONS)))
NEW_TOPIC = TOPICS  # the last of the middles; no reference holds it


def of_topics(topics: np.ndarray, rng: np.random.Generator, noise: float = 0.12) -> np.ndarray:
    return MIDDLES[topics] + noise * rng.normal(size=(len(topics), DIMENSIONS))


def usual(n: int, rng: np.random.Generator) -> np.ndarray:
    return of_topics(rng.integers(TOPICS, size=n), rng)


def named(n: int, prefix: str = "now") -> list[EventId]:
    return [EventId(f"{prefix}-{number}") for number in range(n)]


def pinned(
    vectors: np.ndarray,
    *,
    ids: list[EventId] | None = None,
    sessions: list[str] | None = None,
    windows: list[str] | None = None,
    maturity: Maturity = Maturity.POOLED_DAYS,
    policy: EmbeddingPolicy = POLICY,
) -> EmbeddingReference:
    return pin_embeddings(
        rows=EmbeddedRows(vectors=vectors, ids=named(len(vectors), "before") if ids is None else ids, sessions=sessions, windows=windows),
        workload=WORKLOAD,
        period=(NOON - timedelta(days=1), NOON),
        maturity=maturity,
        now=NOON,
        policy=policy,
    )


def judged(
    vectors: np.ndarray,
    reference: EmbeddingReference | None,
    *,
    ids: list[EventId] | None = None,
    sessions: list[str] | None = None,
    workload: WorkloadId = WORKLOAD,
    budget: EmbeddingBudget = ONE_IN_A_HUNDRED,
) -> DriftVerdict:
    return judge_embeddings(
        rows=EmbeddedRows(vectors=vectors, ids=named(len(vectors)) if ids is None else ids, sessions=sessions),
        reference=reference,
        workload=workload,
        window=(NOON, NOON + HOUR),
        now=NOON + HOUR,
        budget=budget,
    )


@pytest.fixture(scope="module")
def reference() -> EmbeddingReference:
    return pinned(usual(800, np.random.default_rng(2)))


def test_a_few_rows_of_a_topic_nobody_knew_are_found_and_shown(reference: EmbeddingReference) -> None:
    rng = np.random.default_rng(3)
    verdict = judged(np.concatenate([usual(95, rng), of_topics(np.full(5, NEW_TOPIC), rng)]), reference)
    assert verdict.status is DriftStatus.DRIFTING
    assert {row["event"] for row in verdict.evidence["strangest_rows"]} == set(named(100)[95:])
    assert verdict.evidence["decided_by"] in verdict.reason
    assert verdict.score is not None
    assert verdict.threshold is not None
    assert verdict.score <= verdict.threshold
    assert verdict.effect is not None
    assert verdict.effect > 0.02
    density = sum(verdict.evidence["deviations"][score] for score in list(Score)[4:])
    assert density / verdict.evidence["local_density_deviation"] == pytest.approx(verdict.evidence["parts"][Part.DENSITY], abs=0.02)
    assert verdict.evidence["hour_to_hour_dispersion"] is None  # not measured, which is not one


def test_known_topics_in_another_mix_are_found_though_no_row_is_new(reference: EmbeddingReference) -> None:
    rng = np.random.default_rng(4)
    topics = np.where(rng.random(100) < 0.4, 0, rng.integers(TOPICS, size=100))
    verdict = judged(of_topics(topics, rng), reference)
    assert verdict.status is DriftStatus.DRIFTING
    assert verdict.evidence["deviations"][Score.CLUSTERS] > 3
    assert verdict.evidence["novel_share"] < 0.1
    most = verdict.evidence["changed_topics"][0]
    assert most["share"] > most["usual_share"]
    assert topics[named(100).index(most["example"])] == 0


def test_a_small_change_that_all_rows_share_is_found(reference: EmbeddingReference) -> None:
    rng = np.random.default_rng(5)
    style = 0.1 * rng.normal(size=DIMENSIONS)
    assert judged(usual(100, rng) + style, reference).status is DriftStatus.DRIFTING


def test_a_topic_that_gathers_among_stranger_rows_is_found_by_its_density() -> None:
    """The topic is not what lies farthest out: a third of all rows have no topic at all."""
    rng = np.random.default_rng(16)

    def mixed(n: int) -> np.ndarray:
        return np.concatenate([usual(n - n // 3, rng), rng.normal(size=(n // 3, DIMENSIONS))])

    reference = pinned(mixed(800))
    verdict = judged(np.concatenate([mixed(85), of_topics(np.full(15, NEW_TOPIC), rng, noise=0.03)]), reference)
    assert verdict.status is DriftStatus.DRIFTING
    assert verdict.evidence["decided_by"] == Part.DENSITY
    assert len({row["event"] for row in verdict.evidence["gathered_rows"]} & set(named(100)[85:])) >= 4
    assert {row["event"] for row in verdict.evidence["strangest_rows"]}.isdisjoint(named(100)[85:])


def test_windows_like_the_reference_are_called_strange_as_often_as_the_budget_says() -> None:
    rng, budget = np.random.default_rng(6), EmbeddingBudget(alarms_a_day=1.2, windows_a_day=24)  # one window in twenty
    strange = 0
    for _ in range(12):  # references: each has its own luck
        reference = pinned(usual(400, rng), policy=POLICY)
        strange += sum(judged(usual(100, rng), reference, budget=budget).status is DriftStatus.DRIFTING for _ in range(25))
    assert binom.ppf(0.001, 300, 0.05) <= strange <= binom.ppf(0.9995, 300, 0.05)


def in_sessions(n: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Sessions of eight rows, each about one thing."""
    sessions = np.repeat(np.arange(n // 8), 8)
    about = of_topics(rng.integers(TOPICS, size=n // 8), rng, noise=0.2)
    return about[sessions] + 0.05 * rng.normal(size=(n, DIMENSIONS)), [f"session {one}" for one in sessions]


def test_rows_of_one_session_count_as_one_when_sessions_are_known() -> None:
    rng = np.random.default_rng(7)
    strange = {"known": 0, "unknown": 0}
    for _ in range(4):
        vectors, sessions = in_sessions(800, rng)
        known, unknown = pinned(vectors, sessions=sessions), pinned(vectors)
        for _ in range(15):
            window, of_window = in_sessions(96, rng)
            strange["known"] += judged(window, known, sessions=of_window).status is DriftStatus.DRIFTING
            verdict = judged(window, unknown)
            strange["unknown"] += verdict.status is DriftStatus.DRIFTING
            assert "taken for independent" in verdict.reason
    assert strange["known"] <= binom.ppf(0.999, 60, 0.03)
    assert strange["unknown"] > 15  # what the sessions are for


def test_the_p_value_is_the_rank_among_all_permutations() -> None:
    """Eight rows, four of them the window's: all 70 permutations can be counted (Fisher 1935)."""
    rng = np.random.default_rng(18)
    rows = normalized(usual(8, rng))
    pool = pooled(rows, anchors=rows[:3] + np.float32(0.01), centres=rows[:2], novelty_tail=0.3)
    in_window = np.arange(8) < 4
    every = np.array([[at in held for at in range(8)] for held in combinations(range(8), 4)])
    found = window_scores(every.astype(np.float32), pool, size=4)
    spread = np.where(found.std(axis=0) > 1e-9, found.std(axis=0), np.inf)
    deviations = (found - found.mean(axis=0)) / spread
    density_added = deviations[:, 4:].sum(axis=1)
    largest = np.maximum(deviations[:, :4].max(axis=1), density_added / density_added.std())
    exact = float((largest >= largest[0] - 1e-9).mean())  # the first of them is the window's own
    assert every[0].tolist() == in_window.tolist()
    drawn = compare(pool, in_window, np.arange(8), dispersion=np.ones(5), most=4_000, rng=rng)
    assert drawn.p == pytest.approx(exact, abs=0.05 if drawn.permutations >= 1_000 else 0.1)


def test_whatever_the_luck_of_a_small_reference_windows_are_called_strange_as_often_as_agreed() -> None:
    """Traffic of few texts that come again and again: a reference that happens to lack some of them is no drift."""
    rng, budget = np.random.default_rng(17), EmbeddingBudget(alarms_a_day=1.2, windows_a_day=24)
    strange = 0
    for _ in range(40):
        texts = of_topics(np.repeat(np.arange(TOPICS), 40), rng, noise=0.3)
        traffic = np.concatenate([texts, texts + 0.01 * rng.normal(size=texts.shape), usual(120, rng)])
        order = rng.permutation(len(traffic))
        reference = pinned(traffic[order[:400]])
        strange += sum(
            judged(traffic[rng.choice(order[400:], 100, replace=False)], reference, budget=budget).score <= 0.05 for _ in range(4)
        )
    assert strange <= binom.ppf(0.9995, 160, 0.05) + 4  # windows of one reference share its luck


def test_hours_that_always_differ_are_not_called_strange_when_the_reference_saw_them() -> None:
    rng = np.random.default_rng(8)

    def one_hour(n: int) -> np.ndarray:
        return of_topics(rng.choice(TOPICS, size=n, p=rng.dirichlet(np.full(TOPICS, 5.0))), rng)

    hours = [one_hour(100) for _ in range(30)]
    labels = [f"hour {number // 100}" for number in range(30 * 100)]
    policy = replace(POLICY, anchors=400, held_out=10_000, fewest_rows=40, most_rows=80)
    known, unknown = pinned(np.concatenate(hours), windows=labels, policy=policy), pinned(np.concatenate(hours), policy=policy)
    assert known.hours.windows >= 24
    assert unknown.hours.windows == 0
    windows = [one_hour(80) for _ in range(40)]
    strange = [sum(judged(window, reference).status is DriftStatus.DRIFTING for window in windows) for reference in (known, unknown)]
    assert strange[0] <= 4
    assert strange[1] >= strange[0] + 8
    new = np.concatenate([one_hour(90), of_topics(np.full(10, NEW_TOPIC), rng)])
    assert judged(new, known).status is DriftStatus.DRIFTING  # it did not get deaf


def test_order_and_redelivery_change_neither_reference_nor_verdict(reference: EmbeddingReference) -> None:
    rng = np.random.default_rng(9)
    before, now = usual(300, rng), usual(170, rng)
    again = np.concatenate([rng.permutation(170), rng.integers(170, size=60)])
    order = np.concatenate([rng.permutation(300), rng.integers(300, size=90)])
    sessions = [f"session {number // 3}" for number in range(300)]
    one = pinned(before, sessions=sessions)
    other = pinned(before[order], ids=[named(300, "before")[at] for at in order], sessions=[sessions[at] for at in order])
    assert one.id == other.id
    first, second = (
        judged(vectors, reference, ids=ids) for vectors, ids in ((now, named(170)), (now[again], [named(170)[at] for at in again]))
    )
    assert first == second
    assert (first.n, first.evidence["sampled_rows"]) == (170, 100)


def test_a_reference_is_bounded_immutable_and_named_after_its_content() -> None:
    rng = np.random.default_rng(10)
    vectors, small = usual(400, rng), replace(POLICY, anchors=40, held_out=60)
    one = pinned(vectors, policy=small)
    assert one.anchors.shape == (40, DIMENSIONS)
    assert one.held_out_count == 60
    for array in (one.anchors, one.held_out_vectors, one.sessions, one.hours.variance):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    changed = vectors.copy()
    changed[[named(400, "before").index(one.anchor_ids[0])]] *= -1
    assert pinned(changed, policy=small).id != one.id
    assert pinned(vectors, policy=small).id == one.id


def test_no_row_of_a_session_is_held_out_while_another_is_an_anchor() -> None:
    rng = np.random.default_rng(11)
    sessions = [f"session {number // 4}" for number in range(200)]
    reference = pinned(usual(200, rng), sessions=sessions)
    anchors = {sessions[int(one.split("-")[1])] for one in reference.anchor_ids}
    assert len(reference.anchor_ids) == 4 * len(anchors)
    assert reference.held_out_count == 200 - len(reference.anchor_ids)


def test_the_scores_are_what_scipy_says_they_are(reference: EmbeddingReference) -> None:
    rows = normalized(usual(80, np.random.default_rng(12)))
    scores = score_rows(rows, anchors=reference.anchors, centres=reference.centres)
    distances = cdist(rows, reference.anchors, "cosine")
    assert scores.distance == pytest.approx(distances.min(axis=1), abs=1e-6)
    assert scores.cluster.tolist() == cdist(rows, reference.centres, "cosine").argmin(axis=1).tolist()
    pool = pooled(rows, anchors=reference.anchors, centres=reference.centres, novelty_tail=0.05)
    near = local_density(rows, scores.neighbour_similarity)
    together = 1 - cdist(rows, rows, "cosine")
    for scale, rank in enumerate(SCALES):
        reach = np.sort(1 - distances, axis=1)[:, -rank]
        assert near[scale].sum(axis=1).tolist() == [int((np.delete(together[row], row) > reach[row] + 1e-6).sum()) for row in range(80)]
    window, before = np.arange(80) < 50, np.arange(80) >= 50
    found = dict(zip(Score, window_scores(window[None].astype(np.float32), pool, size=50)[0], strict=True))
    nearest = distances.min(axis=1)
    assert found[Score.NEAREST] == pytest.approx(nearest[window].mean() - nearest[before].mean(), abs=1e-6)
    moved = np.sum((rows[window].mean(axis=0) - rows[before].mean(axis=0)) ** 2)
    assert found[Score.CENTROID] ** 3 == pytest.approx(moved, abs=1e-6)
    p, q, both = (np.bincount(scores.cluster[held], minlength=8) / held.sum() for held in (window, before, window | before))
    assert found[Score.CLUSTERS] ** 3 == pytest.approx(np.sum((p - q) ** 2 / (both + 0.5 / 8)), rel=1e-5)
    novel = nearest > np.quantile(nearest, 0.95, method="higher")
    assert found[Score.NOVELTY] == pytest.approx(np.sqrt(novel[window].mean()) - np.sqrt(novel[before].mean()))
    for scale, (density_score, surplus_score) in enumerate(((Score.CLOSE, Score.CLOSE_SURPLUS), (Score.WIDE, Score.WIDE_SURPLUS))):
        inside, around = near[scale][window][:, window].sum(axis=1), near[scale][window].sum(axis=1)
        assert found[density_score] == pytest.approx(np.sqrt(inside.max()))  # 2.5 % of 50 rows is one row
        assert found[surplus_score] == pytest.approx(
            max(0, ((inside - around * 0.625) / np.sqrt(around * 0.625 * 0.375 + 1)).max()), rel=1e-5
        )
    assert densest(np.array([3.0, 1, 2, -1]), size=80) == 2.5


@settings(deadline=None, max_examples=25)
@given(few=st.integers(0, 50), more=st.integers(0, 50), seed=st.integers(0, 99))
def test_more_rows_of_a_new_topic_never_look_less_new(reference: EmbeddingReference, few: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, new = usual(100, rng), of_topics(np.full(100, NEW_TOPIC), rng, noise=0.05)
    few, more = sorted((few, more))
    less, most = (judged(np.concatenate([new[:many], known[many:]]), reference) for many in (few, more))
    assert less.evidence["mean_distance"] <= most.evidence["mean_distance"]
    assert less.effect <= most.effect + 0.05  # its cut is a share of all rows, so a few known ones change sides
    if more >= 10:
        assert most.score <= 0.01


@settings(deadline=None, max_examples=40)
@given(
    vectors=arrays(
        np.float64,
        st.tuples(st.integers(0, 120), st.just(DIMENSIONS)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
        fill=st.floats(-1, 1),
    )
)
def test_every_window_of_finite_vectors_gets_a_finite_verdict(reference: EmbeddingReference, vectors: np.ndarray) -> None:
    verdict = judged(vectors, reference)
    if len(vectors) < 50:
        assert verdict.status is (DriftStatus.INSUFFICIENT_DATA if len(vectors) else DriftStatus.NO_DATA)
        assert verdict.score is None
    else:
        assert verdict.score is not None
        assert 0 < verdict.score <= 1
        assert all(isfinite(value) for value in verdict.evidence["deviations"].values())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_reference_of_equal_rows_finds_equal_rows_usual_and_others_strange(value: float) -> None:
    reference = pinned(np.full((300, DIMENSIONS), value))
    assert judged(np.full((60, DIMENSIONS), value), reference).status is DriftStatus.OK
    other = np.tile(np.r_[-1.0, np.zeros(DIMENSIONS - 1)], (60, 1))
    assert judged(other, reference).status is DriftStatus.DRIFTING


def test_what_cannot_be_said_is_stated(reference: EmbeddingReference) -> None:
    rng = np.random.default_rng(13)
    assert judged(usual(60, rng), None).status is DriftStatus.LEARNING
    assert judged(np.empty((0, DIMENSIONS)), None).status is DriftStatus.NO_DATA
    assert judged(usual(49, rng), reference).status is DriftStatus.INSUFFICIENT_DATA
    thin = pinned(usual(60, rng))
    assert "too few" in judged(usual(60, rng), thin).reason
    young = pinned(usual(300, rng), maturity=Maturity.LEARNING)
    strange = judged(of_topics(np.full(60, NEW_TOPIC), rng), young)
    assert strange.status is DriftStatus.LEARNING
    assert "nobody vouches" in strange.reason


def test_careless_input_gets_an_error_that_says_where(reference: EmbeddingReference) -> None:
    rows = usual(60, np.random.default_rng(14))
    broken = rows.copy()
    broken[7, 3] = np.nan
    for wrong, said in (
        (lambda: judged(broken, reference), r"row 7.*NaN.*now-7"),
        (lambda: judged(rows[:, :5], reference), r"24 dimensions"),
        (lambda: judged(rows, reference, ids=[*named(59), EventId("now-0")]), r"two different vectors.*now-0"),
        (lambda: judged(rows, reference, workload=WorkloadId("sales")), r"belongs to support"),
        (lambda: judged(rows, reference, budget=EmbeddingBudget(alarms_a_day=0.0)), r"between 0 and 1"),
        (lambda: judged(rows, reference, budget=EmbeddingBudget(alarms_a_day=0.001)), r"at least 24000 times"),
    ):
        with pytest.raises(InvalidInput, match=f"(?s){said}"):
            wrong()
    for few in (rows[:0], rows[:1]):
        with pytest.raises(Refused, match="too few sessions"):
            pinned(few)

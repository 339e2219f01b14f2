"""Embeddings of a window against a reference: what is found, what is not called strange, and what careless input gets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from scipy.stats import binom

from flywheel.drift.embedding import EmbeddingBudget, EmbeddingPolicy, EmbeddingReference, judge_embeddings, pin_embeddings
from flywheel.drift.embedding_scores import SCALES, Score, company, most_company, of_length_one, score_rows, traits, window_scores
from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import EventId, WorkloadId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WORKLOAD = WorkloadId("support")
DIMENSIONS, TOPICS = 24, 6
POLICY = EmbeddingPolicy(anchors=400, held_out=400, clusters=8, sizes=(50, 100), null_windows=2_000)
ONE_IN_A_HUNDRED = EmbeddingBudget(pages_a_day=0.24, windows_a_day=24)
MIDDLES = of_length_one(np.random.default_rng(1).normal(size=(TOPICS + 1, DIMENSIONS)))
NEW_TOPIC = TOPICS  # the last of the middles; no reference holds it


def of_topics(topics: np.ndarray, chance: np.random.Generator, noise: float = 0.12) -> np.ndarray:
    return MIDDLES[topics] + noise * chance.normal(size=(len(topics), DIMENSIONS))


def usual(n: int, chance: np.random.Generator) -> np.ndarray:
    return of_topics(chance.integers(TOPICS, size=n), chance)


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
        vectors=vectors,
        ids=named(len(vectors), "before") if ids is None else ids,
        sessions=sessions,
        windows=windows,
        workload=WORKLOAD,
        start=NOON - timedelta(days=1),
        end=NOON,
        maturity=maturity,
        now=NOON,
        policy=policy,
    )


def judged(
    vectors: np.ndarray,
    reference: EmbeddingReference | None,
    *,
    ids: list[EventId] | None = None,
    workload: WorkloadId = WORKLOAD,
    end: datetime = NOON + HOUR,
    budget: EmbeddingBudget = ONE_IN_A_HUNDRED,
) -> DriftVerdict:
    return judge_embeddings(
        vectors=vectors,
        ids=named(len(vectors)) if ids is None else ids,
        reference=reference,
        workload=workload,
        window_start=NOON,
        window_end=end,
        now=NOON + HOUR,
        budget=budget,
    )


@pytest.fixture(scope="module")
def reference() -> EmbeddingReference:
    return pinned(usual(800, np.random.default_rng(2)))


def highest(verdict: DriftVerdict) -> str:
    deviations = verdict.evidence["deviations"]
    assert isinstance(deviations, dict)
    return str(max(deviations, key=deviations.__getitem__))


def test_a_few_rows_of_a_topic_nobody_knew_are_found_and_shown(reference: EmbeddingReference) -> None:
    chance = np.random.default_rng(3)
    verdict = judged(np.concatenate([usual(95, chance), of_topics(np.full(5, NEW_TOPIC), chance)]), reference)
    assert verdict.status is DriftStatus.DRIFTING
    assert {row["event"] for row in verdict.evidence["strangest_rows"]} == set(named(100)[95:])
    assert highest(verdict) in verdict.reason
    assert verdict.score is not None
    assert verdict.threshold is not None
    assert verdict.score <= verdict.threshold
    assert verdict.effect is not None
    assert verdict.effect > 0.02


def test_known_topics_in_another_mix_are_found_though_no_row_is_new(reference: EmbeddingReference) -> None:
    chance = np.random.default_rng(4)
    topics = np.where(chance.random(100) < 0.4, 0, chance.integers(TOPICS, size=100))
    verdict = judged(of_topics(topics, chance), reference)
    assert verdict.status is DriftStatus.DRIFTING
    assert highest(verdict) in (Score.CLUSTERS, Score.CENTROID)
    most = verdict.evidence["changed_topics"][0]
    assert most["share"] > most["usual_share"]
    assert topics[named(100).index(most["example"])] == 0


def test_a_small_change_that_all_rows_share_is_found(reference: EmbeddingReference) -> None:
    chance = np.random.default_rng(5)
    style = 0.1 * chance.normal(size=DIMENSIONS)
    assert judged(usual(100, chance) + style, reference).status is DriftStatus.DRIFTING


def test_a_topic_that_gathers_among_stranger_rows_is_found_by_its_company() -> None:
    """The topic is not what lies farthest out: a third of all rows have no topic at all."""
    chance = np.random.default_rng(16)

    def mixed(n: int) -> np.ndarray:
        return np.concatenate([usual(n - n // 3, chance), chance.normal(size=(n // 3, DIMENSIONS))])

    reference = pinned(mixed(800))
    verdict = judged(np.concatenate([mixed(85), of_topics(np.full(15, NEW_TOPIC), chance, noise=0.03)]), reference)
    assert verdict.status is DriftStatus.DRIFTING
    assert highest(verdict) in (Score.CLOSE, Score.WIDE)
    assert {row["event"] for row in verdict.evidence["gathered_rows"]} <= set(named(100)[85:])
    assert {row["event"] for row in verdict.evidence["strangest_rows"]}.isdisjoint(named(100)[85:])


def test_windows_like_the_reference_are_called_strange_as_often_as_the_budget_says() -> None:
    chance, budget = np.random.default_rng(6), EmbeddingBudget(pages_a_day=1.2, windows_a_day=24)  # one window in twenty
    strange = 0
    for _ in range(12):  # references: each has its own noise
        reference = pinned(usual(400, chance), policy=replace(POLICY, sizes=(100,), null_windows=1_000))
        strange += sum(judged(usual(100, chance), reference, budget=budget).status is DriftStatus.DRIFTING for _ in range(25))
    assert binom.ppf(0.001, 300, 0.05) <= strange <= binom.ppf(0.9995, 300, 0.05)


def in_sessions(n: int, chance: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Sessions of eight rows, each about one thing."""
    sessions = np.repeat(np.arange(n // 8), 8)
    about = of_topics(chance.integers(TOPICS, size=n // 8), chance, noise=0.2)
    return about[sessions] + 0.05 * chance.normal(size=(n, DIMENSIONS)), [f"session {one}" for one in sessions]


def test_rows_of_one_session_count_as_one_when_the_reference_knows_the_sessions() -> None:
    chance, policy = np.random.default_rng(7), replace(POLICY, sizes=(96,), null_windows=400)
    strange = {"known": 0, "unknown": 0}
    for _ in range(4):
        vectors, sessions = in_sessions(800, chance)
        references = {"known": pinned(vectors, sessions=sessions, policy=policy), "unknown": pinned(vectors, policy=policy)}
        for _ in range(15):
            window, _ = in_sessions(96, chance)
            for name, reference in references.items():
                strange[name] += judged(window, reference).status is DriftStatus.DRIFTING
    assert strange["known"] <= binom.ppf(0.999, 60, 0.03)
    assert strange["unknown"] > 15  # what the sessions are for


def test_hours_that_always_differ_are_not_called_strange_when_the_reference_saw_them() -> None:
    chance = np.random.default_rng(8)

    def one_hour(n: int) -> np.ndarray:
        return of_topics(chance.choice(TOPICS, size=n, p=chance.dirichlet(np.full(TOPICS, 5.0))), chance)

    hours = [one_hour(100) for _ in range(30)]
    labels = [f"hour {number // 100}" for number in range(30 * 100)]
    policy = replace(POLICY, anchors=400, held_out=10_000, sizes=(40, 80), null_windows=400)
    known, unknown = pinned(np.concatenate(hours), windows=labels, policy=policy), pinned(np.concatenate(hours), policy=policy)
    assert known.real_windows >= 24
    assert unknown.real_windows == 0
    windows = [one_hour(80) for _ in range(40)]
    strange = [sum(judged(window, reference).status is DriftStatus.DRIFTING for window in windows) for reference in (known, unknown)]
    assert strange[0] <= 4
    assert strange[1] >= strange[0] + 8
    new = np.concatenate([one_hour(90), of_topics(np.full(10, NEW_TOPIC), chance)])
    assert judged(new, known).status is DriftStatus.DRIFTING  # it did not get deaf


def test_order_and_redelivery_change_neither_reference_nor_verdict(reference: EmbeddingReference) -> None:
    chance = np.random.default_rng(9)
    before, now = usual(300, chance), usual(170, chance)
    again = np.concatenate([chance.permutation(170), chance.integers(170, size=60)])
    small = replace(POLICY, null_windows=200)
    order = np.concatenate([chance.permutation(300), chance.integers(300, size=90)])
    one = pinned(before, policy=small)
    other = pinned(before[order], ids=[named(300, "before")[at] for at in order], policy=small)
    assert one.id == other.id
    first, second = (
        judged(vectors, reference, ids=ids) for vectors, ids in ((now, named(170)), (now[again], [named(170)[at] for at in again]))
    )
    assert first == second
    assert (first.n, first.evidence["sampled_rows"]) == (170, 100)


def test_a_reference_is_bounded_immutable_and_named_after_its_content() -> None:
    chance = np.random.default_rng(10)
    vectors, small = usual(400, chance), replace(POLICY, anchors=40, held_out=60, null_windows=200)
    one = pinned(vectors, policy=small)
    assert one.anchors.shape == (40, DIMENSIONS)
    assert one.held_out == 60
    assert set(one.null) == {50}  # a window of 100 cannot be drawn from 60
    for array in (one.anchors, one.traits, one.null[50].highest):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    changed = vectors.copy()
    changed[[named(400, "before").index(one.anchor_ids[0])]] *= -1
    assert pinned(changed, policy=small).id != one.id
    assert pinned(vectors, policy=small).id == one.id


def test_no_row_of_a_session_is_held_out_while_another_is_an_anchor() -> None:
    chance = np.random.default_rng(11)
    sessions = [f"session {number // 4}" for number in range(200)]
    reference = pinned(usual(200, chance), sessions=sessions, policy=replace(POLICY, null_windows=50))
    anchors = {sessions[int(one.split("-")[1])] for one in reference.anchor_ids}
    assert len(reference.anchor_ids) == 4 * len(anchors)
    assert reference.held_out == 200 - len(reference.anchor_ids)


def test_the_scores_are_what_scipy_says_they_are(reference: EmbeddingReference) -> None:
    rows = of_length_one(usual(80, np.random.default_rng(12)))
    scores = score_rows(rows, anchors=reference.anchors, centres=reference.centres)
    distances = cdist(rows, reference.anchors, "cosine")
    assert scores.distance == pytest.approx(distances.min(axis=1), abs=1e-6)
    assert scores.cluster.tolist() == cdist(rows, reference.centres, "cosine").argmin(axis=1).tolist()
    mean = traits(rows, scores, novel_beyond=reference.novel_beyond, clusters=len(reference.centres)).mean(axis=0)
    near = company(rows, scores.reach)
    together = 1 - cdist(rows, rows, "cosine")
    for scale, rank in enumerate(SCALES):
        reach = np.sort(1 - distances, axis=1)[:, -rank]
        assert near[scale].sum(axis=1).tolist() == [int((np.delete(together[row], row) > reach[row] + 1e-6).sum()) for row in range(80)]
    gathered = most_company(near.sum(axis=2), size=80)
    assert gathered == pytest.approx(np.sort(near.sum(axis=2), axis=1)[:, -2:].mean(axis=1))
    nearest, centroid, clusters, novelty, close, wide = window_scores(mean, reference.traits, gathered, shares=reference.shares)
    assert (close, wide) == pytest.approx(np.sqrt(gathered))
    smoothed = reference.shares + 0.5 / len(reference.shares)
    counts = np.bincount(scores.cluster, minlength=len(reference.centres))
    assert nearest == pytest.approx(distances.min(axis=1).mean() - reference.traits[0], abs=1e-6)
    assert centroid == pytest.approx(np.sum((rows.mean(axis=0) - reference.traits[2 + len(reference.centres) :]) ** 2), abs=1e-6)
    assert clusters == pytest.approx(np.sum((counts / 80 - reference.shares) ** 2 / smoothed))
    share = (distances.min(axis=1) > reference.novel_beyond).mean()
    assert novelty == pytest.approx(np.sqrt(share) - np.sqrt(reference.traits[1]))


@settings(deadline=None, max_examples=25)
@given(few=st.integers(0, 50), more=st.integers(0, 50), seed=st.integers(0, 99))
def test_more_rows_of_a_new_topic_never_look_less_new(reference: EmbeddingReference, few: int, more: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    known, new = usual(100, chance), of_topics(np.full(100, NEW_TOPIC), chance, noise=0.05)
    few, more = sorted((few, more))
    less, most = (judged(np.concatenate([new[:many], known[many:]]), reference) for many in (few, more))
    assert less.evidence["deviations"][Score.NOVELTY] <= most.evidence["deviations"][Score.NOVELTY]
    assert less.evidence["deviations"][Score.NEAREST] <= most.evidence["deviations"][Score.NEAREST]


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
    reference = pinned(np.full((300, DIMENSIONS), value), policy=replace(POLICY, null_windows=200))
    assert judged(np.full((60, DIMENSIONS), value), reference).status is DriftStatus.OK
    other = np.tile(np.r_[-1.0, np.zeros(DIMENSIONS - 1)], (60, 1))
    assert judged(other, reference).status is DriftStatus.DRIFTING


def test_what_cannot_be_said_is_stated(reference: EmbeddingReference) -> None:
    chance = np.random.default_rng(13)
    assert judged(usual(60, chance), None).status is DriftStatus.LEARNING
    assert judged(np.empty((0, DIMENSIONS)), None).status is DriftStatus.NO_DATA
    assert judged(usual(49, chance), reference).status is DriftStatus.INSUFFICIENT_DATA
    thin = pinned(usual(60, chance), policy=replace(POLICY, null_windows=50))
    assert "too few" in judged(usual(60, chance), thin).reason
    young = pinned(usual(300, chance), maturity=Maturity.LEARNING, policy=replace(POLICY, null_windows=200))
    strange = judged(of_topics(np.full(60, NEW_TOPIC), chance), young)
    assert strange.status is DriftStatus.LEARNING
    assert "nobody vouches" in strange.reason


def test_careless_input_gets_an_error_that_says_where(reference: EmbeddingReference) -> None:
    rows = usual(60, np.random.default_rng(14))
    broken = rows.copy()
    broken[7, 3] = np.nan
    for wrong, said in (
        (lambda: judged(broken, reference), r"row 7.*NaN.*now-7"),
        (lambda: judged(rows[:, :5], reference), r"24 dimensions"),
        (lambda: judged(rows[0], reference), r"rows and columns"),
        (lambda: judged(rows.astype(int), reference), r"floating"),
        (lambda: judged(rows, reference, ids=named(59)), r"59 ids for 60"),
        (lambda: judged(rows, reference, ids=[*named(59), EventId("now-0")]), r"two different vectors.*now-0"),
        (lambda: judged(rows, reference, workload=WorkloadId("sales")), r"belongs to support"),
        (lambda: judged(rows, reference, end=NOON), r"ends before it starts"),
        (lambda: judged(rows, reference, budget=EmbeddingBudget(pages_a_day=0.0)), r"between 0 and 1"),
        (lambda: judged(rows, reference, budget=EmbeddingBudget(pages_a_day=0.001)), r"at least 24000 null windows"),
        (lambda: pinned(rows, sessions=["one"]), r"1 sessions for 60"),
    ):
        with pytest.raises(InvalidInput, match=f"(?s){said}"):
            wrong()
    for few in (rows[:0], rows[:1]):
        with pytest.raises(Refused, match="too few sessions"):
            pinned(few)

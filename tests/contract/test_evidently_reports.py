"""Evidently in its worker process: real scores, and what happens when it does not answer."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from flywheel.drift.tests import chi_square
from flywheel.errors import CannotRun
from flywheel.traffic.column import Column
from services.integrations.evidently.reports import EvidentlyReports
from services.ports.traffic import RecordedInference
from tests.watching import FEW, NOON, SHAPE, recorded, some_rows


def sample(n: int, *, seed: int, longer: float = 0.0) -> list[RecordedInference]:
    return [
        recorded(number, at=NOON, features={**features, "valid_format": None})
        for number, (features, _) in enumerate(some_rows(n, seed=seed, longer=longer))
    ]


@pytest.mark.evidently
def test_real_scores_for_each_slice_and_a_page_with_pictures(tmp_path: Path) -> None:
    reports = EvidentlyReports(columns=FEW)
    now, before = sample(200, seed=1, longer=60), sample(400, seed=2)
    page = tmp_path / "reports" / "window.html"
    try:
        scores = reports.compare(
            current={"all": now, "tenant=new": now, "tenant=gone": []}, reference={"all": before, "tenant=gone": before}, html_to=str(page)
        )
        again = reports.compare(current={"all": now}, reference={"all": before})
    finally:
        reports.close()
    found = {(score.slice, score.column): score for score in scores}
    assert set(found) == {("all", "prompt_chars"), ("all", "prompt_shape"), ("all", "refusal")}  # valid_format has no data anywhere
    assert found["all", "prompt_chars"].drifted
    assert (found["all", "prompt_chars"].n, found["all", "prompt_chars"].n_reference) == (200, 400)
    assert again == scores
    assert page.stat().st_size > 100_000
    # Evidently's chi-square takes the reference's shares for exact; ours pools both samples, so its p-values are the larger ones.
    shapes, shapes_before = (
        np.asarray([sum(row.features["prompt_shape"] == name for row in part) for name in SHAPE.names]) for part in (now, before)
    )
    assert found["all", "prompt_shape"].score == pytest.approx(chisquare(shapes, shapes_before * len(now) / len(before)).pvalue)
    assert chi_square(shapes, shapes_before)[0] > found["all", "prompt_shape"].score


def fake_worker(tmp_path: Path, body: str, *, idle_seconds: float = 60) -> EvidentlyReports:
    """Another program in the worker's place."""
    program = tmp_path / "worker"
    program.write_text(f"#!{sys.executable}\nimport json, sys\n{body}\n")
    program.chmod(0o755)
    columns: tuple[Column, ...] = FEW
    return EvidentlyReports(columns=columns, python=program, start_seconds=20, answer_seconds=1, idle_seconds=idle_seconds)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "ended with code 3"),
        ("print(json.dumps({'ready': '0'}), flush=True); sys.stdin.readline(); sys.stdin.read()", "no answer in time"),
        ("print('not json', flush=True); sys.stdin.read()", "no scores: Expecting value"),
        (
            'print(\'{"ready": 0}\', flush=True); sys.stdin.readline(); print(\'{"id": 1, "error": "bad column"}\', flush=True)',
            "bad column",
        ),
    ],
)
def test_a_worker_that_does_not_answer_is_a_named_reason(tmp_path: Path, body: str, reason: str) -> None:
    reports = fake_worker(tmp_path, body)
    rows = sample(3, seed=1)
    try:
        with pytest.raises(CannotRun, match=reason):
            reports.compare(current={"all": rows}, reference={"all": rows})
    finally:
        reports.close()


def test_no_answer_is_waited_for_after_the_order_to_end(tmp_path: Path) -> None:
    reports = fake_worker(tmp_path, "sys.stdin.read()")
    stop = threading.Event()
    reports.stop_with(stop)
    reports.warm_up()
    stop.set()
    rows = sample(3, seed=1)
    with pytest.raises(CannotRun, match="ending"):
        reports.compare(current={"all": rows}, reference={"all": rows})
    reports.close()


def test_a_worker_ends_when_it_was_not_asked_for_a_while(tmp_path: Path) -> None:
    for idle_seconds, ends in ((60.0, False), (0.0, True)):
        reports = fake_worker(tmp_path, "sys.stdin.read()", idle_seconds=idle_seconds)
        reports.end_when_idle()  # nothing runs yet
        reports.warm_up()
        worker = reports._worker
        assert worker is not None
        reports.end_when_idle()
        assert (worker.poll() is not None) == ends
        reports.close()
        assert worker.poll() is not None


def test_slices_without_rows_on_either_side_need_no_worker() -> None:
    assert EvidentlyReports(columns=FEW, python=Path("/nonexistent")).compare(current={"all": []}, reference={"all": []}) == ()

"""Processes and benchmarks call the same decisions, and neither has one of its own: what is published of an error rate is what runs.

Read from the source, so a second decision is found also on paths that no other test runs. That published figures follow when a decision of
production is changed is shown in ``tests/services/test_published_alarms.py``.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
BENCHMARKS = ROOT / "tests" / "benchmarks"
STATISTICS = ("scipy", "statsmodels", "sklearn")  # a process that tests for itself would need one of them
WORKER = SERVICES / "integrations/evidently/worker.py"  # a second opinion, shown beside the verdict and never taken for it
ASKED = {  # process -> where its decision must come from
    "drift_monitor": ("flywheel.drift",),
    "gatekeeper": ("flywheel.gate",),
    "release_controller": ("flywheel.rollout.next_action", "flywheel.gate.weight_parity"),
    "gateway": ("flywheel.rollout.arm_of_session",),
    "alert_desk": ("flywheel.alerts",),
}
VERDICTS = {  # verdict -> files that may make one, because they read it back from the ledger
    "DriftVerdict": {"stores/ledger/judgements.py"},
    "AxisVerdict": set(),
    "GateDecision": set(),
    "WeightParityVerdict": set(),
    "GuardVerdict": set(),
    "Action": set(),
}
PUBLISHED = {  # files of a benchmark -> the functions and classes of production that make the decision it publishes
    ("bench_alarms", "alarm_watch", "alarm_ladder"): {
        "services.drift_monitor.judge_windows.tick",
        "services.alert_desk.advance_alerts.AlertStates",
    },
    ("bench_canary", "canary_simulation"): {"flywheel.rollout.next_action.next_action"},
    ("bench_gate_errors", "gate_simulation"): {"flywheel.gate.decide.decide_in_order"},
}
OF_DRIFT = {  # what the benchmark of alarms may know of drift and alerts: values, and what makes and reads a reference
    "BudgetPolicy",
    "CalibratedThresholds",
    "Season",
    "is_weekend",
    "pin",
    "season_of",
    "seasonal_reference",
    "with_thresholds",
}
MEASURED = {"p", "p_value", "score", "effect", "minimum_effect", "threshold", "e_value", "log_e", "wins", "losses"}


def sources() -> list[Path]:
    return sorted(path for path in SERVICES.rglob("*.py") if path != WORKER)


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name): of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    """Names of what is called: ``judge`` of ``judge(...)``, ``decide.decide`` of ``decide.decide(...)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def compared(tree: ast.AST) -> Iterator[str]:
    """Comparisons of size with something measured on one side: the mark of a decision."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(operator, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for operator in node.ops):
            names = {side.attr for side in (node.left, *node.comparators) if isinstance(side, ast.Attribute)}
            names |= {side.id for side in (node.left, *node.comparators) if isinstance(side, ast.Name)}
            if names & MEASURED:
                yield ast.unparse(node)


def benchmark(names: Iterable[str]) -> list[Path]:
    return [BENCHMARKS / f"{name}.py" for name in names]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_process_tests_a_hypothesis_of_its_own() -> None:
    found = {
        f"{path.relative_to(SERVICES)}: {module}"
        for path in sources()
        for module, _ in imports(parsed(path))
        if module.split(".")[0] in STATISTICS
    }
    assert found == set()


@pytest.mark.parametrize("process", ASKED)
def test_a_process_calls_the_core_of_its_decision(process: str) -> None:
    trees = [parsed(path) for path in sorted((SERVICES / process).glob("*.py"))]
    for core in ASKED[process]:
        asked = set()
        for tree in trees:
            known = {name: module for module, name in imports(tree) if module == core or module.startswith(f"{core}.")}
            asked |= {call for call in called(tree) if known.get(call.split(".")[0]) and not call.split(".")[-1][0].isupper()}
        assert asked, f"services/{process} calls nothing of {core}"


def test_verdicts_are_made_in_the_cores_and_read_back_in_the_ledgers() -> None:
    made = {
        (call.split(".")[-1], str(path.relative_to(SERVICES)))
        for path in sources()
        for call in called(parsed(path))
        if call.split(".")[-1] in VERDICTS
    }
    assert {(verdict, path) for verdict, path in made if path not in VERDICTS[verdict]} == set()
    assert ("DriftVerdict", "stores/ledger/judgements.py") in made


def test_no_process_holds_a_measured_number_against_a_threshold() -> None:
    assert {f"{path.relative_to(SERVICES)}: {text}" for path in sources() for text in compared(parsed(path))} == set()


@pytest.mark.parametrize(("files", "decisions"), PUBLISHED.items(), ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_a_benchmark_calls_the_decisions_it_publishes(files: tuple[str, ...], decisions: set[str]) -> None:
    asked = set()
    for path in benchmark(files):
        known = {name: module for module, name in imports(parsed(path))}
        asked |= {known[call] for call in called(parsed(path)) if call in known}
    assert decisions <= asked


def test_every_benchmark_of_a_decision_is_listed() -> None:
    decides = {"flywheel.drift", "flywheel.alerts", "flywheel.gate", "flywheel.rollout"}
    listed = {name for files in PUBLISHED for name in files} | {
        "bench_drift",
        "bench_novelty",
    }  # what judging costs; embeddings, judged nowhere yet
    found = {
        path.stem
        for path in BENCHMARKS.glob("bench_*.py")
        for module, _ in imports(parsed(path))
        if ".".join(module.split(".")[:2]) in decides
    }
    assert found <= listed


def test_the_benchmark_of_alarms_judges_nothing_itself() -> None:
    files = benchmark(path.stem for path in BENCHMARKS.glob("alarm_*.py")) + benchmark(["bench_alarms"])
    known = {
        (path.name, name)
        for path in files
        for module, name in imports(parsed(path))
        if module.startswith(("flywheel.drift.", "flywheel.alerts."))
    }
    assert {(path, name) for path, name in known if name not in OF_DRIFT} == set()
    assert {f"{path.name}: {text}" for path in files for text in compared(parsed(path))} == set()


@pytest.mark.parametrize("second", ["if verdict.score < 0.05: page()", "bad = wins > losses", "if not 0.1 <= found.effect: pass"])
def test_a_second_decision_would_be_seen(second: str) -> None:
    assert list(compared(ast.parse(second)))


def test_an_import_inside_a_function_would_be_seen() -> None:
    tree = ast.parse("def f():\n    from scipy.stats import fisher_exact\n    return fisher_exact([[1, 2], [3, 4]])")
    assert list(imports(tree)) == [("scipy.stats.fisher_exact", "fisher_exact")]
    assert "fisher_exact" in set(called(tree))

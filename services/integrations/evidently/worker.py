"""The process that imports Evidently: started once by ``reports.py``, and asked over its pipes.

In: one JSON object a line, {"id", "slices": {name: {"current": {column: values}, "reference": {column: values}}}, "methods":
{column: method}, "html_to"}. Out: one a line, {"id", "scores": [...]} or {"id", "error"}; first of all {"ready": version}.
It ends when its input ends. Only this file imports Evidently; versions are pinned to 0.7 (pandas below 3).
"""

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

NUMERIC = "ks"  # the method of columns that are numbers; the others are read as categories


def main() -> None:
    """Answers requests until the input ends. Standard output is for answers only: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; this process ends when its standard input closes
    os.environ["DO_NOT_TRACK"] = "1"
    import warnings

    warnings.filterwarnings("ignore")  # divisions by zero inside its tests: the score is checked below
    import evidently

    _say(answers, {"ready": evidently.__version__})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            scores = [score for name, parts in order["slices"].items() for score in _slice(name, parts, order)]
            if order.get("html_to"):
                _write_html(order)
            _say(answers, {"id": order["id"], "scores": scores})
        except Exception as error:  # noqa: BLE001  a report that fails must not end the worker: the asker names the reason
            _say(answers, {"id": order["id"], "error": f"{type(error).__name__}: {error}"[:500]})


def _say(answers: Any, value: object) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _slice(name: str, parts: dict[str, Any], order: dict[str, Any]) -> list[dict[str, Any]]:
    """All columns in one report; should that fail, each alone, so that one bad column does not take the others with it."""
    columns = _usable(parts, order["methods"])
    if not columns:
        return []
    try:
        return _scores(name, parts, columns, order["methods"])
    except Exception:  # noqa: BLE001  Evidently aborts a whole report for one column
        found = []
        for column in columns:
            try:
                found += _scores(name, parts, [column], order["methods"])
            except Exception as error:  # noqa: BLE001
                print(f"left out: {column} of {name}: {error}", file=sys.stderr)  # noqa: T201
        return found


def _usable(parts: dict[str, Any], methods: dict[str, str]) -> list[str]:
    """Columns with a value in both parts, and more than one distinct value."""
    usable = []
    for column in methods:
        now, before = ({value for value in parts[part].get(column, []) if value is not None} for part in ("current", "reference"))
        if now and before and len(now | before) > 1:
            usable.append(column)
    return usable


def _scores(name: str, parts: dict[str, Any], columns: list[str], methods: dict[str, str]) -> list[dict[str, Any]]:
    import evidently.metrics.column_statistics as statistics

    kept = statistics.ValueDriftCalculation._render
    # Drawing is four fifths of a report's time, happens inside run(), and has no switch.
    statistics.ValueDriftCalculation._render = _draw_nothing
    try:
        ran = _run(parts, columns, methods)
    finally:
        statistics.ValueDriftCalculation._render = kept
    scores = []
    told = ran.dict()
    for metric, test in zip(told["metrics"], told["tests"], strict=True):
        score = float(metric["value"])
        if not math.isfinite(score):
            continue
        column = metric["config"]["column"]
        scores.append(
            {
                "slice": name,
                "column": column,
                "method": metric["config"]["method"],
                "score": score,
                "drifted": str(getattr(test["status"], "value", test["status"])) == "FAIL",
                "n": sum(value is not None for value in parts["current"][column]),
                "n_reference": sum(value is not None for value in parts["reference"][column]),
            }
        )
    return scores


def _draw_nothing(*_: object) -> list[object]:
    return []


def _run(parts: dict[str, Any], columns: list[str], methods: dict[str, str]) -> Any:
    import pandas
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    numbers = [column for column in columns if methods[column] == NUMERIC]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=[column for column in columns if column not in numbers])

    def dataset(part: str) -> Any:
        held = {column: pandas.Series(parts[part][column], dtype=float if column in numbers else object) for column in columns}
        return Dataset.from_pandas(pandas.DataFrame(held), data_definition=definition)

    report = Report([ValueDrift(column=column, method=methods[column]) for column in columns], include_tests=True)
    return report.run(dataset("current"), dataset("reference"))


def _write_html(order: dict[str, Any]) -> None:
    """One page for the first slice, with charts; under a temporary name first, so that nobody sees a half-written page."""
    target = Path(order["html_to"])
    name = next(iter(order["slices"]), None)
    columns = _usable(order["slices"][name], order["methods"]) if name else []
    if name is None or not columns:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}.unfinished")
    _run(order["slices"][name], columns, order["methods"]).save_html(str(unfinished))
    unfinished.replace(target)


if __name__ == "__main__":
    main()

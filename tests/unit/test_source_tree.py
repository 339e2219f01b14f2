"""Rules of the source tree: the table of decisions, imports without side effects, sizes, names, pages that are up to date."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import flywheel
import services

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ("record", "drift", "alert", "diagnose", "split", "trigger", "gate", "parity", "canary", "rollback")
TRAINING_ONLY = {"services.integrations.trl.qlora", "services.integrations.evidently.worker", "services.trainer.train_one_run"}


def modules() -> list[str]:
    """Every module of flywheel and services."""
    return sorted(
        found.name for package in (flywheel, services) for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    )


def test_each_of_the_ten_decisions_has_one_file_in_the_readme() -> None:
    table = dict(re.findall(r"^\| (\w+): [^|]*\| \[[^]]+\]\(([^)]+)\) \|$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert tuple(table) == DECISIONS
    assert len(set(table.values())) == len(DECISIONS)
    for decision, path in table.items():
        assert path.startswith("flywheel/"), decision
        source = (ROOT / path).read_text()
        assert re.search(r"^def [a-z]\w*\(", source, re.MULTILINE), path
        assert "Not" in source[:1500] or "not" in source[:1500], f"{path} says what it does not do"


def test_importing_any_module_has_no_side_effect() -> None:
    light = [name for name in modules() if name not in TRAINING_ONLY]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}", *light],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["services.gateway.__main__", "services.traffic_windower.__main__", "services.api.__main__"])
def test_gateway_api_and_recorder_need_no_training_library(name: str) -> None:
    blocked = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "evidently")
    script = f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\nimport {name}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_module_has_a_docstring() -> None:
    for name in modules():
        if name.endswith("__main__") or name in TRAINING_ONLY:
            continue
        assert importlib.import_module(name).__doc__, name


@cache
def definitions() -> tuple[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef], ...]:
    """(path, definition) of every function, method and class."""
    paths = [path for package in ("flywheel", "services", "schemas") for path in sorted((ROOT / package).rglob("*.py"))]
    return tuple(
        (str(path.relative_to(ROOT)), node)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, node in definitions():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}: {node.name}", node


def test_no_function_is_over_60_lines() -> None:
    assert [name for name, node in functions() if (node.end_lineno or 0) - node.lineno >= 60] == []


def test_no_function_has_more_than_7_parameters() -> None:
    def parameters(arguments: ast.arguments) -> set[str]:
        return {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} - {"self", "cls"}

    assert [name for name, node in functions() if len(parameters(node.args)) > 7] == []


def test_no_dataclass_has_more_than_14_fields() -> None:
    assert [
        f"{path}: {node.name}"
        for path, node in definitions()
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list)
        if sum(isinstance(one, ast.AnnAssign) for one in node.body) > 14
    ] == []


def test_no_class_name_is_used_twice() -> None:
    names = Counter(node.name for path, node in definitions() if isinstance(node, ast.ClassDef))
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("package", ["flywheel", "services"])
def test_each_package_docstring_is_one_sentence(package: str) -> None:
    for path in sorted((ROOT / package).rglob("__init__.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert text.endswith("."), path
        assert "\n" not in text, path
        assert ". " not in text, path


@pytest.mark.parametrize("package", ["flywheel", "services"])
def test_the_reading_order_names_each_package(package: str) -> None:
    page = (ROOT / package / "README.md").read_text()
    assert page.count("\n") <= 30
    for path in sorted((ROOT / package).glob("*/__init__.py")):
        assert f"{path.parent.name}/" in page, path.parent.name


def test_the_configuration_page_is_up_to_date() -> None:
    from services.cli.settings_page import page

    assert (ROOT / "deploy/docs/configuration.md").read_text() == page(), (
        "python -m services.cli.settings_page > deploy/docs/configuration.md"
    )

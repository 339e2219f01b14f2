"""Every function, class, constant and method is there for a process, a command or a migration. Tests and benchmarks are no callers."""

from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.reachability import Module, read_tree, unreached

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("flywheel", "services", "schemas")
ENTRIES = (  # what is run, not imported
    "services.*.__main__",
    "services.trainer.train_one_run",  # a process per training run
    "services.integrations.evidently.worker",
    "services.integrations.vllm.cpu.sitecustomize",
    "services.cli.demo.make_bad_adapters",
    "services.cli.settings_page",  # writes deploy/docs/configuration.md
    "services.cli.evidence_page",  # writes deploy/docs/evidence.md
    "deploy.setup.*",
)
MIGRATIONS = ("deploy.migrations.*",)  # Alembic calls their functions by name
KEPT = {  # modules that nothing calls yet: the topic that will
    "flywheel.drift.embedding*": "On call",
    "flywheel.gate.scores": "scores that are not yes or no",
}


@cache
def tree() -> dict[str, Module]:
    return read_tree(ROOT, (*PACKAGES, "deploy"))


def matching(patterns: tuple[str, ...]) -> list[str]:
    return [name for name in tree() if any(fnmatch(name, pattern) for pattern in patterns)]


def test_every_definition_is_reached_by_a_process_command_or_migration() -> None:
    found = unreached(tree(), entries=matching(ENTRIES), packages=PACKAGES, kept=matching((*MIGRATIONS, *KEPT)))
    assert found == []


def test_each_kept_module_is_there_and_would_be_found() -> None:
    found = unreached(tree(), entries=matching(ENTRIES), packages=PACKAGES, kept=matching(MIGRATIONS))
    for pattern in KEPT:
        assert any(fnmatch(name.rpartition(".")[0], pattern) for name in found), f"{pattern}: has a caller now, or is gone"


DEAD = {
    "flywheel.decide.never_asked": "def never_asked(): return LIMIT_OF_NOBODY",
    "flywheel.decide.LIMIT_OF_NOBODY": "LIMIT_OF_NOBODY = 3",
    "flywheel.decide.Unwanted": "class Unwanted:\n    def method(self): ...",
    "flywheel.decide.Verdict.unread": "",
    "flywheel.decide.used_by_the_dead": "def used_by_the_dead(): never_asked()",
}
SMALL = {
    "services/desk/__main__.py": "from flywheel.decide import Verdict, decide\nprint(decide().reason)\nprint(Verdict().read())\n",
    "services/desk/__init__.py": "",
    "services/__init__.py": "",
    "flywheel/__init__.py": "",
    "flywheel/decide.py": """
USED = 1
class Verdict:
    reason: str = ""
    def read(self): return self._inner()
    def _inner(self): return USED
    def unread(self): ...
def decide():
    never_asked = Verdict()
    return never_asked
""",
}


@pytest.mark.parametrize("of_nobody", ["", "from flywheel.decide import never_asked\n__all__ = ['never_asked']\n"])
def test_dead_code_is_found_also_behind_an_import_and_a_local_name(tmp_path: Path, of_nobody: str) -> None:
    for path, text in SMALL.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    with (tmp_path / "flywheel/decide.py").open("a") as file:
        file.write("\n".join(DEAD.values()))
    (tmp_path / "services/desk/__init__.py").write_text(of_nobody)
    found = unreached(read_tree(tmp_path, ("flywheel", "services")), entries=["services.desk.__main__"], packages=("flywheel", "services"))
    assert found == sorted(DEAD)


TABLE = """
import importlib
VERBS = {"up": ("flywheel.verbs", "Start.")}
JOBS = "flywheel.jobs"
def call(name): getattr(importlib.import_module(VERBS[name][0]), name)()
def plan(): return f"{JOBS}:nightly"
call("up"); plan()
"""


def test_what_a_table_of_names_or_a_decorator_reaches_is_alive(tmp_path: Path) -> None:
    for path, text in {
        "flywheel/__init__.py": "",
        "flywheel/__main__.py": TABLE + "import flywheel.routes\n",
        "flywheel/verbs.py": "def up(): ...\ndef down(): ...\n",
        "flywheel/jobs.py": "def nightly(): ...\n",
        "flywheel/routes.py": "app = 1\n@app.get\ndef route(): ...\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = unreached(read_tree(tmp_path, ("flywheel",)), entries=["flywheel.__main__"], packages=("flywheel",))
    assert found == ["flywheel.verbs.down"]

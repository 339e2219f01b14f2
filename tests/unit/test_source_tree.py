"""What the house promises about itself: the table of decisions, silent imports, no left-over words."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flywheel
import services

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ("record", "drift", "alert", "diagnose", "split", "trigger", "gate", "parity", "canary", "rollback")
TRAINING_ONLY = {"services.integrations.trl.qlora", "services.integrations.evidently.worker", "services.trainer.train_one_run"}


def modules() -> list[str]:
    """Every module of ours but the entries, which run when they are imported as main only."""
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


def test_importing_any_module_is_free_and_silent() -> None:
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
def test_gateway_and_stream_workers_need_no_training_library(name: str) -> None:
    blocked = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "evidently")
    script = f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\nimport {name}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_stage_says_what_it_is() -> None:
    for name in modules():
        if name.endswith("__main__") or name in TRAINING_ONLY:
            continue
        assert importlib.import_module(name).__doc__, name


def test_the_page_of_the_configuration_is_fresh() -> None:
    from services.cli.settings_page import page

    assert (ROOT / "deploy/docs/configuration.md").read_text() == page(), (
        "python -m services.cli.settings_page > deploy/docs/configuration.md"
    )

"""Each target takes its seeds, and some seconds of a fuzzer that is led by coverage: 3 here, 10 in `make fuzz`, ten minutes in the soak."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import EDITS, OF_JSON, SEEDS, TARGETS, run

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600 if os.environ.get("FLYWHEEL_SOAK") else int(os.environ.get("FLYWHEEL_FUZZ_SECONDS", "3"))
FOLDER = ROOT / "var" / "fuzz"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name: str) -> None:
    """A seed that the border refuses would lead the fuzzer nowhere."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)


def test_what_is_no_refusal_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise KeyError("choices")

    monkeypatch.setattr("tests.fuzz.targets.TARGETS", {"traffic": broken})
    with pytest.raises(KeyError):
        run("traffic", b"{}")


@pytest.mark.parametrize("name", sorted(OF_JSON))
def test_edits_of_a_seed_are_refused_or_taken(name: str) -> None:
    for which in range(60):
        for by in range(40):
            run(name, EDITS + bytes((which, by)))


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this processor")
@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_finds_nothing(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, str(SECONDS), str(FOLDER)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Done " in ran.stderr

"""A pytest plugin: at the end of a run, a table of what ran, and what this machine cannot run and why.

Used by `make test` (``-p tests.ran_table``); pytest's own summary line stays the last one.
"""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

ORDER = ("unit", "contract", "schemas", "fuzz", "services", "loop", "gpu", "e2e")
MEANING = {
    "unit": "decisions of flywheel/, no I/O",
    "contract": "ports: the real part and its fake alike",
    "schemas": "what crosses a process boundary",
    "fuzz": "borders, driven by coverage",
    "services": "steps and processes",
    "loop": "several processes on one record",
    "gpu": "CUDA paths",
    "e2e": "the whole wheel on real parts",
}
NEVER_HERE = {
    "training and serving on a GPU": lambda: not Path("/dev/nvidia0").exists(),
}
"""What no test of this run touches, unless the condition says that this machine could."""


class RanTable:
    """Counts by the first folder below tests/."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: Counter[str] = Counter()
        self.why_skipped: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        kind = _kind(report.nodeid)
        self.seconds[kind] += report.duration
        if report.skipped and not hasattr(report, "wasxfail"):
            self.counts[kind]["skipped"] += 1
            self.why_skipped[kind][_reason(report)] += 1
        elif report.failed:
            self.counts[kind]["failed"] += 1
        elif report.when == "call":
            self.counts[kind]["passed"] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that skips itself while it is read, or cannot be read."""
        if report.skipped:
            self.counts[_kind(report.nodeid)]["skipped"] += 1
            self.why_skipped[_kind(report.nodeid)][_reason(report)] += 1
        elif report.failed:
            self.counts[_kind(report.nodeid)]["failed"] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        terminalreporter.section("what ran")
        write(f"{'kind':<10}{'passed':>8}{'failed':>8}{'not run':>8}{'seconds':>9}   what it shows")
        for kind in sorted(self.counts, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
            count = self.counts[kind]
            numbers = "".join(f"{count[state]:>8}" for state in ("passed", "failed", "skipped"))
            write(f"{kind:<10}{numbers}{self.seconds[kind]:>9.0f}   {MEANING.get(kind, '')}")
        write("")
        write("not run here, and why")
        reasons = [(kind, reason, n) for kind in self.why_skipped for reason, n in self.why_skipped[kind].items()]
        for kind, reason, n in reasons:
            write(f"  {kind}: {n} x {reason}")
        for what, holds in NEVER_HERE.items():
            if holds():
                write(f"  {what}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RanTable(), "ran-table")


def _kind(nodeid: str) -> str:
    parts = nodeid.split("::")[0].split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else parts[0]


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return str(text).removeprefix("Skipped: ")

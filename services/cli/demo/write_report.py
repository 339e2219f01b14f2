"""The demo's report: the content of the ledger, with figures of the demo itself: requests sent, stages and their seconds.

The demo writes those into the journal too, so that its report needs the ledger alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from flywheel.ids import WorkloadId
from services.cli.demo.stage_clock import FACT, STAGE
from services.cli.report import page
from services.cli.report.content import ENTRIES, build, newest_evidence
from services.cli.report.wiring import open_report_ledgers
from services.cli.report.writing import WrittenReport, write_report


def write_demo_report(*, ledger: Path, workload: WorkloadId, out: Path) -> WrittenReport:
    """``report.json`` and ``report.html`` of a demo."""
    content = demo_content(ledger=ledger, workload=workload)
    return write_report(content, page=_render(content), out=out)


def demo_content(*, ledger: Path, workload: WorkloadId) -> dict[str, Any]:
    """The general report with the demo's own sections. The demo's counts of traffic are newer than those of the last closed window."""
    ledgers = open_report_ledgers(ledger)
    entries = ledgers.journal.entries(workload=workload, limit=ENTRIES)
    content = build(ledgers, workload)
    counted = newest_evidence(entries, FACT, "traffic")
    traffic = {name: counted.get(name, value) for name, value in content["traffic"].items()}
    return {
        **content,
        "traffic": {"sent": counted.get("sent"), **traffic},
        "stages": [dict(entry.evidence) for entry in entries if entry.kind == STAGE],
        "seconds": newest_evidence(entries, FACT, "total").get("seconds"),
    }


def _render(content: Mapping[str, Any]) -> str:
    pages = ChoiceLoader([PackageLoader("services.cli.demo", "pages"), page.LOADER])
    longest = max((stage["seconds"] for stage in content["stages"]), default=0.0) or 1.0
    return Environment(loader=pages, autoescape=True).get_template("demo_report.html").render(report=content, longest=longest)

"""``flywheel report``: writes what happened as JSON and as a page, from the ledger alone, so also from a copy of it elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from flywheel.ids import WorkloadId
from services.cli.report.content import build, workload_of
from services.cli.report.page import render
from services.cli.report.wiring import open_report_ledgers
from services.cli.report.writing import write_report
from services.settings import load


def report(
    ledger: Annotated[Path | None, typer.Option("--ledger", help="A ledger.db, e.g. a copy; else the configured one.")] = None,
    workload: Annotated[str | None, typer.Option("--workload", "-w", help="May be left out when the ledger knows only one.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json and report.html; else beside the ledger.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="flywheel.yaml; else $FLYWHEEL_CONFIG, else ./flywheel.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report itself, for machines.")] = False,
) -> None:
    """Write what happened as JSON and as a page, from the ledger alone."""
    path = ledger or load(config).data_dir / "ledger.db"
    ledgers = open_report_ledgers(path)
    content = build(ledgers, workload_of(ledgers, WorkloadId(workload) if workload else None))
    written = write_report(content, page=render(content), out=out or path.parent)
    print(written.json.read_text() if as_json else f"{written.json}\n{written.html}")  # noqa: T201

"""Writes a report's two files."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel.errors import CannotRun


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """The paths of the two files."""

    json: Path
    html: Path


def write_report(content: Mapping[str, Any], *, page: str, out: Path) -> WrittenReport:
    """``report.json`` and ``report.html`` in ``out``; a reader never sees half a file. Raises CannotRun when they cannot be written."""
    written = WrittenReport(json=out / "report.json", html=out / "report.html")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, text in ((written.json, json.dumps(content, indent=1)), (written.html, page)):
            draft = path.with_name(path.name + ".new")
            draft.write_text(text)
            os.replace(draft, path)
    except OSError as error:
        raise CannotRun(
            f"the report cannot be written there: {error.strerror}",
            where="--out",
            value=str(out),
            remedy="Name a folder that you may write to.",
        ) from error
    return written

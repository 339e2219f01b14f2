"""What a benchmark says: figures with their goals, as a table for people and as var/bench/<name>.json for programs.

Small counts by default; FLYWHEEL_SOAK=1 (as `make soak` sets it) asks for the full ones. A missed goal does not end the run:
it stands in the table with its reason, because the best figure reached is worth more than no figure.
"""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``goal`` in words ("at most 1 %"); ``met`` is None for a figure that is only shown. ``peer``: what it was measured against."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    peer: str = ""
    n: int | None = None  # repetitions behind a rate
    reason: str = ""  # why a goal was missed


def at_most(limit: float, *, name: str, value: float, unit: str, peer: str = "", n: int | None = None, reason: str = "") -> Figure:
    """A figure that should not be above its limit."""
    met = value <= limit
    return Figure(
        name=name, value=value, unit=unit, goal=f"at most {limit:g} {unit}", met=met, peer=peer, n=n, reason="" if met else reason
    )


def at_least(limit: float, *, name: str, value: float, unit: str, peer: str = "", n: int | None = None, reason: str = "") -> Figure:
    """A figure that should not be below its limit."""
    met = value >= limit
    return Figure(
        name=name, value=value, unit=unit, goal=f"at least {limit:g} {unit}", met=met, peer=peer, n=n, reason="" if met else reason
    )


def soak() -> bool:
    """Full counts?"""
    return os.environ.get("FLYWHEEL_SOAK") == "1"


def report(name: str, figures: Sequence[Figure], *, seeds: Sequence[int], notes: Sequence[str] = ()) -> None:
    """Prints the table and writes var/bench/<name>.json. ``seeds`` make the run repeatable; ``notes`` are paragraphs under the table."""
    table = Table(title=f"{name}: {'full' if soak() else 'small'} counts, seeds {', '.join(map(str, seeds))}", title_justify="left")
    for heading in ("figure", "value", "goal", "", "beside"):
        table.add_column(heading, overflow="fold")
    for figure in figures:
        met = {True: "met", False: "MISSED", None: ""}[figure.met]
        table.add_row(
            figure.name, f"{figure.value:.4g} {figure.unit}", figure.goal, met, "; ".join(filter(None, [figure.peer, figure.reason]))
        )
    Console(width=150 if not sys.stdout.isatty() else None).print(table)
    for note in notes:
        print(note)
    target = ROOT / "var" / "bench" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "name": name,
        "figures": [asdict(figure) for figure in figures],
        "seeds": list(seeds),
        "notes": list(notes),
        "counts": "full" if soak() else "small",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    target.with_suffix(".new").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".new").replace(target)

"""The demo's stages: shows what runs, measures how long it took, and writes that into the journal for the demo's report."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flywheel.errors import CannotRun
from flywheel.ids import Person, WorkloadId
from flywheel.journal import JournalEntry, OtherKind
from services.ports.journal import Journal

DRIVER = Person("demo")
FACT, STAGE = OtherKind("demo"), OtherKind("demo_stage")  # kinds of the demo's own journal lines
Found = TypeVar("Found")


class StageClock:
    """Names each stage, shows its progress, remembers its seconds."""

    def __init__(self, *, console: Console, workload: WorkloadId) -> None:
        self._console, self._workload = console, workload
        self._began = time.monotonic()
        self._unwritten: list[tuple[str, float, datetime]] = []
        self.stages: list[tuple[str, float]] = []
        self.journal: Journal | None = None  # there is none before the ledger exists

    @contextmanager
    def stage(self, name: str, *, of: int | None = None) -> Iterator[Callable[..., None]]:
        """``with clock.stage("early traffic", of=140) as step``: call ``step()`` per item, or ``step(done=n, of=m, note="…")``."""
        began = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console, transient=True) as bar:
            task = bar.add_task(name, total=of, note="")

            def step(*, done: int | None = None, of: int | None = None, note: str | None = None) -> None:
                if done is None and note is None:
                    bar.advance(task)
                else:
                    bar.update(task, completed=done, total=of, note=note if note is not None else bar.tasks[0].fields["note"])

            yield step
        seconds = time.monotonic() - began
        self.stages.append((name, seconds))
        self._console.print(f"[green]✓[/] {name} [dim]{seconds:.1f} s[/]")
        self._unwritten.append((name, seconds, datetime.now(UTC)))
        self._write()

    def say(self, text: str) -> None:
        """One line for the reader."""
        self._console.print(f"  {text}", highlight=False)

    def show(self, table: Table) -> None:
        """A table for the reader."""
        self._console.print(table)

    def fact(self, subject: str, evidence: dict[str, object]) -> None:
        """Journals figures of the driver, e.g. how many requests it sent."""
        if self.journal is not None:
            now = datetime.now(UTC)
            self.journal.append(
                JournalEntry(
                    at=now,
                    workload=self._workload,
                    kind=FACT,
                    subject=subject,
                    state="reported",
                    reason="by the driver",
                    actor=DRIVER,
                    evidence=evidence,
                )
            )

    def total_seconds(self) -> float:
        """Since the demo began, set-up not counted."""
        return time.monotonic() - self._began

    def table(self) -> Table:
        """Stage and seconds."""
        table = Table("stage", "seconds", title="where the time went")
        for name, seconds in self.stages:
            table.add_row(name, f"{seconds:.1f}")
        table.add_row("in all", f"{self.total_seconds():.1f}", style="bold")
        return table

    def _write(self) -> None:
        if self.journal is None:
            return
        for at, (name, seconds, ended) in enumerate(self._unwritten, start=len(self.stages) - len(self._unwritten)):
            self.journal.append(
                JournalEntry(
                    at=ended,
                    workload=self._workload,
                    kind=STAGE,
                    subject=f"{at:02d} {name}",
                    state="ended",
                    reason="by the driver",
                    actor=DRIVER,
                    evidence={"name": name, "seconds": round(seconds, 2)},
                )
            )
        self._unwritten.clear()


class TookTooLong(CannotRun, TimeoutError):
    """What the demo waited for did not happen in time."""


def wait_for(
    look: Callable[[], Found | None],
    *,
    what: str,
    seconds: float,
    alive: Callable[[], None],
    moves: Callable[[], object] = lambda: None,
    every: float = 0.5,
) -> Found:
    """Calls ``look`` until it returns something. Raises what ``alive`` raises, and TookTooLong ``seconds`` after ``moves`` last changed:
    a slow machine may take its time while the work goes on.
    """
    until, moved = time.monotonic() + seconds, moves()
    while time.monotonic() < until:
        alive()
        found = look()
        if found is not None:
            return found
        time.sleep(every)  # another process works meanwhile
        if (now := moves()) != moved:
            until, moved = time.monotonic() + seconds, now
    raise TookTooLong(
        f"{what} did not happen within {seconds:.0f} s", where="demo", remedy="Read var/demo/logs; then run `make demo` again."
    )

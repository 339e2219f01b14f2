"""Three bad adapters, made by editing the good one, each with its own plan, manifest and replay.

Run as a process of its own (it imports the training libraries): ``python -m services.cli.demo.sabotage --adapter NAME --factor 0 --harm 0.4
0.12``. Prints the new adapters, a line each: factor and name. Whether anyone lets one through is not decided here.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flywheel.errors import CannotRun, FlywheelError, NotFound
from flywheel.ids import AdapterName, Person, RunId, derive
from flywheel.journal import JournalEntry
from flywheel.retraining.plan import adapter_name, make_edited_plan
from flywheel.retraining.run import ProbeItem, Run, RunState
from flywheel.training_set.snapshot import Snapshot
from services.settings import Settings, load
from services.stores.adapter_files import scaled_copy, write_bundle
from services.stores.database import open_ledger
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets

WHO = Person("demo")
FACTORS = (2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
"""How much an adapter bears differs from training to training: the same factor broke nearly every answer of one and none of another."""
MEASURED_ITEMS = 16  # of the training examples, three tokens each
MEASURED, EDITED = ".measured-", ".edited-"
"""Folders beside the adapters that are none yet."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--factor", type=float, nargs="*", default=[])
    parser.add_argument("--harm", type=float, nargs="*", default=[], help="nats a token that the right answers become less likely")
    arguments = parser.parse_args()
    try:
        parent = AdapterName(arguments.adapter)
        _remove_leftovers(load(arguments.config).data_dir / "adapters")
        harmful = _harmful(arguments.config, parent, arguments.harm) if arguments.harm else []
        for factor in (*arguments.factor, *harmful):
            print(f"{factor:g} {_make(arguments.config, parent, factor)}", flush=True)  # noqa: T201 (the caller reads it)
    except FlywheelError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _remove_leftovers(adapters: Path) -> None:
    """What a process left that was killed. The demo runs one of them at a time, so nobody is at work in these folders."""
    for prefix in (MEASURED, EDITED):
        for folder in adapters.glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _harmful(config: Path | None, parent: AdapterName, harms: Sequence[float]) -> list[float]:
    """For each harm the first factor that does it, each another one, the greater harm the greater."""
    measured: list[tuple[float, float]] = []
    for one in _measured(config, parent):
        measured.append(one)
        chosen = _chosen(measured, sorted(harms))
        if len(chosen) == len(harms):
            return [chosen[sorted(harms).index(harm)] for harm in harms]
    raise CannotRun("no factor breaks this adapter", where=parent, value=measured[-1], remedy="Train it longer, or widen FACTORS.")


def _chosen(measured: Sequence[tuple[float, float]], harms: Sequence[float]) -> list[float]:
    """As many as are found; ``harms`` ascending."""
    found: list[float] = []
    for harm in harms:
        factor = next((factor for factor, lost in measured if lost >= harm and factor > max(found, default=0.0)), None)
        if factor is None:
            break
        found.append(factor)
    return found


def _measured(config: Path | None, parent: AdapterName) -> Iterator[tuple[float, float]]:
    """Factors, and by how many nats a token the adapter's own training answers become less likely."""
    settings = load(config)
    engine = open_ledger(settings.ledger_url)
    runs, training_sets = LedgerRuns(engine), LedgerTrainingSets(engine)
    good = runs.adapter(parent)
    run = runs.run(good.run) if good else None
    kept = training_sets.snapshot(run.plan.snapshot) if run else None
    if good is None or kept is None:
        raise NotFound("no such adapter, or its snapshot is gone", where="--adapter", value=parent, remedy="Train one first.")
    staged = settings.data_dir / "adapters" / f"{MEASURED}{parent}"

    def likely(adapter: str | Path) -> float:
        values = [value for item in _replayed(settings, adapter, kept[0], items=MEASURED_ITEMS) for value in item.replay]
        return sum(values) / len(values)

    unharmed = likely(good.path)
    try:
        for factor in FACTORS:
            shutil.rmtree(staged, ignore_errors=True)
            scaled_copy(source=good.path, out=staged, factor=factor)
            yield factor, unharmed - likely(staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _make(config: Path | None, parent: AdapterName, factor: float) -> AdapterName:
    settings = load(config)
    engine = open_ledger(settings.ledger_url)
    runs, training_sets = LedgerRuns(engine), LedgerTrainingSets(engine)
    good = runs.adapter(parent)
    run = runs.run(good.run) if good else None
    if good is None or run is None:
        raise NotFound("no such adapter", where="--adapter", value=parent, remedy="Train one first.")
    kept = training_sets.snapshot(run.plan.snapshot)
    if kept is None:
        raise NotFound("its snapshot is gone", where="--adapter", value=run.plan.snapshot, remedy="Train again.")
    plan = make_edited_plan(parent=parent, parent_plan=run.plan, edit=f"lora_B x {factor:g}")
    now = datetime.now(UTC)
    edited = Run(
        id=RunId(derive("run", adapter_name(plan))),
        workload=run.workload,
        plan=plan,
        adapter=adapter_name(plan),
        state=RunState.TRAINED,
        requested_at=now,
        ended_at=now,
        reason=f"edited by hand for the demo: lora_B x {factor:g}",
    )
    staged = settings.data_dir / "adapters" / f"{EDITED}{edited.adapter}"
    shutil.rmtree(staged, ignore_errors=True)
    scaled_copy(source=good.path, out=staged, factor=factor)
    probe = _replayed(settings, staged, kept[0], items=settings.workloads[run.workload].training.probe_items)
    bundle = write_bundle(
        staged=staged,
        target=settings.data_dir / "adapters" / edited.adapter,
        run=edited,
        probe=probe,
        max_rank=settings.serving.max_lora_rank,
        facts={"edited": plan.edit},
        now=now,
    )
    entry = JournalEntry(at=now, workload=run.workload, kind="run", subject=edited.id, state="trained", reason=edited.reason, actor=WHO)
    runs.save_run(edited, entry)
    runs.register_adapter(
        bundle,
        JournalEntry(
            at=now,
            workload=run.workload,
            kind="adapter",
            subject=bundle.name,
            state="registered",
            reason=edited.reason,
            actor=WHO,
            caused_by=edited.id,
            evidence={"digest": bundle.digest, "parent": parent},
        ),
    )
    return bundle.name


def _replayed(settings: Settings, adapter: str | Path, snapshot: Snapshot, *, items: int) -> Sequence[ProbeItem]:
    from services.integrations.trl.qlora import TrlQlora  # here: it takes half a minute, and choosing a factor needs none of it

    return TrlQlora().replay(base_path=str(settings.serving.model), adapter_path=str(adapter), snapshot=snapshot, items=items)


if __name__ == "__main__":
    sys.exit(main())

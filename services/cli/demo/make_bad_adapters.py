"""Makes bad adapters by editing a good one, each with its own plan, manifest and replay.

Run as a process of its own, because it imports the training libraries: ``python -m services.cli.demo.make_bad_adapters --adapter NAME
--factor 0 --harm 0.4 0.12``. Prints a line per new adapter: factor and name.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from flywheel.errors import CannotRun, FlywheelError, NotFound
from flywheel.ids import AdapterName, Person, RunId, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.retraining.adapter_name import adapter_name
from flywheel.retraining.plan import make_edited_plan
from flywheel.retraining.training_run import ProbeItem, Run, RunState
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import probe_rows, token_rows
from services.integrations.vllm.chat_template import served_template
from services.integrations.vllm.training_text import training_row
from services.settings import Settings, load
from services.stores.adapter_files import write_bundle, write_scaled_copy
from services.stores.database import open_ledger
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets

DRIVER = Person("demo")
FACTORS = (2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
"""Candidates. Which factor breaks an adapter differs by training: the same one broke nearly every answer of one and none of another."""
MEASURED_ITEMS = 16  # of the training examples, three tokens each
MEASURED, EDITED = ".measured-", ".edited-"
"""Prefixes of folders beside the adapters, for adapters in the making."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--factor", type=float, nargs="*", default=[])
    parser.add_argument(
        "--harm", type=float, nargs="*", default=[], help="decrease of the log-probability of correct answers, in nats per token"
    )
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
    """Deletes what a killed process left. The demo runs one such process at a time, so nobody uses these folders."""
    for prefix in (MEASURED, EDITED):
        for folder in adapters.glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _harmful(config: Path | None, parent: AdapterName, harms: Sequence[float]) -> list[float]:
    """The smallest factor that does each harm. Greater harms get greater factors, and no two the same. Raises CannotRun."""
    measured: list[tuple[float, float]] = []
    for one in _measured(config, parent):
        measured.append(one)
        chosen = _chosen(measured, sorted(harms))
        if len(chosen) == len(harms):
            return [chosen[sorted(harms).index(harm)] for harm in harms]
    raise CannotRun("no factor breaks this adapter", where=parent, value=measured[-1], remedy="Train it longer, or widen FACTORS.")


def _chosen(measured: Sequence[tuple[float, float]], harms: Sequence[float]) -> list[float]:
    """The factors found so far; ``harms`` ascending, ``measured`` are (factor, nats lost)."""
    found: list[float] = []
    for harm in harms:
        factor = next((factor for factor, lost in measured if lost >= harm and factor > max(found, default=0.0)), None)
        if factor is None:
            break
        found.append(factor)
    return found


def _measured(config: Path | None, parent: AdapterName) -> Iterator[tuple[float, float]]:
    """(factor, nats lost): by how much the log likelihood per token of its own training answers falls, for one factor after the other."""
    settings = load(config)
    engine = open_ledger(settings.ledger_url)
    runs, training_sets = LedgerRuns(engine), LedgerTrainingSets(engine)
    good = runs.adapter(parent)
    run = runs.run(good.run) if good else None
    kept = training_sets.snapshot(run.plan.snapshot) if run else None
    if good is None or kept is None:
        raise NotFound("no such adapter, or its snapshot is gone", where="--adapter", value=parent, remedy="Train one first.")
    staged = settings.data_dir / "adapters" / f"{MEASURED}{parent}"

    def mean_log_likelihood(adapter: str | Path) -> float:
        values = [value for item in _replayed(settings, adapter, kept[0], items=MEASURED_ITEMS) for value in item.replay]
        return sum(values) / len(values)

    unharmed = mean_log_likelihood(good.path)
    try:
        for factor in FACTORS:
            shutil.rmtree(staged, ignore_errors=True)
            write_scaled_copy(source=good.path, out=staged, factor=factor)
            yield factor, unharmed - mean_log_likelihood(staged)
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
    write_scaled_copy(source=good.path, out=staged, factor=factor)
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
    entry = JournalEntry(
        at=now, workload=run.workload, kind=JournalKind.RUN, subject=edited.id, state="trained", reason=edited.reason, actor=DRIVER
    )
    runs.save_run(edited, entry)
    runs.register_adapter(
        bundle,
        JournalEntry(
            at=now,
            workload=run.workload,
            kind=JournalKind.ADAPTER,
            subject=bundle.name,
            state="registered",
            reason=edited.reason,
            actor=DRIVER,
            caused_by=edited.id,
            evidence={"digest": bundle.digest, "parent": parent},
        ),
    )
    return bundle.name


def _replayed(settings: Settings, adapter: str | Path, snapshot: Snapshot, *, items: int) -> Sequence[ProbeItem]:
    from services.integrations.trl.qlora import TrlQlora  # here: importing it takes half a minute

    assert settings.serving.model is not None
    template = served_template(model=settings.serving.model, **settings.serving.template_choice)
    trainer, base = TrlQlora(), str(settings.serving.model)
    rows = token_rows(
        snapshot.examples,
        render=partial(training_row, template.template, now=snapshot.cut_off),
        encode=trainer.encoder(base),
        max_length=settings.workloads[snapshot.workload].training.max_length,
    )
    return trainer.replay(probe_rows(rows.rows, items=items), base_path=base, adapter_path=str(adapter))


if __name__ == "__main__":
    sys.exit(main())

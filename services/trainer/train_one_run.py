"""``python -m services.trainer.train_one_run --run ID``: trains one run. Started by the trainer; may be started by hand.

Reads run and snapshot from the ledger, trains, replays the probe, completes the adapter's folder. Writes nothing to the ledger.
"""

import argparse
import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from flywheel.errors import FlywheelError, NotFound, Refused
from flywheel.ids import RunId
from flywheel.training_set.token_rows import probe_rows, token_rows, too_many_left_out
from services.observability import configure_logging
from services.settings import load
from services.trainer.wiring import RunParts, run_folder, run_parts


def perform(run_id: RunId, parts: RunParts) -> None:
    """Leaves the run's complete adapter on disk. Safe to repeat: a complete adapter is not made again."""
    run = parts.runs.run(run_id)
    if run is None:
        raise NotFound("there is no such run", where="--run", value=run_id, remedy="See the runs with `flywheel train --list`.")
    if (parts.adapters / run.adapter / "manifest.json").exists():
        return
    found = parts.training_sets.snapshot(run.plan.snapshot)
    if found is None:
        raise NotFound("the run's snapshot is gone", where=run_id, value=run.plan.snapshot, remedy="Build a new one and train again.")
    snapshot, _ = found
    base = parts.digest_base(parts.base_path)
    if base != run.plan.base_digest:
        raise Refused(
            "the base model's files are not those that the run was planned on",
            where=str(parts.base_path),
            value=base[:16],
            remedy="Train again.",
        )
    with parts.locked_folder(run_folder(parts.adapters, run_id)) as folder:
        trainer = parts.trainer()
        encode = trainer.encoder(str(parts.base_path))
        rows = token_rows(snapshot.examples, render=parts.render(snapshot), encode=encode, max_length=run.plan.policy.max_length)
        if refusal := too_many_left_out(rows):
            raise Refused(refusal.reason, where=snapshot.id, remedy=refusal.remedy)
        files = trainer.train(run.plan, rows.rows, base_path=str(parts.base_path), out=str(folder / "adapter"), progress=_say)
        probed = probe_rows(rows.rows, items=parts.probe_items(run))
        probe = trainer.replay(probed, base_path=str(parts.base_path), adapter_path=files.path)
        metrics = {**files.metrics, "rows_left_out": {reason.value: count for reason, count in rows.left_out.items()}}
        parts.write_bundle(
            staged=Path(files.path),
            target=parts.adapters / run.adapter,
            run=run,
            probe=probe,
            max_rank=parts.max_rank,
            facts={"steps": files.steps, "seconds": files.seconds, "metrics": metrics, "python": sys.version.split()[0]},
            now=datetime.now(UTC),
        )


def main() -> int:
    """Exit code 0: the bundle is complete."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer.train_one_run")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    if arguments.parent is not None:
        threading.Thread(target=_end_with, args=(arguments.parent,), name="end-with-parent", daemon=True).start()
    try:
        settings = load(arguments.config)
        configure_logging(settings.log_level)
        perform(RunId(arguments.run), run_parts(settings))
    except FlywheelError as error:
        print(json.dumps({"refused": str(error)}), flush=True)  # noqa: T201 (the protocol with the parent)
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _say(step: int, of: int, loss: float) -> None:
    print(json.dumps({"step": step, "of": of, "loss": round(loss, 4)}), flush=True)  # noqa: T201 (the protocol with the parent)


def _end_with(parent: int) -> None:
    """Ends this process when the trainer is gone: its run is leased again, and must not be trained twice at once."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

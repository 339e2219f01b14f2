"""The verb ``flywheel demo``: starts clean, runs one cycle, leaves nothing running."""

import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flywheel.errors import CannotRun, FlywheelError
from services.cli.demo.cycle import DemoCycle
from services.cli.demo.daemon import Daemon
from services.cli.demo.people import make_tokens
from services.cli.demo.stage_clock import StageClock
from services.cli.demo.tool_router import WORKLOAD
from services.settings import Settings, load

CONFIG = Path("deploy/demo/flywheel.yaml")


def demo(
    config: Annotated[Path, typer.Option("--config", metavar="PATH", help="The demo's configuration.")] = CONFIG,
) -> None:
    """Watch a model get better on this machine: one full cycle on real parts, some 17 minutes."""
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    try:
        settings = load(config)
        _start_clean(settings)
        make_tokens(settings)
        clock = StageClock(console=console, workload=WORKLOAD)
        with Daemon(config=config, settings=settings) as daemon:
            DemoCycle(settings=settings, config=config, clock=clock, daemon=daemon).run()
    except FlywheelError as error:
        console.print(f"[red]flywheel demo:[/] {error}", highlight=False)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        console.print("\nstopped; nothing is left running. `make demo` starts clean.")
        raise typer.Exit(130) from None


def _start_clean(settings: Settings) -> None:
    """Empties the demo's own folder only; models and packages beside it stay."""
    if settings.data_dir.name != "demo":
        raise CannotRun(
            "the demo empties its data folder first, so the folder must be named demo",
            where="data_dir",
            value=str(settings.data_dir),
            remedy="Set data_dir: var/demo.",
        )
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    settings.data_dir.mkdir(parents=True)

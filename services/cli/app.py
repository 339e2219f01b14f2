"""The command tree."""

import importlib
import importlib.metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from flywheel.errors import CannotRun
from services.cli import (
    alerts,
    corrections,
    dead_letters,
    drift,
    exchange,
    gate,
    lineage,
    regression_suite,
    retraining,
    rollout,
    tokens,
    topics,
    training_set,
)
from services.process.interrupted import ends_quietly

FAR = {
    "check-config": ("services.cli.check_config:check_config", "Check flywheel.yaml before anything starts."),
    "up": ("services.cli.up.command:up", "Start, watch and stop everything."),
    "doctor": ("services.cli.doctor:doctor", "Say what this machine can run, and what is wrong."),
    "demo": ("services.cli.demo.command:demo", "Show one full cycle on this machine, on real parts."),
    "migrate": ("services.cli.migrate.command:migrate", "Bring the databases to the schema of this version."),
    "report": ("services.cli.report.command:report", "Write what happened as JSON and as a page."),
}
"""Commands that do not use the api: their function, imported when called, and their help text."""
ORDER = (
    *("up", "doctor", "check-config", "migrate", "topics", "demo", "report", "alerts", "reference", "corrections"),
    *("golden", "dataset", "train", "gate", "release", "lineage", "exchange", "dlq", "token"),
)


class InReadingOrder(TyperGroup):
    """Lists the daemon's own commands first, then the others in the order in which data flows."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"flywheel {importlib.metadata.version('flywheel-daemon')}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="flywheel",
        cls=InReadingOrder,
        help="Improves a production language model from its own failures: drift, corrections, training, gate, rollout.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name, (function, sentence) in FAR.items():
        _add_far(app, name, function, sentence)
    app.add_typer(topics.commands, name="topics")
    app.add_typer(corrections.commands, name="corrections")
    app.add_typer(alerts.commands, name="alerts")
    app.add_typer(drift.commands, name="reference")
    app.add_typer(regression_suite.commands, name="golden")
    app.add_typer(training_set.commands, name="dataset")
    app.command("train")(retraining.train)
    app.add_typer(gate.commands, name="gate")
    app.add_typer(rollout.commands, name="release")
    app.command("lineage")(lineage.lineage)
    app.add_typer(exchange.commands, name="exchange")
    app.add_typer(dead_letters.commands, name="dlq")
    app.add_typer(tokens.commands, name="token")
    return app


def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and end.", callback=_print_version)] = False,
) -> None:
    """Options before a command."""


def _add_far(app: typer.Typer, name: str, function: str, sentence: str) -> None:
    """The command's own function parses its own options; importing it here would cost every other command its start-up time."""

    @app.command(
        name,
        help=sentence,
        short_help=sentence,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def pass_on(context: typer.Context) -> None:
        try:
            module, _, attribute = function.partition(":")
            with ends_quietly():
                command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise CannotRun(
                "a package is missing", where=f"flywheel {name}", value=error.name, remedy="Install it, or run `make setup`."
            ) from error
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(name)(command)
        code = get_command(single).main(args=list(context.args), prog_name=f"flywheel {name}", standalone_mode=False)
        raise typer.Exit(code if isinstance(code, int) else 0)

"""Runs one command: exit codes 0 ok, 1 failed, 2 usage, 3 refused, 4 cannot tell; never a stack trace for what a person can put right."""

import json
import os
import sys
from contextlib import suppress

import typer
from typer.main import get_command

from flywheel.errors import FlywheelError, InvalidSettings
from services.cli.app import build_app
from services.cli.output import json_scalar


def run(arguments: list[str]) -> int:
    """The exit code."""
    try:
        result = get_command(build_app()).main(args=arguments, prog_name="flywheel", standalone_mode=True)
        sys.stdout.flush()
    except FlywheelError as error:
        if "--json" in arguments:
            body = {"where": error.where, "value": json_scalar(error.value), "reason": error.reason, "remedy": error.remedy}
            typer.echo(json.dumps({"error": body | {"exit_code": error.exit_code} | _every_fault(error)}), err=True)
        else:
            typer.echo("\n".join(f"flywheel: {line}" for line in str(error).splitlines()), err=True)
        return error.exit_code
    except SystemExit as ended:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            pass
        except OSError as error:
            return _could_not_read_or_write(error)
        return ended.code if isinstance(ended.code, int) else (0 if ended.code is None else 1)
    except BrokenPipeError:  # the reader of our output went away: head, less
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _could_not_read_or_write(error)
    return result if isinstance(result, int) else 0


def _could_not_read_or_write(error: OSError) -> int:
    """The exit code. What Python still holds of the output is let go: it would be tried again at the end."""
    what = error.filename or "the output or the working directory"
    with suppress(OSError):
        typer.echo(f"flywheel: {what}: {error.strerror or error}. See that it is there, and that the disk has room.", err=True)
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


def _every_fault(error: FlywheelError) -> dict[str, list[dict[str, object]]]:
    """Of a configuration; other errors are one."""
    if not isinstance(error, InvalidSettings):
        return {}
    from services.cli.check_config import faults_as_json  # here: an error that is not about settings needs none of this

    return {"faults": faults_as_json(error)}

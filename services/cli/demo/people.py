"""The demo's named people: each uses the ``flywheel`` command with a token of their own."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from flywheel.errors import CannotRun
from services.settings import Settings


def make_tokens(settings: Settings) -> None:
    """Writes a new secret for each token of the configuration, readable by the owner only."""
    for token in settings.tokens:
        if token.token_file is not None:
            token.token_file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(token.token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24))


def token_of(settings: Settings, name: str) -> str:
    """The secret of a named person or tool."""
    for token in settings.tokens:
        if token.name == name and token.token_file is not None:
            return token.token_file.read_text().strip()
    raise CannotRun("the demo's configuration names no such token", where="tokens", value=name, remedy="Use deploy/demo/flywheel.yaml.")


class Colleague:
    """A named person at the command line."""

    def __init__(self, name: str, *, settings: Settings, config: Path) -> None:
        self._environment = {**os.environ, "FLYWHEEL_TOKEN": token_of(settings, name), "FLYWHEEL_CONFIG": str(config)}
        self.name = name

    def runs(self, *words: str, refused_is_fine: bool = False) -> Any:
        """The JSON answer of ``flywheel <words> --json``. Raises CannotRun with the command's output."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *words, "--json"], env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0 and not (refused_is_fine and done.returncode in (3, 4)):
            output = (done.stderr or done.stdout).strip()[-400:]
            raise CannotRun(f"`flywheel {' '.join(words)}` failed: {output}", where=f"demo, {self.name}", remedy="Read var/demo/logs.")
        return json.loads(done.stdout) if done.stdout.strip() else None

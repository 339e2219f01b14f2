"""Sets up the clients that tests drive, each in an environment of its own under var/test-clients, once for all runs.

Skips the test, with the reason, where the package index or the registry does not answer, or Node is missing.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "var" / "test-clients"
SYSTEM_CERTIFICATES = {"UV_NATIVE_TLS": "1", "NODE_OPTIONS": "--use-openssl-ca"}  # a team's proxy signs with a certificate of its own
NODE_PACKAGES = ("openai@7.59.0", "zod@4.6.7")  # neither needs another package


def python_clients() -> Path:
    """The interpreter of an environment with OpenAI's client and LiteLLM's proxy."""
    uv, folder = ROOT / ".venv/bin/uv", FOLDER / "python"
    lock = HERE / "python.lock"
    steps = [
        [str(uv), "venv", "-q", "--clear", "--python", str(ROOT / ".venv/bin/python"), str(folder)],
        [str(uv), "pip", "install", "-q", "--no-deps", "--python", str(folder / "bin/python"), "-r", str(lock)],
    ]
    _once(folder, lock.read_text(), steps, "the Python package index gave no OpenAI client and LiteLLM")
    return folder / "bin" / "python"


def node_client() -> Path:
    """A folder from which ``openai_client.mjs`` finds OpenAI's client for Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node with npm on this machine")
    folder = FOLDER / "node"
    install = [
        "npm",
        "install",
        "--prefix",
        str(folder),
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--fetch-retries=1",
        *NODE_PACKAGES,
    ]
    _once(folder, " ".join(NODE_PACKAGES), [install], "the npm registry gave no OpenAI client")
    shutil.copy(HERE / "openai_client.mjs", folder)  # Node looks for packages beside the file that imports them
    return folder


def _once(folder: Path, wanted: str, steps: Sequence[Sequence[str]], failure: str) -> None:
    """Runs the steps unless they ran for the same ``wanted`` before. Two runs at a time take turns."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stamp = folder / ".made-from"
    digest = hashlib.sha256(f"{wanted} {folder}".encode()).hexdigest()
    with (FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False, env={**SYSTEM_CERTIFICATES, **os.environ})
            if done.returncode:
                pytest.skip(f"{failure}: {(done.stderr.strip().splitlines() or ['no message'])[-1][:200]}")
        stamp.write_text(digest)

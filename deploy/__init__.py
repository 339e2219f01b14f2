"""What runs it: migrations, topics, lock files, manuals, runbooks, the demo's content. Package data, no code of the daemon."""

from pathlib import Path


def deploy_dir() -> Path:
    """The folder of migrations, topics and runbooks: beside the source, or inside the installed package."""
    return Path(__file__).resolve().parent

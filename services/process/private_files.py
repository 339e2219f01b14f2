"""Files that only their owner can read: prompts of users stand in databases, logs and spools."""

import os


def make_files_private() -> None:
    """From here on this process and its children make files with mode 0600 and folders with mode 0700."""
    os.umask(0o077)

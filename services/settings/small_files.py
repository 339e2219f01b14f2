"""Reads a file that a person named, up to a bound: a device such as /dev/zero has no end."""

import errno
from pathlib import Path

SECRET_BYTES = 65_536
CERTIFICATE_BYTES = 1_048_576  # with its chain
SETTINGS_BYTES = 1_048_576


def read_at_most(file: Path, most: int) -> bytes:
    """The content. Raises OSError, for more than ``most`` bytes too."""
    with file.open("rb") as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it holds over {most:,} bytes", str(file))
    return content

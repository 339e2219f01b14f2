"""The wire: JSON Schemas of every event that crosses a process boundary, and golden examples of each."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def schema(name: str) -> dict[str, Any]:
    """``schema("traffic/traffic.v1")`` is the parsed schema of that event's ``data``; ``schema("envelope.v1")`` the envelope."""
    return dict(json.loads(files(__package__).joinpath(f"{name}.json").read_text()))

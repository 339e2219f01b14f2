"""The report as one self-contained page: no script, no network, light and dark."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

_ENVIRONMENT = Environment(loader=PackageLoader("services.cli", "pages"), autoescape=True)


def render(content: Mapping[str, Any]) -> str:
    """HTML of a report as ``services.cli.report.build`` makes it; all text is escaped."""
    longest = max((stage["seconds"] for stage in content["stages"]), default=1.0)
    return _ENVIRONMENT.get_template("report.html").render(report=content, longest=longest or 1.0)

"""The report as one self-contained page: no script, no network, light and dark."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

LOADER = PackageLoader("services.cli.report", "pages")
"""Of ``report.html``, whose blocks another page may fill."""


def render(content: Mapping[str, Any]) -> str:
    """HTML of a report's content; all text is escaped."""
    return Environment(loader=LOADER, autoescape=True).get_template("report.html").render(report=content)

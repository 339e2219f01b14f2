"""What the manuals show and link must be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "deploy" / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)|(?:src|srcset)=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_or_shows_is_there(page: Path) -> None:
    named = [first or second for first, second in LINK.findall(page.read_text(encoding="utf-8"))]
    assert [name for name in named if not (page.parent / name).exists()] == []


def test_every_measured_table_is_filled_from_a_full_run() -> None:
    text = (ROOT / "deploy" / "docs" / "figures.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- figures: ([a-z-]+) -->\n(.*?)<!-- end of figures -->", text, re.DOTALL)
    assert {name for name, _ in tables} == {"alarms", "canary", "crash", "drift", "gate-errors", "gateway", "idle", "novelty", "record"}
    assert [name for name, body in tables if "| measured |" not in body or "Seeds" not in body] == []


def test_the_manual_has_every_metric() -> None:
    made = re.compile(r"""(?:Counter|Gauge|Histogram)\(\s*"(flywheel_\w+)\"""")
    found = {name for file in (ROOT / "services").rglob("*.py") for name in made.findall(file.read_text(encoding="utf-8"))}
    page = (ROOT / "deploy" / "docs" / "operations.md").read_text(encoding="utf-8")
    assert len(found) > 20
    assert sorted(name for name in found if name not in page) == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", tests))
    assert len(named) > 20
    assert sorted(named - defined) == []

"""Writes the measured figures into deploy/docs/figures.md, between the marks that name their benchmark.

In: var/bench/<name>.json of full counts. Out: the page with its tables replaced. A table of small counts is never written into the page.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "deploy" / "docs" / "figures.md"
MARK = re.compile(r"(<!-- figures: (?P<name>[a-z-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def table(name: str) -> str | None:
    """The benchmark's table in Markdown; None where no full run has been made."""
    path = ROOT / "var" / "bench" / f"{name}.json"
    if not path.exists():
        return None
    written = json.loads(path.read_text(encoding="utf-8"))
    if written["counts"] != "full":
        return None
    lines = ["", "| figure | measured | asked | |", "| --- | --- | --- | --- |"]
    for figure in written["figures"]:
        met = {True: "met", False: "**missed**", None: ""}[figure["met"]]
        beside = "; ".join(filter(None, [met, figure["peer"], figure["reason"]]))
        lines.append(f"| {figure['name']} | {figure['value']:.4g} {figure['unit']} | {figure['goal']} | {beside} |")
    seeds = ", ".join(map(str, written["seeds"]))
    notes = [line for note in written.get("notes", ()) for line in ("", note)]
    return "\n".join([*lines, "", f"Seeds {seeds}; {written['machine']}; {written['at'][:10]}.", *notes, "", ""])


def main() -> int:
    """Names the benchmarks whose table could not be written."""
    page = PAGE.read_text(encoding="utf-8")
    missing = []

    def filled(match: re.Match[str]) -> str:
        made = table(match["name"])
        if made is None:
            missing.append(match["name"])
            return match[0]
        return match[1] + made + match[3]

    PAGE.write_text(MARK.sub(filled, page), encoding="utf-8")
    if missing:
        print(f"no full run of {', '.join(missing)}: its table stays as it was. Run `make soak NAME=<name>` first.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

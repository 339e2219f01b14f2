"""Lines on a grid as SVG, once for light pages and once for dark ones.

Full counts write into deploy/docs/pictures, where the manuals show them; small counts into var/bench/pictures, so that a quick run
never replaces a picture that was drawn from a long one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figures import ROOT, soak

_INK = {"light": ("#1f2328", "#d0d7de"), "dark": ("#e6edf3", "#3d444d")}
_LINES = {
    "light": ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#57606a"),
    "dark": ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#8b949e"),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve; ``low`` and ``high`` draw a band of uncertainty around it."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def draw(
    stem: str,
    *,
    title: str,
    across: str,
    up: str,
    lines: Mapping[str, Line],
    goals: Mapping[str, float] | None = None,
    logarithmic: bool = False,
    percent: bool = False,
) -> tuple[Path, Path]:
    """Writes <stem>-light.svg and <stem>-dark.svg. ``goals``: horizontal dashed lines, label -> value. ``percent``: y is a share."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter

    folder = ROOT / ("deploy/docs/pictures" if soak() else "var/bench/pictures")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for tone in ("light", "dark"):
        ink, grid = _INK[tone]
        # A fixed salt and no date: the same figures give the same bytes.
        with plt.rc_context({"svg.hashsalt": stem, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}):
            figure, axes = plt.subplots(figsize=(7.2, 3.8))
            figure.patch.set_alpha(0)
            axes.set_facecolor("none")
            for (label, line), colour in zip(lines.items(), _LINES[tone] * 3, strict=False):
                axes.plot(line.x, line.y, label=label, color=colour, linewidth=1.8, marker="o", markersize=3.5)
                if line.low is not None and line.high is not None:
                    axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
            for label, value in (goals or {}).items():
                axes.axhline(value, color=ink, linewidth=1, linestyle=(0, (4, 3)))
                axes.annotate(label, (1.0, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=ink, fontsize=8.5)
            if logarithmic:
                axes.set_xscale("log")
            if percent:
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_title(title, color=ink, loc="left", fontsize=11)
            axes.set_xlabel(across, color=ink)
            axes.set_ylabel(up, color=ink)
            axes.tick_params(colors=ink)
            axes.grid(color=grid, linewidth=0.6)
            for side in axes.spines.values():
                side.set_color(grid)
            axes.legend(frameon=False, labelcolor=ink, fontsize=8.5)
            figure.tight_layout()
            target = folder / f"{stem}-{tone}.svg"
            figure.savefig(target, metadata={"Date": None}, transparent=True)
            plt.close(figure)
        written.append(target)
    return written[0], written[1]

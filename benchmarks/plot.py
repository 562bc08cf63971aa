"""The results as a picture: CPU time of transfers and rate of requests, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")
# The same figures give the same file, and text stays text.
mpl.rcParams |= {"svg.hashsalt": "ocidist", "svg.fonttype": "none"}
from matplotlib import pyplot as plt  # noqa: E402 -- the lines above say how it is to draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.figures import Results
    from benchmarks.plan import Scenario

_OURS, _OTHERS = "#1b7f5c", "#9aa5b1"
_COLUMNS = 2


def draw(results: Results, scenarios: Sequence[Scenario], path: Path) -> None:
    """Draw a bar for each contender of each scenario that moves bytes or makes requests."""
    shown = [one for one in scenarios if one.kind != "start"]
    rows = -(-len(shown) // _COLUMNS)
    if not rows:
        return
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(15, 4.2 * rows), squeeze=False)
    for axis, scenario in zip(axes.flat, shown, strict=False):
        rate = scenario.kind == "requests"
        names = [one.name for one in scenario.contenders]
        values = {name: results.median(scenario.key, name, "rate" if rate else "cpu") for name in names}
        drawn = [(name, value) for name, value in values.items() if value is not None][::-1]
        colors = [_OURS if name.startswith("ocidist") else _OTHERS for name, _ in drawn]
        bars = axis.barh([name for name, _ in drawn], [value for _, value in drawn], color=colors)
        axis.bar_label(bars, fmt="%.0f" if rate else "%.2f", padding=3, fontsize=8)
        axis.set_title(scenario.title, fontsize=9)
        axis.set_xlabel("requests per second (more is better)" if rate else "CPU seconds (less is better)", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    for axis in axes.flat[len(shown) :]:
        axis.remove()
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)

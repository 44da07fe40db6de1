"""Table 8 as a picture: the paper's losses, ours, chance and the optimum."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from energyshare.experiments.experiment3 import Experiment3

__all__ = ["draw"]

_SALT = "energyshare"
"""Names in an SVG follow from it, so that the same figures give the same file."""


def draw(result: Experiment3, path: Path) -> tuple[Path, Path]:
    """Write the figure as PNG and as SVG, whichever ending `path` has.

    Returns:
        The two files.
    """
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = _SALT
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(12, 5), layout="constrained")
    places = list(range(len(result.rows)))
    papers = [row.paper for row in result.rows]
    axes.vlines(
        places,
        [paper.min_line_loss_pct for paper in papers],
        [paper.max_line_loss_pct for paper in papers],
        color="0.88",
        linewidth=12,
        label="lines of the network",
    )
    for offset, color, losses, intervals, printed, name in (
        (
            -0.12,
            "tab:red",
            [row.random_loss_pct for row in result.rows],
            [row.random_loss_ci95_pct() for row in result.rows],
            [paper.random_loss_pct for paper in papers],
            "random",
        ),
        (
            0.12,
            "tab:blue",
            [row.scheduled_loss_pct for row in result.rows],
            [row.scheduled_loss_ci95_pct() for row in result.rows],
            [paper.scheduled_loss_pct for paper in papers],
            "lowest loss",
        ),
    ):
        at = [place + offset for place in places]
        reach = [high - loss for loss, (_, high) in zip(losses, intervals, strict=True)]
        axes.errorbar(at, losses, yerr=reach, fmt="o", color=color, capsize=3, label=f"{name}, ours (95 %)")
        axes.plot(at, printed, "x", color=color, label=f"{name}, paper")
    axes.plot(places, [row.optimum_loss_pct for row in result.rows], "_", color="black", markersize=16, label="optimum")
    unreached = [place for place, paper in zip(places, papers, strict=True) if not paper.reachable]
    axes.plot(
        [place + 0.12 for place in unreached],
        [papers[place].scheduled_loss_pct for place in unreached],
        "o",
        color="tab:blue",
        markersize=13,
        fillstyle="none",
        label="below every line: out of reach",
    )
    axes.set_xticks(places, [f"{paper.users}\n{paper.stations}" for paper in papers])
    axes.set_xlabel("users, stations")
    axes.set_ylabel("loss, % of what is sent")
    axes.set_ylim(0, 52)
    axes.legend(ncols=4, fontsize="small", loc="upper left")
    axes.set_title(f"Table 8, {result.repeats} repeats of each row")
    files = path.with_suffix(".png"), path.with_suffix(".svg")
    figure.savefig(files[0], dpi=150, metadata={"Software": None})
    figure.savefig(files[1], metadata={"Date": None})
    pyplot.close(figure)
    return files

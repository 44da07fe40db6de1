"""Experiment 3 as pictures: table 8, and losses as energy runs short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from energyshare.experiments.capacity import Losses, Point
from energyshare.experiments.experiment3 import Experiment3

__all__ = ["draw_scarcity", "draw_table_8"]


def draw_table_8(result: Experiment3, path: Path) -> tuple[Path, Path]:
    """The paper's losses, ours, chance and the optimum; as PNG and as SVG, whichever ending `path` has.

    Returns:
        The two files.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots()
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
    return _save(figure, path)


def draw_scarcity(points: Sequence[Point], path: Path) -> tuple[Path, Path]:
    """What each policy loses above the optimum, by the energy there is; as PNG and as SVG.

    Returns:
        The two files.
    """
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    for axes, losses in zip(figure.subplots(1, 2), Losses, strict=True):
        curve = sorted((point for point in points if point.scarcity.losses is losses), key=lambda at: at.scarcity.ratio)
        means = [point.mean for point in curve]
        for name, color, marker, taken in (
            ("random", "tab:red", "s", [mean.random_loss for mean in means]),
            ("lowest loss", "tab:blue", "o", [mean.lowest_loss for mean in means]),
            ("price-guided", "tab:green", "^", [mean.price_guided_loss for mean in means]),
            ("clairvoyant", "black", "_", [mean.price_guided_optimum_loss for mean in means]),
        ):
            ratios = [point.scarcity.ratio for point in curve]
            axes.plot(ratios, [100 * loss for loss in taken], marker=marker, color=color, label=name)
        axes.set_title(f"losses {losses}: {curve[0].scarcity.users} users, {curve[0].scarcity.stations} stations")
        axes.set_xlabel("energy that can be drawn / demand")
        axes.set_ylabel("loss, % of what is sent")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.legend()
        axes.grid(which="both", alpha=0.2)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """The same figure gives the same files."""
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    figure.savefig(png, dpi=150, metadata={"Software": None})
    with matplotlib.rc_context({"svg.hashsalt": "energyshare"}):
        figure.savefig(svg, metadata={"Date": None})
    return png, svg

"""A run as a picture: what flowed, and what was lost of it."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from energyshare.simulation.grid.case import STEP_H, STEPS_PER_DAY
from energyshare.simulation.grid.run import GridRun

__all__ = ["draw"]

_SALT = "energyshare"
"""Names in an SVG follow from it, so that the same figures give the same file."""


def draw(run: GridRun, path: Path) -> tuple[Path, Path]:
    """Write the figure as PNG and as SVG, whichever ending `path` has.

    Returns:
        The two files.
    """
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = _SALT
    from matplotlib import pyplot

    case, served = run.case, run.served
    day = np.arange(case.steps) / STEPS_PER_DAY
    winding = run.flow.loss_w[:, case.grid.transformers].sum(axis=1)
    line = run.flow.loss_w.sum(axis=1) - winding
    iron = np.full(case.steps, case.grid.iron_w)
    conversion = served.conversion_wh / STEP_H

    figure, (flows, losses) = pyplot.subplots(2, 1, figsize=(11, 7), sharex=True, layout="constrained")
    for power, color, name in (
        (case.load_wh.sum(axis=1) / STEP_H, "tab:blue", "load"),
        (case.pv_wh.sum(axis=1) / STEP_H, "tab:orange", "photovoltaics"),
        (served.net_wh.sum(axis=1) / STEP_H, "tab:green", "stations, above 0 where they supply"),
        (run.flow.source_w, "0.5", "from the grid above"),
    ):
        flows.plot(day, power / 1_000, color=color, linewidth=1, label=name)
    flows.axhline(0, color="black", linewidth=0.5)
    flows.set_ylabel("power, kW")
    flows.legend(ncols=4, fontsize="small", loc="upper left")
    flows.set_ylim(top=flows.get_ylim()[1] * 1.2)

    losses.stackplot(
        day,
        *(part / 1_000 for part in (line, winding, conversion, iron)),
        labels=["lines", "transformer, by the current", "conversion of stations", "transformer, iron"],
        colors=["tab:red", "tab:pink", "tab:olive", "0.85"],
    )
    unshared = run.unshared.loss_w.sum(axis=1)
    losses.plot(day, unshared / 1_000, "k:", linewidth=1, label="lines and transformer, had nobody shared")
    losses.set_ylabel("loss, kW")
    losses.set_xlabel("day")
    losses.legend(ncols=3, fontsize="small", loc="upper left")
    losses.set_ylim(0, losses.get_ylim()[1] * 1.25)
    losses.set_xlim(0, day[-1])

    flows.set_title(f"{case.name} ({case.source}), {case.season}, {run.policy}")
    files = path.with_suffix(".png"), path.with_suffix(".svg")
    figure.savefig(files[0], dpi=120, metadata={"Software": None})
    figure.savefig(files[1], metadata={"Date": None})
    pyplot.close(figure)
    return files

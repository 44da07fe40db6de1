"""What large simulations take against their size, and the page that shows it (`docs/scale.md`)."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from energyshare.errors import EnergyShareError
from energyshare.simulation import engine
from energyshare.simulation.engine import EngineReport
from energyshare.simulation.model import simulate
from energyshare.simulation.policies import LowestLoss
from energyshare.simulation.script import draw_script

__all__ = ["Measurement", "ModelDiffers", "ScaleReport", "draw", "measure", "render"]

USERS = (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
USERS_PER_STATION = 100
LINES_PER_USER = 20
SEED = 1
CAPACITY = 1.5
CAPACITIES = (3.0, 1.5, 1.05, 0.9, 0.3)
"""Energy stored over energy asked for, of the largest network."""

MODEL_USERS = 30_000
"""Up to here the model in SimPy runs beside the engine."""

MAX_SECONDS = 60
MAX_BYTES = 6_000_000_000


class ModelDiffers(EnergyShareError):
    """Engine and model do not agree, so that nothing is worth measuring."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run, in a process of its own."""

    report: EngineReport
    capacity: float
    cpu_seconds: float
    """Of the run; what it would take alone on a core."""
    model_seconds: float | None
    """Of the model on the same script, in processor time; None where it did not run."""


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """Runs by size, and of the largest by capacity."""

    sizes: Sequence[Measurement]
    capacities: Sequence[Measurement]

    @property
    def exponent(self) -> float:
        """x, where processor time grows as users to the power of x, from 10,000 up."""
        large = [run for run in self.sizes if run.report.users >= 10_000]
        users, seconds = zip(*((run.report.users, run.cpu_seconds) for run in large), strict=True)
        return float(np.polyfit(np.log(users), np.log(seconds), 1)[0])

    @property
    def violations(self) -> list[str]:
        """One line for each run that takes more than it may."""
        return [
            f"{run.report.users:,} users take {run.cpu_seconds:.0f} s and {run.report.peak_rss_bytes / 1e9:.1f} GB"
            for run in (*self.sizes, *self.capacities)
            if run.cpu_seconds > MAX_SECONDS or run.report.peak_rss_bytes > MAX_BYTES
        ]


def measure(
    users: Sequence[int] = USERS,
    capacities: Sequence[float] = CAPACITIES,
    progress: Callable[[str], None] | None = None,
) -> ScaleReport:
    """Run every size, and the last of them at every capacity. Raises ModelDiffers."""
    tell = progress or (lambda _: None)
    by_size, by_capacity = [], []
    for number in users:
        tell(f"{number:,} users")
        by_size.append(_apart(number, CAPACITY, with_model=number <= MODEL_USERS))
    for capacity in capacities:
        tell(f"{users[-1]:,} users, {capacity} units stored for each asked for")
        by_capacity.append(_apart(users[-1], capacity, with_model=False))
    return ScaleReport(by_size, by_capacity)


def draw(report: ScaleReport, path: Path) -> None:
    """Write the figure of time and memory against users; the ending of the path says which kind."""
    users = [run.report.users for run in report.sizes]
    with rc_context({"svg.hashsalt": "energyshare"}):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        seconds = [run.cpu_seconds for run in report.sizes]
        left.loglog(users, seconds, "o-", label="engine")
        modelled = [run for run in report.sizes if run.model_seconds is not None]
        left.loglog(
            [run.report.users for run in modelled], [run.model_seconds for run in modelled], "s-", label="SimPy"
        )
        left.loglog(users, [seconds[-1] * number / users[-1] for number in users], ":", color="0.5", label="linear")
        left.axhline(MAX_SECONDS, color="tab:red", linewidth=0.8, label=f"{MAX_SECONDS} s")
        left.set_ylabel("processor time, s")
        gigabytes = [run.report.peak_rss_bytes / 1e9 for run in report.sizes]
        right.loglog(users, gigabytes, "o-", label="engine")
        right.loglog(users, [gigabytes[-1] * number / users[-1] for number in users], ":", color="0.5", label="linear")
        right.axhline(MAX_BYTES / 1e9, color="tab:red", linewidth=0.8, label=f"{MAX_BYTES / 1e9:.0f} GB")
        right.set_ylabel("peak of memory, GB")
        for axes in (left, right):
            axes.set_xlabel(f"users; a station for {USERS_PER_STATION}, {LINES_PER_USER} lines each")
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def render(report: ScaleReport, figure: str) -> str:
    """The whole page.

    Args:
        figure: Where the page finds it.
    """
    sizes = "\n".join(
        f"| {run.report.users:,} | {run.report.stations:,} | {run.report.delivered_units:,} | "
        f"{run.report.loss_pct:.2f} | {run.cpu_seconds:.2f} | {run.report.peak_rss_bytes / 1e6:,.0f} | "
        f"{'' if run.model_seconds is None else f'{run.model_seconds:.2f}'} |"
        for run in report.sizes
    )
    capacities = "\n".join(
        f"| {run.capacity} | {run.report.delivered_units:,} | {run.report.loss_pct:.2f} | {run.cpu_seconds:.1f} |"
        for run in report.capacities
    )
    return f"""# Scale

Generated by `python -m scripts.scale`; do not edit. Measured on {platform.machine()} with {os.cpu_count()} cores,
Python {platform.python_version()}, each run in a process of its own, on one core, drawing of the network included.

![Time and memory against users]({figure})

A station for {USERS_PER_STATION} users, {LINES_PER_USER} lines a user, the paper's requests and sales over an hour,
{CAPACITY} units stored for each unit asked for, seed {SEED}. From 10,000 users up, time grows as their number to the
power of {report.exponent:.2f}.

| users | stations | units delivered | loss, % | processor time, s | peak of memory, MB | SimPy, s |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{sizes}

Where a time stands for SimPy, the model ran on the same script, and each request moved the same units from the same
stations; otherwise there would be no page.

## How

When a unit is due follows from the script alone. The order of units matters only where a station may change its answer:
when it comes near its reserve, or has a flag to raise. So time is cut into windows, in each of which about as many
requests start as there are stations, and for each window

1. bounds are drawn: assume that every station stays available, find where each request would turn to, count the units
   and users that each station could meet at most, take back the assumption for stations that these could bring to their
   reserve, and repeat until nothing changes. What is left is *calm*: available to whoever comes, in whatever order;
2. requests that can meet calm stations alone are added up in arrays;
3. all others, with the charges of stations that are not calm, go through the model's state machine unit by unit, in the
   order of the timeline. What they draw from calm stations is within the bounds, so 2 and 3 do not meet.

No step is approximate: a window that cannot be bounded is served in order as a whole. So the shorter energy is, the
more goes unit by unit. {report.capacities[0].report.users:,} users by the energy stored for each unit asked for:

| stored / asked for | units delivered | loss, % | processor time, s |
| ---: | ---: | ---: | ---: |
{capacities}

## Sweeps

`energyshare.simulation.sweep` runs a function of (parameters, seed) over many of both, in processes on all cores, or
with `backend=Backend.RAY` on a Ray of its own or, by `address`, on a cluster that is there. Results come in the order
of the runs, and are the same numbers: a run depends on nothing but its arguments. Ray is in the extra `distributed`.
"""


def _apart(users: int, capacity: float, *, with_model: bool) -> Measurement:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, users, capacity, with_model).result()


def _measured(users: int, capacity: float, with_model: bool) -> Measurement:
    stations = users // USERS_PER_STATION
    begun = time.process_time()
    report = engine.run(users, stations, LINES_PER_USER, SEED, capacity=capacity)
    cpu_seconds = time.process_time() - begun
    model_seconds = _model_seconds(users, stations, capacity) if with_model else None
    return Measurement(report, capacity, cpu_seconds, model_seconds)


def _model_seconds(users: int, stations: int, capacity: float) -> float:
    parameters = engine.parameters_for(users, stations, LINES_PER_USER, capacity)
    begun = time.process_time()
    script = draw_script(parameters, SEED)
    run = simulate(script, LowestLoss(script.network), parameters.rules)
    seconds = time.process_time() - begun
    totals = engine.dispatch(script, parameters.rules)
    key = run.request.astype(np.int64) * stations + run.station
    pairs, units = np.unique(key, return_counts=True)
    ours = totals.request.astype(np.int64) * stations + totals.station
    order = np.argsort(ours)
    if not (np.array_equal(ours[order], pairs) and np.array_equal(totals.units[order], units)):
        raise ModelDiffers(f"engine and model differ with {users:,} users, seed {SEED}: repair one of them first")
    return seconds

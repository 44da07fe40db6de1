"""Experiment 3: what the network loses, scheduled against random (the paper's section 4.4, table 8).

Fifteen networks of 10 to 200 users. A unit's loss is the share of what is sent that its line loses, and a network's the
mean over all units, bought and sold. Beside the paper's two figures stands the optimum: the least loss at which each
user could have been served what lowest-loss served it. The parameters that the paper leaves open are the same in every
row, `Parameters` says which and why.

In five rows the paper's scheduled loss is below its smallest line loss. The loss of a network is a mean over lines in
use, so it cannot be below the smallest: no assignment reaches those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean, stdev

import numpy as np
from scipy.stats import t as student  # type: ignore[import-untyped]

from energyshare.errors import EnergyShareError
from energyshare.simulation.allocation import optimum
from energyshare.simulation.model import simulate
from energyshare.simulation.parameters import Parameters
from energyshare.simulation.policies import LowestLoss, Random
from energyshare.simulation.replay import Perform, on_reference, replay
from energyshare.simulation.script import draw_script
from energyshare.simulation.sweep import Backend, Run, sweep

__all__ = [
    "TABLE_8",
    "Experiment3",
    "InvalidRepeats",
    "PaperRow",
    "Repeat",
    "Row",
    "RowReplay",
    "parameters_of",
    "replays",
    "run",
]

REPLAYED = (0, 3, 6)
"""Rows of 10, 25 and 50 users."""


class InvalidRepeats(EnergyShareError):
    """Too few repeats for an interval."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of table 8, as printed."""

    users: int
    stations: int
    max_line_loss_pct: float
    min_line_loss_pct: float
    scheduled_energy_units: float
    scheduled_loss_pct: float
    random_energy_units: float
    random_loss_pct: float
    loss_ratio: float

    @property
    def reachable(self) -> bool:
        """Whether some assignment could lose so little."""
        return self.scheduled_loss_pct >= self.min_line_loss_pct


TABLE_8 = (
    PaperRow(10, 2, 17.4, 5.2, 114.6, 8.7, 114.6, 10.9, 0.79),
    PaperRow(10, 2, 15.8, 7.0, 92.7, 9.1, 92.7, 11.5, 0.79),
    PaperRow(10, 2, 15.3, 2.6, 106.9, 7.6, 106.9, 10.7, 0.71),
    PaperRow(25, 6, 21.7, 9.4, 233.1, 12.2, 233.1, 15.9, 0.76),
    PaperRow(25, 6, 23.4, 12.6, 290.4, 12.7, 290.4, 16.2, 0.78),
    PaperRow(25, 6, 22.5, 10.3, 264.7, 10.9, 264.7, 15.4, 0.70),
    PaperRow(50, 17, 30.8, 16.8, 523.4, 13.4, 523.4, 22.1, 0.60),
    PaperRow(50, 17, 28.4, 18.2, 489.5, 15.2, 489.5, 20.4, 0.74),
    PaperRow(50, 17, 32.6, 14.5, 478.1, 14.9, 478.1, 21.3, 0.69),
    PaperRow(100, 30, 34.1, 17.3, 854.3, 17.7, 854.3, 24.6, 0.71),
    PaperRow(100, 30, 33.4, 20.1, 1374.4, 16.3, 1374.4, 25.9, 0.62),
    PaperRow(100, 30, 36.1, 18.5, 967.2, 17.4, 967.2, 26.7, 0.65),
    PaperRow(200, 70, 40.7, 18.3, 1987.5, 15.2, 1987.5, 22.9, 0.66),
    PaperRow(200, 70, 35.4, 12.7, 2234.2, 14.4, 2234.2, 24.4, 0.59),
    PaperRow(200, 70, 37.8, 16.9, 2637.1, 17.6, 2637.1, 27.9, 0.63),
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """One script under the policies. Losses as shares of what was sent."""

    scheduled_loss: float
    random_loss: float
    optimum_loss: float
    scheduled_units: int
    random_units: int

    @property
    def ratio(self) -> float:
        """1 where nothing moved."""
        return self.scheduled_loss / self.random_loss if self.random_units else 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """The repeats of a row beside the paper's figures."""

    paper: PaperRow
    repeats: Sequence[Repeat]

    @property
    def scheduled_loss_pct(self) -> float:
        return 100 * fmean(repeat.scheduled_loss for repeat in self.repeats)

    @property
    def random_loss_pct(self) -> float:
        return 100 * fmean(repeat.random_loss for repeat in self.repeats)

    @property
    def optimum_loss_pct(self) -> float:
        return 100 * fmean(repeat.optimum_loss for repeat in self.repeats)

    @property
    def delivered_units(self) -> float:
        """By lowest loss, of both sides."""
        return fmean(repeat.scheduled_units for repeat in self.repeats)

    @property
    def loss_ratio(self) -> float:
        """The mean of the repeats' ratios."""
        return fmean(repeat.ratio for repeat in self.repeats)

    @property
    def scheduled_error(self) -> float:
        """How far our scheduled loss is from the paper's, relative to it."""
        return self.scheduled_loss_pct / self.paper.scheduled_loss_pct - 1

    @property
    def ratio_error(self) -> float:
        """How far our ratio is from the paper's, relative to it."""
        return self.loss_ratio / self.paper.loss_ratio - 1

    def scheduled_loss_ci95_pct(self) -> tuple[float, float]:
        return _interval([100 * repeat.scheduled_loss for repeat in self.repeats])

    def random_loss_ci95_pct(self) -> tuple[float, float]:
        return _interval([100 * repeat.random_loss for repeat in self.repeats])

    def loss_ratio_ci95(self) -> tuple[float, float]:
        return _interval([repeat.ratio for repeat in self.repeats])

    def to_json(self) -> dict[str, object]:
        return {
            **asdict(self.paper),
            "reachable": self.paper.reachable,
            "ours_scheduled_loss_pct": self.scheduled_loss_pct,
            "ours_scheduled_loss_ci95_pct": list(self.scheduled_loss_ci95_pct()),
            "ours_random_loss_pct": self.random_loss_pct,
            "ours_random_loss_ci95_pct": list(self.random_loss_ci95_pct()),
            "ours_loss_ratio": self.loss_ratio,
            "ours_loss_ratio_ci95": list(self.loss_ratio_ci95()),
            "optimum_loss_pct": self.optimum_loss_pct,
            "delivered_units": self.delivered_units,
            "random_delivered_units": fmean(repeat.random_units for repeat in self.repeats),
        }


@dataclass(frozen=True, slots=True)
class RowReplay:
    """A run of a row, performed again by a dispatcher."""

    row: int
    users: int
    transfers: int
    """Units of the run."""
    difference: str | None
    """The first transfer that is not the same; None where all are."""

    @property
    def equal(self) -> bool:
        return self.difference is None

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "equal": self.equal}


@dataclass(frozen=True, slots=True)
class Experiment3:
    """All rows, and what they come to."""

    seed: int
    repeats: int
    rows: Sequence[Row]

    @property
    def ratio_by_users(self) -> dict[int, float]:
        """The mean ratio of the three rows of each size."""
        return {users: fmean(ratios) for users, ratios in self._ratios_by_users().items()}

    def ratio_by_users_ci95(self) -> dict[int, tuple[float, float]]:
        return {users: _interval(ratios) for users, ratios in self._ratios_by_users().items()}

    @property
    def ok(self) -> bool:
        """Whether scheduling loses less than chance in every row, and the more so the larger the network.

        From a size to the next the ratio may rise by what chance explains, from the smallest to the largest it falls.
        """
        means, intervals = list(self.ratio_by_users.values()), list(self.ratio_by_users_ci95().values())
        rises = any(above > below for (_, below), (above, _) in pairwise(intervals))
        return all(row.loss_ratio < 1 for row in self.rows) and means[-1] < means[0] and not rises

    def _ratios_by_users(self) -> dict[int, list[float]]:
        """Of each size, the mean of its rows in each repeat."""
        sizes = dict.fromkeys(row.paper.users for row in self.rows)
        return {
            users: [
                fmean(repeat.ratio for repeat in repeats)
                for repeats in zip(*(row.repeats for row in self.rows if row.paper.users == users), strict=True)
            ]
            for users in sizes
        }

    @property
    def reachable(self) -> list[Row]:
        """Rows whose printed loss some assignment could have."""
        return [row for row in self.rows if row.paper.reachable]

    @property
    def scheduled_error_rms(self) -> float:
        """Over the reachable rows."""
        return math.sqrt(fmean(row.scheduled_error**2 for row in self.reachable))

    @property
    def ratio_error_rms(self) -> float:
        """Over the reachable rows."""
        return math.sqrt(fmean(row.ratio_error**2 for row in self.reachable))

    def to_json(self) -> dict[str, object]:
        common = asdict(parameters_of(TABLE_8[0]))
        for of_the_row in ("users", "stations", "min_loss_bp", "max_loss_bp"):
            del common[of_the_row]
        return {
            "ok": self.ok,
            "seed": self.seed,
            "repeats": self.repeats,
            "rows": [row.to_json() for row in self.rows],
            "ratio_by_users": {str(users): ratio for users, ratio in self.ratio_by_users.items()},
            "ratio_by_users_ci95": {str(users): list(ends) for users, ends in self.ratio_by_users_ci95().items()},
            "calibration": {
                "parameters": common,
                "scheduled_error_rms": self.scheduled_error_rms,
                "ratio_error_rms": self.ratio_error_rms,
                "rows": [
                    {
                        "row": number,
                        "scheduled_error": row.scheduled_error if row.paper.reachable else None,
                        "ratio_error": row.ratio_error if row.paper.reachable else None,
                    }
                    for number, row in enumerate(self.rows)
                ],
            },
        }


def parameters_of(row: PaperRow) -> Parameters:
    """The network of a row; all else is the default."""
    return Parameters(
        row.users,
        row.stations,
        min_loss_bp=round(100 * row.min_line_loss_pct),
        max_loss_bp=round(100 * row.max_line_loss_pct),
    )


def run(
    repeats: int = 100,
    seed: int = 1,
    *,
    backend: Backend = Backend.CORES,
    address: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Experiment3:
    """All rows, each on as many scripts of its own.

    Args:
        backend: What computes the runs; the numbers are the same.
        address: Of a Ray cluster, for that backend; by default Ray runs on this machine.
        jobs: Processes; one a core if None.
        progress: Told the runs that ended and all of them.

    Raises:
        InvalidRepeats: An interval takes two repeats.
        InvalidSweep: Fewer than one job.
    """
    if repeats < 2:
        raise InvalidRepeats(f"{repeats} repeats give no interval: ask for at least 2")
    runs = [
        Run(parameters_of(row), _seed(seed, number, repeat))
        for repeat in range(repeats)
        for number, row in enumerate(TABLE_8)
    ]
    results = sweep(one_repeat, runs, backend=backend, address=address, jobs=jobs, progress=progress)
    rows = [Row(row, results[number :: len(TABLE_8)]) for number, row in enumerate(TABLE_8)]
    return Experiment3(seed, repeats, rows)


def one_repeat(parameters: Parameters, seed: int) -> Repeat:
    """One script under each policy."""
    script = draw_script(parameters, seed)
    scheduled = simulate(script, LowestLoss(script.network), parameters.rules)
    unscheduled = simulate(script, Random(script.network, seed), parameters.rules)
    return Repeat(
        scheduled_loss=scheduled.loss,
        random_loss=unscheduled.loss,
        optimum_loss=optimum(script, scheduled, parameters.rules),
        scheduled_units=scheduled.delivered_units,
        random_units=unscheduled.delivered_units,
    )


def replays(seed: int, perform: Perform = on_reference) -> Iterator[RowReplay]:
    """The first repeat of a row of 10, of 25 and of 50 users, performed again by a dispatcher."""
    for number in REPLAYED:
        parameters = parameters_of(TABLE_8[number])
        script = draw_script(parameters, _seed(seed, number, 0))
        made = replay(script, parameters.rules, perform)
        yield RowReplay(number, parameters.users, made.transfers, made.difference)


def _seed(seed: int, row: int, repeat: int) -> int:
    return int(np.random.SeedSequence((seed, row, repeat)).generate_state(1, np.uint64)[0])


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the mean, with 95 % confidence (Student)."""
    mean, count = fmean(values), len(values)
    reach = float(student.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return mean - reach, mean + reach

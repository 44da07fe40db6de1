"""Beyond table 8: how near to the optimum each policy stays as energy runs short, and what knowing demand is worth.

Networks of one size, with losses drawn as in Experiment 3 and with losses by distance on a map whose towns differ in
demand. Stations hold from little more than what is asked for to three times that, and take in nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from statistics import fmean

import numpy as np

from energyshare.simulation.allocation import optimum
from energyshare.simulation.model import Run as ModelRun
from energyshare.simulation.model import simulate
from energyshare.simulation.parameters import Parameters
from energyshare.simulation.placement import Placement, place
from energyshare.simulation.policies import LowestLoss, Random
from energyshare.simulation.price_guided import PriceGuided
from energyshare.simulation.script import Script, draw_charges, draw_network, draw_requests
from energyshare.simulation.state import Policy
from energyshare.simulation.sweep import Run, sweep

__all__ = ["CURVES", "LARGER", "RATIOS", "Losses", "Point", "Scarcity", "Shares", "of_ratio", "run"]

RATIOS = (1.05, 1.1, 1.25, 1.5, 2.0, 3.0)
"""Of energy that can be drawn, to demand."""


class Losses(StrEnum):
    """Where a network's losses come from."""

    DRAWN = "drawn"
    PLACED = "placed"


@dataclass(frozen=True, slots=True)
class Scarcity:
    """A network and how short energy is in it."""

    losses: Losses
    ratio: float
    """Of energy that can be drawn, to demand."""
    users: int = 200
    stations: int = 50

    @property
    def parameters(self) -> Parameters:
        """From 2 % next door to 40 % across the map; nothing but what stations hold at the start."""
        return Parameters(
            self.users, self.stations, min_loss_bp=200, max_loss_bp=4_000, charge_units=0, sales_per_user=0
        )


CURVES = tuple(Scarcity(losses, ratio) for losses in Losses for ratio in RATIOS)
"""Both kinds of losses at every ratio."""

LARGER = tuple(Scarcity(losses, RATIOS[0], users=500, stations=125) for losses in Losses)
"""The tightest ratio in a network two and a half times as large."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of one run, or the means of many. Losses as shares of what was sent, served ones of what was asked for."""

    random_loss: float
    lowest_loss: float
    price_guided_loss: float
    lowest_optimum_loss: float
    """The least for what lowest-loss served."""
    price_guided_optimum_loss: float
    """The least for what price-guided served, which is more where energy is short."""
    random_served: float
    lowest_served: float
    price_guided_served: float


@dataclass(frozen=True, slots=True)
class Point:
    """The repeats of one network and ratio."""

    scarcity: Scarcity
    repeats: Sequence[Shares]

    @property
    def mean(self) -> Shares:
        return Shares(**{name: fmean(getattr(one, name) for one in self.repeats) for name in Shares.__slots__})

    @property
    def above_optimum(self) -> float:
        """By how much price-guided loses more than the optimum of what it served, relative to that."""
        return self.mean.price_guided_loss / self.mean.price_guided_optimum_loss - 1

    @property
    def over_lowest(self) -> float:
        """By how much price-guided loses more than lowest-loss, relative to it; below 0 where it loses less."""
        return self.mean.price_guided_loss / self.mean.lowest_loss - 1

    @property
    def gap_closed(self) -> float:
        """How much smaller price-guided's gap to its optimum is than lowest-loss's to its own, relative to that."""
        mean = self.mean
        gap = mean.lowest_loss - mean.lowest_optimum_loss
        return 1 - (mean.price_guided_loss - mean.price_guided_optimum_loss) / gap if gap > 0 else 0.0

    def to_json(self) -> dict[str, object]:
        return {
            **asdict(self.scarcity),
            "repeats": len(self.repeats),
            **asdict(self.mean),
            "price_guided_above_optimum": self.above_optimum,
            "price_guided_over_lowest": self.over_lowest,
            "gap_closed": self.gap_closed,
        }


def run(
    scarcities: Iterable[Scarcity] = CURVES,
    repeats: int = 20,
    seed: int = 1,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """Every network at every ratio; the repeats of all ratios have the same users, lines and requests."""
    points = list(scarcities)
    runs = [Run(point, _seed(seed, repeat)) for point in points for repeat in range(repeats)]
    results = sweep(one_repeat, runs, jobs=jobs, progress=progress)
    return [Point(point, results[number * repeats : (number + 1) * repeats]) for number, point in enumerate(points)]


def one_repeat(scarcity: Scarcity, seed: int) -> Shares:
    """One script under each policy."""
    parameters, script = scarcity.parameters, of_ratio(scarcity, seed)
    network, asked = script.network, int(script.requests.units.sum())

    def under(policy: Policy) -> ModelRun:
        return simulate(script, policy, parameters.rules)

    random, lowest = under(Random(network, seed)), under(LowestLoss(network))
    guided = under(PriceGuided(network, parameters, seed))
    return Shares(
        random_loss=random.loss,
        lowest_loss=lowest.loss,
        price_guided_loss=guided.loss,
        lowest_optimum_loss=optimum(script, lowest, parameters.rules),
        price_guided_optimum_loss=optimum(script, guided, parameters.rules),
        random_served=random.delivered_units / asked,
        lowest_served=lowest.delivered_units / asked,
        price_guided_served=guided.delivered_units / asked,
    )


def of_ratio(scarcity: Scarcity, seed: int) -> Script:
    """A script whose stations hold, together, what its requests ask for times the ratio, above one user's reserve."""
    parameters = scarcity.parameters
    network_seed, traffic_seed = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(network_seed)
    if scarcity.losses is Losses.PLACED:
        network = place(parameters, Placement(), rng).network
    else:
        network = draw_network(parameters, rng)
    traffic = np.random.default_rng(traffic_seed)
    requests = draw_requests(parameters, network.demand, traffic)
    rules, share = parameters.rules, network.stored_wh / network.stored_wh.sum()
    units = np.rint(share * scarcity.ratio * requests.units.sum()).astype(np.int64)
    stored_wh = units * rules.unit_wh + rules.reserve_wh
    network = replace(network, stored_wh=stored_wh, capacity_wh=stored_wh)
    return Script(network, requests, *draw_charges(parameters, traffic))


def _seed(seed: int, repeat: int) -> int:
    return int(np.random.SeedSequence((seed, repeat)).generate_state(1, np.uint64)[0])

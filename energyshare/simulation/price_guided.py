"""A policy of our own: the lowest loss plus what the energy is worth to others.

Lowest loss gives a station's last units to whoever comes first, though another user, still to come, may have no good
station but that one. This policy knows how often users ask, and not when. Every so often it draws futures from that
distribution, solves for the least loss of each with what stations hold now, and takes the mean of the shadow prices:
what one unit more at a station would save. A user is then connected where loss and price together are least, and a
seller where loss less price is.
"""

from __future__ import annotations

import numpy as np

from energyshare.dispatch.rules import MAX_LOSS_BP
from energyshare.simulation.allocation import Allocator, usable_units
from energyshare.simulation.parameters import Parameters
from energyshare.simulation.script import SECOND_US, Floats, Network, draw_requests
from energyshare.simulation.state import ACQUIRE, SUPPLY, State

__all__ = ["PriceGuided"]

UNSERVED_BP = float(MAX_LOSS_BP)
"""In a future, a unit that nobody can serve counts as a unit lost on the way."""


class PriceGuided:
    """Online: of a script it sees the network, and requests when they come."""

    def __init__(
        self, network: Network, parameters: Parameters, seed: int, *, futures: int = 8, solutions: int = 80
    ) -> None:
        """
        Args:
            parameters: Of the distribution that requests come from.
            futures: Drawn at each solution.
            solutions: Over the horizon.
        """
        self._network = network
        self._parameters = parameters
        self._lines = network.lines()
        self._rng = np.random.default_rng(seed)
        self._allocator = Allocator(network, UNSERVED_BP)
        self._futures = futures
        self._horizon_us = parameters.horizon_s * SECOND_US
        self._period_us = max(1, self._horizon_us // solutions)
        self._next_us = 0
        self._mean: Floats | None = None
        self._price: list[float] = []

    def choose(self, state: State, user: int, side: int, units: int, now_us: int) -> int | None:
        if now_us >= self._next_us:
            solved = self._prices(state, user, side, units, min(now_us, self._horizon_us))
            # Prices drift slowly and futures are few: the ones before count half.
            self._mean = solved if self._mean is None else (self._mean + solved) / 2
            self._price = self._mean.tolist()
            self._next_us = now_us + self._period_us
        flags, price, sign = state.flags[side], self._price, 1 if side == SUPPLY else -1
        available = [
            (loss + sign * price[station], loss, station) for loss, station in self._lines[user] if flags[station]
        ]
        return min(available)[2] if available else None

    def _prices(self, state: State, user: int, side: int, units: int, now_us: int) -> Floats:
        rules, network = self._parameters.rules, self._network
        stored, capacity = np.array(state.stored_wh), np.array(state.capacity_wh)
        energy, space = (usable_units(side, stored, capacity, rules) for side in (SUPPLY, ACQUIRE))
        charged = self._parameters.charge_units * (1 - now_us / self._horizon_us)
        prices = np.zeros(network.stations)
        for _ in range(self._futures):
            future = draw_requests(self._parameters, network.demand, self._rng, since_us=now_us)
            wanted = np.zeros((2, network.users))
            np.add.at(wanted, (future.side, future.user), future.units)
            wanted[side, user] += units
            supplied, sold = wanted
            prices += self._allocator.allocate(supplied, sold, energy + charged, space.astype(np.float64)).price_bp
        return prices / self._futures

"""What a line is said to lose: a fixed share, or what the grid loses at its margin as it flows now.

Either way the station list names the line of the lowest loss whose station is available (`rules.best`); a policy says
only what the losses are.

Assigning each piece of demand to the station of the lowest marginal loss also reaches the least loss that any division
among the stations can, up to the size of a piece. The loss is a quadratic of the stations' powers whose matrix holds
the resistance that the ways of two stations share. Such a matrix is ultrametric, and the inverse of each of its parts
has row sums of 0 or more (Martínez, Michon and San Martín 1994): as demand grows, the optimum never takes back from a
station what it once gave to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np

from energyshare.dispatch.rules import MAX_LOSS_BP, Service
from energyshare.simulation.grid.case import STEP_H, Case
from energyshare.simulation.grid.flow import marginal_loss

__all__ = ["FlowAware", "LineLosses", "LowestLoss", "PolicyName", "make_policy"]

REFERENCE_W = 10_000
"""What a fixed loss is stated for: about what a storage of these grids gives at the most."""


class PolicyName(StrEnum):
    """Where the losses of lines come from."""

    LOWEST_LOSS = "lowest-loss"
    """The paper's: a fixed share for each line."""
    FLOW_AWARE = "flow-aware"
    """Our own: what the grid loses more, with everything that flows already."""


class LineLosses(Protocol):
    """Says what the lines of a user lose at this moment."""

    def begin(self, step: int) -> None:
        """A time step begins, and with it other flows."""
        ...

    def lines(self, user: int, service: Service) -> Sequence[tuple[int, int]]:
        """Loss in basis points and station of each line, lowest loss first; below 0 where it relieves the grid."""
        ...

    def moved(self, station: int, service: Service, energy_wh: int) -> None:
        """A station serves that much more in this time step."""
        ...


class LowestLoss:
    """The share that a line's resistance loses of a fixed power, at nominal voltage."""

    def __init__(self, case: Case) -> None:
        nodes = case.station_nodes
        resistance = case.grid.path_resistance()[np.ix_(case.user_nodes, nodes)]
        share = np.minimum(1.0, resistance * (REFERENCE_W / case.grid.nominal_v**2))
        losses = np.rint(share * MAX_LOSS_BP).astype(int).tolist()
        self._lines = [sorted((loss, station) for station, loss in enumerate(row)) for row in losses]

    def begin(self, step: int) -> None:
        pass

    def lines(self, user: int, service: Service) -> Sequence[tuple[int, int]]:
        return self._lines[user]

    def moved(self, station: int, service: Service, energy_wh: int) -> None:
        pass


class FlowAware:
    """The derivative of all losses by what is sent from station to user, or from user to station.

    What users draw and feed in is in the flows already, since the grid serves whom no station does.
    """

    def __init__(self, case: Case) -> None:
        grid = case.grid
        nodes = case.station_nodes
        unshared = marginal_loss(grid, case.demand_va().real)
        shared = grid.common_impedance().real * (2 / grid.nominal_v**2)
        self._of_user, self._of_station = unshared[:, case.user_nodes], unshared[:, nodes]
        self._user_relief = shared[np.ix_(case.user_nodes, nodes)]
        self._station_relief = shared[np.ix_(nodes, nodes)]
        self._supplied_w = np.zeros(len(nodes))
        self._step = 0

    def begin(self, step: int) -> None:
        self._step = step
        self._supplied_w[:] = 0

    def lines(self, user: int, service: Service) -> Sequence[tuple[int, int]]:
        station = self._of_station[self._step] - self._station_relief @ self._supplied_w
        own = self._of_user[self._step, user] - self._user_relief[user] @ self._supplied_w
        loss = (own - station if service is Service.SUPPLY else station - own) * MAX_LOSS_BP
        return sorted(zip(np.rint(loss).astype(int).tolist(), range(len(station)), strict=True))

    def moved(self, station: int, service: Service, energy_wh: int) -> None:
        power = energy_wh / STEP_H
        self._supplied_w[station] += power if service is Service.SUPPLY else -power


def make_policy(name: PolicyName, case: Case) -> LineLosses:
    """The policy of that name for a grid."""
    return LowestLoss(case) if name is PolicyName.LOWEST_LOSS else FlowAware(case)

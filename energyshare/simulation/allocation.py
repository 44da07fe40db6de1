"""Who should be served from where: the least loss under what stations hold, as a flow problem that HiGHS solves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt

from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, admits, level, run_length
from energyshare.errors import EnergyShareError
from energyshare.simulation.model import Run
from energyshare.simulation.script import SERVICES, Floats, Ints, Network, Script
from energyshare.simulation.state import ACQUIRE, SUPPLY

__all__ = ["Allocation", "AllocationFailed", "Allocator", "optimum", "usable_units"]


_FIRST_LINES = 12
"""Of each user, those that lose least. Others join where the prices say that they could lower the loss."""

_REFUSED_BP = 1e6
"""What a unit unserved costs where none may be: more than any detour."""

_TOLERANCE_BP = 1e-6


class AllocationFailed(EnergyShareError):
    """The flow problem has no solution, or was not solved."""


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """The least loss, and what a unit is worth where."""

    loss_bp: float
    """Units times basis points; those unserved at what they cost."""
    price_bp: Floats
    """By station: how much less would be lost if it held a unit more. Below 0 where it lacks space for one."""


def usable_units(side: int, stored_wh: Ints, capacity_wh: Ints, rules: Rules) -> Ints:
    """By station: the most that all its users together can draw from it, or sell to it, as it is.

    Nobody moves a unit unless the level is above the reserve of one user, so this is what one user alone can.
    """
    rooms = (
        level(SERVICES[side], stored, capacity)
        for stored, capacity in zip(stored_wh.tolist(), capacity_wh.tolist(), strict=True)
    )
    units = [
        run_length(room, 1, rules.reserve_wh, rules.unit_wh, room)
        if admits(room, 0, rules.reserve_wh, rules.unit_wh)
        else 0
        for room in rooms
    ]
    return np.array(units, dtype=np.int64)


class Allocator:
    """The flow problem of one network, solved again and again as demand and stations change.

    Each solution starts from the one before. Lines join the problem where prices say that they could lower the loss.
    """

    def __init__(self, network: Network, unserved_bp: float | None = None) -> None:
        """
        Args:
            unserved_bp: What a unit costs that is not served; None where all must be.
        """
        self._must_serve = unserved_bp is None
        self._parties = 2 * network.users
        owner = np.repeat(np.arange(network.users), np.diff(network.line_start))
        line = np.arange(len(owner))
        # Of supply, then of sales.
        self._party = np.concatenate([owner, owner + network.users])
        self._station = np.tile(network.line_station, 2)
        self._sign = np.repeat([1.0, -1.0], len(line))
        self._cost = np.tile(network.line_loss_bp.astype(np.float64), 2)
        self._first = np.tile(line - network.line_start[owner] < _FIRST_LINES, 2)
        self._joined = np.zeros(2 * len(line), dtype=np.bool_)
        self._rows = np.arange(self._parties + network.stations, dtype=np.int32)
        self._solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        self._solver.setOptionValue("output_flag", False)
        self._solver.setOptionValue("threads", 1)
        nothing = np.zeros(len(self._rows))
        self._solver.addRows(len(self._rows), nothing, nothing, 0, nothing.astype(np.int32), [], [])
        self._add(
            np.full(self._parties, _REFUSED_BP if unserved_bp is None else unserved_bp),
            np.arange(self._parties),
            np.arange(self._parties),
            np.ones(self._parties),
        )

    def allocate(self, supplied: Floats, sold: Floats, energy: Floats, space: Floats) -> Allocation:
        """Serve all users at the least loss, whenever they come: what stations hold is shared, and what is sold to a
        station others can draw from it.

        Args:
            supplied: Units, by user.
            sold: Units, by user.
            energy: Units that a station can supply beyond those it acquires.
            space: Units that a station can acquire beyond those it supplies.

        Raises:
            AllocationFailed: They cannot all be served, and must be.
        """
        wanted = np.concatenate([supplied, sold])
        lower, upper = np.concatenate([wanted, -space]), np.concatenate([wanted, energy])
        self._solver.changeRowsBounds(len(self._rows), self._rows, lower, upper)
        asked = wanted[self._party] > 0
        self._join(self._first & asked)
        while True:
            self._solver.run()
            if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                raise AllocationFailed("the solver gave up: give stations no less than nothing")
            solution = self._solver.getSolution()
            worth = np.array(solution.row_dual)
            loss = self._cost - worth[self._party] - self._sign * worth[self._parties + self._station]
            better = asked & (loss < -_TOLERANCE_BP)
            if not self._join(better):
                break
        unserved = sum(solution.col_value[: self._parties])
        if self._must_serve and unserved > _TOLERANCE_BP:
            raise AllocationFailed(
                f"{unserved:.0f} units find no station: give stations more, or units unserved a cost"
            )
        return Allocation(loss_bp=self._solver.getObjectiveValue(), price_bp=-worth[self._parties :])

    def _join(self, lines: npt.NDArray[np.bool_]) -> bool:
        """Take lines into the problem; False where all are in it already."""
        new = np.flatnonzero(lines & ~self._joined)
        self._joined[new] = True
        rows = np.stack([self._party[new], self._parties + self._station[new]], axis=1)
        signs = np.stack([np.ones(len(new)), self._sign[new]], axis=1)
        self._add(self._cost[new], 2 * np.arange(len(new)), rows.ravel(), signs.ravel())
        return len(new) > 0

    def _add(self, cost: Floats, start: Ints, row: Ints, value: Floats) -> None:
        columns = len(cost)
        if columns:
            low, high = np.zeros(columns), np.full(columns, np.inf)
            self._solver.addCols(
                columns, cost, low, high, len(row), start.astype(np.int32), row.astype(np.int32), value
            )


def optimum(script: Script, run: Run, rules: Rules | None = None) -> float:
    """The least loss at which each user could be served the units that a run served it, as a share of what was sent.

    It knows all requests beforehand, and when energy comes in does not matter to it: no policy that serves those
    units can lose less.
    """
    rules = rules or Rules()
    network, requests = script.network, script.requests
    if not run.delivered_units:
        return 0.0
    supplied, sold = (
        np.bincount(requests.user, weights=run.served * (requests.side == side), minlength=network.users).astype(
            np.float64
        )
        for side in (SUPPLY, ACQUIRE)
    )
    energy, space = (
        usable_units(side, network.stored_wh, network.capacity_wh, rules).astype(np.float64)
        for side in (SUPPLY, ACQUIRE)
    )
    charged = np.bincount(script.charge_station, minlength=network.stations)
    return (
        Allocator(network).allocate(supplied, sold, energy + charged, space).loss_bp / run.delivered_units / MAX_LOSS_BP
    )

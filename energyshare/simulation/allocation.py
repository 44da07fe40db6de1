"""Who should be served from where: the least loss under what stations hold, as a flow problem that HiGHS solves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog  # type: ignore[import-untyped]
from scipy.sparse import csr_matrix, hstack, identity, vstack  # type: ignore[import-untyped]

from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, admits, level, run_length
from energyshare.errors import EnergyShareError
from energyshare.simulation.model import Run
from energyshare.simulation.script import SERVICES, Floats, Ints, Network, Script
from energyshare.simulation.state import ACQUIRE, SUPPLY

__all__ = ["Allocation", "AllocationFailed", "allocate", "optimum", "usable_units"]


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


def allocate(
    network: Network,
    supplied: Floats,
    sold: Floats,
    energy: Floats,
    space: Floats,
    unserved_bp: float | None = None,
) -> Allocation:
    """Serve all users at the least loss, whenever they come: what stations hold is shared, and what is sold to a
    station others can draw from it.

    Args:
        supplied: Units, by user.
        sold: Units, by user.
        energy: Units that a station can supply beyond those it acquires.
        space: Units that a station can acquire beyond those it supplies.
        unserved_bp: What a unit costs that is not served; None where all must be.

    Raises:
        AllocationFailed: They cannot all be served.
    """
    owner = np.repeat(np.arange(network.users), np.diff(network.line_start))
    lines = [np.flatnonzero(wanted[owner] > 0) for wanted in (supplied, sold)]
    line = np.concatenate(lines)
    column = np.arange(len(line))
    sign = np.repeat([1.0, -1.0], [len(side) for side in lines])
    user = owner[line] + np.where(sign > 0, 0, network.users)
    cost = network.line_loss_bp[line].astype(np.float64)
    served = csr_matrix((np.ones(len(line)), (user, column)), shape=(2 * network.users, len(line)))
    drawn = csr_matrix((sign, (network.line_station[line], column)), shape=(network.stations, len(line)))
    limits, bounds = [drawn], [energy]
    if sold.any():
        limits, bounds = [drawn, -drawn], [energy, space]
    if unserved_bp is not None:
        cost = np.concatenate([cost, np.full(2 * network.users, unserved_bp)])
        served = hstack([served, identity(2 * network.users)])
        limits = [hstack([limit, csr_matrix((network.stations, 2 * network.users))]) for limit in limits]
    solved = linprog(
        cost,
        A_ub=vstack(limits, format="csr"),
        b_ub=np.concatenate(bounds),
        A_eq=served,
        b_eq=np.concatenate([supplied, sold]),
        method="highs",
    )
    if solved.status != 0:
        raise AllocationFailed(f"no allocation: {solved.message}; give stations more, or a cost to units unserved")
    worth = -solved.ineqlin.marginals.reshape(len(limits), network.stations)
    return Allocation(loss_bp=float(solved.fun), price_bp=worth[0] - worth[1] if len(limits) == 2 else worth[0])


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
    return allocate(network, supplied, sold, energy + charged, space).loss_bp / run.delivered_units / MAX_LOSS_BP

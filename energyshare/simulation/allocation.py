"""Who should be served from where: the least loss under what stations hold, as a flow problem that HiGHS solves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog  # type: ignore[import-untyped]
from scipy.sparse import csr_matrix, hstack, identity, vstack  # type: ignore[import-untyped]

from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, admits, level, run_length
from energyshare.errors import EnergyShareError
from energyshare.simulation.model import Run
from energyshare.simulation.script import SERVICES, Floats, Ints, Network, Script, SmallInts
from energyshare.simulation.state import ACQUIRE, SUPPLY

__all__ = ["Allocation", "AllocationFailed", "allocate", "optimum", "usable_units"]


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
    sign = np.repeat([1.0, -1.0], [len(side) for side in lines])
    user = owner[line] + np.where(sign > 0, 0, network.users)
    station = network.line_station[line]
    cost = network.line_loss_bp[line].astype(np.float64)
    wanted = np.concatenate([supplied, sold])
    refused_bp = _REFUSED_BP if unserved_bp is None else unserved_bp
    chosen = line - network.line_start[owner[line]] < _FIRST_LINES
    while True:
        flow = _solve(user[chosen], station[chosen], sign[chosen], cost[chosen], wanted, energy, space, refused_bp)
        better = ~chosen & (cost - flow.user_bp[user] + sign * flow.price_bp[station] < -_TOLERANCE_BP)
        if not better.any():
            break
        chosen |= better
    if unserved_bp is None and flow.unserved > _TOLERANCE_BP:
        raise AllocationFailed(
            f"{flow.unserved:.0f} units find no station: give stations more, or units a cost unserved"
        )
    return Allocation(flow.loss_bp, flow.price_bp)


@dataclass(frozen=True, slots=True, eq=False)
class _Flow:
    loss_bp: float
    user_bp: Floats
    """By user and side: what a unit more would lose."""
    price_bp: Floats
    unserved: float


def _solve(
    user: Ints,
    station: SmallInts,
    sign: Floats,
    cost: Floats,
    wanted: Floats,
    energy: Floats,
    space: Floats,
    refused_bp: float,
) -> _Flow:
    """Over the lines given, with a column for the units unserved of each user and side."""
    users, stations, lines = len(wanted), len(energy), len(user)
    column = np.arange(lines)
    served = hstack([csr_matrix((np.ones(lines), (user, column)), shape=(users, lines)), identity(users)])
    drawn = csr_matrix((sign, (station, column)), shape=(stations, lines + users))
    both = bool((sign < 0).any())
    solved = linprog(
        np.concatenate([cost, np.full(users, refused_bp)]),
        A_ub=vstack([drawn, -drawn], format="csr") if both else drawn,
        b_ub=np.concatenate([energy, space]) if both else energy,
        A_eq=served,
        b_eq=wanted,
        method="highs",
    )
    if solved.status != 0:
        raise AllocationFailed(f"the solver gave up: {solved.message}; give stations no less than nothing")
    worth = -solved.ineqlin.marginals.reshape(-1, stations)
    return _Flow(
        loss_bp=float(solved.fun),
        user_bp=solved.eqlin.marginals,
        price_bp=worth[0] - worth[1] if both else worth[0],
        unserved=float(solved.x[lines:].sum()),
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
    return allocate(network, supplied, sold, energy + charged, space).loss_bp / run.delivered_units / MAX_LOSS_BP

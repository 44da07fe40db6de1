"""A week on a real grid: users draw from stations what they lack, sell what they have left, and the grid carries it.

In every quarter of an hour a user who lacks whole units applies for them, one who has them left sells them, and the
grid above serves the rest. All do so at an even pace: a user's connections, of up to k units each, follow one another
through the quarter of an hour, the first at a moment drawn by the seed, and a connection lasts until the user's next
one or the end. So users overlap, and each counts for the reserve of those after it. Who is admitted and what ends a
connection is for `energyshare.dispatch.rules` to say. A station reports itself at the start of a quarter of an hour,
which is when a cleared flag returns. Once all is assigned, the power flow of every time step says what was lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, Service
from energyshare.simulation.grid.balance import Balance, BalanceBroken
from energyshare.simulation.grid.case import STEP_H, Case
from energyshare.simulation.grid.flow import Flow, solve
from energyshare.simulation.grid.network import GridError, IntArray
from energyshare.simulation.grid.policy import LineLosses, PolicyName, make_policy
from energyshare.simulation.grid.stations import Efficiency, StationList

__all__ = ["GridRun", "Progress", "Served", "balance_of", "grid_loss_wh", "run", "serve"]

Progress = Callable[[int, int], None]
"""Told the time steps done and all of them."""

REPORTS_PER_STEP = 15
"""A station reports itself once a minute."""
ROUNDED_WH = 3
"""What rounding four accounts to whole watt-hours may come to."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What stations did, by time step and station, in watt-hours at the grid."""

    supplied_wh: IntArray
    acquired_wh: IntArray
    stored_wh: IntArray
    """In the cells, before each time step and after the last."""
    connections: int
    unserved_units: int
    """That users applied for and no station had."""
    charged_loss_wh: int
    """By the losses of the lines that were used; a loss below 0 charges nothing."""

    @property
    def net_wh(self) -> IntArray:
        """Given less taken."""
        return self.supplied_wh - self.acquired_wh

    @property
    def conversion_wh(self) -> IntArray:
        """Lost between grid and cells, by time step."""
        return np.asarray(-np.diff(self.stored_wh, axis=0).sum(axis=1) - self.net_wh.sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class GridRun:
    """A run and what came of it."""

    case: Case
    policy: PolicyName
    seed: int
    rules: Rules
    efficiency: Efficiency
    served: Served
    flow: Flow
    balance: Balance
    unshared: Flow
    """The same time without any station."""
    seconds: float

    @property
    def loss_pct(self) -> float:
        """Of lines and transformer, of what users use."""
        return 100 * self.balance.grid_loss_wh / self.balance.load_wh

    def to_json(self) -> dict[str, Any]:
        served, unit = self.served, self.rules.unit_wh
        return {
            "grid": self.case.name,
            "source": self.case.source,
            "season": self.case.season.value,
            "policy": self.policy.value,
            "seed": self.seed,
            "steps": self.case.steps,
            "users": len(self.case.user_nodes),
            "stations": len(self.case.sites),
            "unit_wh": unit,
            "connections": served.connections,
            "supplied_units": int(served.supplied_wh.sum()) // unit,
            "acquired_units": int(served.acquired_wh.sum()) // unit,
            "unserved_units": served.unserved_units,
            "charged_loss_wh": served.charged_loss_wh,
            "grid_loss_wh": self.balance.grid_loss_wh,
            "unshared_grid_loss_wh": round(grid_loss_wh(self.unshared)),
            "loss_pct": self.loss_pct,
            "balance": self.balance.to_json(),
            "seconds": self.seconds,
        }


def run(
    case: Case,
    policy: PolicyName,
    *,
    seed: int = 0,
    efficiency: Efficiency | None = None,
    progress: Progress = lambda done, steps: None,
) -> GridRun:
    """Share energy over the time of a case, and account for it.

    Raises:
        FlowDiverged: The grid cannot carry what flows.
        BalanceBroken: The accounts do not close.
    """
    started = time.perf_counter()
    rules = Rules(unit_wh=case.unit_wh, reserve_wh=2 * case.unit_wh)
    efficiency = efficiency or Efficiency()
    served = serve(case, make_policy(policy, case), rules, efficiency, seed, progress)
    demand = case.demand_va()
    flow = solve(case.grid, demand - case.at_nodes(served.net_wh, case.station_nodes))
    balance = balance_of(case, served, flow)
    unshared = solve(case.grid, demand)
    seconds = time.perf_counter() - started
    return GridRun(case, policy, seed, rules, efficiency, served, flow, balance, unshared, seconds)


def serve(
    case: Case, policy: LineLosses, rules: Rules, efficiency: Efficiency, seed: int, progress: Progress
) -> Served:
    """Assign stations and move units, time step by time step. Stations begin half full."""
    if not case.sites:
        raise GridError(f"grid {case.name} has no storage: choose one that has")
    order = random.Random(seed)
    stations = StationList(case, rules, efficiency)
    shape = (case.steps, len(case.sites))
    moved = {service: np.zeros(shape, np.int64) for service in Service}
    stored = np.zeros((case.steps + 1, len(case.sites)), np.int64)
    stored[0] = stations.stored_wh
    connections = unserved = charged = 0

    for step, net_wh in enumerate(case.net_wh.tolist()):
        policy.begin(step)
        reports = 0
        for moment, user, service, units in _applications(net_wh, rules, order):
            if moment * REPORTS_PER_STEP >= reports:
                stations.report()
                reports = 1 + int(moment * REPORTS_PER_STEP)
            while units:
                lines = policy.lines(user, service)
                station = stations.connect(user, service, lines)
                if station is None:
                    unserved += units
                    break
                drawn = stations.draw(service, station, units)
                energy = drawn * rules.unit_wh
                units -= drawn
                connections += 1
                charged += energy * _charged_bp(lines, station)
                moved[service][step, station] += energy
                policy.moved(station, service, energy)
        stored[step + 1] = stations.end_step()
        progress(step + 1, case.steps)

    return Served(
        supplied_wh=moved[Service.SUPPLY],
        acquired_wh=moved[Service.ACQUIRE],
        stored_wh=stored,
        connections=connections,
        unserved_units=unserved,
        charged_loss_wh=charged // MAX_LOSS_BP,
    )


def _applications(net_wh: Sequence[int], rules: Rules, order: random.Random) -> list[tuple[float, int, Service, int]]:
    """Moment (of 1), user, side and units of each connection that is applied for in a time step, in order."""
    made = []
    for user, net in enumerate(net_wh):
        service, units = (Service.SUPPLY if net > 0 else Service.ACQUIRE), abs(net) // rules.unit_wh
        count = -(-units // rules.k)
        phase = order.random()
        for number in range(count):
            made.append(((number + phase) / count, user, service, min(rules.k, units - number * rules.k)))
    return sorted(made)


def _charged_bp(lines: Sequence[tuple[int, int]], station: int) -> int:
    loss = next(loss for loss, named in lines if named == station)
    return min(max(loss, 0), MAX_LOSS_BP)


def grid_loss_wh(flow: Flow) -> float:
    """What lines and windings lose over all time steps."""
    return float(flow.loss_w.sum()) * STEP_H


def balance_of(case: Case, served: Served, flow: Flow) -> Balance:
    """The accounts of a run, held to the source's power as the flow has it. Raises BalanceBroken."""
    winding_loss = flow.loss_w[:, case.grid.transformers].sum() * STEP_H
    from_above = (flow.source_w + case.grid.iron_w) * STEP_H
    pv, load = int(case.pv_wh.sum()), int(case.load_wh.sum())
    start, end = int(served.stored_wh[0].sum()), int(served.stored_wh[-1].sum())
    line_loss, transformer_loss = round(grid_loss_wh(flow) - winding_loss), round(winding_loss)
    iron_loss = round(case.grid.iron_w * case.steps * STEP_H)
    exported = round(-np.minimum(from_above, 0).sum())
    conversion_loss = int(served.conversion_wh.sum())
    losses = line_loss + transformer_loss + iron_loss + conversion_loss
    balance = Balance(
        pv_wh=pv,
        imported_wh=load + exported + end + losses - pv - start,
        stored_start_wh=start,
        load_wh=load,
        exported_wh=exported,
        stored_end_wh=end,
        line_loss_wh=line_loss,
        transformer_loss_wh=transformer_loss,
        iron_loss_wh=iron_loss,
        conversion_loss_wh=conversion_loss,
    )
    metered = float(np.maximum(from_above, 0).sum())
    if abs(balance.imported_wh - metered) > ROUNDED_WH:
        raise BalanceBroken(
            f"the accounts import {balance.imported_wh} Wh and the source gives {metered:.1f}: report this as a fault"
        )
    return balance

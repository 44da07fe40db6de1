"""Power flow in a radial grid, exact and at its margin, for many time steps at once.

With constant power at every node, currents follow from voltages and voltages from currents: `V = V0 - Z conj(S / V)`,
Z being what the ways from the source share. Going round that equation converges in a few turns for every grid that is
not near collapse, and a turn is one product of matrices for all time steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energyshare.simulation.grid.network import ComplexArray, FloatArray, Grid, GridError

__all__ = ["Flow", "FlowDiverged", "marginal_loss", "solve"]

TOLERANCE = 1e-10
"""Of the nominal voltage: where going round ends."""
MAX_TURNS = 200


class FlowDiverged(GridError):
    """The grid cannot carry what it should."""


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What flows, by time step and node; a branch is named by the node at its lower end."""

    voltage_v: ComplexArray
    loss_w: FloatArray
    """Of each branch: its resistance times the current squared."""
    source_w: FloatArray
    """By time step: active power that comes from the source, below 0 where it flows back. Without iron losses."""


def solve(grid: Grid, demand_va: ComplexArray) -> Flow:
    """The flow for a demand by time step and node, active and reactive, below 0 where energy is fed in.

    Raises:
        FlowDiverged: No voltage carries the demand.
    """
    common = grid.common_impedance()
    voltage = np.full(demand_va.shape, complex(grid.source_v))
    for _ in range(MAX_TURNS):
        current = np.conj(demand_va / voltage)
        turned = grid.source_v - current @ common
        change = np.abs(turned - voltage).max(initial=0.0)
        voltage = turned
        if not change < 10 * grid.source_v:
            break
        if change < TOLERANCE * grid.nominal_v:
            return _flow(grid, voltage, demand_va)
    raise FlowDiverged(f"the grid cannot carry {demand_va.real.sum(axis=1).max():,.0f} W: lower the demand")


def _flow(grid: Grid, voltage: ComplexArray, demand_va: ComplexArray) -> Flow:
    current = np.conj(demand_va / voltage)
    in_branch = current @ grid.paths.T
    loss = grid.z_ohm.real * np.abs(in_branch) ** 2
    return Flow(voltage, loss, (grid.source_v * np.conj(current.sum(axis=1))).real)


def marginal_loss(grid: Grid, demand_w: FloatArray) -> FloatArray:
    """What a further watt of demand loses on its way from the source, by time step and node.

    At nominal voltage: the derivative of `Σ r (P / V)²`. Sending a watt from node a to node b loses what b's demand
    adds and a's saves, the difference of the two.
    """
    return np.asarray(demand_w @ grid.common_impedance().real) * (2 / grid.nominal_v**2)

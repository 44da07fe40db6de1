"""The least that a grid can lose while its stations serve what they served: convex programs, solved by Clarabel.

`step_optimum` divides what was served in each time step anew among the stations, within what each of them could give
and take then. Its model is the branch flow, with the currents relaxed to second-order cones (Farivar and Low 2013): no
division loses less than what it returns. `week_optimum` knows all the future and divides every time step at once, with
the cells between them; it is a quadratic program at nominal voltage, and its division is then put through the exact
flow. Both leave out reserves and whole units, so that they can only be lower for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import clarabel  # type: ignore[import-untyped]
import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from energyshare.physical.storage import WHOLE_BP
from energyshare.simulation.grid.case import STEP_H, Case
from energyshare.simulation.grid.flow import solve
from energyshare.simulation.grid.network import ComplexArray, FloatArray, GridError, IntArray
from energyshare.simulation.grid.run import GridRun, Progress, grid_loss_wh

__all__ = ["NoOptimum", "step_optimum", "week_optimum"]


class NoOptimum(GridError):
    """The solver did not come to an end."""


def step_optimum(
    run: GridRun, steps: Sequence[int] | None = None, progress: Progress = lambda done, steps: None
) -> FloatArray:
    """The least loss of each of `steps` (all where not said), in watt-hours. Raises NoOptimum."""
    case, served = run.case, run.served
    chosen = range(case.steps) if steps is None else steps
    demand = case.demand_va()
    program = _BranchFlow(case, base_va=float(np.abs(demand).sum(axis=1).max()))
    discharge_wh, charge_wh = _limits(run)
    least = np.zeros(len(chosen))
    for number, step in enumerate(chosen):
        moved = (served.supplied_wh[step].sum(), served.acquired_wh[step].sum())
        limits = (discharge_wh[step], charge_wh[step])
        least[number] = STEP_H * program.least_loss_w(demand[step], moved, limits)
        progress(number + 1, len(chosen))
    return least


def _limits(run: GridRun) -> tuple[IntArray, IntArray]:
    """What each station could give and take in each time step, in watt-hours at the grid."""
    capacity = np.array([site.capacity_wh for site in run.case.sites])
    power = np.array([site.step_wh for site in run.case.sites])
    stored = run.served.stored_wh[:-1]
    return (
        np.minimum(-(-stored * run.efficiency.discharge_bp // WHOLE_BP), power),
        np.minimum(-(-(capacity - stored) * WHOLE_BP // run.efficiency.charge_bp), power),
    )


class _BranchFlow:
    """The program of one time step, per unit of `base_va` and of the nominal voltage.

    Variables, each a block of columns: active and reactive power into each branch, its current squared, the voltage
    squared at its lower end, and what each station supplies and acquires.
    """

    def __init__(self, case: Case, base_va: float) -> None:
        grid, stations = case.grid, len(case.sites)
        branches, upper = grid.nodes - 1, grid.parents[1:] - 1
        z = grid.z_ohm[1:] * base_va / grid.nominal_v**2
        r, x, z2 = sparse.diags(z.real), sparse.diags(z.imag), sparse.diags(np.abs(z) ** 2)
        inner = np.flatnonzero(upper >= 0)
        above = sparse.csr_matrix((np.ones(len(inner)), (inner, upper[inner])), (branches, branches))
        at = sparse.csr_matrix((np.ones(stations), (case.station_nodes - 1, np.arange(stations))), (branches, stations))
        all_stations = np.ones((1, stations))
        one, each = sparse.identity(branches), sparse.identity(stations)
        matrix = sparse.bmat(
            [
                [one - above.T, None, -r, None, at, -at],
                [None, one - above.T, -x, None, None, None],
                [2 * r, 2 * x, -z2, one - above, None, None],
                [None, None, None, None, all_stations, None],
                [None, None, None, None, None, all_stations],
                [None, None, None, None, -each, None],
                [None, None, None, None, None, -each],
                [None, None, None, None, each, -each],
                [None, None, None, None, -each, each],
                # |(2 P, 2 Q, v - l)| <= v + l, with the voltage at the upper end.
                [None, None, -one, -above, None, None],
                [-2 * one, None, None, None, None, None],
                [None, -2 * one, None, None, None, None],
                [None, None, one, -above, None, None],
            ],
            format="csr",
        )
        linear = matrix.shape[0] - 4 * branches
        by_cone = linear + np.arange(4 * branches).reshape(4, branches).T.ravel()
        self._order = np.concatenate([np.arange(linear), by_cone])
        self._source = np.where(upper < 0, (grid.source_v / grid.nominal_v) ** 2, 0.0)
        self._base_va = base_va
        self._stations = stations
        equalities = 3 * branches + 2
        self._solver = clarabel.DefaultSolver(
            sparse.csc_matrix((matrix.shape[1], matrix.shape[1])),
            np.concatenate([np.zeros(2 * branches), z.real, np.zeros(branches + 2 * stations)]),
            matrix[self._order].tocsc(),
            np.zeros(matrix.shape[0]),
            [
                clarabel.ZeroConeT(equalities),
                clarabel.NonnegativeConeT(linear - equalities),
                *(clarabel.SecondOrderConeT(4) for _ in range(branches)),
            ],
            _settings(),
        )

    def least_loss_w(
        self, demand_va: ComplexArray, moved_wh: tuple[int, int], limits_wh: tuple[IntArray, IntArray]
    ) -> float:
        """
        Args:
            demand_va: By node, without the stations.
            moved_wh: Supplied and acquired by all stations together.
            limits_wh: What each could give and take.
        """
        below = demand_va[1:] / self._base_va
        energy = np.concatenate([moved_wh, np.zeros(2 * self._stations), *limits_wh]) / STEP_H / self._base_va
        source, none = self._source, np.zeros(len(self._source))
        right = np.concatenate([below.real, below.imag, source, energy, source, none, none, source])
        self._solver.update(b=right[self._order])
        return _solved(self._solver) * self._base_va


def week_optimum(run: GridRun) -> float:
    """What is lost if all time steps are divided at once, in watt-hours by the exact flow. Raises NoOptimum.

    Stations begin as in the run, and in every time step supply and acquire together what they did in it.
    """
    case, served, efficiency = run.case, run.served, run.efficiency
    steps, stations = served.supplied_wh.shape
    width = steps * stations
    demand = case.demand_va()
    common = case.grid.common_impedance().real / case.grid.nominal_v**2 * (1_000 / STEP_H)
    """Kilowatt-hours lost for squares of kilowatt-hours moved in a time step."""
    between = common[np.ix_(case.station_nodes, case.station_nodes)]
    by_users = (demand.real * STEP_H / 1_000) @ common[:, case.station_nodes]
    every, none = sparse.identity(width), sparse.csc_matrix((width, width))
    in_step = sparse.kron(sparse.identity(steps), np.ones((1, stations)))
    change = every - sparse.eye(width, k=-stations)
    # Given less taken at the grid, supplied, acquired, out of the cells, into them, stored after the time step.
    matrix = sparse.bmat(
        [
            [every, -every, every, None, None, None],
            [every, None, None, -every, every, None],
            [None, in_step, None, None, None, None],
            [None, None, in_step, None, None, None],
            [
                None,
                None,
                None,
                every * (WHOLE_BP / efficiency.discharge_bp),
                -every * (efficiency.charge_bp / WHOLE_BP),
                change,
            ],
            [None, -every, None, None, None, None],
            [None, None, -every, None, None, None],
            [None, None, None, -every, None, None],
            [None, None, None, None, -every, None],
            [None, None, None, None, None, -every],
            [None, None, None, every, None, None],
            [None, None, None, None, every, None],
            [None, None, None, None, None, every],
        ],
        format="csc",
    )
    stored = np.zeros(width)
    stored[:stations] = served.stored_wh[0]
    power = np.tile([site.step_wh for site in case.sites], steps)
    capacity = np.tile([site.capacity_wh for site in case.sites], steps)
    zeros = np.zeros(width)
    totals = (served.supplied_wh.sum(axis=1), served.acquired_wh.sum(axis=1))
    right = np.concatenate([zeros, zeros, *totals, stored, *[zeros] * 5, power, power, capacity]) / 1_000
    equalities = 3 * width + 2 * steps
    solver = clarabel.DefaultSolver(
        sparse.block_diag([sparse.kron(sparse.identity(steps), 2 * between), *[none] * 5], format="csc"),
        np.concatenate([-2 * by_users.ravel(), np.zeros(5 * width)]),
        matrix,
        right,
        [clarabel.ZeroConeT(equalities), clarabel.NonnegativeConeT(len(right) - equalities)],
        _settings(),
    )
    _solved(solver)
    net_wh = np.array(solver.get_solution().x[:width]).reshape(steps, stations) * 1_000
    return grid_loss_wh(solve(case.grid, demand - case.at_nodes(net_wh, case.station_nodes)))


def _settings() -> Any:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    # The right side of a program is exchanged from one time step to the next.
    settings.presolve_enable = False
    settings.chordal_decomposition_enable = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-9
    return settings


def _solved(solver: Any) -> float:
    """The least cost."""
    solution = solver.solve()
    if str(solution.status) not in ("Solved", "AlmostSolved"):
        raise NoOptimum(f"no optimum was found ({solution.status}): compare fewer days or another grid")
    return float(solution.obj_val)

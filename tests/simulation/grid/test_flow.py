"""The power flow, against pandapower and against the laws that it must obey."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyshare.simulation.grid.case import STEP_H, read_case
from energyshare.simulation.grid.flow import FlowDiverged, marginal_loss, solve
from energyshare.simulation.grid.network import Grid, GridError
from scripts.extract_grids import SIMBENCH, radial

pandapower = pytest.importorskip("pandapower")
simbench = pytest.importorskip("simbench")

of_pandas = pytest.mark.filterwarnings(
    # simbench and pandapower assign columns in ways that newer releases of pandas warn of.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore::pandas.errors.PerformanceWarning",
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Radial grids of any shape, of short low-voltage lines."""
    nodes = draw(st.integers(2, 12))
    parents = [0, *(draw(st.integers(0, node - 1)) for node in range(1, nodes))]
    ohms = st.floats(0.001, 0.02)
    z = [0, *(complex(draw(ohms), draw(ohms)) for _ in range(nodes - 1))]
    return Grid(np.array(parents), np.array(z, np.complex128), 400.0, 400.0, np.array([], np.int64))


@st.composite
def loaded(draw: st.DrawFn) -> tuple[Grid, Any]:
    """A grid with users that draw and feed in."""
    grid = draw(grids())
    watts = st.integers(-2_000, 2_000)
    demand = [0, *(complex(draw(watts), draw(watts)) for _ in range(grid.nodes - 1))]
    return grid, np.array([demand])


def test_33_buses_lose_what_the_literature_says() -> None:
    net = pandapower.networks.case33bw()
    lines = net.line[net.line.in_service].itertuples()
    node_of, _ = radial(
        0, [(line.from_bus, line.to_bus, complex(line.r_ohm_per_km, line.x_ohm_per_km)) for line in lines]
    )
    demand = np.zeros((1, 33), np.complex128)
    for load in net.load.itertuples():
        demand[0, node_of[load.bus]] = complex(load.p_mw, load.q_mvar) * 1e6

    flow = solve(read_case("ieee33", days=1).grid, demand)
    pandapower.runpp(net, numba=False, tolerance_mva=1e-10)

    assert flow.loss_w.sum() == pytest.approx(202_680, abs=5)
    assert flow.loss_w.sum() == pytest.approx(net.res_line.pl_mw.sum() * 1e6, rel=1e-7)
    assert flow.source_w[0] == pytest.approx(net.res_ext_grid.p_mw.sum() * 1e6, rel=1e-9)
    for bus, node in node_of.items():
        assert abs(flow.voltage_v[0, node]) / 12_660 == pytest.approx(net.res_bus.vm_pu[bus], abs=1e-8)


@of_pandas
@pytest.mark.parametrize("name", ["rural3", "semiurb4"])
def test_flow_agrees_with_pandapower_on_simbench_grids(name: str) -> None:
    case = read_case(name)
    net = simbench.get_simbench_net(SIMBENCH[name])
    net.storage.in_service = False
    # simbench does not say what kind of tap changer it means, without which pandapower 3 passes over the taps.
    net.trafo["tap_changer_type"] = "Ratio"
    flow = solve(case.grid, case.demand_va())
    whole, bare = net, copy.deepcopy(net)
    bare.line["c_nf_per_km"] = 0.0
    bare.trafo[["pfe_kw", "i0_percent"]] = 0.0
    users = net.load.drop_duplicates("bus").reset_index().set_index("bus")["index"]

    for step in (0, 50, 150, 343, 400, 600):
        for model in (bare, whole):
            model.load["p_mw"] = case.load_wh[step] / STEP_H / 1e6
            model.load["q_mvar"] = case.reactive_vah[step] / STEP_H / 1e6
            model.sgen["p_mw"] = [case.pv_wh[step, users[bus]] / STEP_H / 1e6 for bus in model.sgen.bus]
            pandapower.runpp(model, numba=False, tolerance_mva=1e-12)

        winding = flow.loss_w[step, case.grid.transformers].sum()
        line = flow.loss_w[step].sum() - winding
        assert line == pytest.approx(bare.res_line.pl_mw.sum() * 1e6, rel=1e-4)
        assert winding == pytest.approx(bare.res_trafo.pl_mw.sum() * 1e6, rel=1e-4)
        assert flow.source_w[step] == pytest.approx(bare.res_ext_grid.p_mw.sum() * 1e6, abs=0.01)
        seen = sorted(np.abs(flow.voltage_v[step, 1:]) / 400)
        assert seen == pytest.approx(sorted(bare.res_bus.vm_pu[bare.bus.vn_kv == 0.4]), abs=1e-6)

        # What the model leaves out: the lines' capacitance, and the iron's current on its way through the winding.
        assert line == pytest.approx(whole.res_line.pl_mw.sum() * 1e6, rel=5e-3, abs=5)
        assert winding + case.grid.iron_w == pytest.approx(whole.res_trafo.pl_mw.sum() * 1e6, rel=1e-2)


@given(loaded())
def test_source_gives_demand_and_losses(case: tuple[Grid, Any]) -> None:
    grid, demand = case

    flow = solve(grid, demand)

    assert (flow.loss_w >= 0).all()
    assert flow.source_w[0] == pytest.approx(demand.real.sum() + flow.loss_w.sum(), abs=1e-3)


@given(loaded(), st.integers(2, 5))
def test_losses_grow_with_the_square_of_the_flow(case: tuple[Grid, Any], factor: int) -> None:
    grid, demand = case
    # So small that voltage stays what it is.
    demand = demand / 10_000

    assert solve(grid, factor * demand).loss_w.sum() == pytest.approx(
        factor**2 * solve(grid, demand).loss_w.sum(), rel=1e-3
    )


@given(grids())
def test_nothing_is_lost_where_nothing_flows(grid: Grid) -> None:
    assert solve(grid, np.zeros((1, grid.nodes), np.complex128)).loss_w.sum() == 0


@settings(deadline=None)
@given(loaded(), st.data())
def test_marginal_loss_is_what_a_further_watt_loses(case: tuple[Grid, Any], data: st.DataObject) -> None:
    grid, demand = case
    demand = demand.real / 100 + 0j
    node = data.draw(st.integers(1, grid.nodes - 1))
    more = demand.copy()
    more[0, node] += 0.01

    lost = solve(grid, more).loss_w.sum() - solve(grid, demand).loss_w.sum()

    own = grid.common_impedance().real[node, node] * 0.01**2 / grid.nominal_v**2
    assert lost == pytest.approx(marginal_loss(grid, demand.real)[0, node] * 0.01 + own, rel=2e-2, abs=1e-10)


def test_time_steps_are_independent() -> None:
    case = read_case("rural1", days=1)
    demand = case.demand_va()

    together = solve(case.grid, demand)

    alone = solve(case.grid, demand[40:41])
    assert alone.loss_w[0] == pytest.approx(together.loss_w[40], rel=1e-6, abs=1e-9)


def test_more_than_a_grid_can_carry_is_refused() -> None:
    case = read_case("rural1", days=1)

    with pytest.raises(FlowDiverged, match="cannot carry"):
        solve(case.grid, 500 * case.demand_va())


@pytest.mark.parametrize(
    ("parents", "z", "told"),
    [([0], [0], "make no grid"), ([0, 2, 0], [0, 1, 1], "node 1 comes before"), ([0, 0], [0, -1], "below 0")],
)
def test_what_is_no_radial_grid_is_refused(parents: list[int], z: list[complex], told: str) -> None:
    with pytest.raises(GridError, match=told):
        Grid(np.array(parents), np.array(z, np.complex128), 400.0, 400.0, np.array([], np.int64))

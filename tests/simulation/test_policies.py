"""What must hold between policies, on whatever network."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from energyshare.dispatch.rules import Rules
from energyshare.simulation.allocation import AllocationFailed, Allocator, optimum, usable_units
from energyshare.simulation.model import Run, simulate
from energyshare.simulation.parameters import Parameters
from energyshare.simulation.policies import LowestLoss, Random
from energyshare.simulation.price_guided import PriceGuided
from energyshare.simulation.script import Script, draw_network, draw_script
from energyshare.simulation.state import ACQUIRE, SUPPLY, Policy, State

SEED = 20210315

networks = st.builds(
    Parameters,
    users=st.integers(1, 25),
    stations=st.integers(1, 6),
    charge_units=st.sampled_from([0.0, 5.0, 60.0]),
    sales_per_user=st.sampled_from([0.0, 0.5, 2.0]),
    capacity_units=st.sampled_from([45, 80]),
    horizon_s=st.sampled_from([300, 3_600]),
)


def policies(script: Script, parameters: Parameters, seed: int) -> dict[str, Policy]:
    return {
        "lowest-loss": LowestLoss(script.network),
        "random": Random(script.network, seed),
        "price-guided": PriceGuided(script.network, parameters, seed, futures=1, solutions=3),
    }


@settings(max_examples=40, deadline=None)
@given(networks, st.integers(0, 2**32))
def test_no_policy_loses_less_than_the_optimum_of_what_it_served(parameters: Parameters, seed: int) -> None:
    script = draw_script(parameters, seed)
    for policy in policies(script, parameters, seed).values():
        made = simulate(script, policy, parameters.rules)

        assert optimum(script, made, parameters.rules) <= made.loss + 1e-9


def test_chance_loses_more_than_lowest_loss_on_average() -> None:
    parameters = Parameters(25, 6)
    scripts = [draw_script(parameters, SEED + repeat) for repeat in range(10)]

    lowest = [simulate(script, LowestLoss(script.network)).loss for script in scripts]
    random = [simulate(script, Random(script.network, SEED)).loss for script in scripts]

    assert fmean(lowest) < 0.85 * fmean(random)


def test_random_picks_every_available_line_alike() -> None:
    network = draw_network(Parameters(1, 5), np.random.default_rng(SEED))
    state, policy = State(network, Rules()), Random(network, SEED)
    state.flags[SUPPLY][2] = False

    picked = np.bincount([policy.choose(state, 0, SUPPLY, 1, 0) or 0 for _ in range(4_000)], minlength=5)

    assert picked[2] == 0
    assert (abs(picked[[0, 1, 3, 4]] - 1_000) < 4 * np.sqrt(4_000 * 0.25 * 0.75)).all()


@pytest.mark.parametrize("name", ["lowest-loss", "random", "price-guided"])
def test_where_no_station_is_available_nobody_is_connected(name: str) -> None:
    parameters = Parameters(4, 3)
    script = draw_script(parameters, SEED)
    state = State(script.network, parameters.rules)
    state.flags[SUPPLY] = [False] * 3

    assert policies(script, parameters, SEED)[name].choose(state, 0, SUPPLY, 5, 0) is None


def test_the_optimum_is_that_of_a_matching_unit_by_unit() -> None:
    parameters = Parameters(12, 4, charge_units=0.0, sales_per_user=0.0)
    script = draw_script(parameters, SEED)
    made = simulate(script, LowestLoss(script.network))

    network = script.network
    loss = np.empty((12, 4))
    loss[np.repeat(np.arange(12), 4), network.line_station] = network.line_loss_bp
    users = script.requests.user[made.request]
    stations = np.repeat(np.arange(4), usable_units(SUPPLY, network.stored_wh, network.capacity_wh, Rules()))
    costs = loss[users][:, stations]
    rows, columns = linear_sum_assignment(costs)

    assert optimum(script, made) == pytest.approx(costs[rows, columns].mean() / 10_000, rel=1e-9)


def test_usable_units_are_what_one_user_alone_draws() -> None:
    stored = np.array([0, 1, 2, 3, 20, 40]) * 1_000
    capacity = np.full(6, 40_000)

    assert usable_units(SUPPLY, stored, capacity, Rules()).tolist() == [0, 0, 0, 1, 18, 38]
    assert usable_units(ACQUIRE, stored, capacity, Rules()).tolist() == [38, 37, 36, 35, 18, 0]


def one_station_each() -> tuple[Script, Parameters]:
    """User 0 loses 1 % to either station, user 1 loses 1 % to station 0 and 41 % to station 1."""
    parameters = Parameters(2, 2, charge_units=0.0, sales_per_user=0.0)
    script = draw_script(parameters, SEED)
    network = replace(
        script.network,
        line_station=np.array([0, 1, 0, 1], dtype=np.int32),
        line_loss_bp=np.array([100, 101, 100, 4_100], dtype=np.int32),
    )
    return replace(script, network=network), parameters


def test_a_price_is_what_a_unit_more_would_save() -> None:
    script, _ = one_station_each()
    users = np.array([10.0, 10.0])

    scarce = Allocator(script.network).allocate(users, np.zeros(2), np.array([5.0, 20.0]), np.zeros(2))

    assert scarce.loss_bp == pytest.approx(10 * 101 + 5 * 100 + 5 * 4_100)
    assert scarce.price_bp == pytest.approx([4_000, 0])


def test_what_is_sold_to_a_station_can_be_drawn_from_it() -> None:
    script, _ = one_station_each()

    allocated = Allocator(script.network).allocate(
        np.array([4.0, 0]), np.array([0, 4.0]), np.zeros(2), np.array([9.0, 9.0])
    )

    assert allocated.loss_bp == pytest.approx(4 * 100 + 4 * 100)


def test_more_than_there_is_cannot_be_allocated() -> None:
    script, _ = one_station_each()

    with pytest.raises(AllocationFailed, match="10 units find no station"):
        Allocator(script.network).allocate(np.array([20.0, 0]), np.zeros(2), np.array([5.0, 5.0]), np.zeros(2))


def test_unserved_units_cost_what_they_are_said_to() -> None:
    script, _ = one_station_each()

    allocated = Allocator(script.network, 10_000).allocate(
        np.array([20.0, 0]), np.zeros(2), np.array([5.0, 5.0]), np.zeros(2)
    )

    assert allocated.loss_bp == pytest.approx(5 * 100 + 5 * 101 + 10 * 10_000)


def test_price_guided_leaves_scarce_energy_to_whom_it_serves_best() -> None:
    script, parameters = one_station_each()
    stored = np.array([22, 80]) * 1_000
    network = replace(script.network, stored_wh=stored, capacity_wh=np.full(2, 80_000), demand=np.array([1.0, 1.0]))
    parameters = replace(parameters, requests_per_user=4.0)
    state = State(network, parameters.rules)

    assert LowestLoss(network).choose(state, 0, SUPPLY, 10, 0) == 0
    assert PriceGuided(network, parameters, SEED).choose(state, 0, SUPPLY, 10, 0) == 1
    assert PriceGuided(network, parameters, SEED).choose(state, 1, SUPPLY, 10, 0) == 0


def test_price_guided_sells_where_energy_is_scarce() -> None:
    script, parameters = one_station_each()
    losses = np.array([100, 200, 100, 4_100], dtype=np.int32)
    stations = np.array([1, 0, 0, 1], dtype=np.int32)
    network = replace(
        script.network,
        line_station=stations,
        line_loss_bp=losses,
        stored_wh=np.array([3, 40]) * 1_000,
        demand=np.array([0.1, 1.9]),
    )
    parameters = replace(parameters, requests_per_user=2.0)
    state = State(network, parameters.rules)

    assert LowestLoss(network).choose(state, 0, ACQUIRE, 5, 0) == 1
    assert PriceGuided(network, parameters, SEED).choose(state, 0, ACQUIRE, 5, 0) == 0


def test_price_guided_repeats_to_the_byte() -> None:
    parameters = Parameters(25, 6, charge_units=5.0)
    script = draw_script(parameters, SEED)
    runs: list[Run] = [simulate(script, PriceGuided(script.network, parameters, SEED, futures=2)) for _ in range(2)]

    assert runs[0].station.tobytes() == runs[1].station.tobytes()

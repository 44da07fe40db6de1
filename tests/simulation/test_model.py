"""The model in SimPy: unit for unit the reference dispatcher, in the order of the script."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from energyshare.dispatch.rules import Rules, Service, moved
from energyshare.dispatch.scenario import Event, Outcome, Scenario
from energyshare.simulation.model import simulate
from energyshare.simulation.parameters import Parameters
from energyshare.simulation.policies import LowestLoss, Random
from energyshare.simulation.replay import ReplayError, on_reference, replay, scenario_of
from energyshare.simulation.script import SERVICES, Script, draw_script

SEED = 20210315

CROWDED = Parameters(25, 6, charge_units=5.0, sales_per_user=1.0, horizon_s=600)
FULL = Parameters(25, 6, charge_units=60.0, sales_per_user=2.0, capacity_units=50, horizon_s=300)
"""Stations fill up while users are connected to them."""
SHORT_CONNECTIONS = Parameters(25, 6, rules=Rules(k=3, reserve_wh=0), capacity_units=45, horizon_s=300)
SPARSE = Parameters(50, 17, lines_per_user=3, charge_units=0.0, horizon_s=600)


@pytest.mark.parametrize(
    "parameters", [Parameters(10, 2), Parameters(50, 17), CROWDED, FULL, SHORT_CONNECTIONS, SPARSE]
)
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_every_transfer_is_the_reference_dispatchers(parameters: Parameters, seed: int) -> None:
    made = replay(draw_script(parameters, seed), parameters.rules)

    assert made.difference is None
    assert made.transfers > 0


def test_a_transfer_that_differs_is_told() -> None:
    def without_last(scenario: Scenario) -> Outcome:
        outcome = on_reference(scenario)
        return replace(outcome, transfers=outcome.transfers[:-1])

    made = replay(draw_script(Parameters(10, 2), SEED), perform=without_last)

    assert not made.equal
    assert made.difference is not None
    assert made.difference.startswith(f"transfer {made.transfers - 1} is None")


def test_stations_end_with_the_references_energy() -> None:
    script, steps = draw_script(FULL, SEED), list[Event]()

    made = simulate(script, LowestLoss(script.network), FULL.rules, record=steps)

    outcome = on_reference(scenario_of(script, steps, FULL.rules))
    assert made.stored_wh.tolist() == [state.stored for state in outcome.stations.values()]


@pytest.mark.parametrize("parameters", [CROWDED, FULL, SPARSE])
def test_units_move_in_the_order_of_the_timeline(parameters: Parameters) -> None:
    script = draw_script(parameters, SEED)
    made = simulate(script, LowestLoss(script.network), parameters.rules)

    _, events = script.timeline()
    due = events[events >= 0]
    turn = np.array([np.count_nonzero(due[:place] == request) for place, request in enumerate(due)])
    served = due[turn < made.served[due]]  # an unserved request ends, so those served are its first

    assert made.request.tolist() == served.tolist()


def test_of_two_at_the_same_instant_the_lower_request_goes_first() -> None:
    script = draw_script(Parameters(20, 3, charge_units=3.0), SEED)
    second = 1_000_000
    requests = replace(
        script.requests,
        time_us=script.requests.time_us // (600 * second) * second,
        interval_us=np.full(len(script.requests), second),
    )
    script = replace(script, requests=requests, charge_time_us=script.charge_time_us // (600 * second) * second)

    made = simulate(script, LowestLoss(script.network))

    times, events = script.timeline()
    assert len(np.unique(times)) < len(times) / 4
    assert made.request[: len(script.requests)].tolist() == events[events >= 0][: len(script.requests)].tolist()


@pytest.mark.parametrize("parameters", [CROWDED, FULL, SHORT_CONNECTIONS, SPARSE])
def test_energy_is_neither_made_nor_lost_at_stations(parameters: Parameters) -> None:
    script = draw_script(parameters, SEED)
    network, rules = script.network, parameters.rules

    made = simulate(script, Random(network, SEED), rules)

    stored = network.stored_wh.copy()
    for side, service in enumerate(SERVICES):
        units = np.bincount(made.station[script.requests.side[made.request] == side], minlength=network.stations)
        stored = np.array([moved(service, *pair) for pair in zip(stored, units * rules.unit_wh, strict=True)])
    charged = made.stored_wh - stored
    assert (charged >= 0).all()
    assert (charged <= np.bincount(script.charge_station, minlength=network.stations) * rules.unit_wh).all()
    assert (made.stored_wh >= 0).all()
    assert (made.stored_wh <= network.capacity_wh).all()


def test_nobody_is_served_more_than_asked_or_over_no_line() -> None:
    script = draw_script(SPARSE, SEED)
    made = simulate(script, Random(script.network, SEED))

    assert (made.served <= script.requests.units).all()
    assert made.served.sum() == made.delivered_units
    lines = script.network.lines()
    for request, station, loss in zip(made.request, made.station, made.loss_bp, strict=True):
        assert (loss, station) in lines[script.requests.user[request]]


def test_a_run_repeats_to_the_byte() -> None:
    one, again = (
        simulate(script, Random(script.network, SEED)) for script in (draw_script(CROWDED, SEED) for _ in range(2))
    )

    assert one.station.tobytes() == again.station.tobytes()
    assert one.request.tobytes() == again.request.tobytes()


def test_an_empty_script_loses_nothing() -> None:
    script = draw_script(Parameters(3, 2, requests_per_user=0.0, sales_per_user=0.0), SEED)

    made = simulate(script, LowestLoss(script.network))

    assert made.delivered_units == 0
    assert made.loss == 0


def test_a_scenario_holds_whole_units_only() -> None:
    script: Script = draw_script(Parameters(3, 2), SEED)
    odd = replace(script, network=replace(script.network, stored_wh=script.network.stored_wh + 1))

    with pytest.raises(ReplayError, match="whole"):
        scenario_of(odd, [])


def test_services_are_numbered_as_the_contracts_do() -> None:
    assert SERVICES == (Service.SUPPLY, Service.ACQUIRE)

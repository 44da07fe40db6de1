"""Experiment 2 and scenarios on real contracts: what the reference says, and what the contracts cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from energyshare.chain import devnet
from energyshare.dispatch.contracts import UNITS_PER_TRANSACTION
from energyshare.dispatch.errors import FlagContradicted
from energyshare.dispatch.rules import Service
from energyshare.dispatch.scenario import (
    Apply,
    Close,
    Connect,
    Draw,
    Event,
    ReportEvent,
    Scenario,
    ScenarioError,
    ScenarioLine,
    ScenarioStation,
    read,
    reference_for,
)
from energyshare.experiments.experiment2 import SCENARIO, replay, run
from energyshare.experiments.progress import Event as ProgressEvent
from energyshare.experiments.progress import Stage
from energyshare.experiments.scenario_network import MAX_CONNECTED, MAX_UNITS_PER_CONNECTION, scenario_network, terms_of

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "scenarios" / "experiment2.json"

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE


def scenario(*events: Event, lines: Sequence[ScenarioLine] | None = None, k: int = 10, **station: int) -> Scenario:
    """Two users on one station, whose names no party has."""
    amounts = {"capacity": 40, "stored": 20} | station
    made = ScenarioStation("the [old] mill", can_supply=True, can_acquire=True, **amounts)
    lines = lines or [ScenarioLine(user, made.id, 1_500) for user in ("Ann", "EC")]
    return Scenario((made,), tuple(lines), events, k=k)


@pytest.mark.parametrize("kind", ["py-evm", "anvil"])
def test_the_contracts_give_every_figure_of_the_paper(kind: devnet.Kind) -> None:
    with scenario_network(SCENARIO, kind) as network:
        outcome = run(network.dispatcher())

    assert [observation for observation in outcome.observations if not observation.ok] == []
    assert outcome == run()


def test_the_paper_as_a_file_ends_as_the_experiment_does() -> None:
    paper = read(EXAMPLE)
    expected = run()

    assert paper == SCENARIO
    assert replay(paper, reference_for(paper)) == expected.outcome
    with scenario_network(paper, "anvil") as network:
        assert replay(paper, network.dispatcher()) == expected.outcome


def test_users_and_stations_have_names_of_parties_and_keep_their_own() -> None:
    made = scenario(Apply("supply", "EC", 12), Apply("acquire", "Bob", 3))

    with scenario_network(made, "anvil") as network:
        outcome = replay(made, network.dispatcher())
        parties = {party.name for party in network.local.network.record.parties}

    assert network.users == {"Ann": "Client1", "EC": "Client2", "Bob": "Client3"}
    assert network.stations == {"the [old] mill": "Station1"}
    assert parties == {"Client1", "Client2", "Client3", "Station1", "EC"}
    assert outcome == replay(made, reference_for(made))
    assert outcome.unserved == {"EC": 0, "Bob": 3}
    assert {transfer.user for transfer in outcome.transfers} == {"EC"}


def test_interleaved_users_and_partial_reports_end_as_on_the_reference() -> None:
    made = scenario(
        Connect("connect", "Ann", SUPPLY),
        Connect("connect", "EC", SUPPLY),
        Draw("draw", "Ann", SUPPLY, 0),
        Draw("draw", "EC", SUPPLY, 9),
        Connect("connect", "EC", ACQUIRE),
        ReportEvent("report", "the [old] mill", stored=4),
        Draw("draw", "Ann", SUPPLY, 3),
        Close("close", "EC", ACQUIRE),
        Close("close", "Ann", SUPPLY),
        ReportEvent("report", "the [old] mill", stored=30, can_supply=True),
        Apply("supply", "Ann", 4),
    )
    told: list[ProgressEvent] = []

    with scenario_network(made, "anvil") as network:
        outcome = replay(made, network.dispatcher(), told.append)

    assert outcome == replay(made, reference_for(made))
    assert len(outcome.transfers) > 10
    assert len(told) == len(made.events)
    assert {event.stage for event in told} == {Stage.DISPATCHED}


@pytest.mark.parametrize(("k", "connections"), [(10_000, 1), (2_100, 2)])
def test_a_connection_that_fits_no_block_takes_several_transactions(k: int, connections: int) -> None:
    units = UNITS_PER_TRANSACTION + 500
    made = scenario(
        Apply("acquire", "Ann", units), Apply("supply", "EC", units), k=k, capacity=2 * units, stored=units - 500
    )

    with scenario_network(made, "anvil") as network:
        outcome = replay(made, network.dispatcher())

    assert outcome == replay(made, reference_for(made))
    assert (len(outcome.transfers), len(outcome.assignments)) == (2 * units, 2 * connections)


def test_a_report_that_contradicts_itself_ends_the_run() -> None:
    made = scenario(
        ReportEvent("report", "the [old] mill", stored=4, can_supply=True),
        Apply("supply", "Ann", 1),
        connected_supply=2,
    )

    with scenario_network(made, "anvil") as network:
        dispatcher = network.dispatcher()
        with pytest.raises(FlagContradicted) as refused:
            replay(made, dispatcher)
        assert dispatcher.transfers == []

    with pytest.raises(FlagContradicted) as by_reference:
        replay(made, reference_for(made))
    assert str(refused.value) == str(by_reference.value)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (scenario(k=MAX_UNITS_PER_CONNECTION + 1), "k is 65536, .* after 65535 units: lower it"),
        (scenario(connected_supply=MAX_CONNECTED - 1), "16777214 users connected for supply, .* 16777213: lower"),
        (scenario(connected_acquire=MAX_CONNECTED - 1), "lower connected_acquire"),
        (
            scenario(Apply("acquire", "Ann", 1), lines=[ScenarioLine("Ann", "the [old] mill", 10_000)]),
            r"user Ann to station the \[old\] mill loses all .* lower its loss",
        ),
        (
            scenario(Connect("connect", "Ann", ACQUIRE), lines=[ScenarioLine("Ann", "the [old] mill", 10_000)]),
            "loses all",
        ),
    ],
    ids=["k", "supply", "acquire", "application", "connection"],
)
def test_what_the_contracts_cannot_hold_is_told_in_one_line(made: Scenario, said: str) -> None:
    with pytest.raises(ScenarioError, match=said) as refused:
        terms_of(made)
    assert "\n" not in str(refused.value)


def test_the_contracts_hold_the_largest_amounts() -> None:
    most = 10**9
    made = replace(
        scenario(
            Apply("supply", "Ann", most),
            k=MAX_UNITS_PER_CONNECTION,
            capacity=most,
            stored=3,
            connected_acquire=MAX_CONNECTED - 2,
            lines=[ScenarioLine("Ann", "the [old] mill", 10_000), ScenarioLine("Bob", "the [old] mill", 9_999)],
        ),
        reserve_per_user=0,
    )
    large = replace(made, reserve_per_user=most)

    for one in (made, large):
        with scenario_network(one, "anvil") as network:
            assert replay(one, network.dispatcher()) == replay(one, reference_for(one))


def test_a_user_may_have_more_lines_than_one_transaction_makes() -> None:
    stations = tuple(ScenarioStation(f"s{n}", 40, 20, can_supply=n > 50, can_acquire=True) for n in range(55))
    lines = tuple(ScenarioLine("Ann", station.id, n * 7 % 20) for n, station in enumerate(stations))
    made = Scenario(stations, lines, (Apply("supply", "Ann", 30),))
    reference = reference_for(made)

    with scenario_network(made, "anvil") as network:
        dispatcher = network.dispatcher()
        assert dispatcher.lines("Ann") == reference.lines("Ann")
        assert replay(made, dispatcher) == replay(made, reference)

"""The scheduling chain obeys its records; whatever does not is named."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from energyshare.dispatch.rules import End
from energyshare.errors import TransactionReverted
from energyshare.ledger.audit import audit, privacy
from energyshare.ledger.history import ScheduleEvent, history
from energyshare.ledger.replay import Replay, replay
from energyshare.ledger.schedule_audit import ScheduleState, read_schedule, scheduling
from energyshare.ledger.stations import ListedStation
from tests.bridge.world import S, T, World
from tests.ledger.town import ACQUIRE, SUPPLY, TERMS, Town, act_at_random, experiment_2

STORED = "stored energy = registered + taken in - given out + corrections of reports (Wh)"
COMING = "energy on its way to stations follows from the records (Wh)"
STATIONS = "capacity, key, flags and units of stations follow from the records"
REPORTS = "reports belong to the units before them"
CONNECTED = "connected users = open connections of the epoch + those registered"
LINES = "lines stand by loss, then by registration, as the records say"
ASSIGNED = "connections with less loss to be had elsewhere"
ACCOUNTS = "accounts = funded + granted + earned - spent - paid (Wh)"
DUE = "rights set aside = units that are not accepted yet (Wh)"
FLOATS = "floats follow from the records (Wh)"
BALANCE = "settlement contract holds the accounts and what was sent straight to it (Wh)"
UNITS = "every unit moved its right, every float and settled period theirs (Wh)"
LEAKS = "rights that left the settlement contract without a record (Wh)"


def broken(state: ScheduleState, replayed: Replay) -> list[str]:
    return [finding.law for finding in scheduling(state, replayed) if not finding.ok]


def read(town: Town) -> tuple[ScheduleState, Replay]:
    return read_schedule(town.world.network)


# What holds


def test_a_new_network_obeys_every_law(town: Town) -> None:
    state, replayed = read(town)

    assert broken(state, replayed) == []
    assert state.balance == 150_000
    assert replayed.payments.units == 0


def test_a_network_without_stations_obeys_every_law(world: World) -> None:
    assert broken(*read_schedule(world.network)) == []


def test_experiment_2_obeys_every_law(town: Town) -> None:
    experiment_2(town)
    state, replayed = read(town)

    assert broken(state, replayed) == []
    assert [station.stored for station in state.stations.values()] == [18_000, 6_000, 20_000]
    given_and_taken = [(station.given, station.taken) for station in replayed.stations.values()]
    assert given_and_taken == [(0, 13_000), (14_000, 0), (0, 0)]
    assert replayed.stations[1].corrected == 0, "12 units charged and then said to be 5 again"
    assert replayed.payments.units == 27


def test_units_on_their_way_accepted_in_part_and_released_are_accounted_for(town: Town) -> None:
    town.connect("Client3", ACQUIRE)
    town.accept("Client3")
    town.draw("Client3", ACQUIRE, 5)
    state, replayed = read(town)
    assert (state.stations[1].coming, state.stations[1].due, broken(state, replayed)) == (5_000, 5_000, [])

    town.accept("Client3", 2)
    state, replayed = read(town)
    assert (state.stations[1].stored, state.stations[1].due, broken(state, replayed)) == (8_000, 3_000, [])

    town.close("Client3", ACQUIRE)
    state, replayed = read(town)
    assert (state.stations[1].coming, state.stations[1].due, broken(state, replayed)) == (0, 0, [])


def test_connections_of_an_epoch_that_is_over_count_no_more(town: Town) -> None:
    """Client1 and the two registered users are cut off by the reserve of 3; Client1 then closes what is closed."""
    town.connect("Client1", SUPPLY)
    state, replayed = read(town)
    assert (state.stations[2].connected[SUPPLY], broken(state, replayed)) == (3, [])

    town.report("StationB", stored=7_000)
    town.draw("Client1", SUPPLY, 9)
    town.close("Client1", SUPPLY)
    state, replayed = read(town)

    assert state.stations[2].connected[SUPPLY] == replayed.stations[2].others[SUPPLY] == 0
    assert state.stations[2].epochs[SUPPLY] == 1
    assert [one.end for one in replayed.connections] == [End.STATION]
    assert broken(state, replayed) == []


def test_settled_periods_floats_and_gifts_are_accounted_for(town: Town) -> None:
    experiment_2(town)
    paid, granted = town.settle("StationB")
    assert (paid, granted) == (64_000, 50_000)
    settlement = town.schedule.settlement.address
    town.world.send(S, town.schedule.rights.functions.transfer(settlement, 700), "Client1")
    town.schedule.approve(town.key("EC"), 10**9)
    town.schedule.fund(town.key("EC"), 3, 4_000)
    town.schedule.set_float(town.key("EC"), 3, 9_000)
    state, replayed = read(town)

    assert broken(state, replayed) == []
    assert replayed.payments.gifts == 700
    assert state.stations[3].held == 4_000
    assert state.stations[3].float_wh == 9_000


def test_disputes_suspend_a_line_and_restoring_it_follows(town: Town) -> None:
    town.apply("Client1", SUPPLY, 2)
    town.close("Client1", SUPPLY, reading_wh=1)
    state, replayed = read(town)

    assert replayed.lines[town.address("Client1")][2].suspended
    assert broken(state, replayed) == []
    (dispute,) = replayed.disputes
    assert (dispute.units, dispute.reading_wh, dispute.expected_wh, dispute.by_station) == (2, 1, 1_800, False)

    town.schedule.restore_line(town.key("EC"), town.address("Client1"), 2)
    town.world.send(S, town.schedule.lines.functions.removeLine(town.address("Client1"), 1), "EC")
    assert broken(*read(town)) == []


def test_random_traffic_obeys_every_law(town: Town) -> None:
    """Users, stations and the company at random; what the contracts refuse changes nothing."""
    seed = 20_260
    chance = random.Random(seed)
    refused = 0
    for _ in range(80):
        try:
            act_at_random(town, chance)
        except TransactionReverted:
            refused += 1
    state, replayed = read(town)

    assert broken(state, replayed) == [], f"seed {seed}"
    assert refused < 60
    assert replayed.payments.units > 20


# What must be noticed


@pytest.fixture(scope="module")
def busy(town_deployed: Town) -> Iterator[tuple[ScheduleState, Replay, list[ScheduleEvent], Town]]:
    """After some traffic, with a connection open; put back by the snapshot of each test that writes."""
    town = town_deployed
    snapshots = {side: town.world.chain(side).snapshot() for side in (T, S)}
    experiment_2(town)
    town.connect("Client2", SUPPLY)
    state, replayed = read(town)
    yield state, replayed, history(town.schedule, state.block), town
    for side, snapshot in snapshots.items():
        town.world.chain(side).revert(snapshot)


def doctored(state: ScheduleState, station: int, **changes: Any) -> ScheduleState:
    changed: ListedStation = replace(state.stations[station], **changes)
    return replace(state, stations={**state.stations, station: changed})


DOCTORED: dict[str, tuple[Callable[[ScheduleState], ScheduleState], list[str]]] = {
    "energy from nothing": (lambda state: doctored(state, 1, stored=18_001), [STORED]),
    "energy on its way that nobody promised": (lambda state: doctored(state, 1, coming=1_000), [COMING]),
    "a flag that nobody raised": (lambda state: doctored(state, 2, flags={SUPPLY: True, ACQUIRE: True}), [STATIONS]),
    "a unit that no station counted": (lambda state: doctored(state, 2, transfers=13), [STATIONS]),
    "a key of somebody else's": (lambda state: doctored(state, 3, key="0x" + "11" * 20), [STATIONS]),
    "a user too many": (lambda state: doctored(state, 3, connected={SUPPLY: 2, ACQUIRE: 0}), [CONNECTED]),
    "an epoch that never began": (lambda state: doctored(state, 3, epochs={SUPPLY: 1, ACQUIRE: 0}), [CONNECTED]),
    "an account short of a right": (lambda state: doctored(state, 2, held=63_999), [ACCOUNTS, BALANCE]),
    "a right set aside for nobody": (lambda state: doctored(state, 1, due=1_000), [DUE]),
    "a float that the company did not set": (lambda state: doctored(state, 1, float_wh=1), [FLOATS]),
    "a settlement contract that was robbed": (lambda state: replace(state, balance=state.balance - 1), [BALANCE]),
    "a station that nobody registered": (
        lambda state: replace(state, stations={**state.stations, 4: replace(state.stations[3], id=4, held=0)}),
        ["stations registered"],
    ),
    "lines in another order": (
        lambda state: replace(state, lines={user: lines[::-1] for user, lines in state.lines.items()}),
        [LINES],
    ),
}


@pytest.mark.parametrize("what", DOCTORED)
def test_every_breach_of_a_state_is_named(busy: Any, what: str) -> None:
    state, replayed, *_ = busy
    doctor, laws = DOCTORED[what]
    assert broken(state, replayed) == []

    assert broken(doctor(state), replayed) == laws


def test_a_finding_names_the_stations_that_break_its_law(busy: Any) -> None:
    state, replayed, *_ = busy

    (finding,) = [one for one in scheduling(doctored(state, 1, stored=7), replayed) if not one.ok]

    assert finding.expected == "3 stations"
    assert finding.actual == "StationA: 7, not 18000"


FORGED: dict[str, tuple[Callable[[list[ScheduleEvent]], list[ScheduleEvent]], list[str]]] = {
    "a unit recorded twice": (
        lambda events: _twice(events, "UnitTransferred"),
        [STORED, STATIONS, ACCOUNTS, BALANCE, UNITS],
    ),
    "a right that was not paid": (lambda events: _without(events, "Transfer", 2), [UNITS]),
    "rights that leave the settlement contract": (lambda events: _leak(events), [LEAKS]),
    "a report of other units": (
        lambda events: _changed(events, "Reported", transfers=3),
        [REPORTS],
    ),
    "a connection to a worse station": (
        lambda events: _changed(events, "LineSet", nth=5, loss=100),
        [LINES, ASSIGNED],
    ),
}


def _twice(events: list[ScheduleEvent], name: str) -> list[ScheduleEvent]:
    at = next(place for place, event in enumerate(events) if event.name == name)
    return [*events[: at + 1], *events[at:]]


def _without(events: list[ScheduleEvent], name: str, nth: int) -> list[ScheduleEvent]:
    places = [place for place, event in enumerate(events) if event.name == name]
    return [event for place, event in enumerate(events) if place != places[nth]]


def _changed(events: list[ScheduleEvent], name: str, nth: int = 0, **args: int) -> list[ScheduleEvent]:
    places = [place for place, event in enumerate(events) if event.name == name]
    changed = replace(events[places[nth]], args={**events[places[nth]].args, **args})
    return [changed if place == places[nth] else event for place, event in enumerate(events)]


def _leak(events: list[ScheduleEvent]) -> list[ScheduleEvent]:
    sale = [event for event in events if event.name == "Transfer"][-2]
    return [*events, replace(sale, transaction_hash=b"another")]


@pytest.mark.parametrize("what", FORGED)
def test_every_breach_of_the_records_is_named(busy: Any, what: str) -> None:
    state, _, events, town = busy
    forge, laws = FORGED[what]
    company = town.address("EC")

    replayed = replay(forge(events), state.unit_wh, town.schedule.settlement.address, company)

    assert broken(state, replayed) == laws


# The audit as a whole


def test_a_network_at_work_is_audited_on_both_sides(town: Town) -> None:
    experiment_2(town)

    report = audit(town.world.network)

    assert report.ok
    assert {finding.law for finding in report.scheduling} >= {STORED, CONNECTED, UNITS}
    shown: Any = report.to_json()
    assert len(shown["scheduling"]) == len(report.scheduling)


@pytest.mark.parametrize("replaced", [False, True])
def test_privacy_covers_stations_that_the_record_does_not_name(town: Town, replaced: bool) -> None:
    """A station registered after the deployment, and one whose key was replaced."""
    first, second = town.address("StationZ"), town.address("StationY")
    town.schedule.register(town.key("EC"), first, TERMS.stations[0].state)
    if replaced:
        town.world.send(S, town.schedule.dispatch.functions.setStationKey(4, second), "EC")
    assert privacy(town.world.network).ok

    shown = second if replaced else first
    town.world.send(T, town.world.network.asset(T).functions.approve(shown, 1), "EC")
    found = privacy(town.world.network)

    assert {seen.name for seen in found.sightings[T]} == {"station 4"}

"""The state machine: connections, epochs, reports, rights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from energyshare.dispatch.dispatcher import Assignment, Drawn, Line, Report, StationState, UnitTransfer, named
from energyshare.dispatch.errors import (
    AlreadyConnected,
    FlagContradicted,
    InsufficientRights,
    InvalidLoss,
    LineExists,
    NotConnected,
    NotIdle,
    ReportOvertaken,
    StationExists,
    StoredExceedsCapacity,
    UnknownStation,
)
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import End, Rules, Service

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE

UNIT = 1_000
PLENTY = 1_000 * UNIT

STATE = StationState(capacity=40 * UNIT, stored=20 * UNIT, can_supply=True, can_acquire=True)


class Clock:
    """Blocks that pass when told to."""

    def __init__(self) -> None:
        self.block = 0

    def __call__(self) -> int:
        return self.block


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dispatcher(clock: Clock) -> ReferenceDispatcher:
    """Stations a (15%) and b (10%), 20 of 40 units each; users 1 to 4 with lines to both."""
    made = ReferenceDispatcher(Rules(idle_blocks=5), clock)
    for station, loss in (("a", 1_500), ("b", 1_000)):
        made.register(station, STATE)
        made.grant_station(station, PLENTY)
        for user in "1234":
            made.add_line(user, Line(station, loss))
    for user in "1234":
        made.grant_user(user, PLENTY)
    return made


def connected(dispatcher: ReferenceDispatcher, station: str = "b", service: Service = SUPPLY) -> int:
    return dispatcher.stations()[station].connected(service)


def report(dispatcher: ReferenceDispatcher, station: str, **fields: Any) -> None:
    """A report that nothing overtook."""
    dispatcher.report(station, Report(dispatcher.stations()[station].transfers, **fields))


# Connections


def test_connecting_moves_the_first_unit_for_one_right(dispatcher: ReferenceDispatcher) -> None:
    assert dispatcher.connect("1", SUPPLY) == "b"

    assert dispatcher.is_connected("1", SUPPLY)
    assert dispatcher.stations()["b"] == replace(STATE, stored=19 * UNIT, connected_supply=1, transfers=1)
    assert dispatcher.stations()["a"] == STATE
    assert dispatcher.user_rights("1") == PLENTY - UNIT
    assert dispatcher.station_rights("b") == PLENTY + UNIT
    assert dispatcher.assignments == [Assignment("1", SUPPLY, "b")]
    assert dispatcher.transfers == [UnitTransfer("1", "b", SUPPLY)]


def test_selling_moves_energy_in_and_the_right_out(dispatcher: ReferenceDispatcher) -> None:
    assert dispatcher.connect("1", ACQUIRE) == "b"

    assert dispatcher.stations()["b"] == replace(STATE, stored=21 * UNIT, connected_acquire=1, transfers=1)
    assert dispatcher.user_rights("1") == PLENTY + UNIT
    assert dispatcher.station_rights("b") == PLENTY - UNIT


def test_a_user_may_buy_and_sell_at_once_but_each_only_once(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.connect("1", SUPPLY)
    dispatcher.connect("1", ACQUIRE)

    with pytest.raises(AlreadyConnected, match="user 1 is connected to station b for supply"):
        dispatcher.connect("1", SUPPLY)
    with pytest.raises(AlreadyConnected):
        dispatcher.apply("1", ACQUIRE, 1)
    assert (connected(dispatcher), connected(dispatcher, service=ACQUIRE)) == (1, 1)
    assert len(dispatcher.transfers) == 2


def test_a_connection_ends_after_k_units(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.connect("1", SUPPLY)

    assert dispatcher.draw("1", SUPPLY, 8) == Drawn(8, None)
    assert dispatcher.draw("1", SUPPLY, 8) == Drawn(1, End.LIMIT)

    assert not dispatcher.is_connected("1", SUPPLY)
    assert connected(dispatcher) == 0
    assert dispatcher.stations()["b"].can_supply
    with pytest.raises(NotConnected, match="user 1 has no open connection for supply"):
        dispatcher.draw("1", SUPPLY, 1)


def test_with_k_of_one_every_unit_is_a_connection() -> None:
    dispatcher = ReferenceDispatcher(Rules(k=1))
    dispatcher.register("a", STATE)
    dispatcher.add_line("1", Line("a", 0))
    dispatcher.grant_user("1", PLENTY)

    assert dispatcher.apply("1", SUPPLY, 3) == 0
    assert len(dispatcher.assignments) == len(dispatcher.transfers) == 3
    assert connected(dispatcher, "a") == 0


def test_a_better_station_is_taken_after_k_units_and_not_before(dispatcher: ReferenceDispatcher) -> None:
    report(dispatcher, "b", can_supply=False)
    dispatcher.connect("1", SUPPLY)
    report(dispatcher, "b", can_supply=True)

    dispatcher.draw("1", SUPPLY, 9)
    dispatcher.connect("1", SUPPLY)

    assert [assignment.station for assignment in dispatcher.assignments] == ["a", "b"]


@pytest.mark.parametrize("service", Service)
def test_closing_twice_lowers_the_users_once(dispatcher: ReferenceDispatcher, service: Service) -> None:
    dispatcher.connect("1", service)
    dispatcher.connect("2", service)
    dispatcher.close("1", service)

    with pytest.raises(NotConnected):
        dispatcher.close("1", service)
    assert connected(dispatcher, service=service) == 1


def test_drawing_nothing_does_nothing(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.connect("1", SUPPLY)

    assert dispatcher.draw("1", SUPPLY, 0) == Drawn(0, None)
    assert dispatcher.apply("2", SUPPLY, 0) == 0
    assert len(dispatcher.transfers) == 1


# Assignment and the station's check


def test_equal_losses_go_to_the_station_registered_first() -> None:
    dispatcher = ReferenceDispatcher()
    for station in ("z", "a"):
        dispatcher.register(station, STATE)
    for station in ("a", "z"):
        dispatcher.add_line("1", Line(station, 1_000))
    dispatcher.grant_user("1", PLENTY)

    assert dispatcher.lines("1") == [Line("z", 1_000), Line("a", 1_000)]
    assert dispatcher.connect("1", SUPPLY) == "z"


def test_a_station_without_room_for_a_newcomer_loses_its_flag_and_keeps_its_users(
    dispatcher: ReferenceDispatcher,
) -> None:
    report(dispatcher, "b", stored=6 * UNIT)
    dispatcher.connect("1", SUPPLY)
    report(dispatcher, "b", stored=4 * UNIT)

    assert dispatcher.connect("2", SUPPLY) == "a"  # 4 is not above 2 · (1 + 1)

    assert not dispatcher.stations()["b"].can_supply
    assert connected(dispatcher) == 1
    assert dispatcher.draw("1", SUPPLY, 1) == Drawn(1, None)  # 3 is above 2 · 1: a newcomer cuts nobody off


def test_nobody_available_is_told_and_leaves_flags_cleared(dispatcher: ReferenceDispatcher) -> None:
    for station in "ab":
        report(dispatcher, station, stored=2 * UNIT)

    assert dispatcher.connect("1", SUPPLY) is None

    assert not any(state.can_supply for state in dispatcher.stations().values())
    assert all(state.can_acquire for state in dispatcher.stations().values())
    assert (dispatcher.assignments, dispatcher.transfers) == ([], [])
    assert named(dispatcher, "1", SUPPLY) is None


def test_a_user_without_lines_is_not_served(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.grant_user("stranger", PLENTY)

    assert dispatcher.connect("stranger", SUPPLY) is None
    assert dispatcher.apply("stranger", ACQUIRE, 3) == 3


def test_a_cleared_flag_returns_only_with_a_report(dispatcher: ReferenceDispatcher) -> None:
    report(dispatcher, "b", stored=4 * UNIT)
    dispatcher.apply("1", SUPPLY, 3)
    assert not dispatcher.stations()["b"].can_supply

    dispatcher.apply("2", ACQUIRE, 10)  # b is fuller again, and does not say so
    assert dispatcher.stations()["b"].stored == 12 * UNIT
    assert not dispatcher.stations()["b"].can_supply
    report(dispatcher, "b", stored=30 * UNIT)
    assert not dispatcher.stations()["b"].can_supply
    report(dispatcher, "b", can_supply=True)

    assert named(dispatcher, "1", SUPPLY) == "b"


# Epochs


def test_at_the_reserve_all_users_are_disconnected(dispatcher: ReferenceDispatcher) -> None:
    report(dispatcher, "b", stored=10 * UNIT)
    dispatcher.connect("1", SUPPLY)
    dispatcher.connect("2", SUPPLY)

    assert dispatcher.draw("2", SUPPLY, 9) == Drawn(4, End.STATION)  # 8 left after both, 4 is 2 · 2

    assert dispatcher.stations()["b"].stored == 4 * UNIT
    assert not dispatcher.stations()["b"].can_supply
    assert connected(dispatcher) == 0
    for user in "12":
        assert not dispatcher.is_connected(user, SUPPLY)
        with pytest.raises(NotConnected):
            dispatcher.draw(user, SUPPLY, 1)


def test_closing_a_connection_of_an_older_epoch_leaves_the_users_alone(dispatcher: ReferenceDispatcher) -> None:
    report(dispatcher, "b", stored=10 * UNIT)
    dispatcher.connect("1", SUPPLY)
    dispatcher.connect("2", SUPPLY)
    dispatcher.draw("2", SUPPLY, 9)
    report(dispatcher, "b", stored=20 * UNIT, can_supply=True)
    dispatcher.connect("3", SUPPLY)

    dispatcher.close("1", SUPPLY)

    assert connected(dispatcher) == 1
    assert dispatcher.is_connected("3", SUPPLY)
    with pytest.raises(NotConnected):
        dispatcher.close("1", SUPPLY)


def test_a_user_of_an_older_epoch_may_connect_again(dispatcher: ReferenceDispatcher) -> None:
    report(dispatcher, "b", stored=10 * UNIT)
    dispatcher.connect("1", SUPPLY)
    dispatcher.connect("2", SUPPLY)
    dispatcher.draw("2", SUPPLY, 9)

    assert dispatcher.connect("1", SUPPLY) == "a"
    dispatcher.close("1", SUPPLY)

    assert connected(dispatcher, "a") == 0


def test_users_who_were_there_from_the_start_are_disconnected_too() -> None:
    dispatcher = ReferenceDispatcher()
    dispatcher.register("b", replace(STATE, stored=7 * UNIT, connected_supply=2, connected_acquire=3))
    dispatcher.add_line("1", Line("b", 0))
    dispatcher.grant_user("1", PLENTY)

    assert dispatcher.apply("1", SUPPLY, 5) == 4

    assert dispatcher.stations()["b"].stored == 6 * UNIT
    assert (connected(dispatcher), connected(dispatcher, service=ACQUIRE)) == (0, 3)


def test_a_station_that_reports_less_than_a_unit_disconnects_at_the_next_draw(
    dispatcher: ReferenceDispatcher,
) -> None:
    dispatcher.connect("1", SUPPLY)
    report(dispatcher, "b", stored=999, can_supply=False)

    assert dispatcher.draw("1", SUPPLY, 3) == Drawn(0, End.STATION)

    assert dispatcher.stations()["b"].stored == 999
    assert connected(dispatcher) == 0


# Reports


def test_a_report_changes_only_its_fields(dispatcher: ReferenceDispatcher) -> None:
    report(dispatcher, "b", stored=5 * UNIT)
    assert dispatcher.stations()["b"] == replace(STATE, stored=5 * UNIT)

    report(dispatcher, "b", can_acquire=False)
    assert dispatcher.stations()["b"] == replace(STATE, stored=5 * UNIT, can_acquire=False)

    report(dispatcher, "b")
    assert dispatcher.stations()["b"] == replace(STATE, stored=5 * UNIT, can_acquire=False)
    assert dispatcher.stations()["a"] == STATE


@pytest.mark.parametrize("counter", [0, 1, 3])
def test_a_report_of_other_transfers_is_rejected(dispatcher: ReferenceDispatcher, counter: int) -> None:
    dispatcher.connect("1", SUPPLY)
    dispatcher.connect("1", ACQUIRE)
    before = dispatcher.stations()

    with pytest.raises(ReportOvertaken, match=f"transfer {counter}, and it made 2"):
        dispatcher.report("b", Report(counter, stored=30 * UNIT))

    assert dispatcher.stations() == before
    dispatcher.report("b", Report(2, stored=30 * UNIT))
    assert dispatcher.stations()["b"].stored == 30 * UNIT


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"stored": 4 * UNIT + 1, "can_supply": True}, True),
        ({"stored": 4 * UNIT, "can_supply": True}, False),
        ({"stored": 4 * UNIT}, True),  # says nothing of the flag: the next application clears it
        ({"stored": 4 * UNIT, "can_supply": False}, True),
        ({"stored": 38 * UNIT - 1, "can_acquire": True}, True),
        ({"stored": 38 * UNIT, "can_acquire": True}, False),
        ({"stored": 40 * UNIT, "can_supply": True}, True),
        ({"can_supply": True}, True),
    ],
)
def test_a_flag_must_agree_with_the_numbers_beside_it(fields: dict[str, Any], accepted: bool) -> None:
    dispatcher = ReferenceDispatcher()
    dispatcher.register("b", replace(STATE, connected_supply=2, connected_acquire=1))
    before = dispatcher.stations()

    if accepted:
        report(dispatcher, "b", **fields)
        assert dispatcher.stations()["b"] == replace(before["b"], **fields)
    else:
        with pytest.raises(FlagContradicted, match="station b reports itself available"):
            report(dispatcher, "b", **fields)
        assert dispatcher.stations() == before


def test_a_flag_alone_must_agree_with_the_numbers_on_record() -> None:
    dispatcher = ReferenceDispatcher()
    dispatcher.register("b", replace(STATE, stored=4 * UNIT, can_supply=False, connected_supply=2))

    with pytest.raises(FlagContradicted) as refused:
        report(dispatcher, "b", can_supply=True)

    assert (refused.value.level, refused.value.required) == (4 * UNIT, 4 * UNIT)


@pytest.mark.parametrize("stored", [-1, 40 * UNIT + 1])
def test_a_station_cannot_report_what_it_cannot_hold(dispatcher: ReferenceDispatcher, stored: int) -> None:
    with pytest.raises(StoredExceedsCapacity, match="from 0 to its capacity of 40000"):
        report(dispatcher, "b", stored=stored)
    assert dispatcher.stations()["b"] == STATE


def test_an_unknown_station_cannot_report(dispatcher: ReferenceDispatcher) -> None:
    with pytest.raises(UnknownStation, match="station c is not registered"):
        dispatcher.report("c", Report(0))


# Rights


@pytest.mark.parametrize("rights", [0, 999])
def test_a_user_without_a_right_is_not_connected(dispatcher: ReferenceDispatcher, rights: int) -> None:
    dispatcher.add_line("poor", Line("b", 0))
    dispatcher.grant_user("poor", rights)

    with pytest.raises(InsufficientRights, match=f"holds {rights} Wh of rights and a unit costs 1000"):
        dispatcher.connect("poor", SUPPLY)

    assert dispatcher.apply("poor", SUPPLY, 3) == 3
    assert dispatcher.stations()["b"] == STATE
    assert dispatcher.connect("poor", ACQUIRE) == "b"  # to sell, nobody needs any


def test_a_user_that_runs_out_of_rights_is_disconnected(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.add_line("poor", Line("b", 0))
    dispatcher.grant_user("poor", 3 * UNIT + 999)
    dispatcher.connect("poor", SUPPLY)

    assert dispatcher.draw("poor", SUPPLY, 9) == Drawn(2, End.RIGHTS)

    assert dispatcher.user_rights("poor") == 999
    assert not dispatcher.is_connected("poor", SUPPLY)
    assert connected(dispatcher) == 0
    assert dispatcher.stations()["b"].can_supply


def test_the_only_right_buys_one_unit(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.add_line("poor", Line("b", 0))
    dispatcher.grant_user("poor", UNIT)

    assert dispatcher.connect("poor", SUPPLY) == "b"
    assert not dispatcher.is_connected("poor", SUPPLY)
    assert connected(dispatcher) == 0


def test_rights_spent_elsewhere_end_the_connection_at_the_next_draw(dispatcher: ReferenceDispatcher) -> None:
    dispatcher.connect("1", SUPPLY)
    dispatcher.grant_user("1", -dispatcher.user_rights("1"))

    assert dispatcher.draw("1", SUPPLY, 2) == Drawn(0, End.RIGHTS)
    assert connected(dispatcher) == 0


def test_a_station_without_a_right_buys_nothing() -> None:
    dispatcher = ReferenceDispatcher()
    for station in "ab":
        dispatcher.register(station, STATE)
        dispatcher.add_line("1", Line(station, 0))
    dispatcher.grant_station("a", 999)
    dispatcher.grant_station("b", UNIT)

    assert dispatcher.apply("1", ACQUIRE, 2) == 1

    stations = dispatcher.stations()
    assert stations["a"] == replace(STATE, can_acquire=False)
    assert stations["b"] == replace(STATE, stored=21 * UNIT, can_acquire=False, transfers=1)
    assert (dispatcher.station_rights("a"), dispatcher.station_rights("b")) == (999, 0)
    assert dispatcher.user_rights("1") == UNIT


# Idle connections


def test_anyone_may_close_a_connection_once_it_is_idle(dispatcher: ReferenceDispatcher, clock: Clock) -> None:
    dispatcher.connect("1", SUPPLY)
    clock.block = 3
    dispatcher.draw("1", SUPPLY, 1)
    clock.block = 7

    with pytest.raises(NotIdle, match="idle for 4 of 5 blocks: wait 1 more"):
        dispatcher.close_idle("1", SUPPLY)
    assert connected(dispatcher) == 1
    clock.block = 8
    dispatcher.close_idle("1", SUPPLY)

    assert connected(dispatcher) == 0
    with pytest.raises(NotConnected):
        dispatcher.close_idle("1", SUPPLY)


# Set-up


def test_what_cannot_be_registered_is_refused(dispatcher: ReferenceDispatcher) -> None:
    with pytest.raises(StationExists, match="station a is registered already"):
        dispatcher.register("a", STATE)
    with pytest.raises(StoredExceedsCapacity):
        dispatcher.register("c", replace(STATE, stored=40 * UNIT + 1))
    with pytest.raises(UnknownStation):
        dispatcher.add_line("1", Line("c", 0))
    with pytest.raises(UnknownStation):
        dispatcher.grant_station("c", 1)
    with pytest.raises(LineExists, match="user 1 has a line to station a already"):
        dispatcher.add_line("1", Line("a", 0))
    for loss in (-1, 10_001):
        with pytest.raises(InvalidLoss, match="state 0 to 10000"):
            dispatcher.add_line("9", Line("a", loss))
    assert list(dispatcher.stations()) == ["a", "b"]
    assert dispatcher.lines("9") == []

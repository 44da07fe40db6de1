"""What holds whatever users and stations do, on generated networks and interleavings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from energyshare.dispatch.dispatcher import Line, Report, StationState
from energyshare.dispatch.errors import (
    AlreadyConnected,
    FlagContradicted,
    InsufficientRights,
    NotConnected,
    ReportOvertaken,
)
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import End, Rules, Service
from tests.dispatch.listing import Listed, Listing

UNIT = 1_000
PLENTY = 10_000 * UNIT
USERS = ("1", "2", "3", "4")

users = st.sampled_from(USERS)
services = st.sampled_from(Service)


@dataclass(frozen=True)
class Network:
    """Stations in whole units, numbered; losses by user and station."""

    rules: Rules
    stations: tuple[StationState, ...]
    losses: dict[str, dict[int, int]]

    def dispatcher(self) -> ReferenceDispatcher:
        """With more rights than anybody needs."""
        made = ReferenceDispatcher(self.rules)
        for number, state in enumerate(self.stations):
            made.register(str(number), state)
            made.grant_station(str(number), PLENTY)
        for user, losses in self.losses.items():
            made.grant_user(user, PLENTY)
            for number, loss in losses.items():
                made.add_line(user, Line(str(number), loss))
        return made

    def listing(self, service: Service) -> Listing:
        stations = [
            Listed(state.level(service) // UNIT, state.connected(service), state.available(service))
            for state in self.stations
        ]
        return Listing(stations, self.rules.k, self.rules.reserve_wh // UNIT)


mostly = st.sampled_from([True, True, True, False])


@st.composite
def states(draw: st.DrawFn, least: int = 0) -> StationState:
    """Of `least` units of capacity and more."""
    capacity = draw(st.integers(least, 40))
    return StationState(
        capacity=capacity * UNIT,
        stored=draw(st.integers(0, capacity)) * UNIT,
        can_supply=draw(mostly),
        can_acquire=draw(mostly),
        connected_supply=draw(st.sampled_from([0, 0, 1, 2])),
        connected_acquire=draw(st.sampled_from([0, 0, 1, 2])),
    )


@st.composite
def networks(draw: st.DrawFn, least: int = 0) -> Network:
    stations = draw(st.lists(states(least), min_size=1, max_size=4))
    losses = {
        # Few distinct losses, so that many are equal.
        user: {
            number: draw(st.sampled_from([0, 500, 1_000, 10_000])) for number in range(len(stations)) if draw(mostly)
        }
        for user in USERS
    }
    rules = Rules(k=draw(st.integers(1, 12)), reserve_wh=draw(st.integers(0, 3)) * UNIT)
    return Network(rules, tuple(stations), losses)


EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)

applications = st.lists(st.tuples(users, services, st.integers(0, 30)), max_size=8)


def split_application(
    dispatcher: ReferenceDispatcher, user: str, service: Service, units: int, steps: Sequence[int]
) -> int:
    """Serve `units` by connecting, drawing `steps` at a time, and closing. Returns what stays unserved."""
    turn = 0
    while units > 0 and dispatcher.connect(user, service) is not None:
        units -= 1
        while units > 0 and dispatcher.is_connected(user, service):
            units -= dispatcher.draw(user, service, min(units, steps[turn % len(steps)])).units
            turn += 1
        if dispatcher.is_connected(user, service):
            dispatcher.close(user, service)
    return units


@EXAMPLES
@given(network=networks(), applied=applications)
def test_the_reference_equals_the_listing_to_the_unit(
    network: Network, applied: list[tuple[str, Service, int]]
) -> None:
    for service in Service:  # one side at a time: the listing knows one
        dispatcher, listing = network.dispatcher(), network.listing(service)

        for user, _, units in applied:
            assert dispatcher.apply(user, service, units) == listing.apply(user, network.losses[user], units)

        made = [(assignment.user, int(assignment.station)) for assignment in dispatcher.assignments]
        assert made == listing.assignments
        assert [(unit.user, int(unit.station)) for unit in dispatcher.transfers] == listing.transfers
        for state, listed in zip(dispatcher.stations().values(), listing.stations, strict=True):
            shown = (state.level(service), state.connected(service), state.available(service))
            assert shown == (listed.level * UNIT, listed.n, listed.flag)


@EXAMPLES
@given(network=networks(), applied=applications, steps=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_applying_is_connecting_drawing_and_closing(
    network: Network, applied: list[tuple[str, Service, int]], steps: list[int]
) -> None:
    whole, split = network.dispatcher(), network.dispatcher()

    for user, service, units in applied:
        assert whole.apply(user, service, units) == split_application(split, user, service, units, steps)

    assert whole.stations() == split.stations()
    assert whole.assignments == split.assignments
    assert whole.transfers == split.transfers


class Interleaved(RuleBasedStateMachine):
    """Users, stations and others in any order, beside a model of who is connected where."""

    @initialize(network=networks(least=25), user_rights=st.integers(0, 12), station_rights=st.integers(0, 6))
    def start(self, network: Network, user_rights: int, station_rights: int) -> None:
        self.dispatcher = ReferenceDispatcher(network.rules)
        self.network = network
        self.open: dict[tuple[str, Service], str] = {}
        self.drawn: dict[tuple[str, Service], int] = {}
        self.left_behind: set[tuple[str, Service]] = set()
        """Ended with an epoch of their stations, and not closed since."""
        self.preset: dict[tuple[str, Service], int] = {}
        self.energy = 0
        for number, state in enumerate(network.stations):
            self.dispatcher.register(str(number), state)
            self.dispatcher.grant_station(str(number), station_rights * UNIT)
            self.energy += state.stored
            for service in Service:
                self.preset[str(number), service] = state.connected(service)
        for user, losses in network.losses.items():
            self.dispatcher.grant_user(user, user_rights * UNIT)
            for number, loss in losses.items():
                self.dispatcher.add_line(user, Line(str(number), loss))
        self.rights = len(network.stations) * station_rights * UNIT + len(USERS) * user_rights * UNIT

    @rule(user=users, service=services)
    def come(self, user: str, service: Service) -> None:
        """Twice as often as anything else."""
        self.connect(user, service)

    @rule(user=users, service=services)
    def connect(self, user: str, service: Service) -> None:
        if (user, service) in self.open:
            with pytest.raises(AlreadyConnected):
                self.dispatcher.connect(user, service)
            return
        if service is Service.SUPPLY and self.dispatcher.user_rights(user) < UNIT:
            with pytest.raises(InsufficientRights):
                self.dispatcher.connect(user, service)
            return
        before = {name: self._passes(name, state, service) for name, state in self.dispatcher.stations().items()}
        lines = self.network.losses[user]
        order = [str(number) for number in sorted(lines, key=lambda number: (lines[number], number))]
        expected = next((name for name in order if before[name]), None)

        station = self.dispatcher.connect(user, service)

        assert station == expected
        after = self.dispatcher.stations()
        passed_over = order if station is None else order[: order.index(station)]
        assert not any(after[name].available(service) for name in passed_over)
        if station is not None:
            self._moved(service, 1)
            self.open[user, service] = station
            self.left_behind.discard((user, service))
            self.drawn[user, service] = 1
            if not after[station].available(service):
                self._all_left(station, service)
            elif not self.dispatcher.is_connected(user, service):
                assert self._may_end(user, service)
                del self.open[user, service]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def draw_one(self, data: st.DataObject) -> None:
        self.draw(data, 1)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), units=st.integers(1, 15))
    def draw(self, data: st.DataObject, units: int) -> None:
        user, service = data.draw(st.sampled_from(sorted(self.open)))
        came = self.dispatcher.draw(user, service, units)

        self._moved(service, came.units)
        self.drawn[user, service] += came.units
        if came.end is End.STATION:
            self._all_left(self.open[user, service], service)
        elif came.end is None:
            assert came.units == units
        else:
            assert self._may_end(user, service)
            del self.open[user, service]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        user, service = data.draw(st.sampled_from(sorted(self.open)))
        self.dispatcher.close(user, service)
        del self.open[user, service]

    @rule(user=users, service=services)
    def use_what_is_not_open(self, user: str, service: Service) -> None:
        """What an older epoch left behind may be closed, or is not there: the number of users shows neither."""
        if (user, service) in self.open:
            return
        before = self.dispatcher.stations()
        with pytest.raises(NotConnected):
            self.dispatcher.draw(user, service, 1)
        if (user, service) in self.left_behind:
            self.dispatcher.close(user, service)
            self.left_behind.remove((user, service))
        with pytest.raises(NotConnected):
            self.dispatcher.close(user, service)
        assert self.dispatcher.stations() == before

    @rule(data=st.data(), overtaken=st.sampled_from([0, 0, 0, -1, 1]))
    def report(self, data: st.DataObject, overtaken: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.dispatcher.stations())))
        before = self.dispatcher.stations()
        state = before[name]
        edges = st.sampled_from([min(500, state.capacity), max(0, state.capacity - 500)])
        stored = data.draw(st.one_of(st.none(), st.none(), edges, st.integers(0, state.capacity)))
        flags = [data.draw(st.sampled_from([None, True, True, True, False])) for _ in Service]
        report = Report(state.transfers + overtaken, stored, *flags)
        held = state.stored if stored is None else stored
        reserve = self.network.rules.reserve_wh
        denied = (report.can_supply and held <= reserve * state.connected_supply) or (
            report.can_acquire and state.capacity - held <= reserve * state.connected_acquire
        )

        if overtaken or denied:
            with pytest.raises(ReportOvertaken if overtaken else FlagContradicted):
                self.dispatcher.report(name, report)
            assert self.dispatcher.stations() == before
        else:
            self.dispatcher.report(name, report)
            self.energy += held - state.stored

    @rule(user=users, units=st.integers(1, 3))
    def receive_rights(self, user: str, units: int) -> None:
        self.dispatcher.grant_user(user, units * UNIT)
        self.rights += units * UNIT

    @invariant()
    def users_connected_are_those_of_the_epoch(self) -> None:
        for name, state in self.dispatcher.stations().items():
            for service in Service:
                there = [key for key, station in self.open.items() if station == name and key[1] is service]
                assert state.connected(service) == len(there) + self.preset[name, service]
        for user in USERS:
            for service in Service:
                assert self.dispatcher.is_connected(user, service) == ((user, service) in self.open)

    @invariant()
    def nothing_is_drawn_below_nothing_or_stored_above_capacity(self) -> None:
        assert all(0 <= state.stored <= state.capacity for state in self.dispatcher.stations().values())

    @invariant()
    def energy_is_conserved(self) -> None:
        assert sum(state.stored for state in self.dispatcher.stations().values()) == self.energy

    @invariant()
    def rights_are_conserved_and_never_owed(self) -> None:
        held = [self.dispatcher.user_rights(user) for user in USERS]
        held += [self.dispatcher.station_rights(name) for name in self.dispatcher.stations()]
        assert min(held) >= 0
        assert sum(held) == self.rights

    @invariant()
    def whoever_pays_on_an_open_connection_has_a_right(self) -> None:
        for (user, service), station in self.open.items():
            supply = service is Service.SUPPLY
            held = self.dispatcher.user_rights(user) if supply else self.dispatcher.station_rights(station)
            assert held >= UNIT

    @invariant()
    def no_connection_is_longer_than_k(self) -> None:
        assert all(self.drawn[key] < self.network.rules.k for key in self.open)
        assert max(self.drawn.values(), default=0) <= self.network.rules.k

    @invariant()
    def every_unit_is_on_the_record_of_its_station(self) -> None:
        recorded = [transfer.station for transfer in self.dispatcher.transfers]
        for name, state in self.dispatcher.stations().items():
            assert recorded.count(name) == state.transfers

    def _passes(self, name: str, state: StationState, service: Service) -> bool:
        """The flag, and the station's own check."""
        enough = state.level(service) > self.network.rules.reserve_wh * (state.connected(service) + 1)
        pays = service is Service.SUPPLY or self.dispatcher.station_rights(name) >= UNIT
        return state.available(service) and enough and state.level(service) >= UNIT and pays

    def _moved(self, service: Service, units: int) -> None:
        self.energy += (units if service is Service.ACQUIRE else -units) * UNIT

    def _may_end(self, user: str, service: Service) -> bool:
        """Whether the user's own side gave a reason: the limit, or no right left."""
        poor = service is Service.SUPPLY and self.dispatcher.user_rights(user) < UNIT
        return poor or self.drawn[user, service] == self.network.rules.k

    def _all_left(self, station: str, service: Service) -> None:
        state = self.dispatcher.stations()[station]
        assert not state.available(service)
        assert state.connected(service) == 0
        self.preset[station, service] = 0
        for key in [key for key, at in self.open.items() if at == station and key[1] is service]:
            del self.open[key]
            self.left_behind.add(key)


TestInterleaved = Interleaved.TestCase
TestInterleaved.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, derandomize=True)

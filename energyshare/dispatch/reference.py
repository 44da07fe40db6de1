"""The state machine over the rules: what the contracts, and whatever simulates them, must equal to the unit."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from energyshare.dispatch.dispatcher import Assignment, Drawn, Line, Report, StationState, UnitTransfer
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
from energyshare.dispatch.rules import (
    MAX_LOSS_BP,
    End,
    Rules,
    Service,
    admits,
    best,
    contradicts,
    ended_by,
    level,
    moved,
)

__all__ = ["ReferenceDispatcher"]


@dataclass(slots=True)
class _Station:
    id: str
    capacity: int
    stored: int
    rights: int = 0
    transfers: int = 0


@dataclass(slots=True)
class _Side:
    """One service at every station, by the station's number."""

    flags: list[bool] = field(default_factory=list)
    connected: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    """Grows by one whenever all users of the station are disconnected."""


@dataclass(slots=True)
class _Connection:
    station: int
    epoch: int
    """Of the station when it was made."""
    drawn: int
    """Units."""
    active_block: int
    """Of its last unit."""


class ReferenceDispatcher:
    """A `Dispatcher` in memory. Amounts in watt-hours, one right a watt-hour.

    What a user sells is accepted the moment it is drawn. The contracts have a transaction for that, which ends
    idleness as a unit does; here the two are one.
    """

    def __init__(self, rules: Rules | None = None, clock: Callable[[], int] = lambda: 0) -> None:
        """
        Args:
            clock: The number of the current block.
        """
        self._rules = rules or Rules()
        self._clock = clock
        self._stations: list[_Station] = []
        self._numbers: dict[str, int] = {}
        self._sides = {service: _Side() for service in Service}
        self._lines: dict[str, list[tuple[int, int]]] = {}
        self._rights: dict[str, int] = {}
        self._connections: dict[tuple[str, Service], _Connection] = {}
        self._assignments: list[Assignment] = []
        self._transfers: list[UnitTransfer] = []

    # Set-up

    def register(self, station: str, state: StationState) -> None:
        """Add a station; of equal losses the one registered first is assigned.

        Raises:
            StationExists: There is one of that id.
            StoredExceedsCapacity: It holds less than nothing or more than it can.
        """
        if station in self._numbers:
            raise StationExists(station)
        self._check_stored(station, state.stored, state.capacity)
        self._numbers[station] = len(self._stations)
        self._stations.append(_Station(station, state.capacity, state.stored, transfers=state.transfers))
        for service, side in self._sides.items():
            side.flags.append(state.available(service))
            side.connected.append(state.connected(service))
            side.epochs.append(0)

    def add_line(self, user: str, line: Line) -> None:
        """Join a user to a station. Raises UnknownStation, InvalidLoss or LineExists."""
        number = self._number(line.station)
        if not 0 <= line.loss_bp <= MAX_LOSS_BP:
            raise InvalidLoss(line.loss_bp)
        lines = self._lines.setdefault(user, [])
        if any(known == number for _, known in lines):
            raise LineExists(user, line.station)
        insort(lines, (line.loss_bp, number))

    def grant_user(self, user: str, rights: int) -> None:
        """Give rights to a user."""
        self._rights[user] = self.user_rights(user) + rights

    def grant_station(self, station: str, rights: int) -> None:
        """Give rights to a station. Raises UnknownStation."""
        self._stations[self._number(station)].rights += rights

    # Views

    @property
    def rules(self) -> Rules:
        return self._rules

    @property
    def assignments(self) -> Sequence[Assignment]:
        return self._assignments

    @property
    def transfers(self) -> Sequence[UnitTransfer]:
        return self._transfers

    def stations(self) -> Mapping[str, StationState]:
        supply, acquire = self._sides[Service.SUPPLY], self._sides[Service.ACQUIRE]
        return {
            station.id: StationState(
                capacity=station.capacity,
                stored=station.stored,
                can_supply=supply.flags[number],
                can_acquire=acquire.flags[number],
                connected_supply=supply.connected[number],
                connected_acquire=acquire.connected[number],
                transfers=station.transfers,
            )
            for number, station in enumerate(self._stations)
        }

    def lines(self, user: str) -> Sequence[Line]:
        return [Line(self._stations[number].id, loss) for loss, number in self._lines.get(user, ())]

    def user_rights(self, user: str) -> int:
        return self._rights.get(user, 0)

    def station_rights(self, station: str) -> int:
        """Raises UnknownStation."""
        return self._stations[self._number(station)].rights

    def is_connected(self, user: str, service: Service) -> bool:
        connection = self._connections.get((user, service))
        return connection is not None and self._is_current(connection, service)

    # Users

    def apply(self, user: str, service: Service, units: int) -> int:
        while units > 0 and self._can_pay(user, service):
            if self.connect(user, service) is None:
                break
            units -= 1
            if units > 0 and self.is_connected(user, service):
                units -= self.draw(user, service, units).units
            if self.is_connected(user, service):
                self.close(user, service)
        return units

    def connect(self, user: str, service: Service) -> str | None:
        open_connection = self._connections.get((user, service))
        if open_connection is not None and self._is_current(open_connection, service):
            raise AlreadyConnected(user, service, self._stations[open_connection.station].id)
        if not self._can_pay(user, service):
            raise InsufficientRights(user, self.user_rights(user), self._rules.unit_wh)
        number = self._assign(user, service)
        if number is None:
            return None
        side = self._sides[service]
        side.connected[number] += 1
        connection = _Connection(number, side.epochs[number], drawn=0, active_block=self._clock())
        self._connections[user, service] = connection
        station = self._stations[number].id
        self._assignments.append(Assignment(user, service, station))
        self._transfer(user, service, connection)
        return station

    def draw(self, user: str, service: Service, units: int) -> Drawn:
        connection = self._current(user, service)
        for done in range(units):
            if not self._can_pay(user, service):
                self.close(user, service)
                return Drawn(done, End.RIGHTS)
            if not self._can_move(service, connection.station):
                self._disconnect_all(service, connection.station)
                return Drawn(done, End.STATION)
            end = self._transfer(user, service, connection)
            if end is not None:
                return Drawn(done + 1, end)
        return Drawn(units, None)

    def close(self, user: str, service: Service) -> None:
        connection = self._connections.pop((user, service), None)
        if connection is None:
            raise NotConnected(user, service)
        if self._is_current(connection, service):
            self._sides[service].connected[connection.station] -= 1

    def close_idle(self, user: str, service: Service) -> None:
        """Close somebody's connection after `idle_blocks` without a unit. Raises NotConnected or NotIdle."""
        connection = self._current(user, service)
        idle = self._clock() - connection.active_block
        if idle < self._rules.idle_blocks:
            raise NotIdle(idle, self._rules.idle_blocks)
        self.close(user, service)

    # Stations

    def report(self, station: str, report: Report) -> None:
        number = self._number(station)
        state = self._stations[number]
        if report.transfers != state.transfers:
            raise ReportOvertaken(station, report.transfers, state.transfers)
        stored = state.stored if report.stored is None else report.stored
        self._check_stored(station, stored, state.capacity)
        for service, side in self._sides.items():
            reported, connected = level(service, stored, state.capacity), side.connected[number]
            if contradicts(bool(report.flag(service)), reported, connected, self._rules.reserve_wh):
                raise FlagContradicted(station, service, reported, self._rules.reserve_wh * connected)
        state.stored = stored
        for service, side in self._sides.items():
            flag = report.flag(service)
            if flag is not None:
                side.flags[number] = flag

    # Inside

    def _assign(self, user: str, service: Service) -> int | None:
        """The best station that passes its own check; clears the flag of each that fails it."""
        lines, side = self._lines.get(user, ()), self._sides[service]
        while (number := best(lines, side.flags)) is not None:
            station = self._stations[number]
            room = level(service, station.stored, station.capacity)
            passes = admits(room, side.connected[number], self._rules.reserve_wh, self._rules.unit_wh)
            if passes and self._station_pays(service, station):
                return number
            side.flags[number] = False
        return None

    def _transfer(self, user: str, service: Service, connection: _Connection) -> End | None:
        """Move one unit for one right, and end the connection if that was its last."""
        rules, side, number = self._rules, self._sides[service], connection.station
        station = self._stations[number]
        paid = rules.unit_wh if service is Service.SUPPLY else -rules.unit_wh
        self._rights[user] = self.user_rights(user) - paid
        station.rights += paid
        station.stored = moved(service, station.stored, rules.unit_wh)
        station.transfers += 1
        connection.drawn += 1
        connection.active_block = self._clock()
        self._transfers.append(UnitTransfer(user, station.id, service))

        room = level(service, station.stored, station.capacity)
        end = ended_by(room, side.connected[number], rules.reserve_wh, connection.drawn, rules.k)
        if end is End.STATION or not self._station_pays(service, station):
            self._disconnect_all(service, number)
            return End.STATION
        if end is None and not self._can_pay(user, service):
            end = End.RIGHTS
        if end is not None:
            self.close(user, service)
        return end

    def _disconnect_all(self, service: Service, number: int) -> None:
        side = self._sides[service]
        side.flags[number] = False
        side.connected[number] = 0
        side.epochs[number] += 1

    def _can_pay(self, user: str, service: Service) -> bool:
        return service is Service.ACQUIRE or self.user_rights(user) >= self._rules.unit_wh

    def _station_pays(self, service: Service, station: _Station) -> bool:
        return service is Service.SUPPLY or station.rights >= self._rules.unit_wh

    def _can_move(self, service: Service, number: int) -> bool:
        """Whether a whole unit is left to move, and a right for it: reports and settlements change both meanwhile."""
        station = self._stations[number]
        room = level(service, station.stored, station.capacity)
        return room >= self._rules.unit_wh and self._station_pays(service, station)

    def _is_current(self, connection: _Connection, service: Service) -> bool:
        return connection.epoch == self._sides[service].epochs[connection.station]

    def _current(self, user: str, service: Service) -> _Connection:
        connection = self._connections.get((user, service))
        if connection is None or not self._is_current(connection, service):
            raise NotConnected(user, service)
        return connection

    def _number(self, station: str) -> int:
        number = self._numbers.get(station)
        if number is None:
            raise UnknownStation(station)
        return number

    @staticmethod
    def _check_stored(station: str, stored: int, capacity: int) -> None:
        if not 0 <= stored <= capacity:
            raise StoredExceedsCapacity(station, stored, capacity)

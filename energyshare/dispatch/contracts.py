"""The contracts as a dispatcher: names for addresses, whole applications, and refusals by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from eth_account.signers.local import LocalAccount

from energyshare.chain.events import logs_of
from energyshare.dispatch import errors
from energyshare.dispatch.dispatcher import Assignment, Drawn, Line, Report, StationState, UnitTransfer
from energyshare.dispatch.errors import UnknownStation
from energyshare.dispatch.rules import Rules, Service, user_reading
from energyshare.dispatch.schedule import SERVICES, Connection, Schedule
from energyshare.errors import TransactionReverted

__all__ = ["ContractDispatcher", "ExactMeters", "Meters", "report_refusals"]

UNITS_PER_TRANSACTION = 2_000
"""At 3,000 gas a unit, what fits a block by far."""


class Meters(Protocol):
    """Who reads the meters of both sides. A reading is in watt-hours since the connection was made."""

    def of_user(self, user: str, service: Service, connection: Connection) -> int:
        """The user's, once what the station supplied or accepted has come through."""
        ...

    def of_station(self, station: str, user: str, connection: Connection) -> int:
        """The station's, once the user has sent what is due."""
        ...


class ExactMeters:
    """Meters that read what they should, where no energy moves."""

    def __init__(self, unit_wh: int) -> None:
        self._unit_wh = unit_wh

    def of_user(self, user: str, service: Service, connection: Connection) -> int:
        return user_reading(service, connection.delivered * self._unit_wh, connection.loss_bp)

    def of_station(self, station: str, user: str, connection: Connection) -> int:
        return connection.drawn * self._unit_wh


class ContractDispatcher:
    """A `Dispatcher` whose every act is a transaction. The station accepts what is sold to it at once."""

    def __init__(
        self,
        schedule: Schedule,
        users: Mapping[str, LocalAccount],
        stations: Mapping[str, LocalAccount],
        meters: Meters | None = None,
    ) -> None:
        """
        Args:
            users: Their keys by name; each lets the settlement take its rights.
            stations: Their keys by name, in the order of registration, none left out.
        """
        self._schedule = schedule
        self._users = dict(users)
        self._stations = dict(stations)
        self._names = list(stations)
        self._rules = schedule.rules()
        self._meters = meters or ExactMeters(schedule.unit_wh)

    # Views

    @property
    def rules(self) -> Rules:
        return self._rules

    @property
    def assignments(self) -> Sequence[Assignment]:
        schedule = self._schedule
        logs = logs_of(schedule.chain, schedule.dispatch, "Connected", schedule.deployed_at, schedule.chain.height())
        users = self._users_by_address()
        return [
            Assignment(
                users["0x" + bytes(log["topics"][1])[-20:].hex()],
                SERVICES[int.from_bytes(log["data"][:32])],
                self._names[int.from_bytes(log["topics"][2]) - 1],
            )
            for log in logs
        ]

    @property
    def transfers(self) -> Sequence[UnitTransfer]:
        users = self._users_by_address()
        return [
            UnitTransfer(users[record.user.lower()], self._names[record.station - 1], record.service)
            for record in self._schedule.unit_records()
        ]

    def stations(self) -> Mapping[str, StationState]:
        return {name: self._schedule.station(number) for number, name in enumerate(self._names, 1)}

    def lines(self, user: str) -> Sequence[Line]:
        account = self._users.get(user)
        listed = [] if account is None else self._schedule.lines_of(account.address)
        return [Line(self._names[line.station - 1], line.loss_bp) for line in listed if not line.suspended]

    def is_connected(self, user: str, service: Service) -> bool:
        return user in self._users and self._schedule.is_connected(self._users[user].address, service)

    def user_rights(self, user: str) -> int:
        return self._schedule.user_rights(self._users[user].address)

    def station_rights(self, station: str) -> int:
        return self._schedule.station_rights(self._number(station))

    # Users

    def apply(self, user: str, service: Service, units: int) -> int:
        """A transaction a connection, as a client does it; several where one would not fit a block."""
        while units > 0 and (service is Service.ACQUIRE or self.user_rights(user) >= self._rules.unit_wh):
            if min(units, self._rules.k) > UNITS_PER_TRANSACTION:
                served = self._serve_long(user, service, units)
            else:
                with self._refusals(user=user, service=service):
                    reading = self._reading(user, service)
                    served = self._schedule.apply(self._users[user], service, units, reading).units
                self._accept(user, service)
            if served == 0:
                break
            units -= served
        return units

    def connect(self, user: str, service: Service) -> str | None:
        with self._refusals(user=user, service=service):
            outcome = self._schedule.connect(self._users[user], service, self._reading(user, service))
        self._accept(user, service)
        return self._names[outcome.station - 1] if outcome.available else None

    def draw(self, user: str, service: Service, units: int) -> Drawn:
        if units == 0 and self.is_connected(user, service):
            return Drawn(0, None)
        drawn = 0
        while True:
            with self._refusals(user=user, service=service):
                reading = self._reading(user, service)
                asked = min(max(units - drawn, 1), UNITS_PER_TRANSACTION)
                outcome = self._schedule.draw(self._users[user], service, asked, reading)
            self._accept(user, service)
            drawn += outcome.units
            if outcome.end is not None or drawn >= units:
                return Drawn(drawn, outcome.end)

    def close(self, user: str, service: Service) -> None:
        with self._refusals(user=user, service=service):
            self._schedule.close(self._users[user], service, self._reading(user, service))

    # Stations

    def report(self, station: str, report: Report) -> None:
        with report_refusals(station):
            self._schedule.report(self._stations[station], self._number(station), report)

    # Inside

    def _serve_long(self, user: str, service: Service, units: int) -> int:
        """Serve up to `units` on one connection, step by step. Returns those served: 0 where no station was found."""
        if self.connect(user, service) is None:
            return 0
        if not self.is_connected(user, service):
            return 1
        drawn = self.draw(user, service, units - 1)
        if drawn.end is None:
            self.close(user, service)
        return 1 + drawn.units

    def _accept(self, user: str, service: Service) -> None:
        if service is Service.SUPPLY:
            return
        account = self._users[user]
        connection = self._schedule.connection(account.address, service)
        if connection.due:
            station = self._names[connection.station - 1]
            reading = self._meters.of_station(station, user, connection)
            self._schedule.accept(self._stations[station], account.address, connection.due, reading)

    def _reading(self, user: str, service: Service) -> int:
        """What acknowledges the user's connection so far; 0 where nothing is left to acknowledge."""
        connection = self._schedule.connection(self._users[user].address, service)
        if connection.delivered == 0:
            return 0
        return self._meters.of_user(user, service, connection)

    def _number(self, station: str) -> int:
        if station not in self._stations:
            raise UnknownStation(station)
        return self._names.index(station) + 1

    def _users_by_address(self) -> dict[str, str]:
        return {account.address.lower(): name for name, account in self._users.items()}

    @contextmanager
    def _refusals(self, user: str, service: Service) -> Iterator[None]:
        """Turn the contract's errors into those of every dispatcher, which have the same names."""
        try:
            yield
        except TransactionReverted as error:
            facts = error.args_by_name
            match error.name:
                case "AlreadyConnected":
                    raise errors.AlreadyConnected(user, service, self._names[facts["station"] - 1]) from error
                case "NotConnected":
                    raise errors.NotConnected(user, service) from error
                case "InsufficientRights":
                    raise errors.InsufficientRights(user, facts["held"], facts["required"]) from error
            raise


@contextmanager
def report_refusals(station: str) -> Iterator[None]:
    """The same for a report of a station, by its name."""
    try:
        yield
    except TransactionReverted as error:
        facts = error.args_by_name
        match error.name:
            case "ReportOvertaken":
                raise errors.ReportOvertaken(station, facts["reported"], facts["actual"]) from error
            case "StoredExceedsCapacity":
                raise errors.StoredExceedsCapacity(station, facts["stored"], facts["capacity"]) from error
            case "FlagContradicted":
                contradicted = SERVICES[facts["service"]]
                raise errors.FlagContradicted(station, contradicted, facts["level"], facts["required"]) from error
        raise

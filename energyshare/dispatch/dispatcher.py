"""What every dispatcher answers to, the reference and the contracts alike, and the records it speaks in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from energyshare.dispatch.rules import End, Rules, Service, level

__all__ = ["Assignment", "Dispatcher", "Drawn", "Line", "Report", "StationState", "UnitTransfer", "named"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line that energy can use between a user and a station."""

    station: str
    loss_bp: int
    """Of what is sent, in basis points."""


@dataclass(frozen=True, slots=True)
class StationState:
    """A station as the list has it. Amounts in watt-hours."""

    capacity: int
    stored: int
    can_supply: bool
    can_acquire: bool
    connected_supply: int = 0
    """Users connected, those included who were when the station was registered."""
    connected_acquire: int = 0
    transfers: int = 0
    """Units of both sides so far: the counter that a report names."""

    def available(self, service: Service) -> bool:
        """The flag for a side."""
        return self.can_supply if service is Service.SUPPLY else self.can_acquire

    def connected(self, service: Service) -> int:
        return self.connected_supply if service is Service.SUPPLY else self.connected_acquire

    def level(self, service: Service) -> int:
        return level(service, self.stored, self.capacity)


@dataclass(frozen=True, slots=True)
class Report:
    """What a station says of itself when its state changes (the local passive update). None leaves a field alone."""

    transfers: int
    """The station's counter that the numbers belong to."""
    stored: int | None = None
    """Watt-hours."""
    can_supply: bool | None = None
    can_acquire: bool | None = None

    def flag(self, service: Service) -> bool | None:
        return self.can_supply if service is Service.SUPPLY else self.can_acquire


@dataclass(frozen=True, slots=True)
class Assignment:
    """One connection that was made."""

    user: str
    service: Service
    station: str

    def to_json(self) -> dict[str, str]:
        return {"user": self.user, "side": self.service.value, "station": self.station}


@dataclass(frozen=True, slots=True)
class UnitTransfer:
    """One unit of energy for one right."""

    user: str
    station: str
    service: Service

    def to_json(self) -> dict[str, str | int]:
        return {"user": self.user, "station": self.station, "side": self.service.value, "units": 1}


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came of a draw."""

    units: int
    end: End | None
    """Why the connection ended with it; None where it is open still."""


class Dispatcher(Protocol):
    """Assigns stations and moves units. Stations, lines and rights are there already."""

    @property
    def rules(self) -> Rules: ...

    @property
    def assignments(self) -> Sequence[Assignment]:
        """One a connection, in order."""
        ...

    @property
    def transfers(self) -> Sequence[UnitTransfer]:
        """One a unit, in order."""
        ...

    def stations(self) -> Mapping[str, StationState]:
        """By id, in the order of registration."""
        ...

    def lines(self, user: str) -> Sequence[Line]:
        """Of a user, those that can be used, lowest loss first, of equal losses the station registered first."""
        ...

    def is_connected(self, user: str, service: Service) -> bool:
        """Whether a user has an open connection that no end of its station's epoch has closed."""
        ...

    def apply(self, user: str, service: Service, units: int) -> int:
        """Serve `units`, on as many connections as it takes.

        Returns:
            The units that stay unserved.

        Raises:
            AlreadyConnected: The user has an open connection on that side.
        """
        ...

    def connect(self, user: str, service: Service) -> str | None:
        """Assign a station and move the first unit.

        Returns:
            The station, or None where none is available. Flags that were cleared in the search stay cleared either
            way, so a contract must not revert then.

        Raises:
            AlreadyConnected: The user has an open connection on that side.
            InsufficientRights: The user has no right to pay the unit with.
        """
        ...

    def draw(self, user: str, service: Service, units: int) -> Drawn:
        """Move up to `units` more on the open connection, which may end before; none move nothing.

        Raises:
            NotConnected: The user has no open connection on that side.
        """
        ...

    def close(self, user: str, service: Service) -> None:
        """End the connection. One of an older epoch of its station is forgotten. Raises NotConnected."""
        ...

    def report(self, station: str, report: Report) -> None:
        """Take a station's report.

        Raises:
            UnknownStation: There is no such station.
            ReportOvertaken: Units passed since the report was made.
            StoredExceedsCapacity: The station cannot hold what it reports.
            FlagContradicted: The report raises a flag that its own numbers deny.
        """
        ...


def named(dispatcher: Dispatcher, user: str, service: Service) -> str | None:
    """The station that the list names for a user, before that station's own check; None where there is none."""
    stations = dispatcher.stations()
    return next((line.station for line in dispatcher.lines(user) if stations[line.station].available(service)), None)

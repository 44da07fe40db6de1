"""What dispatch refuses; the contract's custom errors have the same names."""

from __future__ import annotations

from energyshare.dispatch.rules import MAX_LOSS_BP, Service
from energyshare.errors import EnergyShareError

__all__ = [
    "AlreadyConnected",
    "DispatchError",
    "FlagContradicted",
    "InsufficientRights",
    "InvalidLoss",
    "LineExists",
    "NotConnected",
    "NotIdle",
    "ReportOvertaken",
    "StationExists",
    "StoredExceedsCapacity",
    "UnknownStation",
]


class DispatchError(EnergyShareError):
    """Base of what dispatch refuses."""


class AlreadyConnected(DispatchError):
    """A user has one open connection a side."""

    def __init__(self, user: str, service: Service, station: str) -> None:
        super().__init__(f"user {user} is connected to station {station} for {service}: draw on it, or close it first")
        self.user = user
        self.service = service
        self.station = station


class NotConnected(DispatchError):
    """There is no open connection to draw on or to close."""

    def __init__(self, user: str, service: Service) -> None:
        super().__init__(f"user {user} has no open connection for {service}: connect first")
        self.user = user
        self.service = service


class NotIdle(DispatchError):
    """A connection of somebody else is closed only after enough blocks without a unit."""

    def __init__(self, idle: int, required: int) -> None:
        super().__init__(f"the connection is idle for {idle} of {required} blocks: wait {required - idle} more")
        self.idle = idle
        self.required = required


class InsufficientRights(DispatchError):
    """A user without a right is not connected for supply."""

    def __init__(self, user: str, held: int, required: int) -> None:
        super().__init__(f"user {user} holds {held} Wh of rights and a unit costs {required}: buy rights first")
        self.user = user
        self.held = held
        self.required = required


class ReportOvertaken(DispatchError):
    """Units passed since the numbers of a report were read: they are no longer true."""

    def __init__(self, station: str, reported: int, actual: int) -> None:
        super().__init__(
            f"the report of station {station} belongs to its transfer {reported}, and it made {actual}: "
            "read the storage again and report that"
        )
        self.station = station
        self.reported = reported
        self.actual = actual


class FlagContradicted(DispatchError):
    """A report raises a flag that its own numbers deny."""

    def __init__(self, station: str, service: Service, level: int, required: int) -> None:
        super().__init__(
            f"station {station} reports itself available for {service} at a level of {level} Wh, which must be above "
            f"{required}: report more, or clear the flag"
        )
        self.station = station
        self.service = service
        self.level = level
        self.required = required


class StoredExceedsCapacity(DispatchError):
    """A station cannot hold what it is said to."""

    def __init__(self, station: str, stored: int, capacity: int) -> None:
        super().__init__(
            f"station {station} cannot store {stored} Wh: state an amount from 0 to its capacity of {capacity}"
        )
        self.station = station
        self.stored = stored
        self.capacity = capacity


class UnknownStation(DispatchError):
    """No station of that name is registered."""

    def __init__(self, station: str) -> None:
        super().__init__(f"station {station} is not registered: register it first")
        self.station = station


class StationExists(DispatchError):
    """A station is registered once."""

    def __init__(self, station: str) -> None:
        super().__init__(f"station {station} is registered already: choose another id")
        self.station = station


class LineExists(DispatchError):
    """There is one line between a user and a station."""

    def __init__(self, user: str, station: str) -> None:
        super().__init__(f"user {user} has a line to station {station} already: name it once")
        self.user = user
        self.station = station


class InvalidLoss(DispatchError):
    """A loss is a share of what is sent."""

    def __init__(self, loss_bp: int) -> None:
        super().__init__(
            f"a line cannot lose {loss_bp} basis points: state 0 to {MAX_LOSS_BP}, or no line where none can be used"
        )
        self.loss_bp = loss_bp

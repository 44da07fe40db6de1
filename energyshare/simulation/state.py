"""Stations and connections in the middle of a run: the state machine of dispatch, with the choice left to a policy.

The rules are `energyshare.dispatch.rules`; with the lowest loss as the policy every transfer is the reference
dispatcher's. Users and stations hold all the rights that they need. A station whose flag was cleared reports itself
available again as soon as energy that comes in, or space that falls free, would let it admit a user.
"""

from __future__ import annotations

from typing import Protocol

from energyshare.dispatch.rules import End, Rules, Service, admits, ended_by, level, moved
from energyshare.simulation.script import SERVICES, Network

__all__ = ["ACQUIRE", "SUPPLY", "Connection", "Policy", "State"]

SUPPLY, ACQUIRE = SERVICES.index(Service.SUPPLY), SERVICES.index(Service.ACQUIRE)


class Policy(Protocol):
    """Which station a user is connected to next."""

    def choose(self, state: State, user: int, side: int, units: int, now_us: int) -> int | None:
        """A station among the user's lines that has its flag for the side.

        A station that fails its own check loses the flag, and the policy is asked again.

        Args:
            side: An index into SERVICES.
            units: What the user has yet to move in this request, the next one included.

        Returns:
            The station; None where there is none, which ends the request.
        """
        ...


class Connection:
    """Between a user and a station."""

    __slots__ = ("closed", "drawn", "epoch", "station")

    def __init__(self, station: int, epoch: int) -> None:
        self.station = station
        self.epoch = epoch
        """Of the station's side when it was made."""
        self.drawn = 0
        """Units."""
        self.closed = False


class State:
    """By side, an index into SERVICES, and by station. Amounts in watt-hours."""

    __slots__ = ("capacity_wh", "connected", "epochs", "flags", "rules", "stored_wh")

    def __init__(self, network: Network, rules: Rules) -> None:
        self.rules = rules
        self.capacity_wh: list[int] = network.capacity_wh.tolist()
        self.stored_wh: list[int] = network.stored_wh.tolist()
        self.connected = [[0] * network.stations for _ in SERVICES]
        self.epochs = [[0] * network.stations for _ in SERVICES]
        """Grows by one whenever all users of the side are disconnected."""
        self.flags = [[self.admits(station, side) for station in range(network.stations)] for side in (SUPPLY, ACQUIRE)]

    def level(self, station: int, side: int) -> int:
        """What a station can still give or take."""
        return level(SERVICES[side], self.stored_wh[station], self.capacity_wh[station])

    def admits(self, station: int, side: int) -> bool:
        """Whether a station takes one more user."""
        rules = self.rules
        return admits(self.level(station, side), self.connected[side][station], rules.reserve_wh, rules.unit_wh)

    def is_open(self, connection: Connection, side: int) -> bool:
        """Whether neither the user nor the station has ended it."""
        return not connection.closed and connection.epoch == self.epochs[side][connection.station]

    def connect(self, policy: Policy, user: int, side: int, units: int, now_us: int) -> Connection | None:
        """Assign a station; None where there is none. The first unit is still to be moved."""
        while (station := policy.choose(self, user, side, units, now_us)) is not None:
            if self.admits(station, side):
                self.connected[side][station] += 1
                return Connection(station, self.epochs[side][station])
            self.flags[side][station] = False
        return None

    def transfer(self, connection: Connection, side: int) -> bool:
        """Move a unit on an open connection, and end it if that was its last.

        Returns:
            Whether it moved: charges may have filled the station, which then disconnects everybody.
        """
        station, rules = connection.station, self.rules
        if self.level(station, side) < rules.unit_wh:
            self._disconnect_all(station, side)
            return False
        self.stored_wh[station] = moved(SERVICES[side], self.stored_wh[station], rules.unit_wh)
        connection.drawn += 1
        n = self.connected[side][station]
        end = ended_by(self.level(station, side), n, rules.reserve_wh, connection.drawn, rules.k)
        if end is End.STATION:
            self._disconnect_all(station, side)
        elif end is End.LIMIT:
            self.close(connection, side)
        return True

    def close(self, connection: Connection, side: int) -> None:
        """End an open connection."""
        connection.closed = True
        self.connected[side][connection.station] -= 1

    def charge(self, station: int) -> bool:
        """Take a unit into a station from sources of its own; False where it has no room."""
        if self.level(station, ACQUIRE) < self.rules.unit_wh:
            return False
        self.stored_wh[station] += self.rules.unit_wh
        return True

    def reports(self, station: int, side: int) -> bool:
        """Whether a station whose level for `side` rose now raises the flag that was cleared."""
        if self.flags[side][station] or not self.admits(station, side):
            return False
        self.flags[side][station] = True
        return True

    def _disconnect_all(self, station: int, side: int) -> None:
        self.flags[side][station] = False
        self.connected[side][station] = 0
        self.epochs[side][station] += 1

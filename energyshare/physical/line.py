"""A line between a station and a user as arithmetic: what arrives of what is sent, by the meters at both ends.

The station's meter counts whole units; the user's shows what `IDispatch` expects: `units · (1 − loss)` received, or
`units / (1 − loss)` sent, rounded down. Rounding is over the whole connection, never unit by unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from energyshare.dispatch.rules import MAX_LOSS_BP, Service, user_reading

__all__ = ["Flow"]


@dataclass(frozen=True, slots=True)
class Flow:
    """What went over a line on one connection."""

    service: Service
    loss_bp: int
    station_wh: int = 0
    """At the station's meter: out for supply, in for acquisition."""
    user_wh: int = 0
    """At the user's meter: in for supply, out for acquisition."""

    @property
    def loss_wh(self) -> int:
        """Lost on the line; never negative."""
        lost = self.station_wh - self.user_wh
        return lost if self.service is Service.SUPPLY else -lost

    def supplied(self, energy_wh: int) -> Flow:
        """After the station gave `energy_wh` more."""
        station = self.station_wh + energy_wh
        return replace(self, station_wh=station, user_wh=user_reading(Service.SUPPLY, station, self.loss_bp))

    def sent(self, energy_wh: int) -> Flow:
        """After the user sent `energy_wh` more. The station's meter rounds up, so that it undoes `user_reading`."""
        user = self.user_wh + energy_wh
        return replace(self, station_wh=-(-user * (MAX_LOSS_BP - self.loss_bp) // MAX_LOSS_BP), user_wh=user)

    def taken(self, energy_wh: int) -> Flow:
        """After the station took `energy_wh` more, and the user sent what that needs."""
        station = self.station_wh + energy_wh
        user = max(self.user_wh, user_reading(Service.ACQUIRE, station, self.loss_bp))
        return replace(self, station_wh=station, user_wh=user)

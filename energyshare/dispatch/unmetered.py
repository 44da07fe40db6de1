"""Meters that read what they should, for agents where no energy moves."""

from __future__ import annotations

from energyshare.dispatch.agents import EventReference, Movement
from energyshare.dispatch.rules import Service, user_reading
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.station_client import Storage

__all__ = ["UnmeteredStation", "UnmeteredUser"]


class UnmeteredUser:
    """A `UserMeter` and `Commands` of a user to whom, and from whom, all comes at once."""

    def __init__(self, schedule: Schedule, user: str) -> None:
        self._schedule = schedule
        self._user = user

    def reading_wh(self, service: Service, connection: EventReference) -> int | None:
        c = self._schedule.connection(self._user, service)
        return user_reading(service, c.delivered * self._schedule.unit_wh, c.loss_bp)

    def send(self, movement: Movement) -> None:
        """Nothing is to be done."""


class UnmeteredStation:
    """A `StationMeter` and `Commands` of a station that holds what the chain says, and gets what was agreed on."""

    def __init__(self, schedule: Schedule, station: int) -> None:
        self._schedule = schedule
        self._station = station

    def received_wh(self, user: str, connection: EventReference) -> int | None:
        return self._schedule.connection(user, Service.ACQUIRE).drawn * self._schedule.unit_wh

    def storage(self) -> Storage | None:
        return Storage(self._schedule.station(self._station).stored, 0)

    def send(self, movement: Movement) -> None:
        """Nothing is to be done."""

"""What a terminal commands: a device with a meter, simulated or real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from energyshare.errors import EnergyShareError
from energyshare.physical.messages import ChainReference, LineReading, MeterReading
from energyshare.physical.storage import Storage

__all__ = ["Device", "DeviceError", "LineMeters", "SimulatedStorage", "Transfer"]


class DeviceError(EnergyShareError):
    """A device does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Energy for a device to inject, and for whom."""

    energy_wh: int
    """At the device's own meter."""
    power_w: int
    peer: str
    """The terminal at the other end of the line."""
    connection: ChainReference


class Device(Protocol):
    """A device with a meter. Whatever it claims, its meter says what moved."""

    def read(self) -> MeterReading:
        """What it shows now. Raises DeviceError where it does not answer."""
        ...

    def idle(self) -> bool:
        """Whether nothing is moving. A device may still be at it after its terminal died. Raises DeviceError."""
        ...

    def inject(self, transfer: Transfer) -> None:
        """Give energy to the line; returns when that is over. Raises DeviceError where it refuses or breaks off."""
        ...

    def absorb(self, energy_wh: int) -> None:
        """Take energy from the line; returns when that is over. Raises DeviceError where it refuses or breaks off."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the meter has moved, if the device can tell; a terminal also looks by itself."""
        ...


class LineMeters(Protocol):
    """A station's meters on its lines, one a user."""

    def received(self) -> Mapping[str, LineReading]:
        """What came over each line, by the user's terminal. Raises DeviceError where a meter does not answer."""
        ...


class SimulatedStorage:
    """A storage that moves energy at once, or not at all. It may be shared by threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []

    @property
    def storage(self) -> Storage:
        """Its state now."""
        return self._storage

    def read(self) -> MeterReading:
        storage = self._storage
        return MeterReading(storage.given_out_wh, storage.taken_in_wh, storage.capacity_wh, storage.stored_wh)

    def idle(self) -> bool:
        return True

    def inject(self, transfer: Transfer) -> None:
        if transfer.power_w > self._storage.max_power_w:
            raise DeviceError(
                f"{transfer.power_w} W asked of a storage for {self._storage.max_power_w} W: ask for less power"
            )
        self._become(lambda storage: storage.discharged(transfer.energy_wh))

    def absorb(self, energy_wh: int) -> None:
        self._become(lambda storage: storage.charged(energy_wh))

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)

    def _become(self, change: Callable[[Storage], Storage]) -> None:
        with self._lock:
            try:
                self._storage = change(self._storage)
            except EnergyShareError as error:
                raise DeviceError(str(error)) from error
        for changed in self._watchers:
            changed()

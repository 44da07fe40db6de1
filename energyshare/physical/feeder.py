"""The wires between terminals, simulated: energy that leaves one meter reaches another, less the line's loss."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from energyshare.dispatch.rules import Service
from energyshare.physical.device import Device, DeviceError, LineMeters, Transfer
from energyshare.physical.line import Flow
from energyshare.physical.messages import ChainReference, LineReading, MeterReading
from energyshare.physical.storage import Storage

__all__ = ["Balance", "Feeder"]


@dataclass(frozen=True, slots=True)
class Balance:
    """Where all energy is that ever was, in watt-hours."""

    initial: int
    """In the storages at first."""
    sent: int
    """Fed in by users, at their meters."""
    received: int
    """Used by users, at their meters."""
    stored: int
    conversion_losses: int
    line_losses: int

    @property
    def difference(self) -> int:
        """Energy from nowhere, or lost without a name; 0 always."""
        return self.initial + self.sent - self.received - self.stored - self.conversion_losses - self.line_losses

    @classmethod
    def of(cls, storages: Iterable[Storage], flows: Iterable[Flow]) -> Balance:
        storages, flows = list(storages), list(flows)
        return cls(
            initial=sum(storage.initial_wh for storage in storages),
            sent=sum(flow.user_wh for flow in flows if flow.service is Service.ACQUIRE),
            received=sum(flow.user_wh for flow in flows if flow.service is Service.SUPPLY),
            stored=sum(storage.stored_wh for storage in storages),
            conversion_losses=sum(storage.charge_loss_wh + storage.discharge_loss_wh for storage in storages),
            line_losses=sum(flow.loss_wh for flow in flows),
        )


class Feeder:
    """Stations, users and the lines between them. Each is given out as the device that its terminal commands."""

    def __init__(self, lines: Mapping[tuple[str, str], int]) -> None:
        """
        Args:
            lines: `(user, station)` to the loss in basis points. Where there is none, no energy moves.
        """
        self._lines = dict(lines)
        self._flows: dict[tuple[str, str, ChainReference], Flow] = {}
        self._stations: dict[str, _StationEnd] = {}
        self._users: dict[str, _UserEnd] = {}
        self._lock = threading.Lock()

    def station(self, terminal: str, device: Device) -> Device:
        """A station, its storage behind the meter."""
        return self._stations.setdefault(terminal, _StationEnd(self, terminal, device))

    def meters(self, terminal: str) -> LineMeters:
        """A station's meters on its lines. Raises KeyError where there is no such station."""
        return self._stations[terminal]

    def user(self, terminal: str) -> Device:
        """A user: a meter, behind which energy is used, and whatever is sent comes from."""
        return self._users.setdefault(terminal, _UserEnd(self, terminal))

    @property
    def flows(self) -> list[Flow]:
        """What went over each connection."""
        with self._lock:
            return list(self._flows.values())

    def flow(self, user: str, station: str, connection: ChainReference, service: Service) -> Flow:
        """What went over a connection so far. Raises DeviceError where there is no line."""
        loss_bp = self._lines.get((user, station))
        if loss_bp is None or user not in self._users or station not in self._stations:
            raise DeviceError(f"no line between {user} and {station}: energy moves along registered lines only")
        with self._lock:
            return self._flows.get((user, station, connection), Flow(service, loss_bp))

    def _note(self, user: str, station: str, connection: ChainReference, flow: Flow) -> None:
        with self._lock:
            self._flows[user, station, connection] = flow
            if flow.service is Service.ACQUIRE:
                self._stations[station].lines[user] = LineReading(connection, flow.station_wh)


@dataclass
class _StationEnd:
    """A station's meter at the bus."""

    feeder: Feeder
    terminal: str
    device: Device
    lock: threading.Lock = field(default_factory=threading.Lock)
    lines: dict[str, LineReading] = field(default_factory=dict)
    watchers: list[Callable[[], None]] = field(default_factory=list)

    def read(self) -> MeterReading:
        return self.device.read()

    def received(self) -> Mapping[str, LineReading]:
        return dict(self.lines)

    def idle(self) -> bool:
        return self.device.idle()

    def watch(self, changed: Callable[[], None]) -> None:
        self.device.watch(changed)
        self.watchers.append(changed)

    def inject(self, transfer: Transfer) -> None:
        with self.lock:
            flow = self.feeder.flow(transfer.peer, self.terminal, transfer.connection, Service.SUPPLY)
            before = self.device.read().injected_wh
            try:
                self.device.inject(transfer)
            finally:
                arrived = flow.supplied(self.device.read().injected_wh - before)
                self.feeder._note(transfer.peer, self.terminal, transfer.connection, arrived)
                self.feeder._users[transfer.peer].count(0, arrived.user_wh - flow.user_wh)

    def absorb(self, energy_wh: int) -> None:
        raise DeviceError("a station takes what a user sends: command the user's terminal")


@dataclass
class _UserEnd:
    """A user's meter."""

    feeder: Feeder
    terminal: str
    injected_wh: int = 0
    absorbed_wh: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    watchers: list[Callable[[], None]] = field(default_factory=list)

    def read(self) -> MeterReading:
        with self.lock:
            return MeterReading(self.injected_wh, self.absorbed_wh)

    def idle(self) -> bool:
        return True

    def watch(self, changed: Callable[[], None]) -> None:
        self.watchers.append(changed)

    def inject(self, transfer: Transfer) -> None:
        flow = self.feeder.flow(self.terminal, transfer.peer, transfer.connection, Service.ACQUIRE)
        wanted = flow.sent(transfer.energy_wh)
        station = self.feeder._stations[transfer.peer]
        with station.lock:
            before = station.device.read().absorbed_wh
            try:
                station.device.absorb(wanted.station_wh - flow.station_wh)
            finally:
                taken = station.device.read().absorbed_wh - before
                sent = wanted if flow.station_wh + taken == wanted.station_wh else flow.taken(taken)
                self.feeder._note(self.terminal, transfer.peer, transfer.connection, sent)
                self.count(sent.user_wh - flow.user_wh, 0)
                for changed in station.watchers:
                    changed()

    def absorb(self, energy_wh: int) -> None:
        raise DeviceError("a user's meter takes what a station sends and cannot be told to")

    def count(self, injected_wh: int, absorbed_wh: int) -> None:
        with self.lock:
            self.injected_wh += injected_wh
            self.absorbed_wh += absorbed_wh
        for changed in self.watchers:
            changed()

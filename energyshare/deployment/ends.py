"""A party's end of the physical layer: the way to its own terminal, and the agent that acts by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from energyshare.deployment.actors import PartyKind
from energyshare.dispatch.agents import WINDOW_S
from energyshare.dispatch.client import Order, RegisterMeter, SchedulerClient
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.station_client import ReportPolicy, StationClient
from energyshare.dispatch.terminals import Directory, StationTerminalMeter, TerminalCommands, TerminalRegister
from energyshare.durable import write_whole
from energyshare.errors import EnergyShareError
from energyshare.network import Network
from energyshare.physical.gateway import Gateway
from energyshare.physical.link import BrokerAddress
from energyshare.physical.topics import State
from energyshare.side import Side

__all__ = ["SiteError", "SiteRecord", "StationEnd", "UserEnd", "Way", "directory_of", "station_names", "terminal_of"]

READY_S = 10.0
"""How long terminals may take to say that they are ready."""


class SiteError(EnergyShareError):
    """The physical layer cannot be started or reached."""


def terminal_of(name: str) -> str:
    """The id of a party's terminal."""
    return name.lower()


def station_names(network: Network, schedule: Schedule) -> dict[int, str]:
    """The stations' names by their ids."""
    keys = {party.addresses.get(Side.SCHEDULE): party.name for party in network.record.parties}
    numbers = range(1, schedule.station_count() + 1)
    found = {number: keys.get(schedule.station_key(number)) for number in numbers}
    return {number: name for number, name in found.items() if name is not None}


def directory_of(network: Network, schedule: Schedule) -> Directory:
    """Everybody's terminal."""
    users = [party for party in network.record.parties if party.kind is PartyKind.USER]
    return Directory(
        {party.addresses[Side.SCHEDULE]: terminal_of(party.name) for party in users},
        {number: terminal_of(name) for number, name in station_names(network, schedule).items()},
    )


@dataclass(frozen=True, slots=True)
class Way:
    """A party's way to its terminal."""

    broker: str
    """The URL of the account that commands it. It holds a password."""
    terminal: str
    """The address that signs what the terminal tells."""


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """What users' clients in other processes need to reach their terminals. It holds passwords."""

    users: Mapping[str, Way]
    """By the user's name."""

    @staticmethod
    def beside(record_path: Path) -> Path:
        """Where it stands for a network, by the path of its deployment record."""
        return record_path.with_suffix(".site.json")

    def write(self, path: Path) -> None:
        """Readable by its owner alone, whatever stood there; the whole of it or nothing. Raises SiteError."""
        body = json.dumps({"users": {name: asdict(way) for name, way in self.users.items()}}, indent=2)
        try:
            write_whole(path, body + "\n")
        except OSError as error:
            raise SiteError(f"cannot write {path}: {error.strerror}; name a writable folder") from error

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None where there is none. Raises SiteError where it is no such record."""
        try:
            users = json.loads(path.read_text())["users"]
            return cls({str(name): Way(str(way["broker"]), str(way["terminal"])) for name, way in users.items()})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise SiteError(f"{path} does not say where terminals are: {error}; start the network again") from error


class _End:
    """A connection to a party's own terminal, to be closed."""

    def __init__(
        self, network: Network, schedule: Schedule, name: str, way: Way, directory: Directory | None = None
    ) -> None:
        self._schedule = schedule
        self._account = network.account(Side.SCHEDULE, name)
        self._terminal = terminal_of(name)
        self._directory = directory or directory_of(network, schedule)
        self._gateway = Gateway(BrokerAddress.parse(way.broker), {self._terminal: way.terminal})
        self._commands = TerminalCommands(self._gateway, self._directory, self._account)
        self._gateway.start()

    def close(self) -> None:
        self._gateway.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class UserEnd(_End):
    """A user's way to its own terminal: commands to it, and its meter."""

    def __init__(self, network: Network, schedule: Schedule, name: str, way: Way) -> None:
        """Connect, and wait for the terminal. Raises SiteError where it does not answer, LinkError without broker."""
        super().__init__(network, schedule, name, way)
        try:
            if not self._gateway.wait_for(self._answers, READY_S):
                raise SiteError(
                    f"the terminal of {name} is away: is the network running with its terminals?"
                    if self._gateway.state(self._terminal) is not State.READY
                    else f"nothing recent comes from the terminal of {name} that {way.terminal} signed: name the "
                    "address that it says when it starts, and see to its clock"
                )
        except BaseException:
            self.close()
            raise

    def client(
        self,
        order: Order,
        *,
        installed_wh: Mapping[Service, int] | None = None,
        units_at_once: int = 1,
        confirmations: int = 1,
        patience_blocks: int | None = None,
        window_s: int = WINDOW_S,
    ) -> SchedulerClient:
        """Who serves an order by this terminal; see `SchedulerClient`, and `RegisterMeter` for `installed_wh`."""
        register = TerminalRegister(self._gateway, self._terminal)
        return SchedulerClient(
            self._schedule,
            self._account,
            order,
            RegisterMeter(self._schedule, self._account.address, register, installed_wh),
            self._commands,
            units_at_once=units_at_once,
            confirmations=confirmations,
            patience_blocks=patience_blocks,
            window_s=window_s,
        )

    def _answers(self) -> bool:
        """Whether the terminal is ready and its meter was heard: the two come apart."""
        return self._gateway.state(self._terminal) is State.READY and self._gateway.reading(self._terminal) is not None


class StationEnd(_End):
    """A station's way to its own terminal. The terminal may come later, or go for a while."""

    def agent(self, station: int, policy: ReportPolicy, *, confirmations: int = 1, keeps: bool = True) -> StationClient:
        """Who acts for the station by this terminal; see `StationClient`."""
        return StationClient(
            self._schedule,
            station,
            self._account,
            self._commands,
            StationTerminalMeter(self._gateway, self._directory, station),
            policy,
            confirmations=confirmations,
            keeps=keeps,
        )

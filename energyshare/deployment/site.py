"""The physical layer of a network on this machine.

A broker, terminals, simulated storages and wires, and the agents of the stations. Users' clients come and go, in this
process or in others.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from energyshare.deployment.actors import PartyKind
from energyshare.dispatch.agents import WINDOW_S, Step, run
from energyshare.dispatch.client import Order, RegisterMeter, SchedulerClient
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import Rules
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.station_client import ReportPolicy, StationClient
from energyshare.dispatch.terminals import (
    Directory,
    StationTerminalMeter,
    TerminalCommands,
    TerminalRegister,
)
from energyshare.errors import EnergyShareError
from energyshare.network import Network
from energyshare.physical.broker import Broker
from energyshare.physical.device import DeviceError, SimulatedStorage
from energyshare.physical.feeder import Balance, Feeder
from energyshare.physical.gateway import Gateway
from energyshare.physical.link import BrokerAddress
from energyshare.physical.reporting import Margins, report_due
from energyshare.physical.storage import Storage
from energyshare.physical.terminal import StationTerminal, Terminal, UserTerminal
from energyshare.physical.topics import State
from energyshare.side import Side

__all__ = ["Site", "SiteError", "SiteRecord", "UserEnd", "reports", "storage_of", "terminal_of"]

logger = logging.getLogger(__name__)

MAX_POWER_W = 100_000
CHARGE_EFFICIENCY_BP = 9_500
DISCHARGE_EFFICIENCY_BP = 9_600
READY_S = 10.0
"""How long terminals may take to say that they are ready."""


class SiteError(EnergyShareError):
    """The physical layer cannot be started or reached."""


def terminal_of(name: str) -> str:
    """The id of a party's terminal."""
    return name.lower()


def storage_of(state: StationState) -> Storage:
    """A simulated storage that can give at its meter what the chain says is stored.

    What the converter loses on the way out is stored beside it, in cells as much larger.
    """
    whole = 10_000
    return Storage(
        capacity_wh=-(-state.capacity * whole // DISCHARGE_EFFICIENCY_BP),
        initial_wh=-(-state.stored * whole // DISCHARGE_EFFICIENCY_BP),
        max_power_w=MAX_POWER_W,
        charge_efficiency_bp=CHARGE_EFFICIENCY_BP,
        discharge_efficiency_bp=DISCHARGE_EFFICIENCY_BP,
    )


def reports(stored_wh: int, chain_says: StationState, rules: Rules) -> Report | None:
    """The policy of stations here: what `energyshare.physical.reporting` says with its margins."""
    return report_due(chain_says, stored_wh, rules, Margins())


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """What users' clients in other processes need to reach their terminals. It holds passwords."""

    gateways: Mapping[str, str]
    """The broker's URL for who commands a user's terminal, by the user's name."""

    @staticmethod
    def beside(record_path: Path) -> Path:
        """Where it stands for a network, by the path of its deployment record."""
        return record_path.with_suffix(".site.json")

    def write(self, path: Path) -> None:
        """Readable by its owner alone, whatever stood there; the whole of it or nothing. Raises SiteError."""
        body = json.dumps({"gateways": dict(self.gateways)}, indent=2)
        try:
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(body + "\n")
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink()
                raise
        except OSError as error:
            raise SiteError(f"cannot write {path}: {error.strerror}; name a writable folder") from error

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None where there is none. Raises SiteError where it is no such record."""
        try:
            body = json.loads(path.read_text())
            return cls({str(name): str(url) for name, url in body["gateways"].items()})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise SiteError(f"{path} does not say where terminals are: {error}; start the network again") from error


class UserEnd:
    """A user's way to its own terminal: commands to it, and its meter."""

    def __init__(self, network: Network, schedule: Schedule, name: str, address: BrokerAddress) -> None:
        """Connect, and wait for the terminal. Raises SiteError where it does not answer."""
        self._schedule = schedule
        self._account = network.account(Side.SCHEDULE, name)
        terminal = terminal_of(name)
        self._directory = Directory({self._account.address: terminal}, _stations(network, schedule))
        self._gateway = Gateway(address, [terminal])
        self._terminal = terminal
        self._gateway.start()
        try:
            if not self._gateway.wait_for(self._answers, READY_S):
                raise SiteError(f"the terminal of {name} is away: is the network running with its terminals?")
        except BaseException:
            self._gateway.close()
            raise

    def client(
        self,
        order: Order,
        *,
        units_at_once: int = 1,
        confirmations: int = 1,
        patience_blocks: int | None = None,
        window_s: int = WINDOW_S,
    ) -> SchedulerClient:
        """Who serves an order by this terminal; see `SchedulerClient`."""
        register = TerminalRegister(self._gateway, self._terminal)
        return SchedulerClient(
            self._schedule,
            self._account,
            order,
            RegisterMeter(self._schedule, self._account.address, register),
            TerminalCommands(self._gateway, self._directory, self._account),
            units_at_once=units_at_once,
            confirmations=confirmations,
            patience_blocks=patience_blocks,
            window_s=window_s,
        )

    def close(self) -> None:
        self._gateway.close()

    def _answers(self) -> bool:
        """Whether the terminal is ready and its meter was heard: the two come apart."""
        return self._gateway.state(self._terminal) is State.READY and self._gateway.reading(self._terminal) is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class Site:
    """Everything physical of a network, simulated but for broker, messages and signatures, which are real."""

    network: Network
    schedule: Schedule
    feeder: Feeder
    storages: Mapping[str, SimulatedStorage]
    """By the station's name."""
    terminals: Mapping[str, Terminal]
    """By their ids."""
    clients: Mapping[str, StationClient]
    """The stations' agents, by their names."""
    record: SiteRecord
    broker: Broker | None
    """The one that was started, if any."""
    _closing: ExitStack
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _failure: Exception | None = None

    @classmethod
    def start(
        cls,
        network: Network,
        policy: ReportPolicy,
        *,
        confirmations: int = 1,
        keeps: bool = True,
        broker: BrokerAddress | None = None,
        journals: Path | None = None,
    ) -> Site:
        """Start terminals of all stations and users of a network, with storages as the chain has them.

        Args:
            policy: When a station's state deserves a report.
            confirmations: Blocks on top of a payment before energy moves.
            keeps: Whether stations close idle connections and settle.
            broker: With an account for each terminal, `<name>`, and for each that commands one, `<name>-gateway`, all
                of them with this address's password; by default one is started.
            journals: The folder where terminals note what they do; by default nothing outlives them.

        Raises:
            EnergyShareError: The broker or a terminal cannot be started.
        """
        schedule = network.schedule()
        numbers = {name: number for number, name in _names(network, schedule).items()}
        users = [party.name for party in network.record.parties if party.kind is PartyKind.USER]
        directory = Directory(
            {network.party(name).addresses[Side.SCHEDULE]: terminal_of(name) for name in users},
            _stations(network, schedule),
        )
        with ExitStack() as closing:
            embedded = None if broker is not None else closing.enter_context(Broker())

            def terminal_address(terminal: str) -> BrokerAddress:
                return embedded.terminal(terminal) if embedded else replace(_given(broker), user=terminal)

            def gateway_address(terminal: str) -> BrokerAddress:
                name = f"{terminal}-gateway"
                return embedded.gateway(name, [terminal]) if embedded else replace(_given(broker), user=name)

            terminals: dict[str, Terminal] = {}

            def started(terminal: Terminal) -> None:
                terminal.start()
                closing.callback(terminal.close)
                terminals[terminal.terminal] = terminal

            def journal(terminal: str) -> Path | None:
                return None if journals is None else journals / f"{terminal}.sqlite"

            feeder = Feeder(_lines(schedule, directory))
            storages = {
                name: SimulatedStorage(storage_of(schedule.station(number))) for name, number in numbers.items()
            }
            for name in users:
                terminal = terminal_of(name)
                key = network.party(name).addresses[Side.SCHEDULE]
                device, address = feeder.user(terminal), terminal_address(terminal)
                started(UserTerminal(terminal, device, address, trusted=key, journal=journal(terminal)))
            clients = {}
            for name, number in numbers.items():
                terminal, account = terminal_of(name), network.account(Side.SCHEDULE, name)
                device, address = feeder.station(terminal, storages[name]), terminal_address(terminal)
                meters = feeder.meters(terminal)
                started(
                    StationTerminal(
                        terminal,
                        device,
                        address,
                        trusted=account.address,
                        journal=journal(terminal),
                        meters=meters,
                    )
                )
                gateway = Gateway(gateway_address(terminal), [terminal])
                gateway.start()
                closing.callback(gateway.close)
                clients[name] = StationClient(
                    schedule,
                    number,
                    account,
                    TerminalCommands(gateway, directory, account),
                    StationTerminalMeter(gateway, directory, number),
                    policy,
                    confirmations=confirmations,
                    keeps=keeps,
                )
            record = SiteRecord({name: gateway_address(terminal_of(name)).url for name in users})
            return cls(network, schedule, feeder, storages, terminals, clients, record, embedded, closing.pop_all())

    def run(self, poll_s: float = 0.2, on_step: Callable[[StationClient, Step], None] | None = None) -> None:
        """Let the stations' agents act in a thread. Returns at once."""
        agents = list(self.clients.values())
        self._begin("station agents", lambda: run(agents, self._stop, poll_s, on_step=on_step))

    def shine(self, energy_wh: int, every_s: float) -> None:
        """Let every storage take in `energy_wh` from the sun again and again, as far as it has room, in a thread."""

        def sun() -> None:
            while not self._stop.wait(every_s):
                for storage in self.storages.values():
                    try:
                        storage.absorb(min(energy_wh, storage.storage.acceptable_wh))
                    except DeviceError as error:
                        logger.debug("no sun: %s", error)

        self._begin("sun", sun)

    def user(self, name: str) -> UserEnd:
        """A user's way to its terminal. The caller closes it."""
        return UserEnd(self.network, self.schedule, name, BrokerAddress.parse(self.record.gateways[name]))

    @property
    def balance(self) -> Balance:
        """Where all energy is."""
        return Balance.of([device.storage for device in self.storages.values()], self.feeder.flows)

    def check(self) -> None:
        """Raise what has ended an agent, a terminal, the broker or the sun, if anything has."""
        if self._failure is not None:
            raise self._failure
        for terminal in self.terminals.values():
            terminal.check()
        if self.broker is not None:
            self.broker.check()

    def close(self) -> None:
        """Stop agents, terminals and broker."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        def watched() -> None:
            try:
                work()
            except Exception as error:
                self._failure = error

        thread = threading.Thread(target=watched, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _given(broker: BrokerAddress | None) -> BrokerAddress:
    assert broker is not None
    return broker


def _names(network: Network, schedule: Schedule) -> dict[int, str]:
    """The stations' names by their ids."""
    keys = {party.addresses.get(Side.SCHEDULE): party.name for party in network.record.parties}
    numbers = range(1, schedule.station_count() + 1)
    found = {number: keys.get(schedule.station_key(number)) for number in numbers}
    return {number: name for number, name in found.items() if name is not None}


def _stations(network: Network, schedule: Schedule) -> dict[int, str]:
    return {number: terminal_of(name) for number, name in _names(network, schedule).items()}


def _lines(schedule: Schedule, directory: Directory) -> dict[tuple[str, str], int]:
    """The losses of the wires, which the chain has listed, by the terminals at their ends."""
    return {
        (terminal, directory.stations[line.station]): line.loss_bp
        for user, terminal in directory.users.items()
        for line in schedule.lines_of(user)
        if line.station in directory.stations
    }

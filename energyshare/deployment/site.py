"""The physical layer of a network on this machine.

A broker, terminals, simulated storages and wires, and the agents of the stations. Users' clients come and go, in this
process or in others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from eth_account import Account
from eth_account.signers.local import LocalAccount

from energyshare.deployment.actors import PartyKind
from energyshare.deployment.ends import SiteRecord, StationEnd, UserEnd, Way, directory_of, station_names, terminal_of
from energyshare.dispatch.agents import Step, run
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import Rules
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.station_client import ReportPolicy, StationClient
from energyshare.dispatch.terminals import Directory
from energyshare.network import Network
from energyshare.physical.broker import Broker
from energyshare.physical.device import DeviceError, SimulatedStorage
from energyshare.physical.feeder import Balance, Feeder
from energyshare.physical.link import BrokerAddress
from energyshare.physical.reporting import Margins, report_due
from energyshare.physical.storage import WHOLE_BP, Storage
from energyshare.physical.terminal import StationTerminal, Terminal, UserTerminal
from energyshare.side import Side

__all__ = ["Site", "reports", "storage_of", "supplies_only"]

logger = logging.getLogger(__name__)

MAX_POWER_W = 100_000
CHARGE_EFFICIENCY_BP = 9_500
DISCHARGE_EFFICIENCY_BP = 9_600


def storage_of(state: StationState) -> Storage:
    """A simulated storage that can give at its meter what the chain says is stored.

    What the converter loses on the way out is stored beside it, in cells as much larger.
    """
    return Storage(
        capacity_wh=-(-state.capacity * WHOLE_BP // DISCHARGE_EFFICIENCY_BP),
        initial_wh=-(-state.stored * WHOLE_BP // DISCHARGE_EFFICIENCY_BP),
        max_power_w=MAX_POWER_W,
        charge_efficiency_bp=CHARGE_EFFICIENCY_BP,
        discharge_efficiency_bp=DISCHARGE_EFFICIENCY_BP,
    )


def reports(stored_wh: int, chain_says: StationState, rules: Rules) -> Report | None:
    """The policy of stations here: what `energyshare.physical.reporting` says with its margins."""
    return report_due(chain_says, stored_wh, rules, Margins())


def supplies_only(stored_wh: int, chain_says: StationState, rules: Rules) -> Report | None:
    """The same for a station without meters on its lines, which can accept no sale."""
    return report_due(chain_says, stored_wh, rules, Margins(), acquires=False)


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
        numbers = {name: number for number, name in station_names(network, schedule).items()}
        users = [party.name for party in network.record.parties if party.kind is PartyKind.USER]
        directory = directory_of(network, schedule)
        keys: dict[str, LocalAccount] = {terminal_of(name): Account.create() for name in (*users, *numbers)}
        with ExitStack() as closing:
            accounts = closing.enter_context(Broker()) if broker is None else _GivenBroker(broker)

            def way_to(terminal: str) -> Way:
                address = accounts.gateway(f"{terminal}-gateway", [terminal])
                return Way(address.url, keys[terminal].address)

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
                started(
                    UserTerminal(
                        terminal,
                        feeder.user(terminal),
                        accounts.terminal(terminal),
                        account=keys[terminal],
                        trusted=network.party(name).addresses[Side.SCHEDULE],
                        journal=journal(terminal),
                    )
                )
            clients = {}
            for name, number in numbers.items():
                terminal = terminal_of(name)
                started(
                    StationTerminal(
                        terminal,
                        feeder.station(terminal, storages[name]),
                        accounts.terminal(terminal),
                        account=keys[terminal],
                        trusted=network.account(Side.SCHEDULE, name).address,
                        journal=journal(terminal),
                        meters=feeder.meters(terminal),
                    )
                )
                end = closing.enter_context(StationEnd(network, schedule, name, way_to(terminal), directory))
                clients[name] = end.agent(number, policy, confirmations=confirmations, keeps=keeps)
            embedded = accounts if isinstance(accounts, Broker) else None
            record = SiteRecord({name: way_to(terminal_of(name)) for name in users})
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
        return UserEnd(self.network, self.schedule, name, self.record.users[name])

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


@dataclass(frozen=True, slots=True)
class _GivenBroker:
    """A broker that somebody else runs, who has made the accounts."""

    address: BrokerAddress

    def terminal(self, terminal: str) -> BrokerAddress:
        return replace(self.address, user=terminal)

    def gateway(self, name: str, terminals: Iterable[str]) -> BrokerAddress:
        return replace(self.address, user=name)


def _lines(schedule: Schedule, directory: Directory) -> dict[tuple[str, str], int]:
    """The losses of the wires, which the chain has listed, by the terminals at their ends."""
    return {
        (terminal, directory.stations[line.station]): line.loss_bp
        for user, terminal in directory.users.items()
        for line in schedule.lines_of(user)
        if line.station in directory.stations
    }

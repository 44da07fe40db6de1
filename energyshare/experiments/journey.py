"""Experiment 2 from money to energy and back: both chains, the lock, dispatch, terminals that move energy, settlement.

The steps are the paper's: supply S1 to S8 and acquisition S1 to S5 (section 2.3). In between, `experiment2.Session`
holds every figure to the paper's tables. Users and stations act by their agents, and each unit crosses a wire: commands
go over MQTT to terminals, which move it between simulated storages and meters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from energyshare.amount import BASE_UNITS, base_units, whole_units
from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.deployment.ends import terminal_of
from energyshare.deployment.local import LocalNetwork
from energyshare.deployment.site import Site
from energyshare.dispatch.agents import Act
from energyshare.dispatch.client import Order
from energyshare.dispatch.contracts import ContractDispatcher
from energyshare.dispatch.dispatcher import Report
from energyshare.dispatch.rules import Rules, Service
from energyshare.dispatch.schedule import Schedule
from energyshare.errors import ChainError
from energyshare.experiments.experiment2 import SCENARIO, Experiment2, Session
from energyshare.experiments.progress import Event, Progress, Stage, silent
from energyshare.ledger.audit import conservation, read_states
from energyshare.physical.device import Transfer
from energyshare.physical.feeder import Balance
from energyshare.physical.messages import ChainReference
from energyshare.side import Side

__all__ = ["Journey", "run"]

USERS = {"1": "Client1", "2": "Client2", "3": "Client3"}
STATIONS = {"a": "StationA", "b": "StationB", "c": "StationC"}
BUYER, SELLER = USERS["1"], USERS["3"]
BOUGHT = 20
"""Rights that Client1 buys: what user 1 asks for, of which 14 units are to be had."""
RESERVE = 20
"""Rights that the company adds to its reserve, and station a's float out of it."""
PERIOD_S = 1
POLL_S = 0.02
PATIENCE_S = 30.0

_OWN_USE = ChainReference(0, "0x" + "00" * 32, 0)
"""What no chain knows of."""


@dataclass(frozen=True, slots=True)
class Journey:
    """What came out."""

    experiment: Experiment2
    balance: Balance
    charged_wh: int
    """That the storages took in from the sun."""
    used_wh: int
    """That they gave to their owners."""

    @property
    def ok(self) -> bool:
        return self.experiment.ok

    def to_json(self) -> dict[str, object]:
        """As experiment 2, and where all energy is, in watt-hours."""
        balance = self.balance
        return self.experiment.to_json() | {
            "energy_wh": {
                "initial": balance.initial,
                "charged": self.charged_wh,
                "used_by_stations": self.used_wh,
                "sent_by_users": balance.sent,
                "received_by_users": balance.received,
                "stored": balance.stored,
                "conversion_losses": balance.conversion_losses,
                "line_losses": balance.line_losses,
            }
        }


def run(kind: devnet.Kind = "py-evm", progress: Progress | None = None) -> Journey:
    """Run it on two fresh dev chains.

    Raises:
        EnergyShareError: A chain, the broker or a terminal failed.
    """
    tell = progress or silent
    with LocalNetwork(kind, Actors(Keyring()), _terms(), on_step=lambda step: tell(Event(Stage.SETUP, step))) as local:
        tell(Event(Stage.SETUP, "start broker, terminals and agents"))
        # Blocks come with transactions alone, so nothing would ever be confirmed; and the tables say who reports what.
        with Site.start(local.network, lambda *_: None, confirmations=0, keeps=False) as site:
            site.run(POLL_S)
            agents = _Agents(local.network.schedule(), local, site)
            session = Session(agents, tell)
            return _Acts(local, site, agents, session, tell).journey()


def _terms() -> Terms:
    lines: dict[str, dict[str, int]] = {name: {} for name in USERS.values()}
    for line in SCENARIO.lines:
        lines[USERS[line.user]][STATIONS[line.station]] = line.loss_bp
    return Terms(
        tokens={COMPANY: 1_000 * BASE_UNITS, BUYER: 1_000 * BASE_UNITS},
        rights={},
        rules=Rules(k=SCENARIO.k, reserve_wh=SCENARIO.rules.reserve_wh),
        period_s=PERIOD_S,
        stations=tuple(StationTerms(STATIONS[station.id], station.state()) for station in SCENARIO.stations),
        lines=lines,
    )


class _Agents(ContractDispatcher):
    """A dispatcher whose users and stations are agents with terminals."""

    def __init__(self, schedule: Schedule, local: LocalNetwork, site: Site) -> None:
        account = local.network.account
        super().__init__(
            schedule,
            {name: account(Side.SCHEDULE, party) for name, party in USERS.items()},
            {name: account(Side.SCHEDULE, party) for name, party in STATIONS.items()},
        )
        self._site = site
        self._chain = schedule.chain
        self.charged_wh = 0
        self.used_wh = 0

    def apply(self, user: str, service: Service, units: int) -> int:
        """Let the user's client serve an order, until it is done or would wait for a station."""
        order = Order(service, units, self._chain.height() + 1)
        deadline = time.monotonic() + PATIENCE_S
        with self._site.user(USERS[user]) as end:
            client = end.client(order, confirmations=0)
            while not (step := client.step()).act.ends and step.act is not Act.WAITS_FOR_STATION:
                self._site.check()
                if not step.act.waits:
                    deadline = time.monotonic() + PATIENCE_S
                elif time.monotonic() > deadline:
                    raise ChainError(f"{USERS[user]}: {step.act}, {step.detail}, for {PATIENCE_S:g} s: see the log")
                else:
                    time.sleep(POLL_S)
            return units - client.done()

    def report(self, station: str, report: Report) -> None:
        """Let sun or own use bring the storage to what the station is to report, then report."""
        if report.stored is not None:
            device = self._site.storages[STATIONS[station]]
            while (missing := report.stored - device.storage.deliverable_wh) > 0:
                device.absorb(missing)
                self.charged_wh += missing
            if missing < 0:
                device.inject(Transfer(-missing, 1, "own use", _OWN_USE))
                self.used_wh -= missing
        super().report(station, report)


class _Acts:
    """The steps, on one network, and what is seen of each."""

    def __init__(self, local: LocalNetwork, site: Site, agents: _Agents, session: Session, tell: Progress) -> None:
        self._local = local
        self._network = local.network
        self._schedule = local.network.schedule()
        self._site = site
        self._agents = agents
        self._session = session
        self._tell = tell

    def journey(self) -> Journey:
        self._supply()
        self._acquisition()
        outcome = self._session.outcome()
        broken = [finding for finding in conservation(read_states(self._network)) if not finding.ok]
        self._session.observe("audit: laws of conservation broken", "0", str(len(broken)))
        balance, agents = self._site.balance, self._agents
        difference = balance.difference + agents.charged_wh - agents.used_wh
        self._session.observe("energy from nowhere, or lost without a name, in Wh", "0", str(difference))
        experiment = Experiment2(tuple(self._session.observations), tuple(self._session.tables), outcome)
        return Journey(experiment, balance, agents.charged_wh, agents.used_wh)

    def _supply(self) -> None:
        """A user buys energy (paper, figure 3)."""
        self._step("supply S1", f"{BUYER} pays {BOUGHT} tokens for rights")
        lock = self._network.purchase(BUYER, base_units(BOUGHT))
        self._hold("supply S1", BUYER, transaction="980", schedule="0")
        self._step("supply S2", f"the market has locked them: transfer {lock.position}, block {lock.block_number}")
        self._step("supply S3", "the lock of the scheduling chain verifies that and releases the rights")
        self._cross(Side.TRANSACTION)
        self._hold("supply S3", BUYER, transaction="980", schedule="20")
        self._step("supply S4", "dispatch picks the station, and the user pays it right by right")
        self._step("supply S5", "its terminal gets a command for each unit paid")
        self._session.supply()
        self._hold("supply S4", BUYER, transaction="980", schedule="6")
        supplied = self._site.storages[STATIONS["b"]].storage.given_out_wh
        self._session.observe("supply S5: watt-hours that b's terminal supplied", "14000", str(supplied))
        self._step("supply S6", "the energy has come, less the line's loss of 10%")
        self._session.observe("supply S6: watt-hours that user 1's meter received", "12600", str(self._received(BUYER)))
        self._step("supply S7", "the period is over: b pays all its rights to the company")
        paid, _ = self._settle("b")
        self._session.observe("supply S7: rights that b paid to the company", "14", whole_units(paid))
        self._hold("supply S7", COMPANY, transaction="1000", schedule="14")
        self._step("supply S8", f"{BUYER} turns the rights that are left back into tokens")
        self._network.convert(BUYER, Side.SCHEDULE, base_units(6))
        self._cross(Side.SCHEDULE)
        self._hold("supply S8", BUYER, transaction="986", schedule="0")

    def _acquisition(self) -> None:
        """A user sells energy (paper, figure 4)."""
        self._step("acquisition S1", f"the company adds {RESERVE} rights to its reserve, through the lock")
        self._network.convert(COMPANY, Side.TRANSACTION, base_units(RESERVE))
        self._cross(Side.TRANSACTION)
        self._hold("acquisition S1", COMPANY, transaction="980", schedule="34")
        company = self._network.account(Side.SCHEDULE, COMPANY)
        self._schedule.set_float(company, self._number("a"), base_units(RESERVE))
        _, granted = self._settle("a")
        self._session.observe("acquisition S1: float that a gets of it", str(RESERVE), whole_units(granted))
        self._step("acquisition S2", "the user sends energy to the station that dispatch picked")
        self._step("acquisition S3", "the station checks its meter")
        self._step("acquisition S4", "and pays right by right")
        self._session.acquisition()
        sent = self._site.feeder.user(terminal_of(SELLER)).read().injected_wh
        self._session.observe("acquisition S2: watt-hours that user 3 sent, 20% for the line", "16250", str(sent))
        taken = sum(flow.station_wh for flow in self._site.feeder.flows if flow.service is Service.ACQUIRE)
        self._session.observe("acquisition S3: watt-hours that a's meter received", "13000", str(taken))
        self._hold("acquisition S4", SELLER, transaction="0", schedule="13")
        self._step("acquisition S5", f"{SELLER} turns its rights into tokens, and the company what is left of its own")
        self._network.convert(SELLER, Side.SCHEDULE, base_units(13))
        self._network.convert(COMPANY, Side.SCHEDULE, base_units(14))
        self._cross(Side.SCHEDULE)
        self._hold("acquisition S5", SELLER, transaction="13", schedule="0")
        self._hold("acquisition S5", COMPANY, transaction="994", schedule="0")

    def _step(self, name: str, text: str) -> None:
        self._tell(Event(Stage.STEP, f"{name}: {text}"))

    def _hold(self, moment: str, name: str, *, transaction: str, schedule: str) -> None:
        for side, expected in ((Side.TRANSACTION, transaction), (Side.SCHEDULE, schedule)):
            held = whole_units(self._network.balance(side, name))
            self._session.observe(f"{moment}: {name} on the {side} chain", expected, held)

    def _cross(self, side: Side) -> None:
        """Confirm what is locked on a chain, and deliver it."""
        source = self._network.chains[side]
        confirmations = self._network.ends[side.other].route_state(self._network.route(side.other)).confirmations
        source.wait_for_height(source.height() + confirmations)
        for delivery in self._local.relay():
            self._tell(
                Event(
                    Stage.DELIVERED,
                    f"proven at {side} block {delivery.source_height}, credited in {side.other} block "
                    f"{delivery.block_number}, {delivery.gas_used:,} gas",
                )
            )

    def _settle(self, station: str) -> tuple[int, int]:
        """Anyone may, once the period is over: here the relayer's key pays the gas."""
        number = self._number(station)
        self._schedule.chain.wait_for_timestamp(self._schedule.period_end(number))
        return self._schedule.settle(self._network.actors.relayer(Side.SCHEDULE), number)

    def _received(self, name: str) -> int:
        return self._site.feeder.user(terminal_of(name)).read().absorbed_wh

    @staticmethod
    def _number(station: str) -> int:
        return list(STATIONS).index(station) + 1

"""Experiment 1: purchase of rights and their conversion back (the paper's section 4.4, figures 8 to 13).

Client1 (T 1000, S 0) buys 73 rights and turns 20 back; the company (T 1000, S 1000) turns 300 back. Chains,
sealers and relayers run for real; every figure is read from the chains.
"""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from energyshare.amount import base_units, whole_units
from energyshare.bridge.relayer import Delivery, Relayer
from energyshare.bridge.transfer import TransferState
from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import Terms
from energyshare.deployment.local import LocalNetwork
from energyshare.errors import ChainError
from energyshare.experiments import single_chain
from energyshare.experiments.progress import Event, Observation, Progress, Stage, silent
from energyshare.experiments.single_chain import ENERGY, MONEY, STATION, SingleChain
from energyshare.ledger.audit import AuditFinding, Privacy, conservation, privacy, read_states
from energyshare.ledger.records import Record, records
from energyshare.ledger.transfers import TransferStatus, transfers
from energyshare.ledger.wallets import Wallet, wallet
from energyshare.network import Lock
from energyshare.side import Side

__all__ = ["Crossing", "Experiment1", "run"]

CLIENT = "Client1"

DELIVERY_TIMEOUT_S = 120.0
"""How long running relayers may take for one transfer."""

SEARCH_STEP = 50
"""Blocks searched from one line of progress to the next."""

RECORDS = {
    Side.TRANSACTION: "Client1 → EC 73, Client1 → Client1 20, EC → EC 300",
    Side.SCHEDULE: "EC → Client1 73, Client1 → Client1 20, EC → EC 300",
}
"""The paper's figures 11 and 12."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One transfer from lock to credit."""

    what: str
    side: Side
    """That locked it."""
    locked_block: int
    proven_block: int
    """Height of the header that proved it."""
    credited_block: int
    """Of the other chain."""
    gas_used: int
    """By the delivery."""

    @property
    def latency(self) -> int:
        """Blocks of the source from the lock to the header that proved it."""
        return self.proven_block - self.locked_block


@dataclass(frozen=True, slots=True)
class Experiment1:
    """What came out."""

    observations: Sequence[Observation]
    wallets: Mapping[str, Wallet]
    records: Mapping[Side, Sequence[Record]]
    privacy: Privacy
    single_chain: SingleChain
    crossings: Sequence[Crossing]
    transfers: Sequence[TransferStatus]

    @property
    def ok(self) -> bool:
        """Whether every figure, law and search came out as it must."""
        return all(observation.ok for observation in self.observations)

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "observations": [observation.to_json() for observation in self.observations],
            "wallets": {name: held.to_json() for name, held in self.wallets.items()},
            "records": {side.value: [record.to_json() for record in self.records[side]] for side in Side},
            "privacy": self.privacy.to_json(),
            "readable": self.single_chain.to_json(),
        }


def run(
    kind: devnet.Kind = "py-evm", progress: Progress | None = None, block_time_s: float | None = None
) -> Experiment1:
    """Run the experiment on two fresh dev chains, and its comparison with a single chain (1b).

    Args:
        block_time_s: Let the chains make a block so often and relayers run by themselves; by default a block
            comes with each transaction and the confirmations are mined.

    Raises:
        EnergyShareError: A chain could not be started, or nothing was delivered.
    """
    tell = progress or silent
    tell(Event(Stage.SETUP, "two sister chains, sealers and relayers"))
    with LocalNetwork(kind, Actors(Keyring()), Terms(), on_step=lambda step: tell(Event(Stage.SETUP, step))) as local:
        session = _Session(local, tell, block_time_s)
        session.trade()
        wallets = {name: wallet(local.network, name) for name in (CLIENT, COMPANY)}
        made = {side: records(local.network, side) for side in Side}
        for side in Side:
            session.observe(f"records of the {side} chain", RECORDS[side], _shown(made[side]))
        session.hold_to_laws()
        seen = privacy(local.network, lambda done, total: _search_told(tell, done, total))
        for side in Side:
            session.observe(f"addresses of the {side.other} chain on the {side} chain", "0", str(seen.count(side)))
        statuses = transfers(local.network)
    compared = single_chain.run(kind, tell)
    _observe_single_chain(session, compared)
    return Experiment1(
        tuple(session.observations), wallets, made, seen, compared, tuple(session.crossings), tuple(statuses)
    )


class _Session:
    """The acts of the experiment on one network, and what is seen meanwhile."""

    def __init__(self, local: LocalNetwork, tell: Progress, block_time_s: float | None) -> None:
        self.observations: list[Observation] = []
        self.crossings: list[Crossing] = []
        self._local = local
        self._network = local.network
        self._tell = tell
        self._deliveries: dict[Side, queue.Queue[Delivery]] | None = None
        if block_time_s is not None:
            self._deliveries = {side: queue.Queue() for side in Side}
            local.run(block_time_s, on_delivery=self._delivered)

    def trade(self) -> None:
        """Purchase, conversion by the client, conversion by the company."""
        self._hold("at first", CLIENT, "1000", "0")
        self._hold("at first", COMPANY, "1000", "1000")

        lock = self._network.purchase(CLIENT, base_units(73))
        self._locked(lock, f"{CLIENT} buys 73 rights")
        self._hold("purchase locked", CLIENT, "927", "0")
        self._conserved("purchase in flight")
        self._cross(lock, f"{CLIENT} buys 73 rights")
        self._hold("purchase credited", CLIENT, "927", "73")
        self._hold("purchase credited", COMPANY, "1000", "1000")

        lock = self._network.convert(CLIENT, Side.SCHEDULE, base_units(20))
        self._locked(lock, f"{CLIENT} converts 20 rights")
        self._hold("conversion locked", CLIENT, "927", "53")
        self._conserved("conversion in flight")
        self._cross(lock, f"{CLIENT} converts 20 rights")
        self._hold("conversion credited", CLIENT, "947", "53")

        self._hold("before the company's conversion", COMPANY, "1000", "1000")
        lock = self._network.convert(COMPANY, Side.SCHEDULE, base_units(300))
        self._locked(lock, f"{COMPANY} converts 300 rights")
        self._cross(lock, f"{COMPANY} converts 300 rights")
        self._hold("the company's conversion credited", COMPANY, "1300", "700")
        self._hold("at last", CLIENT, "947", "53")

        for crossing in self.crossings:
            other = self._network.chains[crossing.side.other]
            other.wait_for_height(crossing.credited_block + self._confirmations(crossing.side.other))
        states = ", ".join(status.state for status in transfers(self._network))
        self.observe("states of the transfers", ", ".join([TransferState.FINAL] * 3), states)

    def observe(self, step: str, expected: str, actual: str, ok: bool | None = None) -> None:
        """Note a figure; by default it must be the one expected to the letter."""
        held = expected == actual if ok is None else ok
        self.observations.append(Observation(step, expected, actual, held))
        verdict = actual if held else f"{actual}, not {expected}"
        self._tell(Event(Stage.OBSERVED, f"{step}: {verdict}", held))

    def hold_to_laws(self) -> None:
        """Audit value, a law each."""
        for finding in conservation(read_states(self._network)):
            self.observe(f"audit: {finding.law}", finding.expected, finding.actual, finding.ok)

    def _hold(self, moment: str, name: str, transaction: str, schedule: str) -> None:
        held = wallet(self._network, name)
        self.observe(f"{moment}: {name} on the transaction chain", transaction, whole_units(held.transaction))
        self.observe(f"{moment}: {name} on the schedule chain", schedule, whole_units(held.schedule))

    def _conserved(self, moment: str) -> None:
        broken = [finding for finding in conservation(read_states(self._network)) if not finding.ok]
        self.observe(f"{moment}: laws of conservation broken", "none", _laws(broken))

    def _confirmations(self, side: Side) -> int:
        """Blocks that must follow a lock on the chain `side`."""
        return self._network.ends[side.other].route_state(self._network.route(side.other)).confirmations

    def _locked(self, lock: Lock, what: str) -> None:
        where = f"{lock.side} block {lock.block_number}"
        self._tell(Event(Stage.LOCKED, f"{what}: locked as transfer {lock.position} in {where}"))

    def _cross(self, lock: Lock, what: str) -> None:
        """Wait for the confirmations and the delivery."""
        source, required = self._network.chains[lock.side], self._confirmations(lock.side)
        for depth in range(1, required + 1):
            source.wait_for_height(lock.block_number + depth)
            self._tell(Event(Stage.CONFIRMATION, f"{what}: {depth} of {required} confirmations"))
        delivery = self._delivery(lock)
        crossing = Crossing(
            what,
            lock.side,
            lock.block_number,
            delivery.source_height,
            delivery.block_number,
            delivery.gas_used,
        )
        self.crossings.append(crossing)
        proven = f"proven at {lock.side} block {crossing.proven_block}, {crossing.latency} after the lock"
        credited = f"credited in {lock.side.other} block {crossing.credited_block}"
        self._tell(Event(Stage.DELIVERED, f"{what}: {proven}; {credited}, {crossing.gas_used:,} gas"))
        self.observe(
            f"{what}: blocks from lock to proof",
            f"at least {required}",
            str(crossing.latency),
            crossing.latency >= required,
        )

    def _delivery(self, lock: Lock) -> Delivery:
        if self._deliveries is None:
            delivery = self._local.relayers[lock.side.branch].step()
        else:
            try:
                delivery = self._deliveries[lock.side].get(timeout=DELIVERY_TIMEOUT_S)
            except queue.Empty:
                delivery = None
        if delivery is None or not delivery.first <= lock.position < delivery.first + delivery.processed:
            raise ChainError(
                f"the relayer did not deliver transfer {lock.position} of the {lock.side} chain: see its log"
            )
        return delivery

    def _delivered(self, relayer: Relayer, delivery: Delivery) -> None:
        """In the relayer's thread."""
        if self._deliveries is not None:
            side = next(side for side in Side if relayer is self._local.relayers[side.branch])
            self._deliveries[side].put(delivery)


def _observe_single_chain(session: _Session, compared: SingleChain) -> None:
    """What 1b must show: a station reads the money's records on one chain, and none of them on two."""
    station, company = compared.readable[STATION], compared.readable[COMPANY]
    session.observe(
        f"1b: money records that {STATION} reads on one chain",
        "more than 0",
        str(station.single[MONEY]),
        station.single[MONEY] > 0,
    )
    session.observe(f"1b: money records that {STATION} reads on two chains", "0", str(station.sister[MONEY]))
    for kind in (MONEY, ENERGY):
        session.observe(
            f"1b: {kind} records in all, on two chains as on one",
            str(company.single[kind]),
            str(company.sister[kind]),
        )
    baseline = sum(compared.single_privacy.count(side) for side in Side)
    session.observe(
        "1b: addresses of either side seen by the other on one chain",
        "more than 0",
        str(baseline),
        baseline > 0,
    )
    seen = sum(compared.sister_privacy.count(side) for side in Side)
    session.observe("1b: addresses of either side seen by the other on two chains", "0", str(seen))
    session.observe("1b: value conserved", "True", str(compared.conserved))


def _search_told(tell: Progress, done: int, total: int) -> None:
    if done == total or done % SEARCH_STEP == 0:
        tell(Event(Stage.SEARCH, f"searched {done} of {total} blocks for addresses"))


def _shown(made: Sequence[Record]) -> str:
    return ", ".join(f"{record.sender} → {record.recipient} {whole_units(record.token)}" for record in made)


def _laws(broken: Sequence[AuditFinding]) -> str:
    return "; ".join(f"{finding.law}: {finding.actual}" for finding in broken) or "none"

"""Experiment 1b: the same traffic on two sister chains and on one chain (the paper's figure 13).

Whoever runs a node of a chain reads all of it. The company and users live on both sister chains, stations on
the scheduling chain alone; where there is one chain, everybody lives on it. What is compared is how many
records of money and of energy each party can read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from eth_account.signers.local import LocalAccount

from energyshare.amount import base_units
from energyshare.bridge.relayer import Relayer
from energyshare.bridge.sealer import Journal
from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import COMPANY, Actors, Party
from energyshare.deployment.deploy import Terms, deploy
from energyshare.deployment.local import CHAIN_IDS, LocalNetwork
from energyshare.experiments.progress import Event, Progress, Stage, silent
from energyshare.ledger.audit import Privacy, conservation, privacy, read_states
from energyshare.ledger.records import Record, records
from energyshare.network import Network
from energyshare.side import Side

__all__ = [
    "ENERGY",
    "MONEY",
    "TERMS",
    "TRAFFIC",
    "Act",
    "Readable",
    "SingleChain",
    "SingleChainActors",
    "readable",
    "run",
]

STATION = "StationA"
MONEY, ENERGY = "money", "energy"
"""Kinds of records: of the token and of the rights."""

_FUNDS = 10**24
"""Wei that everyone who pays for gas starts with."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a party does."""

    kind: Literal["purchase", "conversion", "payment"]
    name: str
    amount: int
    """Whole units."""
    side: Side = Side.SCHEDULE
    """Where a conversion is locked."""
    recipient: str = ""
    """Of a payment."""


def _purchase(name: str, amount: int) -> Act:
    return Act("purchase", name, amount, Side.TRANSACTION)


def _supply(user: str, units: int) -> list[Act]:
    """A user draws energy and pays for it right by right."""
    return [Act("payment", user, 1, recipient=STATION)] * units


def _acquisition(user: str, units: int) -> list[Act]:
    """A user sells energy and is paid right by right."""
    return [Act("payment", STATION, 1, recipient=user)] * units


TRAFFIC: Sequence[Act] = (
    _purchase("Client1", 73),
    Act("conversion", "Client1", 20),
    Act("conversion", COMPANY, 300),
    Act("conversion", COMPANY, 150),
    Act("conversion", "Client1", 30),
    Act("conversion", COMPANY, 200),
    _purchase("Client2", 65),
    _purchase("Client3", 20),
    Act("conversion", "Client1", 70, Side.TRANSACTION),
    *_supply("Client1", 5),
    Act("conversion", COMPANY, 100),
    Act("conversion", COMPANY, 50),
    Act("conversion", COMPANY, 150),
    Act("conversion", "Client2", 30),
    *_acquisition("Client2", 3),
    Act("conversion", COMPANY, 200),
    _purchase("Client3", 350),
    Act("conversion", "Client3", 10),
    _purchase("Client2", 50),
    Act("conversion", COMPANY, 100),
)
"""The 18 money records of figure 13 in its order, with energy drawn from and sold to a station in between.

The figure does not say which way its conversions went: here rights become tokens, save that Client1's last
one is of tokens, since it had not 70 rights left."""

TERMS = Terms(
    tokens={COMPANY: base_units(1_000), **{f"Client{n}": base_units(1_000) for n in (1, 2, 3)}},
    rights={COMPANY: base_units(2_000)},
    others=(STATION,),
)
"""The company starts with enough rights for the 1,250 that the figure has it convert."""


class SingleChainActors(Actors):
    """Keys for one chain that is both: a party has one address on it."""

    def operator(self, side: Side) -> LocalAccount:
        return super().operator(Side.TRANSACTION)

    def relayer(self, side: Side) -> LocalAccount:
        return super().relayer(Side.TRANSACTION)

    def sealers(self, side: Side, count: int) -> list[LocalAccount]:
        return super().sealers(Side.TRANSACTION, count)

    def account(self, name: str, side: Side) -> LocalAccount:
        return super().account(name, Side.TRANSACTION)


@dataclass(frozen=True, slots=True)
class Readable:
    """Records that one party can read, by kind."""

    single: Mapping[str, int]
    """Where there is one chain."""
    sister: Mapping[str, int]
    """Where there are two."""

    def to_json(self) -> dict[str, dict[str, int]]:
        return {"single": dict(self.single), "sister": dict(self.sister)}


@dataclass(frozen=True, slots=True)
class SingleChain:
    """The two runs side by side."""

    readable: Mapping[str, Readable]
    """By party."""
    single_privacy: Privacy
    """The baseline: how often addresses of parties of either side are seen by the other on one chain."""
    sister_privacy: Privacy
    conserved: bool
    """Whether value was conserved in both runs."""

    def to_json(self) -> dict[str, dict[str, dict[str, int]]]:
        return {name: readable.to_json() for name, readable in self.readable.items()}


def run(kind: devnet.Kind = "py-evm", progress: Progress | None = None) -> SingleChain:
    """Run the traffic twice on fresh dev chains of `kind`."""
    tell = progress or silent
    tell(Event(Stage.SETUP, "one chain instead of two: the same traffic on both"))
    with LocalNetwork(kind, Actors(Keyring()), TERMS, on_step=lambda step: None) as local:
        sister = _traffic(local.network, local.relayers, tell, "two chains")
        sister_privacy = privacy(local.network)
        conserved = all(finding.ok for finding in conservation(read_states(local.network)))
    with _one_chain(kind) as (network, relayers):
        single = _traffic(network, relayers, tell, "one chain")
        single_privacy = privacy(network)
        conserved &= all(finding.ok for finding in conservation(read_states(network)))
        parties = network.record.parties
    return SingleChain(readable(parties, single, sister), single_privacy, sister_privacy, conserved)


def readable(
    parties: Sequence[Party],
    single: Mapping[Side, Sequence[Record]],
    sister: Mapping[Side, Sequence[Record]],
) -> dict[str, Readable]:
    """What each party can read: everything on each chain that it lives on."""
    kinds = {Side.TRANSACTION: MONEY, Side.SCHEDULE: ENERGY}
    return {
        party.name: Readable(
            {kinds[side]: len(single[side]) for side in Side},
            {kinds[side]: len(sister[side]) if side in party.kind.sides else 0 for side in Side},
        )
        for party in parties
    }


def _traffic(network: Network, relayers: Sequence[Relayer], tell: Progress, where: str) -> dict[Side, list[Record]]:
    for number, act in enumerate(TRAFFIC, 1):
        if network.balance(act.side, act.name) < base_units(act.amount):
            _relay(network, relayers)
        _perform(network, act)
        done = f"{number} of {len(TRAFFIC)}"
        tell(Event(Stage.TRAFFIC, f"{where}, {done}: {act.kind} of {act.amount} by {act.name}"))
    _relay(network, relayers)
    return {side: records(network, side) for side in Side}


def _perform(network: Network, act: Act) -> None:
    amount = base_units(act.amount)
    if act.kind == "purchase":
        network.purchase(act.name, amount)
    elif act.kind == "conversion":
        network.convert(act.name, act.side, amount)
    else:
        recipient = network.party(act.recipient).addresses[act.side]
        payment = network.asset(act.side).functions.transfer(recipient, amount)
        network.chains[act.side].transact(payment, network.actors.account(act.name, act.side))


def _relay(network: Network, relayers: Sequence[Relayer]) -> None:
    """Confirm and deliver all that is on the way."""
    for side in Side:
        peer = network.ends[side.other].route_state(network.route(side.other))
        chain = network.chains[side]
        chain.wait_for_height(chain.height() + peer.confirmations)
        while relayers[side.branch].step() is not None:
            pass


@contextmanager
def _one_chain(kind: devnet.Kind) -> Iterator[tuple[Network, list[Relayer]]]:
    """Both assets on one chain, with two locks joined to each other, so that the same traffic can run."""
    actors = SingleChainActors(Keyring())
    everyone = {address for side in Side for address in actors.everyone(TERMS.parties, side)}
    with devnet.start(
        kind, "single", CHAIN_IDS[Side.TRANSACTION], alloc=dict.fromkeys(sorted(everyone), _FUNDS)
    ) as chain:
        chains = dict.fromkeys(Side, chain)
        record = deploy(chains, actors, TERMS, on_step=lambda step: None)
        network = Network(record, chains, actors)
        journal = Journal(None)
        sealers = {side: network.sealers(side, TERMS.sealers, journal) for side in Side}
        yield network, network.relayers(sealers)

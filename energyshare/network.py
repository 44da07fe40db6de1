"""A network at hand: both chains, what is deployed there, and what parties do with it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from eth_account.signers.local import LocalAccount
from web3.contract import Contract
from web3.logs import DISCARD

from energyshare.bridge.lock_end import LockEnd
from energyshare.bridge.permit import sign_permit
from energyshare.bridge.relayer import Relayer
from energyshare.bridge.sealer import Journal, Sealer, SealerSource
from energyshare.bridge.sealer_service import RemoteSealer
from energyshare.bridge.transfer import alias_of
from energyshare.chain.connection import Chain
from energyshare.deployment.actors import Actors, Party, UnknownParty
from energyshare.deployment.record import NetworkRecord
from energyshare.dispatch.schedule import Schedule
from energyshare.errors import ChainError
from energyshare.side import Side

__all__ = ["Lock", "Network"]


@dataclass(frozen=True, slots=True)
class Lock:
    """A transfer just made: where it stands in the outbox."""

    side: Side
    """The chain that locked it."""
    position: int
    block_number: int
    transaction_hash: bytes


class Network:
    """Both chains of a deployment. Reading needs the record alone; acting needs the keys of `actors`."""

    def __init__(self, record: NetworkRecord, chains: Mapping[Side, Chain], actors: Actors | None = None) -> None:
        """Raises ChainError where a chain is not the one that was deployed to."""
        for side, chain in chains.items():
            expected = record.chains[side]
            if (chain.chain_id, "0x" + chain.genesis_hash.hex()) != (expected.chain_id, expected.genesis_hash):
                raise ChainError(
                    f"the {side} chain has id {chain.chain_id} and genesis 0x{chain.genesis_hash.hex()}, the record "
                    f"says {expected.chain_id} and {expected.genesis_hash}: it was started anew; deploy again"
                )
        self.record = record
        self.chains = dict(chains)
        self._actors = actors
        self.ends = {
            side: LockEnd(chain, record.chains[side].lock, record.chains[side].deployed_at)
            for side, chain in chains.items()
        }

    @classmethod
    def connect(cls, record: NetworkRecord, actors: Actors | None = None) -> Self:
        """Connect to both chains by their URLs. Raises ChainError where one has none or does not answer."""
        with ExitStack() as opened:
            chains: dict[Side, Chain] = {}
            for side in Side:
                url = record.chains[side].url
                if url is None:
                    raise ChainError(
                        f"the {side} chain lived in the process that deployed it: start one with `energyshare up`"
                    )
                chains[side] = opened.enter_context(Chain.connect(url, side.value))
            network = cls(record, chains, actors)
            opened.pop_all()  # from here on the network closes them
        return network

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for chain in set(self.chains.values()):
            chain.close()

    # Parts

    @property
    def actors(self) -> Actors:
        """The keys. Raises ChainError where the network was opened for reading only."""
        if self._actors is None:
            raise ChainError("no keys: set ENERGYSHARE_MNEMONIC to the mnemonic of the deployment")
        return self._actors

    def asset(self, side: Side) -> Contract:
        """The token or the rights."""
        name = "EnergyToken" if side is Side.TRANSACTION else "EnergyRights"
        return self.chains[side].contract(name, self.record.chains[side].asset)

    def aliases(self, side: Side) -> Contract:
        return self.chains[side].contract("AliasRegistry", self.record.chains[side].aliases)

    def market(self) -> Contract:
        market = self.record.chains[Side.TRANSACTION].market
        if market is None:
            raise ChainError("this network has no market: deploy again with this version")
        return self.chains[Side.TRANSACTION].contract("EnergyMarket", market)

    def schedule(self) -> Schedule:
        """The stations and their dispatch."""
        record = self.record.chains[Side.SCHEDULE]
        if record.dispatch is None:
            raise ChainError("this network has no dispatch: deploy again with this version")
        return Schedule(self.chains[Side.SCHEDULE], record.dispatch, record.deployed_at)

    def station(self, schedule: Schedule, name: str) -> int:
        """The id of a station on the scheduling chain. Raises ChainError where no station has the party's key."""
        key = self.party(name).addresses.get(Side.SCHEDULE)
        for station in range(1, schedule.station_count() + 1):
            if schedule.station_key(station) == key:
                return station
        raise ChainError(
            f"{name} is registered as no station: register it, or name one of `energyshare query stations`"
        )

    def party(self, name: str) -> Party:
        """Raises UnknownParty where the record has no such name."""
        for party in self.record.parties:
            if party.name == name:
                return party
        known = ", ".join(party.name for party in self.record.parties)
        raise UnknownParty(f"no party {name!r} in this network: choose one of {known}")

    def account(self, side: Side, name: str) -> LocalAccount:
        """The key of a party on a chain.

        Raises ChainError where the party does not live there, or the keys at hand are not those of the record.
        """
        address = self.party(name).addresses.get(side)
        if address is None:
            raise ChainError(f"{name} does not live on the {side} chain: choose a party that does")
        account = self.actors.account(name, side)
        if account.address != address:
            raise ChainError(
                f"{name} is {address} on the {side} chain and the keys at hand make {account.address}: "
                "set ENERGYSHARE_MNEMONIC to the mnemonic of the deployment"
            )
        return account

    def name_of(self, side: Side, address: str) -> str:
        """The party with this address on a chain, else the address itself."""
        for party in self.record.parties:
            if party.addresses.get(side) == address:
                return party.name
        return address

    def route(self, side: Side) -> bytes:
        """The key of the route to the other chain, in the lock of `side`."""
        return self.ends[side.other].identity.route

    def balance(self, side: Side, name: str) -> int:
        """Base units that a party holds on a chain; 0 on a chain that it does not live on."""
        address = self.party(name).addresses.get(side)
        return 0 if address is None else int(self.chains[side].call(self.asset(side).functions.balanceOf(address)))

    # Acts

    def register_alias(self, side: Side, name: str) -> bytes:
        """Register a new alias of a party on a chain: one for each transfer keeps them apart. Returns 20 bytes."""
        account = self.account(side, name)
        secret = secrets.token_bytes(32)
        self.chains[side].transact(self.aliases(side).functions.register(secret), account)
        return alias_of(account.address, secret)

    def purchase(self, name: str, amount: int, deadline: int = 0) -> Lock:
        """A user buys rights for `amount` base units of the token (the paper's PurchaseRights)."""
        recipient = self.register_alias(Side.SCHEDULE, name)
        refund = self.register_alias(Side.TRANSACTION, name)
        chain = self.chains[Side.TRANSACTION]
        account = self.account(Side.TRANSACTION, name)
        market = self.market()
        permit = sign_permit(chain, self.asset(Side.TRANSACTION), account, market.address, amount)
        receipt = chain.transact(
            market.functions.buyWithPermit(self.route(Side.TRANSACTION), amount, recipient, refund, deadline, permit),
            account,
        )
        (event,) = market.events.Purchased().process_receipt(receipt, errors=DISCARD)
        return Lock(
            Side.TRANSACTION, event["args"]["position"], receipt["blockNumber"], bytes(receipt["transactionHash"])
        )

    def convert(self, name: str, side: Side, amount: int, deadline: int = 0) -> Lock:
        """A party moves `amount` base units from a chain to itself on the other (the paper's ValueExchange)."""
        recipient = self.register_alias(side.other, name)
        refund = self.register_alias(side, name)
        chain = self.chains[side]
        account = self.account(side, name)
        end = self.ends[side]
        permit = sign_permit(chain, self.asset(side), account, end.address, amount)
        receipt = chain.transact(
            end.contract.functions.lockWithPermit(self.route(side), amount, recipient, refund, deadline, permit),
            account,
        )
        (event,) = end.contract.events.Locked().process_receipt(receipt, errors=DISCARD)
        return Lock(side, event["args"]["position"], receipt["blockNumber"], bytes(receipt["transactionHash"]))

    def claim(self, side: Side, alias: bytes) -> int:
        """Have what waits for an alias paid to its owner, in base units; the relayer's key pays the gas."""
        lock = self.ends[side].contract
        receipt = self.chains[side].transact(lock.functions.claim(self.route(side), alias), self.actors.relayer(side))
        (event,) = lock.events.Claimed().process_receipt(receipt, errors=DISCARD)
        return int(event["args"]["amount"])

    # Bridge

    def sealers(self, side: Side, count: int, journal: Journal) -> Sequence[SealerSource]:
        """Who seals headers of a chain: the services that the record names, else sealers in this process."""
        urls = self.record.chains[side].sealers
        if urls:
            return [RemoteSealer(url) for url in urls]
        return [Sealer(self.chains[side], account, journal) for account in self.actors.sealers(side, count)]

    def relayers(self, sealers: Mapping[Side, Sequence[SealerSource]]) -> list[Relayer]:
        """One for each direction."""
        return [
            Relayer(self.ends[side], self.ends[side.other], sealers[side], self.actors.relayer(side.other))
            for side in Side
        ]

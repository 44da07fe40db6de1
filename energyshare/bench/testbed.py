"""A network for measuring: every key, alias, salt and block time follows from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from eth_account.hdaccount.mnemonic import Mnemonic
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3
from web3.types import TxReceipt

from energyshare.amount import BASE_UNITS
from energyshare.bridge.packet import Packet, outbox_slot
from energyshare.bridge.relayer import Relayer
from energyshare.bridge.sealer import Journal
from energyshare.bridge.transfer import alias_of
from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.chain.keys import Keyring
from energyshare.chain.py_evm import PyEvmProvider
from energyshare.chain.sending import Sendable
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import Terms, deploy
from energyshare.deployment.local import CHAIN_IDS
from energyshare.errors import TransactionReverted
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["AMOUNT", "LOCKER", "MAX_PACKET", "ProofDepth", "Testbed", "holders"]

LOCKER = "Client1"
"""Who locks in every measurement."""

AMOUNT = BASE_UNITS
"""What each transfer carries, in base units: one token."""

MAX_PACKET = 1_000
"""Transfers that a measured packet may carry."""

_GENESIS_TIME = 1_800_000_000
_GAS = 29_000_000
"""Gas limit of measured transactions: what a receipt says does not depend on it."""

_UNLIMITED = 2**256 - 1
_PURSE = 100_000 * BASE_UNITS
"""Tokens of the locker and of the company, in base units."""


@dataclass(frozen=True, slots=True)
class ProofDepth:
    """How much of the source's tries one packet carries."""

    account_nodes: int
    account_bytes: int
    storage_nodes: int
    storage_bytes: int


def holders(count: int) -> tuple[str, ...]:
    """Names of `count` users other than the locker."""
    return tuple(f"Client{number}" for number in range(2, count + 2))


class Testbed:
    """Two chains with a network on them, locks on the transaction chain, deliveries to the other.

    On py-evm two testbeds of one seed make the same blocks, bit by bit. anvil takes its genesis time from the
    clock, so there headers, and the gas of their call data, differ by a few units.
    """

    def __init__(
        self,
        kind: devnet.Kind,
        seed: int,
        accounts: int,
        users: Sequence[str] = (),
        confirmations: int = Terms().confirmations,  # noqa: B008 (frozen)
    ) -> None:
        """`accounts` is the size of the source's state before the deployment: the state that is proven."""
        self.seed = seed
        actors = Actors(Keyring(Mnemonic().to_mnemonic(self.secret("mnemonic")[:16])))
        terms = Terms(
            confirmations=confirmations, tokens={COMPANY: _PURSE, LOCKER: _PURSE}, others=tuple(users)
        )
        crowd = {"0x" + self.secret(f"account {index}")[12:].hex(): 10**18 for index in range(accounts)}
        self.chains: dict[Side, Chain] = {}
        try:
            for side in Side:
                alloc = crowd if side is Side.TRANSACTION else {}
                self.chains[side] = _start(kind, side, alloc, self.secret(side.value))
            record = deploy(self.chains, actors, terms, on_step=lambda _: None)
        except BaseException:
            self.close()
            raise
        self.network = Network(record, self.chains, actors)
        self.terms = terms
        self.source = self.chains[Side.TRANSACTION]
        self.destination = self.chains[Side.SCHEDULE]
        journal = Journal(None)
        self.relayers = {
            side: Relayer(
                self.network.ends[side],
                self.network.ends[side.other],
                self.network.sealers(side, terms.sealers, journal),
                actors.relayer(side.other),
                max_transfers=MAX_PACKET,
            )
            for side in Side
        }
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop both chains."""
        for chain in self.chains.values():
            chain.close()

    def secret(self, purpose: str) -> bytes:
        """32 bytes that follow from the seed and `purpose` alone."""
        return keccak(text=f"energyshare bench {self.seed} {purpose}")

    def account(self, name: str, side: Side) -> LocalAccount:
        """The key of a party on a chain."""
        return self.network.actors.account(name, side)

    # Transactions

    def gas(self, side: Side, what: Sendable, account: LocalAccount) -> int:
        """Send a transaction; the gas that its receipt states. Raises TransactionReverted."""
        return self.receipt(side, what, account)["gasUsed"]

    def receipt(self, side: Side, what: Sendable, account: LocalAccount) -> TxReceipt:
        """Send a transaction; its receipt. Raises TransactionReverted."""
        return self.chains[side].transact(what, account, gas=_GAS)

    def approve(self, name: str = LOCKER, side: Side = Side.TRANSACTION) -> None:
        """Let the lock, and where there is one the market, take all that a party has."""
        spenders = [self.network.record.chains[side].lock, self.network.record.chains[side].market]
        for spender in filter(None, spenders):
            approve = self.network.asset(side).functions.approve(spender, _UNLIMITED)
            self.receipt(side, approve, self.account(name, side))

    def register(self, side: Side, name: str) -> tuple[bytes, int]:
        """Register a new alias of a party: 20 bytes, and the gas."""
        account = self.account(name, side)
        secret = self.unused("alias")
        gas = self.gas(side, self.network.aliases(side).functions.register(secret), account)
        return alias_of(account.address, secret), gas

    def unused(self, purpose: str) -> bytes:
        """32 bytes never given before, of the seed's own sequence."""
        return self.secret(f"{purpose} {next(self._numbers)}")

    def lock(
        self, recipient: bytes, refund: bytes, side: Side = Side.TRANSACTION, name: str = LOCKER
    ) -> int:
        """Lock AMOUNT by standing allowance; the gas."""
        lock = self.network.ends[side].contract.functions.lock
        return self.gas(
            side, lock(self.network.route(side), AMOUNT, recipient, refund, 0), self.account(name, side)
        )

    def confirm(self, side: Side = Side.TRANSACTION) -> None:
        """Mine until everything locked is confirmed."""
        self.chains[side].mine(self.terms.confirmations)

    def packet(self, side: Side = Side.TRANSACTION) -> Packet:
        """What a relayer would deliver now from the chain `side`."""
        packet = self.relayers[side].next_packet()
        assert packet is not None, "nothing is confirmed"
        return packet

    def delivery(self, packet: Packet, side: Side = Side.TRANSACTION) -> Sendable:
        """The transaction that delivers a packet from the chain `side`."""
        deliver = self.network.ends[side.other].contract.functions.deliver
        return cast(Sendable, deliver(self.network.route(side.other), packet.arguments()))

    def deliver(self, packet: Packet, side: Side = Side.TRANSACTION) -> TxReceipt:
        """Deliver a packet from the chain `side`. Raises TransactionReverted."""
        account = self.network.actors.relayer(side.other)
        return self.receipt(side.other, self.delivery(packet, side), account)

    def proof_depth(self, number: int) -> ProofDepth:
        """Of the proof of the outbox at a block of the source."""
        end = self.network.ends[Side.TRANSACTION]
        slot = outbox_slot(self.network.route(Side.TRANSACTION))
        proof = self.source.prove(end.address, [slot], number)
        return ProofDepth(
            account_nodes=len(proof.account_nodes),
            account_bytes=len(proof.concatenated),
            storage_nodes=len(proof.storage[0].nodes),
            storage_bytes=len(proof.storage[0].concatenated),
        )


def _start(kind: devnet.Kind, side: Side, alloc: dict[str, int], salt: bytes) -> Chain:
    if kind != "py-evm":
        return devnet.start(kind, side.value, CHAIN_IDS[side], alloc, salt=salt)
    provider = PyEvmProvider(CHAIN_IDS[side], alloc, salt=salt, clock=lambda: _GENESIS_TIME)
    return Chain(side.value, Web3(provider), on_close=provider.close)

"""A network for measuring: every key, alias, salt and block time follows from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

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
from energyshare.chain.sending import Payload, Sendable
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import Terms, deploy
from energyshare.deployment.local import CHAIN_IDS
from energyshare.errors import ChainError
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["AMOUNT", "LOCKER", "MAX_PACKET", "Delivered", "ProofDepth", "Rig", "holders"]

LOCKER = "Client1"
"""Who locks in every measurement."""

AMOUNT = BASE_UNITS
"""What each transfer carries, in base units: one token."""

MAX_PACKET = 1_000
"""Transfers that a measured packet may carry."""

_GENESIS_TIME = 1_800_000_000
_GAS_LIMIT = 29_900_000
"""Of the transactions of one block together: what a receipt says does not depend on it."""

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


@dataclass(frozen=True, slots=True)
class Delivered:
    """A packet that was delivered."""

    packet: Packet
    data: bytes
    """Call data of the transaction."""
    gas: int


def holders(count: int) -> tuple[str, ...]:
    """Names of `count` users other than the locker."""
    return tuple(f"Client{number}" for number in range(2, count + 2))


class Rig:
    """Two chains with a network on them, locks on the transaction chain, deliveries to the other.

    On py-evm two rigs of one seed make the same blocks, bit by bit. anvil takes its genesis time from the
    clock, so there headers, and the gas of their call data, differ by a few units.
    """

    def __init__(
        self, kind: devnet.Kind, seed: int, accounts: int, crowded: Sequence[Side] = (Side.TRANSACTION,)
    ) -> None:
        """Start the chains and deploy.

        Args:
            accounts: In the state of the chains `crowded` before the deployment. What a packet costs
                grows with the state that it is proven from, and not with that of the chain that takes it.
        """
        self.seed = seed
        actors = Actors(Keyring(Mnemonic().to_mnemonic(self.secret("mnemonic")[:16])))
        terms = Terms(tokens={COMPANY: _PURSE, LOCKER: _PURSE})
        crowd = {"0x" + self.secret(f"account {index}")[12:].hex(): 10**18 for index in range(accounts)}
        self.chains: dict[Side, Chain] = {}
        try:
            for side in Side:
                alloc = crowd if side in crowded else {}
                self.chains[side] = _start(kind, side, alloc, self.secret(side.value))
            record = deploy(self.chains, actors, terms, on_step=lambda _: None)
        except BaseException:
            self.close()
            raise
        for chain in self.chains.values():
            chain.stop_automine()
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

    def send(self, side: Side, requests: Sequence[tuple[Sendable, LocalAccount]]) -> list[TxReceipt]:
        """Send transactions and mine them in one block; their receipts. Raises TransactionReverted."""
        chain = self.chains[side]
        limit = _GAS_LIMIT // len(requests)
        digests = chain.submit_many(requests, gas=limit)
        chain.mine()
        receipts = chain.wait_receipts(digests)
        for receipt, (what, account) in zip(receipts, requests, strict=True):
            if not receipt["status"]:
                chain.simulate(what, account)
                raise ChainError(f"a measured transaction used up its {limit} gas: send fewer at a time")
        return receipts

    def approve(self) -> None:
        """Let lock and market take all that the locker has."""
        record = self.network.record.chains[Side.TRANSACTION]
        account = self.account(LOCKER, Side.TRANSACTION)
        approve = self.network.asset(Side.TRANSACTION).functions.approve
        self.send(
            Side.TRANSACTION,
            [(approve(spender, _UNLIMITED), account) for spender in (record.lock, record.market)],
        )

    def register(self, side: Side, names: Sequence[str]) -> tuple[list[bytes], list[int]]:
        """Register a new alias for each party: 20 bytes each, and the gas of each."""
        accounts = [self.account(name, side) for name in names]
        secrets = [self.unused("alias") for _ in names]
        register = self.network.aliases(side).functions.register
        receipts = self.send(
            side, [(register(secret), account) for secret, account in zip(secrets, accounts, strict=True)]
        )
        aliases = [alias_of(account.address, secret) for account, secret in zip(accounts, secrets, strict=True)]
        return aliases, [receipt["gasUsed"] for receipt in receipts]

    def unused(self, purpose: str) -> bytes:
        """32 bytes never given before, of the seed's own sequence."""
        return self.secret(f"{purpose} {next(self._numbers)}")

    def lock(self, recipients: Sequence[bytes], refund: bytes) -> list[int]:
        """Lock AMOUNT for each recipient on the transaction chain, by standing allowance; the gas of each."""
        lock = self.network.ends[Side.TRANSACTION].contract.functions.lock
        route = self.network.route(Side.TRANSACTION)
        account = self.account(LOCKER, Side.TRANSACTION)
        receipts = self.send(
            Side.TRANSACTION,
            [(lock(route, AMOUNT, recipient, refund, 0), account) for recipient in recipients],
        )
        return [receipt["gasUsed"] for receipt in receipts]

    def confirm(self, side: Side = Side.TRANSACTION) -> None:
        """Mine until everything locked is confirmed."""
        self.chains[side].mine(self.terms.confirmations)

    def packet(self, side: Side = Side.TRANSACTION) -> Packet:
        """What a relayer would deliver now from the chain `side`."""
        packet = self.relayers[side].next_packet()
        assert packet is not None, "nothing is confirmed"
        return packet

    def deliver(self, packet: Packet, side: Side = Side.TRANSACTION) -> Delivered:
        """Deliver a packet from the chain `side`. Raises TransactionReverted."""
        deliver = self.network.ends[side.other].contract.functions.deliver
        payload = Payload.of(deliver(self.network.route(side.other), packet.arguments()))
        account = self.network.actors.relayer(side.other)
        request = {"to": payload.to, "data": payload.data}
        (receipt,) = self.send(side.other, [(request, account)])
        return Delivered(packet, payload.data, receipt["gasUsed"])

    def steady_packet(self) -> Delivered:
        """The second packet of the deployment: one transfer, to the recipient of the first."""
        self.approve()
        (refund,), _ = self.register(Side.TRANSACTION, [LOCKER])
        recipients, _ = self.register(Side.SCHEDULE, [LOCKER])
        for _ in range(2):
            self.lock(recipients, refund)
            self.confirm()
            delivered = self.deliver(self.packet())
        return delivered

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

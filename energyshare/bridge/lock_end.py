"""One end of the lock, read from its chain."""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.address import to_checksum_address
from web3.contract import Contract
from web3.types import EventData, LogReceipt

from energyshare.bridge.packet import OutboxBroken, rehash
from energyshare.bridge.transfer import LockIdentity, Purpose, Refusal, Transfer
from energyshare.chain.connection import Chain
from energyshare.chain.events import events, logs_of

__all__ = ["Credit", "LockEnd", "LockedTransfer", "RouteState"]


@dataclass(frozen=True, slots=True)
class RouteState:
    """A route as a lock holds it; `ITransactionLock.RouteState`."""

    outbox: bytes
    inbox: bytes
    outbox_position: int
    inbox_position: int
    pool: int
    """In lots."""
    lot: int
    """Base units of this chain's asset."""
    peer_lot: int
    frozen: bool
    peer: str
    confirmations: int
    light_client: str


@dataclass(frozen=True, slots=True)
class LockedTransfer:
    """A transfer in the outbox, with who put it there."""

    position: int
    sender: str
    """The lock itself for a bounce, the market for a purchase."""
    transfer: Transfer
    packed: bytes
    """The transfer's two words as the outbox hashed them, whoever wrote them."""
    transaction_hash: bytes


@dataclass(frozen=True, slots=True)
class Credit:
    """How the destination processed a transfer."""

    position: int
    """Of the transfer in the source's outbox."""
    block_number: int
    """Of the destination."""
    transaction_hash: bytes
    recipient: str | None
    """Who was paid; None for a bounce or a claim that waits."""
    amount: int
    """In base units of the destination; 0 where nobody was paid."""
    purpose: Purpose | None
    refusal: Refusal
    bounce_position: int | None
    """In the destination's own outbox."""


class LockEnd:
    """A lock and its chain. Reads only; nothing here sends a transaction.

    The transfers of each outbox are kept in memory once read, and read again when they do not hash to the
    outbox (a reorganisation).
    """

    def __init__(self, chain: Chain, address: str, deployed_at: int) -> None:
        """`deployed_at` is the block where reading of events starts."""
        self.chain = chain
        self.contract: Contract = chain.contract("TransactionLock", address)
        self.address = address
        self.deployed_at = deployed_at
        self.identity = LockIdentity(chain.chain_id, chain.genesis_hash, address)
        self._transfers: dict[bytes, dict[int, LockedTransfer]] = {}
        self._read_to: dict[bytes, int] = {}

    def route_state(self, route: bytes, block: int | None = None) -> RouteState:
        """The route as of `block`, by default the latest."""
        raw = self.chain.call(self.contract.functions.routeState(route), "latest" if block is None else block)
        return RouteState(*raw)

    def transfers(self, route: bytes, first: int, last: int, block: int) -> list[LockedTransfer]:
        """Transfers `first` to `last` of the outbox of `route`, all locked by `block`.

        Raises:
            OutboxBroken: The node's logs lack one of them.
        """
        known = self._transfers.setdefault(route, {})
        start = self._read_to.get(route, self.deployed_at - 1) + 1
        if start <= block:
            for log in logs_of(self.chain, self.contract, "Locked", start, block, route):
                locked = _locked(log)
                if locked.position >= first:
                    known[locked.position] = locked
            self._read_to[route] = block
        missing = [position for position in range(first, last + 1) if position not in known]
        if missing:
            self.forget(route)
            raise OutboxBroken(
                f"{self.chain.name} chain: no event for transfer {missing[0]} up to block {block}: "
                "the node's logs and state disagree; wait for it to settle or use another node"
            )
        return [known[position] for position in range(first, last + 1)]

    def checked_transfers(
        self, route: bytes, inbox: bytes, first: int, last: int, outbox: bytes, block: int
    ) -> list[LockedTransfer]:
        """`transfers`, held to the hashes on both sides. Raises OutboxBroken, and forgets what it read."""
        found = self.transfers(route, first, last, block)
        try:
            rehash(inbox, [locked.packed for locked in found], outbox)
        except OutboxBroken:
            self.forget(route)
            raise
        return found

    def forget(self, route: bytes) -> None:
        """Read the events of `route` anew when they are needed next."""
        self._transfers.pop(route, None)
        self._read_to.pop(route, None)

    def discard(self, route: bytes, up_to: int) -> None:
        """Drop transfers that nobody needs any more from memory."""
        known = self._transfers.get(route, {})
        for position in [position for position in known if position <= up_to]:
            del known[position]

    def credits(self, route: bytes, to_block: int | None = None) -> list[Credit]:
        """How every transfer that came in by `route` so far was processed, in order."""
        block = self.chain.height() if to_block is None else to_block
        found = [
            _credit(event)
            for name in ("Credited", "Bounced", "ClaimWaiting")
            for event in events(self.chain, self.contract, name, self.deployed_at, block, route)
        ]
        return sorted(found, key=lambda credit: credit.position)


def _locked(log: LogReceipt) -> LockedTransfer:
    """What the event Locked says. Read by hand: a backlog has tens of thousands, and web3 takes a millisecond each."""
    _, _, position, sender = log["topics"]
    packed = bytes(log["data"])
    return LockedTransfer(
        position=int.from_bytes(position),
        sender=to_checksum_address(sender[12:]),
        transfer=Transfer.from_packed(packed),
        packed=packed,
        transaction_hash=bytes(log["transactionHash"]),
    )


def _credit(event: EventData) -> Credit:
    """What one of the events Credited, Bounced and ClaimWaiting says."""
    args = event["args"]
    name = event["event"]
    return Credit(
        position=args["position"],
        block_number=event["blockNumber"],
        transaction_hash=bytes(event["transactionHash"]),
        recipient=args["recipient"] if name == "Credited" else None,
        amount=args["amount"] if name == "Credited" else 0,
        purpose=None if name == "Bounced" else Purpose(args.get("purpose", Purpose.BOUNCE)),
        refusal=Refusal(args.get("reason", Refusal.NONE)),
        bounce_position=args.get("bouncePosition"),
    )

"""Packets: what a relayer sends to carry transfers over, as pure functions over what both chains say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from energyshare.bridge.transfer import CHECKPOINT_INTERVAL, Transfer, append
from energyshare.contracts import artifact
from energyshare.errors import EnergyShareError

__all__ = [
    "MAX_TRANSFERS",
    "OutboxBroken",
    "Packet",
    "PacketPlan",
    "checkpoint_slot",
    "outbox_slot",
    "plan_packet",
    "rehash",
]

MAX_TRANSFERS = 400
"""Transfers in one packet at the most: below a 128 KB transaction and the 2^24 gas cap of Osaka."""

CHECKPOINTS_OFFSET = 5
"""Place of the checkpoints in `TransactionLock.Route`."""


class OutboxBroken(EnergyShareError):
    """The transfers read from a node do not hash to the outbox that it states."""


@dataclass(frozen=True, slots=True)
class PacketPlan:
    """Which transfers the next packet carries."""

    first: int
    """Position of the first of them, from 1; the one after the inbox."""
    last: int
    """Position of the last of them: the outbox there is what is proven."""
    checkpoint: int
    """0 for the outbox itself, n for checkpoint n."""
    confirmed: int
    """How many of them, from the first on, the destination can process."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What one delivery carries; `ITransactionLock.Packet`."""

    header: bytes
    """RLP."""
    seal: bytes
    account_proof: bytes
    """Nodes from the state root to the lock, concatenated."""
    storage_proof: bytes
    """Nodes from the lock's storage root to the slot, concatenated."""
    checkpoint: int
    position: int
    """Of the outbox before the first transfer."""
    outbox: bytes
    """At that position, 32 bytes."""
    transfers: tuple[bytes, ...]
    """Packed, from the one after `position` up to the value proven."""
    limit: int
    """The most of them to process."""

    def arguments(self) -> tuple[bytes, bytes, bytes, bytes, int, int, bytes, bytes, int]:
        """The struct as `deliver` takes it."""
        return (
            self.header,
            self.seal,
            self.account_proof,
            self.storage_proof,
            self.checkpoint,
            self.position,
            self.outbox,
            b"".join(self.transfers),
            self.limit,
        )


def outbox_slot(route: bytes) -> int:
    """The storage slot of the outbox of `route` in a lock."""
    return int.from_bytes(keccak(encode(["bytes32", "uint256"], [route, artifact("TransactionLock").slot("_routes")])))


def checkpoint_slot(route: bytes, index: int) -> int:
    """The storage slot of checkpoint `index` of `route` in a lock."""
    return int.from_bytes(keccak(encode(["uint256", "uint256"], [index, outbox_slot(route) + CHECKPOINTS_OFFSET])))


def plan_packet(
    inbox_position: int, waiting: Sequence[Transfer], deepest: int, max_transfers: int = MAX_TRANSFERS
) -> PacketPlan | None:
    """Choose the next packet.

    Args:
        inbox_position: Where the destination's inbox stands.
        waiting: Every transfer of the outbox from there on, as of the height to be proven.
        deepest: The last block whose transfers are confirmed at that height.
        max_transfers: The most a packet may carry; not less than the interval of checkpoints.

    Returns:
        The plan, or None where nothing is confirmed. A backlog too long for one packet is cut at the furthest
        checkpoint within reach, so that each packet is bounded however long the backlog is.
    """
    confirmed = next((at for at, transfer in enumerate(waiting) if transfer.block_number > deepest), len(waiting))
    if confirmed == 0:
        return None
    first = inbox_position + 1
    last = inbox_position + len(waiting)
    checkpoint = 0
    if len(waiting) > max_transfers:
        checkpoint = (inbox_position + max_transfers) // CHECKPOINT_INTERVAL
        last = checkpoint * CHECKPOINT_INTERVAL
    return PacketPlan(first, last, checkpoint, min(confirmed, last - inbox_position))


def rehash(outbox: bytes, transfers: Sequence[bytes], expected: bytes) -> None:
    """Check that packed `transfers` lead from `outbox` to `expected`. Raises OutboxBroken if they do not."""
    actual = reduce(append, transfers, outbox)
    if actual != expected:
        raise OutboxBroken(
            f"{len(transfers)} transfers hash to 0x{actual.hex()}, the outbox is 0x{expected.hex()}: "
            "the node's logs and state disagree; wait for it to settle or use another node"
        )

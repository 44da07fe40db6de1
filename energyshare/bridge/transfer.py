"""Transfers between the chains and the rolling hash over them (`contracts/lock/Outbox.sol`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self

from eth_abi.abi import encode
from eth_utils.crypto import keccak

__all__ = [
    "CHECKPOINT_INTERVAL",
    "TRANSFER_SIZE",
    "LockIdentity",
    "Purpose",
    "Refusal",
    "Transfer",
    "TransferState",
    "alias_of",
    "append",
    "outbox_seed",
]

CHECKPOINT_INTERVAL = 256
"""Transfers from one checkpoint of an outbox to the next."""

TRANSFER_SIZE = 64
"""Bytes of a packed transfer."""


class Purpose(IntEnum):
    """Why a transfer was made, as `ITransactionLock.Purpose` numbers it."""

    CONVERSION = 0
    PURCHASE = 1
    BOUNCE = 2


class Refusal(IntEnum):
    """Why a transfer could not be credited, as `ITransactionLock.Refusal` numbers it."""

    NONE = 0
    DEADLINE_PASSED = 1
    ALIAS_UNKNOWN = 2
    POOL_SHORT = 3


class TransferState(StrEnum):
    """How far a transfer has come."""

    LOCKED = "locked"
    """In the outbox; some of the confirmations are still to come."""
    CONFIRMED = "confirmed"
    """Deep enough; waits for a relayer."""
    CREDITED = "credited"
    FINAL = "final"
    """Credited, and as deep on the destination as the source's lock had to be (the paper's step S4)."""
    BOUNCED = "bounced"
    """Could not be credited, and is on its way home."""
    RETURNED = "returned"
    """Bounced, and credited at home."""
    WAITING = "waiting"
    """A bounce that could not be credited at home: waits to be claimed."""


@dataclass(frozen=True, slots=True)
class LockIdentity:
    """What a lock is, once and for all: its chain and its address there."""

    chain_id: int
    genesis_hash: bytes
    """Hash of the chain's block 0, 32 bytes."""
    address: str
    """Checksummed."""

    @property
    def route(self) -> bytes:
        """The key under which other locks keep their route to this one, 32 bytes."""
        return keccak(encode(["uint256", "bytes32", "address"], [self.chain_id, self.genesis_hash, self.address]))


@dataclass(frozen=True, slots=True)
class Transfer:
    """One conversion between the chains, as the outbox holds it."""

    recipient: bytes
    """Alias on the destination chain, 20 bytes."""
    lots: int
    refund: bytes
    """Alias on the source chain, 20 bytes; all zero for a bounce."""
    block_number: int
    """Block of the source chain that locked it."""
    deadline: int
    """Unix seconds of the destination's block time; 0 for none."""
    purpose: Purpose

    def packed(self) -> bytes:
        """The two words of the transfer, 64 bytes."""
        return (
            self.recipient
            + self.lots.to_bytes(12)
            + self.refund
            + self.block_number.to_bytes(5)
            + self.deadline.to_bytes(5)
            + bytes([self.purpose, 0])
        )

    @classmethod
    def from_packed(cls, packed: bytes) -> Self:
        """Read the two words back, an unknown purpose as a conversion, as the contract does.

        Only what a lock of this version wrote packs to the same bytes again. Raises ValueError unless they are 64.
        """
        if len(packed) != TRANSFER_SIZE:
            raise ValueError(f"a packed transfer has {TRANSFER_SIZE} bytes, not {len(packed)}")
        purpose = packed[62]
        return cls(
            recipient=packed[:20],
            lots=int.from_bytes(packed[20:32]),
            refund=packed[32:52],
            block_number=int.from_bytes(packed[52:57]),
            deadline=int.from_bytes(packed[57:62]),
            purpose=Purpose(purpose) if purpose <= max(Purpose) else Purpose.CONVERSION,
        )


def alias_of(owner: str, secret: bytes) -> bytes:
    """The alias of the address `owner` for 32 bytes of `secret`, 20 bytes."""
    return keccak(encode(["address", "bytes32"], [owner, secret]))[:20]


def outbox_seed(source: LockIdentity, destination: LockIdentity) -> bytes:
    """The outbox before its first transfer, 32 bytes: names both ends, so that nothing replays elsewhere."""
    return keccak(
        encode(
            ["uint256", "bytes32", "address", "uint256", "address"],
            [source.chain_id, source.genesis_hash, source.address, destination.chain_id, destination.address],
        )
    )


def append(outbox: bytes, packed: bytes) -> bytes:
    """The outbox after one more packed transfer."""
    return keccak(outbox + packed)

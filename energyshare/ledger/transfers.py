"""How far each transfer between the chains has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from energyshare.amount import whole_units
from energyshare.bridge.lock_end import Credit, LockedTransfer
from energyshare.bridge.transfer import Purpose, Refusal, TransferState
from energyshare.chain.events import events
from energyshare.ledger.reading import fresh_end
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["Journey", "TransferStatus", "status_of", "transfers"]


@dataclass(frozen=True, slots=True)
class Journey:
    """The ground between two chains, in the direction of one transfer."""

    side: Side
    """That locked it."""
    lot: int
    """Base units of the source's asset."""
    height: int
    """Of the source."""
    confirmations: int
    """Blocks of the source that must follow a lock."""
    peer_height: int
    """Of the destination."""
    peer_confirmations: int
    """Blocks of the destination that must follow a credit until it is final."""


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """One transfer and what has become of it."""

    side: Side
    """The chain that locked it."""
    position: int
    """In that chain's outbox, from 1."""
    sender: str
    """Name of the party or its address; `lock` for a bounce."""
    alias: str
    """Whom it is for, on the other chain."""
    amount: int
    """Base units of the asset locked."""
    purpose: Purpose
    state: TransferState
    confirmations: int
    """Blocks that have followed the lock, counted up to `required`; those of the credit once there is one."""
    required: int
    locked_block: int
    locked_transaction: str
    processed_block: int | None
    """Of the destination, where it was credited, bounced or set aside."""
    processed_transaction: str | None
    refusal: Refusal
    """Why it was not credited."""
    bounce_position: int | None
    """In the destination's outbox."""
    returned_block: int | None
    """Of the source, where its bounce was credited or set aside."""

    @property
    def progress(self) -> str:
        """The state in words."""
        if self.state is TransferState.LOCKED:
            return f"locked, {self.confirmations} of {self.required} confirmations"
        if self.state is TransferState.CREDITED:
            return f"credited, final after {self.confirmations} of {self.required} confirmations"
        if self.refusal is not Refusal.NONE:
            return f"{self.state} ({self.refusal.name.lower().replace('_', ' ')})"
        return self.state.value

    def to_json(self) -> dict[str, str | int | None]:
        return {
            "side": self.side.value,
            "position": self.position,
            "from": self.sender,
            "to": self.alias,
            "amount": whole_units(self.amount),
            "purpose": self.purpose.name.lower(),
            "state": self.state.value,
            "confirmations": self.confirmations,
            "required": self.required,
            "locked_block": self.locked_block,
            "locked_transaction": self.locked_transaction,
            "processed_block": self.processed_block,
            "processed_transaction": self.processed_transaction,
            "refusal": None if self.refusal is Refusal.NONE else self.refusal.name.lower(),
            "bounce_position": self.bounce_position,
            "returned_block": self.returned_block,
        }


def status_of(
    locked: LockedTransfer,
    credit: Credit | None,
    bounce: Credit | None,
    journey: Journey,
    sender: str,
    claimed: bool = False,
) -> TransferStatus:
    """What has become of a transfer.

    Args:
        credit: How the destination processed it, if it did.
        bounce: How the source processed the bounce that it turned into, if both.
        claimed: Whether what was set aside to be claimed has been paid since.
    """
    depth, required = journey.height - locked.transfer.block_number, journey.confirmations
    if credit is None:
        state = TransferState.CONFIRMED if depth >= required else TransferState.LOCKED
    elif credit.recipient is not None:
        depth, required = journey.peer_height - credit.block_number, journey.peer_confirmations
        state = TransferState.FINAL if depth >= required else TransferState.CREDITED
    elif credit.bounce_position is not None and bounce is None:
        state = TransferState.BOUNCED
    elif claimed or (bounce is not None and bounce.recipient is not None):
        state = TransferState.RETURNED
    else:
        state = TransferState.WAITING
    return TransferStatus(
        side=journey.side,
        position=locked.position,
        sender=sender,
        alias="0x" + locked.transfer.recipient.hex(),
        amount=locked.transfer.lots * journey.lot,
        purpose=locked.transfer.purpose,
        state=state,
        confirmations=max(0, min(depth, required)),
        required=required,
        locked_block=locked.transfer.block_number,
        locked_transaction="0x" + locked.transaction_hash.hex(),
        processed_block=None if credit is None else credit.block_number,
        processed_transaction=None if credit is None else "0x" + credit.transaction_hash.hex(),
        refusal=Refusal.NONE if credit is None else credit.refusal,
        bounce_position=None if credit is None else credit.bounce_position,
        returned_block=None if bounce is None else bounce.block_number,
    )


def transfers(network: Network) -> list[TransferStatus]:
    """Every transfer of both directions, those of the transaction chain first.

    What was processed is read before what was locked, so that while the chains advance a state may be a
    moment old and never names a transfer that is not there.
    """
    ends = {side: fresh_end(network, side) for side in Side}
    processed = {
        side: {credit.position: credit for credit in ends[side.other].credits(network.route(side.other))}
        for side in Side
    }
    found: list[TransferStatus] = []
    for side in Side:
        height, peer_height = (network.chains[one].height() for one in (side, side.other))
        state = ends[side].route_state(network.route(side), height)
        peer = ends[side.other].route_state(network.route(side.other))
        journey = Journey(side, state.lot, height, peer.confirmations, peer_height, state.confirmations)
        buyers = _buyers(network, height) if side is Side.TRANSACTION else {}
        for locked in ends[side].transfers(network.route(side), 1, state.outbox_position, height):
            credit = processed[side].get(locked.position)
            bounce = (
                processed[side.other].get(credit.bounce_position)
                if credit is not None and credit.bounce_position is not None
                else None
            )
            if bounce is not None:
                claimed = bounce.recipient is None and not _waits(network, side, locked.transfer.refund)
            else:
                claimed = (
                    locked.transfer.purpose is Purpose.BOUNCE
                    and credit is not None
                    and credit.recipient is None
                    and not _waits(network, side.other, locked.transfer.recipient)
                )
            if locked.transfer.purpose is Purpose.BOUNCE:
                sender = "lock"
            else:
                sender = network.name_of(side, buyers.get(locked.position, locked.sender))
            found.append(status_of(locked, credit, bounce, journey, sender, claimed))
    return found


def _waits(network: Network, side: Side, alias: bytes) -> bool:
    """Whether anything on a chain still waits to be claimed for an alias."""
    chain = network.chains[side]
    book = chain.contract("Claims", chain.call(network.ends[side].contract.functions.CLAIMS()))
    return any(chain.call(book.functions.waiting(network.route(side), alias)))


def _buyers(network: Network, to_block: int) -> Mapping[int, str]:
    """Who bought, by position: the market, not the buyer, locks a purchase."""
    record = network.record.chains[Side.TRANSACTION]
    if record.market is None:
        return {}
    return {
        event["args"]["position"]: event["args"]["buyer"]
        for event in events(
            network.chains[Side.TRANSACTION],
            network.market(),
            "Purchased",
            record.deployed_at,
            to_block,
            None,
            None,
            network.route(Side.TRANSACTION),
        )
    }

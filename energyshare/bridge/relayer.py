"""The relayer: carries what one chain's lock has taken in to the other, one direction each.

It keeps nothing that matters: what is pending follows from the outbox of one chain and the inbox of the other, so it
may be killed at any point, and any number of relayers may run at once. It needs gas and no trust.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from eth_account.signers.local import LocalAccount
from eth_typing import ABIEvent
from eth_utils.abi import event_abi_to_log_topic
from web3.logs import DISCARD

from energyshare.bridge.lock_end import LockEnd
from energyshare.bridge.packet import (
    MAX_TRANSFERS,
    OutboxBroken,
    Packet,
    PacketPlan,
    checkpoint_slot,
    outbox_slot,
    plan_packet,
)
from energyshare.bridge.seal import QuorumMissing, encode_seal, seal_digest, signer_of
from energyshare.bridge.sealer import SealerSource
from energyshare.chain.header import Header
from energyshare.contracts import artifact
from energyshare.errors import EnergyShareError, RpcError, TransactionReverted

__all__ = ["Delivery", "Relayer", "build_packet", "run_relayers"]

logger = logging.getLogger(__name__)

GAS_SHARE = 0.9
"""The part of a block's gas limit that one packet may take."""

MAX_GAS = 2**24
"""The most that a transaction may take anywhere from Osaka on (EIP-7825)."""

_OUTCOME_TOPICS = frozenset(
    event_abi_to_log_topic(cast(ABIEvent, event))
    for event in artifact("TransactionLock").abi
    if event["type"] == "event" and event["name"] in ("Credited", "Bounced", "ClaimWaiting")
)
"""A delivery emits one of these for each transfer it processes."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One packet that the destination took."""

    first: int
    """Position of the first transfer that it processed."""
    processed: int
    source_height: int
    """Of the header that proved it."""
    block_number: int
    """Of the destination."""
    gas_used: int
    transaction_hash: bytes


def build_packet(
    source: LockEnd, route: bytes, plan: PacketPlan, header: Header, seal: bytes, position: int, inbox: bytes
) -> Packet:
    """Put together the packet of `plan`, proven at `header`.

    Args:
        route: The destination's key in the source lock.
        position: Where the packet starts: at or before the inbox.
        inbox: The outbox at `position`.

    Raises:
        ProofError: The node's proofs do not lead from the header's state root to the slot.
        OutboxBroken: The transfers do not lead to the value proven.
    """
    slot = outbox_slot(route) if plan.checkpoint == 0 else checkpoint_slot(route, plan.checkpoint)
    proof = source.chain.prove(source.address, [slot], header.number)
    proof.verify(header.state_root)
    transfers = source.checked_transfers(
        route, inbox, position + 1, plan.last, proof.storage[0].value.to_bytes(32), header.number
    )
    return Packet(
        header=header.rlp,
        seal=seal,
        account_proof=proof.concatenated,
        storage_proof=proof.storage[0].concatenated,
        checkpoint=plan.checkpoint,
        position=position,
        outbox=inbox,
        transfers=tuple(locked.packed for locked in transfers),
        limit=plan.confirmed,
    )


class Relayer:
    """Delivers from one lock to the other."""

    def __init__(
        self,
        source: LockEnd,
        destination: LockEnd,
        sealers: Sequence[SealerSource],
        account: LocalAccount,
        max_transfers: int = MAX_TRANSFERS,
    ) -> None:
        """`account` pays the gas on the destination; `sealers` seal headers of the source."""
        self.source = source
        self.destination = destination
        self.sealers = sealers
        self.account = account
        self.max_transfers = max_transfers
        self._seal_route = source.identity.route  # the source's key in the destination lock
        self._outbox_route = destination.identity.route
        self._failing: set[int] = set()  # places among the sealers of those that failed when last asked

    def __str__(self) -> str:
        return f"{self.source.chain.name} → {self.destination.chain.name}"

    def step(self) -> Delivery | None:
        """Deliver one packet, if anything is confirmed.

        Returns:
            What was delivered; None where nothing is to do, or another relayer did it first.

        Raises:
            EnergyShareError: A node, the sealers or the destination said no; nothing was sent, or nothing was taken.
        """
        packet = self.next_packet()
        return None if packet is None else self.deliver(packet)

    def next_packet(self) -> Packet | None:
        """The packet to deliver now, None where no transfer is confirmed."""
        inbox = self.destination.route_state(self._seal_route)
        self.source.discard(self._outbox_route, inbox.inbox_position)
        height = self.source.chain.height()
        outbox = self.source.route_state(self._outbox_route, height)
        if outbox.outbox_position <= inbox.inbox_position:
            return None

        waiting = self.source.transfers(self._outbox_route, inbox.inbox_position + 1, outbox.outbox_position, height)
        plan = plan_packet(
            inbox.inbox_position,
            [locked.transfer for locked in waiting],
            height - inbox.confirmations,
            self.max_transfers,
        )
        if plan is None:
            return None
        header = self.source.chain.header(height)
        seal = self._seal(header, inbox.light_client)
        return build_packet(self.source, self._outbox_route, plan, header, seal, inbox.inbox_position, inbox.inbox)

    def deliver(self, packet: Packet) -> Delivery | None:
        """Simulate the packet, cut it down to the gas of a block, and send it."""
        deliver = self.destination.contract.functions.deliver
        chain = self.destination.chain
        allowed = min(int(chain.header(chain.height()).gas_limit * GAS_SHARE), MAX_GAS)
        try:
            packet, gas = self._cut_to_fit(packet, allowed)
            receipt = chain.transact(
                deliver(self._seal_route, packet.arguments()), self.account, gas=min(gas + gas // 5, allowed)
            )
        except TransactionReverted as error:
            if self.destination.route_state(self._seal_route).inbox_position > packet.position:
                logger.info("%s: another relayer was first: %s", self, error)
                return None
            raise
        (event,) = self.destination.contract.events.Delivered().process_receipt(receipt, errors=DISCARD) or (None,)
        if event is None:  # its transfers came by another relayer in the same block
            return None
        # Not all that the packet carries: another relayer may have delivered its beginning meanwhile.
        processed = sum(log["topics"][0] in _OUTCOME_TOPICS for log in receipt["logs"])
        self.source.discard(self._outbox_route, event["args"]["position"])
        delivery = Delivery(
            first=event["args"]["position"] - processed + 1,
            processed=processed,
            source_height=event["args"]["number"],
            block_number=receipt["blockNumber"],
            gas_used=receipt["gasUsed"],
            transaction_hash=bytes(receipt["transactionHash"]),
        )
        logger.info(
            "%s: delivered %d transfers from %d on, proven at block %d, %d gas",
            self,
            processed,
            delivery.first,
            delivery.source_height,
            delivery.gas_used,
        )
        return delivery

    def _cut_to_fit(self, packet: Packet, allowed: int) -> tuple[Packet, int]:
        """The packet, processing no more of its transfers than `allowed` gas pays for, and the gas it needs.

        A node does not say how much more gas than a block has is needed: it says that the call fails.
        """
        deliver = self.destination.contract.functions.deliver
        while True:
            try:
                gas = self.destination.chain.estimate(deliver(self._seal_route, packet.arguments()), self.account)
            except (RpcError, TransactionReverted) as error:
                if packet.limit == 1 or not _may_lack_gas(error):
                    raise
            else:
                if gas <= allowed:
                    return packet, gas
                if packet.limit == 1:
                    raise EnergyShareError(
                        f"one transfer needs {gas} gas and the {self.destination.chain.name} chain allows {allowed}: "
                        "raise the destination's gas limit"
                    )
            packet = replace(packet, limit=packet.limit // 2)

    def _seal(self, header: Header, light_client: str) -> bytes:
        """Ask the sealers, those that failed last time last, until a quorum has signed this very header."""
        contract = self.destination.chain.contract("QuorumLightClient", light_client)
        registered = self.destination.chain.call(contract.functions.sealers())
        quorum = self.destination.chain.call(contract.functions.quorum())
        digest = seal_digest(self.source.chain.chain_id, self.source.chain.genesis_hash, header.hash)
        signatures: dict[str, bytes] = {}
        refusals: list[str] = []
        for place, sealer in sorted(enumerate(self.sealers), key=lambda entry: entry[0] in self._failing):
            self._failing.add(place)
            try:
                seal = sealer.seal(header.number)
            except EnergyShareError as error:
                refusals.append(str(error))
                continue
            signer = signer_of(digest, seal.signature)
            if signer is None or signer not in registered:
                refusals.append(f"sealer {seal.sealer} signed 0x{seal.block_hash.hex()} or is not registered")
                continue
            self._failing.discard(place)
            signatures[signer] = seal.signature
            if len(signatures) == quorum:
                break
        try:
            return encode_seal(registered, signatures)
        except QuorumMissing as error:
            raise QuorumMissing(
                f"{self.source.chain.name} block {header.number}: {error}"
                + "".join(f"; {refusal}" for refusal in refusals)
            ) from error


def _may_lack_gas(error: RpcError | TransactionReverted) -> bool:
    """Whether a call may have failed for want of gas: then no contract gave a reason."""
    return not error.name if isinstance(error, TransactionReverted) else "gas" in error.message.lower()


def run_relayers(
    relayers: Sequence[Relayer],
    stop: threading.Event,
    poll_s: float = 0.2,
    max_backoff_s: float = 30,
    on_delivery: Callable[[Relayer, Delivery], None] | None = None,
) -> None:
    """Run each relayer in a thread of its own until `stop` is set.

    What may pass (a node or sealer that is away, a refusal) is logged and tried again, later each time. Anything
    else is a bug: it ends all of them and is raised here.
    """
    failures: list[Exception] = []

    def run(relayer: Relayer) -> None:
        backoff_s = poll_s
        reorganised = False
        while not stop.is_set():
            try:
                delivery = relayer.step()
            except EnergyShareError as error:
                if isinstance(error, OutboxBroken) and not reorganised:
                    reorganised = True
                    logger.info(
                        "%s: %s", relayer, error
                    )  # read anew at once; if that does not help, it is no such thing
                    stop.wait(poll_s)
                    continue
                logger.warning("%s: %s; again in %.1f s", relayer, error, backoff_s)
                stop.wait(backoff_s)
                backoff_s = min(2 * backoff_s, max_backoff_s)
            else:
                backoff_s = poll_s
                reorganised = False
                if delivery is None:
                    stop.wait(poll_s)
                elif on_delivery is not None:
                    on_delivery(relayer, delivery)

    def guarded(relayer: Relayer) -> None:
        try:
            run(relayer)
        except Exception as error:
            failures.append(error)
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(relayer,), name=f"relayer {relayer}", daemon=True)
        for relayer in relayers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]

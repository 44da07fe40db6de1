"""How long a conversion takes, from the lock to the credit, at the pace of real blocks."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from web3.logs import DISCARD

from energyshare.amount import BASE_UNITS
from energyshare.bridge.relayer import Delivery, Relayer
from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import Terms
from energyshare.deployment.local import LocalNetwork
from energyshare.errors import EnergyShareError
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["BOUND_BLOCKS", "Conversion", "LatencyReport", "measure"]

BOUND_BLOCKS = 8
"""Blocks that a conversion may take: 6 confirmations, one that credits, one for chance."""

_PATIENCE_BLOCKS = 60
"""Blocks after which a conversion counts as lost."""

_UNLIMITED = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion, as its owner saw it."""

    side: Side
    """The chain that locked."""
    blocks: int
    """From the block that locked to the one that credited; both chains make blocks at one pace."""
    seconds: float
    """From sending the lock to the credit."""


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """How long conversions took, both ways."""

    chain: devnet.Kind
    block_time_s: float
    confirmations: int
    conversions: tuple[Conversion, ...]

    @property
    def violations(self) -> list[str]:
        """One line for each conversion that took too many blocks."""
        return [
            f"from the {one.side} chain: {one.blocks} blocks, and {BOUND_BLOCKS} are the most it may take"
            for one in self.conversions
            if one.blocks > BOUND_BLOCKS
        ]

    def to_json(self) -> dict[str, Any]:
        blocks = [one.blocks for one in self.conversions]
        seconds = [one.seconds for one in self.conversions]
        return {
            "chain": self.chain,
            "block_time_s": self.block_time_s,
            "confirmations": self.confirmations,
            "conversions": len(self.conversions),
            "blocks_median": median(blocks),
            "blocks_max": max(blocks),
            "seconds_median": round(median(seconds), 3),
            "seconds_max": round(max(seconds), 3),
            "bound_blocks": BOUND_BLOCKS,
            "violations": self.violations,
            "each": [
                {"from": one.side.value, "blocks": one.blocks, "seconds": round(one.seconds, 3)}
                for one in self.conversions
            ],
        }


@dataclass(frozen=True, slots=True)
class _Sent:
    """A lock on its way."""

    side: Side
    digest: bytes
    at: float
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A delivery, and when it was seen."""

    side: Side
    """The chain that it came from."""
    delivery: Delivery
    at: float


def measure(
    kind: devnet.Kind = "anvil",
    conversions: int = 5,
    block_time_s: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> LatencyReport:
    """Convert `conversions` times each way, a lock a block, and wait for every credit.

    Raises:
        EnergyShareError: A credit did not come.
    """
    tell = progress or (lambda _: None)
    terms = Terms()
    arrivals: queue.Queue[_Arrival] = queue.Queue()

    def arrived(relayer: Relayer, delivery: Delivery) -> None:
        side = next(side for side in Side if local.chains[side] is relayer.source.chain)
        arrivals.put(_Arrival(side, delivery, time.monotonic()))

    tell("latency: deploy")
    with LocalNetwork(kind, Actors(Keyring()), terms, on_step=lambda _: None) as local:
        network = local.network
        aliases = {side: network.register_alias(side, COMPANY) for side in Side}
        for side in Side:
            _approve(network, side)
        # Both chains make each block together from here on.
        offset = {side: network.chains[side].height() - network.chains[side.other].height() for side in Side}
        local.run(block_time_s, poll_s=min(0.1, block_time_s / 10), on_delivery=arrived)
        sent: list[_Sent] = []
        for number in range(conversions):
            tell(f"latency: lock {number + 1} of {conversions} both ways, a block each {block_time_s:g} s")
            sent += [_lock(network, side, aliases) for side in Side]
            clock = network.chains[Side.TRANSACTION]
            clock.wait_for_height(clock.height() + 1, timeout=_PATIENCE_BLOCKS * block_time_s)
        tell("latency: wait for the credits")
        credits = _credits(arrivals, 2 * conversions, (_PATIENCE_BLOCKS + conversions) * block_time_s)
        found = [_conversion(network, lock, credits, offset) for lock in sent]
    return LatencyReport(kind, block_time_s, terms.confirmations, tuple(found))


def _approve(network: Network, side: Side) -> None:
    approve = network.asset(side).functions.approve(network.record.chains[side].lock, _UNLIMITED)
    network.chains[side].transact(approve, network.actors.account(COMPANY, side))


def _lock(network: Network, side: Side, aliases: dict[Side, bytes]) -> _Sent:
    lock = network.ends[side].contract.functions.lock(
        network.route(side), BASE_UNITS, aliases[side.other], aliases[side], 0
    )
    at = time.monotonic()
    digest = network.chains[side].submit(lock, network.actors.account(COMPANY, side), gas=200_000)
    return _Sent(side, bytes(digest), at)


def _credits(arrivals: queue.Queue[_Arrival], count: int, patience_s: float) -> dict[tuple[Side, int], _Arrival]:
    """The deliveries of `count` transfers, by source chain and position."""
    found: dict[tuple[Side, int], _Arrival] = {}
    deadline = time.monotonic() + patience_s
    while len(found) < count:
        try:
            arrival = arrivals.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty as error:
            raise EnergyShareError(
                f"{len(found)} of {count} conversions arrived within {patience_s:g} s: "
                "run with -v to see what the relayers say"
            ) from error
        first = arrival.delivery.first
        for position in range(first, first + arrival.delivery.processed):
            found[arrival.side, position] = arrival
    return found


def _conversion(
    network: Network, sent: _Sent, credits: dict[tuple[Side, int], _Arrival], offset: dict[Side, int]
) -> Conversion:
    receipt = network.chains[sent.side].wait_receipt(sent.digest)
    (event,) = network.ends[sent.side].contract.events.Locked().process_receipt(receipt, errors=DISCARD)
    arrival = credits[sent.side, event["args"]["position"]]
    credited_at = arrival.delivery.block_number + offset[sent.side]
    return Conversion(sent.side, credited_at - receipt["blockNumber"], arrival.at - sent.at)

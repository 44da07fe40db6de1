"""Reading a lock and what stands around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.types import EventData

from energyshare.bridge.lock_end import LockEnd
from energyshare.chain.connection import Chain
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["boxes", "events", "fresh_end", "topic_of"]


def topic_of(contract: Contract, name: str) -> bytes:
    """The first topic of the event `name`, 32 bytes."""
    event: Any = contract.events[name]()
    return keccak(text=event.signature)


def events(
    chain: Chain, contract: Contract, name: str, first: int, last: int, *indexed: bytes | None
) -> Iterator[EventData]:
    """Events `name` of the blocks `first` to `last` in order.

    `indexed` narrows them to values of their indexed arguments, None standing for any.
    """
    event: Any = contract.events[name]()
    for log in chain.logs(contract.address, [topic_of(contract, name), *indexed], first, last):
        yield event.process_log(log)


def fresh_end(network: Network, side: Side) -> LockEnd:
    """A lock end of the reader's own: relayers drop from theirs the transfers that they have delivered."""
    record = network.record.chains[side]
    return LockEnd(network.chains[side], record.lock, record.deployed_at)


def boxes(network: Network, side: Side) -> list[str]:
    """Addresses of the boxes of a chain's lock."""
    chain, lock = network.chains[side], network.ends[side].contract
    return [str(chain.call(lock.functions.boxAt(index))) for index in range(chain.call(lock.functions.BOXES()))]

"""Events of a contract, from the node's logs."""

from __future__ import annotations

from collections.abc import Iterator

from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.types import EventData, LogReceipt

from energyshare.chain.connection import Chain

__all__ = ["events", "logs_of"]


def logs_of(
    chain: Chain, contract: Contract, name: str, first: int, last: int, *indexed: bytes | None
) -> list[LogReceipt]:
    """Logs of the event `name` of the blocks `first` to `last` in order, undecoded.

    `indexed` narrows them to values of their indexed arguments, None standing for any.
    """
    topic = keccak(text=contract.events[name]().signature)
    return chain.logs(contract.address, [topic, *indexed], first, last)


def events(
    chain: Chain, contract: Contract, name: str, first: int, last: int, *indexed: bytes | None
) -> Iterator[EventData]:
    """The same, decoded: a millisecond each."""
    event = contract.events[name]()
    for log in logs_of(chain, contract, name, first, last, *indexed):
        yield event.process_log(log)

"""Everything that the scheduling contracts have on record, in order, read in one pass over the logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.types import LogReceipt

from energyshare.dispatch.schedule import Schedule

__all__ = ["ScheduleEvent", "history"]


@dataclass(frozen=True, slots=True)
class ScheduleEvent:
    """One event of the dispatch, its lines, its settlement or the rights."""

    name: str
    args: Mapping[str, Any]
    """Numbers, booleans as 0 or 1, and addresses; the fields of a structure as a list."""
    block: int
    transaction_hash: bytes
    log_index: int


def history(schedule: Schedule, last: int) -> list[ScheduleEvent]:
    """Every event from the deployment to the block `last`.

    Of the rights only transfers to and from the settlement contract are events of the scheduling contracts.
    """
    rights, settlement = schedule.rights, schedule.settlement.address
    contracts = (schedule.dispatch, schedule.lines, schedule.settlement, rights)
    decoders = {contract.address: dict(_decoders(contract)) for contract in contracts}
    decoders[rights.address] = {
        topic: event for topic, event in decoders[rights.address].items() if event["name"] == "Transfer"
    }
    logs = schedule.chain.logs([contract.address for contract in contracts], [], schedule.deployed_at, last)
    return [
        event
        for log in logs
        if (event := _decoded(log, decoders[log["address"]])) is not None
        and (event.name != "Transfer" or settlement in (event.args["from"], event.args["to"]))
    ]


def _decoders(contract: Contract) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    for event in contract.events:  # type: ignore[attr-defined]
        yield keccak(text=event.signature), event.abi


def _decoded(log: LogReceipt, decoders: Mapping[bytes, Mapping[str, Any]]) -> ScheduleEvent | None:
    """An event by its ABI; web3 takes a millisecond for each. All types of these contracts fill one word."""
    abi = decoders.get(bytes(log["topics"][0]))
    if abi is None:
        return None
    topics = iter(map(int.from_bytes, log["topics"][1:]))
    data = bytes(log["data"])
    words = (int.from_bytes(data[at : at + 32]) for at in range(0, len(data), 32))
    args = {part["name"]: _value(part, topics if part["indexed"] else words) for part in abi["inputs"]}
    return ScheduleEvent(abi["name"], args, log["blockNumber"], bytes(log["transactionHash"]), log["logIndex"])


def _value(part: Mapping[str, Any], words: Iterator[int]) -> Any:
    if part["type"] == "tuple":
        return _fields(part["components"], words)
    word = next(words)
    return to_checksum_address(word.to_bytes(20)) if part["type"] == "address" else word


def _fields(parts: Iterable[Mapping[str, Any]], words: Iterator[int]) -> list[Any]:
    return [_value(part, words) for part in parts]

"""Every byte that a chain shows to whoever reads it: blocks, transactions, receipts, code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import rlp
from eth_utils import keccak, to_canonical_address
from web3.providers.base import JSONBaseProvider

from energyshare.chain.transport import Request, batch, request
from energyshare.errors import ChainError, RpcError

_METHOD_NOT_FOUND = -32601


def raw_block(provider: JSONBaseProvider, number: int) -> list[bytes]:
    """Every field of a block, its transactions and receipts, and the code created in it.

    Code is found by the creators' nonces, so that contracts created by contracts are included;
    what `CREATE2` makes is not.
    """
    height = hex(number)
    block = request(provider, "eth_getBlockByNumber", height, True)
    if block is None:
        raise ChainError(f"block {number} is not there: ask for a height up to the chain's")
    receipts = _receipts(provider, block)
    shown = [*_leaves(block), *_leaves(receipts)]
    return shown + [code for code in _created_code(provider, number, receipts) if code]


def _receipts(provider: JSONBaseProvider, block: dict[str, Any]) -> list[dict[str, Any]]:
    if not block["transactions"]:
        return []
    try:
        found: list[dict[str, Any]] = request(provider, "eth_getBlockReceipts", block["number"])
    except RpcError as error:
        if error.code != _METHOD_NOT_FOUND:
            raise
        queries: list[Request] = [
            ("eth_getTransactionReceipt", [transaction["hash"]]) for transaction in block["transactions"]
        ]
        found = _answers(provider, queries)
    return found


def _created_code(provider: JSONBaseProvider, number: int, receipts: list[dict[str, Any]]) -> list[bytes]:
    try:
        return _code_made_by(provider, receipts, hex(max(0, number - 1)), hex(number))
    except RpcError:  # the node has pruned that state: what these creators have made up to now contains it
        return _code_made_by(provider, receipts, None, "latest")


def _code_made_by(
    provider: JSONBaseProvider, receipts: list[dict[str, Any]], before: str | None, after: str
) -> list[bytes]:
    """The code that what the receipts touch created after the block `before`, from the start by default."""
    touched = {receipt.get("contractAddress") or receipt["to"] for receipt in receipts}
    touched |= {log["address"] for receipt in receipts for log in receipt["logs"]}
    created: list[bytes] = [to_canonical_address(r["contractAddress"]) for r in receipts if r.get("contractAddress")]
    creators: list[bytes] = [to_canonical_address(address) for address in sorted(touched) if address]
    while creators:
        children: list[bytes] = []
        used = [0] * len(creators) if before is None else _nonces(provider, creators, before)
        for creator, first, end in zip(creators, used, _nonces(provider, creators, after), strict=True):
            children += [keccak(rlp.encode([creator, nonce]))[12:] for nonce in range(max(1, first), end)]
        created += children
        creators = children
    codes = _answers(provider, [("eth_getCode", ["0x" + address.hex(), after]) for address in created])
    return [bytes.fromhex(code[2:]) for code in codes]


def _nonces(provider: JSONBaseProvider, addresses: list[bytes], height: str) -> list[int]:
    queries: list[Request] = [("eth_getTransactionCount", ["0x" + who.hex(), height]) for who in addresses]
    return [int(answer, 16) for answer in _answers(provider, queries)]


def _answers(provider: JSONBaseProvider, queries: list[Request]) -> list[Any]:
    answers = list(batch(provider, queries))
    for answer in answers:
        if isinstance(answer, RpcError):
            raise answer
    return answers


def _leaves(value: Any) -> Iterator[bytes]:
    """Every scalar in raw JSON as bytes."""
    if isinstance(value, dict):
        for member in value.values():
            yield from _leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member)
    elif isinstance(value, str):
        digits = value.removeprefix("0x")
        yield bytes.fromhex("0" * (len(digits) % 2) + digits) if value.startswith("0x") else value.encode()

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rlp
from eth_utils import keccak

from energyshare.chain.header import Header
from energyshare.errors import HeaderError

BESU = json.loads((Path(__file__).parents[1] / "fixtures" / "besu_qbft_block34.json").read_text())
NAMES = [
    *("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom"),
    *("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce"),
    *("baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot"),
    *("requestsHash", "blockAccessListHash", "slotNumber"),
]
INTEGERS = {
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "baseFeePerGas",
    "blobGasUsed",
    "excessBlobGas",
    "slotNumber",
}


def besu() -> Header:
    return Header.from_rlp(bytes.fromhex(BESU["headerRlp"][2:]))


def rpc_block(header: Header) -> dict[str, Any]:
    block: dict[str, Any] = {"hash": "0x" + header.hash.hex(), "transactions": [], "size": "0x1"}
    for name, item in zip(NAMES, header.items, strict=False):
        block[name] = hex(int.from_bytes(item, "big")) if name in INTEGERS else "0x" + item.hex()
    return block


def sample(count: int) -> Header:
    """A header of `count` items without a consensus' marks."""
    sizes = {"miner": 20, "logsBloom": 256, "nonce": 8, "extraData": 5} | dict.fromkeys(INTEGERS, 3)
    return Header(tuple(bytes([index + 1]) * sizes.get(name, 32) for index, name in enumerate(NAMES[:count])))


def test_header_of_a_live_besu_network_reads_as_published() -> None:
    header = besu()

    assert header.number == BESU["number"]
    assert header.timestamp == BESU["timestamp"]
    assert header.parent_hash.hex() == BESU["parentHash"][2:]
    assert header.state_root.hex() == BESU["stateRoot"][2:]
    assert header.coinbase.hex() == BESU["proposer"][2:]
    assert header.rlp.hex() == BESU["headerRlp"][2:]


def test_hash_of_a_qbft_block_leaves_out_its_seals_and_round() -> None:
    header = besu()
    assert header.hash.hex() == BESU["blockHash"][2:]

    vanity, validators, vote, _, seals = rlp.decode(header.extra_data)
    other_round = rlp.encode([vanity, validators, vote, b"\x03", seals[:2]])
    resealed = Header((*header.items[:12], other_round, *header.items[13:]))

    assert resealed.rlp != header.rlp
    assert resealed.hash == header.hash


@pytest.mark.parametrize("count", [15, 16, 17, 20, 21, 22, 23])
def test_header_is_rebuilt_from_json_of_every_fork(count: int) -> None:
    header = sample(count)

    assert header.hash == keccak(header.rlp)
    assert Header.from_rpc(rpc_block(header)) == header


def test_fields_that_the_node_adds_after_the_header_are_left_out() -> None:
    header = sample(17)
    block = rpc_block(header) | {"blobGasUsed": "0x0", "excessBlobGas": "0x0"}

    assert Header.from_rpc(block) == header


def test_qbft_header_is_rebuilt_from_json() -> None:
    assert Header.from_rpc(rpc_block(besu())) == besu()


@pytest.mark.parametrize("name", ["stateRoot", "gasUsed", "hash", "extraData"])
def test_json_that_does_not_hash_to_the_block_is_refused(name: str) -> None:
    block = rpc_block(sample(21))
    block[name] = "0x" + "55" * 32 if name != "gasUsed" else "0x5"

    with pytest.raises(HeaderError, match="debug_getRawHeader"):
        Header.from_rpc(block)


def test_unknown_trailing_items_are_kept() -> None:
    items = [*sample(23).items, b"new", b""]

    header = Header.from_rlp(rlp.encode(items))

    assert list(header.items) == items
    assert header.hash == keccak(rlp.encode(items))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x80",
        rlp.encode([b"a"] * 14),
        rlp.encode([[b"nested"], *[b"a"] * 15]),
        rlp.encode([b"a"] * 15) + b"\0",
        rlp.encode([b"a"] * 15)[:-1],
    ],
    ids=["empty", "string", "too short", "nested", "trailing byte", "truncated"],
)
def test_what_is_no_header_is_refused(encoded: bytes) -> None:
    with pytest.raises(HeaderError):
        Header.from_rlp(encoded)
